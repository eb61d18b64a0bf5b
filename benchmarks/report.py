"""
Puts the results of full runs where readers find them: `python benchmarks/report.py` (`make bench` does it at its end).

results/full/*.json becomes results/gateway.json, which is committed; from that alone come the tables of README.md, the
plot results/gateway.svg, and the tables of docs/capacity.md.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

from benchmarks.capacity import costs_of, needs_table
from benchmarks.measuring import FOLDER, plain, table
from benchmarks.plot import plot

RESULTS_FILE = FOLDER / "results" / "gateway.json"
README, CAPACITY_PAGE = FOLDER / "README.md", FOLDER.parent / "docs" / "capacity.md"
PLOT = FOLDER / "results" / "gateway.svg"
AT_REST_SHARE = 0.05
USERS = (1_000_000, 10_000_000, 100_000_000)
Results = dict[str, dict[str, Any]]


def collected() -> Results:
    """Give the committed results with those of the full runs since then in their place."""
    results: Results = json.loads(RESULTS_FILE.read_text()) if RESULTS_FILE.exists() else {}
    for path in sorted((FOLDER / "results" / "full").glob("*.json")):
        document = json.loads(path.read_text())
        if document["form"] == "full":
            results[document["name"]] = document
    return results


def rows_of(results: Results) -> list[dict[str, Any]]:
    """Give all rows by their numbers."""
    rows = [row for document in results.values() for row in document["rows"]]
    return sorted(rows, key=lambda row: (int(re.sub(r"\D", "", row["number"])), row["number"]))


def rendered(results: Results) -> dict[Path, str]:
    """Give the whole text of each file that is made of results."""
    rows = rows_of(results)
    parts = {"results": table(rows), "figures": _figures(rows), "machine": _machines(results)}
    files = {README: _put_in(README.read_text(), parts), PLOT: plot(rows)}
    if {"sessions", "login", "authz"} <= results.keys():
        sessions = results["sessions"]
        parts = {"costs": _costs(results), "checks": _checks(sessions), "needs": needs_table(costs_of(results), USERS)}
        if "cluster" in results:
            parts["cluster"] = _cluster(results["cluster"])
        if "remembered" in results:
            parts["remembered"] = _remembered(results["remembered"])
        files[CAPACITY_PAGE] = _put_in(CAPACITY_PAGE.read_text(), parts)
    return files


def _put_in(page: str, parts: dict[str, str]) -> str:
    """Put each part between its two markers."""
    for name, text in parts.items():
        pattern = rf"(<!-- {name}: made by benchmarks/report.py -->\n).*?(<!-- end of {name} -->)"
        page, count = re.subn(pattern, lambda found: found[1] + "\n" + text + "\n\n" + found[2], page, flags=re.DOTALL)  # noqa: B023
        assert count == 1, f"no place for {name}"
    return page


def _figures(rows: list[dict[str, Any]]) -> str:
    lines = []
    for row in rows:
        details = {what.replace("_", " "): value for what, value in row["details"].items() if what != "ratios"}
        if details:
            lines.append(
                f"- **{row['number']}** " + "; ".join(f"{what} {plain(value)}" for what, value in details.items())
            )
    return "\n".join(lines)


def _machines(results: Results) -> str:
    """Describe the machine, once for all rows that were measured alike, be it at rest or shared."""
    alike: dict[tuple[str, bool], list[str]] = {}
    for name, document in results.items():
        machine = document["machine"]
        libraries = ", ".join(f"{library} {version}" for library, version in machine["libraries"].items())
        said = (
            f"{machine['cores']} cores of {machine['cpu']}, {machine['memory_gib']} GiB; {machine['kernel']}; "
            f"{machine['python']}; {machine['redis']}; {', '.join(machine['programs'].values())}; {libraries}; "
            f"{document['date']}"
        )
        alike.setdefault((said, document["others_share"] > AT_REST_SHARE), []).append(name)
    lines = []
    for (said, _), names in alike.items():
        others = max(results[name]["others_share"] for name in names)
        lines.append(f"- {', '.join(sorted(names))}: {said}. Other programs used {others:.1%} of the CPUs at most.")
    return "\n".join(lines)


def _costs(results: Results) -> str:
    sessions = results["sessions"]
    lines = ["| | " + " | ".join(f"{int(size):,} sessions" for size in sessions["sizes"]) + " |"]
    lines.append("| --- " * (len(sessions["sizes"]) + 1) + "|")
    for name in next(iter(sessions["sizes"].values())):
        cells = [
            plain(sizes[name] / 1e6 if name == "used_bytes" else sizes[name]) for sizes in sessions["sizes"].values()
        ]
        said = "MB of Redis" if name == "used_bytes" else name.replace("_us_", " µs ").replace("_", " ")
        lines.append(f"| {said} | " + " | ".join(cells) + " |")
    lines += ["", "| Script | µs of Redis | calls a second on one core |", "| --- | --- | --- |"]
    lines += [f"| `{name}` | {us:.1f} | {1e6 / us:,.0f} |" for name, us in sessions["scripts"].items()]
    costs = costs_of(results)
    lines += ["", "| One of | costs |", "| --- | --- |"]
    lines += [
        f"| user | {costs.user_bytes:.0f} bytes of Redis, and its share of a hash table |",
        f"| session | {costs.session_bytes:.0f} bytes of Redis, and its share of two hash tables |",
        f"| refresh | {_both(costs.gateway_us_per_refresh, costs.redis_us_per_refresh)} |",
        f"| login at cost 12 | {_both(costs.gateway_us_per_login, costs.redis_us_per_login)} |",
        f"| subrequest | {costs.gateway_us_per_subrequest:.0f} µs of a gateway core, nothing of Redis |",
    ]
    return "\n".join(lines)


def _both(gateway_us: float, redis_us: float) -> str:
    return f"{gateway_us:,.0f} µs of a gateway core, {redis_us:.0f} µs of a Redis core"


def _checks(sessions: dict[str, Any]) -> str:
    lines = ["| Sessions | What | Model | Measured | Deviation |", "| --- | --- | --- | --- | --- |"]
    for check in sessions["checks"]:
        figures = f"{plain(check['predicted'])} | {plain(check['measured'])} | {check['deviation']:+.1%}"
        lines.append(f"| {check['sessions']:,} | {check['what']} | {figures} |")
    return "\n".join(lines)


def _cluster(cluster: dict[str, Any]) -> str:
    lines = ["| What | Model | Measured | Deviation |", "| --- | --- | --- | --- |"]
    for check in cluster["checks"]:
        figures = f"{plain(check['predicted'])} | {plain(check['measured'])} | {check['deviation']:+.1%}"
        lines.append(f"| {check['what']} | {figures} |")
    lines += ["", "| What | Cluster | Beside it | Ratio |", "| --- | --- | --- | --- |"]
    rows = {row["number"]: row for row in cluster["rows"]}
    for row in (rows["12a"], rows["12b"]):
        lines.append(f"| {row['name']} | {row['measured']} | {row['ceiling']} | {row['ratio']:.3g} |")
    for work, number in (("refresh", "12c"), ("login", "12d")):
        details = rows[number]["details"]
        for what in ("node", "three on one core"):
            for kind, both in details[f"{what}, µs"].items():
                figures = f"{plain(both[0])} µs | {plain(both[1])} µs | {details[f'{what}, ratio'][kind]:.3g}"
                lines.append(f"| {kind} for a {work}, {what} | {figures} |")
    return "\n".join(lines)


def _remembered(remembered: dict[str, Any]) -> str:
    told = {row["name"].removeprefix("memory of "): row["details"] for row in remembered["rows"]}
    sizes = sorted(
        {size for details in told.values() for size in details["rss_mib"]}, key=lambda size: (len(size), size)
    )
    lines = ["| MiB of a worker with so many | " + " | ".join(sizes) + " | bytes of one |"]
    lines.append("| --- " * (len(sizes) + 2) + "|")
    for name, details in told.items():
        cells = [plain(details["rss_mib"][size]) if size in details["rss_mib"] else "" for size in sizes]
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {details['bytes_each']:,} |")
    return "\n".join(lines)


def main() -> None:
    results = collected()
    if not results:
        sys.exit("there are no results of a full run yet: make bench")
    RESULTS_FILE.write_text(json.dumps(results, indent=1) + "\n")
    for path, text in rendered(results).items():
        path.write_text(text)
        print(f"wrote {path.relative_to(FOLDER.parent)}")


if __name__ == "__main__":
    main()
