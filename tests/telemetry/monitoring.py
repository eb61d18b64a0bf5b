"""What is said in config/prometheus and config/grafana, and a real Prometheus that has read it."""

import json
import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import httpx2

from tests.harness import free_port, wait_until

ROOT = Path(__file__).parents[2]
PROMETHEUS, GRAFANA = ROOT / "config/prometheus", ROOT / "config/grafana"
TARGET = "127.0.0.1:9464"
RULES_TESTS = [PROMETHEUS / "rules_test.yml", PROMETHEUS / "rules_test_days.yml"]
ALERT = re.compile(r"^      - alert: (\w+)\n(.*?)(?=^      - alert|^  - name|\Z)", re.MULTILINE | re.DOTALL)
ALERTS: dict[str, str] = dict(ALERT.findall((PROMETHEUS / "rules.yml").read_text()))
"""The text of each rule, by the name of its alert."""
SELECTED = re.compile(r"(gateway_\w+|up)(?:\{([^{}]*)\})?")
GROUPED = re.compile(r"\bby \(([^)]*)\)")
MATCHED = re.compile(r'(\w+)\s*(?:=|!=|=~|!~)\s*"([^"]*)"')
OF_HISTOGRAMS = re.compile(r"_(bucket|count|sum)$")
OF_PROMETHEUS = {"job", "instance", "le", "alertname", "severity", "service"}

SCRAPE_SECONDS = 1
RATE_SECONDS = 5
"""What Grafana would put in for $__rate_interval: four scrapes and one."""


def missing_programs() -> str:
    """Give why there is no Prometheus here, or nothing."""
    missing = [name for name in ("prometheus", "promtool") if shutil.which(name) is None]
    return f"{' and '.join(missing)} not on PATH: apt-get install prometheus" if missing else ""


def promtool(*words: str, stdin: str = "") -> str:
    """Give what `promtool WORDS` says. Fails unless it is content, and has nothing to warn of."""
    ended = subprocess.run(["promtool", *words], input=stdin, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


class Query(NamedTuple):
    """One query of a panel, and what its lines are called."""

    expression: str
    legend: str


@dataclass(frozen=True)
class Panel:
    """A panel of the board: `described` is all that the file says of it."""

    described: dict[str, Any]

    @property
    def title(self) -> str:
        """What stands above it."""
        return str(self.described["title"])

    @property
    def kind(self) -> str:
        """Give `stat`, `timeseries` or `bargauge`; `row` is a heading without queries."""
        return str(self.described["type"])

    @property
    def defaults(self) -> dict[str, Any]:
        """Unit, thresholds and the like, of all its lines."""
        found: dict[str, Any] = self.described["fieldConfig"]["defaults"]
        return found

    @property
    def place(self) -> tuple[int, int, int, int]:
        """Give x, y, width and height in the grid, which is 24 wide."""
        x, y, width, height = (int(self.described["gridPos"][name]) for name in "xywh")
        return x, y, width, height

    def queries(self, *, job: str = "gateway", range_seconds: int = 60) -> list[Query]:
        """Give its queries, with what a viewer of all gateways would have put in for the variables."""
        chosen = {
            "$job": job,
            "$instance": ".*",
            "$__rate_interval": f"{RATE_SECONDS}s",
            "$__range": f"{range_seconds}s",
        }
        targets = self.described.get("targets", ())
        return [Query(_filled(target["expr"], chosen), target["legendFormat"]) for target in targets]


def _filled(text: str, chosen: dict[str, str]) -> str:
    for name, value in chosen.items():
        text = text.replace(name, value)
    return text


def read_board() -> dict[str, Any]:
    """Give the document of the board."""
    found: dict[str, Any] = json.loads((GRAFANA / "gateway.json").read_text())
    return found


def read_panels() -> list[Panel]:
    """Give the panels of the board, headings too, in their order."""
    return [Panel(described) for described in read_board()["panels"]]


def _expressions() -> list[str]:
    """Give every query of the rules and of the board."""
    of_rules = [re.sub(r"^[ ]{8}(for|labels|annotations):.*", "", rule, flags=re.M | re.S) for rule in ALERTS.values()]
    return of_rules + [query.expression for panel in read_panels() for query in panel.queries()]


def named_metrics() -> dict[str, dict[str, set[str]]]:
    """Give each metric that a query names, the labels that are asked of it, and with which words."""
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for expression in _expressions():
        grouped = {label.strip() for group in GROUPED.findall(expression) for label in group.split(",")}
        for metric, matchers in SELECTED.findall(expression):
            for label, words in [*MATCHED.findall(matchers), *((label, "") for label in grouped)]:
                found[metric][label] |= set(filter(None, words.split("|")))
    for labels in found.values():
        for label in OF_PROMETHEUS:
            labels.pop(label, None)
    found.pop("up")
    return found


@dataclass
class Prometheus:
    """A real Prometheus on the shipped files, but for the addresses of its targets and quicker scrapes."""

    directory: Path
    targets: Iterable[str]
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> "Prometheus":
        """Start it and wait until it answers."""
        self.directory.mkdir(parents=True, exist_ok=True)
        text = (PROMETHEUS / "prometheus.yml").read_text()
        assert text.count(f'["{TARGET}"]') == 1
        text = text.replace(f'["{TARGET}"]', json.dumps(list(self.targets)))
        text = re.sub(r"(scrape|evaluation)_interval: 15s", rf"\1_interval: {SCRAPE_SECONDS}s", text)
        (self.directory / "prometheus.yml").write_text(text)
        shutil.copy(PROMETHEUS / "rules.yml", self.directory)
        with (self.directory / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *("prometheus", f"--config.file={self.directory / 'prometheus.yml'}"),
                    *(f"--storage.tsdb.path={self.directory / 'data'}", f"--web.listen-address=127.0.0.1:{self.port}"),
                ],
                stdout=log,
                stderr=log,
            )
        wait_until(self._is_ready, 30, "Prometheus")
        return self

    def stop(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(timeout=30)

    def instant(self, expression: str) -> list[dict[str, Any]]:
        """Give the newest samples of a query."""
        found: list[dict[str, Any]] = self.ask("query", query=expression)["result"]
        return found

    def ranges(self, expression: str, start: float, end: float, step_seconds: float) -> list[dict[str, Any]]:
        """Give the lines of a query between two times."""
        found: list[dict[str, Any]] = self.ask(
            "query_range", query=expression, start=str(start), end=str(end), step=str(step_seconds)
        )["result"]
        return found

    def ask(self, path: str, **parameters: str) -> dict[str, Any]:
        """Give the data of an answer of its API. Fails with what it says where it refuses."""
        answer = httpx2.get(f"http://127.0.0.1:{self.port}/api/v1/{path}", params=parameters, timeout=30)
        assert answer.status_code == 200, f"{parameters}: {answer.text}"
        data: dict[str, Any] = answer.json()["data"]
        return data

    def _is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.directory / "log").read_text()
        try:
            return httpx2.get(f"http://127.0.0.1:{self.port}/-/ready", timeout=2).status_code == 200
        except httpx2.TransportError:
            return False
