"""A TCP proxy before Redis that resets, silences or delays the commands it is told to."""

import contextlib
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tests.harness import RedisServer

RESET_ON_CLOSE = struct.pack("ii", 1, 0)
POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Fault:
    """
    What happens to one command.

    Args:
        side: Whether its request or its reply is cut. A cut request never reaches Redis whole; a cut reply tells
            that Redis has done it (error replies, as NOSCRIPT, pass untouched).
        keep: How many bytes of it still pass.
        how: `reset` both connections then, or keep them open and pass nothing more (`silence`).
    """

    side: Literal["request", "reply"]
    keep: int = 0
    how: Literal["reset", "silence"] = "reset"


class Proxy:
    """
    Passes bytes between loopback ports of its own and Redis: one port, or one for each node of a cluster.

    Where a cluster tells the ports of its nodes, it tells those of the proxy: so nobody finds a way around it.

    Attributes:
        delay_seconds: Gives how long the next reply is held back.
        injected: How many faults have happened.
        cut_bytes: How many bytes the request or reply had that was cut last.
    """

    def __init__(self, server: RedisServer) -> None:
        self.delay_seconds: Callable[[], float] = lambda: 0.0
        self.injected = 0
        self.cut_bytes = 0
        self._url = server.url
        self._armed: tuple[bytes, Fault, int] | None = None
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._listeners = {port: socket.create_server(("127.0.0.1", 0), backlog=512) for port in server.ports}
        self._ports = {port: listener.getsockname()[1] for port, listener in self._listeners.items()}
        self._threads = [threading.Thread(target=self._accept, args=(port,), daemon=True) for port in self._ports]
        for thread in self._threads:
            thread.start()

    @property
    def url(self) -> str:
        """Where a gateway finds Redis behind this proxy."""
        url = self._url
        for port, ours in self._ports.items():
            url = url.replace(f":{port}", f":{ours}")
        return url

    def arm(self, marker: bytes, fault: Fault, times: int = 1) -> None:
        """Let *fault* happen to the next *times* commands that contain *marker*."""
        with self._lock:
            self._armed = (marker, fault, times)

    def disarm(self) -> None:
        """Let everything pass."""
        with self._lock:
            self._armed = None

    def close(self) -> None:
        """End all connections and wait until they have ended."""
        self._closing.set()
        for listener in self._listeners.values():
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        for thread in self._threads:
            thread.join(timeout=10)

    def _accept(self, port: int) -> None:
        while True:
            try:
                client, _ = self._listeners[port].accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(client, port), daemon=True)
            with self._lock:
                thread.start()
                self._threads = [known for known in self._threads if known.is_alive()] + [thread]

    def _serve(self, client: socket.socket, port: int) -> None:
        with client:
            try:
                server = socket.create_connection(("127.0.0.1", port), timeout=5)
            except OSError:
                return
            with server, contextlib.suppress(OSError):
                server.settimeout(None)
                for end in (client, server):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._pass(client, server)

    def _pass(self, client: socket.socket, server: socket.socket) -> None:
        pending: Fault | None = None
        while not self._closing.is_set():
            for end in select.select([client, server], [], [], POLL_SECONDS)[0]:
                octets = end.recv(1 << 16)
                if not octets:
                    return
                if end is server and len(self._ports) > 1:
                    octets = self._through_us(octets)
                if end is client:
                    fault = self._fault_for(octets)
                    if fault is not None and fault.side == "request":
                        self._spend(octets)
                        server.sendall(octets[: fault.keep])
                        return self._break(fault, client, server)
                    pending = fault
                    server.sendall(octets)
                elif pending is not None and not octets.startswith(b"-"):
                    self._spend(octets)
                    client.sendall(octets[: pending.keep])
                    return self._break(pending, client, server)
                else:
                    time.sleep(self.delay_seconds())
                    client.sendall(octets)

    def _through_us(self, octets: bytes) -> bytes:
        for port, ours in self._ports.items():  # all ports have five digits: no length that was told changes
            octets = octets.replace(b":%d\r\n" % port, b":%d\r\n" % ours)
        return octets

    def _fault_for(self, octets: bytes) -> Fault | None:
        with self._lock:
            if self._armed is None or self._armed[0] not in octets:
                return None
            return self._armed[1]

    def _spend(self, octets: bytes) -> None:
        with self._lock:
            self.injected += 1
            self.cut_bytes = len(octets)
            if self._armed is not None:
                marker, fault, times = self._armed
                self._armed = (marker, fault, times - 1) if times > 1 else None

    def _break(self, fault: Fault, client: socket.socket, server: socket.socket) -> None:
        if fault.how == "silence":
            while not self._closing.is_set() and not select.select([client], [], [], POLL_SECONDS)[0]:
                pass
            return
        for end in (client, server):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
