"""Every body of the API that comes in or goes out. `expires_in` is in seconds; times are RFC 3339 in UTC."""

from typing import Annotated, Literal

import msgspec

from gateway.accounts import Assertion, NewCredential
from gateway.machines import DEFAULT_DAYS, MAX_DAYS
from gateway.web.http import SecretBody

Moment = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]
FactorKind = Annotated[str, msgspec.Meta(extra_json_schema={"enum": ["totp", "passkey", "recovery"]})]


class LoginRequest(SecretBody, frozen=True, forbid_unknown_fields=True):
    """
    Body of POST /auth/login, either step: `username` and `password`, or `pending` and one of `totp`, `recovery` and
    `passkey` (`AuthenticationResponseJSON`).

    `delivery` is `cookie`, `body` or `session`, `device_token` what an earlier login gave, and `remember` whether a
    browser session outlives the browser: those of the first step count, and with a passkey alone there is only one.
    """

    username: str | None = None
    password: str | None = None
    delivery: Literal["cookie", "body", "session"] = "cookie"
    device_token: str | None = None
    remember: bool = False
    pending: str | None = None
    totp: str | None = None
    recovery: str | None = None
    passkey: Assertion | None = None


class NoMembers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of what takes none: nothing at all, or an empty object."""


class PendingMember(SecretBody, frozen=True):
    """What says of the next bodies that they take no login; all else of them is let through unread."""

    pending: str | None = None


class EnrolmentRequest(SecretBody, frozen=True, forbid_unknown_fields=True):
    """
    Body of POST /auth/factors/totp and /auth/factors/passkeys/options; `pending` takes the place of a login where
    POST /auth/login has asked for a first factor.
    """

    pending: str | None = None


class ConfirmTotpRequest(SecretBody, frozen=True, forbid_unknown_fields=True):
    """Body of POST /auth/factors/totp/confirm; `pending` likewise."""

    id: str
    code: str
    name: str = ""
    pending: str | None = None


class AddPasskeyRequest(SecretBody, frozen=True, forbid_unknown_fields=True):
    """Body of POST /auth/factors/passkeys: `RegistrationResponseJSON`; `pending` likewise."""

    credential: NewCredential
    name: str = ""
    pending: str | None = None


class RefreshRequest(SecretBody, frozen=True, forbid_unknown_fields=True):
    """Body of POST /auth/refresh and /auth/logout, where the token does not come as a cookie."""

    refresh_token: str | None = None


class ChangePasswordRequest(SecretBody, frozen=True, forbid_unknown_fields=True):
    """Body of POST /auth/change-password."""

    current_password: str
    new_password: str


class UserBody(msgspec.Struct, frozen=True):
    """A user as shown to himself."""

    id: str
    email: str
    full_name: str
    roles: tuple[str, ...]
    is_active: bool
    created_at: Moment


class TokenBody(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    Answer of /auth/login and /auth/refresh; `refresh_token`, and at a login `device_token`, only where they are
    delivered in the body.
    """

    access_token: str
    token_type: str = msgspec.field(default_factory=lambda: "Bearer")
    expires_in: int
    user: UserBody | None = None
    refresh_token: str | None = None
    device_token: str | None = None


class UserAnswer(msgspec.Struct, frozen=True):
    """Answer of /auth/login with `delivery` = `session`: the session is in the cookie."""

    user: UserBody


class SessionBody(msgspec.Struct, frozen=True):
    """One row of GET /auth/sessions."""

    id: str
    created_at: Moment
    last_used_at: Moment
    expires_at: Moment
    ip: str
    device: str
    amr: tuple[str, ...]
    current: bool


class SessionsBody(msgspec.Struct, frozen=True):
    """Answer of GET /auth/sessions, newest first."""

    sessions: list[SessionBody]


class FactorBody(msgspec.Struct, frozen=True, kw_only=True):
    """
    One row of GET /auth/factors, and the answer to a factor that was set up. `kind` is `totp`, `passkey` or
    `recovery`, `last_used_at` null for never; only recovery codes have `left`.
    """

    id: str
    kind: FactorKind
    name: str
    created_at: Moment
    last_used_at: Moment | None
    left: int | msgspec.UnsetType = msgspec.UNSET


class FactorsBody(msgspec.Struct, frozen=True):
    """Answer of GET /auth/factors, the oldest first."""

    factors: list[FactorBody]


class NewTotpBody(SecretBody, frozen=True):
    """Answer of POST /auth/factors/totp: what an authenticator app is given."""

    id: str
    secret: str
    otpauth_uri: str


class PasskeyOptions(msgspec.Struct, frozen=True, omit_defaults=True):
    """Answer with the options for a passkey; `pending` where a login is to be completed with it."""

    public_key: dict[str, object] = msgspec.field(name="publicKey")
    pending: str | None = None


class RecoveryCodesBody(SecretBody, frozen=True):
    """Answer of POST /auth/factors/recovery."""

    codes: tuple[str, ...]


class NewPersonalTokenRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST /auth/tokens; without `roles` all that the owner has, `days` from now until it ends."""

    name: Annotated[str, msgspec.Meta(extra_json_schema={"minLength": 1})]
    roles: tuple[str, ...] | None = None
    days: Annotated[int, msgspec.Meta(ge=1, le=MAX_DAYS)] = DEFAULT_DAYS


class PersonalTokenBody(msgspec.Struct, frozen=True):
    """One row of GET /auth/tokens. `roles` are those that it gives now, `last_used_at` is null for never."""

    id: str
    name: str
    roles: tuple[str, ...]
    created_at: Moment
    expires_at: Moment
    last_used_at: Moment | None


class NewPersonalTokenBody(SecretBody, frozen=True):
    """Answer of POST /auth/tokens: the same, and the token, this once."""

    id: str
    token: str
    name: str
    roles: tuple[str, ...]
    created_at: Moment
    expires_at: Moment
    last_used_at: Moment | None


class PersonalTokensBody(msgspec.Struct, frozen=True):
    """Answer of GET /auth/tokens, newest first."""

    tokens: list[PersonalTokenBody]


class RevokedBody(msgspec.Struct, frozen=True):
    """Answer of /auth/logout-all."""

    revoked_sessions: int
