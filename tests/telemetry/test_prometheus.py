"""A real Prometheus on the shipped files scrapes a real gateway, and what rules and board ask for is there."""

import contextlib
import json
import secrets
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.telemetry.metrics import METRICS
from tests.conftest import quick_environment
from tests.harness import GatewayProcess, RedisServer, free_port, wait_until
from tests.telemetry.monitoring import (
    ALERTS,
    OF_HISTOGRAMS,
    ROOT,
    SCRAPE_SECONDS,
    Prometheus,
    missing_programs,
    named_metrics,
    read_panels,
)

needs_prometheus = pytest.mark.skipif(bool(missing_programs()), reason=missing_programs())
RARE = {"Limits hit", "Failed calls, by kind", "Audit events"}
"""Panels about what does not happen in the test: their queries are answered without an error."""


SETTLED_SECONDS = 2.5
"""Until what was counted has been reported and scraped."""
LOAD = ROOT / "benchmarks/load.py"
OF_LOAD = {
    "login": 'sum(gateway_logins_total{outcome="succeeded"})',
    "refresh": "sum(gateway_refreshes_total)",
    "subrequest": 'sum(gateway_authz_total{verdict="allowed"})',
    "logout": 'sum(gateway_sessions_ended_total{reason="logout"})',
}
"""What counts each kind of request of a load test that nothing went wrong in."""


@pytest.fixture(scope="module")
def watched(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """Give a gateway of two workers that tells its numbers."""
    prefix, address = f"t{secrets.token_hex(4)}:", f"127.0.0.1:{free_port()}"
    env = quick_environment(redis_server.url, redis_key_prefix=prefix, metrics_address=address)
    gateway = GatewayProcess(env, tmp_path_factory.mktemp("watched") / "gateway.log", ("--workers", "2"))
    try:
        yield gateway.start()
    finally:
        gateway.stop()


@pytest.fixture(scope="module")
def prometheus(watched: GatewayProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Give a Prometheus that scrapes it."""
    directory = tmp_path_factory.mktemp("prometheus")
    started = Prometheus(directory, [watched.env["GATEWAY_METRICS_ADDRESS"]]).start()
    yield started
    started.stop()


def live_on(gateway: GatewayProcess, ended: threading.Event) -> None:
    """Log in rightly and wrongly, refresh, ask for subrequests with a token and without, until the end."""
    user = gateway.add_user()
    with gateway.client() as client:
        while not ended.is_set():
            session = gateway.login(user, client, delivery="body")
            client.post("/auth/login", json={"username": user.email, "password": "wrong"})
            client.post("/auth/refresh", json={"refresh_token": session["refresh_token"]})
            bearer = {"Authorization": f"Bearer {session['access_token']}"}
            for headers in (bearer, {}, {"Authorization": "Bearer nonsense"}):
                client.get("/api/authz/auth-request", headers=headers)
            client.get("/auth/me", headers=bearer)
            client.post("/auth/logout-all", headers=bearer)
            time.sleep(0.1)


@pytest.fixture
def lively(watched: GatewayProcess) -> Iterator[None]:
    """Let people use the gateway while the test runs."""
    ended = threading.Event()
    thread = threading.Thread(target=live_on, args=(watched, ended))
    thread.start()
    yield
    ended.set()
    thread.join()


@needs_prometheus
@pytest.mark.redis
@pytest.mark.usefixtures("lively")
def test_prometheus_scrapes_a_gateway_and_every_panel_of_the_board_is_answered(
    watched: GatewayProcess, prometheus: Prometheus
) -> None:
    wait_until(lambda: bool(prometheus.instant("gateway_workers == 2")), 60, "both workers")
    wait_until(lambda: len(prometheus.instant("rate(gateway_logins_total[5s]) > 0")) >= 2, 20, "two logins")
    time.sleep(3 * SCRAPE_SECONDS)
    targets = prometheus.ask("targets")["activeTargets"]
    assert [(target["health"], target["lastError"]) for target in targets] == [("up", "")]

    empty = set()
    for panel in read_panels():
        empty |= {panel.title for query in panel.queries() if not prometheus.instant(query.expression)}
    assert empty <= RARE

    loaded = [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]
    assert {rule["name"] for rule in loaded} == set(ALERTS)
    assert [rule["lastError"] for rule in loaded if rule["health"] != "ok"] == []
    firing = {sample["metric"]["alertname"] for sample in prometheus.instant('ALERTS{alertstate="firing"}')}
    assert firing <= {"GuessingStorm"}, watched.log_text()  # there are many wrong passwords for a first hour


@needs_prometheus
@pytest.mark.redis
def test_prometheus_counts_over_all_workers_what_a_load_test_did(
    watched: GatewayProcess, prometheus: Prometheus, tmp_path: Path
) -> None:
    def counted() -> Counter[str]:
        found = {kind: prometheus.instant(query) for kind, query in OF_LOAD.items()}
        return Counter({kind: int(samples[0]["value"][1]) if samples else 0 for kind, samples in found.items()})

    time.sleep(SETTLED_SECONDS)
    before = counted()
    users = [watched.add_user() for _ in range(4)]
    file = tmp_path / "users.jsonl"
    file.write_text("".join(json.dumps({"email": user.email, "password": user.password}) + "\n" for user in users))
    options = "--sessions 8 --duration 4 --ramp 0 --think 0.02 --refresh-every 0.2 --away 0.05 --logout 0.05 --json"
    command = [sys.executable, str(LOAD), "--url", watched.url, "--users", str(file), *options.split()]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    document = json.loads(ended.stdout)
    assert document["errors"] == []
    did = Counter({kind: numbers["done"] for kind, numbers in document["kinds"].items()})
    assert min(did.values()) > 0
    did["logout"] = did["login"]  # what is open in the end is logged out too, and not in the document

    with contextlib.suppress(AssertionError):
        wait_until(lambda: counted() - before == did, 8)
    assert counted() - before == did


def test_rules_and_board_name_only_metrics_labels_and_words_that_there_are() -> None:
    known = {metric.name: metric for metric in METRICS}
    for name, asked in named_metrics().items():
        metric = known[name if name in known else OF_HISTOGRAMS.sub("", name)]
        assert set(asked) <= set(metric.labels), name
        if metric.known:
            for position, label in enumerate(metric.labels):
                assert asked[label] <= {words[position] for words in metric.known}, (name, label)
