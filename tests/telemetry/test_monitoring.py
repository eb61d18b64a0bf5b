"""config/prometheus and config/grafana: what they name is there, what they say fires, and Prometheus takes it."""

import itertools
import re
import shutil
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from tests.harness import GatewayProcess, free_port, wait_until
from tests.telemetry.monitoring import (
    PROMETHEUS,
    ROOT,
    SCRAPE_SECONDS,
    Prometheus,
    missing_programs,
    promtool,
    read_board,
    read_panels,
)

PAGE = ROOT / "docs/telemetry.md"
RULES_TESTS = [PROMETHEUS / "rules_test.yml", PROMETHEUS / "rules_test_days.yml"]
RULES = (PROMETHEUS / "rules.yml").read_text()
ALERT = re.compile(r"^      - alert: (\w+)\n(.*?)(?=^      - alert|^  - name|\Z)", re.MULTILINE | re.DOTALL)
ALERTS = dict(ALERT.findall(RULES))
SELECTED = re.compile(r"(gateway_\w+|up)(?:\{([^{}]*)\})?")
GROUPED = re.compile(r"\bby \(([^)]*)\)")
OF_HISTOGRAMS = re.compile(r"_(bucket|count|sum)$")
OF_PROMETHEUS = {"job", "instance", "le", "alertname", "severity", "service"}

needs_prometheus = pytest.mark.skipif(bool(missing_programs()), reason=missing_programs())


def expressions() -> list[str]:
    """Give every query of the rules and of the board."""
    of_rules = [re.sub(r"^[ ]{8}(for|labels|annotations):.*", "", rule, flags=re.M | re.S) for rule in ALERTS.values()]
    return of_rules + [query.expression for panel in read_panels() for query in panel.queries()]


def named() -> dict[str, set[str]]:
    """Give each metric that a query names, with the labels that are asked of it."""
    found: dict[str, set[str]] = defaultdict(set)
    for expression in expressions():
        grouped = {label.strip() for group in GROUPED.findall(expression) for label in group.split(",")}
        for metric, matchers in SELECTED.findall(expression):
            labels = set(re.findall(r"(\w+)\s*[=!]", matchers)) | grouped
            found[metric] |= labels - OF_PROMETHEUS
    found.pop("up")
    return found


# ---------------------------------------------------------------------------------------------------------- the files


@needs_prometheus
def test_the_rules_are_sound_and_each_fires_when_it_should_and_not_when_it_should_not() -> None:
    promtool("check", "rules", "--lint=all", "--lint-fatal", str(PROMETHEUS / "rules.yml"))
    promtool("test", "rules", *map(str, RULES_TESTS))


def test_each_alert_is_tested() -> None:
    tested = {name for file in RULES_TESTS for name in re.findall(r"alertname=\"(\w+)\"", file.read_text())}
    assert tested == set(ALERTS)


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_says_what_it_means_and_what_to_do_and_how_urgent_it_is(alert: str) -> None:
    rule = ALERTS[alert]
    assert re.search(r"^        labels: \{severity: (critical|warning), service: token-gateway\}$", rule, re.MULTILINE)
    for annotation in ("summary", "description", "action"):
        assert re.search(rf"^          {annotation}: \S", rule, re.MULTILINE), annotation


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_names_in_its_texts_only_labels_that_it_has(alert: str) -> None:
    rule = ALERTS[alert]
    groups = GROUPED.findall(rule)
    shown = set(re.findall(r"\$labels\.(\w+)", rule))
    kept = {label.strip() for label in groups[0].split(",")} - {"le"} if groups else {"job", "instance"}
    assert shown <= kept


def test_the_page_explains_every_alert_and_no_other() -> None:
    section = PAGE.read_text().partition("## Alerts and board\n")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == list(ALERTS)


@needs_prometheus
def test_what_compose_makes_of_the_configuration_is_sound(tmp_path: Path) -> None:
    text = (ROOT / "docker-compose.yml").read_text().partition("\n  prometheus:\n")[2].replace("$$", "$")
    expressions = re.findall(r"-e '(s[^']+)'", text)
    assert len(expressions) == 3
    made = (PROMETHEUS / "prometheus.yml").read_text()
    for expression in expressions:
        changed = subprocess.run(
            ["sed", "-e", expression], input=made, capture_output=True, text=True, check=True
        ).stdout
        assert changed != made, expression
        made = changed
    assert "static_configs" not in re.sub(r"^ *#.*$", "", made, flags=re.MULTILINE)
    shutil.copy(PROMETHEUS / "rules.yml", tmp_path)
    file = tmp_path / "prometheus.yml"
    file.write_text(made.replace("/etc/token-gateway/rules.yml", "rules.yml"))
    assert "1 rule files found" in promtool("check", "config", str(file))


# ---------------------------------------------------------------------------------------------------------- the board


def test_each_panel_says_what_it_shows_in_which_unit_and_from_the_chosen_source() -> None:
    for panel in read_panels():
        if panel.kind == "row":
            continue
        assert panel.described["description"].endswith("."), panel.title
        assert panel.defaults["unit"], panel.title
        sources = [panel.described["datasource"], *(target["datasource"] for target in panel.described["targets"])]
        assert {source["uid"] for source in sources} == {"${datasource}"}, panel.title
        assert all("instance=~" in query.expression or "ALERTS" in query.expression for query in panel.queries())


def test_no_panel_lies_upon_another() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in read_panels():
        x, y, width, height = panel.place
        cells = set(itertools.product(range(x, x + width), range(y, y + height)))
        assert x + width <= 24
        assert not cells & taken, panel.title
        taken |= cells
    ids = [panel.described["id"] for panel in read_panels()]
    assert len(ids) == len(set(ids))


def test_the_board_asks_for_source_job_and_gateway() -> None:
    board = read_board()
    assert [variable["name"] for variable in board["templating"]["list"]] == ["datasource", "job", "instance"]
    assert board["id"] is None
    assert board["uid"] == "token-gateway"


# -------------------------------------------------------------------------------------------------------- a real one


@pytest.fixture
def watched(make_gateway: Callable[..., GatewayProcess]) -> GatewayProcess:
    """Give a gateway of two workers that tells its numbers."""
    return make_gateway("--workers", "2", metrics_address=f"127.0.0.1:{free_port()}")


@pytest.fixture
def prometheus(watched: GatewayProcess, tmp_path: Path) -> Iterator[Prometheus]:
    """Give a Prometheus that scrapes it."""
    started = Prometheus(tmp_path / "prometheus", [watched.env["GATEWAY_METRICS_ADDRESS"]]).start()
    yield started
    started.stop()


def exposition(gateway: GatewayProcess) -> str:
    """Give what the gateway tells Prometheus."""
    return httpx2.get(f"http://{gateway.env['GATEWAY_METRICS_ADDRESS']}/metrics", timeout=5).text


def live(gateway: GatewayProcess, ended: threading.Event) -> None:
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
            time.sleep(0.05)


@pytest.fixture
def lively(watched: GatewayProcess) -> Iterator[None]:
    """Let people use the gateway while the test runs."""
    ended = threading.Event()
    thread = threading.Thread(target=live, args=(watched, ended))
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
    wait_until(lambda: len(prometheus.instant("rate(gateway_logins_total[5s]) > 0")) >= 2, 20, "two logins")
    time.sleep(3 * SCRAPE_SECONDS)
    targets = prometheus.ask("targets")["activeTargets"]
    assert [(target["health"], target["lastError"]) for target in targets] == [("up", "")]
    assert prometheus.instant("gateway_workers")[0]["value"][1] == "2"

    promtool("check", "metrics", stdin=exposition(watched))

    empty = set()
    for panel in read_panels():
        empty |= {panel.title for query in panel.queries() if not prometheus.instant(query.expression)}
    assert empty <= RARE

    loaded = [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]
    assert {rule["name"] for rule in loaded} == set(ALERTS)
    assert [rule["lastError"] for rule in loaded if rule["health"] != "ok"] == []
    assert prometheus.instant('ALERTS{alertstate="firing"}') == []


RARE = {"Limits hit", "Failed calls, by kind", "Audit events"}
"""Panels about what does not happen in the test: their queries are answered without an error."""


@pytest.mark.redis
@pytest.mark.usefixtures("lively")
def test_rules_and_board_name_only_metrics_and_labels_that_the_gateway_has(watched: GatewayProcess) -> None:
    wait_until(lambda: "gateway_refreshes_total{" in exposition(watched), what="the first numbers")
    text = exposition(watched)
    kinds = dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE))
    labels: dict[str, set[str]] = defaultdict(set)
    for sample, shown in re.findall(r"^(gateway_\w+)(?:\{(.*)\})? \S+$", text, re.MULTILINE):
        labels[sample] |= set(re.findall(r'(\w+)="', shown))
    for metric, asked in named().items():
        family = metric if metric in kinds else OF_HISTOGRAMS.sub("", metric)
        assert family in kinds, metric
        assert metric not in labels or asked <= labels[metric], metric
