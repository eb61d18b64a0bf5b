"""Second factors on the store of the test, with a clock to move."""

import base64
from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway.accounts.factors.logins import Policy
from gateway.accounts.factors.pending import PendingLogin
from gateway.accounts.factors.second_factors import Factor, SecondFactors
from gateway.accounts.factors.totp import NewTotp, hotp, step_at
from gateway.accounts.factors.webauthn import Assertion, NewCredential, RelyingParty
from gateway.accounts.users import User, Users
from gateway.derived_keys import KeyChain
from gateway.store.store import Store
from tests.authenticators import Authenticator, read
from tests.clocks import FakeClock
from tests.harness import SECRET

PARTY = RelyingParty("auth.example.com", "Example: Inc.", "https://auth.example.com")


def secret_of(new: NewTotp) -> bytes:
    """Give the bytes of the secret that an app is given."""
    return base64.b32decode(new.secret)


@dataclass
class Desk:
    """A gateway's worth of second factors."""

    store: Store
    clock: FakeClock = field(default_factory=FakeClock)
    keychain: KeyChain = field(default_factory=lambda: KeyChain.of(SECRET))
    policy: Policy = "optional"

    def __post_init__(self) -> None:
        """Make the parts."""
        self.users = Users(self.store, self.clock)
        self.factors = SecondFactors(self.store, self.keychain, self.clock, self.users, policy=self.policy, party=PARTY)
        self.logins = self.factors.logins

    def beside(self, **changes: Any) -> "Desk":
        """Give another gateway on the same clock and Redis."""
        return Desk(**{"store": self.store, "clock": self.clock, "keychain": self.keychain, **changes})

    async def user(self, email: str = "ann@example.com") -> User:
        """Add a user."""
        return await self.users.add(email, "Ann Example", ("staff",), "a hash")

    def code(self, secret: bytes, steps: int = 0) -> str:
        """Give what an app shows now, or some steps later."""
        return hotp(secret, step_at(self.clock.now) + steps)

    async def with_totp(self, user: User, name: str = "") -> tuple[bytes, Factor]:
        """Set up an app; the clock moves on past the code that this takes."""
        new = await self.factors.begin_totp(user)
        secret = secret_of(new)
        factor = await self.factors.confirm_totp(user.user_id, new.factor_id, self.code(secret), name)
        self.clock.now += 60
        return secret, factor

    async def with_passkey(self, user: User, name: str = "", **bent: Any) -> tuple[Authenticator, Factor]:
        """Set up a passkey."""
        device = Authenticator(**bent)
        answer = device.create(await self.factors.begin_passkey(user))
        return device, await self.factors.add_passkey(user.user_id, read(answer, NewCredential), name)

    async def pending(self, user: User, **facts: Any) -> str:
        """Let the first step of a login be done."""
        login = PendingLogin(
            **{"purpose": "factor", "user_id": user.user_id, "password_version": user.password_version, **facts}
        )
        return (await self.logins.ask(login)).pending


@pytest.fixture
def desk(store: Store) -> Desk:
    """Give second factors under a prefix of their own."""
    return Desk(store)


def assertion(answer: dict[str, Any]) -> Assertion:
    """Read an assertion as a request body is read."""
    return read(answer, Assertion)
