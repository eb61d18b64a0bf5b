"""POST /oauth/introspect (RFC 7662) and /oauth/revoke (RFC 7009) over HTTP."""

import time
from collections.abc import Callable
from typing import Any

import httpx2
import jwt
import pytest

from tests.harness import GatewayProcess, wait_until
from tests.machines.clients import GRANT, Service, add_client, add_keyed_client
from tests.web.asking import Session, client_of, log_in
from tests.web.oauth.audiences import API, OTHER

INACTIVE = {"active": False}


@pytest.fixture(scope="module")
def stranger(asked: GatewayProcess) -> Service:
    """Give a client of another audience."""
    return add_client(asked.env, audiences=(OTHER,))


@pytest.fixture(scope="module")
def person(asked: GatewayProcess, client: httpx2.Client) -> Session:
    """Give a user who is logged in."""
    return log_in(asked, client)


def told(client: httpx2.Client, service: Service, token: str, **form: str) -> dict[str, Any]:
    answer = client.post("/oauth/introspect", data={"token": token} | form, auth=service.auth)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"
    body: dict[str, Any] = answer.json()
    return body


def revoke(client: httpx2.Client, service: Service, token: str, **form: str) -> httpx2.Response:
    return client.post("/oauth/revoke", data={"token": token} | form, auth=service.auth)


def code_of(answer: httpx2.Response) -> str:
    assert answer.status_code == 400, answer.text
    code: str = answer.json()["error"]
    return code


def claims_of(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


def test_a_token_of_a_client_is_told_as_it_is(asked: GatewayProcess, client: httpx2.Client, service: Service) -> None:
    for audience in (API, asked.url):
        token = service.token(client, audience=audience)
        assert told(client, service, token) == {"active": True, "token_type": "Bearer"} | claims_of(token)


def test_a_token_of_a_person_is_told_with_session_and_name(
    client: httpx2.Client, service: Service, person: Session
) -> None:
    claims = claims_of(person.access_token)
    expected = {"active": True, "token_type": "Bearer", "username": person.user.email} | claims
    expected.pop("status", None)
    assert told(client, service, person.access_token) == expected


def test_of_tokens_for_others_nothing_is_told(
    asked: GatewayProcess, client: httpx2.Client, service: Service, stranger: Service, person: Session
) -> None:
    for token in (service.token(client), service.token(client, audience=asked.url), person.access_token):
        assert told(client, stranger, token) == INACTIVE
    assert told(client, service, stranger.token(client)) == INACTIVE
    assert told(client, stranger, stranger.token(client))["active"] is True


@pytest.mark.parametrize("hint", ["access_token", "refresh_token", "whatever"])
def test_a_hint_changes_nothing(hint: str, client: httpx2.Client, service: Service) -> None:
    assert told(client, service, service.token(client), token_type_hint=hint)["active"] is True
    token = service.token(client)
    assert revoke(client, service, token, token_type_hint=hint).status_code == 200
    assert told(client, service, token) == INACTIVE


def junk(token: str) -> list[str]:
    head, payload, signature = token.split(".")
    return [
        "x",
        "..",
        "a.b.c",
        token[:-1],
        token + "A",
        f"{head}.{payload}.{signature[::-1]}",
        f"{head}..{signature}",
        f"{head}.W10.{signature}",
        f"{head}.{'A' * 4096}.{signature}",
        token + "." + token,
        "x" * 12_000,
        "gwp_" + "A" * 92,
        "\u00fc\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"),
        "\x00",
    ]


def test_what_is_no_token_is_not_active_and_as_good_as_revoked(client: httpx2.Client, service: Service) -> None:
    """RFC 7009 section 2.2: an invalid token is no error."""
    for text in junk(service.token(client)):
        assert told(client, service, text) == INACTIVE, text
        if not text.startswith("gwp_"):
            answer = revoke(client, service, text)
            assert (answer.status_code, answer.content) == (200, b""), text


def test_a_refresh_token_is_never_active_and_is_not_revoked_by_clients(
    client: httpx2.Client, service: Service, person: Session
) -> None:
    assert told(client, service, person.refresh_token) == INACTIVE
    assert code_of(revoke(client, service, person.refresh_token)) == "unsupported_token_type"
    assert code_of(revoke(client, service, "gwp_" + "A" * 92)) == "unsupported_token_type"
    assert person.is_alive()


def test_a_personal_token_is_good_at_subrequests_alone(
    client: httpx2.Client, service: Service, person: Session
) -> None:
    made = client.post("/auth/tokens", json={"name": "script"}, headers=person.bearer)
    assert made.status_code == 200, made.text
    token = made.json()["token"]
    assert told(client, service, token) == INACTIVE
    assert code_of(revoke(client, service, token)) == "unsupported_token_type"
    headers = {"Authorization": f"Bearer {token}"}
    assert client.get("/api/authz/auth-request", headers=headers).status_code == 200


def test_a_client_gives_its_token_back_and_no_other(
    asked: GatewayProcess, client: httpx2.Client, service: Service
) -> None:
    token, other = (service.token(client, audience=asked.url) for _ in range(2))

    def passes(one: str) -> bool:
        headers = {"Authorization": f"Bearer {one}"}
        return client.get("/api/authz/auth-request", headers=headers).status_code == 200

    assert passes(token)
    answer = revoke(client, service, token)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["Cache-Control"] == "no-store"
    assert not passes(token)
    assert passes(other)
    assert told(client, service, token) == INACTIVE
    assert revoke(client, service, token).status_code == 200, "once more"


def test_a_client_does_not_revoke_what_others_have(
    asked: GatewayProcess, client: httpx2.Client, service: Service, person: Session
) -> None:
    """RFC 7009 section 2.1."""
    other = add_client(asked.env, audiences=(API, asked.url))
    token = other.token(client)
    assert code_of(revoke(client, service, token)) == "invalid_grant"
    assert told(client, service, token)["active"] is True
    assert code_of(revoke(client, service, person.access_token)) == "invalid_grant"
    assert person.is_alive()


def test_a_revoked_token_is_refused_by_another_gateway_within_a_second(
    make_gateway: Callable[..., GatewayProcess],
) -> None:
    gateways = [make_gateway(issuer="http://gateway.test") for _ in range(2)]
    service = add_client(gateways[0].env)
    with client_of(gateways[0]) as first, client_of(gateways[1]) as second:
        seconds = []
        for _ in range(20):
            token = service.token(first)
            assert told(second, service, token)["active"] is True
            assert revoke(first, service, token).status_code == 200
            begun = time.monotonic()
            wait_until(lambda token=token: told(second, service, token) == INACTIVE, 1.0)  # type: ignore[misc]
            seconds.append(time.monotonic() - begun)
    print(f"refused elsewhere after {max(seconds) * 1000:.0f} ms at most, of 20 revocations")


def test_a_session_that_ended_is_not_active(asked: GatewayProcess, client: httpx2.Client, service: Service) -> None:
    session = log_in(asked, client)
    assert told(client, service, session.access_token)["active"] is True
    assert client.post("/auth/logout", json={"refresh_token": session.refresh_token}).status_code == 204
    assert told(client, service, session.access_token) == INACTIVE


def test_an_expired_token_is_not_active_and_needs_no_revoking(make_gateway: Callable[..., GatewayProcess]) -> None:
    gateway = make_gateway(access_token_ttl_seconds=2)
    service = add_client(gateway.env)
    with client_of(gateway) as client:
        token = service.token(client)
        assert told(client, service, token)["active"] is True
        wait_until(lambda: told(client, service, token) == INACTIVE, 4)
        assert revoke(client, service, token).status_code == 200


@pytest.mark.parametrize("path", ["introspect", "revoke"])
def test_both_take_clients_alone_and_a_token(
    path: str, asked: GatewayProcess, client: httpx2.Client, service: Service, person: Session
) -> None:
    """RFC 7662 section 2.1, RFC 7009 section 2.1. Shows ASVS 10.4.10."""
    form = {"token": service.token(client)}
    for headers in ({}, person.bearer, {"Cookie": f"access_token={person.access_token}"}):
        answer = client.post(f"/oauth/{path}", data=form, headers=headers)
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
        assert answer.headers["WWW-Authenticate"].startswith("Basic ")
    assert code_of(client.post(f"/oauth/{path}", data={}, auth=service.auth)) == "invalid_request"
    assert code_of(client.post(f"/oauth/{path}", data={"token": ""}, auth=service.auth)) == "invalid_request"
    assert code_of(client.post(f"/oauth/{path}?token=x", data=form, auth=service.auth)) == "invalid_request"
    assert client.post(f"/oauth/{path}", data=form | service.form).status_code == 200
    keyed = add_keyed_client(asked.env)
    assert client.post(f"/oauth/{path}", data={"token": "x"} | keyed.form(asked.url)).status_code == 200


def test_browsers_of_other_origins_read_nothing(client: httpx2.Client, service: Service) -> None:
    headers = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    for path in ("token", "introspect", "revoke"):
        answer = client.post(f"/oauth/{path}", data=GRANT | {"token": "x"}, auth=service.auth, headers=headers)
        assert answer.status_code == 200
        assert "Access-Control-Allow-Origin" not in answer.headers
