"""Who is asking: the socket's peer, or behind trusted proxies the right-most address that is not one of them."""

import ipaddress
import re
from functools import lru_cache

from gateway.settings import Network
from gateway.state import GatewayRequest

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
UNKNOWN_PEER = ipaddress.IPv4Address("0.0.0.0")  # noqa: S104 - an address that nobody has, not one to listen on
RATE_PREFIXES_BITS = (64, 48)
MAX_TOLD_CHARACTERS = 100
MAX_TOLD_ADDRESSES = 4
MAX_PORT = 65_535
MAX_REMEMBERED = 4096
MAX_REMEMBERED_CHARACTERS = 45
_WITH_PORT = re.compile(r"(?:\[([0-9A-Fa-f:.]+(?:%[^\[\]]*)?)\]|([0-9.]+))(?::([0-9]{1,5}))?")


def address_of(request: GatewayRequest, trusted: tuple[Network, ...]) -> Address:
    """
    Give the client's address.

    `X-Forwarded-For` is read only when the peer is *trusted* (the setting `trusted_proxies`): from the right, past
    trusted addresses and empty elements. When all are trusted the left-most counts; a port behind an address is cut
    off; garbage counts as the peer. That, and a header from somebody who is not trusted, is told in the log once a
    minute.
    """
    if "gateway.address" not in request.scope:
        request.scope["gateway.address"] = _find_address(request, trusted)
    address: Address = request.scope["gateway.address"]
    return address


def _find_address(request: GatewayRequest, trusted: tuple[Network, ...]) -> Address:
    peer = _parse(request.client.host if request.client else "") or UNKNOWN_PEER
    forwarded = ",".join(request.headers.getlist("x-forwarded-for"))
    if not _is_trusted(peer, trusted):
        if forwarded:
            request.state["gateway"].once_a_minute.warn(
                "X-Forwarded-For is not believed: who sends it is not in trusted_proxies",
                peer=str(peer),
                forwarded=_addresses_in(forwarded),
                mend="if the peer is your proxy, put its address into trusted_proxies",
            )
        return peer
    found = peer
    for element in reversed(forwarded.split(",")):
        element = element.strip(" \t")
        if not element:
            continue
        address = _parse(_without_port(element))
        if address is None:
            request.state["gateway"].once_a_minute.warn(
                "X-Forwarded-For holds no address: the proxy itself counts as the client",
                peer=str(peer),
                element=element[:MAX_TOLD_CHARACTERS],
                mend="let the proxy write addresses alone",
            )
            return peer
        found = address
        if not _is_trusted(address, trusted):
            break
    return found


def rate_key(address: Address) -> str:
    """Give the address as limits count it: IPv4 whole, IPv6 by its /64, in which one customer picks at will."""
    return rate_keys(address)[0]


def rate_keys(address: Address) -> tuple[str, ...]:
    """Give `rate_key` and, for IPv6, the wider network that is counted as well: the /48 that a site may hold."""
    if isinstance(address, ipaddress.IPv4Address):
        return (str(address),)
    return tuple(str(ipaddress.IPv6Network((address, bits), strict=False)) for bits in RATE_PREFIXES_BITS)


def _addresses_in(forwarded: str) -> str:
    """Give the last addresses of a header for the log; what is none, which may be anything, as `?`."""
    parsed = [_parse(_without_port(element.strip(" \t"))) for element in forwarded.split(",")[-MAX_TOLD_ADDRESSES:]]
    return ", ".join(str(address or "?") for address in parsed)


def _without_port(element: str) -> str:
    """Give the address of `1.2.3.4:5678` or `[::1]:80`; anything else, an IPv6 address by itself included, as it is."""
    match = _WITH_PORT.fullmatch(element)
    if match is None or int(match[3] or 0) > MAX_PORT:
        return element
    bracketed: str | None = match[1]
    return bracketed if bracketed and ":" in bracketed else match[2] or element


def is_from_proxy(client: tuple[str, int] | None, trusted: tuple[Network, ...]) -> bool:
    """Tell whether a socket's peer is one of `trusted_proxies`."""
    peer = _parse(client[0]) if client else None
    return peer is not None and _is_trusted(peer, trusted)


def peer_key(peer: str, trusted: tuple[Network, ...]) -> str:
    """Give `rate_key` of a socket's peer; nothing for a trusted one, or one without an address (a Unix socket)."""
    address = _parse(peer)
    return "" if address is None or _is_trusted(address, trusted) else rate_key(address)


def _parse(text: str) -> Address | None:
    """Give an address; None for anything else, which is not remembered where it is longer than an address."""
    return (_read if len(text) <= MAX_REMEMBERED_CHARACTERS else _read.__wrapped__)(text)


@lru_cache(MAX_REMEMBERED)
def _read(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        return address.ipv4_mapped or ipaddress.IPv6Address(int(address))
    return address


def _is_trusted(address: Address, trusted: tuple[Network, ...]) -> bool:
    return any(address in network for network in trusted)
