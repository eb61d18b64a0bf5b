"""A proxy before Redis that answers errors in its name, swallows everything, or leads to another server."""

import re
import select
import socket
from collections.abc import Callable

from tests.families.proxy import POLL_SECONDS, Proxy
from tests.harness import RedisServer

_COMMAND = re.compile(rb"\*[0-9]+\r\n\$")


class TurningProxy(Proxy):
    """
    A proxy for one server after another.

    Attributes:
        error: What every command is answered with; nothing for the server's own answers.
        is_hole: Whether all that comes, from either side, is lost without a word.
        injected: How many commands were answered with an error.
    """

    def __init__(self, server: RedisServer) -> None:
        self.error = b""
        self.is_hole = False
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
        turns = self._turns
        while turns == self._turns and not self._closing.is_set():
            for end in select.select([client, server], [], [], POLL_SECONDS)[0]:
                octets = end.recv(1 << 16)
                if not octets:
                    return
                if end is client and self.error:
                    commands = len(_COMMAND.findall(octets))
                    self.injected += commands
                    client.sendall(self.error * commands)
                elif not self.is_hole:
                    (server if end is client else client).sendall(octets)


MakeProxy = Callable[[RedisServer], TurningProxy]
