"""HTTP: what handlers of several rooms share."""

from gateway.web.http.answers import json_response
from gateway.web.http.audit import tell
from gateway.web.http.bearer import (
    Caller,
    find_credentials,
    find_known,
    find_owner,
    find_presence,
    find_session,
    note_known,
    refuse_token_in_query,
    require_caller,
    verify,
)
from gateway.web.http.bodies import MAX_BODY_BYTES, BodyCap, SecretBody, is_too_large, read_body
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
from gateway.web.http.direct import directly
from gateway.web.http.ending import end_own_session
from gateway.web.http.envelope import SECURITY_HEADERS, problem_lines, refuse_quickly
from gateway.web.http.factor_changes import (
    add_own_passkey,
    begin_own_passkey,
    begin_own_totp,
    confirm_own_totp,
    make_own_recovery_codes,
    remove_own_factor,
    user_who_may_change,
)
from gateway.web.http.middleware import Cors, Envelope
from gateway.web.http.new_password import change_password_of
from gateway.web.http.noting import note_change
from gateway.web.http.opened import LoggedIn, Wanted, earlier_sessions, finish_opening, open_family
from gateway.web.http.opening import Credentials, ask_for_more, heard_address, open_session
from gateway.web.http.problems import PROBLEM_TYPE_PREFIX, on_gateway_error, on_http_exception, problem_response
from gateway.web.http.request_id import request_id_of
from gateway.web.http.return_address import safe_return_address
from gateway.web.http.second_step import (
    SecondStep,
    begin_passkey_login,
    complete_by_first_passkey,
    complete_by_first_totp,
    complete_login,
    user_to_enrol,
)
from gateway.web.http.token_changes import make_own_token, revoke_own_token
from gateway.web.http.young_login import user_with_young_login

__all__ = [
    "SECURITY_HEADERS",
    "Cors",
    "Envelope",
    "problem_lines",
    "refuse_quickly",
    "directly",
    "MAX_BODY_BYTES",
    "BodyCap",
    "SecretBody",
    "is_too_large",
    "read_body",
    "Caller",
    "find_credentials",
    "find_known",
    "find_owner",
    "find_presence",
    "find_session",
    "note_known",
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
    "Wanted",
    "Credentials",
    "LoggedIn",
    "earlier_sessions",
    "heard_address",
    "ask_for_more",
    "open_family",
    "finish_opening",
    "open_session",
    "SecondStep",
    "begin_passkey_login",
    "complete_login",
    "user_to_enrol",
    "complete_by_first_totp",
    "complete_by_first_passkey",
    "user_with_young_login",
    "user_who_may_change",
    "begin_own_totp",
    "confirm_own_totp",
    "begin_own_passkey",
    "add_own_passkey",
    "make_own_recovery_codes",
    "remove_own_factor",
    "make_own_token",
    "revoke_own_token",
    "end_own_session",
    "change_password_of",
    "tell",
    "note_change",
    "json_response",
    "on_gateway_error",
    "on_http_exception",
    "PROBLEM_TYPE_PREFIX",
    "problem_response",
    "request_id_of",
]
