"""When an answer is sent that is whole at once."""

import asyncio
import socket

from starlette.types import Receive, Scope, Send

from tests.connections.answers import QUICK
from tests.connections.conftest import Run
from tests.connections.corpus import GOOD
from tests.connections.driver import Driver, echo

TURNS = 20


def test_what_is_answered_from_memory_waits_for_no_task_that_came_with_it(run: Run) -> None:
    """A login's piece of work takes longer than a subrequest; who asks one meanwhile need not notice."""
    heard: list[bytes] = []
    quick_client: socket.socket

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        heard.append(quick_client.recv(65_536))  # raises BlockingIOError if it has no answer yet
        await echo(scope, receive, send)

    async def ask() -> None:
        nonlocal quick_client
        slow_client, slow = await driver.connect()
        quick_client, quick = await driver.connect()
        with slow_client, quick_client:
            slow_client.sendall(GOOD)
            quick_client.sendall(GOOD.replace(b"/livez", QUICK))
            for _ in range(TURNS):
                await asyncio.sleep(0)
            assert slow_client.recv(65_536).startswith(b"HTTP/1.1 200 ")
            for connection in (slow, quick):
                assert len(connection.reads) == 1
                connection.transport.abort()

    driver = Driver(application)
    run(ask())
    driver.close()
    [answer] = heard
    assert answer.startswith(b"HTTP/1.1 200 ")
