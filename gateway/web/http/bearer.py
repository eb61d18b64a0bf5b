"""
Who asks: by an access token, found, verified, and looked up among the revoked; by a personal token, where one is taken;
or by the cookie of a session.
"""

import base64
import binascii
from contextlib import suppress

from starlette.types import Scope

from gateway.errors import (
    AccessTokenInvalid,
    AccessTokenMissing,
    BrowserSessionEnded,
    CrossSiteRequest,
    GatewayError,
    MalformedRequest,
    PersonalTokenInvalid,
    StoreUnavailable,
)
from gateway.machines import PERSONAL_TOKEN_PREFIX, PersonalToken
from gateway.sessions import BY_PERSONAL_TOKEN, Presence, SessionCookie
from gateway.settings import Settings
from gateway.state import Gateway, GatewayRequest
from gateway.tokens import Known, RawHeaders
from gateway.verifier import AccessClaims, AccessTokenError, ClaimsRejected, ExpiredToken, presented
from gateway.web.http.cookies import cookie_in, session_cookie_name
from gateway.web.http.cross_site import refuse_cross_site

MIN_BASIC_CHARACTERS = 128  # a colon and 96 characters are more in base64
SAFE_METHODS = ("GET", "HEAD")
Caller = AccessClaims | Presence
"""Who asks: both have `sub`, `sid`, `auth_time`, `amr`, `roles`, `email` and `name`."""

_CAUSES_BY_CLAIM = {"iss": "wrong_issuer", "aud": "wrong_audience", "iat": "not_yet_valid", "nbf": "not_yet_valid"}
TOKENS_IN_QUERY = ("access_token", "refresh_token", "token")


def find_credentials(scope: Scope, gateway: Gateway) -> tuple[SessionCookie | None, tuple[str, bool] | None]:
    """
    Give what the session cookie says, None without one of ours; and the access token, or the personal token, and
    whether it came as a cookie, None without one.

    A personal token comes as `Bearer`, or as the password of `Basic` with any name (RFC 7617): other names and
    passwords are the application's own. It begins with `PERSONAL_TOKEN_PREFIX`, and is none as a cookie.

    Raises:
        MalformedRequest: There are two tokens, or a cookie was sent twice.
    """
    authorizations, cookies = _credentials(scope)
    session = _session_in(cookies, gateway) if cookies else None
    try:
        return session, presented.access_token_in(
            authorizations,
            cookies,
            is_https=gateway.settings.is_https,
            password_of=_personal_token_as_password,
        )
    except presented.SentTwice as error:
        raise MalformedRequest(str(error), "token-sent-twice") from error


def _credentials(scope: Scope) -> tuple[list[bytes], list[bytes]]:
    fields = scope.get("gateway.fields")
    if fields is None:
        return presented.credentials(scope["headers"])
    authorization, cookie = fields.get(b"authorization"), fields.get(b"cookie")
    return [] if authorization is None else [authorization], [] if cookie is None else [cookie]


def _personal_token_as_password(credentials: bytes) -> str | None:
    if len(credentials) < MIN_BASIC_CHARACTERS:
        return None
    try:
        password = base64.b64decode(credentials.strip(b" "), validate=True).partition(b":")[2].decode("latin-1")
    except binascii.Error:
        return None
    return password if password.startswith(PERSONAL_TOKEN_PREFIX) else None


def verify(token: str, gateway: Gateway, now: int, audience: str | None = None) -> AccessClaims:
    """
    Verify a token from memory: signature, times, issuer, audience, and whether its session was revoked.

    Args:
        audience: One of `Gateway.verified_by_audience`, if not that of logins.

    Raises:
        AccessTokenInvalid: It does not hold.
        StoreUnavailable: This process has no keys yet, has never read which sessions were revoked, or has not heard of
            them for longer than `revocation_max_lag_seconds`.
    """
    revocations = gateway.revocations
    if not revocations.may_be_asked:
        raise StoreUnavailable("revocations-stale" if revocations.was_read else "revocations-unread")
    try:
        verified = gateway.verified_tokens if audience is None else gateway.verified_by_audience[audience]
        claims = verified.verify(token, gateway.keyring.keys.verification, now=now)
    except AccessTokenError as error:
        raise AccessTokenInvalid(_cause(error), **_facts(error, gateway.settings)) from error
    if _has_ended(claims, gateway):
        raise AccessTokenInvalid("revoked", sub=claims.sub)
    return claims


def find_known(scope: Scope, gateway: Gateway, now: int) -> Known | None:
    """Give what is known of an `Authorization` that was good before and is still; None where it has to be read."""
    fields = scope.get("gateway.fields")
    if fields is None or b"cookie" in fields:
        return None
    known = gateway.known_credentials.find(fields.get(b"authorization", b""), gateway.keyring.keys.verification, now)
    if known is None or not gateway.revocations.may_be_asked or _has_ended(known.claims, gateway):
        return None
    return known


def note_known(scope: Scope, gateway: Gateway, claims: AccessClaims, lines: bytes) -> None:
    """Know the `Authorization` of a request from now on, where nothing else came with it that says who asks."""
    fields = scope.get("gateway.fields")
    if fields is not None and b"cookie" not in fields:
        gateway.known_credentials.remember(fields[b"authorization"], claims, lines)


def _has_ended(claims: AccessClaims, gateway: Gateway) -> bool:
    # Without a login, as what was made for a personal token, it counts from when it was made.
    since = claims.auth_time or claims.iat
    return gateway.revocations.has_ended(claims.sub, claims.sid, since, claims.jti)


def _cause(error: AccessTokenError) -> str:
    return _CAUSES_BY_CLAIM.get(error.claim, error.code) if isinstance(error, ClaimsRejected) else error.code


def _facts(error: AccessTokenError, settings: Settings) -> dict[str, str]:
    """What the log tells of a token that was refused: why, and what a claim says that ought to say something else."""
    facts = {"reason": str(error)}
    if isinstance(error, ExpiredToken):
        facts["sub"] = error.sub
    if isinstance(error, ClaimsRejected) and error.value:
        facts["value"] = str(error.value)
        if setting := {"iss": "issuer", "aud": "audience"}.get(error.claim):
            facts["mend"] = f"the setting {setting} is {getattr(settings, setting)} here"
        else:
            facts["mend"] = "set the clocks of the gateways by NTP"
    return facts


def refuse_token_in_query(request: GatewayRequest) -> None:
    """Raise `MalformedRequest` when a token is in the query string, where logs and histories keep it."""
    if request.scope["query_string"] and any(name in request.query_params for name in TOKENS_IN_QUERY):
        raise MalformedRequest("A token does not belong in the query string", "token-in-query")


def find_session(headers: RawHeaders, gateway: Gateway) -> SessionCookie | None:
    """
    Give what the session cookie says; None without one of ours.

    Raises:
        MalformedRequest: It was sent twice.
    """
    return _session_in(presented.credentials(headers)[1], gateway)


def _session_in(cookies: list[bytes], gateway: Gateway) -> SessionCookie | None:
    text = cookie_in(cookies, session_cookie_name(gateway.settings))
    return gateway.presences.parse(text) if text is not None else None


async def require_caller(request: GatewayRequest, *, takes_personal_tokens: bool = False) -> Caller:
    """
    Give the person who asks: by an access token, or without one by a browser session. With a cookie and an unsafe
    method, the request must come from where it may.

    The access token of a machine client, or one that was made for a personal token, is not that of a person. A personal
    token is not one either, but where *takes_personal_tokens* says so: what scripts hold does not change accounts.

    Raises:
        AccessTokenMissing, AccessTokenInvalid, MalformedRequest, CrossSiteRequest, StoreUnavailable: As above.
        BrowserSessionEnded: The session is revoked or over.
        PersonalTokenInvalid: It is revoked or over, or is not taken here.
    """
    gateway = request.state["gateway"]
    refuse_token_in_query(request)
    session, found = find_credentials(request.scope, gateway)
    if found is None and session is None:
        raise AccessTokenMissing
    token, is_cookie = found or (None, True)
    if is_cookie and request.method not in SAFE_METHODS:
        try:
            refuse_cross_site(request.headers, gateway.settings)
        except CrossSiteRequest:
            with suppress(GatewayError):
                request.scope["gateway.sub"] = (await _caller(token, session, gateway)).sub
            raise
    if token is not None and token.startswith(PERSONAL_TOKEN_PREFIX) and not is_cookie:
        caller: Caller = await _owner(token, gateway, is_taken=takes_personal_tokens)
    else:
        caller = await _caller(token, session, gateway)
    request.scope["gateway.sub"] = caller.sub
    return caller


async def _owner(token: str, gateway: Gateway, *, is_taken: bool) -> Presence:
    claim = gateway.token_presences.parse(token)
    assert claim is not None  # noqa: S101 - it is given, or refused
    if not is_taken:
        raise PersonalTokenInvalid("elsewhere", sub=claim.user_id, token_id=claim.token_id)
    return await find_owner(claim, gateway)


async def _caller(token: str | None, session: SessionCookie | None, gateway: Gateway) -> Caller:
    if token is not None:
        claims = verify(token, gateway, gateway.clock())
        if claims.is_of_client or claims.amr == BY_PERSONAL_TOKEN:
            raise AccessTokenInvalid("not-a-person", sub=claims.sub)
        return claims
    assert session is not None  # noqa: S101 - one of both is there
    return await find_presence(session, gateway)


async def find_presence(session: SessionCookie, gateway: Gateway) -> Presence:
    """
    Give the session of a cookie, from memory or by a look at Redis; complete its end where that was left half done.

    Raises:
        BrowserSessionEnded: It is revoked, over, or nobody's.
        StoreUnavailable: Redis did not answer, and the session was not seen within the last hour.
    """
    try:
        return await gateway.presences.find(session)
    except BrowserSessionEnded as error:
        error.facts["sub"] = session.user_id
        with suppress(StoreUnavailable):
            await gateway.end_families(session.user_id, error.unannounced)
        raise


async def find_owner(token: PersonalToken, gateway: Gateway) -> Presence:
    """
    Give the owner of a personal token, from memory or by a look at Redis; complete its end where that was left half
    done.

    Raises:
        PersonalTokenInvalid: It is revoked, over, or nobody's, or its owner is disabled.
        StoreUnavailable: Redis did not answer, and the token was not seen within the last hour.
    """
    try:
        return await gateway.token_presences.find(token)
    except PersonalTokenInvalid as error:
        error.facts |= {"sub": token.user_id, "token_id": token.token_id}
        if error.is_unannounced:
            with suppress(StoreUnavailable):
                await gateway.end_personal_token(token.user_id, token.token_id)
        raise
