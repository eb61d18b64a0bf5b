"""The benchmarks work: each runs in its brief form, prints its table and writes its JSON. Speed is not judged here."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import capacity, measuring, plot, processes, report

ROOT = Path(__file__).parents[1]
BENCHMARKS = sorted(path.stem.removeprefix("bench_") for path in (ROOT / "benchmarks").glob("bench_*.py"))
PROGRAMS = {
    **dict.fromkeys(("authz", "callers", "jwks", "memory", "workers"), ("wrk",)),
    "nginx": ("wrk", "nginx"),
}
ROWS = {
    "authz": ["1a", "1b", "1c", "1d", "1e"],
    "callers": ["15a", "15b", "15c", "15d", "15e"],
    "cluster": ["12a", "12b", "12c", "12d"],
    "flood": ["7"],
    "jwks": ["5"],
    "login": ["4a", "4b"],
    "memory": ["11"],
    "nginx": ["2"],
    "refresh": ["3a", "3b"],
    "remembered": ["16a", "16b", "16c", "16d", "16e"],
    "sessions": ["8", "9a", "9b", "9c", "9d"],
    "start": ["10"],
    "status_lists": ["13a", "13b", "13c", "13d"],
    "store": ["17a", "17b", "17c", "17d"],
    "verifier": ["6a", "6b", "6c"],
    "workers": ["14a", "14b", "14c", "14d"],
}


def test_every_benchmark_has_rows() -> None:
    assert list(ROWS) == BENCHMARKS


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_works(name: str, tmp_path: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("the benchmarks read /proc and bind processes to cores: Linux alone")
    for program in PROGRAMS.get(name, ()):
        if shutil.which(program) is None and shutil.which(program, path=processes.SBIN) is None:
            pytest.skip(f"{program} is not installed here: apt-get install {program}")
    # Without coverage of what it starts: that is the other tests' to measure, and costs time.
    env = {k: v for k, v in os.environ.items() if not k.startswith(("COV", "GATEWAY_"))}  # noqa: TID251 - for a child
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, str(ROOT / "benchmarks" / f"bench_{name}.py")],
            env=env | {"BRIEF": "1", "RESULTS": str(tmp_path), "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=110,
        )
        if not any(words in done.stderr for words in ("store-unavailable", "Redis cannot be used")):
            break  # else the other tests had the cores for half a second, and a benchmark takes no 503
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads((tmp_path / f"{name}.json").read_text())
    assert document["form"] == "brief"
    assert [row["number"] for row in document["rows"]] == ROWS[name]
    for row in document["rows"]:
        assert row["ratio"] > 0
        assert f"| {row['number']} | {row['name']} |" in done.stdout
    assert document["machine"]["redis"]
    assert document["machine"]["cores"] >= 1


def test_the_pages_and_the_plot_are_made_of_the_committed_results() -> None:
    """Run `python benchmarks/report.py` when this fails."""
    if not report.RESULTS_FILE.exists():
        assert "There is no full run yet." in report.README.read_text()
        return
    results = json.loads(report.RESULTS_FILE.read_text())
    assert {document["form"] for document in results.values()} == {"full"}
    for path, text in report.rendered(results).items():
        assert path.read_text() == text, path.name


def test_every_row_is_described() -> None:
    described = re.findall(r"^\| (\d+) \| `bench_(\w+)\.py` \|", report.README.read_text(), re.MULTILINE)
    wanted = {(re.sub(r"\D", "", number), name) for name, numbers in ROWS.items() for number in numbers}
    assert sorted(described) == sorted(wanted)


def test_a_ratio_is_the_median_over_neighbours() -> None:
    """A machine that grows slower and slower does not change it: each round is between two of the other kind."""
    assert measuring.median_ratio([80, 40, 20], [80, 40, 20]) == 1
    assert measuring.median_ratio([90.0, 45.0], [100.0, 50.0]) == pytest.approx(0.9)


def test_a_bar_reaches_the_line_with_its_target() -> None:
    row = {"number": "1", "name": "a < b", "ratio": 2.0, "target": 2.0, "at_most": True, "is_reached": True}
    assert plot.share_of_target(row) == 1
    assert plot.share_of_target(row | {"ratio": 4.0}) == 0.5
    assert plot.share_of_target(row | {"ratio": 4.0, "at_most": False}) == 2
    assert "a &lt; b" in plot.plot([row])


def test_the_model_adds_up() -> None:
    """A thousand users with a session each: their bytes, a table for three thousand keys, one for a thousand."""
    costs = capacity.Costs(1_000_000, 500, 200, 400, 50, 250, 1200, 900, 300, 200_000, 50)
    tables = 8 * 4096 + 8 * 1024
    assert capacity.redis_bytes(costs, 1000, 1000) == 1_000_000 + 1000 * 500 + 1000 * 200 + tables
    each = capacity.redis_bytes(costs, 500, 500)
    assert capacity.redis_bytes(costs, 1000, 1000, 2) == 2 * each + 3000 * capacity.CLUSTER_KEY_BYTES
    demand = capacity.Demand(users=1_000_000, active_share=0.06, access_token_seconds=600, peak_factor=2)
    needed = capacity.needs(costs, demand)
    assert needed["refreshes a second"] == pytest.approx(200)
    assert needed["gateway cores for refresh"] == pytest.approx(200 * 400e-6 / 0.5)
    assert capacity.needs(costs, capacity.Demand(users=2_000_000))["Redis memory, GiB"] > needed["Redis memory, GiB"]
