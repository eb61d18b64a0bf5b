"""Builds a gateway from its settings: the one place that constructs."""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.types import ASGIApp

from gateway.accounts import Changes, Invitations, Passwords, RelyingParty, SecondFactors, Users
from gateway.clock import Clock, system_clock
from gateway.cores import usable_cores
from gateway.derived_keys import KeyChain
from gateway.errors import GatewayError, StartupError, StoreUnavailable
from gateway.limits import GuessingThrottle, RateLimiter
from gateway.sessions import Presences, RefreshFamilies, Revocations
from gateway.settings import Settings
from gateway.state import Gateway, State
from gateway.store import ServerLook, Store, watch_server
from gateway.tasks import end_tasks
from gateway.telemetry import AuditTrail
from gateway.tokens import AccessTokenMinter, ApplicationTokens, IdentityHeaders, Keyring, SizeBounds
from gateway.verifier import VerifiedTokens
from gateway.web import (
    PUBLIC_PATHS,
    QUICK_ANSWERS,
    ROUTES,
    ROUTES_WITHOUT_PORTAL,
    Cors,
    Envelope,
    Html,
    on_gateway_error,
    on_http_exception,
)

FIRST_READING_SECONDS = 2.0
MAX_REMEMBERED_TOKENS = 16_384
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
    keychain = KeyChain.of(settings.secret, settings.previous_secrets)
    store = Store(
        settings.redis_url,
        settings.redis_key_prefix,
        waits_for_confirmation=settings.redis_durability == "confirmed",
    )
    keyring = Keyring(
        store,
        keychain,
        algorithm=settings.signing_algorithm,
        rsa_key_bits=settings.rsa_key_bits,
        access_token_ttl_seconds=settings.access_token_ttl_seconds,
        rotation_days=settings.key_rotation_days,
    )
    # Each worker hashes for itself; together they have the cores.
    threads = math.ceil(usable_cores() / settings.workers)
    passwords = Passwords(keychain, settings.bcrypt_cost, threads, time.monotonic)
    access_tokens = AccessTokenMinter(
        keyring,
        issuer=settings.issuer,
        audience=settings.audience,
        client_id=settings.client_id,
        ttl_seconds=settings.access_token_ttl_seconds,
        personal_claims=settings.access_token_claims,
    )
    users = Users(store, clock, check_size=SizeBounds(settings).check)
    guessing = GuessingThrottle(store, keychain, clock, is_on=settings.account_throttle == "on")
    audit = AuditTrail(store, keychain, clock)
    revocations = Revocations(store, clock, max_lag_seconds=settings.revocation_max_lag_seconds)
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
                store,
                keychain,
                revocations,
                idle_ttl_seconds=settings.refresh_idle_ttl_seconds,
                check_seconds=settings.session_check_seconds,
            ),
            rate_limiter=RateLimiter(
                store,
                {
                    "login": settings.login_quota,
                    "refresh": settings.refresh_quota,
                    "change-password": settings.login_quota,
                    "second-factor": settings.login_quota,
                    "passkey": settings.login_quota,
                    "factors": settings.login_quota,
                },
            ),
            guessing=guessing,
            access_tokens=access_tokens,
            application_tokens=ApplicationTokens(access_tokens, (settings.audience, *settings.audiences)),
            verified_tokens=VerifiedTokens(
                issuer=settings.issuer, audience=settings.audience, max_tokens=MAX_REMEMBERED_TOKENS
            ),
            identity_headers=IdentityHeaders(settings.identity_headers),
            audit=audit,
        )
    finally:
        passwords.close()
        access_tokens.close()
        await guessing.close()
        await audit.close()
        await store.close()


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


def build_app(settings: Settings, clock: Clock = system_clock) -> ASGIApp:
    """
    Give the ASGI application. It starts without Redis too, not ready, and becomes ready when Redis is there.

    Raises:
        StartupError: The templates of the operator cannot be read.
    """
    renderer = Html(settings) if settings.portal == "on" else None

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[State]:
        async with open_gateway(settings, clock) as gateway:
            # What is wrong from the start has been told by `serve`. A worker that takes the place of another one
            # gets its keys later then, and does not end the whole gateway.
            with suppress(StoreUnavailable, StartupError):
                await gateway.keyring.open()
            followers = [
                asyncio.create_task(work)
                for work in (
                    gateway.keyring.follow(),
                    gateway.revocations.follow(),
                    watch_server(gateway.store, clock),
                    _report_counters(gateway),
                )
            ]
            await gateway.revocations.wait_until_read(FIRST_READING_SECONDS)
            try:
                yield {"gateway": gateway, "renderer": renderer, "quick_answers": QUICK_ANSWERS}
            finally:
                await end_tasks(followers)

    app = Starlette(
        routes=ROUTES if renderer else ROUTES_WITHOUT_PORTAL,
        middleware=[Middleware(Envelope), Middleware(Cors, settings=settings, public_paths=PUBLIC_PATHS)],
        exception_handlers={GatewayError: on_gateway_error, HTTPException: on_http_exception},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app
