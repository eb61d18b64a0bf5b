"""What is counted of an answer: its endpoint, its status, its time, and of a refused subrequest the cause."""

from collections import Counter
from collections.abc import Mapping

from gateway.errors import GatewayError, RateLimited
from gateway.telemetry import AUTHZ, LIMITED, Metrics, verdict_of

SUBREQUEST_PREFIX = "/api/authz/"
_WITHOUT_ERROR = {405: "method-not-allowed", 500: "internal-error"}


def count_answer(metrics: Metrics, endpoint: str, status: int, seconds: float, error: GatewayError | None) -> None:
    """
    Count one answer.

    Args:
        endpoint: The template of its route, or `other`.
        error: What it tells, where that is one of ours.
    """
    metrics.answers[endpoint][status].observe(seconds)
    if isinstance(error, RateLimited):
        metrics.count(LIMITED, error.limit)
    if endpoint.startswith(SUBREQUEST_PREFIX) and status != 200:
        cause = verdict_of(error).label if error is not None else _WITHOUT_ERROR.get(status, "unknown")
        metrics.count(AUTHZ, _subrequest_of(endpoint), "unavailable" if status == 503 else "denied", cause)


def allowed_subrequests(metrics: Metrics) -> Mapping[tuple[str, ...], int]:
    """Give how many were allowed, by the labels of `AUTHZ`: nothing more is counted of them than of any answer."""
    allowed = Counter[tuple[str, ...]]()
    for endpoint, answers in metrics.answers.items():
        if endpoint.startswith(SUBREQUEST_PREFIX) and 200 in answers:
            allowed[_subrequest_of(endpoint), "allowed", ""] += sum(answers[200].counts)
    return allowed


def _subrequest_of(endpoint: str) -> str:
    """Give whose way of asking a subrequest's template is: `auth-request`, `forward-auth` or `ext-authz`."""
    return endpoint.removeprefix(SUBREQUEST_PREFIX).partition("/")[0]
