"""Spellings: what an address, a URL, a network, a limit or a secret looks like, and what is kept of it."""

import ipaddress
import re
from collections.abc import Callable
from typing import NamedTuple

import msgspec

MIN_SECRET_BYTES = 32
MIN_SECRET_LETTERS = 8
MASK = "***"
_WINDOW_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}
_DEFAULT_PORTS = {"http:": "80", "https:": "443"}
_MAPPED_IPV4 = ipaddress.IPv6Network("::ffff:0:0/96")
_SAMPLE = re.compile(
    "change(me|this|it)|replace(me|this|with)|your(own)?secret|defaultsecret|mysupersecret|password123|placeholder"
)
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Quota(msgspec.Struct, frozen=True):
    """So many attempts in a window; both numbers are at least 1."""

    count: int
    window_seconds: int


class Form(NamedTuple):
    """A spelling. *check* gives what is kept of a value (of each element of a list) or raises ValueError."""

    allowed: str
    pattern: str
    check: Callable[[str], str] = str


def canonical_origin(url: str) -> str:
    """Give the origin of a URL as browsers write it: lower case, without default port (RFC 6454 section 6.2)."""
    scheme, _, authority, *_ = url.lower().split("/")
    host, _, port = authority.rpartition(":") if re.search(r":[0-9]+\Z", authority) else (authority, "", "")
    if host.startswith("["):
        host = f"[{ipaddress.IPv6Address(host[1:-1])}]"
    return f"{scheme}//{host}" + (f":{port}" if port and port != _DEFAULT_PORTS.get(scheme) else "")


def domain_matches(host: str, domain: str) -> bool:
    """Tell whether a host is a domain or below it, as browsers do for cookies (RFC 6265 section 5.1.3)."""
    return host == domain or host.endswith(f".{domain}")


def _check_issuer(text: str) -> str:
    canonical_origin(text)
    return text


def _check_address(text: str) -> str:
    return text if ":" not in text else str(ipaddress.IPv6Address(text))


def _check_listener(text: str) -> str:
    host, port = parse_listener(text)
    return f"[{ipaddress.IPv6Address(host)}]:{port}" if text.startswith("[") else text


def parse_listener(text: str) -> tuple[str, int]:
    """Give host and port, an IPv6 address without its brackets."""
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def _check_secret(text: str) -> str:
    secret = without_line_end(text)
    if len(secret.encode()) < MIN_SECRET_BYTES:
        raise ValueError
    if len(set(secret)) < MIN_SECRET_LETTERS or any(_is_repeated(secret, count) for count in range(1, 13)):
        raise ValueError("it is a few characters again and again")
    if _SAMPLE.search(re.sub(r"[\W_]", "", secret.lower())):
        raise ValueError("it is a sample that everybody knows")
    return secret


def _is_repeated(text: str, count: int) -> bool:
    """Tell whether a text is its first *count* characters again and again."""
    return text == (text[:count] * len(text))[: len(text)]


def without_line_end(text: str) -> str:
    """Take one line end off, which files have and variables may have."""
    return re.sub(r"\r?\n\Z", "", text)


def _check_proxy(text: str) -> str:
    parse_network(text)
    return text


def parse_network(text: str) -> Network:
    """
    Give the network that a text names, IPv4-mapped as IPv4.

    Raises:
        ValueError: It is none, has host bits set, or covers every IPv4 address.
    """
    interface = ipaddress.ip_interface(text)
    network = interface.network
    if network.prefixlen == 0 or (network.version == 6 and _MAPPED_IPV4.subnet_of(network)):
        raise ValueError("it covers every IPv4 address")
    if interface.ip != network.network_address:
        raise ValueError(f"host bits are set, write {network} or {interface.ip}")
    if network.version == 6 and network.subnet_of(_MAPPED_IPV4):
        return ipaddress.IPv4Network((network.network_address.packed[-4:], network.prefixlen - 96))
    return network


def parse_quota(text: str) -> Quota | None:
    """Give the quota that `N/minute` and the like spell; None for `off`."""
    count, _, window = text.partition("/")
    return Quota(int(count), _WINDOW_SECONDS[window]) if window else None


_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
_HOST = rf"({_NAME}|\[[0-9A-Fa-f:.]+\])"
_PORT = r":([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
_CREDENTIALS = r"([^\s/?#]*@)?"
_QUERY = r"(\?[^\s#]*)?"
_NODES = rf"{_CREDENTIALS}{_HOST}{_PORT}(,{_HOST}{_PORT})*"
ADDRESS = Form("a name, or an address without brackets", rf"{_NAME}|[0-9A-Fa-f:.]+", _check_address)
REDIS_URL = Form(
    "redis://host:port/db, rediss://host:port/db (TLS), unix:///path, redis+sentinel://host:port,host:port/service/db "
    "or redis+cluster://host:port,host:port, the last two with rediss for TLS too; behind them ?ssl_ca_certs=/path and "
    "other options of redis-py; special characters in a password percent-encoded",
    rf"rediss?://{_CREDENTIALS}{_HOST}({_PORT})?(/[0-9]*)?{_QUERY}|unix://{_CREDENTIALS}/[^\s?#]+{_QUERY}"
    rf"|rediss?\+sentinel://{_NODES}/[^\s/?#]+(/[0-9]+)?{_QUERY}|rediss?\+cluster://{_NODES}/?{_QUERY}",
)
# Braces make hash tags; the others mean something in a pattern of SCAN.
DOMAIN = Form(
    "a name of two labels or more, such as example.com; no address, no port and no dot in front",
    r"(?=.{1,253}\Z)([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+(?![0-9]+\Z)[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?",
    str.lower,
)
RETURN_HOST = Form(
    "a host, or *.name for every host below a name; without scheme and port",
    rf"\*\.{_NAME}|{_HOST}",
    str.lower,
)
KEY_PREFIX = Form(
    r"1 to 64 visible ASCII characters, none of {}*?[] and the backslash", r"((?![{}*?[\]\\])[!-~]){1,64}"
)
PATH = Form("an absolute path, ~/..., or a path relative to the working directory", r"([^~\0]|~(/|\Z))[^\0]*")
SECRET = Form(f"at least {MIN_SECRET_BYTES} bytes; `openssl rand -base64 48` makes one", r"(?s:.*)", _check_secret)
ISSUER = Form(
    "an http:// or https:// URL of at most 255 characters with a host and without user, path, query, fragment and "
    "trailing slash",
    rf"(?=.{{1,255}}\Z)https?://{_HOST}({_PORT})?",
    _check_issuer,
)
PAGE_URL = Form(
    "an http:// or https:// URL of at most 512 visible ASCII characters without user, query and fragment",
    rf"(?=[^?#]{{1,512}}\Z)https?://{_HOST}({_PORT})?(/[!-~]*)?",
)
SHOWN = Form("1 to 100 characters that can be seen", r"(?=.*\S)[^\x00-\x1f\x7f]{1,100}")
PRINTABLE = Form("1 to 255 printable ASCII characters", r"[ -~]{1,255}")
LISTENER = Form("host:port, an IPv6 address in brackets", rf"{_HOST}{_PORT}", _check_listener)
LIMIT = Form(
    "N/second, N/minute, N/hour or N/day with N from 1 to 999999, or off",
    r"[1-9][0-9]{0,5}/(second|minute|hour|day)|off",
)
PROXY = Form(
    "an address or a network, but none that covers everything (0.0.0.0/0, ::/0, *)", r"[0-9A-Fa-f:./]+", _check_proxy
)
ORIGIN = Form(
    "scheme://host or scheme://host:port, without path and wildcard",
    rf"[A-Za-z][A-Za-z0-9+.-]*://{_HOST}({_PORT})?",
    canonical_origin,
)


def mask_password(url: str) -> str:
    """Give a URL with what may be a password in it masked."""
    # Everything up to the last @: a malformed URL may have any character in its password.
    url = re.sub(r"://([^:@/?#]*:)?.*@", rf"://\1{MASK}@", url, flags=re.DOTALL)
    # A name with a percent sign may be `password` too.
    return re.sub(r"([?&][^=&]*(?:password|%)[^=&]*=)[^&]*", rf"\1{MASK}", url)
