"""
Row 16: what a worker remembers. Its memory with 1,000, 10,000 and 100,000 access tokens, browser sessions, personal
tokens, tokens for an application, and ended sessions, each of which it has seen; a worker of its own for each kind. How
many bytes is one, and does the memory stop growing where docs/capacity.md says? `MOST=1000000` goes on to so many.
"""

import os
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks.bench_status_lists import list_number, session_ids
from benchmarks.clients import drive
from benchmarks.filling import Filler, hash_password
from benchmarks.measuring import Row, chosen, publish
from benchmarks.processes import resident_kib
from benchmarks.servers import bearing, gateway_at, mint, pid_of, redis_at, workplace
from gateway.app import MAX_REMEMBERED_TOKENS
from gateway.sessions.presence import MAX_REMEMBERED as MAX_PRESENCES
from gateway.state import Gateway
from gateway.tokens.application_tokens import MAX_REMEMBERED as MAX_APPLICATION_TOKENS
from gateway.tokens.identity_headers import MAX_REMEMBERED as MAX_HEADERS
from gateway.tokens.known_credentials import MAX_REMEMBERED as MAX_CREDENTIALS
from tests.harness import GatewayProcess, RedisServer, free_port, in_gateway, wait_until

PATH = "/api/authz/auth-request"
AUDIENCE = "https://app.example.com"
MOST = int(os.environ.get("MOST", "0"))  # noqa: TID251 - how a benchmark is told
SIZES = chosen((1000, 10_000, 100_000), (100, 500, 900))
# A token for an application costs a signature: so many are enough to go beyond what is remembered of them.
SIZES_OF_APPLICATIONS = chosen((1000, 10_000, 20_000), (100, 300, 500))
AT_ONCE, ANNOUNCED_AT_ONCE = 5000, 500
MIB = 1024**2

# What docs/capacity.md tells: how many of each at most, and bytes of one.
TOKEN, HEADERS = (MAX_REMEMBERED_TOKENS, 2560), (MAX_HEADERS, 1280)
CREDENTIALS = (MAX_CREDENTIALS, 1280)
PRESENCE, APPLICATION_TOKEN, LINES = (MAX_PRESENCES, 1536), (MAX_APPLICATION_TOKENS, 1280), (MAX_HEADERS, 1536)
ENDED = (2**63, 384)


class Subrequests:
    """Asks once with each of these header lines (`benchmarks.clients.Work`)."""

    def __init__(self, lines: Sequence[str], query: str = "") -> None:
        self._head = f"GET {PATH}{query} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        self._lines = iter(lines)

    def next(self) -> bytes | None:
        """Give the next request."""
        line = next(self._lines, None)
        return None if line is None else f"{self._head}{line}\r\n\r\n".encode()

    def take(self, body: bytes) -> None:
        """Leave the answer alone."""


@dataclass(frozen=True)
class Kind:
    """
    What is remembered: its row, the parts of what one takes (how many at most, and bytes), at which sizes it is looked
    at, and what lets a gateway see some of them, by their numbers.
    """

    number: str
    name: str
    parts: tuple[tuple[int, int], ...]
    sizes: tuple[int, ...]
    show: Callable[[GatewayProcess, range], None]

    def told_bytes(self, count: int) -> int:
        """Give what so many take, as told."""
        return sum(min(count, most) * octets for most, octets in self.parts)


def grown(kind: Kind, redis: RedisServer) -> Row:
    """Show a new gateway more and more of a kind, and give what it came to."""
    metrics = f"127.0.0.1:{free_port()}"
    settings: dict[str, Any] = {"access_token_ttl_seconds": 3600, "session_check_seconds": 600, "audiences": AUDIENCE}
    rss_kib, shown = dict[int, int](), 0
    with gateway_at(redis, metrics_address=metrics, **settings) as gateway:
        for size in kind.sizes:
            while shown < size:
                some = range(shown, min(shown + AT_ONCE, size))
                kind.show(gateway, some)
                shown = some.stop
            rss_kib[size] = resident_kib(pid_of(gateway))
    first, second, last = kind.sizes[0], kind.sizes[1], kind.sizes[-1]
    bytes_each = (rss_kib[second] - rss_kib[first]) * 1024 / (second - first)
    grown_bytes = (rss_kib[last] - rss_kib[first]) * 1024
    told_bytes = kind.told_bytes(last)
    return Row(
        kind.number,
        kind.name,
        f"{grown_bytes / MIB:.1f} MiB for {last:,}",
        f"told {told_bytes / MIB:.0f} MiB",
        grown_bytes / told_bytes,
        1.0,
        at_most=True,
        details={
            "bytes_each": round(bytes_each),
            "rss_mib": {f"{size:,}": kib / 1024 for size, kib in rss_kib.items()},
        },
    )


def kinds(filler: Filler) -> tuple[Kind, ...]:
    """Give all kinds."""
    sizes = SIZES + tuple(size for size in (MOST,) if size > SIZES[-1])

    def ask(gateway: GatewayProcess, lines: Sequence[str], query: str = "") -> None:
        drive(gateway.port, Subrequests(lines, query), asks_again=True)

    def cookies(numbers: range) -> list[str]:
        filler.add_users(numbers.stop)
        filler.add_sessions(numbers.stop)
        return [f"Cookie: gateway_session={cookie}" for cookie in filler.session_cookies(numbers)]

    def show_tokens(gateway: GatewayProcess, numbers: range) -> None:
        ask(gateway, bearing(mint(gateway, len(numbers))))

    def show_sessions(gateway: GatewayProcess, numbers: range) -> None:
        ask(gateway, cookies(numbers))

    def show_personal_tokens(gateway: GatewayProcess, numbers: range) -> None:
        filler.add_users(numbers.stop)
        filler.add_personal_tokens(numbers.stop)
        ask(gateway, bearing(list(filler.personal_token_texts(numbers))))

    def show_applications(gateway: GatewayProcess, numbers: range) -> None:
        lines, query = cookies(numbers), f"?token={AUDIENCE.replace('/', '%2F')}"
        ask(gateway, lines, query)
        ask(gateway, lines, query)  # what is handed out again is remembered as it stands in the answer

    return (
        Kind("16a", "memory of access tokens", (TOKEN, CREDENTIALS, HEADERS), sizes, show_tokens),
        Kind("16b", "memory of browser sessions", (PRESENCE, HEADERS), sizes, show_sessions),
        Kind("16c", "memory of personal tokens", (PRESENCE, HEADERS), sizes, show_personal_tokens),
        Kind(
            "16d",
            "memory of sessions with token=",
            (PRESENCE, HEADERS, APPLICATION_TOKEN, LINES),
            SIZES_OF_APPLICATIONS,
            show_applications,
        ),
        Kind("16e", "memory of ended sessions", (ENDED,), sizes, Endings(sizes[-1]).show),
    )


class Endings:
    """Ends sessions, so many at most, none of them twice."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._session_ids: list[str] = []

    def show(self, gateway: GatewayProcess, numbers: range) -> None:
        """Announce the ends of these, and wait until the gateway has heard of them."""
        in_gateway(gateway.env, partial(self._announce, numbers=numbers))
        wait_until(lambda: _known(gateway) >= numbers.stop, 60, "the gateway to hear of all of them")

    async def _announce(self, opened: Gateway, numbers: range) -> None:
        if not self._session_ids:
            self._session_ids = session_ids(await list_number(opened), self._most)
        for begin in range(numbers.start, numbers.stop, ANNOUNCED_AT_ONCE):
            some = self._session_ids[begin : min(begin + ANNOUNCED_AT_ONCE, numbers.stop)]
            await opened.revocations.announce(tuple(some))


def _known(gateway: GatewayProcess) -> int:
    with urllib.request.urlopen(f"http://{gateway.env['GATEWAY_METRICS_ADDRESS']}/metrics") as answer:
        said: str = answer.read().decode()
    return int(float(said.partition("\ngateway_revocations_known ")[2].partition("\n")[0] or 0))


def main() -> None:
    with workplace() as folder, redis_at(folder) as redis:
        filler = Filler(redis.port, hash_password(4))
        rows = [grown(kind, redis) for kind in kinds(filler)]
    publish("remembered", rows)


if __name__ == "__main__":
    main()
