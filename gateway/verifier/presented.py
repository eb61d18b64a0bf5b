"""The access token of a request, where the gateway looks for it: in `Authorization`, or in its cookie."""

from collections.abc import Sequence
from typing import Final

RawHeaders = Sequence[tuple[bytes, bytes]]

ACCESS_TOKEN: Final = "access_token"  # noqa: S105 - the name of a cookie


class SentTwice(Exception):
    """Two access tokens at once, or a cookie twice; the message says which."""


def full_cookie_name(name: str, *, is_https: bool) -> str:
    """Give the full name of a cookie: under an https issuer the plain one means nothing (RFC 6265bis, 4.1.3.1)."""
    return f"__Secure-{name}" if is_https else name


def read_cookie(headers: RawHeaders, name: str) -> str | None:
    """
    Give the value of a cookie, as it was sent: quotes belong to it, and blanks and tabs around it do not.

    Raises:
        SentTwice: A sibling subdomain can plant a second one, so neither is believed.
    """
    values = []
    for header_name, header in headers:
        if header_name == b"cookie":
            for pair in header.decode("latin-1").split(";"):
                found, separator, value = pair.partition("=")
                if separator and found.strip(" \t") == name:
                    values.append(value.strip(" \t"))
    if len(values) > 1:
        raise SentTwice(f"The cookie {name} was sent twice")
    return values[0] if values else None


def find_access_token(headers: RawHeaders, *, is_https: bool) -> tuple[str, bool] | None:
    """
    Give the access token and whether it came as a cookie; None when there is none.

    Args:
        headers: Their names in lower case.
        is_https: Whether the issuer is, and the cookie called `__Secure-access_token`.

    Raises:
        SentTwice: There are two.
    """
    scheme, credentials = find_authorization(headers)
    bearer = credentials.strip(b" ").decode("latin-1") if scheme == b"bearer" else None
    return beside_cookie(bearer, headers, is_https=is_https)


def find_authorization(headers: RawHeaders) -> tuple[bytes, bytes]:
    """
    Give the scheme of `Authorization`, in lower case, and what follows it; both empty without one.

    Raises:
        SentTwice: There are two.
    """
    authorizations = [value for name, value in headers if name == b"authorization"]
    if not authorizations:
        return b"", b""
    if len(authorizations) > 1:
        raise SentTwice("Two Authorization headers")
    scheme, _, credentials = authorizations[0].strip(b" \t").partition(b" ")
    return scheme.lower(), credentials


def beside_cookie(sent: str | None, headers: RawHeaders, *, is_https: bool) -> tuple[str, bool] | None:
    """
    Give the token that was sent in `Authorization`, or that of the cookie, and whether it is this one.

    Raises:
        SentTwice: There are both, or two cookies.
    """
    cookie = read_cookie(headers, full_cookie_name(ACCESS_TOKEN, is_https=is_https))
    if sent is None:
        return (cookie, True) if cookie is not None else None
    if cookie is not None:
        raise SentTwice("Two access tokens: one in Authorization, one as a cookie")
    return sent, False
