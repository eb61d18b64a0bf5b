"""Between a proxy and the gateway: passes everything on, and holds what was answered against what was asked."""

import asyncio
import contextlib
from dataclasses import dataclass, field

from tests.connections.answers import Answer, parse_answers
from tests.connections.reference import Request, Verdict, read

JUDGED_FROM_BYTES = 65_536
LOGIN_PATH = b"/auth/login"
TOKEN_PATHS = (LOGIN_PATH, b"/auth/refresh")


@dataclass
class Tap:
    """
    A port that leads to the gateway. On each connection a strict reader counts the requests, and their answers.

    Attributes:
        given_up: Requests whose answer the proxy did not wait for.
    """

    gateway_port: int
    connections: int = 0
    requests: int = 0
    answers: int = 0
    refusals: int = 0
    given_up: int = 0
    violations: list[str] = field(default_factory=list)
    port: int = 0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _server: asyncio.Server | None = None

    async def start(self) -> "Tap":
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        """Stop listening, and judge what is still open."""
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        tapped = _Tapped(self)
        # Who stops the tap cancels this, which asyncio's streams would tell as an error of theirs.
        with contextlib.closing(writer), contextlib.suppress(asyncio.CancelledError):
            try:
                gateway_reader, gateway_writer = await asyncio.open_connection("127.0.0.1", self.gateway_port)
            except OSError as error:
                self.violations.append(f"the gateway takes no connection: {error}")
                return
            with contextlib.closing(gateway_writer):
                asking = asyncio.create_task(tapped.pass_questions(reader, gateway_writer))
                try:
                    await tapped.pass_answers(gateway_reader, writer)
                finally:
                    asking.cancel()
                    tapped.judge()


class _Tapped:
    def __init__(self, tap: Tap) -> None:
        self._tap = tap
        self._asked, self._answered = bytearray(), bytearray()
        self._is_given_up = False

    async def pass_questions(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what the proxy sends, until it ends."""
        with contextlib.suppress(OSError):
            while octets := await reader.read(65536):
                self._asked += octets
                writer.write(octets)
                await writer.drain()
        self._is_given_up = True
        writer.close()

    async def pass_answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what the gateway answers, until it ends."""
        try:
            while octets := await reader.read(65536):
                self._answered += octets
                writer.write(octets)
                await writer.drain()
                if len(self._answered) > JUDGED_FROM_BYTES and not self._is_given_up:
                    self.judge(is_over=False)
        except OSError:
            self._is_given_up = True

    def judge(self, *, is_over: bool = True) -> None:
        """Count, and tell what is wrong; before the connection is over only where nothing is on its way."""
        tap, reading = self._tap, read(bytes(self._asked))
        methods = [request.method for request in reading.requests]
        answers, rest = parse_answers(bytes(self._answered), methods)
        if not is_over and (reading.begun or rest or len(answers) != len(methods)):
            return
        wrong = ""
        if len(answers) > len(methods) + (reading.begun is not None):
            wrong = "more answers than requests"
        elif rest and not self._is_given_up:
            wrong = f"no answer: {rest[:100]!r}"
        elif len(answers) < len(methods) and not self._is_given_up and not (answers and answers[-1].closes):
            wrong = "fewer answers than requests"
        elif any(
            request.verdict is Verdict.REFUSED and answer.status < 400 and not request.is_refused_in_body
            for request, answer in zip(reading.requests, answers, strict=False)
        ):
            wrong = "answered what is to be refused"
        elif any(not _is_own(*pair) for pair in zip(reading.requests, answers, strict=False)):
            wrong = "the answer to another request"
        if wrong:
            statuses = [answer.status for answer in answers][-5:]
            asked = bytes(self._asked[-1500:])
            tap.violations.append(f"{wrong}: {len(methods)} requests, {len(answers)} answers {statuses}: {asked!r}")
        # One that was answered before all of it was there, as by a 401 that reads no body, is one too.
        tap.requests += len(methods) + (len(answers) > len(methods))
        tap.answers += len(answers)
        tap.refusals += sum(request.verdict is Verdict.REFUSED for request in reading.requests)
        if self._is_given_up:
            tap.given_up += max(0, len(methods) - len(answers))
        self._asked.clear()
        self._answered.clear()


def _is_own(request: Request, answer: Answer) -> bool:
    """Tell whether an answer can be that of the request: each of the gateway's endpoints is known by its 200."""
    path = request.target.partition(b"?")[0]
    has_keys = answer.body.startswith(b'{"keys":')
    has_identity = b"remote-user" in answer.headers
    has_tokens = b'"access_token"' in answer.body
    is_page = answer.body.startswith(b"<!doctype html>")
    gives_page = path == LOGIN_PATH and request.method == b"GET"
    gives_tokens = path in TOKEN_PATHS and not gives_page
    marks = (path.startswith(b"/api/authz/"), path == b"/.well-known/jwks.json", gives_tokens, gives_page)
    return answer.status != 200 or marks == (has_identity, has_keys, has_tokens, is_page)
