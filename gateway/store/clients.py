"""
Clients of redis-py for every spelling of `redis_url`, and commands that have to go over one connection together.

Ordinary calls of one turn of the event loop share a connection and a write (`gateway.store.turns`). What waits longer,
for the disk or at a stream, would have others wait behind it, and takes a connection of its own.

Commands that were sent may be sent once more when the connection broke, never after a timeout.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.maint_notifications import MaintNotificationsConfig

from gateway.store.cluster import ClusterClient, Suspicion
from gateway.store.confirmations import Command, Confirmations, Unconfirmed
from gateway.store.sentinel import SentinelClient
from gateway.store.turns import TornLine, Turns
from gateway.store.url import read_url

CONNECT_TIMEOUT_SECONDS = 0.3
REPLY_TIMEOUT_SECONDS = 0.5
DURABLE_REPLY_TIMEOUT_SECONDS = 1.7
STREAM_BLOCK_SECONDS = 0.5
# The store has fewer calls under way at a time: this is no limit, but a net.
MAX_CONNECTIONS_OF_POOL = 100


async def send_together(
    client: Any,
    key: str,
    command: Command,
    *,
    before: Sequence[Command] = (),
    confirmations: Confirmations | None = None,
) -> Any:
    """
    Send a command and what belongs to it over one connection in one go, and give its own reply.

    Args:
        key: The key of *command*, which says what server it is for.
        before: Commands without a key that have to come first.
        confirmations: Given when the write has to be confirmed; WAIT counts the writes of its own connection.

    Raises:
        Unconfirmed: It was not, in time.
        RedisError: The first error among the replies.
    """
    if isinstance(client, ClusterClient):
        replies = await client.send_together(key, before, command, confirmations)
    elif isinstance(client, TurnsClient):
        replies = await client.exchange(*before, command)
    else:
        if confirmations is not None and not confirmations.is_known(""):
            confirmations.learn("", await client.info())
        after = confirmations.commands("") if confirmations is not None else []
        if not before and not after:
            return await client.execute_command(*command)
        pipeline = client.pipeline(transaction=False)
        for words in (*before, command, *after):
            pipeline.execute_command(*words)
        replies = await pipeline.execute(raise_on_error=False)
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    for confirmed in replies[len(before) + 1 :]:
        if not (confirmed[0] if isinstance(confirmed, list) else confirmed):
            raise Unconfirmed
    return replies[len(before)]


async def ask_each(client: Any, commands: Sequence[Sequence[str]], prefix: str) -> list[Any]:
    """Send commands that have nothing to do with each other; give each reply, errors that Redis answered with too."""
    if isinstance(client, TurnsClient):
        return await client.exchange(*commands)
    replies = []
    for command in commands:
        key = next((word for word in command if prefix in word), f"{prefix}check")
        [reply] = await client.send_together(key, (), command, None)
        if isinstance(reply, Exception) and not isinstance(reply, ResponseError):
            raise reply
        replies.append(reply)
    return replies


class TurnsClient(Redis):
    """A client of one server that sends what belongs to one turn of the event loop together."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        pool = self.connection_pool
        self.turns = Turns(pool.make_connection, self.response_callbacks)
        self._retry = _retry(pool.connection_kwargs["retry"].get_retries(), TornLine)

    async def exchange(self, *commands: Command) -> list[Any]:
        """Give the reply to each command, errors too; they are sent again when the connection breaks."""
        return await self._retry.call_with_retry(lambda: self.turns.exchange(*commands), _go_on)

    async def execute_command(self, *words: Any, **options: Any) -> Any:
        """Give the reply to a command; redis-py's own methods come here."""
        [reply] = await self.exchange(words)
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """Close every connection."""
        await self.turns.close()
        await super().aclose(close_connection_pool)


async def _go_on(error: Exception) -> None:
    """Do nothing between two attempts: a line that broke has ended itself."""


class Clients(NamedTuple):
    """The clients of one store: for calls, for confirmed writes, which take longer, and for waiting at a stream."""

    ordinary: Any
    durable: Any
    stream: Any


def open_clients(url: str) -> Clients:
    """
    Give the clients for `redis_url`. They connect with their first command.

    The one for streams sends nothing again: who reads a stream has to know of every break.

    Raises:
        RedisError, RedisClusterException, TypeError, ValueError: The URL has an option that redis-py does not know, or
            not for this kind of Redis, or one with a value that it does not take.
    """
    clients = Clients(
        ordinary=_open(url, REPLY_TIMEOUT_SECONDS, in_turns=True),
        durable=_open(url, DURABLE_REPLY_TIMEOUT_SECONDS),
        stream=_open(url, STREAM_BLOCK_SECONDS + REPLY_TIMEOUT_SECONDS, retries=0),
    )
    if isinstance(clients.ordinary, ClusterClient):
        suspicion = Suspicion()
        for client in clients:
            client.suspicion = suspicion
    return clients


def _retry(retries: int, *kinds: type[RedisError]) -> Retry:
    return Retry(ExponentialWithJitterBackoff(base=0.01, cap=0.1), retries, supported_errors=kinds)


def _open(url: str, reply_timeout_seconds: float, retries: int = 2, *, in_turns: bool = False) -> Any:
    options: dict[str, Any] = {
        "socket_timeout": reply_timeout_seconds,
        "socket_connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "driver_info": None,
    }
    retry, client_class = _retry(retries, RedisConnectionError), TurnsClient if in_turns else Redis
    address = read_url(url)
    if address.scheme != "unix":
        options["maint_notifications_config"] = MaintNotificationsConfig(enabled=False)
    if address.scheme.endswith("+cluster"):
        return ClusterClient(
            startup_nodes=[ClusterNode(*host) for host in address.hosts],
            ssl=address.is_tls,
            retry=retry,
            require_full_coverage=False,  # some users are better than none
            in_turns=in_turns,
            **options | address.options(),
        )
    if address.scheme.endswith("+sentinel"):
        options |= address.options()
        credentials = {name: options.pop(f"sentinel_{name}", None) for name in ("username", "password")}
        of_sentinels = {
            **credentials,
            "ssl": address.is_tls,
            "db": 0,
            # The next one is asked soon when one is silent.
            "retry": Retry(NoBackoff(), 0),
            "socket_timeout": REPLY_TIMEOUT_SECONDS,
        }
        sentinel = SentinelClient(address.hosts, sentinel_kwargs=options | of_sentinels)  # type: ignore[no-untyped-call]
        _, service, *database = address.path.split("/")
        options |= {"db": int(database[0])} if database else {}
        return sentinel.master_for(service, client_class, ssl=address.is_tls, retry=retry, **options)
    pool = ConnectionPool.from_url(url, max_connections=MAX_CONNECTIONS_OF_POOL, retry=retry, **options)
    pool.connection_class(**pool.connection_kwargs)  # tells of an unknown option in the URL now, not at the first use
    return client_class.from_pool(pool)


async def is_replaced(client: Any) -> bool:
    """Tell whether the Sentinels name another master by now than the one that was asked last."""
    pool = getattr(client, "connection_pool", None)
    if not isinstance(pool, SentinelConnectionPool):
        return False
    asked = pool.master_address
    return await pool.get_master_address() != asked  # type: ignore[no-untyped-call, no-any-return]


async def drop_connections(client: Any) -> None:
    """Let a client look up its server again: its connections lead to one that is no longer the master."""
    if isinstance(client, TurnsClient):
        client.turns.renew()
    if isinstance(client, Redis):  # a cluster finds its new master by itself
        # Those in use are dropped when they come back, the others at one stroke: a connection that ends while
        # somebody uses it fails in ways that redis-py has no error for.
        pool = client.connection_pool
        await pool.update_active_connections_for_reconnect()  # type: ignore[no-untyped-call]
        for connection in list(pool._available_connections):
            await connection.disconnect(nowait=True)


def break_lines(client: Any) -> None:
    """End the connections that calls share, and with them every call that is on one."""
    for turns in client.all_turns if isinstance(client, ClusterClient) else [client.turns]:
        turns.end_all("replies came out of order")


async def close_client(client: Any) -> None:
    """Close every connection of a client, those to the Sentinels too."""
    await client.aclose()
    pool = getattr(client, "connection_pool", None)
    if isinstance(pool, SentinelConnectionPool):
        for sentinel in pool.sentinel_manager.sentinels:
            await sentinel.aclose()
