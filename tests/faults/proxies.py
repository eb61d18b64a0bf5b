"""A proxy before Redis that answers errors, swallows everything, changes replies, or leads to another server."""

import random
import re
import select
import socket
import time
from collections.abc import Callable

from tests.families.proxy import POLL_SECONDS, RESET_ON_CLOSE, Proxy
from tests.harness import RedisServer
from tests.store.shared_line import Change

_MARK = b"\r\nECHO\r\n"
_COMMAND = re.compile(rb"\*[0-9]+\r\n\$")


class TurningProxy(Proxy):
    """
    A proxy for one server after another.

    Attributes:
        error: What every command is answered with; nothing for the server's own answers.
        is_hole: Whether all that comes, from either side, is lost without a word.
        change: What happens to the next replies on a connection that calls share, at a byte that is drawn.
        injected: How many commands were answered with an error, or how many replies were changed.
    """

    def __init__(self, server: RedisServer) -> None:
        self.error = b""
        self.is_hole = False
        self.change: Change | None = None
        self._target = server.port
        self._turns = 0
        super().__init__(server)

    @property
    def port(self) -> int:
        """Where it listens."""
        (port,) = self._ports.values()
        return int(port)

    def turn_to(self, server: RedisServer) -> None:
        """Lead to another server from now on; every connection that there is ends."""
        self._target = server.port
        self.is_hole = False
        self._turns += 1

    def _serve(self, client: socket.socket, port: int) -> None:
        super()._serve(client, self._target)

    def _pass(self, client: socket.socket, server: socket.socket) -> None:
        turns, is_shared = self._turns, False
        while turns == self._turns and not self._closing.is_set():
            for end in select.select([client, server], [], [], POLL_SECONDS)[0]:
                octets = end.recv(1 << 16)
                if not octets:
                    return
                is_shared = is_shared or (end is client and _MARK in octets)
                if end is client and self.error:
                    commands = len(_COMMAND.findall(octets))
                    self.injected += commands
                    client.sendall(self.error * commands)
                elif end is server and is_shared and self.change:
                    if not self._change_replies(octets, client):
                        return
                elif not self.is_hole:
                    (server if end is client else client).sendall(octets)

    def _change_replies(self, octets: bytes, client: socket.socket) -> bool:
        change, self.change = self.change, None
        for part in change(octets, random.randrange(len(octets))) if change else [octets]:
            if part is None:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
                self.injected += 1
                return False
            if isinstance(part, float):
                time.sleep(part)
            else:
                client.sendall(part)
        self.injected += change is not None
        return True


MakeProxy = Callable[[RedisServer], TurningProxy]
