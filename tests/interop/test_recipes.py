"""
The recipes of docs/machines.md, run as they stand: only addresses, file names and secrets are put in.

In front of every application is nginx with the files of config/nginx; a tool that is not installed skips its recipe.
"""

import gzip
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import httpx2
import pytest

from tests.certificates import make_certificates
from tests.harness import PASSWORD, GatewayProcess, free_port, in_gateway, wait_until
from tests.interop.applications import Application, GitServer, asking, start_registry, start_webdav
from tests.interop.conftest import AddedClient, add_client
from tests.interop.languages import GO, JAVA, NODE, PYTHON, prepare, run
from tests.interop.pages import blocks, put_in
from tests.proxies.fronts import Front

PAGE = "machines.md"
AUTH, APP = "https://auth.example.com", "https://app.example.com"
OWNER = "ann@example.com"
ROLE_ALONE = 'set $requires "role=demo";'
# What the tools and libraries of a program want to hear before they speak without TLS.
PLAIN_HTTP = {
    "CLIENT_ID, CLIENT_SECRET);": "CLIENT_ID, CLIENT_SECRET, undefined, {execute: [client.allowInsecureRequests]});"
}


class Standing(Protocol):
    """What is behind a proxy."""

    port: int

    def stop(self) -> None:
        """End it."""


StartFront = Callable[[Standing, str], str]


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """Give a folder that nginx's own user may read too."""
    with tempfile.TemporaryDirectory(prefix="recipes-") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


@pytest.fixture(scope="module")
def start_front(gateway: GatewayProcess, place: Path) -> Iterator[StartFront]:
    """Give a factory of proxies in front of something, from that and the line of protected.conf; gives its address."""
    certificates, running = make_certificates(place), []
    if shutil.which("curl") is None or asking(ROLE_ALONE).program is None:
        pytest.skip("the recipes need curl and nginx (packages: curl, nginx)")

    def start(behind: Standing, requires: str) -> str:
        kind, directory = asking(requires), place / f"front-{len(running)}"
        front = Front(kind, directory, gateway.port, behind.port, certificates)
        running.append((front.start(), behind))
        return f"127.0.0.1:{front.port}"

    yield start
    for front, behind in running:
        front.stop()
        behind.stop()


@pytest.fixture(scope="module")
def application() -> Application:
    """Give the application behind the proxy of most recipes; it ends with that."""
    return Application()


@pytest.fixture(scope="module")
def app(start_front: StartFront, application: Application) -> str:
    """Give the address of that proxy, which leads the browser of who is not logged in to the login."""
    return start_front(application, ROLE_ALONE)


@pytest.fixture(scope="module")
def token(gateway: GatewayProcess) -> str:
    """Give the personal token that the page's own command makes."""

    async def add_owner(opened: Any) -> None:
        await opened.users.add(OWNER, "Ann Example", ("demo", "staff"), await opened.passwords.hash(PASSWORD))

    in_gateway(gateway.env, add_owner)
    [command] = blocks(PAGE, "A personal token", "sh")
    [shown] = blocks(PAGE, "A personal token", "text")
    printed = shell(command, gateway.env)
    assert re.fullmatch(re.escape(shown).replace("…", "[A-Za-z0-9_-]+"), printed)
    return printed.rpartition("token: ")[2].strip()


@pytest.fixture(scope="module")
def billing(gateway: GatewayProcess) -> AddedClient:
    """Give the machine client that the page's own command makes."""
    [command] = blocks(PAGE, "Service to service", "sh")
    assert command == "gateway clients add billing --role demo\n"
    return add_client(gateway, *command.split()[3:])


def shell(commands: str, env: Mapping[str, str], **options: Any) -> str:
    """Run commands in a shell that ends at the first one that fails, and give what they printed."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # noqa: TID251 - for a child
    known = {"PATH": path, "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}
    done = subprocess.run(
        ["sh", "-eu", "-c", commands], env=dict(env) | known, capture_output=True, text=True, timeout=60, **options
    )
    assert done.returncode == 0, f"{commands}\nprinted\n{done.stdout}\nand\n{done.stderr}"
    return done.stdout


def test_curl_sends_a_personal_token_from_a_file_and_as_a_password(
    app: str, application: Application, token: str, tmp_path: Path
) -> None:
    """docs/machines.md, curl."""
    for commands in blocks(PAGE, "curl", "sh"):
        before = len(application.seen)
        shell(put_in(commands, {APP: f"http://{app}"}), {"TOKEN": token, "HOME": str(tmp_path)})
        [(path, headers)] = application.seen[before:]
        assert (path, headers["Remote-User"], headers["Remote-Groups"]) == ("/reports", OWNER, "demo")
    assert (tmp_path / ".gateway-token").stat().st_mode & 0o777 == 0o600


@pytest.fixture(scope="module")
def asks_for_a_password() -> str:
    """Give the line of the page that makes a proxy ask for a password."""
    [line] = blocks(PAGE, "A proxy that asks for a password", "nginx")
    return line.strip()


@pytest.fixture(scope="module")
def git_host(start_front: StartFront, place: Path, asks_for_a_password: str) -> str:
    """Give the address of a git server behind the proxy, with an empty repository."""
    root = place / "repositories"
    if shutil.which("git") is None:
        pytest.skip("there is no git here")
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", str(root / "project.git")], check=True)
    return start_front(GitServer(root), asks_for_a_password)


@pytest.mark.parametrize("recipe", [0, 1], ids=["a header", "a password"])
def test_git_clones_and_pushes_with_a_personal_token(git_host: str, token: str, tmp_path: Path, recipe: int) -> None:
    """docs/machines.md, git over https."""
    commands = blocks(PAGE, "git over https", "sh")[recipe]
    commands = commands.replace("https://ann:%s@git.example.com", f"http://ann:%s@{git_host}")
    commands = put_in(commands, {"https://git.example.com": f"http://{git_host}"})
    env = {"TOKEN": token, "HOME": str(tmp_path)}
    shell(commands, env, cwd=tmp_path)
    push = "cd project && git -c user.name=ann -c user.email=ann@example.com commit --quiet --allow-empty -m hello"
    shell(f"{push} && git push --quiet origin HEAD:refs/heads/{('header', 'password')[recipe]}", env, cwd=tmp_path)
    listed = shell(f"git ls-remote http://{git_host}/project.git", env, cwd=tmp_path)
    assert ("refs/heads/header", "refs/heads/password")[recipe] in listed


def test_git_without_a_token_is_asked_for_a_password_and_gets_nothing(git_host: str, tmp_path: Path) -> None:
    answer = httpx2.get(f"http://{git_host}/project.git/info/refs?service=git-upload-pack")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Basic ")
    done = subprocess.run(
        ["git", "ls-remote", f"http://{git_host}/project.git"],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "GIT_TERMINAL_PROMPT": "0"},  # noqa: TID251 - for a child
        capture_output=True,
        text=True,
    )
    assert done.returncode == 128
    assert "could not read Username" in done.stderr


def test_a_registry_takes_a_personal_token_as_a_password(
    start_front: StartFront, place: Path, asks_for_a_password: str, token: str, tmp_path: Path
) -> None:
    """docs/machines.md, A docker registry: skopeo speaks to it as podman does, and nearly as docker."""
    if shutil.which("skopeo") is None or shutil.which("docker-registry") is None:
        pytest.skip("skopeo or docker-registry is not installed here (packages of these names)")
    [command] = blocks(PAGE, "A docker registry", "sh")
    directory = place / "registry"
    directory.mkdir()
    host = start_front(start_registry(directory), asks_for_a_password)
    write_image(tmp_path / "image")
    env = {"TOKEN": token, "HOME": str(tmp_path), "REGISTRY_AUTH_FILE": str(tmp_path / "auth.json")}
    login = put_in(command, {"docker login": "skopeo login --tls-verify=false", "registry.example.com": host})
    shell(login, env)
    copy = "skopeo --insecure-policy copy --quiet --dest-tls-verify=false --src-tls-verify=false"
    shell(f"{copy} oci:{tmp_path}/image:1 docker://{host}/team/image:1", env)
    shell(f"{copy} docker://{host}/team/image:1 oci:{tmp_path}/back:1", env)
    assert (tmp_path / "back" / "index.json").exists()
    refused = subprocess.run(["sh", "-c", f"PATH={os.environ['PATH']} {login}"], env=env | {"TOKEN": "wrong"})  # noqa: TID251
    assert refused.returncode != 0


def write_image(directory: Path) -> None:
    """Write an image of one file as an OCI layout."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("hello"), io.BytesIO())
    config = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [_digest(layer.getvalue())]},
    }
    vendor = "application/vnd.oci.image"
    (directory / "blobs" / "sha256").mkdir(parents=True)

    def put(octets: bytes, media_type: str) -> dict[str, Any]:
        digest = _digest(octets)
        (directory / "blobs" / "sha256" / digest.removeprefix("sha256:")).write_bytes(octets)
        return {"mediaType": media_type, "digest": digest, "size": len(octets)}

    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{vendor}.manifest.v1+json",
        "config": put(json.dumps(config).encode(), f"{vendor}.config.v1+json"),
        "layers": [put(gzip.compress(layer.getvalue()), f"{vendor}.layer.v1.tar+gzip")],
    }
    entry = put(json.dumps(manifest).encode(), f"{vendor}.manifest.v1+json")
    entry["annotations"] = {"org.opencontainers.image.ref.name": "1"}
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


def _digest(octets: bytes) -> str:
    return "sha256:" + hashlib.sha256(octets).hexdigest()


def test_webdav_takes_a_personal_token_as_a_password(
    start_front: StartFront, place: Path, asks_for_a_password: str, token: str, tmp_path: Path
) -> None:
    """docs/machines.md, WebDAV."""
    directory = place / "dav"
    directory.mkdir()
    host = start_front(start_webdav(directory), asks_for_a_password)
    [commands] = blocks(PAGE, "WebDAV", "sh")
    (tmp_path / "notes.txt").write_text("a note\n")
    commands = put_in(commands, {"https://dav.example.com": f"http://{host}"})
    assert shell(commands, {"TOKEN": token, "HOME": str(tmp_path)}, cwd=tmp_path) == "a note\n"


def test_prometheus_scrapes_with_a_personal_token_and_as_a_machine_client(
    gateway: GatewayProcess, app: str, token: str, billing: AddedClient, tmp_path: Path
) -> None:
    """docs/machines.md, Prometheus."""
    if shutil.which("prometheus") is None:
        pytest.skip("there is no prometheus here (package: prometheus)")
    by_token, by_client = blocks(PAGE, "Prometheus", "yaml")
    files = {"gateway-token": token, "gateway-secret": billing.client_secret}
    for name, secret in files.items():
        (tmp_path / name).write_text(secret)
    here = {"/etc/prometheus/": f"{tmp_path}/", "scheme: https": "scheme: http", "app.example.com": app}
    by_token = put_in(by_token, here)
    by_client = put_in(by_client, here | {AUTH: gateway.url, "cli_U_uXjfE6sXminDCPh1zFaQ": billing.client_id})
    configuration = tmp_path / "prometheus.yml"
    jobs = by_token + by_client.removeprefix("scrape_configs:\n")
    configuration.write_text("global: {scrape_interval: 1s, scrape_timeout: 1s}\n" + jobs)
    port = free_port()
    command = ["prometheus", f"--config.file={configuration}", f"--storage.tsdb.path={tmp_path}/data"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)

    def targets() -> dict[str, str]:
        try:
            answer = httpx2.get(f"http://127.0.0.1:{port}/api/v1/targets").json()
        except httpx2.TransportError:
            return {}
        return {target["labels"]["job"]: target["health"] for target in answer["data"]["activeTargets"]}

    try:
        wait_until(
            lambda: targets() == {"by-token": "up", "by-client": "up"},
            20,
            f"both targets: {(tmp_path / 'log').read_text()[-2000:]}",
        )
    finally:
        process.terminate()
        process.wait(timeout=30)


def test_a_job_of_continuous_integration_tells_the_application(
    gateway: GatewayProcess, app: str, application: Application, token: str, billing: AddedClient, tmp_path: Path
) -> None:
    """docs/machines.md, Continuous integration: the lines under `run`, with the secrets that `env` names."""
    by_token, by_client = (
        textwrap.dedent(block.partition("run: |\n")[2]) for block in blocks(PAGE, "Continuous integration", "yaml")
    )
    secrets = {"CLIENT_ID": billing.client_id, "CLIENT_SECRET": billing.client_secret}
    before = len(application.seen)
    shell(put_in(by_token, {APP: f"http://{app}"}), {"HOME": str(tmp_path), "TOKEN": token})
    shell(put_in(by_client, {APP: f"http://{app}", AUTH: gateway.url}), {"HOME": str(tmp_path)} | secrets)
    told = [(path, headers["Remote-User"]) for path, headers in application.seen[before:]]
    assert told == [("/hooks/deploy", OWNER), ("/hooks/deploy", billing.client_id)]


SERVICES = {
    "Python": (PYTHON, "python", "orders.py"),
    "Node": (NODE, "js", "orders.mjs"),
    "Go": (GO, "go", "orders.go"),
    "Java": (JAVA, "java", "Orders.java"),
}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_calls_another_with_a_token_of_its_own(
    name: str, gateway: GatewayProcess, app: str, application: Application, billing: AddedClient, tmp_path: Path
) -> None:
    """docs/machines.md, Service to service."""
    language, fence, file_name = SERVICES[name]
    [code] = blocks(PAGE, "Service to service", fence)
    code = put_in(code, {AUTH: gateway.url, APP: f"http://{app}"} | (PLAIN_HTTP if language is NODE else {}))
    (tmp_path / file_name).write_text(code)
    (tmp_path / "out").mkdir()
    command = prepare(language, tmp_path / file_name, tmp_path / "out")
    before = len(application.seen)
    env = {"CLIENT_ID": billing.client_id, "CLIENT_SECRET": billing.client_secret}
    assert run(command, env=env) == "200\n"
    [(path, headers)] = application.seen[before:]
    assert (path, headers["Remote-Sub"], headers["Remote-Groups"]) == ("/orders", billing.client_id, "demo")
