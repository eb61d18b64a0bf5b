"""Personal tokens over HTTP: made by their owner, taken at subrequests, revoked everywhere."""

import re

import jwt
import pytest

from tests.harness import GatewayProcess
from tests.web.asking import AUTHZ_PATHS, RFC_3339_UTC, Session, log_in, problem_of
from tests.web.personal_tokens import AUTHZ, as_basic, as_bearer, make_token, status_with

pytestmark = pytest.mark.redis
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
