"""
Row 12, and what docs/capacity.md says of a Redis Cluster: one of three masters, and one of a single master, beside one
Redis, filled alike by the product's own scripts. Do users and sessions take the memory that the model says? Do they lie
evenly? Do refresh and login cost a node what they cost one Redis, and three nodes that share its core?
"""

import contextlib
import random
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

from redis.crc import key_slot

from benchmarks.capacity import Costs, redis_bytes, table_bytes
from benchmarks.clients import Logins, Refreshes, Work, drive
from benchmarks.filling import Filler, email_of, hash_password
from benchmarks.measuring import Row, chosen, in_turn, median_ratio, publish
from benchmarks.processes import load_cores, pinned
from benchmarks.servers import CHEAP_PASSWORDS, gateway_at, pid_of, redis_at, workplace
from tests.deployments import WholeCluster
from tests.harness import GatewayProcess, RedisServer

USERS = chosen(300_000, 600)
SESSIONS = chosen((30_000, 300_000), (300, 600))
ROUNDS, SECONDS = chosen((5, 3.0), (1, 0.2))
REFRESHED, LOGINS = chosen((10_000, 1000), (200, 40))
NO_REWRITE = ("--auto-aof-rewrite-percentage", "0")
MEMORY_TARGET = 1.02
EVEN_TARGET = 1.05
WORK_TARGET = 1.1


@dataclass(frozen=True)
class Spent:
    """What a request cost, in microseconds of CPU: Redis's scripts, all of Redis, and the gateway."""

    scripts: float
    redis: float
    gateway: float


class Place:
    """One Redis or a cluster, with a gateway before it; figures are sums over its nodes."""

    def __init__(self, redis: RedisServer, gateway: GatewayProcess, password_hash: str) -> None:
        slots = _slots_by_port(redis)
        self.fillers = [Filler(port, password_hash, partial(_is_in, slots.get(port))) for port in redis.ports]
        self._gateway, self._chance = gateway, random.Random(11)
        self._refreshes = Refreshes([])

    def filled(self) -> list[list[int]]:
        """Add users, then sessions, and give the bytes in use of each node: empty, with users, and at each size."""
        used = [self._memory()]
        for sessions in (0, *SESSIONS):
            for filler in self.fillers:
                filler.add_users(USERS)
                filler.add_sessions(sessions)
            used.append(self._memory())
        return used

    def keys(self) -> list[int]:
        """Give the number of keys of each node."""
        return [filler.client.dbsize() for filler in self.fillers]

    def prepare(self) -> None:
        """Take the refresh tokens of some sessions, and warm up."""
        tokens = self.fillers[0].refresh_tokens(self._chance.sample(range(SESSIONS[-1]), REFRESHED))
        self._refreshes.add(tokens, self._chance)
        self.refresh(SECONDS / 5)
        self.log_in()

    def refresh(self, seconds: float = SECONDS) -> Spent:
        """Refresh for a while."""
        return self._spent(self._refreshes, seconds)

    def log_in(self) -> Spent:
        """Log so many users in, each once, and take their new sessions away."""
        numbers = self._chance.sample(range(SESSIONS[-1]), LOGINS)
        spent = self._spent(Logins([email_of(number) for number in numbers], LOGINS))
        for filler in self.fillers:
            filler.keep_first_sessions(numbers)
        return spent

    def _memory(self) -> list[int]:
        return [filler.used_memory() for filler in self.fillers]

    def _spent(self, work: Work, seconds: float = 600) -> Spent:
        scripts, cpu = self._used()
        sample = drive(self._gateway.port, work, pid_of(self._gateway), seconds=seconds)
        scripts_now, cpu_now = self._used()
        count = sample.requests
        return Spent((scripts_now - scripts) / count, (cpu_now - cpu) / count * 1e6, sample.cpu_us)

    def _used(self) -> tuple[float, float]:
        """Give microseconds of all scripts, with the commands within them, and seconds of CPU, by Redis's account."""
        facts = [filler.client.info("commandstats") | filler.client.info("cpu") for filler in self.fillers]
        scripts = sum(fact["cmdstat_evalsha"]["usec"] for fact in facts)
        return scripts, sum(fact["used_cpu_user"] + fact["used_cpu_sys"] for fact in facts)


def _slots_by_port(redis: RedisServer) -> dict[int, range]:
    """Give the slots of each node of a cluster; one Redis has none."""
    if len(redis.ports) == 1:
        return {}
    with contextlib.closing(redis.client()) as client:
        found = client.cluster_slots()
    return {share["primary"][1]: range(first, last + 1) for (first, last), share in found.items()}


def _is_in(slots: range | None, key: str) -> bool:
    return slots is None or key_slot(key.encode()) in slots


@contextlib.contextmanager
def cluster_at(folder: Path, masters: int) -> Iterator[RedisServer]:
    """Give a cluster all of whose masters are on the core where a single Redis would be."""
    with pinned(load_cores()):
        cluster = WholeCluster(folder, *NO_REWRITE, masters=masters)
        try:
            yield cluster.start()
        finally:
            cluster.stop()


def calibrated(used: Sequence[int]) -> Costs:
    """Give what a user and a session take of one Redis, by what it used empty, with users, and with most sessions."""
    empty, of_users, of_sessions, sessions = used[0], used[1], used[-1], SESSIONS[-1]
    grown = table_bytes(2 * USERS + sessions) - table_bytes(2 * USERS) + table_bytes(sessions)
    user_bytes = (of_users - empty - table_bytes(2 * USERS)) / USERS
    return Costs(empty, user_bytes, (of_sessions - of_users - grown) / sessions, *[0.0] * 6)


def checked(costs: Costs, used: Sequence[int], masters: int) -> list[dict[str, Any]]:
    """Compare what users and sessions add to the memory of all masters with what the model says."""
    found = []
    without = redis_bytes(costs, USERS, 0, masters)
    pairs = [(f"MB of {USERS:,} users", without - redis_bytes(costs, 0, 0, masters), used[1] - used[0])]
    for sessions, measured in zip(SESSIONS, used[2:], strict=True):
        added = redis_bytes(costs, USERS, sessions, masters) - without
        pairs.append((f"MB of {sessions:,} sessions beside them", added, measured - used[1]))
    for what, predicted, measured in pairs:
        found.append(
            dict(what=what, predicted=predicted / 1e6, measured=measured / 1e6, deviation=predicted / measured - 1)
        )
    return found


def unevenness(shares: Sequence[float]) -> float:
    """Give the largest share over the mean of all."""
    return max(shares) / statistics.mean(shares)


def work_row(number: str, name: str, places: Sequence[Place], work: Callable[[Place], Spent]) -> Row:
    """Compare what a kind of request costs; scripts of the lone node count, and the rest stands beside them."""
    single, lone, cluster = places
    details: dict[str, Any] = {}
    for what, place in (("node", lone), ("three on one core", cluster)):
        spent, beside = in_turn(partial(work, place), partial(work, single), ROUNDS)
        both = {
            kind.name: [[float(getattr(each, kind.name)) for each in rounds] for rounds in (spent, beside)]
            for kind in fields(Spent)
        }
        details[f"{what}, µs"] = {name: [statistics.median(rounds) for rounds in pair] for name, pair in both.items()}
        details[f"{what}, ratio"] = {name: median_ratio(*pair) for name, pair in both.items()}
    node_us, single_us = details["node, µs"]["scripts"]
    ratio = details["node, ratio"]["scripts"]
    return Row(number, name, f"{node_us:.1f} µs", f"one Redis {single_us:.1f} µs", ratio, WORK_TARGET, True, details)


def main() -> None:
    password_hash = hash_password(CHEAP_PASSWORDS["bcrypt_cost"])
    with (
        workplace() as folder,
        redis_at(folder / "single", *NO_REWRITE) as redis,
        cluster_at(folder / "lone", 1) as node,
        cluster_at(folder / "cluster", 3) as nodes,
        contextlib.ExitStack() as held,
    ):
        places = []
        for server in (redis, node, nodes):
            gateway = held.enter_context(gateway_at(server, **CHEAP_PASSWORDS))
            places.append(Place(server, gateway, password_hash))
        alone, _, shared = [place.filled() for place in places]
        keys = places[-1].keys()
        for place in places:
            place.prepare()
        work = [
            work_row("12c", "scripts of a refresh, node of a cluster", places, Place.refresh),
            work_row("12d", "scripts of a login, node of a cluster", places, Place.log_in),
        ]
    costs = calibrated([sum(nodes) for nodes in alone])
    checks = checked(costs, [sum(nodes) for nodes in shared], len(keys))
    per_session = [check * 1e6 / SESSIONS[-1] for check in (checks[-1]["measured"], checks[-1]["predicted"])]
    rows = [
        Row(
            "12a", "memory of a session, three masters", f"{per_session[0]:.1f} bytes",
            f"model {per_session[1]:.1f} bytes", per_session[0] / per_session[1], MEMORY_TARGET, at_most=True,
            details={"sessions": SESSIONS[-1], "of_one_redis": (sum(alone[-1]) - sum(alone[1])) / SESSIONS[-1]},
        ),
        Row(
            "12b", "memory of the largest master", f"{max(shared[-1]) / 1e6:.1f} MB",
            f"mean {statistics.mean(shared[-1]) / 1e6:.1f} MB", unevenness(shared[-1]), EVEN_TARGET, at_most=True,
            details={"keys_of_each": keys, "most_keys_over_mean": unevenness(keys)},
        ),
        *work,
    ]  # fmt: skip
    publish("cluster", rows, checks=checks)
    for check in checks:
        print("  {what}: {predicted:,.2f} predicted, {measured:,.2f} measured, {deviation:+.1%}".format(**check))


if __name__ == "__main__":
    main()
