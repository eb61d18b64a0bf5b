"""A master with one replica, behind an address that moves."""

import shutil
from pathlib import Path

from tests.faults.proxies import TurningProxy
from tests.harness import RedisServer, wait_until
from tests.topologies import QUICK_SYNC


class Pair:
    """A master, and a replica that hears it through a proxy; clients find the master through another proxy."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._count = 0
        self.master = self._server().start()
        self.front = TurningProxy(self.master)
        self.replica, self.link = self._follow()

    def _server(self) -> RedisServer:
        self._count += 1
        return RedisServer(self.directory / f"redis-{self._count}", *QUICK_SYNC, "--appendfsync", "always")

    def _follow(self) -> tuple[RedisServer, TurningProxy]:
        """Start a replica of the master, and wait until it has all, and says so at once."""
        replica, link = self._server().start(), TurningProxy(self.master)
        replica.command("REPLICAOF", "127.0.0.1", str(link.port))
        wait_until(lambda: b"state=online" in self.master.command("INFO", "replication"), what="the replica")
        with self.master.client() as client:
            client.publish("the", "first")  # it may take a second, until what is written is sent on
            assert client.execute_command("WAIT", 1, 5000) == 1
        return replica, link

    def promote(self) -> None:
        """Make the replica the master, and lead the clients there."""
        self.replica.command("REPLICAOF", "NO", "ONE")
        self.front.turn_to(self.replica)

    def copy(self) -> Path:
        """Give a copy of all that the master has on disk now."""
        self._count += 1
        copy = self.directory / f"copy-{self._count}"
        shutil.copytree(self.master.directory / "appendonlydir", copy)
        return copy

    def roll_back(self, copy: Path) -> None:
        """Kill the master, and start it again with what a copy has: all that was written since is lost."""
        self.master.kill()
        shutil.rmtree(self.master.directory / "appendonlydir")
        shutil.copytree(copy, self.master.directory / "appendonlydir")
        self.master.start()

    def renew(self) -> None:
        """Give the new master a replica of its own."""
        self.link.close()
        self.master = self.replica
        self.replica, self.link = self._follow()

    def stop(self) -> None:
        """End all of it."""
        for proxy in (self.front, self.link):
            proxy.close()
        for server in (self.master, self.replica):
            server.stop()
