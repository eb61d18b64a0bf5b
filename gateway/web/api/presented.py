"""The refresh token of a request: as a cookie, or in the body."""

from contextlib import suppress
from dataclasses import dataclass

from gateway.errors import CrossSiteRequest, MalformedRequest, RefreshTokenInvalid, RefreshTokenMissing
from gateway.state import GatewayRequest
from gateway.web.api.wire import RefreshRequest
from gateway.web.http import (
    REFRESH_TOKEN,
    cookie_name,
    read_body,
    read_cookie,
    refuse_cross_site,
    refuse_token_in_query,
)


@dataclass(frozen=True, repr=False)
class Presented:
    """The text of a refresh token, not looked at yet, and the way it came."""

    text: str
    is_cookie: bool


async def presented_refresh_token(request: GatewayRequest) -> Presented:
    """
    Give the refresh token of a request. One that came as a cookie must come from where it may.

    Raises:
        RefreshTokenMissing: There is none.
        MalformedRequest: There are two, or the body is not what it should be.
        UnsupportedMediaType: The body is neither JSON nor a form.
        CrossSiteRequest: The cookie was sent from another site.
    """
    settings = request.state["gateway"].settings
    refuse_token_in_query(request)
    cookie = read_cookie(request.scope["headers"], cookie_name(settings, REFRESH_TOKEN))
    if cookie is not None:
        try:
            refuse_cross_site(request.headers, settings)
        except CrossSiteRequest:
            with suppress(RefreshTokenInvalid):
                request.scope["gateway.sub"] = request.state["gateway"].families.parse(cookie).user_id
            raise
    body = (await read_body(request, RefreshRequest)).refresh_token
    if cookie is not None and body is not None:
        raise MalformedRequest("Two refresh tokens: one as a cookie, one in the body", "token-sent-twice")
    if cookie is not None:
        return Presented(cookie, is_cookie=True)
    if body is None:
        raise RefreshTokenMissing
    return Presented(body, is_cookie=False)
