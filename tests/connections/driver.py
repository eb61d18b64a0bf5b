"""The gateway's connections in this process: real sockets, uvicorn's own state, and an application that echoes."""

import asyncio
import contextlib
import json
import socket
import weakref
from collections.abc import Iterable
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.server import ServerState

from gateway.cli.serve import server_config
from gateway.web.connections import BoundedProtocol
from tests.connections.answers import EARLY, QUICK, digest

QUIET_TURNS = 12
DIRECT = (b"GET /livez", b"POST /livez", b"POST /a")
"""What every other connection answers without an application, where it is plain."""


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with what a handler sees that reads the body first; at `/early` without reading it."""
    body = b""
    if scope["raw_path"] != EARLY:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            if not message["more_body"]:
                break
    # Answers from memory know of no body, so what is asked there in another way is told without it too.
    told, seen = _seen(scope, b"" if scope["raw_path"] == QUICK else body)
    headers = [(b"content-length", b"%d" % len(told)), (b"x-seen", seen)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": told})


def quick(scope: Scope) -> tuple[int, bytes]:
    """Answer from memory."""
    scope["raw_path"] = scope["path"].encode()
    told, seen = _seen(scope, b"")
    return 200, b"content-length: %d\r\nx-seen: %s\r\n\r\n%s" % (len(told), seen, told)


async def direct(scope: Scope, body: bytes, begun: float) -> tuple[int, bytes]:
    """Answer as a handler would that the protocol asks itself, a turn later."""
    await asyncio.sleep(0)
    told, seen = _seen(scope, body)
    return 200, b"content-length: %d\r\nx-seen: %s\r\n\r\n%s" % (len(told), seen, told)


def _seen(scope: Scope, body: bytes) -> tuple[bytes, bytes]:
    query = scope["query_string"]
    target = scope["raw_path"] + (b"?" + query if query else b"")
    seen = digest(scope["method"].encode(), target, scope["headers"], body)
    fields = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]]
    told = {"method": scope["method"], "target": target.decode("latin-1"), "fields": fields}
    return json.dumps(told | {"body": body.decode("latin-1")}).encode(), seen


class Watched(BoundedProtocol):
    """A connection that notes how many bytes each read brought."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.reads: list[int] = []
        self._sent = 0

    def data_received(self, data: bytes) -> None:
        """Note it, and go on."""
        self.reads.append(len(data))
        super().data_received(data)

    async def has_read(self, piece: bytes) -> None:
        """Wait until it has read so much more, unless it does not read or is closed."""
        self._sent += len(piece)
        for _ in range(QUIET_TURNS):
            if sum(self.reads) >= self._sent or self.transport.is_closing():
                return
            await asyncio.sleep(0)


class Driver:
    """Opens connections to the gateway's protocol one after another; use it within a running loop."""

    def __init__(self, application: ASGIApp = echo) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._config = server_config(application, keep_alive_seconds=75)
        self._config.load()
        self._state = ServerState()
        self._app_state: dict[str, Any] = {"quick_answers": {b"GET " + QUICK: quick}}
        self.cuts = self.cuts_seen = 0
        self.made: list[weakref.ref[Watched]] = []

    def close(self) -> None:
        """Stop listening."""
        self._listener.close()

    def waiting(self) -> list[int]:
        """Give how many connections there are, and how many of them wait for what."""
        waiting = [value for value in vars(self._state.admission).values() if isinstance(value, dict)]  # type: ignore[attr-defined]
        return [len(self._state.connections), *map(len, waiting)]

    async def exchange(self, pieces: Iterable[bytes], *, hangs_up: bool = False) -> tuple[bytes, bool]:
        """
        Send *pieces*, one for each read of the server; give all that came back, and whether it has closed.

        At the end the server's side is aborted, or the client hangs up.
        """
        client, protocol = await self.connect()
        with client:
            for number, piece in enumerate(filter(None, pieces)):
                with contextlib.suppress(OSError):
                    client.sendall(piece)
                self.cuts += number > 0
                await protocol.has_read(piece)
            received, is_closed = await _received(client)
            self.cuts_seen += len(protocol.reads) - 1
            if hangs_up:
                client.close()
            else:
                protocol.transport.abort()
            while protocol in self._state.connections:  # noqa: ASYNC110 - no event tells of it
                await asyncio.sleep(0)
        return received, is_closed

    async def connect(self) -> tuple[socket.socket, Watched]:
        """Give a client's end, which does not block, and the connection at the other."""
        client = socket.create_connection(self._listener.getsockname())
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.setblocking(False)
        accepted, _ = self._listener.accept()
        _, protocol = await asyncio.get_running_loop().connect_accepted_socket(self._protocol, accepted)
        return client, protocol

    def _protocol(self) -> Watched:
        ways = {"direct_answers": dict.fromkeys(DIRECT, direct)} if len(self.made) % 2 else {}
        connection = Watched(config=self._config, server_state=self._state, app_state=self._app_state | ways)
        self.made.append(weakref.ref(connection))
        return connection


async def _received(client: socket.socket) -> tuple[bytes, bool]:
    """Give what has come when nothing more comes, and whether that was all."""
    received, quiet_turns = b"", 0
    while quiet_turns < QUIET_TURNS:
        try:
            octets = client.recv(1_000_000)
        except BlockingIOError:
            quiet_turns += 1
            await asyncio.sleep(0)
        except ConnectionResetError:
            return received, True
        else:
            if not octets:
                return received, True
            received, quiet_turns = received + octets, 0
    return received, False
