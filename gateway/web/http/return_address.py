"""
Where a login may lead: to the hosts that the operator named, by an address that no browser reads in two ways.

One rule, asked at the subrequest, at the login page and at the login. It takes an address as it stands or not at all,
and mends nothing: whatever a parser would have to guess (blanks, backslashes, user info, dots at the end, letters
outside of ASCII) is no address here (WHATWG URL standard; OWASP Unvalidated Redirects Cheat Sheet).
"""

import re
from urllib.parse import unquote

from gateway.settings import Settings

MAX_CHARACTERS = 2048
OWN_PAGE = ["auth", "account"]
_ADDRESS = re.compile(
    r"""
    (?P<scheme>https?)://
    (?P<host>(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?|\[[0-9a-f:.]+\])
    (?::(?P<port>[0-9]{1,5}))?
    (?P<rest>(?:/[!-~]*|\?[!-~]*)?)
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_FORBIDDEN = re.compile(r'["<>`\\#]')


def safe_return_address(text: str, settings: Settings) -> str | None:
    """
    Give an address that a login may lead to, scheme and host in lower case; None for one that it may not.

    It is `https` or has the issuer's own scheme, its host is one of `return_hosts`, and on the issuer's own host it is
    nothing under `/auth/` but the account.
    """
    if len(text) > MAX_CHARACTERS or _FORBIDDEN.search(text):
        return None
    match = _ADDRESS.fullmatch(text)
    if match is None or (match["port"] is not None and not 1 <= int(match["port"]) <= 65_535):
        return None
    scheme, host, rest = match["scheme"].lower(), match["host"].lower(), match["rest"]
    if scheme != "https" and settings.is_https:
        return None
    if not any(_is_meant(host, pattern) for pattern in settings.allowed_return_hosts):
        return None
    if host == settings.issuer_host and not _is_no_page_of_ours(rest):
        return None
    return f"{scheme}://{text[len(scheme) + 3 :][: len(host)].lower()}{text[len(scheme) + 3 + len(host) :]}"


def _is_meant(host: str, pattern: str) -> bool:
    return host.endswith(pattern[1:]) and host != pattern[2:] if pattern.startswith("*.") else host == pattern


def _is_no_page_of_ours(rest: str) -> bool:
    """Tell whether a path leads past `/auth/`, however a proxy in front may tidy it up; the account is no harm."""
    segments = [segment for segment in unquote(rest.partition("?")[0]).split("/") if segment]
    if any(segment.partition(";")[0] in (".", "..") for segment in segments):
        return False
    return not segments or segments[0].partition(";")[0].lower() != "auth" or segments == OWN_PAGE
