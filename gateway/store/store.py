"""
The one door to Redis: runs commands and scripts under a deadline, and turns Redis's errors into ours.

Every key of one script carries the same hash tag, so that everything works on Redis Cluster. Commands that were
sent may be sent once more when the connection broke, never after a timeout; every script here is written so that
running twice does no harm. While a server is not heard, calls to it fail at once (`gateway.store.breaker`).

One file, since it is the one way: deadline, budget, breaker and errors are of each call.
"""

import asyncio
import hashlib
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from importlib.resources import files
from typing import Any, TypeVar

from redis.exceptions import NoPermissionError, NoScriptError

from gateway.errors import StartupError, StoreUnavailable
from gateway.store.breaker import PROBE_INTERVAL_SECONDS, Breaker
from gateway.store.clients import (
    STREAM_BLOCK_SECONDS,
    ask_each,
    break_lines,
    close_client,
    drop_connections,
    is_replaced,
    open_clients,
    send_together,
)
from gateway.store.cluster import ClusterClient
from gateway.store.confirmations import Command, Confirmations
from gateway.store.faults import REDIS_FAILURES, TORN_CONNECTION, FaultLog, fault_of
from gateway.tasks import end_tasks

PROBE_SECONDS = 0.3
CALL_DEADLINE_SECONDS = 1.0
DURABLE_DEADLINE_SECONDS = 1.7
REQUEST_SECONDS = 1.5
REQUEST_AND_DISK_SECONDS = 1.8
LOOK_UP_INTERVAL_SECONDS = 0.25
SCRIPT_LOADS = 20
CONFIRMED_KEPT_SECONDS = 60
# Ordinary calls share a connection; each that waits for a confirmation has its own.
MAX_CALLS_UNDER_WAY = 256
MAX_DURABLE_CALLS_UNDER_WAY = 32
REFUSED_BY_BREAKER = "AWAY"


Reply = TypeVar("Reply")
StreamEntry = tuple[str, dict[bytes, bytes]]  # its id, and its fields


@dataclass(frozen=True)
class Script:
    """A Lua script that lies beside its caller, known to Redis by the SHA-1 of its text."""

    name: str
    text: str = field(repr=False)
    sha1: str

    @classmethod
    def load(cls, package: str, name: str) -> "Script":
        """
        Read `NAME.lua` of a room, such as `gateway.sessions`, and what its header includes: `ROOM/NAME`, a room beside
        it, or itself.
        """
        house, _, room = package.rpartition(".")
        text = (files(house) / room / f"{name}.lua").read_text()
        for included in re.findall(r"^-- INCLUDES (\w+/\w+)$", text, re.MULTILINE):
            text = (files(house) / f"{included}.lua").read_text() + text
        return cls(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


@dataclass
class _Budget:
    """What all calls of one request may still take together."""

    seconds_left: float = REQUEST_SECONDS
    with_disk_seconds_left: float = REQUEST_AND_DISK_SECONDS


@dataclass
class _Together:
    """A block of one task whose durable writes are confirmed at its end, and whether there were any."""

    task: asyncio.Task[Any] | None
    are_some: bool = False


_budget: ContextVar[_Budget | None] = ContextVar("redis_budget", default=None)
_together: ContextVar[_Together | None] = ContextVar("redis_together", default=None)


@contextmanager
def request_budget() -> Iterator[None]:
    """
    Let all calls within the block take `REQUEST_SECONDS` together; with those that wait for the disk, which is slow by
    nature, `REQUEST_AND_DISK_SECONDS`.

    What else the block does is not counted.
    """
    token = _budget.set(_Budget())
    try:
        yield
    finally:
        _budget.reset(token)


async def wait_within_budget(asking: asyncio.Task[Reply]) -> Reply:
    """
    Wait for what another task asks Redis, for all who need it: as long as this request may still take, which counts.

    Raises:
        StoreUnavailable: It takes longer; the task goes on for the others.
        Exception: What the task raises.
    """
    budget, begun = _budget.get(), time.monotonic()
    try:
        async with asyncio.timeout(budget.seconds_left if budget else None):
            return await asyncio.shield(asking)
    except TimeoutError:
        raise StoreUnavailable("TIMEOUT") from None
    finally:
        if budget:
            budget.with_disk_seconds_left -= time.monotonic() - begun
            budget.seconds_left -= time.monotonic() - begun


class Store:
    """
    Redis under a key prefix.

    Every method raises `StoreUnavailable` when Redis is away, full, read-only, loading, or answers with an error.
    Replies are bytes, integers and lists of these.

    Args:
        waits_for_confirmation: Whether durable writes wait; False answers them as all others.
        monotonic: Seconds that never go back, for deadlines and what is remembered of the server.
        note_call: Is told of each call what it was and how many seconds it took, but of those that wait for entries of
            a stream.
        note_fault: Is told what went wrong with one, by the code of the fault.

    Attributes:
        stream_is_heard: Whether the last reading of a stream had an answer; one waits for entries all the time.
    """

    def __init__(
        self,
        url: str,
        prefix: str,
        monotonic: Callable[[], float] = time.monotonic,
        *,
        waits_for_confirmation: bool = True,
        note_call: Callable[[str, float], None] = lambda what, seconds: None,
        note_fault: Callable[[str], None] = lambda code: None,
    ) -> None:
        self.prefix = prefix
        try:
            self._clients = open_clients(url)
        except (TypeError, ValueError, *REDIS_FAILURES) as error:
            raise StartupError(f"redis_url cannot be used ({error}): see its spelling in the settings") from error
        self._under_way = {
            False: asyncio.Semaphore(MAX_CALLS_UNDER_WAY),
            True: asyncio.Semaphore(MAX_DURABLE_CALLS_UNDER_WAY),
        }
        self._waits_for_confirmation = waits_for_confirmation
        self._monotonic = monotonic
        self._note_call = note_call
        self._note_fault = note_fault
        self._fault_log = FaultLog(monotonic)
        self._breakers: dict[str, Breaker] = {}
        self._probing: set[asyncio.Task[Any]] = set()
        self._confirmations = Confirmations(monotonic)
        self._looked_up_at = 0.0
        self._asked_sentinels_at = 0.0
        self.stream_is_heard = False

    def key(self, name: str) -> str:
        """Give the full name of a key. The part in braces, if any, is its hash tag."""
        return self.prefix + name

    async def run(
        self,
        script: Script,
        keys: Sequence[str],
        *arguments: str | int | bytes,
        durable: bool = False,
        is_followed: bool = False,
    ) -> Any:
        """
        Run *script* on *keys*, all of one slot. Loads it when Redis has forgotten it.

        With *durable* the answer is given when a replica has the write, or where there is none the disk, if the
        server can be asked for that (WAIT; WAITAOF since Redis 7.2). `StoreUnavailable` then also means that
        nobody has confirmed it in time: it may be lost, and should be done again.

        With *is_followed* another durable write is sent before anybody is told that this one is done. Where the disk of
        one server confirms, it is waited for once: what has the later write has this one too.
        """
        durable = durable and not await self._is_confirmed_later(is_followed=is_followed)
        command = ("EVALSHA", script.sha1, len(keys), *keys, *arguments)
        send = partial(self._run, script, keys[0], command, durable=durable)
        return await self._call(script.name, keys[0], send, durable=durable)

    async def execute(self, *command: str | int | bytes, durable: bool = False) -> Any:
        """Run one command, given as its words; *durable* as with `run`."""
        durable = durable and not await self._is_confirmed_later()
        some_key = self.key("keyring")  # what has no key goes to the server that has this one
        key = str(command[1]) if len(command) > 1 else some_key
        if key.startswith(self.prefix):
            send = partial(self._send, key, command, durable=durable)
        else:
            key, send = some_key, partial(self._clients.ordinary.execute_command, *command)
        return await self._call(str(command[0]), key, send, durable=durable)

    @asynccontextmanager
    async def confirmed_together(self) -> AsyncIterator[None]:
        """
        Let all durable writes of the block be confirmed at its end, by one wait, where the disk of one server confirms:
        with `appendfsync everysec` each wait takes up to a second. Elsewhere each is confirmed by itself.

        Nobody may be told of them before the block has ended. One that ends by an error confirms nothing.

        Raises:
            StoreUnavailable: Nobody has confirmed them in time.
        """
        together = _Together(asyncio.current_task())
        token = _together.set(together)
        try:
            yield
        finally:
            _together.reset(token)
        if together.are_some:  # the disk can only be asked for what a connection has written itself, and all before it
            await self.execute("SET", self.key("once:confirmed"), "", "EX", CONFIRMED_KEPT_SECONDS, durable=True)

    async def fields(self, key: str) -> dict[bytes, bytes]:
        """Give a hash whole; an empty one when there is none."""
        reply = await self.execute("HGETALL", key)
        return reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=True))

    async def refusals(self, commands: Sequence[Sequence[str]]) -> list[str | None]:
        """
        Tell of each command whether Redis lets us run it, by running it: they have to be harmless.

        Gives Redis's words where our user may not, or where there is no such command, and None otherwise, whatever
        else it says. In one round trip, but on a cluster.
        """
        try:
            async with asyncio.timeout(CALL_DEADLINE_SECONDS):
                replies = await ask_each(self._clients.ordinary, commands, self.prefix)
        except REDIS_FAILURES as error:
            raise self._unavailable("ACL", error) from error
        return [
            str(reply)
            if isinstance(reply, NoPermissionError) or str(reply).lower().startswith(("unknown command", "unknown sub"))
            else None
            for reply in replies
        ]

    async def scan(self, pattern: str) -> AsyncIterator[str]:
        """Give every key that matches *pattern* (prefix included by this method), in no order, maybe twice."""
        try:
            async for key in self._clients.ordinary.scan_iter(match=self.key(pattern), count=500):
                yield key.decode()
        except REDIS_FAILURES as error:
            raise self._unavailable("SCAN", error) from error

    async def read_stream(self, key: str, after_id: str, count: int, *, wait: bool) -> list[StreamEntry]:
        """
        Give up to *count* entries of a stream that follow *after_id*.

        On a connection of its own. With *wait* the first entry is waited for, half a second at most; then the
        Sentinels, where there are some, are asked whether this is the master still. One that stalled answers again as
        if nothing had been, and they take 8 seconds to tell it that it is none any more.
        """
        block = ("BLOCK", round(STREAM_BLOCK_SECONDS * 1000)) if wait else ()
        reply = await self._ask_stream(key, ("XREAD", "COUNT", count, *block, "STREAMS", key, after_id))
        if wait and await self._is_replaced():
            await self._drop_connections()
            raise StoreUnavailable("replaced")
        return [(entry_id.decode(), fields) for _, entries in reply or () for entry_id, fields in entries]

    async def entry_before(self, key: str, entry_id: str | None) -> StreamEntry | None:
        """Give the entry of a stream that comes before that of an id, or without an id the last; None if none does."""
        end = f"({entry_id}" if entry_id else "+"
        reply = await self._ask_stream(key, ("XREVRANGE", key, end, "-", "COUNT", 1))
        return (reply[0][0].decode(), reply[0][1]) if reply else None

    def check_echo(self, echo: bytes, asked_for: str) -> None:
        """
        See that an answer is to our question, by what it says that the question was about.

        If it is not, replies have come out of order, and nobody's can be trusted: the connections that calls share are
        ended, and what was asked over them is asked again.

        Raises:
            StoreUnavailable: It is not; to use it would hand what is somebody's to somebody else.
        """
        if echo.decode(errors="replace") != asked_for:
            break_lines(self._clients.ordinary)
            raise StoreUnavailable("another-answer")

    async def server_facts(self) -> dict[str, Any]:
        """Give what INFO tells about the server (one node of a cluster), by its own names."""
        facts: dict[str, Any] = await self.execute("INFO")
        return facts

    @property
    def is_away(self) -> bool:
        """Tell whether calls to a server are refused because it was not heard."""
        return any(breaker.is_open for breaker in self._breakers.values())

    async def close(self) -> None:
        """Close every connection."""
        for breaker in self._breakers.values():
            await breaker.close()
        await end_tasks(self._probing)  # a probe that outlived its breaker would open connections anew
        for client in self._clients:
            await close_client(client)

    async def _call(self, what: str, key: str, send: Callable[[], Any], *, durable: bool = False) -> Any:
        """Make a call that touches *key*: under the breaker of its server, the deadline, and the budget."""
        breaker, budget = self._breaker_of(key), _budget.get()
        waits_for_disk = durable and self._confirmations.are_of_the_disk
        seconds = DURABLE_DEADLINE_SECONDS if durable else CALL_DEADLINE_SECONDS
        if budget:
            seconds = min(seconds, budget.with_disk_seconds_left)
            seconds = seconds if waits_for_disk else min(seconds, budget.seconds_left)
        begun = self._monotonic()
        try:
            async with asyncio.timeout(seconds):
                async with self._under_way[durable]:
                    if breaker.is_open:
                        breaker.refused += 1
                        self._note_fault(REFUSED_BY_BREAKER)
                        raise StoreUnavailable(REFUSED_BY_BREAKER)
                    sent_at = self._monotonic()
                    try:
                        reply = await self._send_to_the_right_one(send)
                    finally:
                        self._note_call(what, self._monotonic() - sent_at)
        except REDIS_FAILURES as error:
            if fault_of(error).is_of_everybody:
                breaker.unheard()
            else:
                breaker.heard()
            raise self._unavailable(what, error) from error
        finally:
            if budget:
                budget.with_disk_seconds_left -= self._monotonic() - begun
                budget.seconds_left -= 0.0 if waits_for_disk else self._monotonic() - begun
        breaker.heard()
        _heed_cancellation()
        return reply

    async def _is_confirmed_later(self, *, is_followed: bool = False) -> bool:
        together = _together.get()
        is_within = together is not None and together.task is asyncio.current_task()  # a task of its own may outlive it
        if not (is_followed or is_within) or not await self._one_disk_confirms():
            return False
        if together is not None and is_within:
            together.are_some = True
        return True

    async def _one_disk_confirms(self) -> bool:
        if isinstance(self._clients.ordinary, ClusterClient) or not self._waits_for_confirmation:
            return False
        if not self._confirmations.is_known(""):  # with everysec two waits take longer than a request may
            self._confirmations.learn("", await self.server_facts())
        return self._confirmations.are_of_the_disk

    async def _send_to_the_right_one(self, send: Callable[[], Any]) -> Any:
        try:
            return await send()
        except TORN_CONNECTION:
            return await send()  # nothing has been sent
        except REDIS_FAILURES as error:
            if not fault_of(error).is_elsewhere:
                raise
        if self._monotonic() - self._looked_up_at >= LOOK_UP_INTERVAL_SECONDS:
            self._looked_up_at = self._monotonic()
            await self._drop_connections()
        return await send()

    async def _is_replaced(self) -> bool:
        """Tell whether the Sentinels name another master than the one that the stream is read from."""
        if self._monotonic() - self._asked_sentinels_at < LOOK_UP_INTERVAL_SECONDS:
            return False
        self._asked_sentinels_at = self._monotonic()
        try:
            async with asyncio.timeout(LOOK_UP_INTERVAL_SECONDS):
                return await is_replaced(self._clients.stream)
        except REDIS_FAILURES:
            return False  # they do not say

    async def _drop_connections(self) -> None:
        """Let what is sent next find its server anew, which may be another one."""
        self._confirmations.forget()
        for client in self._clients:
            await drop_connections(client)

    async def _run(self, script: Script, key: str, command: Command, *, durable: bool) -> Any:
        before: tuple[Command, ...] = ()
        for _ in range(SCRIPT_LOADS):
            try:
                return await self._send(key, command, before, durable=durable)
            except NoScriptError as error:
                before, forgotten = (("SCRIPT LOAD", script.text),), error
        raise forgotten  # somebody flushes again and again

    async def _send(self, key: str, command: Command, before: Sequence[Command] = (), *, durable: bool) -> Any:
        if not (durable and self._waits_for_confirmation):
            return await send_together(self._clients.ordinary, key, command, before=before)
        try:
            return await send_together(
                self._clients.durable, key, command, before=before, confirmations=self._confirmations
            )
        except NoScriptError:
            raise
        except REDIS_FAILURES:
            self._confirmations.forget()
            raise

    async def _ask_stream(self, key: str, command: Command) -> Any:
        try:
            reply = await send_together(self._clients.stream, key, command)
        except REDIS_FAILURES as error:
            self.stream_is_heard = False
            raise self._unavailable(str(command[0]), error) from error
        self.stream_is_heard = True
        _heed_cancellation()
        return reply

    def _breaker_of(self, key: str) -> Breaker:
        """Give the breaker of the server that has *key*: a cluster has one for each node."""
        server = _server_of(self._clients.ordinary, key)
        if server not in self._breakers:
            self._breakers[server] = Breaker(server, partial(self._probe, key), self._monotonic)
        return self._breakers[server]

    async def _probe(self, key: str) -> bool:
        client = self._clients.stream  # it tries once: the next probe is the next try
        probing = asyncio.create_task(send_together(client, key, ("EXISTS", key)))
        self._probing.add(probing)
        probing.add_done_callback(self._note_end_of_probe)
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                while not (await asyncio.wait([probing], timeout=PROBE_INTERVAL_SECONDS))[0]:
                    if await is_replaced(client):
                        return False  # who hangs need not be waited for: the next probe goes to the new master
                await probing
        except REDIS_FAILURES as error:
            return not fault_of(error).is_of_everybody
        finally:
            probing.cancel()
            await asyncio.wait([probing], timeout=PROBE_SECONDS)  # its connection is put in order
        await self._drop_connections()  # some may lead to a former master that hangs
        return True

    def _note_end_of_probe(self, probing: asyncio.Task[Any]) -> None:
        self._probing.discard(probing)
        if not probing.cancelled():
            probing.exception()  # heard, also when it comes late

    def _unavailable(self, what: str, error: Exception) -> StoreUnavailable:
        self._fault_log.tell(what, error)
        code = fault_of(error).code
        self._note_fault(code)
        return StoreUnavailable(code)


def _heed_cancellation() -> None:
    # redis-py sends by `asyncio.wait_for`: that of Python 3.11 forgets a cancellation which comes as the sending ends.
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _server_of(client: Any, key: str) -> str:
    """Give the node of a cluster that has a key; all keys are on the only server there is otherwise."""
    return client.node_name(key) if isinstance(client, ClusterClient) else ""
