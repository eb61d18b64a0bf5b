"""Metrics: every number is what happened, over all workers, and no label tells of anybody."""

import json
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gateway.telemetry.events import EVENTS
from gateway.telemetry.metrics import LOGIN_FACTORS, LOGIN_OUTCOMES, METRICS, REFRESH_VERDICTS, SESSION_ENDS, Kind
from gateway.telemetry.verdicts import VERDICTS
from gateway.web.routes import ROUTES
from tests.cli.processes import kill, workers
from tests.conftest import quick_environment
from tests.harness import PASSWORD, GatewayProcess, RedisServer, TestUser, free_port, run_command, wait_until
from tests.telemetry.scraping import Scrape, settled

DOCS = Path(__file__).parents[2] / "docs" / "telemetry.md"
AUTHZ = "/api/authz/auth-request"
REFRESH_LIMIT = 8
CANARY = "canary-5d1e9b"


@pytest.fixture(scope="module")
def counted(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """Give a gateway of two workers that tells its metrics; its numbers only grow."""
    env = quick_environment(
        redis_server.url,
        redis_key_prefix="metrics:",
        workers=2,
        metrics_address=f"127.0.0.1:{free_port()}",
        refresh_limit=f"{REFRESH_LIMIT}/day",
    )
    process = GatewayProcess(env, tmp_path_factory.mktemp("metrics") / "gateway.log").start()
    settled(process, lambda scrape: scrape.get("gateway_workers") == 2, "both workers")
    yield process
    process.stop()


# Each request has a connection of its own, so that any worker may get it.
ASKING = httpx2.Client(timeout=10, limits=httpx2.Limits(max_keepalive_connections=0))


def ask(gateway: GatewayProcess, method: str, path: str, **options: Any) -> httpx2.Response:
    return ASKING.request(method, gateway.url + path, **options)


def log_in(gateway: GatewayProcess, user: TestUser, password: str = PASSWORD) -> httpx2.Response:
    return ask(
        gateway,
        "POST",
        "/auth/login",
        json={"username": user.email, "password": password, "delivery": "body"},
    )


def asked_of(scrape: Scrape, without: tuple[str, ...]) -> float:
    """Give how many requests there were, those of some endpoints apart."""
    name = "gateway_requests_total"
    return scrape.total(name) - sum(scrape.total(name, endpoint=endpoint) for endpoint in without)


def raw(gateway: GatewayProcess, request: bytes) -> bytes:
    """Send bytes, and give the first ones of the answer."""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as connection:
        connection.sendall(request)
        return connection.recv(65_536)


def test_every_counter_says_exactly_what_happened(counted: GatewayProcess) -> None:
    user = counted.add_user()
    before = Scrape.of(counted)

    sessions = [log_in(counted, user).json() for _ in range(4)]
    for _ in range(3):
        assert log_in(counted, user, "not the password at all").status_code == 401
    bearer = {"Authorization": f"Bearer {sessions[0]['access_token']}"}
    for _ in range(20):
        assert ask(counted, "GET", AUTHZ, headers=bearer).status_code == 200
    assert ask(counted, "HEAD", AUTHZ, headers=bearer).status_code == 200  # not answered from memory
    assert ask(counted, "GET", "/api/authz/forward-auth?role=staff", headers=bearer).status_code == 200
    assert ask(counted, "POST", "/api/authz/ext-authz/any/where", headers=bearer).status_code == 200
    for _ in range(5):
        assert ask(counted, "GET", AUTHZ).status_code == 401
    assert ask(counted, "GET", AUTHZ + "?role=nobody", headers=bearer).status_code == 403
    assert ask(counted, "POST", AUTHZ).status_code == 405
    assert raw(counted, f"GET {AUTHZ} HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".encode()).startswith(b"HTTP/1.1 401")
    assert ask(counted, "GET", "/auth/me", headers=bearer).status_code == 200
    assert ask(counted, "GET", "/nowhere").status_code == 404

    tokens = [sessions[1]["refresh_token"]]
    for _ in range(3):
        tokens.append(ask(counted, "POST", "/auth/refresh", json={"refresh_token": tokens[-1]}).json()["refresh_token"])
    assert ask(counted, "POST", "/auth/refresh", json={"refresh_token": tokens[-2]}).status_code == 200
    assert ask(counted, "POST", "/auth/refresh", json={"refresh_token": tokens[0]}).status_code == 401
    assert ask(counted, "POST", "/auth/refresh", json={"refresh_token": "forged"}).status_code == 401
    for _ in range(REFRESH_LIMIT - 5):
        assert ask(counted, "POST", "/auth/refresh", json={"refresh_token": tokens[-1]}).status_code == 401
    for _ in range(2):
        assert ask(counted, "POST", "/auth/refresh", json={"refresh_token": tokens[-1]}).status_code == 429
    assert ask(counted, "POST", "/auth/logout", json={"refresh_token": sessions[2]["refresh_token"]}).status_code == 204
    assert ask(counted, "POST", "/auth/logout-all", headers=bearer).json() == {"revoked_sessions": 2}

    expected = {
        ("/auth/login", "200"): 4,
        ("/auth/login", "401"): 3,
        (AUTHZ, "200"): 21,
        (AUTHZ, "401"): 6,
        (AUTHZ, "403"): 1,
        (AUTHZ, "405"): 1,
        ("/api/authz/forward-auth", "200"): 1,
        ("/api/authz/ext-authz/{path}", "200"): 1,
        ("/auth/me", "200"): 1,
        ("other", "404"): 1,
        ("/auth/refresh", "200"): 4,
        ("/auth/refresh", "401"): 2 + REFRESH_LIMIT - 5,
        ("/auth/refresh", "429"): 2,
        ("/auth/logout", "204"): 1,
        ("/auth/logout-all", "200"): 1,
    }
    known = ("/readyz", "/livez")  # asked by who waits for it
    after = settled(
        counted,
        lambda scrape: asked_of(scrape, known) - asked_of(before, known) >= sum(expected.values()),
        "all requests",
    )

    def grown(name: str) -> dict[tuple[str, ...], float]:
        order = {metric.name: metric.labels for metric in METRICS}
        of = name.removesuffix("_count")
        return {
            tuple(dict(labels)[one] for one in order[of]): n
            for (_, labels), n in after.since(before, name).items()
            if dict(labels).get("endpoint") not in known
        }

    assert grown("gateway_requests_total") == expected
    by_endpoint = {(endpoint,): 0 for endpoint, _ in expected}
    for (endpoint, _), count in expected.items():
        by_endpoint[endpoint,] += count
    assert grown("gateway_request_seconds_count") == by_endpoint
    assert grown("gateway_authz_total") == {
        ("auth-request", "allowed", ""): 21,
        ("forward-auth", "allowed", ""): 1,
        ("ext-authz", "allowed", ""): 1,
        ("auth-request", "denied", "access-token-missing"): 5,
        ("auth-request", "denied", "role-missing"): 1,
        ("auth-request", "denied", "method-not-allowed"): 1,
        ("auth-request", "denied", "malformed-request"): 1,
    }
    assert grown("gateway_logins_total") == {("succeeded", "pwd"): 4, ("failed", "pwd"): 3}
    assert grown("gateway_password_hash_seconds_count") == {(): 7}
    assert grown("gateway_refreshes_total") == {
        ("rotated",): 3,
        ("replayed",): 1,
        ("reused",): 1,
        ("forged",): 1,
        ("revoked",): REFRESH_LIMIT - 5,
    }
    assert grown("gateway_rate_limited_total") == {("refresh",): 2}
    assert grown("gateway_sessions_ended_total") == {("reused",): 1, ("logout",): 1, ("logout-all",): 2}
    assert grown("gateway_audit_events_total") == {
        ("login_succeeded",): 4,
        ("login_failed",): 3,
        ("refresh_token_reused",): 1,
        ("rate_limited",): 2,
        ("logout",): 1,
        ("sessions_revoked",): 1,
    }
    assert after.get("gateway_audit_lost_total") == 0
    calls = grown("gateway_redis_seconds_count")
    assert calls["family_open",] == 4
    assert calls["family_rotate",] == 5
    assert not after.since(before, "gateway_redis_errors_total")
    assert after.get("gateway_revocations_known") >= 4
    assert after.get("gateway_revocations_lag_seconds") < 5


def test_no_label_tells_what_a_client_sent(counted: GatewayProcess) -> None:
    """Addresses, tokens, paths, methods and parsers' own words: the values of labels are words of closed lists."""
    token = CANARY + "." + "e" * 2000
    asked = Scrape.of(counted).total("gateway_requests_total")
    for path in (
        f"/{CANARY}",
        f"/auth/{CANARY}",
        f"/auth/sessions/{CANARY}",
        f"/api/authz/{CANARY}",
        f"{AUTHZ}/{CANARY}",
    ):
        ask(counted, "GET", path)
        ask(counted, "DELETE", path, headers={"Authorization": f"Bearer {token}"})
    ask(counted, "GET", f"/api/authz/ext-authz/{CANARY}", headers={"Cookie": f"gateway_session={token}"})
    ask(
        counted, "GET", f"{AUTHZ}?role={CANARY}&{CANARY}=1&token={CANARY}", headers={"Authorization": f"Bearer {token}"}
    )
    ask(counted, "POST", "/auth/login", json={"username": f"{CANARY}@example.com", "password": CANARY})
    ask(counted, "POST", "/auth/login", json={CANARY: 1})
    ask(counted, "POST", "/auth/refresh", json={"refresh_token": token})
    ask(counted, "GET", "/auth/me", headers={"X-Forwarded-For": "203.0.113.77", "Authorization": f"Bearer {token}"})
    for line in (
        f"{CANARY.upper()} {AUTHZ} HTTP/1.1",
        f"GET {AUTHZ}/{CANARY} HTTP/{CANARY}",
        CANARY,
        "PROPFIND / HTTP/1.1",
    ):
        raw(counted, f"{line}\r\nHost: {CANARY}\r\nHost: {CANARY}\r\n\r\n".encode())
    raw(counted, f"GET {AUTHZ} HTTP/1.1\r\nHost: x\r\nX: {CANARY * 4000}\r\n\r\n".encode())
    scrape = settled(counted, lambda scrape: scrape.total("gateway_requests_total") - asked >= 21, "the requests")
    assert CANARY not in scrape.text.lower()
    assert "203.0.113.77" not in scrape.text
    templates = {getattr(route, "path_format", "") for route in ROUTES}
    package = Path(__file__).parents[2] / "gateway"
    scripts = {path.stem for path in package.rglob("*.lua")}
    closed = {
        "endpoint": templates | {"other", "auth-request", "forward-auth", "ext-authz"},
        "status": {str(status) for status in range(200, 600)},
        "verdict": {"allowed", "denied", "unavailable", *REFRESH_VERDICTS},
        "cause": {"", "method-not-allowed", *(verdict.label for verdict in VERDICTS)},
        "outcome": set(LOGIN_OUTCOMES),
        "factor": set(LOGIN_FACTORS),
        "limit": {
            "login",
            "refresh",
            "change-password",
            "second-factor",
            "passkey",
            "factors",
            "oauth",
            "oauth-client",
            "account",
        },
        "reason": set(SESSION_ENDS),
        "call": scripts | {"GET", "HGET", "HGETALL", "HEXISTS", "EXISTS", "INFO", "TIME", "XADD", "XRANGE"},
        "kind": {"TIMEOUT", "CONNECTION", "AWAY"},
        "event": {event.name for event in EVENTS},
        "version": {scrape_version(scrape)},
        "le": {*map(str, (bound for metric in METRICS for bound in metric.bounds)), "+Inf"},
    }
    found = scrape.labels()
    assert {name: values - closed[name] for name, values in found.items() if values - closed[name]} == {}


def scrape_version(scrape: Scrape) -> str:
    (version,) = scrape.labels()["version"]
    return version


def test_the_gauges_of_a_gateway_in_order(counted: GatewayProcess) -> None:
    scrape = settled(
        counted,
        lambda scrape: scrape.get("gateway_workers") == 2 and scrape.has("gateway_event_loop_lag_seconds"),
        "both workers",
    )
    assert scrape.get("gateway_breaker_open") == 0
    assert scrape.get("gateway_signing_key_next_ready") == 0  # it is new
    assert 0 <= scrape.get("gateway_signing_key_age_seconds") < 3600
    assert scrape.get("gateway_password_queue") == 0
    assert 0 <= scrape.get("gateway_event_loop_lag_seconds") < 10


def test_open_connections_are_counted_and_forgotten(counted: GatewayProcess) -> None:
    with counted.client() as client:
        client.get("/livez")
        settled(counted, lambda scrape: scrape.get("gateway_connections") >= 1, "the connection")
    settled(counted, lambda scrape: scrape.get("gateway_connections") == 0, "its end")


def test_histograms_are_whole(counted: GatewayProcess) -> None:
    """Buckets never fall, the last one is the count, and there is a sum."""
    ask(counted, "GET", "/livez")
    scrape = settled(counted, lambda scrape: scrape.has("gateway_request_seconds_count"), "a request")
    buckets: dict[tuple[str, frozenset[tuple[str, str]]], list[tuple[float, float]]] = {}
    for (name, labels), value in scrape.values.items():
        if name.endswith("_bucket"):
            bound = float(dict(labels)["le"])
            of = name.removesuffix("_bucket"), frozenset(label for label in labels if label[0] != "le")
            buckets.setdefault(of, []).append((bound, value))
    assert buckets
    for (name, labels), pairs in buckets.items():
        counts = [count for _, count in sorted(pairs)]
        assert counts == sorted(counts)
        assert counts[-1] == scrape.get(f"{name}_count", **dict(labels))
        assert (f"{name}_sum", labels) in scrape.values


def test_every_metric_of_the_list_is_told_with_its_type(counted: GatewayProcess) -> None:
    types = {metric.name.removesuffix("_total"): metric.kind.value for metric in METRICS}
    assert Scrape.of(counted).types == types


def test_the_public_port_has_no_metrics_and_theirs_has_nothing_else(counted: GatewayProcess) -> None:
    """Shows ASVS 13.4.5."""
    assert ask(counted, "GET", "/metrics").status_code == 404
    assert "gateway_" not in ask(counted, "GET", "/metrics").text
    listener = f"http://{counted.env['GATEWAY_METRICS_ADDRESS']}"
    for path in ("/", "/livez", "/auth/login", AUTHZ, "/metrics/"):
        assert httpx2.get(listener + path).status_code == 404
    assert httpx2.post(listener + "/metrics").status_code == 501
    assert "server" not in httpx2.get(listener + "/metrics").headers


def test_what_a_killed_worker_counted_stays_in_the_sum(counted: GatewayProcess) -> None:
    assert counted.process is not None
    before_asking = Scrape.of(counted).get("gateway_requests_total", endpoint="/livez", status="200")
    for _ in range(20):
        assert ask(counted, "GET", "/livez").status_code == 200
    before = settled(
        counted,
        lambda scrape: scrape.get("gateway_requests_total", endpoint="/livez", status="200") >= before_asking + 20,
        "20 requests",
    )
    killed = workers(counted.process.pid)[0]
    kill(killed)
    pid = counted.process.pid
    wait_until(lambda: len(others := workers(pid)) == 2 and killed not in others, 30, "another worker")
    after = settled(counted, lambda scrape: scrape.get("gateway_workers") == 2, "two workers")
    fallen = [
        series
        for series, value in before.values.items()
        if series[0].endswith(("_total", "_count", "_sum", "_bucket")) and after.values.get(series, 0.0) < value
    ]
    assert fallen == []


def test_limits_and_outages_are_counted(
    make_gateway: Callable[..., GatewayProcess], own_redis: Callable[[], RedisServer]
) -> None:
    redis = own_redis()
    gateway = make_gateway(
        redis_url=redis.url, metrics_address=f"127.0.0.1:{free_port()}", login_limit="2/day", account_throttle="on"
    )
    user = gateway.add_user()
    page = {"Accept": "text/html"}
    form = {"username": user.email, "password": PASSWORD}
    assert log_in(gateway, user).status_code == 200
    assert ask(gateway, "POST", "/auth/login", data=form, headers=page).status_code == 303
    assert log_in(gateway, user).status_code == 429
    assert ask(gateway, "POST", "/auth/login", data=form, headers=page).status_code == 429
    scrape = settled(gateway, lambda scrape: scrape.get("gateway_rate_limited_total", limit="login") == 2, "limits")
    assert scrape.get("gateway_logins_total", outcome="succeeded", factor="pwd") == 2
    assert scrape.get("gateway_logins_total", outcome="limited", factor="pwd") == 2
    assert scrape.get("gateway_breaker_open") == 0

    redis.kill()
    settled(gateway, lambda scrape: scrape.get("gateway_breaker_open") == 1, "the breaker")
    assert log_in(gateway, user).status_code == 503
    unavailable = {"outcome": "unavailable", "factor": "pwd"}
    scrape = settled(gateway, lambda scrape: scrape.get("gateway_logins_total", **unavailable) == 1, "the login")
    assert scrape.get("gateway_revocations_lag_seconds") > 0.5
    assert scrape.get("gateway_redis_errors_total", kind="AWAY") >= 1
    assert scrape.get("gateway_redis_errors_total", kind="CONNECTION") >= 3
    redis.start()
    settled(gateway, lambda scrape: scrape.get("gateway_breaker_open") == 0, "the breaker to close")


def test_prometheus_finds_nothing_to_mend(counted: GatewayProcess) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("there is no promtool")
    ask(counted, "GET", "/livez")
    text = Scrape.of(counted).text
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_a_taken_metrics_address_stops_the_start(redis_server: RedisServer) -> None:
    """Exit 3 and one line."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        env = quick_environment(redis_server.url, redis_key_prefix="taken:", metrics_address=f"127.0.0.1:{port}")
        outcome = run_command("serve", env=env)
    assert outcome.returncode == 3
    (line,) = outcome.stderr.splitlines()
    assert f"127.0.0.1 port {port}" in json.loads(line)["message"]
    assert "metrics_address" in json.loads(line)["message"]


def test_the_library_is_loaded_for_a_metrics_address_alone() -> None:
    code = "import sys, gateway.cli.serve; sys.exit('prometheus_client' in sys.modules or 'http.server' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=30).returncode == 0


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_name_follows_the_customs_of_prometheus(metric: object) -> None:
    assert metric in METRICS
    for one in METRICS:
        assert re.fullmatch(r"gateway_[a-z_]+", one.name)
        assert one.name.endswith("_total") is (one.kind is Kind.COUNTER)
        assert not re.search(r"milli|micro|minutes|percent|_ms\b", one.name)
        if one.kind is Kind.HISTOGRAM:
            assert one.name.endswith("_seconds")
            assert list(one.bounds) == sorted(set(one.bounds))
        assert set(one.labels).isdisjoint({"le", "job", "instance", "pid", "worker"})


def test_the_manual_has_every_metric_with_its_labels() -> None:
    rows = {}
    for line in DOCS.read_text().splitlines():
        if match := re.match(r"\| `(gateway_\w+)` \| (\w+) \|([^|]*)\|", line):
            rows[match[1]] = (match[2], tuple(re.findall(r"`(\w+)`", match[3])))
    assert rows == {metric.name: (metric.kind.value, metric.labels) for metric in METRICS}
