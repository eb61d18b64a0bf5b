"""The middleware and `require` in FastAPI, where it is installed."""

from typing import Annotated, Any

import pytest
from starlette.requests import Request
from starlette.testclient import TestClient

from gateway.verifier import AccessClaims, AccessTokenMiddleware, AccessTokenVerifier, claims_of, require
from tests.verifier.mint import AUDIENCE, ISSUER, NOW, claims, token
from tests.verifier.test_asgi import JWKS_URI, bearer, jwks

fastapi = pytest.importorskip("fastapi")


@require(role="staff")
def staff(request: Request) -> AccessClaims:
    return claims_of(request)


def client() -> TestClient:
    verifier = AccessTokenVerifier(issuer=ISSUER, audience=AUDIENCE, jwks_uri=JWKS_URI, fetch=jwks, clock=lambda: NOW)
    app: Any = fastapi.FastAPI()
    app.add_middleware(AccessTokenMiddleware, verifier=verifier)

    def dependency(caller: Annotated[AccessClaims, fastapi.Depends(staff)], q: int = 1) -> str:
        return f"{caller.sub} {q}"

    @require(role="staff")
    async def handler(number: int, request: Request) -> str:
        return f"{claims_of(request).sub} {number}"

    app.get("/dependency")(dependency)
    app.get("/handler/{number}")(handler)

    return TestClient(app)


@pytest.mark.parametrize(("path", "told"), [("/dependency?q=7", "7"), ("/handler/7", "7")])
def test_a_role_is_required_on_a_dependency_or_a_handler(path: str, told: str) -> None:
    assert client().get(path, headers=bearer()).json() == f"{claims()['sub']} {told}"
    assert client().get(path).status_code == 401
    refused = client().get(path, headers=bearer(token(roles=[])))
    assert refused.status_code == 403
    assert refused.headers["WWW-Authenticate"].endswith('error="insufficient_scope"')
