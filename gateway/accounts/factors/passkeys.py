"""
Passkeys: credentials of WebAuthn (level 3) that are found by themselves and have verified who uses them.

One is a whole login, or the second factor beside a password; how it was made and used is checked in `ceremonies.py`. A
challenge is good once and for five minutes. The user handle is the 16 bytes of the user's id: it tells nothing of him.

A signature counter that does not go up says that an authenticator may have been copied (section 6.1.1). It is told and
not refused: passkeys that are kept in sync stay at 0, and some authenticators lose count.
"""

import base64
from dataclasses import dataclass

import msgspec

from gateway.accounts.factors.ceremonies import challenge_of, check_assertion, check_registration
from gateway.accounts.factors.keeping import Kept, KeptFactors, Kind, new_factor_id
from gateway.accounts.factors.once import Once, new_text
from gateway.accounts.factors.webauthn import (
    Assertion,
    Credential,
    NewCredential,
    RelyingParty,
    creation_options,
    request_options,
)
from gateway.accounts.users import User
from gateway.clock import Clock
from gateway.errors import SecondFactorInvalid
from gateway.verifier.keys import decode_base64url, encode_base64url

CHALLENGE_SECONDS = 300
REGISTRATION = "passkey-registration"
USER_PREFIX = "usr_"
USER_HANDLE_BYTES = 16


@dataclass(frozen=True)
class UsedPasskey:
    """A passkey that was right: whose, which, whether other devices may have it, whether its counter went back."""

    user_id: str
    kept: Kept
    is_synced: bool
    counter_went_back: bool


class Passkeys:
    """The passkeys of all users, for one relying party."""

    def __init__(self, kept: KeptFactors, once: Once, clock: Clock, party: RelyingParty) -> None:
        self._kept = kept
        self._once = once
        self._clock = clock
        self._party = party

    async def begin(self, user: User) -> dict[str, object]:
        """Give the options with which a browser makes a passkey (`PublicKeyCredentialCreationOptionsJSON`)."""
        challenge = new_text()
        known = [credential for _, credential in await self._known(user.user_id)]
        await self._once.put(REGISTRATION, challenge, user.user_id.encode(), CHALLENGE_SECONDS)
        return creation_options(self._party, challenge, _user_handle(user.user_id), user.email, user.name, known)

    async def register(
        self, user_id: str, answer: NewCredential, name: str, *, only_first: bool, is_followed: bool = False
    ) -> UsedPasskey:
        """
        Add the passkey that a browser has made.

        Args:
            only_first: Refuse it when the user has a factor already.
            is_followed: By a durable write, before anybody is told.

        Raises:
            SecondFactorInvalid: It was not made as `begin` has asked, or that is used or over; the user has this very
                one already; or *only_first*, and he has a factor. Nothing is used up by an answer that is wrong.
            MalformedRequest: The user has as many as anybody may have.
        """
        challenge = challenge_of(answer.response.client_data)
        asked = await self._once.look(REGISTRATION, challenge)
        if asked != user_id.encode():
            raise SecondFactorInvalid("challenge")
        credential, counter = check_registration(self._party, answer, challenge, name)
        if any(other.credential_id == credential.credential_id for _, other in await self._known(user_id)):
            raise SecondFactorInvalid("known-already")
        if await self._once.take(REGISTRATION, challenge, is_followed=True) is None:
            raise SecondFactorInvalid("challenge")
        kept = await self._kept.add(
            user_id, Kind.PASSKEY, new_factor_id(), msgspec.msgpack.encode(credential), self._clock(), number=counter,
            only_first=only_first, is_followed=is_followed,
        )  # fmt: skip
        return UsedPasskey(user_id, kept, credential.is_backup_eligible, counter_went_back=False)

    async def options_for(self, user_id: str, challenge: str) -> dict[str, object]:
        """Give the options with which a browser shows one of this user's passkeys, after his password was right."""
        return request_options(self._party, challenge, [known for _, known in await self._known(user_id)])

    def options(self, challenge: str) -> dict[str, object]:
        """Give the options with which a browser shows a passkey of whomever it belongs to."""
        return request_options(self._party, challenge)

    async def use(self, answer: Assertion, challenge: str, user_id: str | None) -> UsedPasskey:
        """
        Let a passkey count that was made for this challenge, which is the caller's to use up.

        Args:
            user_id: Whose it has to be; None where its user handle is to say it.

        Raises:
            SecondFactorInvalid: Nobody has this passkey, or not this user, or it was not used as it was asked for.
        """
        handle = answer.response.user_handle
        owner = _owner(handle) if handle else user_id
        if owner is None or (user_id is not None and owner != user_id):
            raise SecondFactorInvalid("user-handle")
        named = [
            (kept, credential)
            for kept, credential in await self._known(owner)
            if answer.id == encode_base64url(credential.credential_id) and answer.type == "public-key"
        ]
        if not named:
            raise SecondFactorInvalid("unknown-credential")
        kept, credential = named[0]
        as_now, counter = check_assertion(self._party, answer, challenge, credential)
        before = await self._kept.use(owner, kept, counter, self._clock())
        await self._kept.renew(owner, kept, msgspec.msgpack.encode(as_now))
        went_back = before is not None and (before > 0 or counter > 0) and counter <= before
        return UsedPasskey(owner, kept, credential.is_backup_eligible, went_back)

    async def _known(self, user_id: str) -> list[tuple[Kept, Credential]]:
        return [
            (kept, msgspec.msgpack.decode(kept.body, type=Credential))
            for kept in await self._kept.all(user_id, Kind.PASSKEY)
            if kept.body is not None
        ]


def _user_handle(user_id: str) -> bytes:
    return base64.urlsafe_b64decode(user_id.removeprefix(USER_PREFIX) + "==")


def _owner(handle: str) -> str | None:
    """Give the user of a user handle; None for what none of ours has."""
    try:
        octets = decode_base64url(handle)
    except ValueError:
        return None
    return USER_PREFIX + encode_base64url(octets) if len(octets) == USER_HANDLE_BYTES else None
