"""The headers by which a reverse proxy tells the app behind it who is asking."""

from collections.abc import Sequence
from urllib.parse import quote

from gateway.verifier import AccessClaims

RawHeaders = list[tuple[bytes, bytes]]
"""Headers as ASGI sends them."""

NAMES = {
    "remote": ("Remote-User", "Remote-Groups", "Remote-Name", "Remote-Email", "Remote-Sub"),
    "x-auth-request": tuple(
        f"X-Auth-Request-{n}" for n in ("User", "Groups", "Preferred-Username", "Email", "Subject")
    ),
    "x-forwarded": tuple(f"X-Forwarded-{n}" for n in ("User", "Groups", "Preferred-Username", "Email", "Subject")),
}
VISIBLE_ASCII_BUT_PERCENT = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")
MAX_REMEMBERED = 16_384
MAX_IDENTITY_HEADERS_BYTES = 3500
"""All of them together, names and line ends included: more than that, and proxies refuse the whole answer."""


class IdentityHeaders:
    """
    Makes the headers of an allowed subrequest, once for each token.

    Args:
        family: `remote`, `x-auth-request` or `x-forwarded`.
    """

    def __init__(self, family: str) -> None:
        self._names = [name.encode() for name in NAMES[family]]
        self._made: dict[str, tuple[AccessClaims, RawHeaders, bytes]] = {}

    def of(self, claims: AccessClaims) -> RawHeaders:
        """
        Give every identity header, empty when there is nothing to say, so that none of the client's gets through.

        Values are visible ASCII and the space; anything else, and `%`, is percent-encoded UTF-8.
        """
        return self._make(claims)[1]

    def lines_of(self, claims: AccessClaims) -> bytes:
        """Give the same headers as they stand in the answer, with the empty line that ends them."""
        return self._make(claims)[2]

    def _make(self, claims: AccessClaims) -> tuple[AccessClaims, RawHeaders, bytes]:
        made = self._made.get(claims.jti)
        if made is not None and made[0] is claims:
            return made
        values = _values(claims.email, claims.name, claims)
        # Users of an earlier version, or of other settings, may have more than fits. What they may do comes first.
        if lines_bytes(self._names, values) > MAX_IDENTITY_HEADERS_BYTES:
            values = _values(claims.email, None, claims)
        if lines_bytes(self._names, values) > MAX_IDENTITY_HEADERS_BYTES:
            values = _values(None, None, claims)
        headers = [
            *zip(self._names, values, strict=True),
            (b"cache-control", b"no-store"),
            (b"content-length", b"0"),
        ]
        lines = b"".join(b"%s: %s\r\n" % (name.lower(), value) for name, value in headers) + b"\r\n"
        self._made[claims.jti] = made = claims, headers, lines
        if len(self._made) > MAX_REMEMBERED:
            del self._made[next(iter(self._made))]
        return made


def encode_value(text: str) -> bytes:
    """Give a value as it is sent: visible ASCII and the space; anything else, and `%`, percent-encoded UTF-8."""
    return quote(text, safe=VISIBLE_ASCII_BUT_PERCENT).encode()


def lines_bytes(names: Sequence[bytes], values: Sequence[bytes]) -> int:
    """Give how long the lines of these headers are."""
    return sum(len(name) + len(value) + len(": \r\n") for name, value in zip(names, values, strict=True))


def _values(email: str | None, name: str | None, claims: AccessClaims) -> list[bytes]:
    said = (email or claims.sub, ",".join(claims.roles), name or "", email or "", claims.sub)
    return [encode_value(value) for value in said]
