"""
An application behind the token gateway: it answers with who is logged in.

The proxy has asked the gateway already and tells the user in the Remote-* headers. That holds only while nobody
reaches the application around the proxy, and while nobody else can add headers to the request: so the access token is
verified here once more. It comes along in Authorization from a program, and for a browser in Remote-Access-Token where
the proxy's URL has token=AUDIENCE. The token is the proof, the headers are for reading.

A client can add headers by *trailers*: field lines behind a body in chunks, which some proxies pass on. A server must
not take them for headers (RFC 9110 section 6.5.1), but many do: uvicorn with httptools, which it takes by itself where
it is installed, appends them to the scope's headers, often before the application is called, so that a copy of the
headers comes too late. uvicorn's other parser drops them, and so it is named here:

    ISSUER=http://127.0.0.1:8080 .venv/bin/python -m uvicorn --http h11 --app-dir config/example-app --port 3000 app:app

And since an application does not choose its server, this one believes nothing that may have been a trailer.
"""

from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.config import Config
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from gateway.verifier import AccessClaims, AccessTokenError, AccessTokenVerifier

config = Config()
issuer = config("ISSUER", default="http://127.0.0.1:8080")
verifier = AccessTokenVerifier(
    issuer=issuer,
    audience=config("AUDIENCE", default=issuer),
    jwks_uri=config("JWKS_URI", default=f"{issuer}/.well-known/jwks.json"),
)


def told_by_proxy(request: Request, claims: AccessClaims | None = None) -> dict[str, str]:
    """
    Give who is logged in as the proxy has it: empty where that may have come in trailers, and no token confirms it.

    Only a body in chunks has trailers.
    """
    told = {name: unquote(request.headers.get(f"remote-{name}", "")) for name in ("user", "groups", "name", "sub")}
    if "transfer-encoding" not in request.headers:
        return told
    if claims is None:
        return dict.fromkeys(told, "")
    proved = {"groups": ",".join(claims.roles), "sub": claims.sub}
    proved |= {"user": claims.email or claims.sub, "name": claims.name or ""}
    return told if told == proved else dict.fromkeys(told, "")


async def who(request: Request) -> JSONResponse:
    """Say who is logged in: as the proxy has it, and as the access token itself has it."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if given := request.headers.get("remote-access-token"):
        token = given
    elif scheme.lower() != "bearer":
        return JSONResponse({"proxy": told_by_proxy(request), "token": None})
    try:
        claims = await verifier.verify_async(token.strip())
    except AccessTokenError as error:
        return JSONResponse({"proxy": told_by_proxy(request), "token": {"refused": error.code}}, status_code=401)
    proved = {"sub": claims.sub, "roles": list(claims.roles)}
    return JSONResponse({"proxy": told_by_proxy(request, claims), "token": proved})


app = Starlette(routes=[Route("/{path:path}", who, methods=["GET", "POST"])])
