"""Packages for applications that check tokens themselves: how each is started, and what work it is given."""

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

from installing import install_python
from measures import CONNECTIONS, HERE, Chains, Constant, Work
from servers import (
    FORM,
    JSON,
    PASSWORD,
    SERVER_CORE,
    Server,
    ask,
    free_port,
    inherited,
    json_body,
    process,
    retry,
)


@contextlib.contextmanager
def simplejwt(folder: Path, redis: str) -> Iterator[Server]:
    """Run a Django project with djangorestframework-simplejwt under gunicorn, with SQLite."""
    binaries, home = install_python("simplejwt"), HERE / "simplejwt"
    port = free_port()
    log = folder / "simplejwt.log"
    env = {"DATABASE": str(folder / "simplejwt.sqlite3"), "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([binaries / "python", "app.py"], cwd=home, env=inherited() | env, check=True)
    command = [str(binaries / "gunicorn"), "--bind", f"127.0.0.1:{port}", "--workers=1", "--worker-class=gthread"]
    command += ["--threads=2", "--log-level=warning", "app:application"]
    with process(command, log, core=SERVER_CORE, cwd=home, **env) as started:
        login = json.dumps({"username": "ann@example.com", "password": PASSWORD})
        access_token = retry(lambda: ask(port, "/login", JSON, login), started, log)["access"]
        refresh_tokens = [ask(port, "/login", JSON, login)["refresh"] for _ in range(CONNECTIONS)]
        works: dict[str, Work] = {
            "simplejwt: verify": Constant("GET", "/verify", {"Authorization": f"Bearer {access_token}"}),
            "simplejwt: refresh": Chains("/refresh", JSON, json_body("refresh"), "refresh", refresh_tokens),
        }
        yield Server(port, started.pid, works)


@contextlib.contextmanager
def fastapi_users(folder: Path, redis: str) -> Iterator[Server]:
    """Run a FastAPI application with fastapi-users under uvicorn, with its tokens in Redis."""
    binaries, home = install_python("fastapi-users"), HERE / "fastapi-users"
    port = free_port()
    log = folder / "fastapi-users.log"
    command = [str(binaries / "uvicorn"), "--port", str(port), "--loop=uvloop", "--http=httptools", "--workers=1"]
    command += ["--no-access-log", "--log-level=warning", "app:app"]
    env = {"REDIS_URL": f"{redis}/2", "PYTHONDONTWRITEBYTECODE": "1"}
    with process(command, log, core=SERVER_CORE, cwd=home, **env) as started:
        login = urlencode({"username": "ann@example.com", "password": PASSWORD})
        access_token = retry(lambda: ask(port, "/login", FORM, login), started, log)["access_token"]
        verify = Constant("GET", "/verify", {"Authorization": f"Bearer {access_token}"})
        yield Server(port, started.pid, {"fastapi-users: verify": verify})
