"""Builds a gateway from its settings: the one place that constructs."""

import asyncio
import logging
import math
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.types import ASGIApp

from gateway.accounts import Changes, Invitations, Passwords, RelyingParty, SecondFactors, Users
from gateway.clock import Clock, system_clock
from gateway.cores import usable_cores
from gateway.derived_keys import KeyChain
from gateway.errors import GatewayError, PersonalTokenInvalid, StartupError, StoreUnavailable
from gateway.limits import GuessingThrottle, RateLimiter
from gateway.machines import Clients, PersonalToken, PersonalTokens
from gateway.sessions import (
    BY_PERSONAL_TOKEN,
    Presence,
    Presences,
    RefreshFamilies,
    Revocations,
    SessionLooks,
    Sighting,
    StatusBits,
    StatusIndexes,
)
from gateway.settings import Settings
from gateway.state import Gateway, State
from gateway.store import ServerLook, Store, watch_server
from gateway.tasks import end_tasks
from gateway.telemetry import (
    AUDIT_EVENTS,
    AUDIT_LOST,
    AUTHZ,
    BREAKER_OPEN,
    KEY_ROTATED,
    PASSWORD_HASH_SECONDS,
    PASSWORD_QUEUE,
    REDIS_ERRORS,
    REDIS_SECONDS,
    REFRESHES,
    REVOCATIONS_KNOWN,
    REVOCATIONS_LAG,
    SIGNING_KEY_AGE,
    SIGNING_KEY_NEXT_READY,
    AuditTrail,
    Metrics,
    Reporter,
    RequestIds,
)
from gateway.tokens import (
    AccessTokenMinter,
    ApplicationTokens,
    IdentityHeaders,
    Keyring,
    KnownCredentials,
    SizeBounds,
    StatusClaims,
    StatusLists,
)
from gateway.verifier import VerifiedTokens
from gateway.web import (
    DIRECT_ANSWERS,
    PUBLIC_PATHS,
    QUICK_ANSWERS,
    ROUTES,
    ROUTES_WITHOUT_PORTAL,
    Cors,
    Envelope,
    Html,
    allowed_subrequests,
    on_gateway_error,
    on_http_exception,
)

FIRST_READING_SECONDS = 2.0
MAX_REMEMBERED_TOKENS = 16_384
MAX_REMEMBERED_FOR_OTHERS = 2048
REPORT_SECONDS = 60

logger = logging.getLogger("gateway")


@asynccontextmanager
async def open_gateway(settings: Settings, clock: Clock = system_clock) -> AsyncIterator[Gateway]:
    """
    Give the parts of a gateway, connected to the Redis that `redis_url` names, and close them at the end.

    Does not read anything yet: `serve_from` does.
    """
    assert settings.redis_url is not None  # noqa: S101 - the commands fill it in
    assert settings.secret is not None  # noqa: S101 - likewise
    metrics = Metrics()
    keychain = KeyChain.of(settings.secret, settings.previous_secrets)
    store = Store(
        settings.redis_url,
        settings.redis_key_prefix,
        waits_for_confirmation=settings.redis_durability == "confirmed",
        note_call=lambda what, seconds: metrics.observe(REDIS_SECONDS, seconds, what),
        note_fault=partial(metrics.count, REDIS_ERRORS),
    )
    audit = AuditTrail(store, keychain)
    keyring = Keyring(
        store,
        keychain,
        tell=lambda reason, kid: audit.tell(KEY_ROTATED, reason, kid=kid),
        algorithm=settings.signing_algorithm,
        rsa_key_bits=settings.rsa_key_bits,
        access_token_ttl_seconds=settings.access_token_ttl_seconds,
        rotation_days=settings.key_rotation_days,
    )
    # Each worker hashes for itself; together they have the cores.
    threads = math.ceil(usable_cores() / settings.workers)
    passwords = Passwords(
        keychain, settings.bcrypt_cost, threads, time.monotonic, partial(metrics.observe, PASSWORD_HASH_SECONDS)
    )
    status_indexes = StatusIndexes(store, keychain, clock, is_on=settings.status_list == "on")
    status_claims = StatusClaims(settings.issuer_origin, status_indexes.find)
    status_bits = StatusBits(status_indexes.find)
    access_tokens = AccessTokenMinter(
        keyring,
        issuer=settings.issuer,
        audience=settings.audience,
        client_id=settings.client_id,
        ttl_seconds=settings.access_token_ttl_seconds,
        personal_claims=settings.access_token_claims,
        status_of=status_claims.of,
    )
    verified_tokens = VerifiedTokens(
        issuer=settings.issuer, audience=settings.audience, max_tokens=MAX_REMEMBERED_TOKENS
    )
    users = Users(store, clock, check_size=SizeBounds(settings).check)
    guessing = GuessingThrottle(store, keychain, clock, is_on=settings.account_throttle == "on")
    revocations = Revocations(store, clock, max_lag_seconds=settings.revocation_max_lag_seconds, listener=status_bits)
    personal_tokens = PersonalTokens(store, keychain)
    try:
        yield Gateway(
            settings=settings,
            trusted_networks=settings.trusted_networks,
            clock=clock,
            store=store,
            server_look=ServerLook(store),
            keyring=keyring,
            users=users,
            changes=Changes(store, clock),
            invitations=Invitations(store, users),
            passwords=passwords,
            factors=SecondFactors(
                store,
                keychain,
                clock,
                users,
                policy=settings.second_factor,
                party=RelyingParty(settings.passkey_domain, settings.shown_name, settings.issuer_origin),
            ),
            families=RefreshFamilies(
                store,
                keychain,
                idle_ttl_seconds=settings.refresh_idle_ttl_seconds,
                absolute_ttl_seconds=settings.refresh_absolute_ttl_seconds,
                replay_window_seconds=settings.refresh_replay_window_seconds,
                max_per_user=settings.max_sessions_per_user,
            ),
            revocations=revocations,
            presences=Presences(
                revocations,
                SessionLooks(store, keychain, revocations, idle_ttl_seconds=settings.refresh_idle_ttl_seconds),
                check_seconds=settings.session_check_seconds,
            ),
            personal_tokens=personal_tokens,
            token_presences=Presences(
                revocations,
                _TokenLooks(personal_tokens, revocations),
                check_seconds=settings.session_check_seconds,
            ),
            clients=Clients(store, keychain, clock),
            status_indexes=status_indexes,
            status_lists=StatusLists(access_tokens, keyring, status_claims, status_bits, clock=clock),
            rate_limiter=RateLimiter(
                store,
                {
                    "login": settings.login_quota,
                    "refresh": settings.refresh_quota,
                    "change-password": settings.login_quota,
                    "second-factor": settings.login_quota,
                    "passkey": settings.login_quota,
                    "factors": settings.login_quota,
                    "tokens": settings.login_quota,
                    "oauth": settings.refresh_quota,
                    "oauth-client": settings.refresh_quota,
                },
            ),
            guessing=guessing,
            access_tokens=access_tokens,
            application_tokens=ApplicationTokens(access_tokens, (settings.audience, *settings.audiences)),
            verified_tokens=verified_tokens,
            verified_by_audience={
                audience: VerifiedTokens(
                    issuer=settings.issuer, audience=audience, max_tokens=MAX_REMEMBERED_FOR_OTHERS
                )
                for audience in settings.audiences
            }
            | {settings.audience: verified_tokens},
            known_credentials=KnownCredentials(),
            identity_headers=IdentityHeaders(settings.identity_headers),
            audit=audit,
            request_ids=RequestIds(keychain, clock),
            metrics=metrics,
        )
    finally:
        passwords.close()
        access_tokens.close()
        await status_indexes.close()
        await guessing.close()
        await audit.close()
        await store.close()


class _TokenLooks:
    """Looks at personal tokens as `SessionLooks` at sessions: machines and sessions are strangers that meet here."""

    is_told_of_cut_offs = True

    def __init__(self, tokens: PersonalTokens, revocations: Revocations) -> None:
        self.parse = tokens.parse
        self._tokens = tokens
        self._revocations = revocations

    def refuse_ended(self, claim: PersonalToken) -> None:
        if claim.token_id in self._revocations:
            raise PersonalTokenInvalid("revoked")

    async def look(self, claim: PersonalToken) -> Sighting:
        living = await self._tokens.look(claim)
        presence = Presence(
            sub=claim.user_id,
            sid=claim.token_id,
            auth_time=0,
            roles=living.roles,
            email=living.email,
            name=living.name,
            amr=BY_PERSONAL_TOKEN,
        )
        return Sighting(presence, living.seconds_left)


def _count_what_is_kept_elsewhere(gateway: Gateway) -> None:
    """Let the metrics read what the parts of a gateway know of themselves."""
    metrics, keyring, revocations = gateway.metrics, gateway.keyring, gateway.revocations

    def by_one_label(counted: Counter[str]) -> dict[tuple[str, ...], int]:
        return {(value,): count for value, count in counted.items()}

    metrics.gauges |= {
        PASSWORD_QUEUE: lambda: gateway.passwords.waiting,
        REVOCATIONS_KNOWN: lambda: revocations.known,
        REVOCATIONS_LAG: lambda: revocations.lag_seconds,
        BREAKER_OPEN: lambda: gateway.store.is_away,
        SIGNING_KEY_AGE: lambda: keyring.signing_key_age_seconds,
        SIGNING_KEY_NEXT_READY: lambda: keyring.next_is_ready,
    }
    metrics.counted_elsewhere |= {
        AUTHZ: partial(allowed_subrequests, metrics),
        REFRESHES: lambda: by_one_label(gateway.refresh_verdicts),
        AUDIT_EVENTS: lambda: by_one_label(gateway.audit.told),
        AUDIT_LOST: lambda: {(): gateway.audit.lost},
    }


async def _report_counters(gateway: Gateway) -> None:
    """Log the counters of refresh verdicts and of revocations every minute in which they moved, and at the end."""
    counters = {"refresh verdicts": gateway.refresh_verdicts, "revocation troubles": gateway.revocations.counters}
    told: dict[str, dict[str, int]] = {name: {} for name in counters}
    ended = False
    while not ended:
        try:
            await asyncio.sleep(REPORT_SECONDS)
        except asyncio.CancelledError:
            ended = True
        for name, counter in counters.items():
            if counter != told[name]:
                told[name] = dict(counter)
                logger.info(name, extra={"fields": {name.split()[1]: told[name]}})


def build_app(settings: Settings, clock: Clock = system_clock, reports: socket.socket | None = None) -> ASGIApp:
    """
    Give the ASGI application. It starts without Redis too, not ready, and becomes ready when Redis is there.

    Args:
        reports: Where the metrics go, `gateway.telemetry.serve_metrics`; None for nowhere.

    Raises:
        StartupError: The templates of the operator cannot be read.
    """
    renderer = Html(settings) if settings.portal == "on" else None

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[State]:
        async with AsyncExitStack() as after, open_gateway(settings, clock) as gateway:
            # What is wrong from the start has been told by `serve`. A worker that takes the place of another one
            # gets its keys later then, and does not end the whole gateway.
            with suppress(StoreUnavailable, StartupError):
                await gateway.keyring.open()
            _count_what_is_kept_elsewhere(gateway)
            followers = [
                asyncio.create_task(work)
                for work in (
                    gateway.keyring.follow(),
                    gateway.revocations.follow(),
                    watch_server(gateway.store, clock),
                    _report_counters(gateway),
                )
            ]
            if reports is not None:
                reporter = Reporter(gateway.metrics, reports)
                followers.append(asyncio.create_task(reporter.follow()))
                after.push_async_callback(reporter.close)  # what the end of the parts counts is in its last report
            await gateway.revocations.wait_until_read(FIRST_READING_SECONDS)
            try:
                yield {
                    "gateway": gateway,
                    "renderer": renderer,
                    "quick_answers": QUICK_ANSWERS,
                    "direct_answers": DIRECT_ANSWERS,
                }
            finally:
                await end_tasks(followers)

    app = Starlette(
        routes=ROUTES if renderer else ROUTES_WITHOUT_PORTAL,
        middleware=[
            Middleware(Envelope),
            Middleware(Cors, settings=settings, public_paths=PUBLIC_PATHS),
        ],
        exception_handlers={GatewayError: on_gateway_error, HTTPException: on_http_exception},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app
