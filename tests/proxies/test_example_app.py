"""config/example-app: who is logged in, as the proxy tells it, and as the access token itself does."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.harness import GatewayProcess, Login, environment, free_port, wait_until
from tests.proxies.conftest import Signer, installed
from tests.proxies.fronts import CONFIG, ISSUER, KINDS, Front


@pytest.fixture
def example_port(asked: GatewayProcess, tmp_path: Path) -> Iterator[int]:
    """Run the example as its docstring says, with the gateway's addresses."""
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "--app-dir",
        str(CONFIG / "example-app"),
        "--port",
        str(port),
        "app:app",
    ]
    env = environment() | {"ISSUER": ISSUER, "JWKS_URI": f"{asked.url}/.well-known/jwks.json"}
    with (tmp_path / "example.log").open("wb") as log:
        process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def answers() -> bool:
        assert process.poll() is None, (tmp_path / "example.log").read_text()
        try:
            return httpx2.get(f"http://127.0.0.1:{port}/").status_code == 200
        except httpx2.TransportError:
            return False

    try:
        wait_until(answers, what="the example application")
        yield port
    finally:
        process.terminate()
        process.wait(timeout=10)


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


def test_around_the_proxy_a_forged_token_is_refused(example_port: int, signer: Signer) -> None:
    for token in (signer.sign(aud="https://api.example.com"), signer.sign(exp=1), "garbage"):
        headers = {"Authorization": f"Bearer {token}", "Remote-User": "admin@example.com"}
        answer = httpx2.get(f"http://127.0.0.1:{example_port}/", headers=headers)
        assert answer.status_code == 401
        assert answer.json()["token"]["refused"]
