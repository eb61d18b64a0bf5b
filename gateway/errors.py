"""
Everything that can go wrong, one type for each thing that a caller or an operator treats differently.

The leaves of `GatewayError` are the table of problems in the HTTP contract: each carries its `status`, `slug`
and `title`. The message of an instance is for the log and for the `detail` of answers below 500; its `cause`, a word
that says which of the things that its slug stands for has happened, and its `facts` are for the line of the request in
the log alone (`gateway.telemetry.verdicts` has words and a mend for each cause). None of them ever holds a token, a
password or a key. The leaves of `CommandError` end a command with their `exit_status`.

One file, since it is one table.
"""

from typing import ClassVar


class GatewayError(Exception):
    """An answer that is not a success (RFC 9457: `type`, `title`, `status`, `detail`)."""

    status: ClassVar[int]
    slug: ClassVar[str]
    title: ClassVar[str]
    cause: str = ""

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.facts: dict[str, str] = {}


class MalformedRequest(GatewayError):
    """
    Not HTTP, not JSON, wrong types, unknown or duplicate members, two tokens at once, a token in the query.

    Args:
        cause: Which of these in a word, or what the parser says, for the log alone.
    """

    status, slug, title = 400, "malformed-request", "The request cannot be understood"

    def __init__(self, detail: str = "", cause: str = "") -> None:
        super().__init__(detail)
        self.cause = cause


class CookieSentTwice(MalformedRequest):
    """A cookie of ours came twice. A sibling subdomain can plant a second one, so neither is believed."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail, "cookie-sent-twice")


class InvalidCredentials(GatewayError):
    """
    Unknown user, wrong password or disabled user at login: the same answer for all three.

    Args:
        cause: Which of these, for the log alone.
    """

    status, slug, title = 401, "invalid-credentials", "The e-mail address or the password is wrong"

    def __init__(self, cause: str = "wrong-password") -> None:
        super().__init__()
        self.cause = cause


class WrongCurrentPassword(GatewayError):
    """The current password given to change-password is not the user's."""

    status, slug, title = 403, "invalid-credentials", "The current password is wrong"
    cause = "wrong-current-password"


class AccessTokenMissing(GatewayError):
    """No access token was sent."""

    status, slug, title = 401, "access-token-missing", "An access token is needed"


class AccessTokenInvalid(GatewayError):
    """
    The access token is malformed, forged, expired or revoked.

    Args:
        cause: Why, in a word, for the log alone.
        facts: What else the log should tell of it.
    """

    status, slug, title = 401, "access-token-invalid", "The access token is not valid"

    def __init__(self, cause: str, **facts: str) -> None:
        super().__init__()
        self.cause = cause
        self.facts = facts


class BrowserSessionEnded(AccessTokenInvalid):
    """
    The session of a browser's cookie is revoked, over, or nobody's.

    Args:
        cause: Which of these, in a word, for the log alone.
        unannounced: Families that this look found ended without their revocation having been announced.
    """

    def __init__(self, cause: str, unannounced: tuple[str, ...] = ()) -> None:
        super().__init__(f"session-{cause}")
        self.unannounced = unannounced


class PersonalTokenInvalid(AccessTokenInvalid):
    """
    The personal token is malformed, forged, revoked, over, or nobody's.

    Args:
        cause: Which of these, in a word, for the log alone.
        is_unannounced: Whether this look found it revoked without its revocation having been announced, maybe.
        facts: What else the log should tell of it.
    """

    def __init__(self, cause: str, *, is_unannounced: bool = False, **facts: str) -> None:
        super().__init__(f"personal-token-{cause}", **facts)
        self.is_unannounced = is_unannounced


class AuthenticationTooWeak(GatewayError):
    """
    Who asks is known, but the login behind it is not good enough for what is asked: a new login helps.

    Args:
        max_age_seconds: How long ago the login may be at most (RFC 9470 section 3); None where that is not the matter.
        amr: What of `amr=` is not met: of each group one method (RFC 8176).
    """

    status, slug, title = 401, "authentication-too-weak", "A new login is needed"

    def __init__(self, max_age_seconds: int | None, amr: tuple[tuple[str, ...], ...] = ()) -> None:
        asked = [] if max_age_seconds is None else [f"it must not be older than {max_age_seconds} s"]
        asked += [f"made with {' or '.join(methods)}" for methods in amr]
        super().__init__(f"A new login is needed: {', '.join(asked)}")
        self.max_age_seconds = max_age_seconds
        self.amr = amr
        unmet = [] if max_age_seconds is None else [f"max_auth_age={max_age_seconds}"]
        unmet += [f"amr={','.join(methods)}" for methods in amr]
        self.facts = {"requirement": "&".join(unmet)}
        self.cause = "too-old" if max_age_seconds is not None else "method-missing"


class SecondFactorRequired(GatewayError):
    """
    The password is right, and the user has a second factor, or has to set one up.

    Args:
        methods: What can be shown, of `passkey`, `totp` and `recovery`; none where one has to be set up.
        pending: The text with which the login goes on.
        public_key: The options for a passkey (WebAuthn), if the user has one.
    """

    status, slug, title = 401, "second-factor-required", "A second factor is needed"

    def __init__(self, methods: tuple[str, ...], pending: str, public_key: dict[str, object] | None = None) -> None:
        super().__init__()
        self.methods = methods
        self.pending = pending
        self.public_key = public_key


class SecondFactorInvalid(GatewayError):
    """
    The second factor is wrong, or was used before, or the login that it should complete is over.

    Args:
        cause: Which of these, in a word, for the log alone.
    """

    status, slug, title = 401, "second-factor-invalid", "The second factor is not valid"

    def __init__(self, cause: str) -> None:
        super().__init__()
        self.cause = cause


class RefreshTokenMissing(GatewayError):
    """No refresh token was sent."""

    status, slug, title = 401, "refresh-token-missing", "A refresh token is needed"


class RefreshTokenInvalid(GatewayError):
    """
    The refresh token is malformed, forged, unknown, expired or revoked.

    Args:
        cause: Which of these, in a word, for the log alone.
        unannounced: Families that this call found ended without their revocation having been announced.
    """

    status, slug, title = 401, "refresh-token-invalid", "The refresh token is not valid"

    def __init__(self, cause: str, unannounced: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.cause = cause
        self.unannounced = unannounced


class RefreshTokenReused(GatewayError):
    """A superseded refresh token was used again; its family is ended (RFC 9700 section 4.14.2)."""

    status, slug, title = 401, "refresh-token-reused", "The refresh token was used before; the session has ended"
    cause = "reused"

    def __init__(self, user_id: str, family_id: str) -> None:
        super().__init__()
        self.user_id = user_id
        self.family_id = family_id


class InsufficientRole(GatewayError):
    """
    A requirement of the subrequest is not met.

    Args:
        cause: Why, of `role-missing`, `audience-unknown`, `requirement-unreadable` and `fragment-in-url`.
        requirement: Which, as the query says it, for the log alone.
    """

    status, slug, title = 403, "insufficient-role", "The user may not do this"

    def __init__(self, cause: str, detail: str = "", requirement: str = "") -> None:
        super().__init__(detail)
        self.cause = cause
        self.facts = {"requirement": requirement} if requirement else {}


class CrossSiteRequest(GatewayError):
    """
    A browser sent the request from a site that is not allowed to.

    Args:
        origin: What it said of that site, for the log alone.
    """

    status, slug, title = 403, "cross-site-request", "The request comes from another site"

    def __init__(self, origin: str) -> None:
        super().__init__()
        self.facts = {"origin": origin, "mend": "if this site is yours, put it into allowed_origins"}


class NotFound(GatewayError):
    """There is nothing under this path, or no such session."""

    status, slug, title = 404, "not-found", "There is nothing here"


class InvitationSpent(GatewayError):
    """The code of an invitation or a reset is unknown, used or over, or its user is not the same any more."""

    status, slug, title = 404, "invitation-spent", "The link is not good any more"


class MethodNotAllowed(GatewayError):
    """
    The path does not have this method.

    Args:
        allow: The value of the `Allow` header (RFC 9110 section 10.2.1).
    """

    status, slug, title = 405, "method-not-allowed", "The method is not allowed here"

    def __init__(self, allow: str) -> None:
        super().__init__(f"Allowed: {allow}")
        self.allow = allow


class PayloadTooLarge(GatewayError):
    """The request body is larger than the cap."""

    status, slug, title = 413, "payload-too-large", "The request body is too large"


class HeadersTooLarge(GatewayError):
    """
    The head of the request is larger than the cap, or has too many fields.

    Args:
        cause: The largest field, by name and size, for the log alone.
    """

    status, slug, title = 431, "headers-too-large", "The headers of the request are too large"

    def __init__(self, detail: str, cause: str) -> None:
        super().__init__(detail)
        self.cause = cause


class SubrequestHeadersTooLarge(HeadersTooLarge):
    """The same of a subrequest: a proxy knows 401 and 403 alone."""

    status = 403


class UnsupportedMediaType(GatewayError):
    """The body is neither JSON nor, where that is taken, an urlencoded form."""

    status, slug, title = 415, "unsupported-media-type", "The body has a type that is not taken here"


class PasswordRejected(GatewayError):
    """
    The new password breaks one or more rules.

    Args:
        reasons: All that apply of `too_short`, `too_long`, `common`, `contains_email`, `unchanged`.
    """

    status, slug, title = 422, "password-rejected", "The new password is not acceptable"

    def __init__(self, reasons: tuple[str, ...]) -> None:
        super().__init__(", ".join(reasons))
        self.reasons = reasons
        self.cause = reasons[0]


class OAuthError(GatewayError):
    """
    What an endpoint under /oauth/ refuses, in the words of RFC 6749 section 5.2: its answer is no problem document.

    Args:
        detail: Value of `error_description`: printable ASCII without quotation marks and backslashes.
        cause: Why, in a word, for the log alone.

    Attributes:
        code: Value of `error`.
    """

    status = 400
    code: ClassVar[str] = "invalid_request"
    slug, title = "invalid-request", "The request cannot be understood"

    def __init__(self, detail: str = "", cause: str = "") -> None:
        super().__init__(detail)
        self.cause = cause


class InvalidOAuthRequest(OAuthError):
    """A parameter is missing, comes twice, or contradicts another one; or there are two client authentications."""


class InvalidClient(OAuthError):
    """
    Who asks is no client, or has not shown that it is: unknown, wrong secret or assertion, or removed.

    Args:
        cause: Which of these in a word, for the log alone.
        detail: What is wrong with an assertion. Without it the answer is the same for all.
        unfinished: A client that was found removed without all of it having been announced: its id, and the revocation
            of what was issued to it.

    Attributes:
        is_challenged: Whether the answer says that Basic is taken: to who tried that, or nothing at all. Who sent
            something in the form reads the body, and some clients do not when there is a challenge.
    """

    status = 401
    slug, code, title = "invalid-client", "invalid_client", "The client could not be authenticated"

    def __init__(self, cause: str, detail: str = "", *, unfinished: tuple[str, str] | None = None) -> None:
        super().__init__(detail, cause)
        self.unfinished = unfinished
        self.is_challenged = True


class InvalidGrant(OAuthError):
    """The token that is to be revoked was issued to somebody else (RFC 7009 section 2.1)."""

    slug, code, title = "invalid-grant", "invalid_grant", "The token was not issued to this client"


class UnsupportedGrantType(OAuthError):
    """There is no such way to a token here."""

    slug, code = "unsupported-grant-type", "unsupported_grant_type"
    title = "The only grant_type here is client_credentials"


class UnsupportedTokenType(OAuthError):
    """A client may not revoke tokens of this kind (RFC 7009 section 2.2.1)."""

    slug, code = "unsupported-token-type", "unsupported_token_type"
    title = "Only access tokens can be revoked here"


class InvalidScope(OAuthError):
    """The scope is none, or more than, the roles of the client."""

    slug, code, title = "invalid-scope", "invalid_scope", "The client does not have the roles that scope names"


class InvalidTarget(OAuthError):
    """The audience or resource is none of the client's (RFC 8707 section 2)."""

    slug, code, title = "invalid-target", "invalid_target", "The client gets no tokens for this audience"


class RateLimited(GatewayError):
    """
    Too many attempts; one more will be heard in `retry_after_seconds`.

    Args:
        retry_after_seconds: At least 1.
        policy: Value of `RateLimit-Policy`, empty where the limit has no public policy.
        state: Value of `RateLimit`, empty likewise.

    Attributes:
        limit: Its name, `account` where it has no public policy; the cause, too.
    """

    status, slug, title = 429, "rate-limited", "Too many attempts"

    def __init__(self, retry_after_seconds: int, policy: str = "", state: str = "") -> None:
        super().__init__(f"Try again in {retry_after_seconds} s")
        self.retry_after_seconds = retry_after_seconds
        self.cause = self.limit = policy.partition(";")[0].strip('"') or "account"
        self.policy = policy
        self.state = state


class InternalError(GatewayError):
    """What should not have happened; the answer tells nothing of it, the log has the traceback."""

    status, slug, title = 500, "internal-error", "Something went wrong here"


class Unavailable(GatewayError):
    """It is our fault and it will pass: the caller should try again in `retry_after_seconds`."""

    status, slug, title = 503, "store-unavailable", "The service cannot do this right now"
    retry_after_seconds: int = 1


class StoreUnavailable(Unavailable):
    """
    Redis is away, full, read-only, loading, or answers with an error.

    Args:
        cause: Why, in a word, for the log alone.
    """

    def __init__(self, cause: str = "") -> None:
        super().__init__()
        self.cause = cause


class SessionUnseen(StoreUnavailable):
    """Only Redis could tell whether this browser session lives, or this personal token is good."""


class Overloaded(Unavailable):
    """
    More passwords are waiting to be hashed than can be in good time.

    Args:
        retry_after_seconds: Not the same for all of a crowd, so that it does not come back at one moment.
        cause: `hashing`, or `account` where the logins of one account alone are too many.
    """

    slug, title = "overloaded", "Too many logins at once"

    def __init__(self, retry_after_seconds: int, cause: str = "hashing") -> None:
        super().__init__()
        self.retry_after_seconds = retry_after_seconds
        self.cause = cause


class TooManyConnections(Unavailable):
    """This process, or this address with it, has as many connections open as it may."""

    slug, title = "overloaded", "Too many connections"
    cause = "connections"


class NotReady(Unavailable):
    """
    This process should get no traffic yet.

    Args:
        failing: The parts that fail, of `redis`, `keyring`, `revocations`.
    """

    slug, title = "not-ready", "Not ready"

    def __init__(self, failing: tuple[str, ...]) -> None:
        super().__init__(", ".join(failing))
        self.failing = failing
        self.cause = failing[0]


class CommandError(Exception):
    """A command cannot do what it was asked; the message is one line and says how to mend it."""

    exit_status: ClassVar[int] = 1


class StartupError(CommandError):
    """Settings, Redis or keys are not fit to start with."""

    exit_status = 3
