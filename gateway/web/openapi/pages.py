"""What the pages of the portal take by their forms, and where they lead. One file, since it is one table."""

from typing import Annotated

import msgspec
from msgspec import UNSET, UnsetType

from gateway.errors import (
    CrossSiteRequest,
    GatewayError,
    InvalidCredentials,
    InvitationSpent,
    MalformedRequest,
    NotFound,
    Overloaded,
    PasswordRejected,
    RateLimited,
    SecondFactorInvalid,
    StoreUnavailable,
    UnsupportedMediaType,
    WrongCurrentPassword,
)
from gateway.web.openapi.operations import (
    BODY,
    FORM,
    OR_OTHERWISE,
    RATE_HEADERS,
    Answer,
    Operation,
    Takes,
    led_on,
    page_answer,
)
from gateway.web.pages import (
    AppForm,
    CodesForm,
    LoginForm,
    LogoutForm,
    NameForm,
    PasskeyForm,
    PasswordForm,
    RecoveryForm,
    TokenForm,
    WelcomeForm,
)

PAGES = "Pages"
VISITOR: tuple[type[GatewayError], ...] = (MalformedRequest, StoreUnavailable)
SENDER = (*VISITOR, CrossSiteRequest)
FACTORS = (*VISITOR, NotFound)
FACTOR_CHANGE = (*SENDER, NotFound)
NEW_FACTOR = (*FACTOR_CHANGE, UnsupportedMediaType, SecondFactorInvalid, RateLimited)
BACK_OR_LOGIN = led_on("To the account; without a session that is good enough, to the login and back.", "Set-Cookie")
SHOWN = page_answer("The page.")
SHOWN_OR_LOGIN = {
    200: SHOWN,
    303: led_on("To the login and back, without a session that is good enough.", "Set-Cookie"),
}
_Language = Annotated[str, msgspec.Meta(description="Chosen by hand: `en`, `de`, `fr` or `es`; others are not heard.")]
_ReturnAddress = Annotated[str, msgspec.Meta(description="Where to go afterwards, if that is a place to go to.")]
_Seconds = Annotated[str, msgspec.Meta(description="At most so many seconds since the login.")]
_Methods = Annotated[tuple[str, ...], msgspec.Meta(description="A login by one of these methods (RFC 8176).")]
_Code = Annotated[str, msgspec.Meta(description="That of the link.")]


class Language(msgspec.Struct):
    """What every page takes in its query."""

    lang: _Language | UnsetType = UNSET


class LoginQuery(Language):
    """What the login takes in its query: where to go afterwards, and what the login has to be."""

    rd: _ReturnAddress | UnsetType = UNSET
    max_auth_age: _Seconds | UnsetType = UNSET
    amr: _Methods | UnsetType = UNSET


class LogoutQuery(Language):
    """What the logout takes in its query."""

    rd: _ReturnAddress | UnsetType = UNSET


class WelcomeQuery(Language):
    """What the page of an invitation takes in its query."""

    code: _Code | UnsetType = UNSET


def _page(
    name: str, summary: str, gives: dict[int, Answer], refuses: tuple[type[GatewayError], ...] = (), *,
    form: type | None = None, query: type = Language, is_open: bool = False, details: str = "",
) -> Operation:  # fmt: skip
    return Operation(
        name,
        PAGES,
        summary,
        gives,
        refuses,
        Takes(form, (FORM,)) if form else None,
        () if is_open else ("browserSession", OR_OTHERWISE),
        query,
        details,
        is_page=True,
    )


OPERATIONS: dict[str, Operation] = {
    "GET /auth/login": _page(
        "show_login",
        "Show the login",
        {200: SHOWN, 303: led_on("To `rd`, for who is signed in well enough.", "Set-Cookie")},
        VISITOR,
        query=LoginQuery,
        is_open=True,
    ),
    "POST /auth/login": _page(
        "log_in_by_form",
        "Log in by a form",
        {
            200: page_answer("A second factor is asked for, or the first one set up."),
            303: led_on("To `rd`, signed in.", "Set-Cookie", *RATE_HEADERS),
            422: page_answer("A field is empty."),
        },
        (
            MalformedRequest,
            InvalidCredentials,
            SecondFactorInvalid,
            CrossSiteRequest,
            RateLimited,
            StoreUnavailable,
            Overloaded,
        ),
        form=LoginForm,
        is_open=True,
        details="A form whose `Accept` names `text/html` is that of a person, who gets a page.",
    ),
    "GET /auth/logout": _page(
        "show_logout", "Show the button that logs out", {200: SHOWN}, query=LogoutQuery, is_open=True
    ),
    "POST /auth/logout": _page(
        "log_out_by_form",
        "Log out by a form",
        {303: led_on("To a safe `rd`, else to the login.", "Set-Cookie", "Clear-Site-Data")},
        SENDER,
        form=LogoutForm,
        is_open=True,
    ),
    "GET /": _page("lead_to_account", "Go to the account", {303: led_on("To the account.")}, is_open=True),
    "GET /.well-known/change-password": _page(
        "lead_to_change_of_password",
        "Go to where a password is changed",
        {303: led_on("To the account (W3C, A Well-Known URL for Changing Passwords).")},
        is_open=True,
    ),
    "GET /auth/account": _page("show_account", "Show who I am, and where I am signed in", SHOWN_OR_LOGIN, VISITOR),
    "POST /auth/account/sessions/end-others": _page(
        "end_other_sessions", "End all of my sessions but this one", {303: BACK_OR_LOGIN}, SENDER
    ),
    "POST /auth/account/sessions/{id}/end": _page(
        "end_chosen_session", "End one of my sessions", {303: BACK_OR_LOGIN}, SENDER
    ),
    "POST /auth/account/password": _page(
        "set_own_password",
        "Change my password",
        {303: BACK_OR_LOGIN, 422: page_answer("A field is empty.")},
        (*SENDER, UnsupportedMediaType, WrongCurrentPassword, PasswordRejected, RateLimited, Overloaded),
        form=PasswordForm,
    ),
    "GET /auth/account/factors/app": _page(
        "show_new_app", "Show a new secret for an authenticator app", SHOWN_OR_LOGIN, (*FACTORS, RateLimited)
    ),
    "POST /auth/account/factors/app": _page(
        "add_app",
        "Make the app a factor",
        {200: page_answer("Recovery codes, with the first factor."), 303: BACK_OR_LOGIN},
        NEW_FACTOR,
        form=AppForm,
    ),
    "GET /auth/account/factors/passkey": _page(
        "show_new_passkey", "Show the button that makes a passkey", SHOWN_OR_LOGIN, (*FACTORS, RateLimited)
    ),
    "POST /auth/account/factors/passkey": _page(
        "add_passkey_by_form",
        "Make a passkey a factor",
        {200: page_answer("Recovery codes, with the first factor."), 303: BACK_OR_LOGIN},
        NEW_FACTOR,
        form=PasskeyForm,
    ),
    "GET /auth/account/factors/recovery": _page(
        "show_recovery", "Show what recovery codes are good for", SHOWN_OR_LOGIN, FACTORS
    ),
    "POST /auth/account/factors/recovery": _page(
        "make_codes",
        "Make ten recovery codes",
        {200: page_answer("The codes, this once."), 303: BACK_OR_LOGIN},
        (*FACTOR_CHANGE, UnsupportedMediaType),
        form=RecoveryForm,
    ),
    "POST /auth/account/factors/recovery/file": _page(
        "save_codes",
        "Save recovery codes that were just shown",
        {
            200: Answer("They are in a file.", media_types=("text/plain",), headers=("Content-Disposition",)),
            303: BACK_OR_LOGIN,
        },
        (*FACTOR_CHANGE, UnsupportedMediaType),
        form=CodesForm,
    ),
    "GET /auth/account/factors/{id}": _page("show_factor", "Show one of my factors", SHOWN_OR_LOGIN, FACTORS),
    "POST /auth/account/factors/{id}/name": _page(
        "name_factor",
        "Give one of my factors another name",
        {303: BACK_OR_LOGIN},
        (*FACTOR_CHANGE, UnsupportedMediaType),
        form=NameForm,
    ),
    "POST /auth/account/factors/{id}/remove": _page(
        "remove_factor_by_form", "Take one of my factors away", {303: BACK_OR_LOGIN}, FACTOR_CHANGE
    ),
    "GET /auth/account/tokens": _page("show_new_token", "Show the form for a personal token", SHOWN_OR_LOGIN, VISITOR),
    "POST /auth/account/tokens": _page(
        "make_token_by_form",
        "Make a personal token",
        {200: page_answer("The token, this once."), 303: BACK_OR_LOGIN},
        (*SENDER, UnsupportedMediaType, RateLimited),
        form=TokenForm,
    ),
    "POST /auth/account/tokens/{id}/revoke": _page(
        "revoke_token_by_form", "Revoke one of my personal tokens", {303: BACK_OR_LOGIN}, SENDER
    ),
    "GET /auth/welcome": _page(
        "show_welcome",
        "Show who was invited the form for a password",
        {200: SHOWN},
        (InvitationSpent, StoreUnavailable),
        query=WelcomeQuery,
        is_open=True,
    ),
    "POST /auth/welcome": _page(
        "accept_invitation",
        "Set the first password, or another one",
        {
            200: page_answer("A second factor is asked for, or the first one set up."),
            303: led_on("To the account, signed in.", "Set-Cookie"),
        },
        (*BODY, CrossSiteRequest, InvitationSpent, PasswordRejected, RateLimited, StoreUnavailable, Overloaded),
        form=WelcomeForm,
        is_open=True,
    ),
    "GET /auth/static/{name}": Operation(
        "give_static_file",
        PAGES,
        "Read what the pages refer to",
        {
            200: Answer(
                "The file, for good: its name changes with it.",
                media_types=("text/css", "text/javascript", "image/svg+xml"),
            )
        },
        (NotFound,),
    ),
}
