"""
Metrics: what is counted and timed, by which labels, and the numbers of one process.

A label has a word of a closed list: a route's template, a cause, the name of a script; never what a client sent. Units
are Prometheus's base units. How they travel to who asks for them is said by `metric_reports` and `exposition`.

One file, since it is one table, and what its rows are counted in.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import partial

from gateway.telemetry.endpoints import OTHER
from gateway.telemetry.events import EVENTS

MAX_SERIES = 1000
REQUEST_BOUNDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
REDIS_BOUNDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0)
HASH_BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0)

Row = tuple[str, tuple[str, ...], list[int | float]]
"""Name, label values, and numbers: one of a counter; of a histogram those of its buckets, and the sum of seconds."""


class Kind(Enum):
    """What Prometheus calls a metric's type."""

    COUNTER = "counter"
    HISTOGRAM = "histogram"
    GAUGE = "gauge"


@dataclass(frozen=True, eq=False)
class Metric:
    """
    One metric.

    Args:
        bounds: Upper bounds of a histogram's buckets, in seconds, both ends of a bucket but the lower one included.
        known: Label values that are told from the start, as 0: Prometheus sees no growth in what was not there.
        of_all: What a gauge of all workers is made of theirs by: sum, max or min.
    """

    name: str
    kind: Kind
    meaning: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
    known: tuple[tuple[str, ...], ...] = ()
    of_all: Callable[[list[float]], float] = sum


def _words(*words: str) -> tuple[tuple[str, ...], ...]:
    return tuple((word,) for word in words)


_counter = partial(Metric, kind=Kind.COUNTER)
_histogram = partial(Metric, kind=Kind.HISTOGRAM)
_gauge = partial(Metric, kind=Kind.GAUGE)

LOGIN_OUTCOMES = ("succeeded", "asked", "failed", "limited", "overloaded", "unavailable")
LOGIN_FACTORS = ("pwd", "totp", "recovery", "passkey")
REFRESH_VERDICTS = (
    *("rotated", "kept", "replayed", "healed"),
    *("reused", "expired", "revoked", "user_disabled", "forged"),
)
SESSION_ENDS = (
    *(
        "logout",
        "logout-all",
        "revoked",
        "reused",
        "replaced",
        "too-many",
        "password-changed",
        "factors-reset",
        "unfinished",
    ),
)

REQUESTS = _counter(
    "gateway_requests_total", meaning="Requests answered, by endpoint and status.", labels=("endpoint", "status")
)
REQUEST_SECONDS = _histogram(
    "gateway_request_seconds",
    meaning="From the head of a request to its answer.",
    labels=("endpoint",),
    bounds=REQUEST_BOUNDS,
)
AUTHZ = _counter(
    "gateway_authz_total",
    meaning="Subrequests, by endpoint, verdict and cause.",
    labels=("endpoint", "verdict", "cause"),
)
LOGINS = _counter(
    "gateway_logins_total",
    meaning="Steps of logins, by outcome and by what was shown; asked: a second factor has to follow the password.",
    labels=("outcome", "factor"),
    known=tuple(
        (outcome, factor)
        for factor in LOGIN_FACTORS
        for outcome in LOGIN_OUTCOMES
        if factor == "pwd" or outcome in ("succeeded", "failed")
    ),
)
REFRESHES = _counter(
    "gateway_refreshes_total",
    meaning="Refresh tokens that were presented, by what became of them.",
    labels=("verdict",),
    known=_words(*REFRESH_VERDICTS),
)
PASSWORD_HASH_SECONDS = _histogram(
    "gateway_password_hash_seconds", meaning="Work for one password hash, without the wait.", bounds=HASH_BOUNDS
)
PASSWORD_QUEUE = _gauge("gateway_password_queue", meaning="Passwords that wait to be hashed.")
LIMITED = _counter(
    "gateway_rate_limited_total",
    meaning="Attempts that a limit refused.",
    labels=("limit",),
    known=_words(
        "login", "refresh", "change-password", "second-factor", "passkey", "factors", "oauth", "oauth-client", "account"
    ),
)
SESSIONS_ENDED = _counter(
    "gateway_sessions_ended_total",
    meaning="Sessions ended before their time, by reason.",
    labels=("reason",),
    known=_words(*SESSION_ENDS),
)
REVOCATIONS_KNOWN = _gauge(
    "gateway_revocations_known", meaning="Revocations that tokens are checked against.", of_all=max
)
REVOCATIONS_LAG = _gauge(
    "gateway_revocations_lag_seconds", meaning="For how long revocations have not been heard.", of_all=max
)
REDIS_SECONDS = _histogram(
    "gateway_redis_seconds",
    meaning="Calls to Redis, by script or command, answered or not.",
    labels=("call",),
    bounds=REDIS_BOUNDS,
)
REDIS_ERRORS = _counter(
    "gateway_redis_errors_total",
    meaning="Calls to Redis that failed, by Redis's own word; AWAY: not made, since it was away.",
    labels=("kind",),
    known=_words("TIMEOUT", "CONNECTION", "AWAY"),
)
BREAKER_OPEN = _gauge("gateway_breaker_open", meaning="1 while calls to Redis are refused: it is away.", of_all=max)
SIGNING_KEY_AGE = _gauge(
    "gateway_signing_key_age_seconds", meaning="For how long the current key has signed.", of_all=max
)
SIGNING_KEY_NEXT_READY = _gauge(
    "gateway_signing_key_next_ready", meaning="1 while the next key is known for long enough to sign.", of_all=min
)
EVENT_LOOP_LAG = _gauge(
    "gateway_event_loop_lag_seconds", meaning="How late a worker came to its work, the worst of 15 s.", of_all=max
)
CONNECTIONS = _gauge("gateway_connections", meaning="Open connections.")
AUDIT_EVENTS = _counter(
    "gateway_audit_events_total",
    meaning="Security events told.",
    labels=("event",),
    known=_words(*(event.name for event in EVENTS)),
)
AUDIT_LOST = _counter("gateway_audit_lost_total", meaning="Security events that Redis never got; the log has them.")
WORKERS = _gauge("gateway_workers", meaning="Workers heard of in the last seconds.")
BUILD_INFO = _gauge("gateway_build_info", meaning="1; the version is a label.", labels=("version",))

METRICS = (
    *(REQUESTS, REQUEST_SECONDS, AUTHZ, LOGINS, REFRESHES, PASSWORD_HASH_SECONDS, PASSWORD_QUEUE, LIMITED),
    *(SESSIONS_ENDED, REVOCATIONS_KNOWN, REVOCATIONS_LAG, REDIS_SECONDS, REDIS_ERRORS, BREAKER_OPEN),
    *(SIGNING_KEY_AGE, SIGNING_KEY_NEXT_READY, EVENT_LOOP_LAG, CONNECTIONS, AUDIT_EVENTS, AUDIT_LOST),
    *(WORKERS, BUILD_INFO),
)


class Histogram:
    """
    How many took how long.

    Attributes:
        counts: How many lie in each bucket, the last without an upper bound.
        seconds: What all took together.
    """

    __slots__ = ("bounds", "counts", "seconds")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.seconds = 0.0

    def observe(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.seconds += seconds


Answers = defaultdict[int, Histogram]
"""The answers of one endpoint, by status."""


class Metrics:
    """
    The numbers of one process since its start, for its event loop alone.

    Attributes:
        answers: Those of each endpoint. One histogram is both the number of requests and their times, so that an
            answer costs one count.
        gauges: What gives the value of each gauge now; None where there is nothing to tell.
        counted_elsewhere: What gives numbers of a counter that somebody else keeps, by label values.
    """

    def __init__(self) -> None:
        self.answers: defaultdict[str, Answers] = defaultdict(lambda: Answers(partial(Histogram, REQUEST_BOUNDS)))
        self.gauges: dict[Metric, Callable[[], float | None]] = {}
        self.counted_elsewhere: dict[Metric, Callable[[], Mapping[tuple[str, ...], int]]] = {}
        self._counted: defaultdict[Metric, Counter[tuple[str, ...]]] = defaultdict(Counter)
        self._timed: defaultdict[Metric, dict[tuple[str, ...], Histogram]] = defaultdict(dict)

    def count(self, metric: Metric, *labels: str, by: int = 1) -> None:
        """Count *by* more under these label values."""
        counted = self._counted[metric]
        counted[_bounded(counted, labels)] += by

    def observe(self, metric: Metric, seconds: float, *labels: str) -> None:
        """Count one that took so long."""
        timed = self._timed[metric]
        labels = _bounded(timed, labels)
        if labels not in timed:
            timed[labels] = Histogram(metric.bounds)
        timed[labels].observe(seconds)

    def rows(self) -> Iterator[Row]:
        """Give all counters and histograms; what is 0 may be missing."""
        for endpoint, answers in self.answers.items():
            yield from _rows_of_answers(endpoint, answers)
        for metric, counted in self._counted.items():
            for labels, count in counted.items():
                yield metric.name, labels, [count]
        for metric, timed in self._timed.items():
            for labels, histogram in timed.items():
                yield metric.name, labels, [*histogram.counts, histogram.seconds]
        for metric, read in self.counted_elsewhere.items():
            for labels, count in read().items():
                yield metric.name, labels, [count]

    def gauge_values(self) -> dict[str, float]:
        """Give the value that each gauge has now, by its name."""
        values = {metric.name: read() for metric, read in self.gauges.items()}
        return {name: float(value) for name, value in values.items() if value is not None}


def _rows_of_answers(endpoint: str, answers: Answers) -> Iterator[Row]:
    total = Histogram(REQUEST_BOUNDS)
    for status, histogram in answers.items():
        yield REQUESTS.name, (endpoint, str(status)), [sum(histogram.counts)]
        total.counts = [one + other for one, other in zip(total.counts, histogram.counts, strict=True)]
        total.seconds += histogram.seconds
    yield REQUEST_SECONDS.name, (endpoint,), [*total.counts, total.seconds]


def _bounded(series: Mapping[tuple[str, ...], object], labels: tuple[str, ...]) -> tuple[str, ...]:
    # All values are of closed lists; should one ever not be, the memory is bounded still.
    return labels if labels in series or len(series) < MAX_SERIES else (OTHER,) * len(labels)
