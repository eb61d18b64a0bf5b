"""What a load test counts, and what it says of it: latencies, errors by cause, violations, advice."""

import math
import time
from collections import Counter
from typing import Any

KINDS = ("login", "refresh", "subrequest", "logout")
BUCKET_GROWTH = math.log(1.01)
SMALLEST_SECONDS = 1e-6
SHOWN_VIOLATIONS = 10
LATE_LOOP_SECONDS = 0.02
BUSY_PERCENT = 90.0
ATTAINED = 0.9
LIMIT_ADVICE = {
    "login": 'the gateway limits logins of one address. For a test: login_limit = "off" (GATEWAY_LOGIN_LIMIT=off)',
    "refresh": 'the gateway limits refreshes of one address. For a test: refresh_limit = "off" '
    "(GATEWAY_REFRESH_LIMIT=off)",
    "account": "too many logins of one account at a time, or wrong ones before. More users, a longer --ramp, or for a "
    'test: account_throttle = "off" (GATEWAY_ACCOUNT_THROTTLE=off)',
}


class Latencies:
    """How long things took, in steps of 1 %, so that a long run takes no more memory than a short one."""

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()
        self._longest = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self._buckets[math.ceil(math.log(max(seconds, SMALLEST_SECONDS)) / BUCKET_GROWTH)] += 1
        self._longest = max(self._longest, seconds)

    def quantile(self, part: float) -> float:
        """Give the seconds that *part* of them did not exceed, at most 1 % too high; 0.0 when there are none."""
        left = math.ceil(part * self._buckets.total())
        for bucket in sorted(self._buckets):
            left -= self._buckets[bucket]
            if left <= 0:
                return min(math.exp(bucket * BUCKET_GROWTH), self._longest)
        return 0.0

    def milliseconds(self) -> dict[str, float]:
        """Give p50, p90, p99 and max."""
        parts = {f"p{round(part * 100)}_ms": self.quantile(part) for part in (0.5, 0.9, 0.99)}
        return {name: round(seconds * 1000, 2) for name, seconds in (parts | {"max_ms": self._longest}).items()}


class Measures:
    """All that is counted in one run."""

    def __init__(self) -> None:
        self.sent: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        self.errors: Counter[tuple[str, str]] = Counter()
        self.latencies = {kind: Latencies() for kind in KINDS}
        self.violations: list[str] = []
        self.limits: dict[str, str] = {}
        self.unsent = 0
        self.logged_in = 0
        self.identities_checked = 0
        self.identities_missing = 0
        self.set_aside: list[str] = []
        self.loop_lag = Latencies()
        self.timeline: list[dict[str, float]] = []
        self._cpu_seconds = time.process_time()
        self._at = time.monotonic()
        self._before = (0, 0)

    def succeeded(self, kind: str, seconds: float) -> None:
        """Count an answer that is as it should be."""
        self.done[kind] += 1
        self.latencies[kind].add(seconds)

    def failed(self, kind: str, cause: str, seconds: float | None = None) -> None:
        """Count a request that was refused or got no answer; *seconds* where it belongs to the latencies."""
        self.errors[kind, cause] += 1
        if seconds is not None:
            self.latencies[kind].add(seconds)

    def tick(self) -> dict[str, float]:
        """Close one second of the run and give its row of the timeline."""
        cpu_seconds, now = time.process_time(), time.monotonic()
        elapsed = max(now - self._at, 1e-9)
        done, failed = self.done.total(), self.errors.total()
        row = {
            "second": len(self.timeline) + 1,
            "users": self.logged_in,
            "requests_per_second": round((done + failed - sum(self._before)) / elapsed, 1),
            "errors": failed - self._before[1],
            "cpu_percent": round(100 * (cpu_seconds - self._cpu_seconds) / elapsed, 1),
        }
        self._cpu_seconds, self._at, self._before = cpu_seconds, now, (done, failed)
        self.timeline.append(row)
        return row

    def summary(self, seconds: float, ramp_seconds: float, rate: float | None) -> dict[str, Any]:
        """Give everything as one document; *rate* is what was asked for, None in the closed model."""
        steady = [row["requests_per_second"] for row in self.timeline if row["second"] > ramp_seconds + 1]
        kinds = {
            kind: {
                "sent": self.sent[kind],
                "done": self.done[kind],
                "failed": sum(count for (of, _), count in self.errors.items() if of == kind),
                "per_second": round(self.done[kind] / seconds, 2),
                **self.latencies[kind].milliseconds(),
            }
            for kind in KINDS
        }
        answered = {
            "sent": self.sent.total(),
            "unsent": self.unsent,
            "done": self.done.total(),
            "failed": self.errors.total(),
            "per_second": round(self.done.total() / seconds, 2),
            "per_second_after_ramp": round(sum(steady) / len(steady), 2) if steady else None,
        }
        busy = sorted(row["cpu_percent"] for row in self.timeline)
        generator = {
            "cpu_percent": round(sum(busy) / len(busy), 1) if busy else 0.0,
            "cpu_percent_p90": busy[math.ceil(0.9 * len(busy)) - 1] if busy else 0.0,
            "loop_lag": self.loop_lag.milliseconds(),
        }
        return {
            "requests": answered,
            "kinds": kinds,
            "errors": [{"kind": k, "cause": c, "count": n} for (k, c), n in self.errors.most_common()],
            "violations": {"count": len(self.violations), "first": self.violations[:SHOWN_VIOLATIONS]},
            "identities": {"checked": self.identities_checked, "missing": self.identities_missing},
            "accounts_set_aside": self.set_aside,
            "generator": generator,
            "advice": self._advice(),
            "warnings": self._warnings(generator, rate, answered["per_second_after_ramp"]),
            "timeline": self.timeline,
        }

    def _advice(self) -> list[str]:
        advice = [f"429 {self.limits[name]}: {text}" for name, text in LIMIT_ADVICE.items() if name in self.limits]
        if any(cause == "503 overloaded" for _, cause in self.errors):
            advice.append(
                "503 overloaded: more logins at once than the gateway's processors can hash passwords for. "
                "Spread them by --ramp, or give it more processors"
            )
        if any(cause == "503 store-unavailable" for _, cause in self.errors):
            advice.append("503 store-unavailable: the gateway did not reach its Redis, or Redis refused: see its log")
        if self.set_aside:
            advice.append(f"wrong password, not tried again: {', '.join(self.set_aside[:SHOWN_VIOLATIONS])}")
        return advice

    def _warnings(self, generator: dict[str, Any], rate: float | None, attained: float | None) -> list[str]:
        warnings = []
        lag_ms, cpu = generator["loop_lag"]["p99_ms"], generator["cpu_percent_p90"]
        if lag_ms > LATE_LOOP_SECONDS * 1000 or cpu > BUSY_PERCENT:
            warnings.append(
                f"the load generator was itself held up (loop lag p99 {lag_ms:g} ms, CPU {cpu:g} %): latencies "
                "hold its own delays. Lower the load, or run it on another machine, or several of it"
            )
        if rate is not None and attained is not None and attained < ATTAINED * rate:
            warnings.append(
                f"{attained:g} requests/s after the ramp, of the {rate:g} asked for: the gateway was slower, clients "
                "were told to wait, or --sessions are too few"
            )
        if self.unsent:
            warnings.append(
                f"{self.unsent} requests whose time had come were not sent before the end, since earlier ones of the "
                "same client were not answered: they are in no count, and a longer run has longer latencies"
            )
        if self.identities_missing:
            warnings.append(
                f"{self.identities_missing} subrequests were allowed without an identity header: whose answer it was "
                "could not be checked"
            )
        return warnings


def as_text(document: dict[str, Any]) -> str:
    """Give the report for people."""
    total, generator = document["requests"], document["generator"]
    steady = total["per_second_after_ramp"]
    lines = [
        f"{document['url']}, {document['seconds']:g} s, {document['sessions']} virtual users of "
        f"{document['accounts']} accounts",
        f"{document['model']} model: {document['latency']}",
        "",
        f"{'':12}{'sent':>8}{'done':>8}{'failed':>8}{'done/s':>9}{'p50':>9}{'p90':>9}{'p99':>9}{'max ms':>9}",
        *(
            f"{kind:12}{row['sent']:8}{row['done']:8}{row['failed']:8}{row['per_second']:9.1f}"
            + "".join(f"{row[name]:9.1f}" for name in ("p50_ms", "p90_ms", "p99_ms", "max_ms"))
            for kind, row in document["kinds"].items()
        ),
        f"{'all':12}{total['sent']:8}{total['done']:8}{total['failed']:8}{total['per_second']:9.1f}"
        + (f"   {steady:.1f} answers/s after the ramp" if steady is not None else ""),
        "",
        *(f"error      {error['count']:8}  {error['kind']}: {error['cause']}" for error in document["errors"]),
        *([] if document["errors"] else ["errors     none"]),
        *(f"violation  {text}" for text in document["violations"]["first"]),
        f"violations {document['violations']['count']}; {document['identities']['checked']} answers were checked for "
        "whose they are",
        f"sessions   {document['cleanup']['logged_out']} logged out at the end, "
        f"{document['cleanup']['left_behind']} left behind",
        f"generator  CPU {generator['cpu_percent']:g} % of one, 90 % of the seconds at most "
        f"{generator['cpu_percent_p90']:g} %; loop lag p99 {generator['loop_lag']['p99_ms']:g} ms; "
        f"{document['connections']} connections",
        *(f"advice     {text}" for text in document["advice"]),
        *(f"WARNING    {text}" for text in document["warnings"]),
    ]
    return "\n".join(lines)
