"""The API: one handler a file, JSON in and JSON out."""

from gateway.web.api.change_password import change_own_password
from gateway.web.api.factors import (
    add_passkey,
    begin_passkey,
    begin_totp,
    confirm_totp,
    list_factors,
    make_recovery_codes,
    remove_factor,
)
from gateway.web.api.login import OAUTH_FORM_FIELDS, begin_login_by_passkey, log_in, login_quickly
from gateway.web.api.logout import log_out, log_out_everywhere
from gateway.web.api.me import show_me
from gateway.web.api.refresh import refresh_tokens
from gateway.web.api.sessions import end_session, list_sessions
from gateway.web.api.tokens import list_tokens, make_token, revoke_personal_token
from gateway.web.api.wire import (
    AddPasskeyRequest,
    ChangePasswordRequest,
    ConfirmTotpRequest,
    EnrolmentRequest,
    FactorBody,
    FactorsBody,
    LoginRequest,
    NewPersonalTokenBody,
    NewPersonalTokenRequest,
    NewTotpBody,
    NoMembers,
    PasskeyOptions,
    PersonalTokensBody,
    RecoveryCodesBody,
    RefreshRequest,
    RevokedBody,
    SessionsBody,
    TokenBody,
    UserAnswer,
    UserBody,
)

__all__ = [
    "log_in",
    "login_quickly",
    "begin_login_by_passkey",
    "refresh_tokens",
    "log_out",
    "log_out_everywhere",
    "show_me",
    "end_session",
    "list_sessions",
    "change_own_password",
    "list_factors",
    "begin_totp",
    "confirm_totp",
    "begin_passkey",
    "add_passkey",
    "make_recovery_codes",
    "remove_factor",
    "list_tokens",
    "make_token",
    "revoke_personal_token",
    "OAUTH_FORM_FIELDS",
    "AddPasskeyRequest",
    "ChangePasswordRequest",
    "ConfirmTotpRequest",
    "EnrolmentRequest",
    "FactorBody",
    "FactorsBody",
    "LoginRequest",
    "NewPersonalTokenBody",
    "NewPersonalTokenRequest",
    "NewTotpBody",
    "NoMembers",
    "PasskeyOptions",
    "PersonalTokensBody",
    "RecoveryCodesBody",
    "RefreshRequest",
    "RevokedBody",
    "SessionsBody",
    "TokenBody",
    "UserAnswer",
    "UserBody",
]
