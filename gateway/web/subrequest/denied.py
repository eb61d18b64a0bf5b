"""
What who is denied is told: a program the bare problem; a person the way to the login, or a page that says what to do.
"""

from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from gateway.errors import AuthenticationTooWeak, GatewayError
from gateway.settings import Settings
from gateway.state import Gateway, GatewayRequest
from gateway.web.html import small_page
from gateway.web.http import is_from_proxy, problem_response
from gateway.web.subrequest.browsers import Endpoint, Kind, looked_at, what_was_asked

ENVOY_PREFIX = "/api/authz/ext-authz"


def denied_response(error: GatewayError, endpoint: Endpoint, scope: Scope, *, may_lead: bool) -> Response:
    """
    Give the answer to a denied subrequest (RFC 9110 section 15.4.3 for the redirect).

    Args:
        may_lead: Whether a new login could help.
    """
    gateway: Gateway = scope["state"]["gateway"]
    problem = problem_response(error)
    if scope["state"].get("renderer") is None or error.status not in (401, 403):
        return problem
    problem.headers["Vary"] = looked_at(endpoint)
    asked = what_was_asked(
        endpoint,
        scope["method"],
        _own_target(scope),
        scope["headers"],
        gateway.settings,
        is_trusted=is_from_proxy(scope["client"], gateway.trusted_networks),
    )
    match error.status, asked.kind:
        case 401, Kind.NAVIGATION if asked.url is not None and may_lead:
            problem.headers["Location"] = _login_address(gateway.settings, asked.url, error)
            if endpoint is not Endpoint.NGINX:
                return Response(status_code=302, headers=_kept(problem, "location", "vary"))
        case 401, Kind.FORM if may_lead:
            return _page(scope, "sign_in_elsewhere", problem)
        case 403, Kind.NAVIGATION:
            caller = scope.get("gateway.caller")
            who = (caller.email or caller.sub) if caller is not None else ""
            return _page(scope, "forbidden", problem, email=who, rd=asked.url or "")
    return problem


def _page(scope: Scope, template: str, problem: Response, **values: object) -> Response:
    """Give a page with the status, the challenge and the `Vary` of the problem that it stands for."""
    request: GatewayRequest = Request(scope)
    page = small_page(request, template, problem.status_code, **values)
    for name, value in _kept(problem, "www-authenticate").items():
        page.headers[name] = value
    page.headers["Vary"] = problem.headers["vary"] + ", Accept-Language"
    return page


def _kept(problem: Response, *names: str) -> dict[str, str]:
    return {name: problem.headers[name] for name in names if name in problem.headers}


def _own_target(scope: Scope) -> str:
    """Give what Envoy's client asked for: path and query as they were sent."""
    path = scope["raw_path"].decode("latin-1").removeprefix(ENVOY_PREFIX).removeprefix("/")
    query = scope["query_string"].decode("latin-1")
    return f"{path}?{query}" if query else path


def _login_address(settings: Settings, url: str, error: GatewayError) -> str:
    address = f"{settings.login_url or settings.issuer_origin + '/auth/login'}?rd={quote(url, safe='')}"
    if isinstance(error, AuthenticationTooWeak):
        if error.max_age_seconds is not None:
            address += f"&max_auth_age={error.max_age_seconds}"
        address += "".join(f"&amr={','.join(group)}" for group in error.amr)
    return address
