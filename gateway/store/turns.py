"""
Calls of one turn of the event loop go to a server together: one connection, one write, replies in order.

The order of the replies is the only link between a call and its answer. So each write ends with a mark, an ECHO of its
number, and no reply is given to anybody before the mark behind it has come back in its place: one that is missing, or
comes twice, or late, is found out first. Whatever is odd about a connection ends it at once, and with it every call on
it: a mark that is not the right one, a reply that cannot be read or that nobody waits for, a push, an end. Each call is
told, or sent again by who made it where that is safe. Connections are redis-py's own: it looks up the master, says
hello, shows the password, and reads. Commands are packed by hiredis, which takes a seventh of the time that Python
takes for it.

A server that is slow has more than one line for so long: nobody has to queue behind an answer that does not come.

One file: a line, what is on it, and which line takes the next call are one state.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hiredis import pack_command
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, MaxConnectionsError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from gateway.store.confirmations import Command
from gateway.store.faults import fault_of
from gateway.tasks import end_tasks

TICK_SECONDS = 0.05
SLOW_TICKS = 2
SPARE_TICKS = 200
MAX_LINES = 8
MAX_CALLS_OF_A_LINE = 1024
MAX_UNWRITTEN_BYTES = 1 << 20
CLOSED = "the connection is closed"


class TornLine(RedisConnectionError):
    """A connection that broke, or could not be made: what was sent over it may have been done, and may be repeated."""


class Turns:
    """
    The lines to one server: one, and more while it is slow.

    Args:
        make_connection: Makes a connection of redis-py that is not connected yet. Its `socket_timeout` is how long an
            answer is waited for, in seconds.
        callbacks: What redis-py makes of the replies to a command, by its name.

    Time is counted in ticks of `TICK_SECONDS`, and only while calls wait: a loop that stood still for long has not
    waited for its answers, which may lie there unread.
    """

    def __init__(
        self, make_connection: Callable[[], AbstractConnection], callbacks: Mapping[Any, Callable[..., Any]]
    ) -> None:
        self.ticks = 0
        self._make_connection = make_connection
        self._callbacks = callbacks
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lines: list[_Line] = []
        self._opening: asyncio.Task[_Line] | None = None
        self._opening_since = 0.0
        self._relief: asyncio.Future[None] | None = None
        self._renewals = 0
        self._next_tick: asyncio.TimerHandle | None = None
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def lines(self) -> int:
        """How many connections there are."""
        return len(self._lines)

    async def exchange(self, *commands: Command) -> list[Any]:
        """
        Send commands one right after the other, and give the reply to each; errors that the server answers with too.

        Raises:
            TornLine: The connection broke, and some of them may have been run.
            RedisTimeoutError: An answer did not come in time.
            RedisError, OSError: There is no connection to be had.
        """
        if not commands:
            return []
        if self._loop is not asyncio.get_running_loop():
            self._begin()
        line = self._prompt_line() or await self._another_line()
        replies = await line.send(commands)
        for number, (name, *_) in enumerate(commands):
            callback = self._callbacks.get(str(name))
            if callback is not None and not isinstance(replies[number], Exception):
                try:
                    replies[number] = callback(replies[number])
                except Exception as error:
                    line.end(TornLine("a reply of another kind came"))  # whose are those that follow it?
                    raise InvalidResponse(f"no reply to {name!s}") from error
        return replies

    def renew(self) -> None:
        """Let calls from now on have a new connection; those under way may still be answered over theirs."""
        self._renewals += 1
        for line in self._lines:
            line.is_taking = False
        self._look_at_lines()

    def end_all(self, reason: str) -> None:
        """End every connection, and with it every call that is on it."""
        for line in list(self._lines):
            line.end(TornLine(reason))

    async def close(self) -> None:
        """End every connection, and tell who waits."""
        if self._next_tick is not None:
            self._next_tick.cancel()
            self._next_tick = None
        if self._opening is not None:
            await end_tasks([self._opening])
        self.end_all(CLOSED)
        while self._ending:
            await asyncio.wait(self._ending)

    def keep_ticking(self) -> None:
        """Count the time from now on, as long as a call waits."""
        if self._next_tick is None:
            self._next_tick = asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick)

    def note_answer(self) -> None:
        """Take it that a line has answered: who waits for another one may take this."""
        if self._relief is not None:
            self._relief.set_result(None)
            self._relief = None

    def forget(self, line: "_Line", reading: asyncio.Task[None]) -> None:
        """Take it that a line has ended; what reads it puts its connection in order."""
        self._lines.remove(line)
        self.note_answer()
        self._ending.add(reading)
        reading.add_done_callback(self._ending.discard)

    def _begin(self) -> None:
        # Lines belong to their event loop: those of another one are not ours to end.
        self._loop = asyncio.get_running_loop()
        self._lines, self._opening, self._next_tick, self._relief = [], None, None, None

    def _prompt_line(self) -> "_Line | None":
        for line in self._lines:
            if line.is_prompt:
                return line
        return None

    async def _another_line(self) -> "_Line":
        if len(self._taking) >= MAX_LINES:
            return self._least_line()
        loop = asyncio.get_running_loop()
        came_late = self._opening is not None and loop.time() - self._opening_since > TICK_SECONDS
        if self._opening is None:
            self._opening, self._opening_since = loop.create_task(self._open()), loop.time()
            self._opening.add_done_callback(self._note_opened)
        opening = self._opening
        if self._taking:  # one that is slow may recover before another is there, or there may be none to be had
            if self._relief is None:
                self._relief = loop.create_future()
            either: list[asyncio.Future[Any]] = [opening, self._relief]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if self._taking:
                return self._prompt_line() or self._least_line()
        try:
            return await asyncio.shield(opening)
        except (RedisConnectionError, RedisTimeoutError, OSError) as error:
            if came_late:  # it has not had the time that a connection may take
                raise TornLine(str(error)) from error
            raise

    @property
    def _taking(self) -> "list[_Line]":
        return [line for line in self._lines if line.is_taking]

    def _least_line(self) -> "_Line":
        line = min(self._taking, key=lambda line: line.calls)
        if line.is_full:
            raise MaxConnectionsError(f"{len(self._lines)} connections are full of calls that nobody answers")
        return line

    async def _open(self) -> "_Line":
        renewals = self._renewals
        connection = self._make_connection()
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
        except asyncio.CancelledError:
            await connection.disconnect(nowait=True)
            raise TornLine(CLOSED) from None
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        line = _Line(connection, self)
        line.is_taking = renewals == self._renewals
        self._lines.append(line)
        return line

    def _note_opened(self, opening: asyncio.Task["_Line"]) -> None:
        self._opening = None
        if not opening.cancelled():
            opening.exception()  # who waited for it may be gone

    def _tick(self) -> None:
        self.ticks += 1
        self._next_tick = None
        self._look_at_lines()
        if len(self._lines) > 1 or any(line.calls for line in self._lines):
            self.keep_ticking()

    def _look_at_lines(self) -> None:
        for line in list(self._lines):
            line.look(is_spare=line is not self._lines[0])


def _packed(command: Command) -> bytes:
    name, *words = command
    return pack_command((*str(name).split(), *words))  # type: ignore[arg-type,no-any-return]


class _Call:
    """A call on a line: its replies so far, of how many, and who waits for them; or nobody does any more."""

    __slots__ = ("answered", "count", "replies", "sent_at")

    def __init__(self, count: int, answered: asyncio.Future[list[Any]], sent_at: int) -> None:
        self.count = count
        self.answered = answered
        self.sent_at = sent_at
        self.replies: list[Any] = []


class _Mark:
    """The end of a write."""

    __slots__ = ("number", "sent_at")

    def __init__(self, number: bytes, sent_at: int) -> None:
        self.number = number
        self.sent_at = sent_at


class _Line:
    """One connection: what one turn of the event loop sends is written at once, and replies are read as they come."""

    def __init__(self, connection: AbstractConnection, turns: Turns) -> None:
        self.is_taking = True
        self._connection = connection
        self._turns = turns
        self._loop = asyncio.get_running_loop()
        self._writer: Any = connection._writer  # redis-py's own sending waits for each write, in a task of its own
        self._unsent: list[bytes] = []
        self._calls: deque[_Call | _Mark] = deque()
        self._held: list[_Call] = []
        self._writes = 0
        self._used_at = turns.ticks
        self._is_choked = False
        self._has_ended = False
        parser: Any = connection._parser
        if hasattr(parser, "set_pubsub_push_handler"):  # RESP2 knows no push
            parser.set_pubsub_push_handler(_refuse_push)
        self._max_ticks = (connection.socket_timeout or math.inf) / TICK_SECONDS
        self._reading = self._loop.create_task(self._read())

    @property
    def calls(self) -> int:
        """How many calls have no answer yet."""
        return len(self._calls)

    @property
    def is_full(self) -> bool:
        """Tell whether no more may be sent before something is answered."""
        return self._is_choked or len(self._calls) >= MAX_CALLS_OF_A_LINE

    @property
    def is_prompt(self) -> bool:
        """Tell whether a call would be answered soon, for all that is known."""
        if not self.is_taking or self.is_full:
            return False
        return not self._calls or self._turns.ticks - self._calls[0].sent_at < SLOW_TICKS

    async def send(self, commands: Sequence[Command]) -> list[Any]:
        """Give the replies to commands that go out at the end of this turn."""
        if self._has_ended:
            raise TornLine("the connection has ended")
        packed = [_packed(command) for command in commands]
        if not self._unsent:
            self._loop.call_soon(self._write)
            self._turns.keep_ticking()
        self._unsent += packed
        call = _Call(len(commands), self._loop.create_future(), self._turns.ticks)
        self._calls.append(call)
        return await call.answered

    def look(self, *, is_spare: bool) -> None:
        """End a line that has been silent for too long, or is needed no more."""
        ticks = self._turns.ticks
        self._note_unwritten()
        if self._calls:
            self._used_at = ticks
            if ticks - self._calls[0].sent_at > self._max_ticks:
                self.end(RedisTimeoutError(f"no answer for {self._connection.socket_timeout} seconds"))
        elif not self.is_taking or (is_spare and ticks - self._used_at > SPARE_TICKS):
            self.end(TornLine(CLOSED))

    def end(self, error: Exception) -> None:
        """Tell every call, and let the connection go."""
        self._note_end(error)
        self._reading.cancel()

    def _note_end(self, error: Exception) -> None:
        if self._has_ended:
            return
        self._has_ended, self.is_taking = True, False
        self._turns.forget(self, self._reading)
        self._unsent.clear()
        calls, self._held = [*self._held, *(call for call in self._calls if isinstance(call, _Call))], []
        self._calls.clear()
        for call in calls:
            if not call.answered.done():
                call.answered.set_exception(type(error)(*error.args))

    def _write(self) -> None:
        if self._has_ended:
            return
        self._writes += 1
        number = b"%d" % self._writes
        self._unsent.append(_packed(("ECHO", number)))
        self._calls.append(_Mark(number, self._turns.ticks))
        octets, self._unsent = b"".join(self._unsent), []
        try:
            self._writer.write(octets)
            self._note_unwritten()
        except Exception as error:  # what asyncio and uvloop say of a connection that ends at this moment
            self.end(TornLine(str(error)))

    def _note_unwritten(self) -> None:
        self._is_choked = self._writer.transport.get_write_buffer_size() > MAX_UNWRITTEN_BYTES

    async def _read(self) -> None:
        try:
            while True:
                try:
                    reply = await self._connection.read_response(timeout=math.inf, disconnect_on_error=False)
                except ResponseError as error:
                    reply = error
                self._take(reply)
        except Exception as error:
            code = getattr(error, "status_code", None)  # redis-py takes it off the text
            self._note_end(TornLine(f"{code} {error}" if code else str(error) or type(error).__name__))
        finally:
            await self._connection.disconnect(nowait=True)

    def _take(self, reply: Any) -> None:
        if not self._calls:
            raise InvalidResponse("a reply that nobody waits for")
        call = self._calls[0]
        if isinstance(call, _Mark):
            if reply != call.number and not self._is_said_to_all(reply):
                raise InvalidResponse("replies came out of order")
            self._calls.popleft()
            self._give()
            return
        call.replies.append(reply)
        if len(call.replies) == call.count:
            self._calls.popleft()
            self._held.append(call)

    def _is_said_to_all(self, reply: Any) -> bool:
        """Tell whether an error may stand in the place of a mark: of who serves nobody, or said it to every call."""
        if not isinstance(reply, ResponseError):
            return False
        replies = [earlier for call in self._held for earlier in call.replies]
        is_alone = all(isinstance(earlier, ResponseError) and str(earlier) == str(reply) for earlier in replies)
        return is_alone or fault_of(reply).is_of_everybody or "'echo'" in str(reply)

    def _give(self) -> None:
        held, self._held = self._held, []
        for call in held:
            if not call.answered.done():
                call.answered.set_result(call.replies)
        self._turns.note_answer()


async def _refuse_push(message: Any) -> None:
    raise InvalidResponse("a push that nobody asked for")
