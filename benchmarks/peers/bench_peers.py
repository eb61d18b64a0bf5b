"""
The gateway beside others that do a part of its work: `python benchmarks/peers/bench_peers.py`.

Installs oauth2-proxy, oidc-provider, Keycloak, djangorestframework-simplejwt and fastapi-users as locked, into .work
beside this file; runs each in turn with the gateway, load on the one and then on the other; prints a table. A full
run writes the table into README.md, the figures to benchmarks/results/peers.json and a picture of them beside that.
A peer that cannot be installed is left out, and the table says so. It takes Linux and wrk; README.md says what the
figures mean.
"""

import argparse
import contextlib
import functools
import json
import os
import re
import shutil
import statistics
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from installing import WORK
from libraries import fastapi_users, simplejwt
from locks import Unavailable
from measures import HERE, Chains, Constant, family_of, measure
from picture import picture
from providers import keycloak, oidc_provider
from proxies import oauth2_proxy
from reporting import COMPARED, machine, table
from servers import LOAD_CORE, Server, gateway, redis_server

from gateway.app import MAX_REMEMBERED_TOKENS

RESULTS = HERE.parent / "results" / "peers.json"
PICTURE = RESULTS.with_suffix(".svg")
README = HERE / "README.md"
TABLE = re.compile(r"(?<=<!-- table -->\n).*(?=<!-- end -->)", re.DOTALL)

CHECK, RENEW = "gateway: subrequest", "gateway: refresh"
UNSEEN = "gateway: subrequest, another token each time"
Peers = list[tuple[str, Callable[[Path, str], AbstractContextManager[Server]], dict[str, str]]]
# A peer with each of its works and the gateway's work that is nearest to it.
PEERS: Peers = [
    (
        "oauth2-proxy",
        functools.partial(oauth2_proxy, sessions="cookie"),
        {"oauth2-proxy: JWT": CHECK, "oauth2-proxy: session in a cookie": CHECK},
    ),
    ("oauth2-proxy", functools.partial(oauth2_proxy, sessions="redis"), {"oauth2-proxy: session in Redis": CHECK}),
    (
        "oidc-provider",
        oidc_provider,
        {
            "oidc-provider: introspection": CHECK,
            "oidc-provider: refresh": RENEW,
            "oidc-provider: client credentials": RENEW,
        },
    ),
    (
        "Keycloak",
        keycloak,
        {"Keycloak: introspection": CHECK, "Keycloak: userinfo": CHECK, "Keycloak: refresh": RENEW},
    ),
    ("djangorestframework-simplejwt", simplejwt, {"simplejwt: verify": CHECK, "simplejwt: refresh": RENEW}),
    ("fastapi-users", fastapi_users, {"fastapi-users: verify": CHECK}),
]
ORDER = [CHECK, UNSEEN, *(work for _, _, works in PEERS for work in works if works[work] == CHECK)]
ORDER += [RENEW, *(work for _, _, works in PEERS for work in works if works[work] == RENEW)]

MANY_TOKENS = MAX_REMEMBERED_TOKENS * 9 // 8
DISTURBED = 0.25  # of a processor, taken by other programs while something is measured
# A server that warms up is loaded until Java's compiler has seen each work often enough (Tier4CompileThreshold), and
# two loads in a row have not taken less processor time by this share.
WARM_REQUESTS, FASTER, STEADY_LOADS, MAX_LOADS = 50_000, 0.05, 2, 30

Measured = dict[str, list[dict[str, float]]]


def run(peers: Peers, rounds: int, seconds: float, tries: int) -> dict[str, Any]:
    """
    Measure everything and give the figures.

    Args:
        tries: How often something is measured anew while other programs disturb it; the least disturbed one counts.
    """
    measured: Measured = {work: [] for work in ORDER}
    missing: dict[str, str] = {}
    with contextlib.ExitStack() as all_of_it:
        folder = WORK / "run"  # data and logs, for whoever wants to look at them afterwards
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        redis, redis_pid = all_of_it.enter_context(redis_server(folder))
        ours = all_of_it.enter_context(gateway(folder, redis))

        def one(server: Server, work: str) -> dict[str, float]:
            pids = family_of(server.pid)
            tried: list[dict[str, float]] = []
            while not tried or (tried[-1]["others_cpu"] > DISTURBED and len(tried) < tries):
                tried.append(measure(server.works[work], server.port, pids, redis_pid, seconds))
            figures = min(tried, key=lambda run: run["others_cpu"])
            figures["discarded"] = len(tried) - 1
            print(
                f"  {work:46}{figures['requests_per_second']:9.0f}/s, others {figures['others_cpu']:.2f}, "
                f"discarded {figures['discarded']}",
                file=sys.stderr,
                flush=True,
            )
            measured[work].append(figures)
            return figures

        def warm_up(server: Server, work: str) -> None:
            costs: list[float] = []
            requests = 0.0
            while len(costs) < MAX_LOADS and not (requests >= WARM_REQUESTS and is_steady(costs)):
                figures = measure(server.works[work], server.port, family_of(server.pid), redis_pid, seconds)
                costs.append(figures["cpu_seconds_per_1000"])
                requests += figures["requests_per_second"] * seconds

        def beside(server: Server, work: str, nearest: str) -> None:
            if server.warms_up and rounds > 1:
                warm_up(server, work)
            for _ in range(rounds):
                base, figures = one(ours, nearest), one(server, work)
                figures |= {f"{name}_to_gateway": figures[name] / base[name] for name in COMPARED}

        for name, start, works in peers:
            try:
                with start(folder, redis) as peer:
                    for work, nearest in works.items():
                        beside(peer, work, nearest)
            except Unavailable as error:
                missing[name] = str(error)
        if peers == PEERS:
            # The last, since it fills the gateway's memory of tokens.
            ours.works[UNSEEN] = with_many_tokens(ours, seconds)
            beside(ours, UNSEEN, CHECK)
    return {
        "machine": machine(),
        "rounds": rounds,
        "seconds": seconds,
        "works": {work: middle(runs) for work, runs in measured.items() if runs},
        "missing": missing,
    }


def with_many_tokens(ours: Server, seconds: float) -> Constant:
    """Give the gateway's subrequest with more tokens in turn than it remembers."""
    refresh, checks = ours.works[RENEW], ours.works[CHECK]
    assert isinstance(refresh, Chains)
    while len(refresh.access_tokens) < MANY_TOKENS:
        refresh.run(ours.port, seconds)
    return Constant("GET", checks.path, {}, tokens=refresh.access_tokens[:MANY_TOKENS])


def is_steady(costs: list[float]) -> bool:
    """Tell whether the last loads have brought nothing any more."""
    before, last = costs[:-STEADY_LOADS], costs[-STEADY_LOADS:]
    return bool(before) and min(last) > min(before) * (1 - FASTER)


def middle(runs: list[dict[str, float]]) -> dict[str, float]:
    """Give the median of each figure, and the lowest and the highest rate."""
    found = {name: round(statistics.median(run[name] for run in runs), 4) for name in runs[0]}
    rates = [run["requests_per_second"] for run in runs]
    counts = {"runs": len(runs)} | {name: sum(run[name] for run in runs) for name in ("discarded", "unavailable")}
    return found | {"lowest": round(min(rates), 1), "highest": round(max(rates), 1)} | counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    is_brief = os.environ.get("BRIEF", "0") not in ("", "0")  # noqa: TID251 - make bench-peers BRIEF=1
    parser.add_argument("--brief", action="store_true", default=is_brief, help="one round of a second; also BRIEF=1")
    names = list(dict.fromkeys(name for name, _, _ in PEERS))
    parser.add_argument("--only", choices=names, metavar="PEER", help=f"one of them, briefly: {', '.join(names)}")
    parser.add_argument(
        "--table", action="store_true", help="print the table of the last full run, and measure nothing"
    )
    parser.add_argument("--picture", action="store_true", help="the same as a picture, in SVG")
    options = parser.parse_args()
    if options.table or options.picture:
        show = table if options.table else picture
        print(show(json.loads(RESULTS.read_text())), end="")
        return
    if sys.platform != "linux" or shutil.which("wrk") is None:
        sys.exit("it takes Linux and wrk: apt install wrk")
    os.sched_setaffinity(0, {LOAD_CORE})
    peers = [peer for peer in PEERS if options.only in (None, peer[0])]
    brief = options.brief or options.only
    results = run(peers, rounds=1, seconds=1.0, tries=1) if brief else run(peers, rounds=3, seconds=5.0, tries=3)
    print(table(results), end="")
    written = WORK / "brief.json" if brief else RESULTS
    written.parent.mkdir(parents=True, exist_ok=True)
    written.write_text(json.dumps(results, indent=2) + "\n")
    if not brief:
        README.write_text(TABLE.sub(lambda _: table(results), README.read_text()))
        PICTURE.write_text(picture(results))


if __name__ == "__main__":
    main()
