"""
The catalogue of security events: every one that there is, with its reasons, its outcome and what it tells of.

Names and reasons are a promise to who reads them with a program: they are added to and not changed. One file, since it
is one table.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

MEMBERS_OF_REQUESTS = ("address", "request_id", "trace_id", "span_id")


@dataclass(frozen=True, eq=False)
class Event:
    """
    A kind of event.

    Attributes:
        meaning: What has happened, in a sentence.
        successes: The reasons with which it succeeds and what each means; the empty one where the name says it all.
        failures: The reasons with which it fails, likewise.
        members: What it tells of: `sub` (or `account`, see `AuditTrail.tell`), `sid`, `token_id`, `kid`. What is told
            of a request besides is in `MEMBERS_OF_REQUESTS`.
    """

    name: str
    meaning: str
    successes: Mapping[str, str] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)
    members: tuple[str, ...] = ("sub",)

    def outcome(self, reason: str) -> str:
        """
        Give `success` or `failure`.

        Raises:
            ValueError: The event has no such reason.
        """
        if reason in self.successes:
            return "success"
        if reason in self.failures:
            return "failure"
        raise ValueError(f"{self.name} has no reason {reason!r}")

    def level(self, reason: str) -> int:
        """Give the level of its line: warning for a failure, else info."""
        return logging.WARNING if self.outcome(reason) == "failure" else logging.INFO


LOGIN_SUCCEEDED = Event(
    "login_succeeded",
    "A session was opened.",
    successes={
        "": "by e-mail address and password",
        "totp": "by a password, and a code of an authenticator app",
        "recovery": "by a password, and a recovery code",
        "passkey": "by a passkey, after a password or without",
        "invitation": "by the link of `users invite` or `users reset`, with the password that was set there",
    },
    members=("sub", "sid"),
)
LOGIN_FAILED = Event(
    "login_failed",
    "A password was looked at, and no session was opened.",
    failures={
        "wrong-password": "the password is not that of the user",
        "unknown-user": "nobody has this e-mail address",
        "user-disabled": "the password is right, the user is disabled",
        "user-changed": "the password was right, and meanwhile the user got another one, was disabled or removed",
    },
)
SECOND_FACTOR_FAILED = Event(
    "second_factor_failed",
    "A second factor was shown, or was to be set up, and was not valid; what each reason means is in its verdict.",
    failures={
        "wrong-code": "the code is none that the user has now",
        "spent": "the code, or a later one, was used before",
        "gone": "the factor was taken away at this moment",
        "off": "second factors are off",
        "pending-over": "the login that it should complete is over, was completed, or was for something else",
        "enrolment-over": "there is no such secret to confirm any more",
        "not-first": "the user has a factor by now, which has to be shown before another one is set up",
        "known-already": "the user has this very passkey already",
        "user-disabled": "the user of the passkey is disabled, or was removed",
        "user-changed": "it was right, and meanwhile it was taken away, or the user got another password",
        "counter-went-back": "a passkey was right, but its counter went back: it may have been copied; it was let in",
        "unknown-credential": "the user does not have this passkey",
        "user-handle": "the passkey is of another user",
        "challenge": "the passkey was used for another request, or one that is over",
        "origin": "the passkey was used on a page of another origin",
        "cross-origin": "the passkey was used within a frame of another site",
        "rp-id": "the passkey is for another domain",
        "ceremony": "a passkey was made where one had to be shown, or the other way round",
        "user-presence": "nobody has touched the authenticator",
        "user-verification": "the authenticator has not verified its user",
        "signature": "the passkey has not signed what it should have",
        "algorithm": "the key has an algorithm that was not asked for",
        "credential-id": "the passkey is not the one that it is said to be",
        "backup-eligibility": "the passkey says of itself what it did not say before",
        "backup-state": "the passkey contradicts itself",
        "malformed": "it is not what WebAuthn gives",
    },
)
REFRESH_TOKEN_REUSED = Event(
    "refresh_token_reused",
    "A refresh token came that had been used up: somebody has a copy of it. Its session was ended.",
    failures={"": "always"},
    members=("sub", "sid"),
)
LOGOUT = Event(
    "logout",
    "Somebody ended the session that the request came with.",
    successes={
        "": "the session was there",
        "already-over": "Redis did not have it any more; access tokens that may be left of it were revoked",
    },
    members=("sub", "sid"),
)
SESSIONS_REVOKED = Event(
    "sessions_revoked",
    "One session (`sid`) or several of a user were ended otherwise; one event for all that one deed ended.",
    successes={
        "": "the user ended one, `sid`",
        "others": "the user ended all but the one that the request came with, `sid`",
        "logout-all": "the user ended all, with the one that the request came with, `sid`",
        "replaced": "a login came with the cookie of this one, `sid`, which the new one takes the place of",
        "too-many": "one more than `max_sessions_per_user` was opened: the least recently used one, `sid`, gave way",
        "by-command": "`gateway sessions revoke` ended one, `sid`",
        "all-by-command": "`gateway sessions revoke --all`",
    },
    members=("sub", "sid"),
)
PASSWORD_CHANGED = Event(
    "password_changed",
    "A password was set, and all sessions of the user ended but the one that it was changed in, `sid`.",
    successes={
        "": "the user changed it, knowing the old one",
        "invitation": "by the link of `users invite` or `users reset`",
        "set-by-command": "`gateway users set-password`",
    },
    failures={
        "wrong-password": "the old one was wrong",
        "user-changed": "the old one was right, and meanwhile the user got another one, or was removed",
    },
    members=("sub", "sid"),
)
USER_ADDED = Event(
    "user_added",
    "A user was added with a password.",
    successes={
        "": "`gateway users add`",
        "imported": "`gateway users import`, one event for each user",
        "doctor": "`gateway doctor`, for as long as it looks",
    },
)
USER_CHANGED = Event(
    "user_changed",
    "A user was changed.",
    successes={
        "disabled": "`gateway users disable`; all sessions were ended",
        "enabled": "`gateway users enable`",
        "unlocked": "`gateway users unlock`, and there were failures to forget",
        "roles": "`gateway users roles`",
    },
)
USER_REMOVED = Event(
    "user_removed",
    "A user was removed, and all sessions of the user ended.",
    successes={"": "`gateway users remove`", "doctor": "`gateway doctor`, of its own user"},
)
USER_INVITED = Event(
    "user_invited",
    "A link was made with which a person sets a password.",
    successes={
        "": "`gateway users invite`, which also added the user, without a password",
        "reset": "`gateway users reset`",
    },
)
FACTOR_ADDED = Event(
    "factor_added",
    "A second factor was set up, in the session `sid`, or to complete a login.",
    successes={
        "totp": "an authenticator app",
        "passkey": "a passkey",
        "recovery": "ten recovery codes, in the place of those from before",
    },
    members=("sub", "sid"),
)
FACTOR_REMOVED = Event(
    "factor_removed",
    "A second factor was taken away.",
    successes={
        "": "the user removed one, in the session `sid`",
        "reset": "`gateway users factors --reset` removed all, and ended all sessions",
    },
    members=("sub", "sid"),
)
TOKEN_CREATED = Event(
    "token_created",
    "A personal token was made, in the session `sid`, or by a command.",
    successes={"": "its owner made it", "by-command": "`gateway tokens create`"},
    members=("sub", "sid", "token_id"),
)
TOKEN_REVOKED = Event(
    "token_revoked",
    "A personal token was revoked, in the session `sid`, or by a command.",
    successes={"": "its owner revoked it", "by-command": "`gateway tokens revoke`"},
    members=("sub", "sid", "token_id"),
)
CLIENT_ADDED = Event(
    "client_added",
    "A machine client, `sub`, was added.",
    successes={"": "`gateway clients add`"},
)
CLIENT_CHANGED = Event(
    "client_changed",
    "What a machine client, `sub`, authenticates with was changed.",
    successes={
        "secret": "`gateway clients new-secret`: it has another secret, and the one before is good still",
        "secret-ended": "`gateway clients new-secret --revoke-old`: the one before is good no longer",
        "keys": "`gateway clients set-key`: it has other public keys",
    },
)
CLIENT_REMOVED = Event(
    "client_removed",
    "A machine client, `sub`, was removed, and every access token that was issued to it revoked.",
    successes={"": "`gateway clients remove`"},
)
KEY_ROTATED = Event(
    "key_rotated",
    "Another key, `kid`, signs from now on.",
    successes={
        "first": "the first one, of a keyring that was empty",
        "due": "a gateway did it by itself, after `key_rotation_days`",
        "by-command": "`gateway keys rotate`",
        "forced": "`gateway keys rotate --force`",
        "compromised": "`gateway keys rotate --compromised`: the former current and next keys are good for nothing",
    },
    members=("kid",),
)
KEY_IMPORTED = Event(
    "key_imported",
    "`gateway keys import` brought in a key, `kid`: it is the next one, or signs at once on an empty keyring.",
    successes={"": "always"},
    members=("kid",),
)
RATE_LIMITED = Event(
    "rate_limited",
    "An attempt was refused before anything was looked at. The stream gets one a second of these, the log all.",
    failures={
        "login": "`login_limit` of the address, at a login or an invitation",
        "refresh": "`refresh_limit` of the address",
        "change-password": "`login_limit` of the address, at a change of password",
        "second-factor": "`login_limit` of the address, at the second step of a login",
        "passkey": "`login_limit` of the address, at the beginning of a login by a passkey alone",
        "factors": "`login_limit` of the address, where a second factor is begun to be set up",
        "tokens": "`login_limit` of the address, where a personal token is made",
        "oauth": "`refresh_limit` of the address, where clients authenticate",
        "oauth-client": "`refresh_limit` of a machine client, at /oauth/token",
        "account": "too many wrong passwords, or codes, for the account: `account_throttle`",
    },
)

EVENTS = (
    LOGIN_SUCCEEDED,
    LOGIN_FAILED,
    SECOND_FACTOR_FAILED,
    REFRESH_TOKEN_REUSED,
    LOGOUT,
    SESSIONS_REVOKED,
    PASSWORD_CHANGED,
    USER_ADDED,
    USER_CHANGED,
    USER_REMOVED,
    USER_INVITED,
    FACTOR_ADDED,
    FACTOR_REMOVED,
    TOKEN_CREATED,
    TOKEN_REVOKED,
    CLIENT_ADDED,
    CLIENT_CHANGED,
    CLIENT_REMOVED,
    KEY_ROTATED,
    KEY_IMPORTED,
    RATE_LIMITED,
)
