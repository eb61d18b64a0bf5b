"""What is left of a connection that has ended: nothing, and without a collector of garbage."""

import asyncio
import gc

import pytest

from tests.connections.answers import EARLY, QUICK
from tests.connections.conftest import Run
from tests.connections.corpus import GOOD, REFUSED, get, post
from tests.connections.driver import Driver

ENDED = {
    "answered": GOOD,
    "answered from memory": GOOD.replace(b"/livez", QUICK),
    "closed by request": get(b"Connection: close\r\n"),
    "answered early": post(b"Content-Length: 9\r\n", b"x", EARLY),
    "refused": REFUSED["two Hosts"][0],
    "half a head": GOOD[:20],
    "half a body": post(b"Content-Length: 9\r\n", b"x"),
}


@pytest.mark.parametrize("hangs_up", [True, False], ids=["the client hangs up", "it is aborted"])
@pytest.mark.parametrize("name", ENDED)
def test_a_connection_that_has_ended_leaves_nothing_behind(run: Run, driver: Driver, name: str, hangs_up: bool) -> None:
    """Thousands of strangers who come and go would otherwise hold memory until garbage is collected, if ever."""

    async def ask_and_leave() -> None:
        gc.collect()
        gc.disable()
        try:
            for _ in range(3):
                await driver.exchange([ENDED[name]], hangs_up=hangs_up)
            for _ in range(20):
                await asyncio.sleep(0)
            left = [connection for connection in (ref() for ref in driver.made) if connection is not None]
            held = [[type(holder).__name__ for holder in gc.get_referrers(connection)] for connection in left]
        finally:
            gc.enable()
        assert not any(driver.waiting()), driver.waiting()
        assert not left, held

    run(ask_and_leave())
    assert len(driver.made) == 3
