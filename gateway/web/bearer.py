"""The access token of a request: found, verified, and looked up among the revoked."""

from starlette.datastructures import Headers

from gateway.errors import AccessTokenInvalid, AccessTokenMissing, MalformedRequest
from gateway.state import Gateway, GatewayRequest
from gateway.verifier import AccessClaims, AccessTokenError, verify_access_token
from gateway.web.cookies import ACCESS_TOKEN, cookie_name, read_cookie
from gateway.web.cross_site import refuse_cross_site

SAFE_METHODS = ("GET", "HEAD")
TOKENS_IN_QUERY = ("access_token", "refresh_token", "token")


def find_access_token(headers: Headers, gateway: Gateway) -> tuple[str, bool]:
    """
    Give the access token and whether it came as a cookie.

    Raises:
        AccessTokenMissing: There is none.
        MalformedRequest: There are two, or the cookie was sent twice.
    """
    authorizations = headers.getlist("authorization")
    if len(authorizations) > 1:
        raise MalformedRequest("Two Authorization headers")
    cookie = read_cookie(headers, cookie_name(gateway.settings, ACCESS_TOKEN))
    scheme, _, credentials = authorizations[0].strip().partition(" ") if authorizations else ("", "", "")
    is_bearer = scheme.lower() == "bearer"
    if is_bearer and cookie is not None:
        raise MalformedRequest("Two access tokens: one in Authorization, one as a cookie")
    if is_bearer:
        return credentials.strip(" "), False
    if cookie is not None:
        return cookie, True
    raise AccessTokenMissing


def verify(token: str, gateway: Gateway, now: int) -> AccessClaims:
    """
    Verify a token from memory: signature, times, issuer, audience, and whether its session was revoked.

    Raises:
        AccessTokenInvalid: It does not hold.
        StoreUnavailable: This process has no keys yet.
    """
    settings = gateway.settings
    try:
        claims = verify_access_token(
            token, gateway.keyring.keys.verification, issuer=settings.issuer, audience=settings.audience, now=now
        )
    except AccessTokenError as error:
        raise AccessTokenInvalid(error.code) from error
    if claims.sid in gateway.revocations or claims.jti in gateway.revocations:
        raise AccessTokenInvalid("revoked")
    return claims


def refuse_token_in_query(request: GatewayRequest) -> None:
    """Raise `MalformedRequest` when a token is in the query string, where logs and histories keep it."""
    if any(name in request.query_params for name in TOKENS_IN_QUERY):
        raise MalformedRequest("A token does not belong in the query string")


def require_access_token(request: GatewayRequest) -> AccessClaims:
    """
    Give the claims of the request's access token; with a cookie and an unsafe method, the request must come from
    where it may.

    Raises:
        AccessTokenMissing, AccessTokenInvalid, MalformedRequest, CrossSiteRequest, StoreUnavailable: As above.
    """
    gateway = request.state["gateway"]
    refuse_token_in_query(request)
    token, is_cookie = find_access_token(request.headers, gateway)
    if is_cookie and request.method not in SAFE_METHODS:
        refuse_cross_site(request.headers, gateway.settings)
    return verify(token, gateway, gateway.clock())
