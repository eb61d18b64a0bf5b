"""What the API takes, gives and refuses. One file, since it is one table."""

from typing import Any

from gateway.errors import (
    AuthenticationTooWeak,
    CrossSiteRequest,
    GatewayError,
    InvalidCredentials,
    NotFound,
    Overloaded,
    PasswordRejected,
    RateLimited,
    RefreshTokenInvalid,
    RefreshTokenMissing,
    RefreshTokenReused,
    SecondFactorInvalid,
    SecondFactorRequired,
    StoreUnavailable,
    WrongCurrentPassword,
)
from gateway.web.api import (
    OAUTH_FORM_FIELDS,
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
from gateway.web.openapi.operations import (
    BODY,
    CALLER,
    FORM,
    JSON,
    OR_OTHERWISE,
    PERSON,
    RATE_HEADERS,
    SENDER,
    Answer,
    Operation,
    Takes,
    json_answer,
)

SESSIONS, USER, FACTORS, TOKENS = "Sessions", "The user", "Second factors", "Personal tokens"
LOGIN_HEADERS = ("Set-Cookie", *RATE_HEADERS)
LIMITED: tuple[type[GatewayError], ...] = (RateLimited, StoreUnavailable)
LOGIN: tuple[type[GatewayError], ...] = (*BODY, CrossSiteRequest, SecondFactorInvalid, *LIMITED, Overloaded)
FACTOR_CHANGE: tuple[type[GatewayError], ...] = (*SENDER, AuthenticationTooWeak, NotFound)
SET_UP: tuple[type[GatewayError], ...] = (*FACTOR_CHANGE, *BODY, SecondFactorInvalid, RateLimited)

_TEXT = {"type": "string"}
_NONE = {"type": "null"}
_PASSWORDS = ("username", "password")
_FACTORS = ("totp", "recovery", "passkey")


def _step(*needed: str) -> dict[str, Any]:
    others = {name: _NONE for name in (*_PASSWORDS, "pending", *_FACTORS) if name not in needed}
    texts = {name: _TEXT for name in needed if name != "passkey"}
    not_null = {"passkey": {"type": "object"}} if "passkey" in needed else {}
    return {"required": list(needed), "properties": others | texts | not_null}


EITHER_STEP = {"anyOf": [_step(*_PASSWORDS), *(_step("pending", factor) for factor in _FACTORS)]}
ENDED = Answer("It has ended.")
REMOVED = Answer("It is taken away.")
YOUNG = (
    "Takes a login that is at most 600 seconds old, and from who has a second factor one with `mfa`; else 401 "
    "`authentication-too-weak`."
)
PENDING = (
    f"{YOUNG} Who has to set up a first factor to log in sends the `pending` of `second-factor-required` instead of "
    "showing a login."
)

OPERATIONS: dict[str, Operation] = {
    "POST /auth/login": Operation(
        "log_in",
        SESSIONS,
        "Log in",
        {
            200: json_answer(
                "Tokens; with `delivery` = `session` the user alone. The refresh token or the session is in a cookie, "
                "with `delivery` = `body` the former is a member.",
                TokenBody,
                UserAnswer,
                headers=LOGIN_HEADERS,
            )
        },
        (InvalidCredentials, SecondFactorRequired, *LOGIN),
        Takes(LoginRequest, (JSON, FORM), EITHER_STEP, OAUTH_FORM_FIELDS),
        details="By `username` and `password`. A right password of who has a second factor is 401 "
        "`second-factor-required`: send its `pending` with one of `totp`, `recovery` and `passkey`.",
    ),
    "POST /auth/login/passkey": Operation(
        "begin_login_by_passkey",
        SESSIONS,
        "Begin a login by a passkey alone",
        {
            200: json_answer(
                "Options for `PublicKeyCredential.parseRequestOptionsFromJSON()`, and the `pending` for `/auth/login`.",
                PasskeyOptions,
                headers=RATE_HEADERS,
            )
        },
        (*BODY, CrossSiteRequest, NotFound, *LIMITED),
        Takes(NoMembers),
    ),
    "POST /auth/refresh": Operation(
        "refresh_tokens",
        SESSIONS,
        "Exchange a refresh token for its successor and a fresh access token",
        {
            200: json_answer(
                "Tokens; the refresh token goes back the way the old one came.", TokenBody, headers=LOGIN_HEADERS
            )
        },
        (*BODY, RefreshTokenMissing, RefreshTokenInvalid, RefreshTokenReused, CrossSiteRequest, *LIMITED),
        Takes(RefreshRequest, (JSON, FORM)),
        ("refreshToken", OR_OTHERWISE),
        details="A lost answer can be asked for again with the old token for a while. A 401 takes a cookie away, a 503 "
        "does not.",
    ),
    "POST /auth/logout": Operation(
        "log_out",
        SESSIONS,
        "End the session of a refresh token, or of a browser",
        {204: Answer("It has ended, alive or not before.", headers=("Set-Cookie",))},
        (*BODY, RefreshTokenMissing, CrossSiteRequest, StoreUnavailable),
        Takes(RefreshRequest, (JSON, FORM)),
        ("refreshToken", "browserSession", OR_OTHERWISE),
    ),
    "POST /auth/logout-all": Operation(
        "log_out_everywhere",
        SESSIONS,
        "End all sessions of the caller",
        {200: json_answer("How many there were, this one counted.", RevokedBody, headers=("Set-Cookie",))},
        SENDER,
        shows=PERSON,
    ),
    "GET /auth/sessions": Operation(
        "list_sessions",
        SESSIONS,
        "List the caller's sessions",
        {200: json_answer("Newest first.", SessionsBody)},
        CALLER,
        shows=PERSON,
    ),
    "DELETE /auth/sessions/{id}": Operation(
        "end_session", SESSIONS, "End one of the caller's sessions", {204: ENDED}, (*SENDER, NotFound), shows=PERSON
    ),
    "GET /auth/me": Operation(
        "show_me",
        USER,
        "Show the caller",
        {200: json_answer("As stored now; by a personal token with the roles that this has.", UserBody)},
        CALLER,
        shows=(*PERSON, "personalToken", "personalTokenAsPassword"),
    ),
    "POST /auth/change-password": Operation(
        "change_password",
        USER,
        "Change the caller's password",
        {204: Answer("It is changed, and all other sessions have ended.")},
        (*SENDER, *BODY, WrongCurrentPassword, PasswordRejected, RateLimited, Overloaded),
        Takes(ChangePasswordRequest),
        PERSON,
    ),
    "GET /auth/factors": Operation(
        "list_factors",
        FACTORS,
        "List the caller's second factors",
        {200: json_answer("The oldest first.", FactorsBody)},
        CALLER,
        shows=PERSON,
    ),
    "POST /auth/factors/totp": Operation(
        "begin_totp",
        FACTORS,
        "Begin to set up an authenticator app",
        {200: json_answer("A secret, which is no factor yet.", NewTotpBody)},
        SET_UP,
        Takes(EnrolmentRequest),
        (*PERSON, OR_OTHERWISE),
        details=PENDING,
    ),
    "POST /auth/factors/totp/confirm": Operation(
        "confirm_totp",
        FACTORS,
        "Make an authenticator app a factor, by a code of it",
        {
            200: json_answer(
                "The factor; with `pending` as a login.", FactorBody, TokenBody, UserAnswer, headers=LOGIN_HEADERS
            )
        },
        (*SET_UP, Overloaded),
        Takes(ConfirmTotpRequest),
        (*PERSON, OR_OTHERWISE),
        details=PENDING,
    ),
    "POST /auth/factors/passkeys/options": Operation(
        "begin_passkey",
        FACTORS,
        "Begin to set up a passkey",
        {200: json_answer("Options for `PublicKeyCredential.parseCreationOptionsFromJSON()`.", PasskeyOptions)},
        SET_UP,
        Takes(EnrolmentRequest),
        (*PERSON, OR_OTHERWISE),
        details=PENDING,
    ),
    "POST /auth/factors/passkeys": Operation(
        "add_passkey",
        FACTORS,
        "Make a passkey a factor",
        {
            200: json_answer(
                "The factor; with `pending` as a login.", FactorBody, TokenBody, UserAnswer, headers=LOGIN_HEADERS
            )
        },
        (*SET_UP, Overloaded),
        Takes(AddPasskeyRequest),
        (*PERSON, OR_OTHERWISE),
        details=PENDING,
    ),
    "POST /auth/factors/recovery": Operation(
        "make_recovery_codes",
        FACTORS,
        "Make ten recovery codes",
        {200: json_answer("They are shown this once, and those from before are void.", RecoveryCodesBody)},
        (*FACTOR_CHANGE, *BODY),
        Takes(NoMembers),
        PERSON,
        details=YOUNG,
    ),
    "DELETE /auth/factors/{id}": Operation(
        "remove_factor",
        FACTORS,
        "Take one of the caller's factors away",
        {204: REMOVED},
        FACTOR_CHANGE,
        shows=PERSON,
        details=YOUNG,
    ),
    "GET /auth/tokens": Operation(
        "list_tokens",
        TOKENS,
        "List the caller's personal tokens",
        {200: json_answer("Newest first.", PersonalTokensBody)},
        CALLER,
        shows=PERSON,
    ),
    "POST /auth/tokens": Operation(
        "make_token",
        TOKENS,
        "Make a personal token",
        {200: json_answer("The token, which is shown this once.", NewPersonalTokenBody)},
        (*SENDER, *BODY, AuthenticationTooWeak, RateLimited),
        Takes(NewPersonalTokenRequest),
        PERSON,
        details=YOUNG,
    ),
    "DELETE /auth/tokens/{id}": Operation(
        "revoke_personal_token",
        TOKENS,
        "Revoke one of the caller's personal tokens",
        {204: Answer("It is refused from now on.")},
        (*SENDER, NotFound),
        shows=PERSON,
    ),
}
