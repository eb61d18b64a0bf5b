"""What stands under load: a real Redis, real gateways, and the bare ASGI server that they are compared with."""

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measuring import FOLDER
from benchmarks.processes import load_cores, pinned, server_cores
from gateway.sessions import new_family_id
from gateway.state import Gateway
from tests.harness import SECRET, GatewayProcess, RedisServer, environment, free_port, in_gateway, wait_until

# Off, since all requests come from one address. What each account is let is not touched.
SHARED: dict[str, Any] = {"login_limit": "off", "refresh_limit": "off", "log_format": "json"}
CHEAP_PASSWORDS: dict[str, Any] = {"insecure_test_settings": "true", "bcrypt_cost": 4}
EMAIL = "ann@example.com"


@contextlib.contextmanager
def workplace() -> Iterator[Path]:
    """Give a folder for the time of a benchmark."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        yield Path(folder)


@contextlib.contextmanager
def redis_at(folder: Path, *arguments: str) -> Iterator[RedisServer]:
    """Give a Redis that keeps an append-only file, beside the server under test."""
    with pinned(load_cores()):
        server = RedisServer(folder, *arguments).start()
    try:
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def gateway_at(redis: RedisServer, cores: set[int] | None = None, **settings: Any) -> Iterator[GatewayProcess]:
    """Give a gateway of one process, on the core of the server under test unless told otherwise."""
    env = environment(**{"redis_url": redis.url, "secret": SECRET, "port": free_port()} | SHARED | settings)
    process = GatewayProcess(env, redis.directory / f"gateway-{env['GATEWAY_PORT']}.log")
    try:
        with pinned(cores or server_cores()):
            process.start()
        yield process
    finally:
        if process.process is not None:
            process.stop()


def pid_of(server: GatewayProcess | RedisServer) -> int:
    """Give the process id of a running server."""
    assert server.process is not None
    return server.process.pid


@contextlib.contextmanager
def bare_server(body: Path | None = None, asks: Sequence[str] = ()) -> Iterator[tuple[int, int]]:
    """
    Give port and process id of a bare ASGI server on the core of the server under test.

    Args:
        asks: URL of a Redis and the words of a command, which it sends there before each answer.
    """
    port = free_port()
    command = [sys.executable, str(FOLDER / "bare.py"), str(port), *(["--body", str(body)] if body else [])]
    command += ["--ask", *asks] if asks else []
    with pinned(server_cores()):
        process = subprocess.Popen(command)

    def is_there() -> bool:
        assert process.poll() is None, "the bare server ended"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
        return False

    try:
        wait_until(is_there, what="the bare server")
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(timeout=10)


def mint(gateway: GatewayProcess, count: int, role: str = "demo") -> list[str]:
    """Give access tokens of as many users and sessions, signed by the gateway's own minter with its own key."""

    async def work(opened: Gateway) -> list[str]:
        await opened.keyring.open()
        return [
            await opened.access_tokens.mint(
                subject="usr_" + secrets.token_urlsafe(16),
                family_id=secrets.token_urlsafe(16),
                auth_time=opened.clock(),
                roles=(role, "staff"),
                email=f"user{number:07d}@example.com",
                name=f"User {number}",
                now=opened.clock(),
                session_seconds_left=3600,
            )
            for number in range(count)
        ]

    return in_gateway(gateway.env, work)


def browse(gateway: GatewayProcess, count: int, per_user: int = 50) -> list[str]:
    """Give the cookies of as many browser sessions, each opened in Redis, of as many users as are needed."""

    async def work(opened: Gateway) -> list[str]:
        cookies: list[str] = []
        while len(cookies) < count:
            email = f"browser{len(cookies):07d}@example.com"
            user = await opened.users.add(email, f"User {len(cookies)}", ("demo", "staff"), "no hash at all")
            for _ in range(min(per_user, count - len(cookies))):
                family = await opened.families.open(user.user_id, 1, new_family_id(), "192.0.2.1", "Firefox")
                cookies.append(opened.families.cookie_of(user.user_id, family))
        return cookies

    return in_gateway(gateway.env, work)


def request_file(folder: Path, path: str, header_lines: list[str]) -> Path:
    """Write a file for wrk.lua that asks *path* with each of the header lines in turn."""
    file = folder / f"requests-{len(header_lines)}"
    file.write_text("".join(f"{path} {line}\n" for line in header_lines))
    return file


def bearing(access_tokens: list[str]) -> list[str]:
    """Give the header lines that present access tokens."""
    return [f"Authorization: Bearer {access_token}" for access_token in access_tokens]


def child_environment() -> dict[str, str]:
    """Give the environment of this process without settings of a gateway."""
    return {k: v for k, v in os.environ.items() if not k.startswith("GATEWAY_")}  # noqa: TID251 - for a child
