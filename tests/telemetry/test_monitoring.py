"""config/prometheus and config/grafana: what they name is there, what they say fires, and Prometheus takes it."""

import itertools
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.telemetry.monitoring import (
    ALERTS,
    GROUPED,
    PROMETHEUS,
    ROOT,
    RULES_TESTS,
    missing_programs,
    promtool,
    read_board,
    read_panels,
)

PAGE = ROOT / "docs/telemetry.md"
needs_prometheus = pytest.mark.skipif(bool(missing_programs()), reason=missing_programs())


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
