"""One fetch in the background, shared by all who wait for it, in threads and on event loops alike."""

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable

from .fetch import FETCH_TIMEOUT_SECONDS

Flight = concurrent.futures.Future[None]
"""One fetch; it is done when the fetch is over, however that went."""


def new_flight() -> Flight:
    """Give a flight that nobody who waits for it can call off."""
    flight = Flight()
    flight.set_running_or_notify_cancel()
    return flight


def start_flight(flight: Flight, work: Callable[[Flight], None], name: str) -> None:
    """Do *work*, which ends the flight, in a thread that holds up no exit."""
    threading.Thread(target=work, args=(flight,), daemon=True, name=name).start()


def wait(flight: Flight | None) -> None:
    """Wait until the flight is over, at most 5 seconds."""
    if flight is not None:
        concurrent.futures.wait([flight], timeout=FETCH_TIMEOUT_SECONDS)


async def wait_async(flight: Flight | None) -> None:
    """Do the same without blocking the event loop."""
    if flight is not None:
        await asyncio.wait([asyncio.wrap_future(flight)], timeout=FETCH_TIMEOUT_SECONDS)
