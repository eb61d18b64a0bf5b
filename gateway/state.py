"""What every handler works with: one frozen `Gateway` for each process, built when it starts."""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypedDict

from starlette.requests import Request
from starlette.types import Scope

from gateway.accounts import Changes, Invitations, Passwords, SecondFactors, User, Users
from gateway.clock import Clock
from gateway.limits import GuessingThrottle, RateLimiter
from gateway.machines import Clients, PersonalToken, PersonalTokens
from gateway.sessions import Presences, RefreshFamilies, Revocations, SessionCookie, StatusIndexes
from gateway.settings import Network, Settings
from gateway.store import ServerLook, Store
from gateway.telemetry import SESSIONS_ENDED, AuditTrail, Metrics, OnceAMinute, RequestIds
from gateway.tokens import (
    AccessTokenMinter,
    ApplicationTokens,
    IdentityHeaders,
    Keyring,
    KnownCredentials,
    StatusLists,
)
from gateway.verifier import VerifiedTokens

UNFINISHED = "unfinished"
"""Why sessions ended whose end was begun earlier, maybe by another gateway or a command, and not completed there."""


@dataclass(frozen=True)
class Gateway:
    """The parts of one gateway process; `refresh_verdicts` counts what became of refresh tokens since its start."""

    settings: Settings
    trusted_networks: tuple[Network, ...]
    clock: Clock
    store: Store
    server_look: ServerLook
    keyring: Keyring
    users: Users
    changes: Changes
    invitations: Invitations
    passwords: Passwords
    factors: SecondFactors
    families: RefreshFamilies
    revocations: Revocations
    presences: Presences[SessionCookie]
    personal_tokens: PersonalTokens
    token_presences: Presences[PersonalToken]
    clients: Clients
    status_indexes: StatusIndexes
    status_lists: StatusLists
    rate_limiter: RateLimiter
    guessing: GuessingThrottle
    access_tokens: AccessTokenMinter
    application_tokens: ApplicationTokens
    verified_tokens: VerifiedTokens
    verified_by_audience: Mapping[str, VerifiedTokens]
    known_credentials: KnownCredentials
    identity_headers: IdentityHeaders
    audit: AuditTrail
    request_ids: RequestIds
    metrics: Metrics
    refresh_verdicts: Counter[str] = field(default_factory=Counter)
    once_a_minute: OnceAMinute = field(default_factory=OnceAMinute)

    @property
    def service_names(self) -> tuple[str, ...]:
        """Give the names that everybody thinks of here: no password may be one of them."""
        origin = self.settings.issuer_origin
        return ("token-gateway", "token gateway", origin, origin.partition("://")[2], self.settings.client_id)

    async def end_families(
        self,
        user_id: str,
        family_ids: tuple[str, ...],
        reason: str = UNFINISHED,
        tell: Callable[[], None] = lambda: None,
    ) -> int:
        """
        End sessions for good, and give how many of them were there: mark them first, announce second, delete third.

        From the mark on they never work again. What a crash, or an error, leaves half done is completed by the next
        use of such a session, or the next ending.

        Args:
            reason: Why, for the metrics.
            tell: Tells the event, as soon as they are marked; where none of them was there it is not called.

        Raises:
            StoreUnavailable: Not everybody knows; the caller should try again.
        """
        if not family_ids:
            return 0
        marked = await self.families.mark(user_id, family_ids)
        if not set(family_ids).isdisjoint(marked):
            tell()
        return await self.finish_ending(user_id, marked, reason)

    async def end_all_families(
        self, user_id: str, reason: str = UNFINISHED, tell: Callable[[], None] = lambda: None
    ) -> int:
        """End all sessions of a user likewise, also those that Redis has lost; give how many lived until now."""
        living, revocations = await self.families.mark_all(user_id)
        tell()
        await self.finish_ending(user_id, revocations, reason)
        return living

    async def finish_ending(self, user_id: str, revocations: tuple[str, ...], reason: str = UNFINISHED) -> int:
        """
        Announce and delete what has been marked, and give how many sessions there were.

        Raises:
            StoreUnavailable: As above. This process refuses them already.
        """
        await self.revocations.announce(revocations)
        ended = await self.families.revoke(user_id, revocations)
        if ended:
            self.metrics.count(SESSIONS_ENDED, reason, by=ended)
        return ended

    async def end_personal_token(self, user_id: str, token_id: str, tell: Callable[[], None] = lambda: None) -> bool:
        """
        Revoke a personal token for good, and tell whether it was there: mark, announce, delete, as `end_families` does.

        Args:
            tell: Tells the event, as soon as it is marked.

        Raises:
            StoreUnavailable: Not everybody knows; the caller should try again.
        """
        if not await self.personal_tokens.mark(user_id, token_id):
            return False
        tell()
        await self.revocations.announce((token_id,))
        await self.personal_tokens.revoke(user_id, token_id)
        return True

    async def reset_factors(self, user_id: str, tell: Callable[[], None] = lambda: None) -> tuple[int, int]:
        """
        Take all second factors of a user away and end all sessions, and give how many there were of each.

        The factors go once more at the end: a session that was just ending may have added one.

        Args:
            tell: Tells the event, as soon as the factors are gone and the sessions marked.

        Raises:
            StoreUnavailable: Not all of it is known to be done; the caller should try again.
        """
        factors = await self.factors.reset(user_id)
        sessions = await self.end_all_families(user_id, "factors-reset", tell)
        return factors + await self.factors.reset(user_id), sessions

    async def remove_client(self, client_id: str, tell: Callable[[], None] = lambda: None) -> None:
        """
        Remove a machine client, and refuse every access token that was issued to it.

        Args:
            tell: Tells the event, as soon as the client cannot authenticate any more.

        Raises:
            UnknownClient: There is none.
            StoreUnavailable: Not everybody knows; the next attempt of that client to authenticate, or this again,
                completes it.
        """
        cut_off = await self.clients.mark(client_id)
        tell()
        await self.finish_removal(client_id, cut_off)

    async def finish_removal(self, client_id: str, cut_off: str) -> None:
        """Announce what was issued to a client that is marked as removed, and delete it."""
        await self.revocations.announce((cut_off,))
        await self.clients.delete(client_id)

    async def accept_invitation(
        self, code: str, password_hash: str, tell: Callable[[User], None] = lambda _: None
    ) -> User:
        """
        Set the password that an invitation or a reset is for, end all sessions of the user, and unlock the account.

        Args:
            tell: Tells the event, which is the caller's, who knows the request: as soon as the password is set.

        Returns:
            The user with the new password, for whom a session can be opened.

        Raises:
            InvitationSpent: The code is not good any more; nothing was changed.
            StoreUnavailable: Not all of it is known to be done. The password may be set, and the code void then.
        """
        user, revocations = await self.invitations.accept(code, password_hash)
        tell(user)
        await self.finish_ending(user.user_id, revocations, "password-changed")
        await self.guessing.unlock(user.email)
        return user


QuickAnswer = Callable[[Scope], tuple[int, bytes] | None]
"""
Answers a request from memory, before its body is read: gives the status, and what follows status line and date (header
lines, an empty line, the body). After None or an error the request goes the ordinary way. May read `method`, `path`,
`headers`, `query_string`, `client` and `state` of the scope, and `gateway.fields`: the headers by name, there when each
came once.
"""

DirectAnswer = Callable[[Scope, bytes, float], Awaitable[tuple[int, bytes]]]
"""
Answers a request whose body is at hand, by the code that answers it in the ordinary way, its line in the log included:
takes the scope, the body, and when the head was read, by `time.monotonic`; gives what a `QuickAnswer` gives.
"""


class Renderer(Protocol):
    """Writes pages for people."""

    def render(self, template: str, language: str, **values: object) -> str:
        """Give the HTML of a template in one of the languages that there are."""


class State(TypedDict):
    """What the lifespan hands to every request; `renderer` is None without the portal."""

    gateway: Gateway
    renderer: Renderer | None
    quick_answers: dict[bytes, QuickAnswer]
    direct_answers: dict[bytes, DirectAnswer]


GatewayRequest = Request[State]
