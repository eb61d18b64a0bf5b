"""How a server is started and asked; Redis, and the gateway with the work that it is given."""

import contextlib
import functools
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from measures import CONNECTIONS, Chains, Constant, Work, family_of

from gateway.store.private import find_server

R = TypeVar("R")
CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
SERVER_CORE, LOAD_CORE = CORES[0], CORES[-1]
READY_SECONDS = 20.0
PASSWORD = "correct horse battery staple"
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@dataclass
class Server:
    """
    A running server and what it can be asked to do, each work under the name that the table has for it.

    Args:
        warms_up: Whether it gets faster while it works, so that it has to have worked before it is measured.
    """

    port: int
    pid: int
    works: dict[str, Work]
    warms_up: bool = False


def inherited() -> dict[str, str]:
    """Give the environment without settings of a gateway."""
    return {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}  # noqa: TID251


@contextlib.contextmanager
def process(command: list[str], log: Path, *, core: int, cwd: Path, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program on one processor, with its output in *log*, and end it afterwards."""
    pin = functools.partial(os.sched_setaffinity, 0, {core})
    with log.open("wb") as output:
        started = subprocess.Popen(
            command,
            cwd=cwd,
            env=inherited() | env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            preexec_fn=pin,
        )
    try:
        yield started
    finally:
        started.terminate()
        try:
            started.wait(timeout=READY_SECONDS)
        except subprocess.TimeoutExpired:
            for pid in family_of(started.pid):
                os.kill(pid, signal.SIGKILL)
            started.wait()


@contextlib.contextmanager
def redis_server(folder: Path) -> Iterator[tuple[str, int]]:
    """Run a Redis for all, durable as in production, beside the load; give its address and its process id."""
    port = free_port()
    command = [find_server()[0], "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
    command += ["--appendonly", "yes", "--appendfsync", "everysec"]
    with process(command, folder / "redis.log", core=LOAD_CORE, cwd=folder) as started:
        retry(lambda: socket.create_connection(("127.0.0.1", port), timeout=2).close(), started, folder / "redis.log")
        yield f"redis://127.0.0.1:{port}", started.pid


@contextlib.contextmanager
def gateway(folder: Path, redis: str) -> Iterator[Server]:
    """Run one worker of the gateway: its own defaults but for the limits, which the load would meet at once."""
    port = free_port()
    settings = {"redis_url": f"{redis}/0", "secret": PASSWORD * 2, "port": port, "log_format": "json"}
    settings |= {"refresh_limit": "off", "login_limit": "off", "access_token_ttl_seconds": 3600}
    env = {f"GATEWAY_{name.upper()}": str(value) for name, value in settings.items()}
    emails = [f"user-{number}@example.com" for number in range(CONNECTIONS)]
    for email in emails:
        command = [sys.executable, "-m", "gateway", "users", "add", email, "--name", "Ann", "--password-stdin"]
        subprocess.run(
            command, env=inherited() | env, input=PASSWORD.encode(), capture_output=True, check=True, cwd=folder
        )
    log = folder / "gateway.log"
    with process([sys.executable, "-m", "gateway", "serve"], log, core=SERVER_CORE, cwd=folder, **env) as started:
        retry(lambda: ask(port, "/readyz"), started, log)
        sessions = [retry(functools.partial(log_in, port, email), started, log) for email in emails]
        checks = {"Authorization": f"Bearer {sessions[0]['access_token']}"}
        refresh_tokens = [session["refresh_token"] for session in sessions]
        works: dict[str, Work] = {
            "gateway: subrequest": Constant("GET", "/api/authz/auth-request", checks),
            "gateway: refresh": Chains(
                "/auth/refresh", JSON, json_body("refresh_token"), "refresh_token", refresh_tokens
            ),
        }
        yield Server(port, started.pid, works)


def log_in(port: int, email: str) -> dict[str, Any]:
    """Log a user of the gateway in; give what the answer says. Raises OSError unless it is a 200, as `ask` does."""
    return ask(port, "/auth/login", JSON, json.dumps({"username": email, "password": PASSWORD, "delivery": "body"}))


def free_port() -> int:
    """Give a port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def json_body(member: str) -> Callable[[str], str]:
    """Give what makes the body of a refresh from a token."""
    return lambda token: f'{{"{member}":"{token}"}}'


def ask(port: int, path: str, headers: dict[str, str] | None = None, body: str | None = None) -> dict[str, Any]:
    """Send a GET, or with *body* a POST, and give the JSON of the answer. Raises OSError unless it is a 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=READY_SECONDS)
    with contextlib.closing(connection):
        connection.request("GET" if body is None else "POST", path, body, headers or {})
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise OSError(f"{path}: {answer.status} {content!r}")
        return json.loads(content) if content else {}


def retry(
    work: Callable[[], R], started: subprocess.Popen[bytes], log: Path, ready_seconds: float = READY_SECONDS
) -> R:
    """Try until the server that was just started answers, and give what it says."""
    begun = time.monotonic()
    while True:
        try:
            return work()
        except (OSError, http.client.HTTPException) as error:
            if started.poll() is not None or time.monotonic() - begun > ready_seconds:
                raise RuntimeError(f"a server does not answer; its log:\n{log.read_text()}") from error
            time.sleep(0.05)
