"""HTTP: what handlers of several rooms share."""

from gateway.web.http.answers import json_response
from gateway.web.http.audit import tell
from gateway.web.http.bearer import (
    Caller,
    find_access_token,
    find_presence,
    find_session,
    refuse_token_in_query,
    require_caller,
    verify,
)
from gateway.web.http.bodies import BodyCap, SecretBody, is_too_large, read_body
from gateway.web.http.client_address import Address, address_of, is_from_proxy, peer_key, rate_key, rate_keys
from gateway.web.http.cookies import (
    KNOWN_DEVICE,
    LOGIN_HOPS,
    REFRESH_TOKEN,
    clear_earlier_session_cookie,
    clear_refresh_cookie,
    clear_session_cookie,
    cookie_name,
    cookies_of_others,
    read_cookie,
    session_cookie_name,
    set_device_cookie,
    set_hops_cookie,
    set_refresh_cookie,
    set_session_cookie,
)
from gateway.web.http.counting import allowed_subrequests, count_answer
from gateway.web.http.cross_site import refuse_cross_site
from gateway.web.http.device import device_label
from gateway.web.http.ending import end_own_session
from gateway.web.http.middleware import SECURITY_HEADERS, Cors, Envelope, problem_lines, refuse_quickly
from gateway.web.http.new_password import change_password_of
from gateway.web.http.opening import (
    Credentials,
    LoggedIn,
    count_login,
    earlier_sessions,
    end_who_gave_way,
    heard_address,
    open_family,
    open_session,
)
from gateway.web.http.problems import on_gateway_error, on_http_exception, problem_response
from gateway.web.http.request_id import request_id_of
from gateway.web.http.return_address import safe_return_address

__all__ = [
    "SECURITY_HEADERS",
    "Cors",
    "Envelope",
    "problem_lines",
    "refuse_quickly",
    "BodyCap",
    "SecretBody",
    "is_too_large",
    "read_body",
    "Caller",
    "find_access_token",
    "find_presence",
    "find_session",
    "refuse_token_in_query",
    "require_caller",
    "verify",
    "KNOWN_DEVICE",
    "LOGIN_HOPS",
    "REFRESH_TOKEN",
    "clear_earlier_session_cookie",
    "clear_refresh_cookie",
    "clear_session_cookie",
    "cookie_name",
    "cookies_of_others",
    "read_cookie",
    "session_cookie_name",
    "set_device_cookie",
    "set_hops_cookie",
    "set_refresh_cookie",
    "set_session_cookie",
    "refuse_cross_site",
    "allowed_subrequests",
    "count_answer",
    "Address",
    "address_of",
    "is_from_proxy",
    "peer_key",
    "rate_key",
    "rate_keys",
    "device_label",
    "safe_return_address",
    "Credentials",
    "LoggedIn",
    "count_login",
    "earlier_sessions",
    "heard_address",
    "open_family",
    "end_who_gave_way",
    "open_session",
    "end_own_session",
    "change_password_of",
    "tell",
    "json_response",
    "on_gateway_error",
    "on_http_exception",
    "problem_response",
    "request_id_of",
]
