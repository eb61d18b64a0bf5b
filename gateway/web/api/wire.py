"""Every body of the API that comes in or goes out. `expires_in` is in seconds; times are RFC 3339 in UTC."""

import msgspec

from gateway.web.http import SecretBody


class LoginRequest(SecretBody, frozen=True, forbid_unknown_fields=True):
    """
    Body of POST /auth/login; `delivery` is `cookie`, `body` or `session`, `device_token` what an earlier login gave,
    and `remember` whether a browser session outlives the browser.
    """

    username: str
    password: str
    delivery: str = "cookie"
    device_token: str | None = None
    remember: bool = False


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
    created_at: str


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
    created_at: str
    last_used_at: str
    expires_at: str
    ip: str
    device: str
    current: bool


class SessionsBody(msgspec.Struct, frozen=True):
    """Answer of GET /auth/sessions, newest first."""

    sessions: list[SessionBody]


class RevokedBody(msgspec.Struct, frozen=True):
    """Answer of /auth/logout-all."""

    revoked_sessions: int
