"""What tests start and speak to: real Redis servers, real gateway processes, the real command line."""

import asyncio
import contextlib
import http.client
import itertools
import json
import os
import secrets
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import redis

from gateway.app import open_gateway
from gateway.settings import Settings, load_settings
from gateway.state import Gateway
from gateway.store.private import find_server
from tests.certificates import Certificates
from tests.described import check_described

PASSWORD = "correct horse battery staple"
SECRET = "a secret for tests alone, 32 bytes and more"
READY_SECONDS = 20.0
# Made once, since making it takes longer than most tests; the gateways of tests speak plain HTTP.
UNUSED_TLS = ssl.create_default_context()
R = TypeVar("R")
_PORTS = itertools.count()
_PORT_START = os.getpid() * 37


def free_port() -> int:
    """
    Give a port of the loopback interface that nobody listens on, nor is about to.

    Each test process has a range of its own, below the ports that the system gives to outgoing connections: so
    nobody else takes the port between now and its use.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw2")  # noqa: TID251 - pytest says it there alone
    first = 10_000 + 7_000 * (int(worker.removeprefix("gw")) % 3)
    while True:
        port = first + (_PORT_START + next(_PORTS)) % 7_000
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port


def wait_until(condition: Callable[[], bool], seconds: float = 10.0, what: str = "") -> float:
    """Wait for a condition and give the seconds that it took. Fails when it takes longer than *seconds*."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < seconds, f"waited {seconds} s for {what or condition}"
        time.sleep(0.01)
    return time.monotonic() - begun


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> float:
    """Wait for a condition while other tasks run, and give the seconds that it took."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < seconds, f"waited {seconds} s"
        await asyncio.sleep(0.002)
    return time.monotonic() - begun


class RedisServer:
    """A real Redis or Valkey server on a loopback port, with an append-only file; with certificates by TLS alone."""

    def __init__(
        self, directory: Path, *arguments: str, port: int | None = None, certificates: Certificates | None = None
    ) -> None:
        self.directory = directory
        self.port = port or free_port()
        self.certificates = certificates
        self.url = self.url_of(f"127.0.0.1:{self.port}/0")
        self.arguments = arguments
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "RedisServer":
        """Start it, or start it again on the same files, and wait until it answers."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen(
            [
                *(find_server()[0], "--bind", "127.0.0.1", "--dir", str(self.directory)),
                *(part for name, value in self.listening() for part in (f"--{name}", value)),
                *("--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--daemonize", "no"),
                *("--logfile", str(self.directory / "redis.log"), *self.arguments),
            ],
        )
        wait_until(self.answers, what="Redis")
        return self

    def url_of(self, location: str, kind: str = "") -> str:
        """Give the `redis_url` of *location*, which is of a kind, `+cluster` say: with TLS where this server has it."""
        if self.certificates is None:
            return f"redis{kind}://{location}"
        return f"rediss{kind}://{location}?ssl_ca_certs={self.certificates.authority}"

    def listening(self) -> list[tuple[str, str]]:
        """Give the lines of its configuration that are about its port."""
        if self.certificates is None:
            return [("port", str(self.port))]
        files = self.certificates
        return [
            *(("port", "0"), ("tls-port", str(self.port)), ("tls-auth-clients", "no"), ("tls-replication", "yes")),
            *(("tls-cert-file", str(files.chain)), ("tls-key-file", str(files.key))),
            ("tls-ca-cert-file", str(files.authority)),
        ]

    def answers(self) -> bool:
        """Tell whether it serves."""
        with contextlib.suppress(OSError):
            return self.command("PING") == b"+PONG\r\n"
        return False

    def command(self, *words: str) -> bytes:
        """Send one command and give the first bytes of the raw answer."""
        with contextlib.ExitStack() as opened:
            connection = opened.enter_context(socket.create_connection(("127.0.0.1", self.port), timeout=2))
            if self.certificates:
                secured = self.certificates.client_context().wrap_socket(connection, server_hostname="127.0.0.1")
                connection = opened.enter_context(secured)
            lines = [f"*{len(words)}"] + [part for word in words for part in (f"${len(word.encode())}", word)]
            connection.sendall(("\r\n".join(lines) + "\r\n").encode())
            return connection.recv(65536)

    def client(self) -> Any:
        """Give a client of redis-py; close it."""
        return redis.Redis.from_url(self.url_of(f"127.0.0.1:{self.port}"), socket_timeout=5)

    @property
    def ports(self) -> tuple[int, ...]:
        """Give where it listens: on one port, or a cluster on as many as it has nodes."""
        return (self.port,)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal: STOP, CONT, KILL."""
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it as a crash would."""
        self.signal(signal.SIGKILL)
        self._wait()

    def stop(self) -> None:
        """End it for good, whatever state it is in."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self._wait()

    def _wait(self) -> None:
        assert self.process is not None
        self.process.wait(timeout=10)


def environment(**settings: Any) -> dict[str, str]:
    """Give the environment of a gateway: the machine's without its own GATEWAY_* variables, and *settings*."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("GATEWAY_")}  # noqa: TID251 - for children
    return inherited | {f"GATEWAY_{name.upper()}": str(value) for name, value in settings.items()}


def settings_of(env: Mapping[str, str]) -> Settings:
    """Give the settings that a gateway with this environment has."""
    return load_settings({}, {k: v for k, v in env.items() if k.startswith("GATEWAY_")}).settings


def command_line(*arguments: str, open_files: int | None = None) -> list[str]:
    """Give the command line of `gateway ARGUMENTS`, with a limit of open files where there is one."""
    limited = [] if open_files is None else ["prlimit", f"--nofile={open_files}:{open_files}"]
    return [*limited, sys.executable, "-m", "gateway", *arguments]


def run_command(
    *arguments: str,
    env: Mapping[str, str],
    stdin: str | None = None,
    timeout: float = 30,
    open_files: int | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run `gateway ARGUMENTS` without a terminal and give what it printed."""
    return subprocess.run(
        command_line(*arguments, open_files=open_files),
        env=dict(env),
        input=stdin if stdin is not None else "",
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def in_gateway(env: Mapping[str, str], work: Callable[[Gateway], Awaitable[R]]) -> R:
    """Run *work* on a gateway of our own, with the settings of *env*, in this process."""

    async def run() -> R:
        async with open_gateway(settings_of(env)) as gateway:
            return await work(gateway)

    return asyncio.run(run())


@dataclass
class TestUser:
    """A user who was added for one test."""

    __test__ = False

    user_id: str
    email: str
    password: str = PASSWORD


@dataclass
class Login:
    """A session of a user through the gateway itself."""

    user: TestUser
    access_token: str
    refresh_token: str

    @property
    def bearer(self) -> dict[str, str]:
        """The header that carries the access token."""
        return {"Authorization": f"Bearer {self.access_token}"}


def add_user(env: Mapping[str, str], *, roles: tuple[str, ...] = ("staff",), name: str = "Ann Example") -> TestUser:
    """Add a user with an address of its own."""
    email = f"user-{secrets.token_hex(6)}@example.com"

    async def work(gateway: Gateway) -> str:
        return (await gateway.users.add(email, name, roles, await gateway.passwords.hash(PASSWORD))).user_id

    return TestUser(in_gateway(env, work), email)


@dataclass
class GatewayProcess:
    """A real `gateway serve` on a loopback port."""

    env: dict[str, str]
    log_path: Path
    arguments: tuple[str, ...] = ()
    open_files: int | None = None
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.env["GATEWAY_PORT"])

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def start(self, *, wait: bool = True) -> "GatewayProcess":
        """Start it, or start it again, and wait until it is ready."""
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                command_line("serve", *self.arguments, open_files=self.open_files),
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        if wait:
            self.wait_until_ready()
        return self

    def wait_until_ready(self) -> float:
        """Wait for /readyz and give the seconds that it took."""
        return wait_until(self.is_ready, READY_SECONDS, f"the gateway; its log:\n{self.log_text()}")

    def is_ready(self) -> bool:
        """Tell whether /readyz says 200."""
        assert self.process is not None
        assert self.process.poll() is None, f"the gateway ended:\n{self.log_text()}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        return False

    def client(self, **options: Any) -> httpx2.Client:
        """Give an HTTP client with a cookie jar of its own; close it, or use it in a `with`."""
        return httpx2.Client(
            base_url=self.url, timeout=10, verify=UNUSED_TLS, event_hooks={"response": [self._check]}, **options
        )

    def _check(self, answer: httpx2.Response) -> None:
        url = answer.request.url
        if (url.host, url.port) == ("127.0.0.1", self.port):
            check_described(answer, self.env.get("GATEWAY_PORTAL", "on"))

    def add_user(self, **options: Any) -> TestUser:
        """Add a user with an address of its own."""
        return add_user(self.env, **options)

    def login(self, user: TestUser, client: httpx2.Client, **members: Any) -> dict[str, Any]:
        """Log in with JSON and give the body. Fails unless that is a 200."""
        body = {"username": user.email, "password": user.password, **members}
        answer = client.post("/auth/login", json=body)
        assert answer.status_code == 200, answer.text
        result: dict[str, Any] = answer.json()
        return result

    def log_text(self) -> str:
        """Give all that it has logged and printed."""
        return self.log_path.read_text() if self.log_path.exists() else ""

    def log_size(self) -> int:
        """Give the bytes of its log so far."""
        return self.log_path.stat().st_size if self.log_path.exists() else 0

    def log_lines(self, since: int = 0) -> list[dict[str, Any]]:
        """Give the JSON lines of its log, from a size on that it had."""
        lines = self.log_path.read_bytes()[since:].splitlines() if self.log_path.exists() else []
        return [json.loads(line) for line in lines if line.startswith(b"{")]

    def kill(self) -> None:
        """End it as a crash would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(timeout=10)

    def tell_to_end(self) -> None:
        """Ask it to end, and do not wait for that."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()

    def stop(self) -> int:
        """Ask it to end, and give its exit status."""
        assert self.process is not None
        self.tell_to_end()
        try:
            return self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
