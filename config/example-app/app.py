"""
An application behind the token gateway: it answers with who is logged in.

The proxy has asked the gateway already and tells the user in the Remote-* headers. That holds only while nobody
reaches the application around the proxy, so the access token, which comes along too, is verified here once more.

    ISSUER=http://127.0.0.1:8080 .venv/bin/python -m uvicorn --app-dir config/example-app --port 3000 app:app
"""

from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.config import Config
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from gateway.verifier import AccessTokenError, AccessTokenVerifier

config = Config()
issuer = config("ISSUER", default="http://127.0.0.1:8080")
verifier = AccessTokenVerifier(
    issuer=issuer,
    audience=config("AUDIENCE", default=issuer),
    jwks_uri=config("JWKS_URI", default=f"{issuer}/.well-known/jwks.json"),
)


async def who(request: Request) -> JSONResponse:
    """Say who is logged in: as the proxy has it, and as the access token itself has it."""
    told = {name: unquote(request.headers.get(f"remote-{name}", "")) for name in ("user", "groups", "name", "sub")}
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        return JSONResponse({"proxy": told, "token": None})
    try:
        claims = await verifier.verify_async(token.strip())
    except AccessTokenError as error:
        return JSONResponse({"proxy": told, "token": {"refused": error.code}}, status_code=401)
    return JSONResponse({"proxy": told, "token": {"sub": claims.sub, "roles": list(claims.roles)}})


app = Starlette(routes=[Route("/{path:path}", who, methods=["GET", "POST"])])
