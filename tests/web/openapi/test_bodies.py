"""What operations answer that succeed is what their schemas say, member by member."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import jsonschema
import pytest

from gateway.state import Gateway
from tests.described import document_for, resolve
from tests.harness import GatewayProcess, in_gateway
from tests.web.asking import Session, client_of, log_in

pytestmark = pytest.mark.redis
FORM = {"grant_type": "client_credentials"}
# Schemas of documents whose members are open: a key has those of its kind.
DOCUMENTS = (
    "/.well-known/jwks.json",
    "/.well-known/oauth-authorization-server",
    "/.well-known/openid-configuration",
    "/status/lists",
    "/openapi.json",
    "/livez",
    "/readyz",
)


@pytest.fixture(scope="module")
def asking(gateway: GatewayProcess) -> Iterator[Session]:
    """Give a session that all of these ask with."""
    with client_of(gateway) as client:
        yield log_in(gateway, client)


@pytest.fixture(scope="module")
def service(gateway: GatewayProcess) -> tuple[str, str]:
    """Give id and secret of a machine client."""

    async def add(parts: Gateway) -> tuple[str, str]:
        client, secret = await parts.clients.add("Service", ("staff",), (gateway.url,))
        return client.client_id, secret

    return in_gateway(gateway.env, add)


def check_body(answer: httpx2.Response, path: str, status: int = 200) -> None:
    """Fail unless the answer has this status, and a body as described, with no member that is not."""
    assert answer.status_code == status, answer.text
    document = document_for()
    response = resolve(document, document["paths"][path][answer.request.method.lower()]["responses"][str(status)])
    media_type = answer.headers["Content-Type"].partition(";")[0]
    schema = response["content"][media_type]["schema"]
    body = answer.json()
    jsonschema.Draft202012Validator({**schema, "components": document["components"]}).validate(body)
    if path not in DOCUMENTS:
        assert undescribed(document, schema, body) == set(), answer.text


def undescribed(document: dict[str, Any], schema: dict[str, Any], body: Any, where: str = "") -> set[str]:
    """Give the members of a body that its schema does not name."""
    choices = [resolve(document, one) for one in schema.get("anyOf") or schema.get("oneOf") or [schema]]
    if isinstance(body, list):
        items = [one["items"] for one in choices if "items" in one]
        return {name for one in body for name in undescribed(document, {"anyOf": items}, one, where + "[]")}
    named = [one["properties"] for one in choices if "properties" in one]
    if not isinstance(body, dict) or not named:
        return set()
    found = set()
    for name, value in body.items():
        kinds = [one[name] for one in named if name in one]
        found |= undescribed(document, {"anyOf": kinds}, value, f"{where}.{name}") if kinds else {f"{where}.{name}"}
    return found


@pytest.mark.parametrize("delivery", ["cookie", "body", "session"])
def test_a_login(delivery: str, asking: Session) -> None:
    body = {"username": asking.user.email, "password": asking.user.password, "delivery": delivery}
    check_body(asking.client.post("/auth/login", json=body), "/auth/login")


def test_a_refresh(asking: Session) -> None:
    check_body(asking.refresh(), "/auth/refresh")


@pytest.mark.parametrize("path", ["/auth/me", "/auth/sessions", "/auth/factors", "/auth/tokens", *DOCUMENTS])
def test_what_is_read(path: str, asking: Session) -> None:
    check_body(asking.client.get(path, headers=asking.bearer), path)


def test_what_a_passkey_is_asked_for(asking: Session) -> None:
    check_body(asking.client.post("/auth/login/passkey"), "/auth/login/passkey")
    path = "/auth/factors/passkeys/options"
    check_body(asking.client.post(path, headers=asking.bearer), path)


def test_a_second_factor(gateway: GatewayProcess) -> None:
    with client_of(gateway) as client:
        session = log_in(gateway, client)
        begun = client.post("/auth/factors/totp", headers=session.bearer)
        check_body(begun, "/auth/factors/totp")
        path = "/auth/factors/totp/confirm"
        wrong = {"id": begun.json()["id"], "code": "none"}
        check_body(client.post(path, json=wrong, headers=session.bearer), path, 401)


def test_a_personal_token(asking: Session) -> None:
    made = asking.client.post("/auth/tokens", json={"name": "backup"}, headers=asking.bearer)
    check_body(made, "/auth/tokens")
    check_body(asking.client.get("/auth/tokens", headers=asking.bearer), "/auth/tokens")


def test_the_end_of_all_sessions(gateway: GatewayProcess) -> None:
    with client_of(gateway) as client:
        session = log_in(gateway, client)
        check_body(client.post("/auth/logout-all", headers=session.bearer), "/auth/logout-all")


def test_what_a_client_gets_and_asks(asking: Session, service: tuple[str, str]) -> None:
    got = asking.client.post("/oauth/token", data=FORM, auth=service)
    check_body(got, "/oauth/token")
    for token in (got.json()["access_token"], asking.access_token, "x"):
        told = asking.client.post("/oauth/introspect", data={"token": token}, auth=service)
        check_body(told, "/oauth/introspect")
        assert told.json()["active"] is (token != "x")
    check_body(asking.client.post("/oauth/token", data={}, auth=service), "/oauth/token", 400)
    check_body(asking.client.post("/oauth/token", data=FORM, auth=(service[0], "x")), "/oauth/token", 401)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({"sessions": []}, set()),
        ({"sessions": [], "more": 1}, {".more"}),
        ({"sessions": [{"id": "x", "secret": 1}]}, {".sessions[].secret"}),
    ],
)
def test_a_member_that_is_not_described_is_found(body: dict[str, Any], found: set[str]) -> None:
    assert undescribed(document_for(), {"$ref": "#/components/schemas/SessionsBody"}, body) == found


def test_the_document_is_that_of_the_gateway_that_gives_it(gateway_with: Callable[..., GatewayProcess]) -> None:
    gateway = gateway_with(portal="off")
    with client_of(gateway) as client:
        answer = client.get("/openapi.json")
        assert answer.json() == document_for(portal="off", issuer=gateway.url)
        assert "/auth/account" not in answer.json()["paths"]
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.headers["Cache-Control"] == "public, max-age=300"
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        again = client.get("/openapi.json", headers={"If-None-Match": answer.headers["ETag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["ETag"] == answer.headers["ETag"]
