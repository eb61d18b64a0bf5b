"""What every handler works with: one frozen `Gateway` for each process, built when it starts."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypedDict

from starlette.requests import Request
from starlette.types import Scope

from gateway.access_tokens import AccessTokenMinter
from gateway.clock import Clock
from gateway.fitness import ServerLook
from gateway.guessing import GuessingThrottle
from gateway.identity_headers import IdentityHeaders
from gateway.keyring import Keyring
from gateway.logs import OnceAMinute
from gateway.passwords import Passwords
from gateway.rate_limits import RateLimiter
from gateway.refresh_families import RefreshFamilies
from gateway.revocations import Revocations
from gateway.settings import Network, Settings
from gateway.store import Store
from gateway.users import Users
from gateway.verifier import VerifiedTokens


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
    passwords: Passwords
    families: RefreshFamilies
    revocations: Revocations
    rate_limiter: RateLimiter
    guessing: GuessingThrottle
    access_tokens: AccessTokenMinter
    verified_tokens: VerifiedTokens
    identity_headers: IdentityHeaders
    refresh_verdicts: Counter[str] = field(default_factory=Counter)
    once_a_minute: OnceAMinute = field(default_factory=OnceAMinute)

    @property
    def service_names(self) -> tuple[str, ...]:
        """Give the names that everybody thinks of here: no password may be one of them."""
        origin = self.settings.issuer_origin
        return ("token-gateway", "token gateway", origin, origin.partition("://")[2], self.settings.client_id)

    async def end_families(self, user_id: str, family_ids: tuple[str, ...]) -> int:
        """
        End sessions for good: announce first, delete second, and give how many were there to delete.

        A crash in between leaves dead access tokens and a family whose next use, or next ending, makes it good.

        Raises:
            StoreUnavailable: Not everybody knows; the caller should try again. This process refuses them already.
        """
        await self.revocations.announce(family_ids)
        return await self.families.revoke(user_id, family_ids)

    async def end_all_families(self, user_id: str) -> int:
        """End all sessions of a user likewise, those too that a crash left half ended; these are not counted."""
        await self.end_families(user_id, await self.families.marked(user_id))
        return await self.end_families(user_id, tuple(one.family_id for one in await self.families.list(user_id)))


QuickAnswer = Callable[[Scope], tuple[int, bytes] | None]
"""
Answers a request from memory, before its body is read: gives the status, and what follows status line and date (header
lines, an empty line, the body). After None or an error the request goes the ordinary way. May read `method`, `path`,
`headers`, `query_string`, `client` and `state` of the scope.
"""


class State(TypedDict):
    """What the lifespan hands to every request."""

    gateway: Gateway
    quick_answers: dict[bytes, QuickAnswer]


GatewayRequest = Request[State]
