"""The API: one handler a file, JSON in and JSON out."""

from gateway.web.api.change_password import change_own_password
from gateway.web.api.login import log_in, login_quickly
from gateway.web.api.logout import log_out, log_out_everywhere
from gateway.web.api.me import show_me
from gateway.web.api.refresh import refresh_tokens
from gateway.web.api.sessions import end_session, list_sessions

__all__ = [
    "log_in",
    "login_quickly",
    "refresh_tokens",
    "log_out",
    "log_out_everywhere",
    "show_me",
    "end_session",
    "list_sessions",
    "change_own_password",
]
