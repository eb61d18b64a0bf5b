"""
The one door to Redis: opens it, runs commands and scripts under a deadline, and turns its errors into ours.

Every key of one script carries the same hash tag, so that everything works on Redis Cluster. Commands that were
sent may be sent once more when the connection broke, never after a timeout; every script here is written so that
running twice does no harm.
"""

import asyncio
import hashlib
import logging
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any
from urllib.parse import unquote, urlsplit

from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster, Sentinel
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ReadOnlyError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.maint_notifications import MaintNotificationsConfig

from gateway.errors import StartupError, StoreUnavailable

CONNECT_TIMEOUT_SECONDS = 0.3
REPLY_TIMEOUT_SECONDS = 0.5
CALL_DEADLINE_SECONDS = 1.0
DURABLE_DEADLINE_SECONDS = 1.7
REPLICA_TIMEOUT_MILLISECONDS = 500
DISK_TIMEOUT_MILLISECONDS = 1300
SERVER_FACTS_SECONDS = 5.0
STREAM_BLOCK_MILLISECONDS = 500
MAX_CONNECTIONS = 32

logger = logging.getLogger("gateway.store")


@dataclass(frozen=True)
class Script:
    """A Lua script of `gateway/lua`, known to Redis by the SHA-1 of its text."""

    name: str
    text: str = field(repr=False)
    sha1: str

    @classmethod
    def load(cls, name: str) -> "Script":
        """Read `gateway/lua/NAME.lua` and what its header includes."""
        folder = files("gateway.lua")
        text = (folder / f"{name}.lua").read_text()
        for included in re.findall(r"^-- INCLUDES (\w+)$", text, re.MULTILINE):
            text = (folder / f"{included}.lua").read_text() + text
        return cls(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


class Store:
    """
    Redis under a key prefix.

    Every method raises `StoreUnavailable` when Redis is away, full, read-only, loading, or answers with an error.
    Replies are bytes, integers and lists of these.
    """

    def __init__(self, url: str, prefix: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.prefix = prefix
        try:
            self._client = _open_client(url, REPLY_TIMEOUT_SECONDS)
        except (TypeError, ValueError) as error:
            raise StartupError(f"redis_url cannot be used ({error}): see its spelling in the settings") from error
        self._stream_client = _open_client(url, STREAM_BLOCK_MILLISECONDS / 1000 + REPLY_TIMEOUT_SECONDS)
        self._durable_client = _open_client(url, DURABLE_DEADLINE_SECONDS)
        self._monotonic = monotonic
        self._confirmation: tuple[str | int, ...] = ()
        self._confirmation_known_until = 0.0

    def key(self, name: str) -> str:
        """Give the full name of a key. The part in braces, if any, is its hash tag."""
        return self.prefix + name

    async def run(
        self, script: Script, keys: Sequence[str], *arguments: str | int | bytes, durable: bool = False
    ) -> Any:
        """
        Run *script* on *keys*, all of one slot. Loads it when Redis has forgotten it.

        With *durable* the answer is given when a replica has the write, or where there is none the disk, if the
        server can be asked for that (WAIT; WAITAOF since Redis 7.2). `StoreUnavailable` then also means that
        nobody has confirmed it in time: it may be lost, and should be done again.
        """
        call = self._run(script, ("EVALSHA", script.sha1, len(keys), *keys, *arguments), durable)
        return await self._bounded(call, script.name, durable)

    async def execute(self, *command: str | int | bytes, durable: bool = False) -> Any:
        """Run one command, given as its words; *durable* as with `run`."""
        call = self._send_durably(command) if durable else self._client.execute_command(*command)
        return await self._bounded(call, str(command[0]), durable)

    async def scan(self, pattern: str) -> AsyncIterator[str]:
        """Give every key that matches *pattern* (prefix included by this method), in no order, maybe twice."""
        try:
            async for key in self._client.scan_iter(match=self.key(pattern), count=500):
                yield key.decode()
        except (RedisError, OSError) as error:
            raise self._unavailable("SCAN", error) from error

    async def read_stream(
        self, key: str, after_id: str, count: int, *, wait: bool
    ) -> list[tuple[str, dict[bytes, bytes]]]:
        """
        Give up to *count* entries of a stream that follow *after_id*.

        On a connection of its own. With *wait* the first entry is waited for, half a second at most.
        """
        block = STREAM_BLOCK_MILLISECONDS if wait else None
        try:
            reply = await self._stream_client.xread({key: after_id}, count=count, block=block)
        except (RedisError, OSError) as error:
            raise self._unavailable("XREAD", error) from error
        _heed_cancellation()
        return [(entry_id.decode(), fields) for _, entries in reply or () for entry_id, fields in entries]

    async def server_facts(self) -> dict[str, Any]:
        """Give what INFO tells about the server (one node of a cluster), by its own names."""
        facts = await self._bounded(self._client.info(), "INFO")
        first = next(iter(facts.values()))
        return first if isinstance(first, dict) and "redis_version" in first else facts

    async def close(self) -> None:
        """Close every connection."""
        for client in (self._client, self._stream_client, self._durable_client):
            await client.aclose()
            pool = getattr(client, "connection_pool", None)
            if isinstance(pool, SentinelConnectionPool):
                for sentinel in pool.sentinel_manager.sentinels:
                    await sentinel.aclose()

    async def _run(self, script: Script, command: Sequence[str | int | bytes], durable: bool) -> Any:
        send = self._send_durably if durable else self._send
        for _ in range(2):
            try:
                return await send(command)
            except NoScriptError:
                await self._client.script_load(script.text)
        return await send(("EVAL", script.text, *command[2:]))  # somebody flushes again and again

    async def _send(self, command: Sequence[str | int | bytes]) -> Any:
        return await self._client.execute_command(*command)

    async def _send_durably(self, command: Sequence[str | int | bytes]) -> Any:
        """Send a write and wait for its confirmation, on one connection: WAIT counts that connection's writes."""
        if not isinstance(self._client, Redis):
            return await self._send(command)  # a cluster's pipeline would send WAIT to any node
        if self._monotonic() >= self._confirmation_known_until:
            self._confirmation = _confirmation(await self._client.info())
            self._confirmation_known_until = self._monotonic() + SERVER_FACTS_SECONDS
        if not self._confirmation:
            return await self._send(command)
        pipeline = self._durable_client.pipeline(transaction=False)
        pipeline.execute_command(*command)
        pipeline.execute_command(*self._confirmation)
        reply, confirmed = await pipeline.execute(raise_on_error=False)
        for answer in (reply, confirmed):
            if isinstance(answer, Exception):
                self._confirmation_known_until = 0.0
                raise answer
        if not (confirmed[0] if isinstance(confirmed, list) else confirmed):
            self._confirmation_known_until = 0.0
            raise RedisError("a write was not confirmed in time by a replica or the disk")
        return reply

    async def _bounded(self, call: Any, what: str, durable: bool = False) -> Any:
        try:
            async with asyncio.timeout(DURABLE_DEADLINE_SECONDS if durable else CALL_DEADLINE_SECONDS):
                reply = await call
        except (RedisError, OSError) as error:
            # Redis 6.2 tells of a script's write to a replica within another error.
            if isinstance(error, ReadOnlyError) or "READONLY" in str(error):
                await self._drop_connections()
            raise self._unavailable(what, error) from error
        _heed_cancellation()
        return reply

    async def _drop_connections(self) -> None:
        """They lead to a server that is no longer the master: none of them is of use."""
        for client in (self._client, self._durable_client):
            if isinstance(client, Redis):  # a cluster finds its new master by itself
                # Those in use are dropped when they come back, the others at one stroke: a connection that ends while
                # somebody uses it fails in ways that redis-py has no error for.
                pool = client.connection_pool
                await pool.update_active_connections_for_reconnect()  # type: ignore[no-untyped-call]
                for connection in list(pool._available_connections):
                    await connection.disconnect(nowait=True)

    def _unavailable(self, what: str, error: Exception) -> StoreUnavailable:
        cause = f"{type(error).__name__}: {error}".splitlines()[0]
        logger.warning("redis does not serve", extra={"fields": {"call": what, "cause": cause}})
        return StoreUnavailable()


class _Cluster(RedisCluster):
    """One that sends nothing again after a timeout."""

    ERRORS_ALLOW_RETRY = tuple(  # type: ignore[assignment]
        kind for kind in RedisCluster.ERRORS_ALLOW_RETRY if kind is not RedisTimeoutError
    )


def _heed_cancellation() -> None:
    # redis-py sends by `asyncio.wait_for`: that of Python 3.11 forgets a cancellation which comes as the sending ends.
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _confirmation(facts: dict[str, Any]) -> tuple[str | int, ...]:
    """Give the command that waits until a write is safe: with a replica, else on disk, else there is none."""
    # A replica that is still loading what was before confirms nothing.
    if any(re.fullmatch(r"slave[0-9]+", name) and fact["state"] == "online" for name, fact in facts.items()):
        return ("WAIT", 1, REPLICA_TIMEOUT_MILLISECONDS)
    if facts.get("aof_enabled") and _version(facts) >= (7, 2):
        return ("WAITAOF", 1, 0, DISK_TIMEOUT_MILLISECONDS)
    return ()


def _version(facts: dict[str, Any]) -> tuple[int, ...]:
    return tuple(int(part) for part in str(facts.get("redis_version", "0.0")).split(".")[:2])


def _open_client(url: str, reply_timeout_seconds: float) -> Any:
    options: dict[str, Any] = {
        "socket_timeout": reply_timeout_seconds,
        "socket_connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "driver_info": None,
    }
    broken_connections_twice = Retry(
        ExponentialWithJitterBackoff(base=0.01, cap=0.1), 2, supported_errors=(RedisConnectionError,)
    )
    scheme, _, rest = url.partition("://")
    if scheme == "redis+cluster":
        credentials, _, hosts = rest.rpartition("@")
        username, _, password = credentials.partition(":")
        nodes = [urlsplit(f"redis://{host}") for host in hosts.split(",")]
        return _Cluster(
            startup_nodes=[ClusterNode(node.hostname or "127.0.0.1", node.port or 6379) for node in nodes],
            username=unquote(username) or None,
            password=unquote(password) or None,
            retry=broken_connections_twice,
            **options,
        )
    if scheme == "redis+sentinel":
        location, _, path = rest.partition("/")
        credentials, _, hosts = location.rpartition("@")
        service, _, database = path.partition("/")
        username, _, password = credentials.partition(":")
        sentinels = [(host.rpartition(":")[0], int(host.rpartition(":")[2])) for host in hosts.split(",")]
        sentinel = Sentinel(sentinels, sentinel_kwargs=dict(options))  # type: ignore[no-untyped-call]
        return sentinel.master_for(
            service,
            db=int(database or 0),
            username=unquote(username) or None,
            password=unquote(password) or None,
            retry=broken_connections_twice,
            **options,
        )
    if scheme != "unix":
        options["maint_notifications_config"] = MaintNotificationsConfig(enabled=False)
    pool = BlockingConnectionPool.from_url(
        url, max_connections=MAX_CONNECTIONS, timeout=REPLY_TIMEOUT_SECONDS, retry=broken_connections_twice, **options
    )
    pool.connection_class(**pool.connection_kwargs)  # tells of an unknown option in the URL now, not at the first use
    return Redis.from_pool(pool)


async def check_server(store: Store) -> list[str]:
    """
    See whether the server is fit to keep sessions, and give warnings about what is merely not good.

    Raises:
        StartupError: The server is out of reach, older than 6.2, or would evict keys (`maxmemory-policy`).
    """
    try:
        facts = await store.server_facts()
    except StoreUnavailable as error:
        cause = error.__cause__
        raise StartupError(
            f"Redis cannot be used ({type(cause).__name__}: {cause}): start it, or mend redis_url"
        ) from error
    if _version(facts) < (6, 2):
        raise StartupError(f"Redis {facts['redis_version']} is too old: use Redis 6.2 or newer, or Valkey")
    policy = facts.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        raise StartupError(
            f"maxmemory-policy of Redis is {policy}, which would drop sessions and users: "
            "CONFIG SET maxmemory-policy noeviction, and the same in its configuration file"
        )
    warnings = []
    if not facts.get("aof_enabled"):
        warnings.append("Redis keeps no append-only file: a restart loses sessions and users (appendonly yes)")
    return warnings
