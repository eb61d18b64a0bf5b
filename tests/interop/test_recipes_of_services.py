"""The recipes of docs/machines.md for services, run as they stand: only addresses and secrets are put in."""

import shutil
import subprocess
import textwrap
from pathlib import Path

import httpx2
import pytest

from tests.harness import GatewayProcess, free_port, wait_until
from tests.interop.applications import Application
from tests.interop.conftest import OWNER, AddedClient
from tests.interop.languages import GO, JAVA, NODE, PYTHON, prepare, run
from tests.interop.pages import APP, AUTH, MACHINES, blocks, put_in, shell

# What the tools and libraries of a program want to hear before they speak without TLS.
PLAIN_HTTP = {
    "CLIENT_ID, CLIENT_SECRET);": "CLIENT_ID, CLIENT_SECRET, undefined, {execute: [client.allowInsecureRequests]});"
}


def test_prometheus_scrapes_with_a_personal_token_and_as_a_machine_client(
    gateway: GatewayProcess, app: str, token: str, billing: AddedClient, tmp_path: Path
) -> None:
    """docs/machines.md, Prometheus."""
    if shutil.which("prometheus") is None:
        pytest.skip("there is no prometheus here (package: prometheus)")
    by_token, by_client = blocks(MACHINES, "Prometheus", "yaml")
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
            answer = httpx2.get(f"http://127.0.0.1:{port}/api/v1/targets")
        except httpx2.TransportError:
            return {}
        if answer.status_code == 503:  # it is starting
            return {}
        return {target["labels"]["job"]: target["health"] for target in answer.json()["data"]["activeTargets"]}

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
        textwrap.dedent(block.partition("run: |\n")[2]) for block in blocks(MACHINES, "Continuous integration", "yaml")
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
    [code] = blocks(MACHINES, "Service to service", fence)
    code = put_in(code, {AUTH: gateway.url, APP: f"http://{app}"} | (PLAIN_HTTP if language is NODE else {}))
    (tmp_path / file_name).write_text(code)
    (tmp_path / "out").mkdir()
    command = prepare(language, tmp_path / file_name, tmp_path / "out")
    before = len(application.seen)
    env = {"CLIENT_ID": billing.client_id, "CLIENT_SECRET": billing.client_secret}
    assert run(command, env=env) == "200\n"
    [(path, headers)] = application.seen[before:]
    assert (path, headers["Remote-Sub"], headers["Remote-Groups"]) == ("/orders", billing.client_id, "demo")
