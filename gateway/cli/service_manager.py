"""What the service manager that started the server is told: that it is ready, that it lives, that it ends."""

import logging
import os
import socket
from collections.abc import Callable, Mapping

import uvicorn
from uvicorn.supervisors import Multiprocess

from gateway.cli.workers import Shares

TELLS_LIFE_PER_WATCHDOG = 3  # so that one that is late, or lost, ends nothing
ANSWERS_WITHIN_SECONDS = 1

logger = logging.getLogger("gateway")


class ServiceManager:
    """
    Systemd, or another that hears what sd_notify(3) says, by the datagrams of `NOTIFY_SOCKET`; or nobody.

    Args:
        address: The path of its socket, of an abstract one with `@` in front; None for nobody.
        watchdog_seconds: It ends a server that has not told for so long that it lives; None for never.
        monotonic: The clock of that, in seconds.
    """

    def __init__(self, address: str | None, watchdog_seconds: float | None, monotonic: Callable[[], float]) -> None:
        self._address = f"\0{address[1:]}" if address and address.startswith("@") else address
        self._pause_seconds = watchdog_seconds and watchdog_seconds / TELLS_LIFE_PER_WATCHDOG
        self._monotonic = monotonic
        self._told_at = -float("inf")

    @classmethod
    def of(cls, environ: Mapping[str, str], monotonic: Callable[[], float]) -> "ServiceManager":
        """Give the one that the environment names: `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`."""
        microseconds = environ.get("WATCHDOG_USEC", "")
        is_watched = microseconds.isdecimal() and environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        return cls(environ.get("NOTIFY_SOCKET"), int(microseconds) / 1e6 if is_watched else None, monotonic)

    def is_ready(self) -> None:
        """Tell that requests are answered."""
        self._tell("READY=1")

    def lives(self) -> None:
        """Tell that it lives, where that is wanted; does nothing when it was told a moment ago."""
        if self._pause_seconds and self._monotonic() - self._told_at >= self._pause_seconds:
            self._told_at = self._monotonic()
            self._tell("WATCHDOG=1")

    def ends(self) -> None:
        """Tell that the requests that it is at are the last."""
        self._tell("STOPPING=1")

    def _tell(self, state: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.sendto(state.encode(), socket.MSG_DONTWAIT, self._address)
        except OSError as error:
            logger.warning("the service manager was not told (%s): %s", state, error)


class Server(uvicorn.Server):
    """The one process that serves; what it tells, its event loop tells, so that a loop that hangs is noticed."""

    def __init__(self, config: uvicorn.Config, manager: ServiceManager) -> None:
        super().__init__(config)
        self._manager = manager

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and tell when requests are answered."""
        await super().startup(sockets)
        if not self.should_exit:
            self._manager.is_ready()

    async def on_tick(self, counter: int) -> bool:
        """Tell, every now and then, that it lives."""
        self._manager.lives()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Tell that it ends, and end."""
        self._manager.ends()
        await super().shutdown(sockets)


class Supervisor(Multiprocess):
    """The process that starts the workers, and others for those that hang: it tells for all of them."""

    def __init__(
        self, config: uvicorn.Config, sockets: list[socket.socket], manager: ServiceManager, shares: Shares
    ) -> None:
        super().__init__(config, sockets)
        self._manager = manager
        self._shares = shares
        self._is_ready = False

    def keep_subprocess_alive(self) -> None:
        """Look after the workers; tell that it lives and, as soon as all of them answer requests, that it is ready."""
        self._manager.lives()
        super().keep_subprocess_alive()
        self._shares.keep([process.pid for process in self.processes if process.pid is not None])
        if not self._is_ready and all(process.is_ready(ANSWERS_WITHIN_SECONDS) for process in self.processes):
            self._is_ready = True
            self._manager.is_ready()

    def terminate_all(self) -> None:
        """Tell that it ends, and end the workers."""
        self._manager.ends()
        super().terminate_all()
