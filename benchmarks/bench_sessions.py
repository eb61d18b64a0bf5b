"""
Rows 8 and 9, and what docs/capacity.md goes by: a Redis with 1,000,000 users and as many sessions, filled by the
product's own scripts. What do the sessions add to its memory? Do refresh and login come as fast, and as cheap for
gateway and Redis, as with 1,000? What do they cost at the sizes in between, and does the model say the same?
"""

import random
import statistics
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from benchmarks.capacity import Costs, redis_bytes, table_bytes
from benchmarks.clients import Logins, Refreshes, drive
from benchmarks.filling import Filler, email_of, hash_password
from benchmarks.measuring import Row, chosen, in_turn, median_ratio, publish
from benchmarks.script_costs import script_microseconds
from benchmarks.servers import CHEAP_PASSWORDS, gateway_at, pid_of, redis_at, workplace
from benchmarks.wrk import Sample
from tests.harness import GatewayProcess

SIZES = chosen((1000, 10_000, 100_000, 1_000_000), (100, 1000, 10_000))
CALIBRATED = 1
ROUNDS, SECONDS = chosen((5, 3.0), (1, 0.2))
MOST_REFRESHED = 20_000
LOGINS = chosen(SIZES[0], 40)
MEMORY_TARGET_MB = 256.0
RATE_TARGET = 0.95


class Stand:
    """A Redis of some size and a gateway before it, and their CPU, counted apart."""

    def __init__(self, gateway: GatewayProcess, filler: Filler) -> None:
        self.gateway, self.filler, self.pid = gateway, filler, pid_of(gateway)
        self._chance = random.Random(11)
        self._families = Refreshes([])
        self._known = 0

    def use_once(self) -> None:
        """Let Redis meet every command, for each of which it keeps a histogram, with a few users who then go."""
        self.filler.add_users(LOGINS)
        self.filler.add_sessions(LOGINS)
        assert self.filler.is_like(self.gateway.add_user().user_id), "users are written in another way by now"
        costs_at(self)
        self.filler.remove_all()
        self._families, self._known = Refreshes([]), 0

    def prepare(self) -> None:
        """Take refresh tokens of every second one of the sessions that are new, and warm up."""
        numbers = range(self._known, self.filler.sessions, 2)
        taken = self._chance.sample(numbers, min(len(numbers), MOST_REFRESHED))
        self._families.add(self.filler.refresh_tokens(taken), self._chance)
        self._known = self.filler.sessions
        drive(self.gateway.port, self._families, seconds=SECONDS / 5)

    def refresh(self, seconds: float = SECONDS) -> tuple[Sample, float]:
        """Refresh for a while; give what came of it, CPU of both, and the part of Redis."""
        return self._with_redis(lambda: drive(self.gateway.port, self._families, self.pid, seconds=seconds))

    def log_in(self) -> tuple[Sample, float]:
        """Log so many users in, each once, and take their new sessions away; gives the same."""
        numbers = self._chance.sample(range(self.filler.sessions), LOGINS)
        logins = Logins([email_of(number) for number in numbers], LOGINS)
        sample = self._with_redis(lambda: drive(self.gateway.port, logins, self.pid))
        self.filler.keep_first_sessions(numbers)
        return sample

    def _with_redis(self, load: Callable[[], Sample]) -> tuple[Sample, float]:
        before = self._redis_seconds()
        sample = load()
        used = self._redis_seconds() - before
        return replace(sample, cpu_seconds=sample.cpu_seconds + used), used

    def _redis_seconds(self) -> float:
        # Redis's own account, since it uses too little for that of /proc, which goes by hundredths of a second.
        facts = self.filler.client.info("cpu")
        return float(facts["used_cpu_user"] + facts["used_cpu_sys"])


def costs_at(stand: Stand) -> dict[str, float]:
    """Measure what a refresh and a login cost with the sessions that are there now."""
    stand.prepare()
    client = stand.filler.client
    before = client.info()
    refreshed, redis_seconds = stand.refresh()
    after, count = client.info(), refreshed.requests
    logged_in, redis_login_seconds = stand.log_in()
    traffic = sum(after[name] - before[name] for name in ("total_net_input_bytes", "total_net_output_bytes"))
    return {
        "gateway_us_per_refresh": (refreshed.cpu_seconds - redis_seconds) / count * 1e6,
        "redis_us_per_refresh": redis_seconds / count * 1e6,
        "gateway_us_per_cheap_login": (logged_in.cpu_seconds - redis_login_seconds) / logged_in.requests * 1e6,
        "redis_us_per_login": redis_login_seconds / logged_in.requests * 1e6,
        "http_bytes_per_refresh": refreshed.bytes_per_request,
        "redis_traffic_bytes_per_refresh": traffic / count,
        "appended_bytes_per_refresh": (after["aof_current_size"] - before["aof_current_size"]) / count,
    }


def calibrated(
    base: int, of_users: dict[int, int], of_sessions: dict[int, int], at: dict[int, dict[str, float]]
) -> Costs:
    """Give the costs by what was measured at one size alone."""
    size, users = SIZES[CALIBRATED], SIZES[-1]
    grown = table_bytes(2 * users + size) - table_bytes(2 * users) + table_bytes(size)
    measured = {name: at[size][name] for name in at[size] if name in Costs.__dataclass_fields__}
    return Costs(
        base_bytes=base,
        user_bytes=(of_users[size] - base - table_bytes(2 * size)) / size,
        session_bytes=(of_sessions[size] - of_users[users] - grown) / size,
        **measured,
    )


def checked(
    costs: Costs, of_users: dict[int, int], of_sessions: dict[int, int], at: dict[int, dict[str, float]]
) -> list[dict[str, Any]]:
    """Compare what the model says with what was measured, at the sizes that it was not calibrated at."""
    found = []
    for size in SIZES[:CALIBRATED] + SIZES[CALIBRATED + 1 :]:
        pairs = [
            ("MB of Redis, users alone", redis_bytes(costs, size, 0) / 1e6, of_users[size] / 1e6),
            (f"MB of Redis, {SIZES[-1]:,} users", redis_bytes(costs, SIZES[-1], size) / 1e6, of_sessions[size] / 1e6),
        ]
        for name in ("gateway_us_per_refresh", "redis_us_per_refresh", "redis_us_per_login"):
            pairs.append((name.replace("_us_", " µs ").replace("_", " "), getattr(costs, name), at[size][name]))
        for what, predicted, measured in pairs:
            deviation = predicted / measured - 1 if measured else 0.0
            found.append(dict(sessions=size, what=what, predicted=predicted, measured=measured, deviation=deviation))
    return found


def rate_rows(small: Stand, large: Stand) -> list[Row]:
    """Give row 9: rates and CPU at the largest size against those at the smallest."""
    rows = []
    for letters, name, work in (("ab", "refresh", Stand.refresh), ("cd", "login", Stand.log_in)):
        many, few = in_turn(lambda: work(large), lambda: work(small), ROUNDS)  # noqa: B023 - used at once
        rates = [[sample.rate for sample, _ in samples] for samples in (many, few)]
        cpu = [[sample.cpu_us for sample, _ in samples] for samples in (many, few)]
        redis = [statistics.median(used / sample.requests * 1e6 for sample, used in samples) for samples in (many, few)]
        sizes = f"{SIZES[-1]:,} sessions against {SIZES[0]:,}"
        details = {
            "p50_ms": [statistics.median(sample.p50_ms for sample, _ in samples) for samples in (many, few)],
            "p99_ms": [statistics.median(sample.p99_ms for sample, _ in samples) for samples in (many, few)],
            "redis_us_per_request": redis,
        }
        medians = [[statistics.median(values) for values in pair] for pair in (rates, cpu)]
        rows += [
            Row(
                f"9{letters[0]}", f"{name}, {sizes}", f"{medians[0][0]:,.0f}/s", f"{medians[0][1]:,.0f}/s",
                median_ratio(*rates), RATE_TARGET, details=details,
            ),
            Row(
                f"9{letters[1]}", f"{name}, CPU of gateway and Redis", f"{medians[1][0]:,.0f} µs",
                f"{medians[1][1]:,.0f} µs", median_ratio(cpu[1], cpu[0]), RATE_TARGET,
            ),
        ]  # fmt: skip
    return rows


def main() -> None:
    password_hash = hash_password(CHEAP_PASSWORDS["bcrypt_cost"])
    no_rewrite = ("--auto-aof-rewrite-percentage", "0")
    with (
        workplace() as folder,
        redis_at(folder / "small", *no_rewrite) as few,
        redis_at(folder / "large", *no_rewrite) as many,
        gateway_at(few, **CHEAP_PASSWORDS) as before_few,
        gateway_at(many, **CHEAP_PASSWORDS) as before_many,
    ):
        small = Stand(before_few, Filler(few.port, password_hash))
        large = Stand(before_many, Filler(many.port, password_hash))
        small.filler.add_users(SIZES[0])
        small.filler.add_sessions(SIZES[0])
        large.use_once()
        base = large.filler.used_memory()
        of_users, of_sessions, at = dict[int, int](), dict[int, int](), dict[int, dict[str, float]]()
        for size in SIZES:
            large.filler.add_users(size)
            of_users[size] = large.filler.used_memory()
        for size in SIZES:
            large.filler.add_sessions(size)
            of_sessions[size] = large.filler.used_memory()
            at[size] = costs_at(large)
        small.prepare()
        rate = rate_rows(small, large)
        scripts = script_microseconds(large.filler, list(range(1, SIZES[-1], 2))[: 5 * LOGINS])
    added_mb = (of_sessions[SIZES[-1]] - of_users[SIZES[-1]]) / 1e6
    per_million = added_mb * 1e6 / SIZES[-1]
    memory = Row(
        "8", "Redis memory of 1,000,000 sessions, MB", f"{of_sessions[SIZES[-1]] / 1e6:,.0f} MB with them",
        f"{of_users[SIZES[-1]] / 1e6:,.0f} MB of users", per_million, MEMORY_TARGET_MB, at_most=True,
        details={"sessions": SIZES[-1], "added_mb": added_mb},
    )  # fmt: skip
    costs = calibrated(base, of_users, of_sessions, at)
    checks = checked(costs, of_users, of_sessions, at)
    sizes = {str(size): {"used_bytes": of_sessions[size], **at[size]} for size in SIZES}
    publish("sessions", [memory, *rate], costs=asdict(costs), sizes=sizes, scripts=scripts, checks=checks)
    for check in checks:
        print(
            f"  model at {check['sessions']:>9,}: {check['what']}: {check['predicted']:,.1f} predicted, "
            f"{check['measured']:,.1f} measured, {check['deviation']:+.1%}"
        )
    print("  µs of a script: " + ", ".join(f"{name} {us:.1f}" for name, us in scripts.items()))


if __name__ == "__main__":
    main()
