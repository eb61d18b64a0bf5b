"""The access token of a request, where the gateway looks for it: in `Authorization`, or in its cookie."""

from collections.abc import Callable, Sequence
from typing import Final

RawHeaders = Sequence[tuple[bytes, bytes]]

ACCESS_TOKEN: Final = "access_token"  # noqa: S105 - the name of a cookie


class SentTwice(Exception):
    """Two access tokens at once, or a cookie twice; the message says which."""


def full_cookie_name(name: str, *, is_https: bool) -> str:
    """Give the full name of a cookie: under an https issuer the plain one means nothing (RFC 6265bis, 4.1.3.1)."""
    return f"__Secure-{name}" if is_https else name


def credentials(headers: RawHeaders) -> tuple[list[bytes], list[bytes]]:
    """Give the values of `Authorization`, and those of `Cookie`; names of *headers* are in lower case."""
    authorizations: list[bytes] = []
    cookies: list[bytes] = []
    for name, value in headers:
        if name == b"authorization":
            authorizations.append(value)
        elif name == b"cookie":
            cookies.append(value)
    return authorizations, cookies


def cookie_in(cookies: list[bytes], name: str) -> str | None:
    """
    Give the value of a cookie, as it was sent: quotes belong to it, and blanks and tabs around it do not.

    Args:
        cookies: The values of `Cookie`.

    Raises:
        SentTwice: A sibling subdomain can plant a second one, so neither is believed.
    """
    values = []
    for header in cookies:
        for pair in header.decode("latin-1").split(";"):
            found, separator, value = pair.partition("=")
            if separator and found.strip(" \t") == name:
                values.append(value.strip(" \t"))
    if len(values) > 1:
        raise SentTwice(f"The cookie {name} was sent twice")
    return values[0] if values else None


def access_token_in(
    authorizations: list[bytes],
    cookies: list[bytes],
    *,
    is_https: bool,
    password_of: Callable[[bytes], str | None] | None = None,
) -> tuple[str, bool] | None:
    """
    Give the access token and whether it came as a cookie; None when there is none.

    Args:
        authorizations: The values of `Authorization`.
        cookies: Those of `Cookie`.
        is_https: Whether the issuer is, and the cookie called `__Secure-access_token`.
        password_of: Gives a token that is the password of `Basic` (RFC 7617), from what follows the scheme, and None
            for another password. Without it `Basic` is never looked at.

    Raises:
        SentTwice: There are two.
    """
    if len(authorizations) > 1:
        raise SentTwice("Two Authorization headers")
    cookie = cookie_in(cookies, full_cookie_name(ACCESS_TOKEN, is_https=is_https)) if cookies else None
    scheme, _, value = authorizations[0].strip(b" \t").partition(b" ") if authorizations else (b"", b"", b"")
    sent = None
    if (scheme := scheme.lower()) == b"bearer":
        sent = value.strip(b" ").decode("latin-1")
    elif password_of is not None and scheme == b"basic":
        sent = password_of(value)
    if sent is None:
        return (cookie, True) if cookie is not None else None
    if cookie is not None:
        raise SentTwice("Two access tokens: one in Authorization, one as a cookie")
    return sent, False


def find_access_token(headers: RawHeaders, *, is_https: bool) -> tuple[str, bool] | None:
    """Do the same with all headers of a request, whose names are in lower case; `Basic` is never looked at."""
    return access_token_in(*credentials(headers), is_https=is_https)
