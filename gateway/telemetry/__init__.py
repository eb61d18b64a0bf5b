"""Telemetry: log lines and security events."""

from gateway.telemetry.logs import OnceAMinute, configure, configure_for_commands, is_json, json_line, log_what_python_tells
from gateway.telemetry.events import AuditTrail

__all__ = [
    "OnceAMinute",
    "configure",
    "configure_for_commands",
    "is_json",
    "json_line",
    "log_what_python_tells",
    "AuditTrail",
]
