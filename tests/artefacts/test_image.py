"""What can be said of the image without an engine; `make image` builds and runs it."""

import fnmatch
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from gateway.cli.serve import DRAIN_SECONDS
from gateway.settings import load_settings
from tests.artefacts.installing import ROOT, Installation
from tests.harness import SECRET, UNUSED_TLS, GatewayProcess, RedisServer, free_port, wait_until

START_SECONDS = 20
NOBODY_KNOWS = 1_234_567


def instructions() -> list[tuple[str, str]]:
    """Give what the Dockerfile says, each with its continued lines."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in text.splitlines() if line.strip()]


def last(name: str) -> str:
    return [value for instruction, value in instructions() if instruction == name][-1]


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return loaded


def settings_in(environ: dict[str, str]) -> dict[str, str]:
    return {name: str(value) for name, value in environ.items() if name.startswith("GATEWAY_")}


def test_it_is_not_root_and_an_orchestrator_can_see_that() -> None:
    user, group = last("USER").split(":")
    assert int(user) > 0
    assert int(group) > 0


@pytest.mark.parametrize("name", ["ENTRYPOINT", "CMD", "HEALTHCHECK"])
def test_no_shell_is_between_it_and_signals(name: str) -> None:
    """A shell as the first process would not pass TERM on."""
    words = json.loads(last(name).partition("CMD ")[2] or last(name))
    assert all(isinstance(word, str) for word in words)


def test_its_health_is_asked_where_its_settings_say() -> None:
    """A port in a flag of the command would be unknown to the check."""
    command, check = json.loads(last("CMD")), json.loads(last("HEALTHCHECK").partition("CMD ")[2])
    assert (command, check) == (["serve"], ["gateway", "healthcheck"])
    environ = dict(re.findall(r"(GATEWAY_\w+)=(\S+)", last("ENV")))
    settings = load_settings({}, environ).settings
    assert (settings.host, settings.port) == (environ["GATEWAY_HOST"], int(last("EXPOSE")))


def test_what_is_copied_is_sent_to_the_builder() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    sent = [line[1:] for line in ignored if line.startswith("!")]
    copied = [
        word
        for name, value in instructions()
        if name == "COPY" and not value.startswith("--from")
        for word in value.split()[:-1]
    ]
    assert {"gateway/", "config/", "docs/"} <= set(copied)
    for source in copied:
        assert (ROOT / source).exists(), source
        assert any(
            fnmatch.fnmatch(path, source.rstrip("/")) or path.startswith(source.rstrip("/") + "/") for path in sent
        ), source
    assert not [line for line in sent if not (ROOT / line).exists()]


def test_what_is_installed_is_locked() -> None:
    for name, value in instructions():
        assert name != "ADD"
        for command in re.findall(r"\bpip\b[^&]*\binstall\b[^&]*", value) if name == "RUN" else []:
            assert "--require-hashes" in command or "--no-index" in command, command


def test_compose_gives_it_no_more_than_it_needs() -> None:
    gateway = compose()["services"]["gateway"]
    assert gateway["read_only"] is True
    assert gateway["cap_drop"] == ["ALL"]
    assert gateway["security_opt"] == ["no-new-privileges:true"]
    assert gateway["tmpfs"] == ["/tmp"]
    assert int(gateway["stop_grace_period"].removesuffix("s")) > 2 * DRAIN_SECONDS
    assert not {"command", "entrypoint", "healthcheck", "user", "ports"} & gateway.keys()


def test_the_settings_of_compose_are_ones(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    (tmp_path / "secret").chmod(0o600)
    environ = settings_in(compose()["services"]["gateway"]["environment"])
    environ["GATEWAY_ISSUER"] = environ["GATEWAY_ISSUER"].partition(":-")[2].rstrip("}")
    assert environ["GATEWAY_SECRET_FILE"] == "/run/secrets/" + compose()["services"]["gateway"]["secrets"][0]
    load_settings({}, environ | {"GATEWAY_SECRET_FILE": str(tmp_path / "secret")})


def test_it_serves_as_a_user_whom_nobody_knows_on_a_root_that_cannot_be_written_to(
    installed: Installation, redis_server: RedisServer, tmp_path: Path
) -> None:
    """As an orchestrator runs it: any user, no home, no capability; with nothing to write to, not even /tmp."""
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        pytest.skip("bwrap is missing: apt install bubblewrap")
    port = free_port()
    environ = {
        "PATH": f"{installed.folder}/bin:/usr/bin:/bin",
        "GATEWAY_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "GATEWAY_REDIS_URL": redis_server.url,
        "GATEWAY_SECRET": SECRET,
        "GATEWAY_REDIS_KEY_PREFIX": "image:",
        "GATEWAY_WORKERS": "2",
    }
    confined = [bwrap, "--ro-bind", "/", "/", "--dev", "/dev", "--ro-bind", "/dev/shm", "/dev/shm", "--proc", "/proc"]
    confined += ["--unshare-user", "--uid", str(NOBODY_KNOWS), "--gid", "0", "--unshare-pid", "--cap-drop", "ALL"]
    confined += ["--clearenv", "--chdir", "/"]
    for name, value in environ.items():
        confined += ["--setenv", name, value]
    tried = subprocess.run([*confined, "true"], capture_output=True, text=True)
    if tried.returncode != 0:
        pytest.skip(f"bwrap may not be used here: {tried.stderr.strip()}")
    log = tmp_path / "serve.log"
    command = [*confined, "--die-with-parent", str(installed.folder / "bin" / "gateway"), "serve"]
    with log.open("wb") as output:
        server = subprocess.Popen(command, stdout=output, stderr=output)
    gateway = GatewayProcess({"GATEWAY_PORT": str(port)}, log, process=server)
    try:
        gateway.wait_until_ready()
        answer = httpx2.get(f"{gateway.url}/.well-known/jwks.json", verify=UNUSED_TLS, trust_env=False)
        assert answer.json()["keys"]
        asked = subprocess.run([*confined, "gateway", "healthcheck"], capture_output=True, text=True)
        assert asked.stdout == "ready\n", asked.stderr
        id_of = subprocess.run([*confined, "sh", "-c", "id -u; touch /usr/written"], capture_output=True, text=True)
        assert id_of.stdout == f"{NOBODY_KNOWS}\n"
        assert "Read-only" in id_of.stderr
    finally:
        server.terminate()
        server.wait(timeout=START_SECONDS)
    wait_until(lambda: not gateway_answers(gateway), what="the end of all processes")


def gateway_answers(gateway: GatewayProcess) -> bool:
    try:
        httpx2.get(f"{gateway.url}/livez", verify=UNUSED_TLS, trust_env=False, timeout=1)
    except httpx2.TransportError:
        return False
    return True
