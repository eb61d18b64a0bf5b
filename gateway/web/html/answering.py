"""Answers that people read: pages of the portal, small ones on an application's host, and what pages refer to."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response

from gateway.errors import GatewayError, NotFound, RateLimited, Unavailable
from gateway.state import GatewayRequest
from gateway.web.html.languages import chosen_language, preferred_language
from gateway.web.html.rendering import Html
from gateway.web.http import on_gateway_error

FORM_TYPE = "application/x-www-form-urlencoded"
SECONDS_TOLD_AS_MINUTES = 120
_HEADERS_OF_THE_PAGE = (b"content-type", b"content-length")


def asks_for_page(headers: Headers) -> bool:
    """Tell whether a request is a form that a person has sent, who is to be answered with a page."""
    if headers.get("content-type", "").partition(";")[0].strip(" \t").lower() != FORM_TYPE:
        return False
    ranges = ",".join(headers.getlist("accept")).split(",")
    return any(text.partition(";")[0].strip(" \t").lower() == "text/html" for text in ranges)


def page_response(request: GatewayRequest, template: str, status: int = 200, **values: Any) -> Response:
    """
    Give a page of the portal, in the language of who asks.

    Templates have, besides *values*: `t` (a text by its key), `link` (the address of one of our pages, in the language
    that was chosen by hand), `static` (that of a file), `language`, `direction`, `languages`, `portal_name`, `issuer`
    and `min_length` (of a password).
    """
    html = html_of(request)
    chosen, language = _language_of(request)
    text = html.render(template, language, link=_link_with(chosen), chosen=chosen, **values)
    return Response(
        text,
        status,
        {
            "Content-Security-Policy": html.policy,
            "Content-Language": language,
            "Referrer-Policy": "same-origin",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Vary": "Accept-Language, Cookie",
        },
        media_type="text/html",
    )


def small_page(request: GatewayRequest, template: str, status: int, **values: Any) -> Response:
    """
    Give a page that is shown on an application's host: it holds all that it needs, and leads to the issuer.

    There are `forbidden` (`email` of who is signed in, `rd` where to come back to, or empty) and `sign_in_elsewhere`.
    """
    html = html_of(request)
    _, language = _language_of(request)
    return Response(
        html.render(template, language, **values),
        status,
        {
            "Content-Security-Policy": html.small_policy,
            "Content-Language": language,
            "Vary": "Accept-Language, Cookie",
        },
        media_type="text/html",
    )


async def failure_page(
    request: GatewayRequest, error: GatewayError, template: str = "problem", **values: Any
) -> Response:
    """
    Give a page that says what went wrong: with the status, headers, log line and audit that the API gives it.

    The template has `reason`, a text by its key, and `wait`, how long to wait; *values* may say another reason.
    """
    problem = await on_gateway_error(Request(request.scope), error)
    key = f"problem_{error.slug.replace('-', '_')}"
    reason = key if key in html_of(request).texts["en"] else "problem_other"
    values = {"reason": reason, "wait": waiting_time(error), **values}
    response = page_response(request, template, error.status, **values)
    response.raw_headers += [(name, value) for name, value in problem.raw_headers if name not in _HEADERS_OF_THE_PAGE]
    return response


def see_other(request: GatewayRequest, address: str, **parameters: str) -> Response:
    """Lead on by a GET (RFC 9110 15.4.4): to a page of ours, in the language chosen by hand, or elsewhere."""
    if address.startswith("/"):
        address = _link_with(_language_of(request)[0])(address, **parameters)
    return Response(status_code=303, headers={"Location": address})


def waiting_time(error: GatewayError) -> str:
    """Say how long to wait: `42 s`, `15 min`; empty where there is nothing to wait for."""
    if not isinstance(error, RateLimited | Unavailable):
        return ""
    seconds = error.retry_after_seconds
    return f"{seconds} s" if seconds < SECONDS_TOLD_AS_MINUTES else f"{-(-seconds // 60)} min"


async def give_static_file(request: GatewayRequest) -> Response:
    """GET /auth/static/{name}: a file whose name changes with it, so that it is kept for good."""
    file = html_of(request).file(request.path_params["name"])
    if file is None:
        raise NotFound
    headers = {"Cache-Control": "public, max-age=31536000, immutable"}
    return Response(file.content, headers=headers, media_type=file.media_type)


def html_of(request: GatewayRequest) -> Html:
    """Give what writes the pages. The portal is on."""
    html = request.state["renderer"]
    assert isinstance(html, Html)  # noqa: S101 - the route table has no pages without the portal
    return html


def _language_of(request: GatewayRequest) -> tuple[str | None, str]:
    """Give the language that was chosen by hand, and the one to answer in."""
    chosen = chosen_language(request.query_params.get("lang", ""))
    return chosen, chosen or preferred_language(",".join(request.headers.getlist("accept-language")))


def _link_with(chosen: str | None) -> Callable[..., str]:
    def link(path: str, **parameters: str | None) -> str:
        bare, mark, fragment = path.partition("#")
        query = urlencode({name: text for name, text in {"lang": chosen, **parameters}.items() if text})
        return bare + ("?" + query if query else "") + mark + fragment

    return link
