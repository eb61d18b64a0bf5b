"""
What each moment of a login asks of second factors.

Who conducts a login (`gateway.web`) asks `demand` after the password was right, `ask` for what to show, and one of
those that `prove` or `enrol` with what comes back; then he opens the session with what `Proved` says.
"""

from typing import Literal

import msgspec

from gateway.accounts.factors.keeping import Kept, KeptFactors, Kind
from gateway.accounts.factors.names import check_factor_name
from gateway.accounts.factors.once import new_text
from gateway.accounts.factors.passkeys import Passkeys, UsedPasskey
from gateway.accounts.factors.pending import PendingLogin, PendingLogins
from gateway.accounts.factors.recovery import RecoveryCodes
from gateway.accounts.factors.steps import BY_CODE, BY_PASSKEY_IN_HARDWARE, BY_SYNCED_PASSKEY, Asked, Demand, Proved
from gateway.accounts.factors.totp import Totp
from gateway.accounts.factors.webauthn import Assertion, NewCredential
from gateway.accounts.users import User, Users
from gateway.errors import SecondFactorInvalid

Policy = Literal["off", "optional", "required"]

METHODS = (Kind.PASSKEY, Kind.TOTP, Kind.RECOVERY)


class FactorLogins:
    """
    All logins that take a second factor, or a passkey alone.

    Args:
        policy: The setting `second_factor`; with `off` factors rest, and are not asked for.
    """

    def __init__(
        self,
        kept: KeptFactors,
        users: Users,
        policy: Policy,
        *,
        pending: PendingLogins,
        totp: Totp,
        recovery: RecoveryCodes,
        passkeys: Passkeys,
    ) -> None:
        self._kept = kept
        self._users = users
        self._policy = policy
        self._pending = pending
        self._totp = totp
        self._recovery = recovery
        self._passkeys = passkeys

    @property
    def is_on(self) -> bool:
        """Whether factors are asked for, and passkeys log in."""
        return self._policy != "off"

    async def demand(self, user_id: str) -> Demand:
        """Tell what is asked of a user whose password was right."""
        if not self.is_on:
            return Demand("none")
        kinds = {kept.kind for kept in await self._kept.all(user_id)}
        if kinds - {Kind.RECOVERY}:
            return Demand("factor", tuple(kind.word for kind in METHODS if kind in kinds))
        return Demand("enrolment" if self._policy == "required" else "none")

    async def ask(self, pending: PendingLogin) -> Asked:
        """
        Keep a pending login, and give what its user needs to go on: who is to show a `factor` and has passkeys gets the
        options for one of them, a login by `passkey` alone gets those for any.
        """
        challenge, public_key = new_text(), None
        if pending.purpose == "passkey":
            public_key = self._passkeys.options(challenge)
        elif pending.purpose == "factor" and await self._kept.all(pending.user_id, Kind.PASSKEY):
            public_key = await self._passkeys.options_for(pending.user_id, challenge)
        with_challenge = msgspec.structs.replace(pending, challenge=challenge if public_key else "")
        return Asked(await self._pending.put(with_challenge), public_key)

    async def look(self, pending: str) -> tuple[PendingLogin, User | None]:
        """
        Give a pending login and its user, and use nothing up; there is no user yet where a passkey is to say who.

        Raises:
            SecondFactorInvalid: It is unknown, used or over, or the user is removed, disabled or has a new password.
        """
        found = await self._pending.look(pending)
        if found is None:
            raise SecondFactorInvalid("pending-over")
        return found

    async def ask_again(self, pending: str) -> Asked:
        """
        Give once more what `ask` has given to who is to show a `factor`, and use nothing up.

        Raises:
            SecondFactorInvalid: As `look`.
        """
        login, user = await self.look(pending)
        if user is None or not login.challenge:
            return Asked(pending, None)
        return Asked(pending, await self._passkeys.options_for(user.user_id, login.challenge))

    async def prove_totp(self, pending: str, code: str) -> Proved:
        """
        Let a code of an app complete a pending login; see `prove_passkey`.

        The attempt has to be heard by the guessing throttle first.
        """
        login, user = await self._look_for("factor", pending)
        kept = await self._totp.use(user.user_id, code)
        return await self._proved(pending, login, user, kept, BY_CODE)

    async def prove_recovery(self, pending: str, code: str) -> Proved:
        """Let a recovery code complete a pending login, likewise."""
        login, user = await self._look_for("factor", pending)
        kept, left = await self._recovery.use(user.user_id, code)
        return await self._proved(pending, login, user, kept, BY_CODE, codes_left=left)

    async def prove_passkey(self, pending: str, answer: Assertion) -> Proved:
        """
        Let a passkey complete a pending login, or be all of one.

        A factor that is wrong uses nothing up. One that is right uses up itself and the pending login: of several
        requests at once exactly one succeeds. Nobody can guess a passkey, so it needs no throttle.

        Raises:
            SecondFactorInvalid: The factor is wrong or used; or the pending login is unknown, used or over, was for
                something else, or its user is removed, disabled or has a new password.
            StoreUnavailable: Nobody knows whether they are used up.
        """
        login, user = await self.look(pending)
        if not login.challenge or not self.is_on:
            raise SecondFactorInvalid("pending-over")
        used = await self._passkeys.use(answer, login.challenge, user.user_id if user else None)
        user = user or await self._users.get(used.user_id)
        if user is None or not user.is_active:
            raise SecondFactorInvalid("user-disabled")
        return await self._proved(
            pending, login, user, used.kept, _amr_of(used), counter_went_back=used.counter_went_back
        )

    async def enrol_totp(self, pending: str, factor_id: str, code: str, name: str = "") -> Proved:
        """
        Let a pending login be completed by its user's first factor, as `confirm_totp` makes one.

        Raises:
            SecondFactorInvalid: As there; or the pending login is no good, or not for this; or there is a factor now.
            MalformedRequest: The name is none.
        """
        login, user = await self._look_for("enrolment", pending)
        named = check_factor_name(name)
        kept = await self._totp.confirm(user.user_id, factor_id, code, named, only_first=True, is_followed=True)
        return await self._proved(pending, login, user, kept, BY_CODE)

    async def enrol_passkey(self, pending: str, answer: NewCredential, name: str = "") -> Proved:
        """Let it be completed by a first passkey, as `add_passkey` makes one; see `enrol_totp`."""
        login, user = await self._look_for("enrolment", pending)
        named = check_factor_name(name)
        kept = await self._passkeys.register(user.user_id, answer, named, only_first=True, is_followed=True)
        return await self._proved(pending, login, user, kept.kept, _amr_of(kept))

    async def _look_for(self, purpose: str, pending: str) -> tuple[PendingLogin, User]:
        login, user = await self.look(pending)
        if login.purpose != purpose or user is None:
            raise SecondFactorInvalid("pending-over")
        return login, user

    async def _proved(
        self,
        text: str,
        pending: PendingLogin,
        user: User,
        kept: Kept,
        amr: tuple[str, ...],
        *,
        codes_left: int | None = None,
        counter_went_back: bool = False,
    ) -> Proved:
        """Use the pending login up, as the last thing."""
        if not await self._pending.take(text):
            raise SecondFactorInvalid("pending-over")
        return Proved(
            user=user, pending=pending, factor_id=kept.factor_id, kind=kept.kind.word, amr=amr, codes_left=codes_left,
            counter_went_back=counter_went_back,
        )  # fmt: skip


def _amr_of(passkey: UsedPasskey) -> tuple[str, ...]:
    return BY_SYNCED_PASSKEY if passkey.is_synced else BY_PASSKEY_IN_HARDWARE
