"""Telemetry: log lines, security events, and why answers were refused, also as their request ids carry it."""

from gateway.telemetry.accounts import account_of
from gateway.telemetry.events import AuditTrail
from gateway.telemetry.logs import (
    OnceAMinute,
    configure,
    configure_for_commands,
    is_json,
    json_line,
    log_what_python_tells,
)
from gateway.telemetry.request_ids import Refusal, RequestIds, is_request_id, random_request_id
from gateway.telemetry.verdicts import INTERNAL_ERROR, VERDICTS, Verdict, verdict_by_code, verdict_of

__all__ = [
    "OnceAMinute",
    "configure",
    "configure_for_commands",
    "is_json",
    "json_line",
    "log_what_python_tells",
    "AuditTrail",
    "account_of",
    "Refusal",
    "RequestIds",
    "is_request_id",
    "random_request_id",
    "INTERNAL_ERROR",
    "VERDICTS",
    "Verdict",
    "verdict_by_code",
    "verdict_of",
]
