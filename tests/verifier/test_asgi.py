import json
from collections.abc import AsyncIterator

import pytest
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from gateway.verifier import (
    AccessTokenMiddleware,
    AccessTokenVerifier,
    Document,
    InsufficientRole,
    claims_of,
    public_jwk,
    require,
)
from tests.verifier.mint import AUDIENCE, ISSUER, NOW, claims, compact, header, token, verification_key

JWKS_URI = ISSUER + "/.well-known/jwks.json"


def jwks(url: str) -> Document:
    assert url == JWKS_URI
    return Document(200, "max-age=300", json.dumps({"keys": [public_jwk(verification_key())]}).encode())


def away(url: str) -> Document:
    raise OSError(url)


def show(request: Request) -> Response:
    return PlainTextResponse(claims_of(request).sub)


def public(request: Request) -> Response:
    claims = request.state.claims
    return PlainTextResponse("nobody" if claims is None else claims.sub)


@require(role="staff")
async def staff_only(request: Request) -> Response:
    return PlainTextResponse("staff")


@require(role="admin")
@require(role="staff")
def both_roles(request: Request) -> Response:
    return PlainTextResponse("both")


class Orders(HTTPEndpoint):
    """A class-based endpoint: `require` goes on its methods."""

    @require(role="staff")
    async def get(self, request: Request) -> Response:
        return JSONResponse(claims_of(request.scope).roles)


async def too_late(request: Request) -> Response:
    async def body() -> AsyncIterator[bytes]:
        yield b"begun"
        raise InsufficientRole("too late")

    return StreamingResponse(body())


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text(claims_of(websocket).sub)
    await websocket.close()


@require(role="admin")
async def admin_echo(websocket: WebSocket) -> None:
    await echo(websocket)


ROUTES = [
    Route("/", show),
    Route("/public", public),
    Route("/staff", staff_only),
    Route("/both", both_roles),
    Route("/orders", Orders),
    Route("/late", too_late),
    WebSocketRoute("/echo", echo),
    WebSocketRoute("/admin-echo", admin_echo),
]


def client(*, optional: bool = False, reachable: bool = True) -> TestClient:
    verifier = AccessTokenVerifier(
        issuer=ISSUER,
        audience=AUDIENCE,
        jwks_uri=JWKS_URI,
        fetch=jwks if reachable else away,
        clock=lambda: NOW,
    )
    guard = Middleware(AccessTokenMiddleware, verifier=verifier, optional=optional)
    return TestClient(Starlette(routes=ROUTES, middleware=[guard]))


def bearer(access_token: str | None = None) -> dict[str, str]:
    return {"Authorization": f"Bearer {token() if access_token is None else access_token}"}


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER   "])
def test_the_claims_of_a_good_token_are_on_the_request(scheme: str) -> None:
    answer = client().get("/", headers={"Authorization": scheme + token()})
    assert (answer.status_code, answer.text) == (200, claims()["sub"])


@pytest.mark.parametrize("sent", [None, "", "Basic YTpi", "Bearerx", "DPoP x"])
def test_without_a_bearer_token_there_is_a_challenge_without_error(sent: str | None) -> None:
    """RFC 6750 section 3: no error code when the request lacks any authentication information."""
    answer = client().get("/", headers={} if sent is None else {"Authorization": sent})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="token-gateway"'
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.json() == {"title": "An access token is needed", "status": 401}


BAD = {
    "empty": "",
    "not a token": "x",
    "padded": token() + "=",
    "two in one": token() + " " + token(),
    "expired": token(exp=NOW),
    "for another audience": token(aud="https://other.example.com"),
    "of an unknown key": compact(header(kid="k"), claims()),
    "of another type": compact(header(typ="JWT"), claims()),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("optional", [False, True])
def test_a_bad_token_is_an_invalid_token(name: str, optional: bool) -> None:
    answer = client(optional=optional).get("/public", headers=bearer(BAD[name]))
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="token-gateway", error="invalid_token"'
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_octets_beyond_ascii_are_an_invalid_token() -> None:
    answer = client().get("/", headers=[(b"Authorization", b"Bearer \xff\xfe")])
    assert answer.status_code == 401


def test_two_authorization_headers_are_an_invalid_request() -> None:
    """RFC 6750 section 3.1; neither the first nor the last one wins."""
    answer = client().get("/", headers=[*bearer().items(), *bearer().items()])
    assert answer.status_code == 400
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="token-gateway", error="invalid_request"'


def test_a_token_elsewhere_is_no_token() -> None:
    answer = client().get(f"/?access_token={token()}", headers={"Cookie": f"access_token={token()}"})
    assert answer.status_code == 401


COOKIE = "__Secure-access_token"


@pytest.mark.parametrize("cookies", ["{}", "a=b; {}", "{};c=d", " \t{}\t ; ", "access_token=x; {}", "access_token; {}"])
def test_the_cookie_that_the_gateway_takes_is_taken(cookies: str) -> None:
    """Whom the proxy lets in is known here too."""
    headers = {"Cookie": cookies.format(f"{COOKIE}={token()}")}
    assert client().get("/", headers=headers).text == claims()["sub"]
    assert client().get("/", headers=headers | {"Authorization": "Basic YTpi"}).text == claims()["sub"]
    with client().websocket_connect("/echo", headers=headers) as websocket:
        assert websocket.receive_text() == claims()["sub"]


@pytest.mark.parametrize("optional", [False, True])
def test_two_tokens_at_once_are_an_invalid_request(optional: bool) -> None:
    """As at the subrequest, neither is believed: a sibling subdomain can plant a cookie."""
    cookie = f"{COOKIE}={token()}"
    for headers in (
        [*bearer().items(), ("Cookie", cookie)],
        [*bearer("bad").items(), ("Cookie", cookie)],
        [*bearer().items(), ("Cookie", f"{COOKIE}=")],
        [("Cookie", f"{cookie}; {cookie}")],
        [("Cookie", f"{cookie}; a=b; {COOKIE}=bad")],
        [("Cookie", cookie), ("Cookie", cookie)],
    ):
        answer = client(optional=optional).get("/public", headers=headers)
        assert answer.status_code == 400
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="token-gateway", error="invalid_request"'


@pytest.mark.parametrize("value", ["", '"{}"', "{}x", "bad"])
@pytest.mark.parametrize("optional", [False, True])
def test_a_bad_cookie_is_an_invalid_token(value: str, optional: bool) -> None:
    headers = {"Cookie": f"{COOKIE}={value.format(token())}"}
    assert client(optional=optional).get("/public", headers=headers).status_code == 401


def test_under_an_http_issuer_the_cookie_has_its_plain_name() -> None:
    issuer = "http://127.0.0.1:8000"
    verifier = AccessTokenVerifier(issuer=issuer, audience=AUDIENCE, jwks_uri=JWKS_URI, fetch=jwks, clock=lambda: NOW)
    routes = Starlette(routes=ROUTES, middleware=[Middleware(AccessTokenMiddleware, verifier=verifier)])
    good = token(iss=issuer)
    assert TestClient(routes).get("/", headers={"Cookie": f"access_token={good}"}).text == claims()["sub"]
    assert TestClient(routes).get("/", headers={"Cookie": f"{COOKIE}={good}"}).status_code == 401


def test_a_required_role_lets_through_whom_has_it_and_nobody_else() -> None:
    assert client().get("/staff", headers=bearer()).text == "staff"
    assert client().get("/orders", headers=bearer()).json() == ["staff"]
    for access_token in (token(roles=[]), token(roles=["staffer", "STAFF"])):
        answer = client().get("/staff", headers=bearer(access_token))
        assert answer.status_code == 403
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="token-gateway", error="insufficient_scope"'
        assert client().get("/orders", headers=bearer(access_token)).status_code == 403


def test_all_required_roles_must_be_there() -> None:
    assert client().get("/both", headers=bearer(token(roles=["staff", "admin"]))).text == "both"
    assert client().get("/both", headers=bearer(token(roles=["admin"]))).status_code == 403
    assert client().get("/both", headers=bearer(token(roles=["staff"]))).status_code == 403


def test_optional_lets_strangers_into_public_parts_alone() -> None:
    guarded = client(optional=True)
    assert guarded.get("/public").text == "nobody"
    assert guarded.get("/public", headers=bearer()).text == claims()["sub"]
    for path in ("/", "/staff"):
        answer = guarded.get(path)
        assert answer.status_code == 401
        assert "error" not in answer.headers["WWW-Authenticate"]


def test_without_keys_it_is_the_service_that_is_unavailable() -> None:
    answer = client(reachable=False).get("/", headers=bearer())
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "30"
    assert "WWW-Authenticate" not in answer.headers


def test_a_refusal_after_the_answer_has_begun_is_the_servers_error() -> None:
    with pytest.raises(InsufficientRole):
        client().get("/late", headers=bearer())


def test_a_websocket_needs_a_good_token_too() -> None:
    with client().websocket_connect("/echo", headers=bearer()) as websocket:
        assert websocket.receive_text() == claims()["sub"]
    for path, headers in (("/echo", {}), ("/echo", bearer("x")), ("/admin-echo", bearer())):
        with pytest.raises(WebSocketDisconnect) as closed, client().websocket_connect(path, headers=headers):
            pass
        assert closed.value.code == 1008


def test_the_lifespan_passes_and_its_state_stays() -> None:
    with client() as started:
        assert started.get("/", headers=bearer()).status_code == 200
        assert "claims" not in started.app_state


def test_claims_without_the_middleware_are_a_fault_of_the_program() -> None:
    with pytest.raises(LookupError):
        TestClient(Starlette(routes=ROUTES)).get("/", headers=bearer())


def test_require_wants_a_function_that_takes_the_request() -> None:
    with pytest.raises(TypeError):
        require(role="staff")(lambda: None)
