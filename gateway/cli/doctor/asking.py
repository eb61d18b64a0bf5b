"""
HTTP as the doctor speaks it: header names as they are given, no redirect followed, every connection for one request.

A client library would mend what is to be tried: odd names, a header twice, `Connection` with names of ours.
"""

import asyncio
import functools
import http.client
import re
import socket
import ssl
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 5.0
MAX_BODY_BYTES = 1_048_576
DEFAULT_PORTS = {"http": 80, "https": 443}
_VISIBLE = re.compile(r"[!-~]+")

Headers = list[tuple[str, str]]


class NoAnswer(Exception):
    """
    There is no answer.

    Args:
        why: In words, with the mend where there is one.
        was_connected: Whether a connection stood, and was cut; else there was none.
    """

    def __init__(self, why: str, *, was_connected: bool = False) -> None:
        super().__init__(why)
        self.was_connected = was_connected


@dataclass(frozen=True)
class Place:
    """A URL, taken apart: `host` in lower case, an IPv6 address in brackets; `target` is path and query."""

    scheme: str
    host: str
    port: int
    target: str

    @classmethod
    def parse(cls, text: str) -> "Place":
        """
        Read a URL as a browser's address bar shows it; a fragment is left out.

        Raises:
            ValueError: It is none that a browser opens.
        """
        parts = urlsplit(text)
        if parts.scheme not in DEFAULT_PORTS or not parts.hostname or "@" in parts.netloc or not text.isprintable():
            raise ValueError("write it as https://app.example.com/")
        try:
            host = parts.hostname if parts.hostname.isascii() else parts.hostname.encode("idna").decode()
        except UnicodeError as error:
            raise ValueError(f"{parts.hostname} is no host name") from error
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if not _VISIBLE.fullmatch(target) or not _VISIBLE.fullmatch(host):
            raise ValueError("percent-encode what is not ASCII, and blanks")
        port = parts.port or DEFAULT_PORTS[parts.scheme]
        return cls(parts.scheme, f"[{host}]" if ":" in host else host.lower(), port, target)

    @property
    def authority(self) -> str:
        """Host and port as `Host` has them: without a port that goes without saying."""
        return self.host if self.port == DEFAULT_PORTS[self.scheme] else f"{self.host}:{self.port}"

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return f"{self.scheme}://{self.authority}"

    def __str__(self) -> str:
        """Give the URL."""
        return self.origin + self.target

    def with_query(self, query: str) -> "Place":
        """Give the same place with some more query."""
        return Place(self.scheme, self.host, self.port, f"{self.target}{'&' if '?' in self.target else '?'}{query}")


@dataclass(frozen=True)
class Answer:
    """
    An answer: as much of its body as came in time, `MAX_BODY_BYTES` at most.

    `own_address` is the one that we asked from.
    """

    status: int
    headers: Headers
    body: bytes = field(repr=False)
    own_address: str = ""

    def values(self, name: str) -> list[str]:
        """Give the values of a header."""
        return [value for found, value in self.headers if found.lower() == name.lower()]

    def first(self, name: str) -> str:
        """Give the first value of a header, or nothing."""
        return next(iter(self.values(name)), "")

    def count(self, text: str) -> int:
        """Give how many times the body has a text in it."""
        return self.body.count(text.encode())

    @property
    def is_redirect(self) -> bool:
        """Whether a browser goes elsewhere."""
        return 300 <= self.status < 400 and bool(self.values("location"))


class Asker:
    """
    Asks.

    Args:
        insecure: Take any certificate.
    """

    def __init__(self, *, insecure: bool = False) -> None:
        self._insecure = insecure

    @functools.cached_property
    def _tls(self) -> ssl.SSLContext:
        """What is trusted: read when it is asked for, since reading the authorities of a system takes a while."""
        context = ssl.create_default_context()
        if self._insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    async def ask(
        self, place: Place, headers: Headers, *, method: str = "GET", body: bytes | None = None, host: str | None = None
    ) -> Answer:
        """
        Send a request, in a thread; the length of the body and, unless given, `Connection: close` come by themselves.

        Args:
            host: `Host`, where it is not that of the place.

        Raises:
            NoAnswer: There is none within `TIMEOUT_SECONDS`.
        """
        headers = [("Host", host or place.authority), *headers]
        return await asyncio.to_thread(self._ask, place, headers, method, body)

    def _ask(self, place: Place, headers: Headers, method: str, body: bytes | None) -> Answer:
        connection = self._connection(place)
        try:
            try:
                connection.connect()
            except (OSError, UnicodeError) as error:
                raise NoAnswer(_why(error, place), was_connected=isinstance(error, ssl.SSLError)) from error
            try:
                return _exchange(connection, place, headers, method, body)
            except (OSError, http.client.HTTPException) as error:
                told = "it closed the connection" if isinstance(error, ConnectionError) else _why(error, place)
                raise NoAnswer(told, was_connected=True) from error
        finally:
            connection.close()

    def _connection(self, place: Place) -> http.client.HTTPConnection:
        host = place.host.strip("[]")
        if place.scheme == "https":
            return http.client.HTTPSConnection(host, place.port, timeout=TIMEOUT_SECONDS, context=self._tls)
        return http.client.HTTPConnection(host, place.port, timeout=TIMEOUT_SECONDS)


def _exchange(
    connection: http.client.HTTPConnection, place: Place, headers: Headers, method: str, body: bytes | None
) -> Answer:
    connection.putrequest(method, place.target, skip_host=True, skip_accept_encoding=True)
    for name, value in headers:
        connection.putheader(name, value)
    if not any(name.lower() == "connection" for name, _ in headers):
        connection.putheader("Connection", "close")
    if body is not None:
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders()
    own_address = connection.sock.getsockname()[0]
    cut: OSError | None = None
    if body is not None:
        try:
            connection.send(body)
        except ConnectionError as error:
            cut = error  # whoever refuses a body may have said so before
    try:
        response = connection.getresponse()
    except ConnectionError:
        raise cut or ConnectionResetError from None
    return Answer(response.status, response.getheaders(), _read(response), own_address)


def _read(response: http.client.HTTPResponse) -> bytes:
    """Give the body, or what came of one that has no end, or is cut off."""
    deadline, body = time.monotonic() + TIMEOUT_SECONDS, b""
    try:
        while len(body) < MAX_BODY_BYTES and time.monotonic() < deadline and (part := response.read1(65_536)):
            body += part
    except (OSError, http.client.HTTPException):
        pass
    return body[:MAX_BODY_BYTES]


def _why(error: Exception, place: Place) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted ({error.verify_message}): mend it, or --insecure for one of a test"
        case ssl.SSLError():
            return f"no TLS is spoken there ({error.reason or error}): is it http://, or another port?"
        case socket.gaierror() | UnicodeError():
            return f"the name {place.host} is not known: look at its DNS"
        case TimeoutError():
            return f"nothing comes within {TIMEOUT_SECONDS:.0f} s"
        case OSError() if error.strerror:
            return error.strerror.lower()
    return f"what answers speaks no HTTP ({type(error).__name__})"
