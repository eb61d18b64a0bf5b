"""config/example-app: who is logged in, as the proxy tells it, and as the access token itself does."""

import contextlib
import http.client
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from tests.harness import UNUSED_TLS, GatewayProcess, Login, environment, free_port, wait_until
from tests.proxies.conftest import Signer, installed
from tests.proxies.fronts import CONFIG, ISSUER, KINDS, Front


@contextlib.contextmanager
def example(asked: GatewayProcess, directory: Path, *options: str) -> Iterator[int]:
    """Run the example as its docstring says, but for the options, with the gateway's addresses; give its port."""
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        *options,
        "--app-dir",
        str(CONFIG / "example-app"),
        "--port",
        str(port),
        "app:app",
    ]
    env = environment() | {"ISSUER": ISSUER, "JWKS_URI": f"{asked.url}/.well-known/jwks.json"}
    with (directory / "example.log").open("wb") as log:
        process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def answers() -> bool:
        assert process.poll() is None, (directory / "example.log").read_text()
        try:
            return httpx2.get(f"http://127.0.0.1:{port}/", verify=UNUSED_TLS).status_code == 200
        except httpx2.TransportError:
            return False

    try:
        wait_until(answers, what="the example application")
        yield port
    finally:
        process.terminate()
        process.wait(timeout=10)


@pytest.fixture
def example_port(asked: GatewayProcess, tmp_path: Path) -> Iterator[int]:
    """Run the example as its docstring says."""
    command = re.search(r"uvicorn (--http \w+) --app-dir", (CONFIG / "example-app" / "app.py").read_text())
    assert command is not None
    with example(asked, tmp_path, *command[1].split()) as port:
        yield port


def test_it_shows_who_is_logged_in_and_verifies_the_token_itself(
    example_port: int, asked: GatewayProcess, login: Login, make_front: Callable[..., Front]
) -> None:
    nginx = installed(next(kind for kind in KINDS if kind.name == "nginx"))
    front = make_front(nginx, asked, app_port=example_port)

    def shown(headers: dict[str, str]) -> dict[str, Any]:
        answer = front.ask("/any/page", headers)
        assert answer.status == 200
        found: dict[str, Any] = httpx2.Response(200, content=answer.body).json()
        return found

    told = {"user": login.user.email, "groups": "demo,staff", "name": "Zoë, of <R&D>", "sub": login.user.user_id}
    token = {"sub": login.user.user_id, "roles": ["demo", "staff"]}
    assert shown(login.bearer | {"Remote-User": "forged"}) == {"proxy": told, "token": token}
    assert shown({"Cookie": f"__Secure-access_token={login.access_token}"}) == {"proxy": told, "token": None}
    assert front.ask("/any/page").status == 401


def test_the_token_that_the_proxy_gives_goes_before_the_application_s_own_credentials(
    example_port: int, login: Login
) -> None:
    given = {"Remote-Access-Token": login.access_token, "Authorization": "Basic dXNlcjpwYXNzd29yZA=="}
    shown = httpx2.get(f"http://127.0.0.1:{example_port}/", headers=given, verify=UNUSED_TLS).json()
    assert shown["token"] == {"sub": login.user.user_id, "roles": ["demo", "staff"]}


def test_around_the_proxy_a_forged_token_is_refused(example_port: int, signer: Signer) -> None:
    for token in (signer.sign(aud="https://api.example.com"), signer.sign(exp=1), "garbage"):
        headers = {"Authorization": f"Bearer {token}", "Remote-User": "admin@example.com"}
        answer = httpx2.get(f"http://127.0.0.1:{example_port}/", headers=headers, verify=UNUSED_TLS)
        assert answer.status_code == 401
        assert answer.json()["token"]["refused"]


@pytest.mark.parametrize("parser", ["h11", "httptools"])
def test_nothing_behind_a_body_says_who_is_logged_in(
    asked: GatewayProcess, login: Login, tmp_path: Path, parser: str
) -> None:
    """httptools hands trailers over as headers, and uvicorn appends them to those of the request."""
    forged = {"Remote-User": "admin@example.com", "Remote-Groups": "admin", "Remote-Sub": login.user.user_id}
    trailers = "".join(f"{name}: {value}\r\n" for name, value in forged.items())
    nobody = {"user": "", "groups": "", "name": "", "sub": ""}

    def shown(port: int, headers: dict[str, str], pause_seconds: float) -> Any:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n{lines}\r\n"
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(head.encode() + b"5\r\nhello\r\n" * (pause_seconds == 0))
            time.sleep(pause_seconds)
            connection.sendall(b"0\r\n" + trailers.encode() + b"\r\n")
            response = http.client.HTTPResponse(connection)
            response.begin()
            return json.loads(response.read())["proxy"]

    told = {"user": login.user.email, "groups": "demo,staff", "name": "Zoë, of <R&D>", "sub": login.user.user_id}
    by_proxy = {f"Remote-{name.title()}": quote(value, safe=",@ <>&") for name, value in told.items()}
    with example(asked, tmp_path, "--http", parser) as port:
        for announced in ({}, {"Trailer": ", ".join(forged)}):
            for pause_seconds in (0, 0.05):
                assert shown(port, announced, pause_seconds) == nobody
                assert shown(port, announced | login.bearer, pause_seconds) == nobody
                assert shown(port, announced | login.bearer | by_proxy, pause_seconds) == told
