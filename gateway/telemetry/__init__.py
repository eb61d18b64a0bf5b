"""Telemetry: log lines and security events."""

from gateway.telemetry.events import AuditTrail
from gateway.telemetry.logs import (
    OnceAMinute,
    configure,
    configure_for_commands,
    is_json,
    json_line,
    log_what_python_tells,
)

__all__ = [
    "OnceAMinute",
    "configure",
    "configure_for_commands",
    "is_json",
    "json_line",
    "log_what_python_tells",
    "AuditTrail",
]
