"""
Build the image of the Dockerfile and run it as an orchestrator does (make image).

As its own user and as one whom nobody knows, with a root that cannot be written to, without capabilities, on another
port. Takes an engine; the environment may say which one and how (ENGINE='podman --runtime runc', BUILD_OPTIONS,
RUN_OPTIONS), and PYTHON_IMAGE from what the image is built.
"""

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import httpx2

from tests.artefacts.installing import ROOT
from tests.harness import SECRET, GatewayProcess, RedisServer, free_port, wait_until

TAG = "token-gateway:tested"
USERS = ("65532:65532", "1234567:0")
START_SECONDS = 60
ENDED_WITHIN_SECONDS = 8
EMAIL = "ann@example.com"


def find_engine(environ: Mapping[str, str]) -> list[str]:
    """Give the words of an engine that is at work; none where there is none."""
    named = [shlex.split(environ["ENGINE"])] if "ENGINE" in environ else [["docker"], ["podman"]]
    for words in named:
        if shutil.which(words[0]) and subprocess.run([*words, "info"], capture_output=True).returncode == 0:
            return words
    return []


def done(*words: str) -> str:
    """Run a program and give what it prints. Raises `SystemExit` where it fails."""
    outcome = subprocess.run(words, capture_output=True, text=True)
    if outcome.returncode != 0:
        raise SystemExit(f"image: {shlex.join(words)[:300]}\n{outcome.stdout[-1000:]}{outcome.stderr[-3000:]}")
    return outcome.stdout


def try_as(user: str, engine: list[str], options: list[str], redis_url: str, secret: Path) -> None:
    """Run it as one user, ask it, log in, and end it."""
    port = free_port()
    settings = {
        "GATEWAY_PORT": str(port),
        "GATEWAY_REDIS_URL": redis_url,
        "GATEWAY_SECRET_FILE": "/run/secrets/gateway",
        "GATEWAY_REDIS_KEY_PREFIX": f"{user.partition(':')[0]}:",
    }
    words = [
        "run",
        "--detach",
        "--network",
        "host",
        "--user",
        user,
        "--read-only",
        "--tmpfs",
        "/tmp",
        "--cap-drop",
        "ALL",
    ]
    words += ["--security-opt", "no-new-privileges", "--volume", f"{secret}:/run/secrets/gateway:ro", *options]
    words += [word for name, value in settings.items() for word in ("--env", f"{name}={value}")]
    container = done(*engine, *words, TAG).split()[-1]
    try:
        gateway = GatewayProcess(settings, Path("/dev/null"))
        wait_until(lambda: answers(gateway), START_SECONDS, "the gateway")
        inside = [*engine, "exec", container]
        uid, root = done(*inside, "sh", "-c", "id -u; touch /usr/x 2>/dev/null && echo open || echo closed").split()
        health = done(*inside, "gateway", "healthcheck").strip()
        added = done(*inside, "gateway", "users", "add", EMAIL, "--generate")
        with gateway.client() as client:
            body = {"username": EMAIL, "password": added.rpartition("password: ")[2].strip()}
            login = client.post("/auth/login", json=body).status_code
        begun = time.monotonic()
        done(*engine, "stop", "--time", "20", container)
        ended_after = time.monotonic() - begun
        status = json.loads(done(*engine, "inspect", container))[0]["State"]["ExitCode"]
    finally:
        subprocess.run([*engine, "rm", "--force", container], capture_output=True)
    print(f"as {user}: {health} on port {port}, login {login}, root {root}, ended with {status}", flush=True)
    if (uid, health, login, root, status) != (user.partition(":")[0], "ready", 200, "closed", 0):
        raise SystemExit(1)
    if ended_after > ENDED_WITHIN_SECONDS:
        raise SystemExit(f"image: TERM took {ended_after:.1f} s")


def answers(gateway: GatewayProcess) -> bool:
    """Tell whether it is ready."""
    with contextlib.suppress(httpx2.TransportError), gateway.client() as client:
        return client.get("/readyz").status_code == 200
    return False


def main(environ: Mapping[str, str]) -> int:
    """Build it and try it as each user, or say that there is no engine."""
    engine = find_engine(environ)
    if not engine:
        print("image: not run, there is no engine at work (docker, podman)", file=sys.stderr)
        return 1
    build = [*engine, "build", "--tag", TAG, *shlex.split(environ.get("BUILD_OPTIONS", ""))]
    if "PYTHON_IMAGE" in environ:
        build += ["--build-arg", f"PYTHON_IMAGE={environ['PYTHON_IMAGE']}"]
    done(*build, str(ROOT))
    print(f"built by {done(*engine, '--version').strip()}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(Path(folder) / "redis").start()
        try:
            for user in USERS:
                secret = Path(folder) / "secret"
                secret.write_text(SECRET)
                secret.chmod(0o400)
                os.chown(secret, *map(int, user.split(":")))
                Path(folder).chmod(0o755)
                try_as(user, engine, shlex.split(environ.get("RUN_OPTIONS", "")), server.url, secret)
                secret.unlink()
        finally:
            server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ))  # noqa: TID251 - it is a program
