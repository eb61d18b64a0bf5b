"""
Telemetry: log lines, security events and the traces that these belong to, and why answers were refused, also as their
request ids carry it.
"""

from gateway.telemetry.accounts import account_of
from gateway.telemetry.audit_trail import AuditTrail
from gateway.telemetry.events import (
    EVENTS,
    KEY_IMPORTED,
    KEY_ROTATED,
    LOGIN_FAILED,
    LOGIN_SUCCEEDED,
    LOGOUT,
    PASSWORD_CHANGED,
    RATE_LIMITED,
    REFRESH_TOKEN_REUSED,
    SESSIONS_REVOKED,
    USER_ADDED,
    USER_CHANGED,
    USER_INVITED,
    USER_REMOVED,
    Event,
)
from gateway.telemetry.logs import (
    OnceAMinute,
    configure,
    configure_for_commands,
    is_json,
    json_line,
    log_what_python_tells,
)
from gateway.telemetry.request_ids import Refusal, RequestIds, is_request_id, random_request_id
from gateway.telemetry.trace_context import trace_of
from gateway.telemetry.verdicts import INTERNAL_ERROR, VERDICTS, Verdict, verdict_by_code, verdict_of

__all__ = [
    "OnceAMinute",
    "configure",
    "configure_for_commands",
    "is_json",
    "json_line",
    "log_what_python_tells",
    "AuditTrail",
    "Event",
    "EVENTS",
    "LOGIN_SUCCEEDED",
    "LOGIN_FAILED",
    "REFRESH_TOKEN_REUSED",
    "LOGOUT",
    "SESSIONS_REVOKED",
    "PASSWORD_CHANGED",
    "USER_ADDED",
    "USER_CHANGED",
    "USER_REMOVED",
    "USER_INVITED",
    "KEY_ROTATED",
    "KEY_IMPORTED",
    "RATE_LIMITED",
    "trace_of",
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
