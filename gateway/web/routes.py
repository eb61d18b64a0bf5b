"""The route table: every path of the gateway, its method, and who answers."""

from collections.abc import Awaitable, Callable

from starlette.convertors import Convertor, register_url_convertor
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from gateway.state import DirectAnswer, GatewayRequest, QuickAnswer
from gateway.tokens import AGGREGATION_PATH
from gateway.web.api import (
    add_passkey,
    begin_login_by_passkey,
    begin_passkey,
    begin_totp,
    change_own_password,
    confirm_totp,
    end_session,
    list_factors,
    list_sessions,
    list_tokens,
    log_in,
    log_out,
    log_out_everywhere,
    login_quickly,
    make_recovery_codes,
    make_token,
    refresh_tokens,
    remove_factor,
    revoke_personal_token,
    show_me,
)
from gateway.web.html import STATIC_PATH, asks_for_page, give_static_file
from gateway.web.http import BodyCap, directly
from gateway.web.oauth import introspect_token, issue_token, revoke_token
from gateway.web.openapi import OPENAPI_PATH, openapi_document
from gateway.web.pages import (
    accept_invitation,
    add_app,
    add_passkey_by_form,
    end_chosen_session,
    end_other_sessions,
    lead_to_account,
    lead_to_change_of_password,
    log_in_by_form,
    log_out_by_form,
    make_codes,
    make_token_by_form,
    name_factor,
    remove_factor_by_form,
    revoke_token_by_form,
    save_codes,
    set_own_password,
    show_account,
    show_factor,
    show_login,
    show_logout,
    show_new_app,
    show_new_passkey,
    show_new_token,
    show_recovery,
    show_welcome,
)
from gateway.web.public import (
    JWKS_PATH,
    METADATA_PATHS,
    STATUS_PREFIX,
    jwks,
    jwks_quickly,
    livez,
    metadata,
    readyz,
    status_list,
    status_list_quickly,
    status_lists,
)
from gateway.web.subrequest import Authz, Endpoint


class AnyText(Convertor[str]):
    """A path of any shape, line breaks and the empty one included."""

    regex = r"(?s:.*)"

    def convert(self, value: str) -> str:
        """Give the path as it is."""
        return value

    def to_string(self, value: str) -> str:
        """Give the path as it is."""
        return value


class FactorId(AnyText):
    """The id of a second factor, which is told from the other words of its path by how it begins."""

    regex = "fac_[^/]*"


register_url_convertor("any", AnyText())
register_url_convertor("factor", FactorId())

NGINX, FORWARD, ENVOY = Authz(Endpoint.NGINX), Authz(Endpoint.FORWARD), Authz(Endpoint.ENVOY)

QUICK_ANSWERS: dict[bytes, QuickAnswer] = {
    b"GET /api/authz/auth-request": NGINX.quickly,
    b"GET /api/authz/forward-auth": FORWARD.quickly,
    b"GET " + JWKS_PATH.encode(): jwks_quickly,
    b"GET " + STATUS_PREFIX.encode() + b"*": status_list_quickly,
    b"POST /auth/login": login_quickly,
}
"""
What `gateway.web.connections` asks about a plain request before the route table; what it does not answer goes there.
The last part of a path may be any, `*`.
"""

DIRECT_ANSWERS: dict[bytes, DirectAnswer] = {
    b"POST /auth/refresh": directly(refresh_tokens),
    b"GET /api/authz/auth-request": directly(NGINX.answer),
    b"GET /api/authz/forward-auth": directly(FORWARD.answer),
}
"""
What answers a plain request that memory did not, in one task: the handlers of the route table, without the middleware
and the router. What is not plain goes the ordinary way to the same handlers.
"""

CAPPED = [Middleware(BodyCap)]

Handler = Callable[[GatewayRequest], Awaitable[Response]]


def get_or_post(show: Handler, by_form: Handler) -> Handler:
    """Give a handler of a page whose form is sent to the same path."""
    return page_or_api(show, by_form, by_form)


def page_or_api(show: Handler, by_form: Handler, api: Handler) -> Handler:
    """Give a handler of a path that people and programs share: a GET is a person's, and so is a form for a page."""

    async def answer(request: GatewayRequest) -> Response:
        if request.method != "POST":
            return await show(request)
        return await (by_form if asks_for_page(request.headers) else api)(request)

    return answer


_SHARED: dict[str, tuple[Handler, Handler, Handler]] = {
    "/auth/login": (show_login, log_in_by_form, log_in),
    "/auth/logout": (show_logout, log_out_by_form, log_out),
}

_FACTORS: dict[str, tuple[Handler, Handler]] = {
    "app": (show_new_app, add_app),
    "passkey": (show_new_passkey, add_passkey_by_form),
    "recovery": (show_recovery, make_codes),
}

_OTHERS: list[BaseRoute] = [
    Route("/auth/login/passkey", begin_login_by_passkey, methods=["POST"], middleware=CAPPED),
    Route("/auth/refresh", refresh_tokens, methods=["POST"], middleware=CAPPED),
    Route("/auth/logout-all", log_out_everywhere, methods=["POST"], middleware=CAPPED),
    Route("/auth/me", show_me, methods=["GET"], middleware=CAPPED),
    Route("/auth/change-password", change_own_password, methods=["POST"], middleware=CAPPED),
    Route("/auth/sessions", list_sessions, methods=["GET"], middleware=CAPPED),
    Route("/auth/sessions/{id}", end_session, methods=["DELETE"], middleware=CAPPED),
    Route("/auth/factors", list_factors, methods=["GET"], middleware=CAPPED),
    Route("/auth/factors/totp", begin_totp, methods=["POST"], middleware=CAPPED),
    Route("/auth/factors/totp/confirm", confirm_totp, methods=["POST"], middleware=CAPPED),
    Route("/auth/factors/passkeys/options", begin_passkey, methods=["POST"], middleware=CAPPED),
    Route("/auth/factors/passkeys", add_passkey, methods=["POST"], middleware=CAPPED),
    Route("/auth/factors/recovery", make_recovery_codes, methods=["POST"], middleware=CAPPED),
    Route("/auth/factors/{id:factor}", remove_factor, methods=["DELETE"], middleware=CAPPED),
    Route("/auth/tokens", get_or_post(list_tokens, make_token), methods=["GET", "POST"], middleware=CAPPED),
    Route("/auth/tokens/{id}", revoke_personal_token, methods=["DELETE"], middleware=CAPPED),
    Route("/oauth/token", issue_token, methods=["POST"], middleware=CAPPED),
    Route("/oauth/introspect", introspect_token, methods=["POST"], middleware=CAPPED),
    Route("/oauth/revoke", revoke_token, methods=["POST"], middleware=CAPPED),
    Route("/api/authz/auth-request", NGINX, methods=["GET"]),
    Route("/api/authz/forward-auth", FORWARD, methods=["GET"]),
    Route("/api/authz/ext-authz", ENVOY),
    Route("/api/authz/ext-authz/{path:any}", ENVOY),
    Route(JWKS_PATH, jwks, methods=["GET"], middleware=CAPPED),
    *(Route(path, metadata, methods=["GET"], middleware=CAPPED) for path in METADATA_PATHS),
    Route(AGGREGATION_PATH, status_lists, methods=["GET"], middleware=CAPPED),
    Route(STATUS_PREFIX + "{number}", status_list, methods=["GET"], middleware=CAPPED),
    Route("/livez", livez, methods=["GET"], middleware=CAPPED),
    Route("/readyz", readyz, methods=["GET"], middleware=CAPPED),
    Route(OPENAPI_PATH, openapi_document, methods=["GET"], middleware=CAPPED),
]

ROUTES: list[BaseRoute] = [
    *(
        Route(path, page_or_api(*handlers), methods=["GET", "POST"], middleware=CAPPED)
        for path, handlers in _SHARED.items()
    ),
    *_OTHERS,
    Route("/", lead_to_account, methods=["GET"], middleware=CAPPED),
    Route("/.well-known/change-password", lead_to_change_of_password, methods=["GET"], middleware=CAPPED),
    Route("/auth/account", show_account, methods=["GET"], middleware=CAPPED),
    Route("/auth/account/sessions/end-others", end_other_sessions, methods=["POST"], middleware=CAPPED),
    Route("/auth/account/sessions/{id}/end", end_chosen_session, methods=["POST"], middleware=CAPPED),
    Route("/auth/account/password", set_own_password, methods=["POST"], middleware=CAPPED),
    *(
        Route(f"/auth/account/factors/{name}", get_or_post(*handlers), methods=["GET", "POST"], middleware=CAPPED)
        for name, handlers in _FACTORS.items()
    ),
    Route("/auth/account/factors/recovery/file", save_codes, methods=["POST"], middleware=CAPPED),
    Route("/auth/account/factors/{id:factor}", show_factor, methods=["GET"], middleware=CAPPED),
    Route("/auth/account/factors/{id:factor}/name", name_factor, methods=["POST"], middleware=CAPPED),
    Route("/auth/account/factors/{id:factor}/remove", remove_factor_by_form, methods=["POST"], middleware=CAPPED),
    Route(
        "/auth/account/tokens",
        get_or_post(show_new_token, make_token_by_form),
        methods=["GET", "POST"],
        middleware=CAPPED,
    ),
    Route("/auth/account/tokens/{id}/revoke", revoke_token_by_form, methods=["POST"], middleware=CAPPED),
    Route(
        "/auth/welcome",
        get_or_post(show_welcome, accept_invitation),
        methods=["GET", "POST"],
        middleware=CAPPED,
    ),
    Route(STATIC_PATH + "/{name}", give_static_file, methods=["GET"], middleware=CAPPED),
]

ROUTES_WITHOUT_PORTAL: list[BaseRoute] = [
    *(Route(path, api, methods=["POST"], middleware=CAPPED) for path, (_, _, api) in _SHARED.items()),
    *_OTHERS,
]
