"""
Whether a Redis is fit to keep sessions: what stops a start, what an operator should mend, and whether clocks agree.

Each message ends in its mend. What our user may do is found out by doing it, in ways that change nothing: that takes no
right to look at the access control list.

One file: it is a list of findings, each a few lines.
"""

import asyncio
import contextlib
import ipaddress
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

from gateway.clock import Clock
from gateway.errors import StartupError, StoreUnavailable
from gateway.store.confirmations import WAITAOF_SINCE, version_of
from gateway.store.store import REFUSED_BY_BREAKER, Store
from gateway.store.url import read_url, without_credentials

OLDEST_VERSION = (6, 2)
DRY_RUN_SINCE = (7, 0)
CLOCK_TOLERANCE_SECONDS = 5
WATCH_SECONDS = 10.0
LOOK_SECONDS = 1.0

# For each branch the first release without the hole. A branch that is not named is fixed when it is newer than all of
# these, and else never was.
LUA_HOLES: dict[str, dict[str, dict[tuple[int, int], int]]] = {
    "Redis": {
        "CVE-2024-46981": {(6, 2): 17, (7, 2): 7, (7, 4): 2},
        "CVE-2025-49844": {(6, 2): 20, (7, 2): 11, (7, 4): 6, (8, 0): 4, (8, 2): 2},
    },
    "Valkey": {
        "CVE-2025-49844": {(7, 2): 11, (8, 0): 6, (8, 1): 4},
        "CVE-2025-67733": {(7, 2): 12, (8, 0): 7, (8, 1): 6, (9, 0): 2},
    },
}

KEY = "<key>"
NEEDED: tuple[tuple[str, ...], ...] = (
    ("DEL", KEY),
    ("ECHO", "check"),
    ("EVALSHA", "0" * 40, "1", KEY),
    ("EXISTS", KEY),
    ("GET", KEY),
    ("HDEL", KEY, "field"),
    ("HEXISTS", KEY, "field"),
    ("HGET", KEY, "field"),
    ("HGETALL", KEY),
    ("HINCRBY", KEY, "field", "not a number"),
    ("HMGET", KEY, "field"),
    ("HSET", KEY, "field", "value", "field without a value"),
    ("HVALS", KEY),
    ("INFO", "server"),
    ("PEXPIREAT", KEY, "1"),
    ("PTTL", KEY),
    ("SCAN", "0", "MATCH", KEY, "COUNT", "1"),
    ("SCRIPT LOAD", "not Lua"),
    ("SET", KEY, "value", "no such option"),
    ("TIME",),
    ("WAIT", "0", "1"),
    ("WAITAOF", "0", "0", "1"),
    ("XADD", KEY, "not an id", "field", "value"),
    ("XREAD", "COUNT", "1", "STREAMS", KEY, "0-0"),
    ("XREVRANGE", KEY, "+", "-", "COUNT", "1"),
    ("XTRIM", KEY, "MAXLEN", "0"),
)
"""Every command that the gateway sends or its scripts run, on a key that is not there or with senseless arguments."""

TOO_MUCH: tuple[tuple[str, ...], ...] = (("CONFIG GET", "port"), ("LASTSAVE",), ("RANDOMKEY",))
"""Harmless members of what is not needed. The harmful ones are asked for only where Redis can tell without doing it."""

HARMFUL: tuple[tuple[str, ...], ...] = (("FLUSHALL",), ("KEYS", "*"))

ACL_MEND = "take the line for the user gateway in config/redis/*/users.acl"

logger = logging.getLogger("gateway")


async def check_server(store: Store, clock: Clock) -> list[str]:
    """
    See whether the server is fit to keep sessions, and give warnings about what is merely not good.

    Raises:
        StartupError: The server is out of reach, older than 6.2, would evict keys (`maxmemory-policy`), or refuses our
            user a command or a key that the gateway needs.
    """
    facts = await _facts(store)
    if version_of(facts) < OLDEST_VERSION:
        raise StartupError(f"Redis {facts['redis_version']} is too old: use Redis 6.2 or newer, or Valkey")
    if evicts(facts):
        raise StartupError(
            f"maxmemory-policy of Redis is {facts['maxmemory_policy']}, which would drop sessions and users: "
            "CONFIG SET maxmemory-policy noeviction, and the same in its configuration file"
        )
    if missing := await _missing(store, facts):
        raise StartupError(f"Redis refuses its user what the gateway needs ({', '.join(missing)}): {ACL_MEND}")
    warnings = []
    if not facts.get("aof_enabled"):
        warnings.append("Redis keeps no append-only file: a restart loses sessions and users (appendonly yes)")
    if "server_time_usec" in facts:
        warnings += _apart(int(facts["server_time_usec"]) // 1_000_000 - clock())
    return warnings


async def examine_server(store: Store, redis_url: str, facts: dict[str, Any]) -> list[str]:
    """
    Give warnings about a server of the operator's, as `gateway check` shows them: rights, build, losses, memory.

    Args:
        facts: What `Store.server_facts` gave.

    Raises:
        StoreUnavailable: Redis went away meanwhile.
    """
    warnings = [*_holes(facts), *await _excess(store, facts)]
    if read_url(redis_url).has_credentials and await _lets_anybody_in(store, redis_url):
        warnings.append(f"Redis lets anybody in without a password, as the user default: switch that off, {ACL_MEND}")
    warnings += await _loss(store, facts)
    if not facts.get("maxmemory"):
        warnings.append(
            "maxmemory of Redis is not set: with a limit below what the host has, a full Redis still ends sessions; "
            "without one the system kills it (maxmemory 512mb, say)"
        )
    return warnings


def doubtful_url(redis_url: str) -> list[str]:
    """Give warnings about the way to Redis, as far as its URL tells: passwords and sessions' facts travel on it."""
    address = read_url(redis_url)
    if address.scheme == "unix":
        return []
    warnings = []
    if not address.has_credentials:
        warnings.append(f"redis_url has no user: anybody who reaches this Redis is its master ({ACL_MEND})")
    away = [host for host, _ in address.hosts if not _is_loopback(host)]
    if away and not address.is_tls:
        with_tls = address.scheme.replace("redis", "rediss")
        warnings.append(
            f"redis_url leads to {away[0]} without TLS: use {with_tls}://, or a network that nobody else is on"
        )
    return warnings


async def watch_server(store: Store, clock: Clock, period_seconds: float = WATCH_SECONDS) -> None:
    """
    Log, once each, that the clocks part or Redis comes to evict keys, and that all is well again; until cancelled.

    Sessions live on Redis's clock and access tokens on ours: apart, one kind ends too early for the other.
    """
    are_apart = is_evicting = False
    while True:
        with contextlib.suppress(StoreUnavailable):
            seconds, _ = await store.execute("TIME")
            ahead_seconds = int(seconds) - clock()
            if are_apart != (abs(ahead_seconds) > CLOCK_TOLERANCE_SECONDS):
                are_apart = not are_apart
                fields: dict[str, object] = {"redis_ahead_seconds": ahead_seconds}
                if are_apart:
                    logger.warning("the clocks of redis and of this host are apart", extra={"fields": fields})
                else:
                    logger.info("the clocks of redis and of this host agree again", extra={"fields": fields})
            facts = await store.server_facts()
            if is_evicting != evicts(facts):
                is_evicting = not is_evicting
                if is_evicting:
                    fields = {"policy": facts["maxmemory_policy"], "mend": "CONFIG SET maxmemory-policy noeviction"}
                    logger.error("redis would drop sessions and users when it is full", extra={"fields": fields})
                else:
                    logger.info("redis keeps everything again")
        await asyncio.sleep(period_seconds)


class ServerLook:
    """
    Whether the server is fit to serve, asked at most once in `LOOK_SECONDS` however many ask us.

    A look is shared by all who come within the second after it began, unless what follows the stream of revocations
    has lost Redis, or found it again, in between. One that was refused without asking
    (`gateway.store.breaker`) is not kept.

    Args:
        monotonic: Seconds that never go back.
    """

    def __init__(self, store: Store, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._monotonic = monotonic
        self._begun_at = 0.0
        self._was_heard = False
        self._look: asyncio.Task[bool] | None = None

    async def is_fit(self) -> bool:
        """Tell whether the server answers, and would drop nothing when it is full."""
        now = self._monotonic()
        is_heard = self._store.stream_is_heard
        if self._look is None or now - self._begun_at >= LOOK_SECONDS or is_heard != self._was_heard:
            self._begun_at, self._was_heard, self._look = now, is_heard, asyncio.create_task(self._ask())
        return await asyncio.shield(self._look)  # who goes away does not end it for the others

    async def _ask(self) -> bool:
        try:
            return not evicts(await self._store.server_facts())
        except StoreUnavailable as error:
            if error.cause == REFUSED_BY_BREAKER:
                self._look = None
            return False


def evicts(facts: dict[str, Any]) -> bool:
    """Tell whether a full Redis would drop keys, by what INFO says: sessions and users."""
    return bool(facts.get("maxmemory_policy", "noeviction") != "noeviction")


async def _facts(store: Store) -> dict[str, Any]:
    try:
        return await store.server_facts()
    except StoreUnavailable as error:
        cause = error.__cause__
        raise StartupError(
            f"Redis cannot be used ({type(cause).__name__}: {cause}): start it, or mend redis_url"
        ) from error


async def _missing(store: Store, facts: dict[str, Any]) -> list[str]:
    """Give what our user lacks: names of commands, and the key pattern."""
    needed = [command for command in NEEDED if command[0] != "WAITAOF" or version_of(facts) >= WAITAOF_SINCE]
    key = store.key("check")
    try:
        refusals = await store.refusals([[word.replace(KEY, key) for word in command] for command in needed])
    except StoreUnavailable as error:
        raise StartupError(f"Redis cannot be used ({error.__cause__}): start it, or mend redis_url") from error
    refused = {command[0]: words for command, words in zip(needed, refusals, strict=True) if words is not None}
    pattern = [f"keys ~{store.prefix}*"] if any(" key" in words for words in refused.values()) else []
    return [*(name for name, words in refused.items() if " key" not in words), *pattern]


async def _excess(store: Store, facts: dict[str, Any]) -> list[str]:
    """Tell what our user may do, and has no need to."""
    outside = f"not-{store.prefix}check"
    *commands, other_keys, whoami = await store.refusals([*TOO_MUCH, ("EXISTS", outside), ("ACL WHOAMI",)])
    may = [asked[0] for asked, words in zip(TOO_MUCH, commands, strict=True) if words is None]
    if whoami is None and version_of(facts) >= DRY_RUN_SINCE:
        user = _one(await store.execute("ACL WHOAMI"))
        if await store.refusals([("ACL DRYRUN", user, "INFO")]) == [None]:
            for asked in HARMFUL:
                if _one(await store.execute("ACL DRYRUN", user, *asked)) == "OK":
                    may.append(asked[0])
    if other_keys is None:
        may.append(f"keys other than {store.prefix}*")
    return [f"the user of redis_url may do more than it needs ({', '.join(may)}): {ACL_MEND}"] if may else []


async def _lets_anybody_in(store: Store, redis_url: str) -> bool:
    anonymous = Store(without_credentials(redis_url), store.prefix)
    try:
        return await anonymous.refusals([("EXISTS", anonymous.key("check"))]) == [None]
    except StoreUnavailable:
        return False
    finally:
        await anonymous.close()


async def _loss(store: Store, facts: dict[str, Any]) -> list[str]:
    """Tell what a power failure takes, where nobody can be asked whether a write is safe."""
    asked = ("CONFIG GET", "appendfsync")
    may_look = await store.refusals([asked]) == [None]
    policy = _texts((await store.execute(*asked)).items()).get("appendfsync") if may_look else None
    if not facts.get("aof_enabled") or policy == "always":
        return []
    if policy == "no":
        return [
            "appendfsync of Redis is no: a power failure loses what the system had not written (appendfsync everysec)"
        ]
    if facts.get("connected_slaves"):
        return []
    # https://github.com/redis/redis/pull/13793; Valkey 9.1.2 has it still. Valkey 7.2 is older than the mistake.
    if version_of(facts) == (7, 4) or not str(facts.get("valkey_version", "7.")).startswith("7."):
        return [
            "WAITAOF of this release may answer before the disk has a write: under appendfsync everysec a power "
            "failure can lose the last second, ended sessions among it (appendfsync always, or a replica)"
        ]
    if version_of(facts) >= WAITAOF_SINCE:
        return []
    return [
        "this Redis cannot be asked whether a write is on disk (WAITAOF, since 7.2) and has no replica: under "
        "appendfsync everysec a power failure loses the last second or two, ended sessions among it "
        "(appendfsync always, or a newer Redis or Valkey)"
    ]


def _holes(facts: dict[str, Any]) -> list[str]:
    """Tell which holes in Lua a release has: whoever may load a script could run programs as Redis."""
    product = "Valkey" if "valkey_version" in facts else "Redis"
    text = str(facts.get(f"{product.lower()}_version", "0.0.0"))
    major, minor, patch = [int(part) if part.isdigit() else 0 for part in f"{text}.0.0".split(".")[:3]]
    found = []
    for cve, fixed in LUA_HOLES[product].items():
        if patch < fixed[major, minor] if (major, minor) in fixed else (major, minor) < max(fixed):
            found.append(cve)
    if not found:
        return []
    newest = ", ".join(f"{a}.{b}.{c}" for (a, b), c in LUA_HOLES[product][found[-1]].items())
    return [
        f"{product} {text} as published has a hole in its Lua ({', '.join(found)}): update it ({newest} or newer), or "
        "see that your distribution has mended its package without a new number"
    ]


def _apart(ahead_seconds: int) -> list[str]:
    if abs(ahead_seconds) <= CLOCK_TOLERANCE_SECONDS:
        return []
    way = "ahead of" if ahead_seconds > 0 else "behind"
    return [f"the clock of Redis is {abs(ahead_seconds)} s {way} ours: keep both hosts on time (NTP)"]


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _one(reply: Any) -> str:
    """Give the text of a reply; of a cluster's, that of one node."""
    first = next(iter(reply.values())) if isinstance(reply, dict) else reply
    return first.decode() if isinstance(first, bytes) else str(first)


def _texts(pairs: Iterable[tuple[Any, Any]]) -> dict[str, str]:
    return {_one(name): _one(value) for name, value in pairs}
