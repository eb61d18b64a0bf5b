"""Real servers on the very files in config/redis: installed as docs/operations.md says, in a folder of a test."""

import contextlib
import hashlib
import secrets
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import redis

from gateway.store.private import find_server
from tests.certificates import Certificates
from tests.harness import RedisServer, wait_until

CONFIG = Path(__file__).parents[1] / "config" / "redis"
PASSWORDS = {name: f"{name.lower()}-{secrets.token_hex(8)}" for name in ("GATEWAY", "ADMIN", "REPLICA", "SENTINEL")}
DOWN_AFTER_MILLISECONDS = 1000


def knows_waitaof() -> bool:
    """Tell whether the server that tests run is Redis 7.2 or newer, or a Valkey."""
    name, version = find_server()[1].split()
    return name == "Valkey" or tuple(map(int, version.split(".")[:2])) >= (7, 2)


def install(source: Path, destination: Path, changes: dict[str, str], certificates: Certificates | None = None) -> Path:
    """
    Copy a file as docs/operations.md says, with passwords put in; and with ports and folders of this test.

    With certificates the marks of the lines of TLS are taken away.
    """
    text = source.read_text()
    if certificates:
        text = text.replace("#tls ", "")
        changes = changes | {
            "/etc/redis/redis.crt": str(certificates.chain),
            "/etc/redis/redis.key": str(certificates.key),
            "tls-ca-cert-file /etc/ssl/redis-ca.pem": f"tls-ca-cert-file {certificates.authority}",
        }
    for name, password in PASSWORDS.items():
        text = text.replace(f"#{name}_PASSWORD_SHA256", f"#{hashlib.sha256(password.encode()).hexdigest()}")
        text = text.replace(f" {name}_PASSWORD\n", f" {password}\n")
    if not knows_waitaof():
        text = text.replace(" +waitaof", "")
    for old, new in changes.items():
        assert old in text or source.suffix == ".acl", f"{source} has no {old}"
        text = text.replace(old, new)
    destination.write_text(text)
    return destination


class ConfiguredServer(RedisServer):
    """A server on the files of config/redis/KIND, with a user `admin` to look into it."""

    kind = "standalone"
    extra_lines = ("repl-diskless-sync-delay 0",)

    def __init__(
        self, directory: Path, *lines: str, port: int | None = None, certificates: Certificates | None = None
    ) -> None:
        super().__init__(directory, port=port, certificates=certificates)
        self.lines = lines
        self.url = self.url_of(f"gateway:{PASSWORDS['GATEWAY']}@127.0.0.1:{self.port}/0")

    def start(self) -> "ConfiguredServer":
        """Start it, or start it again as it was left, and wait until it answers."""
        configuration = self.directory / "redis.conf"
        if not self.directory.exists():
            self.directory.mkdir(parents=True)
            install(CONFIG / self.kind / "users.acl", self.directory / "users.acl", {})
            changes = {
                "/etc/redis/users.acl": str(self.directory / "users.acl"),
                "dir /var/lib/redis\n": f"dir {self.directory}\nlogfile {self.directory}/redis.log\n",
                "\nport 6379\n": f"\nport {self.port}\n",
                "tls-port 6379\n": f"tls-port {self.port}\n",
            }
            install(CONFIG / self.kind / "redis.conf", configuration, changes, self.certificates)
            with configuration.open("a") as file:
                file.writelines(f"{line}\n" for line in (*self.extra_lines, *self.lines))
        self.process = subprocess.Popen([find_server()[0], str(configuration)])
        wait_until(self.answers, what=f"Redis: {self.directory}/redis.log")
        return self

    def client(self, user: str = "admin") -> Any:
        """Give a client of redis-py as a user; close it."""
        location = f"{user}:{PASSWORDS[user.upper()]}@127.0.0.1:{self.port}"
        return redis.Redis.from_url(self.url_of(location), socket_timeout=5)

    def answers(self) -> bool:
        """Tell whether it serves."""
        assert self.process is not None
        assert self.process.poll() is None, (self.directory / "redis.log").read_text()
        with contextlib.suppress(redis.RedisError):
            return bool(self.admin("PING"))
        return False

    def admin(self, *command: str) -> Any:
        """Run one command as `admin`."""
        with self.client() as client:
            return client.execute_command(*command)

    def denials(self) -> list[tuple[str, str, str]]:
        """Give who was refused what, and why, since the start."""
        with self.client() as client:
            return [(entry["username"], entry["object"], entry["reason"]) for entry in client.acl_log()]

    def commands_seen(self) -> set[str]:
        """Give every command that somebody has run, in scripts too, since the counters were reset."""
        with self.client() as client:
            return {name.removeprefix("cmdstat_") for name in client.info("commandstats")}


class SentinelMember(ConfiguredServer):
    """A server that Sentinel watches."""

    kind = "sentinel"


class ClusterNode(ConfiguredServer):
    """A node of a cluster."""

    kind = "cluster"


class ConfiguredSentinel(ConfiguredServer):
    """A Sentinel on the shipped files."""

    def __init__(self, directory: Path, master_port: int, certificates: Certificates | None = None) -> None:
        super().__init__(directory, certificates=certificates)
        self.master_port = master_port

    def start(self) -> "ConfiguredSentinel":
        """Start it and wait until it answers."""
        configuration = self.directory / "sentinel.conf"
        if not self.directory.exists():
            self.directory.mkdir(parents=True)
            acl = install(CONFIG / "sentinel" / "sentinel-users.acl", self.directory / "sentinel-users.acl", {})
            changes = {
                "/etc/redis/sentinel-users.acl": str(acl),
                "dir /var/lib/redis-sentinel\n": f"dir {self.directory}\nlogfile {self.directory}/redis.log\n",
                "\nport 26379\n": f"\nport {self.port}\n",
                "tls-port 26379\n": f"tls-port {self.port}\n",
                " 127.0.0.1 6379 2": f" 127.0.0.1 {self.master_port} 2",
                "down-after-milliseconds sessions 5000": f"down-after-milliseconds sessions {DOWN_AFTER_MILLISECONDS}",
                "failover-timeout sessions 30000": f"failover-timeout sessions {3 * DOWN_AFTER_MILLISECONDS}",
            }
            install(CONFIG / "sentinel" / "sentinel.conf", configuration, changes, self.certificates)
        self.process = subprocess.Popen([find_server()[0], str(configuration), "--sentinel"])
        wait_until(self.answers, what=f"Sentinel: {self.directory}/redis.log")
        return self

    def sees(self, replicas: int, sentinels: int) -> bool:
        """Tell whether it knows so many replicas and so many Sentinels, and that the master is well."""
        with self.client() as client:
            master = client.info("sentinel")["master0"]
        return (master["status"], master["slaves"], master["sentinels"]) == ("ok", replicas, sentinels)


@contextlib.contextmanager
def factory(directory: Path) -> Iterator[Callable[..., ConfiguredServer]]:
    """Give what makes and starts servers of a kind, with further lines in the file; all end with the block."""
    servers: list[ConfiguredServer] = []

    def make(
        kind: type[ConfiguredServer] = ConfiguredServer, *lines: str, certificates: Certificates | None = None
    ) -> ConfiguredServer:
        servers.append(kind(directory / f"server-{len(servers)}", *lines, certificates=certificates))
        servers[-1].start()
        return servers[-1]

    yield make
    for server in servers:
        server.stop()
