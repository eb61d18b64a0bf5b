"""Real Redis topologies on the loopback interface: three servers watched by three Sentinels, and a Cluster."""

import contextlib
import subprocess
import time
from pathlib import Path

from gateway.store.private import find_server
from tests.certificates import Certificates
from tests.harness import RedisServer, free_port, wait_until

SLOTS = 16384
SERVICE = "sessions"
QUICK_SYNC = ("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1")
GATHER_SECONDS = 30.0


class SentinelServer(RedisServer):
    """A Sentinel that watches one service; it keeps what it has learnt when it is started again."""

    def __init__(
        self,
        directory: Path,
        master_port: int,
        down_after_milliseconds: int,
        quorum: int,
        *lines: str,
        certificates: Certificates | None = None,
    ) -> None:
        super().__init__(directory, certificates=certificates)
        self._text = (
            "".join(f"{name} {value}\n" for name, value in self.listening())
            + f"bind 127.0.0.1\ndir {directory}\nlogfile {directory}/sentinel.log\n"
            f"sentinel monitor {SERVICE} 127.0.0.1 {master_port} {quorum}\n"
            f"sentinel down-after-milliseconds {SERVICE} {down_after_milliseconds}\n"
            f"sentinel failover-timeout {SERVICE} {3 * down_after_milliseconds}\n"
            f"sentinel parallel-syncs {SERVICE} 2\n" + "".join(f"{line}\n" for line in lines)
        )
        self.url = self.url_of(f"127.0.0.1:{self.port}/{SERVICE}/0", "+sentinel")

    def start(self) -> "SentinelServer":
        """Start it, or start it again, and wait until it answers."""
        self.directory.mkdir(parents=True, exist_ok=True)
        configuration = self.directory / "sentinel.conf"
        if not configuration.exists():
            configuration.write_text(self._text)
        self.process = subprocess.Popen([find_server()[0], str(configuration), "--sentinel"])
        wait_until(self.answers, what="Sentinel")
        return self

    def answers(self) -> bool:
        """Tell whether it serves, if only to tell that it wants a password."""
        with contextlib.suppress(OSError):
            return self.command("PING").startswith((b"+PONG", b"-NOAUTH"))
        return False

    def master_port(self) -> int:
        """Give the port of the master as this Sentinel knows it."""
        return int(self.command("SENTINEL", "get-master-addr-by-name", SERVICE).split(b"\r\n")[4])

    def sees(self, replicas: int, sentinels: int) -> bool:
        """Tell whether it knows so many replicas and so many Sentinels, and that the master is well."""
        facts = self.command("INFO", "sentinel")
        return b"status=ok" in facts and b"slaves=%d,sentinels=%d" % (replicas, sentinels) in facts


class SentinelTrio:
    """
    A master with two replicas, and three Sentinels of which two have to agree.

    Each of `servers` and `sentinels` may be killed, signalled and started again by itself. With certificates they
    speak TLS alone, among themselves too.

    Attributes:
        url: For `GATEWAY_REDIS_URL`.
    """

    def __init__(
        self,
        directory: Path,
        down_after_milliseconds: int = 1000,
        *arguments: str,
        certificates: Certificates | None = None,
    ) -> None:
        self.servers = [
            RedisServer(directory / f"redis-{n}", *QUICK_SYNC, *arguments, certificates=certificates) for n in range(3)
        ]
        first = self.servers[0].port
        self.sentinels = [
            SentinelServer(directory / f"sentinel-{n}", first, down_after_milliseconds, 2, certificates=certificates)
            for n in range(3)
        ]
        self.url = self.sentinels[0].url_of(f"{_addresses(self.sentinels)}/{SERVICE}/0", "+sentinel")

    def start(self) -> "SentinelTrio":
        """Start all six and wait until they know each other and the replicas have what the master has."""
        for server in self.servers:
            server.start()
        for replica in self.servers[1:]:
            replica.command("REPLICAOF", "127.0.0.1", str(self.servers[0].port))
        wait_until(self.is_in_sync, GATHER_SECONDS, "the replicas")
        for sentinel in self.sentinels:
            sentinel.start()
        wait_until(self.is_whole, GATHER_SECONDS, "the Sentinels to know each other and the replicas")
        return self

    def master(self) -> RedisServer:
        """Give the master as the Sentinels that answer know it; the newest opinion is that of most of them."""
        ports = []
        for sentinel in self.sentinels:
            with contextlib.suppress(OSError):
                ports.append(sentinel.master_port())
        chosen = max(ports, key=ports.count)
        return next(server for server in self.servers if server.port == chosen)

    def replicas(self) -> list[RedisServer]:
        """Give the others."""
        master = self.master()
        return [server for server in self.servers if server is not master]

    def is_in_sync(self) -> bool:
        """Tell whether one of the servers is master of two replicas that are on line."""
        for server in self.servers:
            with contextlib.suppress(OSError):
                facts = server.command("INFO", "replication")
                if b"role:master" in facts and facts.count(b"state=online") == 2:
                    return True
        return False

    def is_whole(self) -> bool:
        """Tell whether every Sentinel sees a healthy master, two replicas and all three Sentinels."""
        try:
            return self.is_in_sync() and all(sentinel.sees(2, 3) for sentinel in self.sentinels)
        except OSError:
            return False

    def flush(self) -> None:
        """Delete all keys."""
        assert self.master().command("FLUSHALL") == b"+OK\r\n"

    def stop(self) -> None:
        """End all six, whatever state they are in."""
        for server in (*self.sentinels, *self.servers):
            server.stop()


class RedisCluster:
    """
    A Redis Cluster; each of `nodes` may be killed, signalled and started again by itself.

    The first of them are masters with an equal share of the slots, the others their replicas. With certificates they
    speak TLS alone, among themselves too.

    Attributes:
        url: For `GATEWAY_REDIS_URL`.
    """

    def __init__(
        self,
        directory: Path,
        masters: int = 3,
        replicas_each: int = 0,
        node_timeout_milliseconds: int = 1000,
        certificates: Certificates | None = None,
    ) -> None:
        self._masters = masters
        self._bus_ports: list[int] = []
        self.nodes: list[RedisServer] = []
        for number in range(masters * (1 + replicas_each)):
            self._bus_ports.append(free_port())
            arguments = (
                *("--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf"),
                *("--cluster-port", str(self._bus_ports[-1])),
                *("--cluster-node-timeout", str(node_timeout_milliseconds)),
                *("--cluster-replica-validity-factor", "0"),
                *(("--tls-cluster", "yes") if certificates else ()),
            )
            node = RedisServer(directory / f"node-{number}", *QUICK_SYNC, *arguments, certificates=certificates)
            self.nodes.append(node)
        self.url = self.nodes[0].url_of(_addresses(self.nodes), "+cluster")

    def start(self) -> "RedisCluster":
        """Start all nodes, give the masters their slots, and wait until every node sees a whole cluster."""
        for node in self.nodes:
            node.start()
        for number, node in enumerate(self.nodes):
            _ok(node.command("CLUSTER", "SET-CONFIG-EPOCH", str(number + 1)))
        share = SLOTS / self._masters
        for number, node in enumerate(self.nodes[: self._masters]):
            first, last = round(number * share), round((number + 1) * share) - 1
            _ok(node.command("CLUSTER", "ADDSLOTSRANGE", str(first), str(last)))
        for node, bus_port in zip(self.nodes[1:], self._bus_ports[1:], strict=True):
            _ok(self.nodes[0].command("CLUSTER", "MEET", "127.0.0.1", str(node.port), str(bus_port)))
        wait_until(self._all_know_all, GATHER_SECONDS, "the nodes to know each other")
        for number, node in enumerate(self.nodes[self._masters :]):
            master_id = self.id_of(self.nodes[number % self._masters])
            _ok(node.command("CLUSTER", "REPLICATE", master_id))
        wait_until(self.is_whole, GATHER_SECONDS, "a whole cluster")
        return self

    def id_of(self, node: RedisServer) -> str:
        """Give the id of a node."""
        return node.command("CLUSTER", "MYID").split(b"\r\n")[1].decode()

    def masters(self) -> list[RedisServer]:
        """Give the nodes that say they are masters."""
        found = []
        for node in self.nodes:
            with contextlib.suppress(OSError):
                if b"role:master" in node.command("INFO", "replication"):
                    found.append(node)
        return found

    def slot_of(self, key: str) -> int:
        """Give the slot of a key."""
        return int(self.nodes[0].command("CLUSTER", "KEYSLOT", key)[1:])

    def owner_of(self, slot: int) -> RedisServer:
        """Give the node that serves a slot."""
        for node in self.masters():
            for line in node.command("CLUSTER", "NODES").decode().splitlines():
                if "myself" in line and any(_holds(part, slot) for part in line.split(" ")[8:]):
                    return node
        views = "\n".join(node.command("CLUSTER", "NODES").decode() for node in self.masters())
        raise AssertionError(f"nobody serves slot {slot}:\n{views}")

    def move_slot(self, slot: int, owner: RedisServer, target: RedisServer, pause_seconds: float = 0.0) -> int:
        """
        Move a slot and its keys, key by key, to another node, and give how many keys there were.

        It stays half moved for *pause_seconds* before its first key moves, and before each other one.
        """
        number, owner_id, target_id = str(slot), self.id_of(owner), self.id_of(target)
        _ok(target.command("CLUSTER", "SETSLOT", number, "IMPORTING", owner_id))
        _ok(owner.command("CLUSTER", "SETSLOT", number, "MIGRATING", target_id))
        moved = 0
        with contextlib.closing(owner.client()) as client:
            while keys := client.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 1):
                time.sleep(pause_seconds)
                client.execute_command("MIGRATE", "127.0.0.1", target.port, keys[0], 0, 2000)
                moved += 1
        # A target that does not know the owner's last epoch yet would take a lower one, and lose the slot to it again.
        wait_until(
            lambda: _epoch(target, "current") >= _epoch(owner, "my"), what="the epoch of the owner at the target"
        )
        for node in (target, owner, *self.masters()):
            _ok(node.command("CLUSTER", "SETSLOT", number, "NODE", target_id))
        return moved

    def is_whole(self) -> bool:
        """Tell whether every node says that the cluster works, and every replica has what its master has."""
        try:
            states = [node.command("CLUSTER", "INFO") for node in self.nodes]
            facts = [node.command("INFO", "replication") for node in self.nodes]
        except OSError:
            return False
        replicas = [fact for fact in facts if b"role:slave" in fact]
        return (
            all(b"cluster_state:ok" in state and b"cluster_slots_ok:%d" % SLOTS in state for state in states)
            and len(replicas) == len(self.nodes) - self._masters
            and all(b"master_link_status:up" in fact for fact in replicas)
        )

    def flush(self) -> None:
        """Delete all keys."""
        for node in self.masters():
            _ok(node.command("FLUSHALL"))

    def stop(self) -> None:
        """End all nodes, whatever state they are in."""
        for node in self.nodes:
            node.stop()

    def _all_know_all(self) -> bool:
        return all(b"cluster_known_nodes:%d" % len(self.nodes) in n.command("CLUSTER", "INFO") for n in self.nodes)


def _addresses(servers: "list[RedisServer] | list[SentinelServer]") -> str:
    return ",".join(f"127.0.0.1:{server.port}" for server in servers)


def _ok(reply: bytes) -> None:
    assert reply == b"+OK\r\n", reply


def _epoch(node: RedisServer, whose: str) -> int:
    return int(node.command("CLUSTER", "INFO").decode().split(f"cluster_{whose}_epoch:")[1].split()[0])


def _holds(part: str, slot: int) -> bool:
    """Tell whether a part of a line of CLUSTER NODES, `5` or `5-8`, holds a slot; `[5->-...]` holds none."""
    first, _, last = part.partition("-")
    return not part.startswith("[") and int(first) <= slot <= int(last or first)
