"""Getting a small public document over HTTP, within bounds, with the standard library."""

import contextlib
import http.client
import socket
import threading
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

FETCH_TIMEOUT_SECONDS: Final = 5
MAX_DOCUMENT_BYTES: Final = 262_144


class Document(NamedTuple):
    """
    What a GET gave: the status, the value of `Cache-Control` ("" when absent), and the body.

    `etag` and `content_type` are those headers; "" when absent, and from a fetch that does not tell them.
    """

    status: int
    cache_control: str
    body: bytes
    etag: str = ""
    content_type: str = ""


Fetch = Callable[[str], Document]
"""Gets an http or https URL without following redirects; blocks; may raise anything when it cannot."""


def http_get(url: str, headers: Mapping[str, str] | None = None, *, max_bytes: int = MAX_DOCUMENT_BYTES) -> Document:
    """
    Get *url* with the standard library: no redirects, no proxy from the environment, 5 seconds in all.

    Args:
        headers: Sent besides `Accept: application/json`, or instead of it.
        max_bytes: No more is read than one octet beyond, which tells that there is more.

    Raises:
        OSError: No connection, or it broke.
        http.client.HTTPException: The answer is not HTTP, or incomplete.
    """
    parts = split_url(url)
    target = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.netloc, timeout=FETCH_TIMEOUT_SECONDS)
    # The timeout of a socket is for each read, so that a slow trickle would go on for ever.
    deadline = threading.Timer(FETCH_TIMEOUT_SECONDS, _cut, [connection])
    deadline.daemon = True
    deadline.start()
    try:
        sent = {"Accept": "application/json", "User-Agent": "token-gateway-verifier"} | dict(headers or {})
        connection.request("GET", target, headers=sent)
        response = connection.getresponse()
        cache_control, etag, content_type = (
            response.getheader(name, "") for name in ("Cache-Control", "ETag", "Content-Type")
        )
        return Document(response.status, cache_control, response.read(max_bytes + 1), etag, content_type)
    finally:
        deadline.cancel()
        connection.close()


def split_url(url: str) -> urllib.parse.SplitResult:
    """
    Take *url* apart.

    Raises:
        ValueError: Not http or https, or with a fragment, a user or a bad port.
    """
    parts = urllib.parse.urlsplit(url)
    usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    if not usable or parts.fragment or "@" in parts.netloc:
        raise ValueError(f"not a plain http or https URL: {url}")
    return parts


def _cut(connection: http.client.HTTPConnection) -> None:
    with contextlib.suppress(OSError, AttributeError):
        connection.sock.shutdown(socket.SHUT_RDWR)
