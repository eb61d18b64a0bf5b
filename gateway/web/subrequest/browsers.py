"""
What a browser behind a proxy asked for: whether it is a person who can be led to the login, and back to which address.

A navigation is a GET or HEAD that fills the window (or a frame of it); nobody else gains by a redirect: a script would
run into CORS errors, an image would be broken, and a form would lose what was typed. Browsers say which it is by
`Sec-Fetch-Mode` (Fetch Metadata, W3C), old ones and those on plain http by what they accept.
"""

from enum import Enum
from typing import NamedTuple

from gateway.settings import Settings
from gateway.tokens import RawHeaders
from gateway.web.http import safe_return_address

FORM_TYPES = ("application/x-www-form-urlencoded", "multipart/form-data", "text/plain")
_CREDENTIALS = "Authorization, Cookie"
_KIND = "Accept, Content-Type, Sec-Fetch-Mode, Sec-Purpose"


class Endpoint(Enum):
    """Whose way of asking it is; the value is the last part of its path."""

    NGINX = "auth-request"
    FORWARD = "forward-auth"
    ENVOY = "ext-authz"


_SAID_BY_PROXY = {
    Endpoint.NGINX: "X-Original-Method, X-Original-URL",
    Endpoint.FORWARD: "X-Forwarded-Host, X-Forwarded-Method, X-Forwarded-Proto, X-Forwarded-Uri",
    Endpoint.ENVOY: "Host, X-Forwarded-Proto",
}


class Kind(Enum):
    """What a denied request is told."""

    NAVIGATION = "navigation"
    FORM = "form"
    OTHER = "other"


class Asked(NamedTuple):
    """What was asked for. `url` is where a login may lead a navigation back to; None where nobody trusted says so."""

    kind: Kind
    url: str | None


def looked_at(endpoint: Endpoint) -> str:
    """Give the value of `Vary` (RFC 9110 section 12.5.5): all that the answer to a denied request depends on."""
    return f"{_CREDENTIALS}, {_KIND}, {_SAID_BY_PROXY[endpoint]}"


class _Fields:
    """The fields of a head by name, each only where it was sent once: what was sent twice says nothing."""

    def __init__(self, headers: RawHeaders) -> None:
        self._headers = headers

    def __getitem__(self, name: bytes) -> str:
        values = [value for sent, value in self._headers if sent == name]
        return values[0].decode("latin-1").strip(" \t") if len(values) == 1 else ""

    def has_any(self, prefix: bytes) -> bool:
        return any(sent.startswith(prefix) for sent, _ in self._headers)


def what_was_asked(
    endpoint: Endpoint, method: str, path: str, headers: RawHeaders, settings: Settings, *, is_trusted: bool
) -> Asked:
    """
    Read a subrequest as its browser meant it.

    Args:
        method: Of the subrequest itself, which is the client's own with `ext-authz`.
        path: What follows the prefix of `ext-authz`, query included, as it was sent; unused otherwise.
        is_trusted: Whether the peer is one of `trusted_proxies`. What others say of method and address is not believed.
    """
    fields = _Fields(headers)
    if not is_trusted:
        return Asked(Kind.OTHER, None)
    kind = _kind_of(_method_of(endpoint, method, fields), fields)
    is_led = kind is Kind.NAVIGATION
    return Asked(kind, safe_return_address(_url_of(endpoint, path, fields), settings) if is_led else None)


def _method_of(endpoint: Endpoint, method: str, fields: _Fields) -> str:
    match endpoint:
        case Endpoint.NGINX:
            return fields[b"x-original-method"]
        case Endpoint.FORWARD:
            return fields[b"x-forwarded-method"]
        case Endpoint.ENVOY:
            return method


def _url_of(endpoint: Endpoint, path: str, fields: _Fields) -> str:
    match endpoint:
        case Endpoint.NGINX:
            return fields[b"x-original-url"]
        case Endpoint.FORWARD:
            scheme, host, uri = (fields[b"x-forwarded-" + name] for name in (b"proto", b"host", b"uri"))
            return f"{scheme}://{host}{uri}" if uri else ""  # one that was sent twice, or not at all, is not known
        case Endpoint.ENVOY:
            return f"{fields[b'x-forwarded-proto']}://{fields[b'host']}/{path}"


def _kind_of(method: str, fields: _Fields) -> Kind:
    if fields[b"sec-purpose"]:
        return Kind.OTHER
    if fields.has_any(b"sec-fetch-"):
        is_of_a_window = fields[b"sec-fetch-mode"] == "navigate"
    else:
        is_of_a_window = "text/html" in fields[b"accept"].lower() and not fields[b"upgrade"]
    if not is_of_a_window:
        return Kind.OTHER
    if method in ("GET", "HEAD"):
        return Kind.NAVIGATION
    media_type = fields[b"content-type"].partition(";")[0].strip(" \t").lower()
    return Kind.FORM if method == "POST" and media_type in FORM_TYPES else Kind.OTHER
