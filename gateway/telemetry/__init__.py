"""Telemetry: log lines, security events, and why answers were refused."""

from gateway.telemetry.events import AuditTrail
from gateway.telemetry.logs import (
    OnceAMinute,
    configure,
    configure_for_commands,
    is_json,
    json_line,
    log_what_python_tells,
)
from gateway.telemetry.verdicts import INTERNAL_ERROR, VERDICTS, Verdict, verdict_by_code, verdict_of

__all__ = [
    "OnceAMinute",
    "configure",
    "configure_for_commands",
    "is_json",
    "json_line",
    "log_what_python_tells",
    "AuditTrail",
    "INTERNAL_ERROR",
    "VERDICTS",
    "Verdict",
    "verdict_by_code",
    "verdict_of",
]
