"""Passkeys, with an authenticator in software: what is right is taken, and each thing that is not is refused."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from fido2 import cbor
from hypothesis import given
from hypothesis import strategies as st

from gateway.accounts.factors import ceremonies
from gateway.accounts.factors.keeping import MOST, Kind
from gateway.accounts.factors.pending import PendingLogin
from gateway.accounts.factors.steps import Demand
from gateway.accounts.factors.webauthn import Credential, NewCredential
from gateway.errors import MalformedRequest, SecondFactorInvalid
from gateway.verifier.keys import encode_base64url
from tests.accounts.factors.conftest import PARTY, Desk, assertion
from tests.authenticators import BE, BS, UP, UV, Authenticator, new_key, read

pytestmark = pytest.mark.redis

ALONE = PendingLogin(purpose="passkey")

BENT: dict[str, dict[str, Any]] = {
    "rp-id": {"rp_id": "other.example.com"},
    "origin": {"origin": "https://auth.example.com:8443"},
    "challenge": {"challenge": "A" * 43},
    "ceremony": {"ceremony": "webauthn.other"},
    "cross-origin": {"cross_origin": True},
    "user-presence": {"flags": UV},
    "user-verification": {"flags": UP},
    "backup-state": {"flags": UP | UV | BS},
}


async def refusal(desk: Desk, pending: str, answer: dict[str, Any]) -> str:
    with pytest.raises(SecondFactorInvalid) as refused:
        await desk.logins.prove_passkey(pending, assertion(answer))
    return refused.value.cause


async def test_the_options_ask_for_what_is_required(desk: Desk) -> None:
    """Shows ASVS 6.7.2."""
    user = await desk.user()
    options: dict[str, Any] = await desk.factors.begin_passkey(user)
    assert options["rp"] == {"id": "auth.example.com", "name": PARTY.name}
    assert options["user"] == {
        "id": user.user_id.removeprefix("usr_"),
        "name": "ann@example.com",
        "displayName": "Ann Example",
    }
    assert [one["alg"] for one in options["pubKeyCredParams"]] == [-8, -7, -257]
    assert options["authenticatorSelection"] == {
        "residentKey": "required",
        "requireResidentKey": True,
        "userVerification": "required",
    }
    assert (options["timeout"], options["attestation"], options["excludeCredentials"]) == (300_000, "none", [])
    assert len(options["challenge"]) == 43
    device, _ = await desk.with_passkey(user)
    credential_id = encode_base64url(device.credential_id)
    again: dict[str, Any] = await desk.factors.begin_passkey(user)
    expected = [{"type": "public-key", "id": credential_id, "transports": ["hybrid", "internal"]}]
    assert again["excludeCredentials"] == expected
    asked = await desk.logins.ask(PendingLogin(purpose="factor", user_id=user.user_id, password_version=1))
    assert asked.public_key is not None
    assert asked.public_key["allowCredentials"] == expected
    alone = (await desk.logins.ask(ALONE)).public_key
    assert alone == asked.public_key | {"challenge": (alone or {})["challenge"], "allowCredentials": []}


@pytest.mark.parametrize("algorithm", [-8, -7, -257])
@pytest.mark.parametrize(("flags", "method"), [(UP | UV, "hwk"), (UP | UV | BE, "swk"), (UP | UV | BE | BS, "swk")])
async def test_a_passkey_is_a_whole_login_and_a_second_factor(
    desk: Desk, algorithm: int, flags: int, method: str
) -> None:
    """Shows ASVS 6.5.7."""
    user = await desk.user()
    device, factor = await desk.with_passkey(user, "Key", algorithm=algorithm, flags=flags)
    assert (factor.kind, factor.name, factor.last_used_at) == ("passkey", "Key", None)
    assert await desk.logins.demand(user.user_id) == Demand("factor", ("passkey",))
    as_second = PendingLogin(purpose="factor", user_id=user.user_id, password_version=1, delivery="body")
    for login in (ALONE, as_second):
        asked = await desk.logins.ask(login)
        answer = device.get(asked.public_key or {})
        proved = await desk.logins.prove_passkey(asked.pending, assertion(answer))
        assert (proved.user, proved.factor_id, proved.kind) == (user, factor.factor_id, "passkey")
        assert proved.amr == ("pop", "user", "mfa", method)
        assert proved.pending.delivery == login.delivery
        assert not proved.counter_went_back
        assert await refusal(desk, asked.pending, answer) == "pending-over"
    assert (await desk.factors.all(user.user_id))[0].last_used_at == desk.clock.now


@pytest.mark.parametrize("cause", BENT)
async def test_a_registration_that_is_not_as_it_was_asked_for_is_refused(desk: Desk, cause: str) -> None:
    user = await desk.user()
    options = await desk.factors.begin_passkey(user)
    with pytest.raises(SecondFactorInvalid) as refused:
        await desk.factors.add_passkey(
            user.user_id, read(Authenticator().create(options, **BENT[cause]), NewCredential)
        )
    assert refused.value.cause == cause
    assert await desk.factors.all(user.user_id) == ()
    await desk.factors.add_passkey(user.user_id, read(Authenticator().create(options), NewCredential))


@pytest.mark.parametrize("cause", BENT)
@pytest.mark.parametrize("is_alone", [True, False])
async def test_an_assertion_that_is_not_as_it_was_asked_for_is_refused_and_uses_nothing_up(
    desk: Desk, cause: str, is_alone: bool
) -> None:
    user = await desk.user()
    device, _ = await desk.with_passkey(user)
    login = ALONE if is_alone else PendingLogin(purpose="factor", user_id=user.user_id, password_version=1)
    asked = await desk.logins.ask(login)
    options = asked.public_key or {}
    assert await refusal(desk, asked.pending, device.get(options, **BENT[cause])) == cause
    await desk.logins.prove_passkey(asked.pending, assertion(device.get(options)))


@pytest.mark.parametrize("algorithm", [-8, -7, -257])
async def test_a_signature_of_another_key_is_refused(desk: Desk, algorithm: int) -> None:
    user = await desk.user()
    device, _ = await desk.with_passkey(user, algorithm=algorithm)
    asked = await desk.logins.ask(ALONE)
    answer = device.get(asked.public_key or {}, key=new_key(algorithm))
    assert await refusal(desk, asked.pending, answer) == "signature"


async def test_a_passkey_of_another_user_is_refused_as_second_factor(desk: Desk) -> None:
    user, other = await desk.user(), await desk.user("bob@example.com")
    await desk.with_passkey(user)
    theirs, _ = await desk.with_passkey(other)
    asked = await desk.logins.ask(PendingLogin(purpose="factor", user_id=user.user_id, password_version=1))
    options = asked.public_key or {}
    assert await refusal(desk, asked.pending, theirs.get(options)) == "user-handle"
    handle = user.user_id.removeprefix("usr_")
    assert await refusal(desk, asked.pending, theirs.get(options, user_handle=handle)) == "unknown-credential"
    assert await refusal(desk, asked.pending, theirs.get(options, user_handle=None)) == "unknown-credential"


@pytest.mark.parametrize("handle", ["", None, "AAAA", "A" * 22, "!", "A" * 23])
async def test_a_login_by_passkey_alone_needs_the_user_handle_of_its_owner(desk: Desk, handle: str | None) -> None:
    user = await desk.user()
    device, _ = await desk.with_passkey(user)
    asked = await desk.logins.ask(ALONE)
    cause = await refusal(desk, asked.pending, device.get(asked.public_key or {}, user_handle=handle))
    assert cause in ("user-handle", "unknown-credential")


async def test_backup_eligibility_does_not_change(desk: Desk) -> None:
    user = await desk.user()
    device, _ = await desk.with_passkey(user)
    asked = await desk.logins.ask(ALONE)
    answer = device.get(asked.public_key or {}, flags=UP | UV | BE)
    assert await refusal(desk, asked.pending, answer) == "backup-eligibility"


@pytest.mark.parametrize(
    ("stored", "shown", "went_back"), [(5, 6, False), (5, 5, True), (5, 4, True), (0, 0, False), (0, 1, False)]
)
async def test_a_counter_that_does_not_go_up_is_told_and_not_refused(
    desk: Desk, stored: int, shown: int, went_back: bool
) -> None:
    """WebAuthn, section 7.2, step 22."""
    user = await desk.user()
    device, _ = await desk.with_passkey(user, counter=stored, counts_up=False)
    device.counter = shown
    asked = await desk.logins.ask(ALONE)
    proved = await desk.logins.prove_passkey(asked.pending, assertion(device.get(asked.public_key or {})))
    assert proved.counter_went_back is went_back
    [kept] = await desk.factors._kept.all(user.user_id)
    assert kept.number == shown


async def test_a_challenge_registers_one_passkey_of_its_own_user(desk: Desk) -> None:
    user, other = await desk.user(), await desk.user("bob@example.com")
    options = await desk.factors.begin_passkey(user)
    with pytest.raises(SecondFactorInvalid):
        await desk.factors.add_passkey(other.user_id, read(Authenticator().create(options), NewCredential))
    await desk.factors.add_passkey(user.user_id, read(Authenticator().create(options), NewCredential))
    with pytest.raises(SecondFactorInvalid) as refused:
        await desk.factors.add_passkey(user.user_id, read(Authenticator().create(options), NewCredential))
    assert refused.value.cause == "challenge"


async def test_the_same_passkey_is_not_registered_twice(desk: Desk) -> None:
    user = await desk.user()
    device, _ = await desk.with_passkey(user)
    answer = device.create(await desk.factors.begin_passkey(user))
    with pytest.raises(SecondFactorInvalid) as refused:
        await desk.factors.add_passkey(user.user_id, read(answer, NewCredential))
    assert refused.value.cause == "known-already"


async def test_a_user_has_ten_passkeys_at_most(desk: Desk) -> None:
    user = await desk.user()
    for _ in range(MOST[Kind.PASSKEY]):
        await desk.with_passkey(user)
    with pytest.raises(MalformedRequest):
        await desk.with_passkey(user)


async def test_a_passkey_of_a_disabled_or_removed_user_logs_nobody_in(desk: Desk) -> None:
    user = await desk.user()
    device, _ = await desk.with_passkey(user)
    asked = await desk.logins.ask(ALONE)
    await desk.users.set_active(user.user_id, False)
    assert await refusal(desk, asked.pending, device.get(asked.public_key or {})) == "user-disabled"
    await desk.users.remove(user.user_id, user.email)
    assert await refusal(desk, asked.pending, device.get(asked.public_key or {})) == "unknown-credential"


@pytest.mark.parametrize(
    "public_key",
    [
        {1: 2, 3: -7, -1: 1, -2: bytes(32), -3: bytes(32)},  # no point of the curve
        {1: 2, 3: -7, -1: 2, -2: bytes(32), -3: bytes(32)},
        {1: 2, 3: -35, -1: 2, -2: bytes(48), -3: bytes(48)},  # an algorithm that was not asked for
        {1: 1, 3: -8, -1: 6, -2: b"short"},
        {1: 3, 3: -257, -1: b"\x00", -2: b"\x01"},
        {1: 3, 3: -257, -1: "text", -2: []},
        {1: 3, 3: -257, -1: b"\xff" * 4096, -2: b"\x01\x00\x01"},
        {1: 3},
        [],
        17,
    ],
)
async def test_a_key_with_which_nothing_can_be_verified_is_refused_at_once(desk: Desk, public_key: Any) -> None:
    user = await desk.user()
    answer = Authenticator().create(await desk.factors.begin_passkey(user), public_key=cbor.encode(public_key))
    with pytest.raises(SecondFactorInvalid):
        await desk.factors.add_passkey(user.user_id, read(answer, NewCredential))
    assert await desk.factors.all(user.user_id) == ()


async def test_a_good_key_of_an_algorithm_that_was_not_asked_for_is_refused(desk: Desk) -> None:
    user = await desk.user()
    point = ec.generate_private_key(ec.SECP384R1()).public_key().public_numbers()
    key = cbor.encode({1: 2, 3: -35, -1: 2, -2: point.x.to_bytes(48, "big"), -3: point.y.to_bytes(48, "big")})
    answer = Authenticator().create(await desk.factors.begin_passkey(user), public_key=key)
    with pytest.raises(SecondFactorInvalid) as refused:
        await desk.factors.add_passkey(user.user_id, read(answer, NewCredential))
    assert refused.value.cause == "algorithm"


HOSTILE = [b"", b"\x9f", b"\x81" * 12_000, b"\xbb" + b"\xff" * 8, b"\x9b" + b"\xff" * 8, b"\xa1\x81\x01\x01", b"{}"]


@given(st.sampled_from(HOSTILE) | st.binary(max_size=300))
def test_what_is_no_webauthn_is_refused_and_upsets_nothing(octets: bytes) -> None:
    text = encode_base64url(octets)
    challenge = "c"
    device = Authenticator(algorithm=-8)
    right = device.create({"user": {"id": "A" * 22}, "challenge": challenge})
    credential = Credential("", device.credential_id, cbor.encode(device._public_key()), False, False, b"")
    for place in ("clientDataJSON", "attestationObject"):
        answer = right | {"response": right["response"] | {place: text}}
        with pytest.raises(SecondFactorInvalid):
            ceremonies.check_registration(PARTY, read(answer, NewCredential), challenge, "")
    shown = device.get({"challenge": challenge})
    for place in ("clientDataJSON", "authenticatorData", "signature"):
        answer = shown | {"response": shown["response"] | {place: text}}
        with pytest.raises(SecondFactorInvalid):
            ceremonies.check_assertion(PARTY, assertion(answer), challenge, credential)
    with pytest.raises(SecondFactorInvalid):
        ceremonies.challenge_of(text)
