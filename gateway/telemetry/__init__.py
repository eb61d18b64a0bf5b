"""Telemetry: log lines, security events, metrics, and why answers were refused."""

from gateway.telemetry.events import AuditTrail
from gateway.telemetry.logs import (
    OnceAMinute,
    configure,
    configure_for_commands,
    is_json,
    json_line,
    log_what_python_tells,
)
from gateway.telemetry.metric_reports import Reporter
from gateway.telemetry.metrics import (
    AUTHZ,
    BREAKER_OPEN,
    CONNECTIONS,
    LOGINS,
    OTHER,
    PASSWORD_HASH_SECONDS,
    PASSWORD_QUEUE,
    RATE_LIMITED,
    REDIS_ERRORS,
    REDIS_SECONDS,
    REFRESHES,
    REVOCATIONS_KNOWN,
    REVOCATIONS_LAG,
    SESSIONS_ENDED,
    SIGNING_KEY_AGE,
    SIGNING_KEY_NEXT_READY,
    Answers,
    Metrics,
)
from gateway.telemetry.serving import serve_metrics
from gateway.telemetry.verdicts import INTERNAL_ERROR, VERDICTS, Verdict, verdict_by_code, verdict_of

__all__ = [
    "OnceAMinute",
    "configure",
    "configure_for_commands",
    "is_json",
    "json_line",
    "log_what_python_tells",
    "AuditTrail",
    "Answers",
    "Metrics",
    "AUTHZ",
    "BREAKER_OPEN",
    "CONNECTIONS",
    "LOGINS",
    "OTHER",
    "PASSWORD_HASH_SECONDS",
    "PASSWORD_QUEUE",
    "RATE_LIMITED",
    "REDIS_ERRORS",
    "REDIS_SECONDS",
    "REFRESHES",
    "REVOCATIONS_KNOWN",
    "REVOCATIONS_LAG",
    "SESSIONS_ENDED",
    "SIGNING_KEY_AGE",
    "SIGNING_KEY_NEXT_READY",
    "Reporter",
    "serve_metrics",
    "INTERNAL_ERROR",
    "VERDICTS",
    "Verdict",
    "verdict_by_code",
    "verdict_of",
]
