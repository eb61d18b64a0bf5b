"""The headers by which a reverse proxy tells the app behind it who is asking."""

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
        said = (claims.email or claims.sub, ",".join(claims.roles), claims.name or "", claims.email or "", claims.sub)
        values = [quote(value, safe=VISIBLE_ASCII_BUT_PERCENT).encode() for value in said]
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
