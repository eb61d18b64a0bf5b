"""
What so many users need: `python benchmarks/capacity.py [--users 100000000]`, from the figures of the last full run.

The model is a few sums. `bench_sessions.py` calibrates it at one size, and checks it at three others;
`bench_cluster.py` checks it on a Redis Cluster.
"""

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from benchmarks.measuring import FOLDER

POINTER_BYTES = 8
CLUSTER_KEY_BYTES = 2 * POINTER_BYTES
GIB = 1024**3


@dataclass(frozen=True)
class Costs:
    """What one of each costs, measured. Bytes of Redis are without its hash tables, which grow by doubling."""

    base_bytes: float
    user_bytes: float
    session_bytes: float
    gateway_us_per_refresh: float
    redis_us_per_refresh: float
    redis_us_per_login: float
    http_bytes_per_refresh: float
    redis_traffic_bytes_per_refresh: float
    appended_bytes_per_refresh: float
    gateway_us_per_login: float = 0.0
    gateway_us_per_subrequest: float = 0.0


@dataclass(frozen=True)
class Demand:
    """
    Who comes how often: assumptions, to be replaced by your own.

    Args:
        session_share: Sessions that are alive, for each user.
        active_share: Users at work at an average moment; each refreshes once in the life of an access token.
        access_token_seconds: That life.
        logins_per_day: For each user; the others stay logged in.
        subrequests_per_second: For each user at work.
        peak_factor: The busiest moment over an average one.
        core_share: How much of a core may be in use at the busiest moment.
        memory_share: How much of a shard's memory may be in use; copy-on-write and buffers take the rest.
        shard_gib: Memory of one shard.
        replicas: Of each shard.
    """

    users: int = 100_000_000
    session_share: float = 0.5
    active_share: float = 0.05
    access_token_seconds: int = 600
    logins_per_day: float = 0.1
    subrequests_per_second: float = 0.1
    peak_factor: float = 3.0
    core_share: float = 0.5
    memory_share: float = 0.6
    shard_gib: float = 16.0
    replicas: int = 1


def table_bytes(keys: float) -> float:
    """Give the size of a hash table of Redis: pointers, twice as many whenever it is full."""
    return float(POINTER_BYTES * 2 ** math.ceil(math.log2(max(keys, 4))))


def redis_bytes(costs: Costs, users: float, sessions: float, masters: int = 1) -> float:
    """
    Give the memory of one Redis, or of all masters of a cluster.

    A user has two keys, a session one with a time to live, in a second table. A node of a cluster also links the keys
    of a slot with each other.
    """
    keys = 2 * users + sessions
    tables = table_bytes(keys / masters) + (table_bytes(sessions / masters) if sessions else 0)
    links = keys * CLUSTER_KEY_BYTES if masters > 1 else 0
    return masters * (costs.base_bytes + tables) + users * costs.user_bytes + sessions * costs.session_bytes + links


def needs(costs: Costs, demand: Demand) -> dict[str, float]:
    """Give what serves this demand at its busiest moment."""
    refreshes = demand.users * demand.active_share / demand.access_token_seconds * demand.peak_factor
    logins = demand.users * demand.logins_per_day / 86_400 * demand.peak_factor
    subrequests = demand.users * demand.active_share * demand.subrequests_per_second * demand.peak_factor
    redis_cores = (refreshes * costs.redis_us_per_refresh + logins * costs.redis_us_per_login) / 1e6
    by_work = math.ceil(redis_cores / demand.core_share)
    memory, by_memory = _memory_and_shards(costs, demand, 1)
    if max(by_memory, by_work) > 1:
        memory, by_memory = _memory_and_shards(costs, demand, max(by_memory, by_work))
    shards = max(by_memory, by_work)
    gateway_us = {
        "refresh": refreshes * costs.gateway_us_per_refresh,
        "login": logins * costs.gateway_us_per_login,
        "subrequest": subrequests * costs.gateway_us_per_subrequest,
    }
    return {
        "refreshes a second": refreshes,
        "logins a second": logins,
        "subrequests a second": subrequests,
        "Redis memory, GiB": memory / GIB,
        "Redis shards for the memory": by_memory,
        "Redis shards for the work": by_work,
        "Redis servers, replicas included": shards * (1 + demand.replicas),
        **{f"gateway cores for {work}": us / 1e6 / demand.core_share for work, us in gateway_us.items()},
        "gateway cores": math.ceil(sum(gateway_us.values()) / 1e6 / demand.core_share),
        "HTTP of refreshes, Mbit/s": refreshes * costs.http_bytes_per_refresh * 8 / 1e6,
        "gateways to Redis for refreshes, Mbit/s": refreshes * costs.redis_traffic_bytes_per_refresh * 8 / 1e6,
        "append-only files and each replica, MB/s": refreshes * costs.appended_bytes_per_refresh / 1e6,
    }


def _memory_and_shards(costs: Costs, demand: Demand, masters: int) -> tuple[float, int]:
    """Give the memory of all these masters, and how many are wanted for so much."""
    memory = redis_bytes(costs, demand.users, demand.users * demand.session_share, masters)
    return memory, math.ceil(memory / GIB / demand.shard_gib / demand.memory_share)


def costs_of(results: dict[str, Any]) -> Costs:
    """Read the costs out of the results of a full run (`results/gateway.json`)."""
    login = next(row for row in results["login"]["rows"] if row["number"] == "4b")
    authz = next(row for row in results["authz"]["rows"] if row["number"] == "1b")
    measured = {name: results["sessions"]["costs"][name] for name in _MEASURED}
    return Costs(
        **measured,
        gateway_us_per_login=login["details"]["cpu_ms_per_login"] * 1000,
        gateway_us_per_subrequest=authz["details"]["cpu_us_per_request"][0],
    )


_MEASURED = [
    field.name for field in fields(Costs) if field.name not in ("gateway_us_per_login", "gateway_us_per_subrequest")
]


def needs_table(costs: Costs, users: Sequence[int], **assumptions: Any) -> str:
    """Give what several numbers of users need, as a Markdown table."""
    columns = [needs(costs, Demand(users=count, **assumptions)) for count in users]
    lines = ["| | " + " | ".join(f"{count:,} users" for count in users) + " |", "| --- " * (len(users) + 1) + "|"]
    for what in columns[0]:
        cells = " | ".join(_figure(column[what]) for column in columns)
        lines.append(f"| {what} | {cells} |")
    return "\n".join(lines)


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 99.5 or isinstance(value, int) else f"{value:.2g}"


def main() -> None:
    parser = argparse.ArgumentParser(description="What so many users need, by the figures of the last full run.")
    for field in fields(Demand):
        option = "--" + field.name.replace("_", "-")
        kind = int if isinstance(field.default, int) else float
        parser.add_argument(option, type=kind, default=field.default, help=f"default {field.default:,}")
    given = vars(parser.parse_args())
    path = FOLDER / "results" / "gateway.json"
    if not path.exists():
        parser.exit(1, "there are no results yet: make bench\n")
    print(needs_table(costs_of(json.loads(path.read_text())), [given.pop("users")], **given))


if __name__ == "__main__":
    main()
