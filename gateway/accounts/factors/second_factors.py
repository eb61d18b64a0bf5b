"""All second factors of all users: what there is, and how one is set up and taken away."""

from dataclasses import dataclass

import msgspec

from gateway.accounts.factors.keeping import Kept, KeptFactors, Kind
from gateway.accounts.factors.logins import FactorLogins, Policy
from gateway.accounts.factors.names import check_factor_name
from gateway.accounts.factors.once import Once
from gateway.accounts.factors.passkeys import Passkeys
from gateway.accounts.factors.pending import PendingLogins
from gateway.accounts.factors.recovery import RecoveryCodes, codes_left, secret_of_codes
from gateway.accounts.factors.sealing import FactorSeals
from gateway.accounts.factors.totp import NewTotp, Totp, TotpBody
from gateway.accounts.factors.webauthn import Credential, NewCredential, RelyingParty
from gateway.accounts.users import User, Users
from gateway.clock import Clock
from gateway.derived_keys import KeyChain
from gateway.store import Store


@dataclass(frozen=True)
class Factor:
    """
    A factor as its user sees it in a list. Times in whole seconds since the epoch.

    `kind` is `totp`, `passkey` or `recovery`; `last_used_at` None for never; `left` how many recovery codes are. One
    that `is_readable` no more was sealed under a secret that is gone, or altered: it can only be removed.
    """

    factor_id: str
    kind: str
    name: str
    created_at: int
    last_used_at: int | None
    left: int | None
    is_readable: bool


class SecondFactors:
    """
    The door to them all.

    Args:
        policy: The setting `second_factor`; see `FactorLogins`.
        party: For whom passkeys are made; its name is shown in authenticator apps too.

    Attributes:
        logins: What a login asks of them.
    """

    def __init__(
        self, store: Store, keychain: KeyChain, clock: Clock, users: Users, *, policy: Policy, party: RelyingParty
    ) -> None:
        seals = FactorSeals(keychain)
        once = Once(store, seals)
        self._kept = KeptFactors(store, seals)
        self._totp = Totp(self._kept, once, clock, party.name)
        self._recovery = RecoveryCodes(self._kept, seals, clock)
        self._passkeys = Passkeys(self._kept, once, clock, party)
        self.logins = FactorLogins(
            self._kept,
            users,
            policy,
            pending=PendingLogins(once, users),
            totp=self._totp,
            recovery=self._recovery,
            passkeys=self._passkeys,
        )

    # ---- what there is

    async def all(self, user_id: str) -> tuple[Factor, ...]:
        """Give the factors of a user, the oldest first."""
        return tuple(_shown(kept) for kept in await self._kept.all(user_id))

    async def secrets_of(self, user_id: str) -> tuple[str, ...]:
        """
        Give the name of the secret that each factor of a user needs (`DerivedKeys.key_id`).

        A use moves a factor over to the current one, recovery codes excepted, which stay under theirs.
        """
        return tuple(
            secret_of_codes(kept) or FactorSeals.secret_of(kept.sealed) for kept in await self._kept.all(user_id)
        )

    async def rename(self, user_id: str, factor_id: str, name: str) -> bool:
        """
        Give a factor another name; False when there is none such that has one.

        Raises:
            MalformedRequest: See `check_factor_name`.
        """
        name = check_factor_name(name)
        for kept in await self._kept.all(user_id):
            if kept.factor_id == factor_id and kept.body is not None and kept.kind in _BODIES:
                body = msgspec.msgpack.decode(kept.body, type=_BODIES[kept.kind])
                renamed = msgspec.msgpack.encode(msgspec.structs.replace(body, name=name))
                return await self._kept.change(user_id, kept, renamed)
        return False

    async def remove(self, user_id: str, factor_id: str) -> bool:
        """Take a factor away, with the last but recovery codes these too; tell whether it was there."""
        return await self._kept.remove(user_id, factor_id)

    async def reset(self, user_id: str) -> int:
        """
        Take all factors of a user away, and give how many there were.

        Sessions are the caller's to end (`Gateway.reset_factors`): a login that shows one of these factors at this very
        moment opens none.
        """
        count = len(await self._kept.all(user_id))
        await self._kept.clear(user_id)
        return count

    # ---- setting up, by who has logged in

    async def begin_totp(self, user: User) -> NewTotp:
        """Give a secret for an authenticator app; see `Totp.begin`."""
        return await self._totp.begin(user.user_id, user.email)

    async def look_totp(self, user: User, factor_id: str) -> NewTotp:
        """Give the same once more while it is not confirmed; see `Totp.look`."""
        return await self._totp.look(user.user_id, user.email, factor_id)

    async def confirm_totp(
        self, user_id: str, factor_id: str, code: str, name: str = "", *, only_first: bool = False
    ) -> Factor:
        """Make it a factor; see `Totp.confirm`."""
        named = check_factor_name(name)
        return _shown(await self._totp.confirm(user_id, factor_id, code, named, only_first=only_first))

    async def begin_passkey(self, user: User) -> dict[str, object]:
        """Give the options for a new passkey; see `Passkeys.begin`."""
        return await self._passkeys.begin(user)

    async def add_passkey(
        self, user_id: str, answer: NewCredential, name: str = "", *, only_first: bool = False
    ) -> Factor:
        """Make it a factor; see `Passkeys.register`."""
        named = check_factor_name(name)
        return _shown((await self._passkeys.register(user_id, answer, named, only_first=only_first)).kept)

    async def make_recovery_codes(self, user_id: str) -> tuple[str, ...]:
        """Give ten new recovery codes; see `RecoveryCodes.make`."""
        return await self._recovery.make(user_id)


_BODIES: dict[Kind, type[TotpBody] | type[Credential]] = {Kind.TOTP: TotpBody, Kind.PASSKEY: Credential}


def _shown(kept: Kept) -> Factor:
    name = ""
    if kept.body is not None and kept.kind in _BODIES:
        name = msgspec.msgpack.decode(kept.body, type=_BODIES[kept.kind]).name
    return Factor(
        factor_id=kept.factor_id,
        kind=kept.kind.word,
        name=name,
        created_at=kept.created_at,
        last_used_at=kept.used_at or None,
        left=codes_left(kept) if kept.kind == Kind.RECOVERY else None,
        is_readable=kept.body is not None,
    )
