"""The headers by which a reverse proxy tells the app behind it who is asking."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol
from urllib.parse import quote

RawHeaders = list[tuple[bytes, bytes]]
"""Headers as ASGI sends them."""

NAMES = {
    "remote": ("Remote-User", "Remote-Groups", "Remote-Name", "Remote-Email", "Remote-Sub"),
    "x-auth-request": tuple(
        f"X-Auth-Request-{n}" for n in ("User", "Groups", "Preferred-Username", "Email", "Subject")
    ),
    "x-forwarded": tuple(f"X-Forwarded-{n}" for n in ("User", "Groups", "Preferred-Username", "Email", "Subject")),
}
ACCESS_TOKEN_NAMES = {
    "remote": "Remote-Access-Token",
    "x-auth-request": "X-Auth-Request-Access-Token",
    "x-forwarded": "X-Forwarded-Access-Token",
}
"""What `token=` adds."""
HEADER_NAMES = {family: (*names, ACCESS_TOKEN_NAMES[family]) for family, names in NAMES.items()}
"""All of each family."""
VISIBLE_ASCII_BUT_PERCENT = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")
MAX_REMEMBERED = 16_384
MAX_REMEMBERED_QUERY_BYTES = 256
MAX_IDENTITY_HEADERS_BYTES = 3500
"""All of them together, names and line ends included: more than that, and proxies refuse the whole answer."""


class Identity(Protocol):
    """Who is asking: the claims of an access token, or a browser session."""

    @property
    def sub(self) -> str:
        """Give the user."""

    @property
    def roles(self) -> tuple[str, ...]:
        """Give what the user may do."""

    @property
    def email(self) -> str | None:
        """Give the address, where it may be told."""

    @property
    def name(self) -> str | None:
        """Give the name, where it may be told."""


class _Lines(NamedTuple):
    """Header lines about *who*, which hold from one second to another one, since the epoch; the last is not in it."""

    who: Identity
    since: int
    until: int
    lines: bytes


class IdentityHeaders:
    """
    Makes the headers of an allowed subrequest, once for each token or session.

    Args:
        family: `remote`, `x-auth-request` or `x-forwarded`.
    """

    def __init__(self, family: str) -> None:
        self._names = [name.encode() for name in NAMES[family]]
        self._access_token_name = ACCESS_TOKEN_NAMES[family].lower().encode()
        self._made: dict[str, tuple[Identity, RawHeaders, bytes]] = {}
        self._asked: dict[tuple[str, bytes], _Lines] = {}

    def of(self, key: str, who: Identity, access_token: str | None = None) -> RawHeaders:
        """
        Give every identity header, empty when there is nothing to say, so that none of the client's gets through.

        Values are visible ASCII and the space; anything else, and `%`, is percent-encoded UTF-8.

        Args:
            key: What *who* is remembered by: the `jti` of a token, the `sid` of a session.
            access_token: One for the application, which has a header of its own.
        """
        headers = self._make(key, who)[1]
        return headers if access_token is None else [*headers, (self._access_token_name, access_token.encode())]

    def lines_of(self, key: str, who: Identity, access_token: str | None = None) -> bytes:
        """Give the same headers as they stand in the answer, with the empty line that ends them."""
        lines = self._make(key, who)[2]
        if access_token is None:
            return lines
        return b"%s: %s\r\n%s" % (self._access_token_name, access_token.encode(), lines)

    def remembered(self, key: str, query: bytes, who: Identity, now: int) -> bytes | None:
        """Give the lines that were found for *who* and this query of a proxy's configuration, if they hold still."""
        asked = self._asked.get((key, query))
        return asked.lines if asked is not None and asked.who is who and asked.since <= now < asked.until else None

    def remember(self, key: str, query: bytes, who: Identity, lines: bytes, since: int, until: int) -> None:
        """Remember lines for *who* and a query, if that is short; they hold from *since* until before *until*."""
        if len(query) > MAX_REMEMBERED_QUERY_BYTES:
            return
        self._asked.pop((key, query), None)
        self._asked[key, query] = _Lines(who, since, until, lines)
        if len(self._asked) > MAX_REMEMBERED:
            del self._asked[next(iter(self._asked))]

    def _make(self, key: str, who: Identity) -> tuple[Identity, RawHeaders, bytes]:
        made = self._made.get(key)
        if made is not None and made[0] is who:
            return made
        values = _values(who.email, who.name, who)
        # Users of an earlier version, or of other settings, may have more than fits. What they may do comes first.
        if lines_bytes(self._names, values) > MAX_IDENTITY_HEADERS_BYTES:
            values = _values(who.email, None, who)
        if lines_bytes(self._names, values) > MAX_IDENTITY_HEADERS_BYTES:
            values = _values(None, None, who)
        headers = [
            *zip(self._names, values, strict=True),
            (b"cache-control", b"no-store"),
            (b"content-length", b"0"),
        ]
        lines = b"".join(b"%s: %s\r\n" % (name.lower(), value) for name, value in headers) + b"\r\n"
        self._made[key] = made = who, headers, lines
        if len(self._made) > MAX_REMEMBERED:
            del self._made[next(iter(self._made))]
        return made


def encode_value(text: str) -> bytes:
    """Give a value as it is sent: visible ASCII and the space; anything else, and `%`, percent-encoded UTF-8."""
    return quote(text, safe=VISIBLE_ASCII_BUT_PERCENT).encode()


def lines_bytes(names: Sequence[bytes], values: Sequence[bytes]) -> int:
    """Give how long the lines of these headers are."""
    return sum(len(name) + len(value) + len(": \r\n") for name, value in zip(names, values, strict=True))


def _values(email: str | None, name: str | None, who: Identity) -> list[bytes]:
    said = (email or who.sub, ",".join(who.roles), name or "", email or "", who.sub)
    return [encode_value(value) for value in said]
