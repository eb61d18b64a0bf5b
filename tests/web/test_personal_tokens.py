"""Personal tokens over HTTP: made by their owner, taken at subrequests, revoked everywhere."""

import base64
import re
from collections.abc import Callable

import httpx2
import jwt
import pytest

from gateway.sessions import BY_PASSWORD, BY_PASSWORD_AND_CODE
from tests.harness import GatewayProcess, RedisServer
from tests.web.asking import (
    AUTHZ_PATHS,
    CHALLENGE,
    RFC_3339_UTC,
    Session,
    client_of,
    log_in,
    problem_of,
)
from tests.web.personal_tokens import AUTHZ, as_basic, as_bearer, make_token, status_with
from tests.web.second_steps import bearer_of_login, new_user_with_totp
from tests.web.test_browser_sessions import sign_in

pytestmark = pytest.mark.redis
BASIC_CHALLENGE = 'Basic realm="token-gateway", charset="UTF-8"'
MEMBERS = {"id", "name", "roles", "created_at", "expires_at", "last_used_at"}


def test_one_is_made_and_shown_once(session: Session) -> None:
    made = make_token(session, days=7)
    assert made.keys() == MEMBERS | {"token"}
    assert re.fullmatch(r"gwp_[A-Za-z0-9_-]{92}", made["token"])
    assert re.fullmatch(r"pat_[A-Za-z0-9_-]{22}", made["id"])
    assert (made["name"], made["roles"], made["last_used_at"]) == ("backup", ["staff"], None)
    assert RFC_3339_UTC.fullmatch(made["created_at"])
    [listed] = session.client.get("/auth/tokens", headers=session.bearer).json()["tokens"]
    assert listed == {name: made[name] for name in MEMBERS}


def test_they_are_listed_newest_first(session: Session) -> None:
    ids = [make_token(session, name)["id"] for name in ("one", "two", "three")]
    listed = session.client.get("/auth/tokens", headers=session.bearer).json()["tokens"]
    assert [token["id"] for token in listed] == ids[::-1]


@pytest.mark.parametrize("path", AUTHZ_PATHS)
@pytest.mark.parametrize("send", [as_bearer, as_basic])
def test_a_subrequest_with_one_is_allowed_as_its_owner(session: Session, path: str, send: type) -> None:
    token = make_token(session)["token"]
    for _ in range(3):  # the first takes a look at Redis, the others come from memory
        answer = session.client.get(path, headers=send(token))
        assert answer.status_code == 200, answer.text
        assert answer.headers["remote-user"] == answer.headers["remote-email"] == session.user.email
        assert answer.headers["remote-sub"] == session.user.user_id
        assert answer.headers["remote-groups"] == "staff"


@pytest.mark.parametrize("name", ["", "git", "änn:", "a" * 500])
def test_any_name_goes_with_it_as_a_password(session: Session, name: str) -> None:
    token = make_token(session)["token"]
    expected = 200 if ":" not in name else 401  # RFC 7617: a name has no colon
    assert session.client.get(AUTHZ, headers=as_basic(token, name)).status_code == expected


def test_one_says_who_asks(session: Session, gateway: GatewayProcess) -> None:
    owner = log_in(gateway, session.client, gateway.add_user(roles=("staff", "ops")))
    for roles in (["ops"], []):
        token = make_token(owner, roles=roles)["token"]
        me = session.client.get("/auth/me", headers=as_basic(token)).json()
        assert (me["id"], me["email"], me["roles"]) == (owner.user.user_id, owner.user.email, roles)


def test_it_has_the_roles_that_it_was_given_and_no_others(session: Session, gateway: GatewayProcess) -> None:
    owner = log_in(gateway, session.client, gateway.add_user(roles=("staff", "ops")))
    token = make_token(owner, roles=["ops"])["token"]
    for _ in range(2):
        assert status_with(session.client, token, "role=ops") == 200
        assert status_with(session.client, token, "role=staff") == 403


def test_its_owner_revokes_it(session: Session) -> None:
    made, other = make_token(session), make_token(session, "other")
    assert status_with(session.client, made["token"]) == status_with(session.client, other["token"]) == 200
    assert session.client.delete(f"/auth/tokens/{made['id']}", headers=session.bearer).status_code == 204
    assert status_with(session.client, made["token"]) == 401
    assert status_with(session.client, other["token"]) == 200
    again = session.client.delete(f"/auth/tokens/{made['id']}", headers=session.bearer)
    problem_of(again, 404, "not-found")


def test_nobody_else_revokes_it(session: Session, gateway: GatewayProcess) -> None:
    """Shows ASVS 8.2.2."""
    made, stranger = make_token(session), log_in(gateway, session.client)
    answer = session.client.delete(f"/auth/tokens/{made['id']}", headers=stranger.bearer)
    problem_of(answer, 404, "not-found")
    assert status_with(session.client, made["token"]) == 200


@pytest.mark.parametrize(
    "query", ["max_auth_age=3600", "max_auth_age=9999999999", "amr=mfa", "amr=pwd", "amr=pat&amr=otp"]
)
def test_one_is_never_a_login(session: Session, query: str) -> None:
    token = make_token(session)["token"]
    for _ in range(2):
        answer = session.client.get(f"{AUTHZ}?{query}", headers=as_bearer(token))
        problem_of(answer, 401, "authentication-too-weak")


def test_a_page_may_ask_for_one(session: Session) -> None:
    token = make_token(session)["token"]
    assert status_with(session.client, token, "amr=pat,mfa") == 200
    assert session.client.get(f"{AUTHZ}?amr=pat", headers=session.bearer).status_code == 401


def test_the_application_gets_a_token_of_its_own(session: Session, gateway: GatewayProcess) -> None:
    made = make_token(session)
    for _ in range(2):
        answer = session.client.get(f"{AUTHZ}?token={gateway.url}", headers=as_bearer(made["token"]))
        claims = jwt.decode(answer.headers["remote-access-token"], options={"verify_signature": False})
        assert (claims["sub"], claims["sid"]) == (session.user.user_id, made["id"])
        assert (claims["amr"], claims["auth_time"], claims["roles"]) == (["pat"], 0, ["staff"])
        assert claims["exp"] - claims["iat"] <= 120
    bearer = as_bearer(answer.headers["remote-access-token"])
    assert session.client.get(AUTHZ, headers=bearer).status_code == 200
    for path in ("/auth/me", "/auth/sessions"):
        problem_of(session.client.get(path, headers=bearer), 401, "access-token-invalid")


def test_it_takes_a_young_login_to_make_one_and_any_to_revoke_it(session: Session) -> None:
    """RFC 9470 section 3. Shows ASVS 7.5.3."""
    made = make_token(session)
    body = {"name": "another"}
    old = bearer_of_login(session, seconds_ago=605, amr=BY_PASSWORD)
    answer = session.client.post("/auth/tokens", json=body, headers=old)
    problem_of(answer, 401, "authentication-too-weak")
    assert answer.headers["WWW-Authenticate"] == (
        f'{CHALLENGE}, error="insufficient_user_authentication", max_age="600"'
    )
    assert session.client.get("/auth/tokens", headers=old).status_code == 200
    young = bearer_of_login(session, seconds_ago=590, amr=BY_PASSWORD)
    assert session.client.post("/auth/tokens", json=body, headers=young).is_success
    assert session.client.delete(f"/auth/tokens/{made['id']}", headers=old).status_code == 204


def test_who_has_a_second_factor_makes_one_with_it_alone(gateway: GatewayProcess, client: httpx2.Client) -> None:
    session, _ = new_user_with_totp(gateway, client)
    answer = client.post("/auth/tokens", json={"name": "backup"}, headers=session.bearer)
    problem_of(answer, 401, "authentication-too-weak")
    assert answer.headers["WWW-Authenticate"].endswith('acr_values="mfa"')
    strong = bearer_of_login(session, seconds_ago=0, amr=BY_PASSWORD_AND_CODE)
    assert client.post("/auth/tokens", json={"name": "backup"}, headers=strong).status_code == 200


def test_factors_that_rest_are_not_asked_for(gateway_with: Callable[..., GatewayProcess]) -> None:
    gateway = gateway_with(second_factor="off")
    with client_of(gateway) as client:
        make_token(log_in(gateway, client))


def test_one_is_made_with_a_browser_session_from_our_own_site(session: Session) -> None:
    cookie = {"Cookie": f"gateway_session={sign_in(session.client, session.user)}"}
    crossing = session.client.post("/auth/tokens", json={"name": "a"}, headers=cookie | {"Sec-Fetch-Site": "same-site"})
    problem_of(crossing, 403, "cross-site-request")
    assert session.client.post("/auth/tokens", json={"name": "a"}, headers=cookie).status_code == 200


def test_making_them_is_limited(make_gateway: Callable[..., GatewayProcess]) -> None:
    """Shows ASVS 2.4.1."""
    gateway = make_gateway(login_limit="3/minute")
    with client_of(gateway) as client:
        session = log_in(gateway, client)
        for _ in range(3):
            make_token(session)
        problem_of(client.post("/auth/tokens", json={"name": "a"}, headers=session.bearer), 429, "rate-limited")


def test_what_is_made_and_revoked_is_told(session: Session, gateway: GatewayProcess) -> None:
    since = gateway.log_size()
    made = make_token(session, days=1)
    assert session.client.delete(f"/auth/tokens/{made['id']}", headers=session.bearer).status_code == 204
    lines = [line for line in gateway.log_lines(since) if line.get("event", "").startswith("token_")]
    assert [(line["event"], line["token_id"]) for line in lines] == [
        ("token_created", made["id"]),
        ("token_revoked", made["id"]),
    ]
    assert {(line["sub"], line["sid"], line["outcome"]) for line in lines} == {
        (session.user.user_id, session.sid, "success")
    }


@pytest.mark.parametrize("path", AUTHZ_PATHS[:2])
def test_a_page_asks_for_name_and_password_where_it_is_told_to(session: Session, path: str) -> None:
    """RFC 9110 section 11.6.1; git, docker and WebDAV clients send a password when they are asked for one."""
    wanted = {"": [CHALLENGE], "challenge=basic": [BASIC_CHALLENGE]}
    for query, expected in wanted.items():
        answer = session.client.get(f"{path}?{query}")
        problem_of(answer, 401, "access-token-missing")
        assert answer.headers.get_list("WWW-Authenticate") == expected
    token = make_token(session)["token"]
    for _ in range(2):
        assert session.client.get(f"{path}?challenge=basic", headers=as_basic(token)).status_code == 200
    wrong = session.client.get(f"{path}?challenge=basic", headers=as_basic(token[:-1]))
    assert wrong.headers.get_list("WWW-Authenticate") == [BASIC_CHALLENGE]
    for query in ("challenge=bearer", "challenge=", "challenge=basic&challenge=Basic"):
        problem_of(session.client.get(f"{path}?{query}", headers=as_basic(token)), 403, "insufficient-role")
    assert session.client.get(f"{path}?challenge=basic&role=admin", headers=session.bearer).status_code == 403


def test_envoy_s_client_cannot_ask_for_a_challenge(session: Session) -> None:
    answer = session.client.get("/api/authz/ext-authz/a?challenge=basic")
    assert answer.headers.get_list("WWW-Authenticate") == [CHALLENGE]


def test_one_that_is_no_good_is_left_alone_beside_a_good_session(session: Session) -> None:
    cookie = {"Cookie": f"gateway_session={sign_in(session.client, session.user)}"}
    made = make_token(session)
    assert session.client.get(AUTHZ, headers=cookie | as_bearer(made["token"])).status_code == 200
    assert session.client.delete(f"/auth/tokens/{made['id']}", headers=session.bearer).status_code == 204
    for send in (as_bearer, as_basic):
        for token in (made["token"], made["token"][:-1], "gwp_" + "A" * 92):
            for _ in range(2):
                assert session.client.get(AUTHZ, headers=cookie | send(token)).status_code == 200
                assert session.client.get(AUTHZ, headers=send(token)).status_code == 401


def test_it_decides_before_a_session_and_never_beside_an_access_token(
    session: Session, gateway: GatewayProcess
) -> None:
    other = log_in(gateway, session.client)
    cookie = {"Cookie": f"gateway_session={sign_in(session.client, other.user)}"}
    token = make_token(session)["token"]
    for send in (as_bearer, as_basic):
        for _ in range(2):
            answer = session.client.get(AUTHZ, headers=cookie | send(token))
            assert answer.headers["remote-sub"] == session.user.user_id
        twice = {"Cookie": f"access_token={other.access_token}"}
        assert session.client.get(AUTHZ, headers=twice | send(token)).status_code == 401
        problem_of(session.client.get("/auth/me", headers=twice | send(token)), 400, "malformed-request")
    both = [("Authorization", as_bearer(token)["Authorization"]), ("Authorization", as_basic(token)["Authorization"])]
    assert session.client.get(AUTHZ, headers=both).status_code == 401


def test_a_role_that_is_asked_for_again_and_again_is_given_once(session: Session) -> None:
    """Identity headers would be longer than any proxy takes."""
    made = make_token(session, roles=["staff"] * 1500)
    assert made["roles"] == ["staff"]
    assert session.client.get(AUTHZ, headers=as_bearer(made["token"])).headers["remote-groups"] == "staff"


@pytest.mark.parametrize("role", ["staff,staff", "", "staff\n", "STAFF"])
def test_what_is_no_role_is_not_given(session: Session, role: str) -> None:
    body = {"name": "backup", "roles": [role]}
    problem_of(session.client.post("/auth/tokens", json=body, headers=session.bearer), 400, "malformed-request")


@pytest.mark.parametrize("place", ["cookie", "name", "query", "form"])
def test_it_is_taken_nowhere_else(session: Session, place: str) -> None:
    token = make_token(session)["token"]
    name = "Basic " + base64.b64encode(f"{token}:".encode()).decode()
    headers = {"cookie": {"Cookie": f"access_token={token}"}, "name": {"Authorization": name}}.get(place, {})
    query = f"?access_token={token}" if place == "query" else ""
    assert session.client.get(AUTHZ + query, headers=headers).status_code == 401
    assert session.client.get("/auth/me" + query, headers=headers).status_code == (400 if query else 401)


def test_redis_and_the_log_hold_none(session: Session, gateway: GatewayProcess, redis_server: RedisServer) -> None:
    token = make_token(session)["token"]
    for send in (as_bearer, as_basic):
        assert session.client.get(AUTHZ, headers=send(token)).status_code == 200
        assert session.client.get("/auth/sessions", headers=send(token)).status_code == 401
    octets = base64.urlsafe_b64decode(token.removeprefix("gwp_"))
    secret = octets[33:65]
    with redis_server.client() as records:
        dump = b"".join(records.dump(key) or b"" for key in records.scan_iter("shared:*", count=1000))
    for needle in (token.encode(), token[-60:].encode(), secret, secret.hex().encode()):
        assert needle not in dump
        assert needle not in gateway.log_path.read_bytes()
