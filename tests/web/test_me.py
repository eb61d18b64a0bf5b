import base64
import json
from collections.abc import Callable

import pytest

from gateway.state import Gateway
from tests.harness import GatewayProcess, in_gateway, wait_until
from tests.web.asking import (
    ACCESS_TOKEN_ENDPOINTS,
    AUTHZ_PATHS,
    CHALLENGE,
    INVALID_TOKEN,
    RFC_3339_UTC,
    Session,
    client_of,
    in_latin_1,
    log_in,
    problem_of,
)


def test_me_is_the_user_as_stored_now(session: Session) -> None:
    """Roles in the access token may be older. Shows ASVS 8.2.3, ASVS 14.2.6, ASVS 15.3.1."""
    in_gateway(session.gateway.env, lambda opened: opened.users.set_roles(session.user.user_id, ("ops", "admin")))
    answer = session.client.get("/auth/me", headers=session.bearer)
    assert answer.status_code == 200
    body = answer.json()
    assert RFC_3339_UTC.fullmatch(body.pop("created_at"))
    assert body == {
        "id": session.user.user_id,
        "email": session.user.email,
        "full_name": "Ann Example",
        "roles": ["ops", "admin"],
        "is_active": True,
    }


@pytest.mark.parametrize(
    "header",
    [
        {"Authorization": "Bearer {}"},
        {"Authorization": "bearer {}"},
        {"Authorization": "BEARER {}"},
        {"Authorization": "Bearer  {}"},
        {"Cookie": "access_token={}"},
        {"Cookie": "a=b; access_token={}; refresh_token=x"},
        {"Cookie": "access_token={}", "Authorization": "Basic dXNlcjpwYXNzd29yZA=="},
    ],
    ids=str,
)
def test_an_access_token_is_sent_as_bearer_or_as_a_cookie(header: dict[str, str], standing: Session) -> None:
    headers = {name: value.format(standing.access_token) for name, value in header.items()}
    assert standing.client.get("/auth/me", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"Authorization": "Basic dXNlcjpwYXNzd29yZA=="},
        {"Authorization": "{}"},
        {"Authorization": "Token {}"},
        {"X-Access-Token": "{}"},
        {"Cookie": "accesstoken={}"},
        {"Cookie": "Access_Token={}"},
        {"Cookie": "__Secure-access_token={}"},
        {"Cookie": "__Host-access_token={}"},
        {"Cookie": "session=access_token={}"},
    ],
    ids=str,
)
@pytest.mark.parametrize("path", ["/auth/me", *AUTHZ_PATHS])
def test_anywhere_else_it_is_missing(header: dict[str, str], path: str, standing: Session) -> None:
    headers = {name: value.format(standing.access_token) for name, value in header.items()}
    answer = standing.client.get(path, headers=headers)
    problem_of(answer, 401, "access-token-missing")
    assert answer.headers["WWW-Authenticate"] == CHALLENGE


def with_claims(access_token: str, **changes: object) -> str:
    header, payload, signature = access_token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "==")) | changes
    forged = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"{header}.{forged}.{signature}"


def unsigned(access_token: str) -> str:
    header = base64.urlsafe_b64encode(b'{"alg":"none","typ":"at+jwt"}').rstrip(b"=").decode()
    return f"{header}.{access_token.split('.')[1]}."


BAD_ACCESS_TOKENS: dict[str, Callable[[Session], str]] = {
    "rubbish": lambda session: "rubbish",
    "a refresh token": lambda session: session.refresh_token,
    "without signature": lambda session: session.access_token.rpartition(".")[0] + ".",
    "alg none": lambda session: unsigned(session.access_token),
    "alg none with a signature": lambda session: unsigned(session.access_token) + session.access_token.split(".")[2],
    "another claim": lambda session: with_claims(session.access_token, roles=["admin"]),
    "padded": lambda session: session.access_token + "==",
    "cut": lambda session: session.access_token[:-4],
    "in quotes": lambda session: f'"{session.access_token}"',
    "twice": lambda session: f"{session.access_token},{session.access_token}",
    "with a comment": lambda session: f"{session.access_token} x",
    "not ASCII": lambda session: "\u00e9" * 10,
    "too long": lambda session: "a" * 10_000,
}


@pytest.mark.parametrize("path", ["/auth/me", *AUTHZ_PATHS])
@pytest.mark.parametrize("name", BAD_ACCESS_TOKENS)
def test_a_token_that_does_not_verify_is_invalid(name: str, path: str, standing: Session) -> None:
    """T18: a refresh token is no access token. Shows ASVS 7.2.1, ASVS 9.1.1, RFC 9068 4f."""
    token = BAD_ACCESS_TOKENS[name](standing)
    answer = standing.client.get(path, headers=in_latin_1("Authorization", f"Bearer {token}"))
    problem_of(answer, 401, "access-token-invalid")
    assert answer.headers["WWW-Authenticate"] == INVALID_TOKEN


@pytest.mark.parametrize("setting", ["audience", "issuer"])
def test_a_token_for_another_audience_or_of_another_issuer_is_invalid(
    setting: str, make_gateway: Callable[..., GatewayProcess]
) -> None:
    """
    T18: the two gateways share users and keys.

    Shows ASVS 9.2.3, ASVS 10.3.1, RFC 8725 3.8, RFC 8725 3.9, RFC 9700 2.3, RFC 9068 4b, RFC 9068 4c.
    """
    ours, theirs = (
        make_gateway(**{"issuer": "http://one.test", "audience": "api", setting: f"http://{name}.test"})
        for name in ("ours", "theirs")
    )
    with client_of(ours) as here, client_of(theirs) as there:
        session = log_in(theirs, there)
        assert session.is_alive()
        for path in ("/auth/me", "/api/authz/auth-request"):
            problem_of(here.get(path, headers=session.bearer), 401, "access-token-invalid")


async def disable(opened: Gateway, user_id: str) -> None:
    await opened.end_families(user_id, await opened.users.set_active(user_id, False))


@pytest.mark.parametrize(("method", "path"), ACCESS_TOKEN_ENDPOINTS)
@pytest.mark.parametrize("deed", ["logout", "disable"])
def test_the_token_of_an_ended_session_opens_nothing(method: str, path: str, deed: str, session: Session) -> None:
    if deed == "logout":
        session.client.post("/auth/logout", json={"refresh_token": session.refresh_token})
    else:
        in_gateway(session.gateway.env, lambda opened: disable(opened, session.user.user_id))
        # Told by another process, so it has to be heard first.
        wait_until(lambda: not session.is_alive(), 1, "the revocation")
    json = {"current_password": session.user.password, "new_password": "quite another sentence"}
    answer = session.client.request(
        method,
        path.format(sid=session.sid),
        headers=session.bearer,
        json=json if path == "/auth/change-password" else None,
    )
    problem_of(answer, 401, "access-token-invalid")


def test_the_user_who_was_disabled_this_very_moment_is_refused(session: Session) -> None:
    """Before the end of his sessions is announced."""
    in_gateway(session.gateway.env, lambda opened: opened.users.set_active(session.user.user_id, False))
    problem_of(session.client.get("/auth/me", headers=session.bearer), 401, "access-token-invalid")


@pytest.mark.parametrize(("method", "path"), ACCESS_TOKEN_ENDPOINTS)
def test_two_access_tokens_at_once_are_malformed_and_change_nothing(method: str, path: str, standing: Session) -> None:
    headers = standing.bearer | {"Cookie": f"access_token={standing.access_token}"}
    answer = standing.client.request(method, path.format(sid=standing.sid), headers=headers)
    problem_of(answer, 400, "malformed-request")
    assert standing.is_alive()


@pytest.mark.parametrize(("method", "path"), ACCESS_TOKEN_ENDPOINTS)
def test_two_authorization_headers_are_malformed_and_change_nothing(method: str, path: str, standing: Session) -> None:
    headers = [*standing.bearer.items()] * 2
    answer = standing.client.request(method, path.format(sid=standing.sid), headers=headers)
    problem_of(answer, 400, "malformed-request")
    assert standing.is_alive()


@pytest.mark.parametrize(("method", "path"), ACCESS_TOKEN_ENDPOINTS)
@pytest.mark.parametrize("name", ["access_token", "refresh_token", "token"])
def test_a_token_in_the_query_is_malformed_beside_a_good_one_too(
    name: str, method: str, path: str, standing: Session
) -> None:
    """Shows ASVS 14.2.1, RFC 9700 4.3."""
    params = {name: standing.access_token}
    answer = standing.client.request(method, path.format(sid=standing.sid), params=params, headers=standing.bearer)
    problem_of(answer, 400, "malformed-request")
    assert standing.is_alive()
