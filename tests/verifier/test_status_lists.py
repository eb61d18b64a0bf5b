"""Status lists: the vectors of the draft, what a list says, and those that an attacker may put in its place."""

import json
import random
import zlib
from pathlib import Path
from typing import Any

import pytest

from gateway.verifier import (
    AccessTokenError,
    ClaimsRejected,
    ExpiredToken,
    MalformedToken,
    StatusList,
    UnknownKey,
    UntrustedToken,
    verify_status_list,
)
from gateway.verifier.keys import decode_base64url, encode_base64url
from gateway.verifier.status_lists import MAX_LIST_BYTES, MAX_POSITIONS
from tests.verifier.mint import (
    ALGORITHMS,
    ISSUER,
    NOW,
    claims,
    compact,
    header,
    keys,
    list_claims,
    list_token,
    part,
    signature,
    token,
    verification_key,
    verify,
)

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "status_lists.json").read_text())["lists"]
URI = ISSUER + "/status/1"
HEADER = header(typ="statuslist+jwt")


def judge(text: str, *, now: float = NOW) -> StatusList:
    return verify_status_list(text, keys(), uri=URI, now=now)


def with_lst(lst: str, bits: int = 1) -> str:
    return compact(HEADER, list_claims(URI, b"", status_list={"bits": bits, "lst": lst}))


def changed(**changes: Any) -> str:
    return list_token(URI, bytes(16), **changes)


def without(name: str) -> str:
    return compact(HEADER, {claim: value for claim, value in list_claims(URI, bytes(16)).items() if claim != name})


# ----------------------------------------------------------------------------------------------------- what it says


@pytest.mark.parametrize(
    ("bits", "lst", "expected"),
    [
        (1, "78dadbb918000217015d", [1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1, 0, 1]),
        (2, "78da3be9f2130003df0207", [1, 2, 0, 3, 0, 1, 0, 1, 1, 2, 3, 3]),
    ],
)
def test_the_lists_of_the_draft_say_what_it_says(bits: int, lst: str, expected: list[int]) -> None:
    """draft-ietf-oauth-status-list, section 4.1."""
    status_list = judge(with_lst(encode_base64url(bytes.fromhex(lst)), bits))
    assert [status_list.value_at(idx) for idx in range(len(status_list))] == expected


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: f"{vector['bits']} bits")
def test_the_large_lists_of_the_draft_say_what_it_says(vector: dict[str, Any]) -> None:
    """Appendix C."""
    status_list = judge(with_lst(vector["lst"], vector["bits"]))
    values = {idx: value for idx in range(len(status_list)) if (value := status_list.value_at(idx))}
    assert values == {int(idx): value for idx, value in vector["values"].items()}
    assert len(status_list) == MAX_POSITIONS


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_each_position_has_what_was_written_there(bits: int) -> None:
    dice = random.Random(bits)
    for _ in range(50):
        values = [dice.randrange(2**bits) for _ in range(8 * dice.randint(1, 8))]
        octets = bytearray(len(values) * bits // 8)
        for idx, value in enumerate(values):
            octets[idx * bits // 8] |= value << (idx * bits % 8)
        status_list = StatusList(bytes(octets), bits=bits, issued_at=NOW, ttl_seconds=10, expires_at=NOW + 60)
        assert [status_list.value_at(idx) for idx in range(len(status_list))] == values


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_list_of_two_to_the_twentieth_positions_is_read_and_has_no_more(bits: int) -> None:
    octets = random.Random(bits).randbytes(MAX_POSITIONS * bits // 8)
    status_list = judge(list_token(URI, octets, bits=bits))
    assert len(status_list) == MAX_POSITIONS
    assert status_list.value_at(MAX_POSITIONS - 1) == octets[-1] >> (8 - bits)
    for beyond in (MAX_POSITIONS, 2**53 - 1):
        with pytest.raises(IndexError):
            status_list.value_at(beyond)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("typ", ["statuslist+jwt", "application/statuslist+jwt"])
def test_a_list_of_every_algorithm_is_taken(algorithm: str, typ: str) -> None:
    made = compact(header(algorithm, typ=typ), list_claims(URI, b"\x02"), signer=algorithm)
    assert [judge(made).value_at(idx) for idx in range(3)] == [0, 1, 0]


def test_a_list_tells_when_it_was_made_when_to_ask_again_and_when_it_is_over() -> None:
    status_list = judge(changed(ttl=30))
    assert (status_list.issued_at, status_list.ttl_seconds, status_list.expires_at) == (NOW, 30, NOW + 60)
    assert judge(without("ttl")).ttl_seconds == 10
    assert judge(changed(exp=NOW + 10**9)).expires_at == NOW + 86_400


def test_a_list_is_over_at_the_second_of_its_exp() -> None:
    assert judge(changed(), now=NOW + 59.999).bits == 1
    with pytest.raises(ExpiredToken):
        judge(changed(), now=NOW + 60)


def test_iat_may_lie_five_seconds_ahead() -> None:
    assert judge(changed(iat=NOW + 5)).issued_at == NOW + 5
    with pytest.raises(ClaimsRejected, match="iat"):
        judge(changed(iat=NOW + 6))


def test_members_that_nobody_knows_are_ignored() -> None:
    status_list = list_claims(URI, b"\x01")["status_list"] | {"aggregation_uri": ISSUER + "/status", "other": [1]}
    assert judge(changed(status_list=status_list, iss=ISSUER, nbf=1)).value_at(0) == 1


# --------------------------------------------------------------------------------------------- what is not a list


def test_a_status_list_is_never_an_access_token_nor_the_reverse() -> None:
    both = claims(sub=URI) | list_claims(URI, bytes(16))
    as_list, as_token = compact(HEADER, both), compact(header(), both)
    assert judge(as_list).bits == 1
    assert verify(as_token).iss == ISSUER
    with pytest.raises(UntrustedToken, match="typ"):
        judge(as_token)
    with pytest.raises(UntrustedToken, match="typ"):
        verify(as_list)
    with pytest.raises(UntrustedToken, match="typ"):
        judge(token())


@pytest.mark.parametrize(
    "typ", ["JWT", "at+jwt", "statuslist+cwt", "StatusList+JWT", "Application/statuslist+jwt", "statuslist+jwt ", ""]
)
def test_no_other_type_is_a_list(typ: str) -> None:
    with pytest.raises(UntrustedToken, match="typ"):
        judge(compact(header(typ=typ), list_claims(URI, bytes(16))))


def test_a_list_of_another_key_is_refused() -> None:
    with pytest.raises(UnknownKey):
        judge(compact(HEADER | {"kid": "other"}, list_claims(URI, bytes(16))))
    message = f"{part(HEADER)}.{part(list_claims(URI, bytes(16)))}"
    with pytest.raises(UntrustedToken, match="signature"):
        judge(f"{message}.{signature(message, signer='PS256', algorithm='RS256')}")
    with pytest.raises(UntrustedToken, match="own"):
        judge(compact(HEADER | {"alg": "PS256"}, list_claims(URI, bytes(16)), algorithm="PS256"))
    with pytest.raises(UntrustedToken, match="alg"):
        judge(f"{part(HEADER | {'alg': 'none'})}.{part(list_claims(URI, bytes(16)))}.AA")


def test_only_a_list_of_this_very_address_is_taken() -> None:
    for other in (ISSUER + "/status/2", URI + "/", URI.upper(), URI + "?", "http" + URI[5:], "", URI + " "):
        with pytest.raises(ClaimsRejected, match="sub"):
            judge(list_token(other, bytes(16)))


@pytest.mark.parametrize("name", ["sub", "iat", "exp", "status_list"])
def test_a_list_that_lacks_what_is_needed_is_refused(name: str) -> None:
    with pytest.raises(ClaimsRejected):
        judge(without(name))


WRONG: dict[str, dict[str, Any]] = {
    "ttl of nothing": {"ttl": 0},
    "ttl below nothing": {"ttl": -1},
    "ttl of more than an hour": {"ttl": 3601},
    "ttl as text": {"ttl": "10"},
    "ttl as a fraction": {"ttl": 10.5},
    "ttl as truth": {"ttl": True},
    "ttl of null": {"ttl": None},
    "iat as a fraction": {"iat": NOW + 0.5},
    "iat below nothing": {"iat": -1},
    "exp before iat": {"exp": NOW - 1},
    "exp at iat": {"exp": NOW},
    "exp beyond all integers": {"exp": 2**53},
    "sub as a list": {"sub": [URI]},
    "status_list as text": {"status_list": "eNrbuRgAAhcBXQ"},
    "status_list of null": {"status_list": None},
    "no lst": {"status_list": {"bits": 1}},
    "no bits": {"status_list": {"lst": "eNrbuRgAAhcBXQ"}},
    "lst as a list": {"status_list": {"bits": 1, "lst": ["eNrbuRgAAhcBXQ"]}},
    **{
        f"bits {bits!r}": {"status_list": {"bits": bits, "lst": "eNrbuRgAAhcBXQ"}}
        for bits in (0, 3, 5, 16, -1, "1", 1.5, None, True)
    },
}


@pytest.mark.parametrize("name", WRONG)
def test_claims_of_a_wrong_type_or_out_of_bounds_are_refused(name: str) -> None:
    with pytest.raises(ClaimsRejected):
        judge(changed(**WRONG[name]))


DEFLATED = zlib.compress(bytes(range(16)), 9)
RAW = zlib.compressobj(9, zlib.DEFLATED, -15)
GZIP = zlib.compressobj(9, zlib.DEFLATED, 31)
WITH_DICTIONARY = zlib.compressobj(9, zdict=b"\x00" * 64)
UNREADABLE = {
    "nothing": b"",
    "not compressed": bytes(16),
    "cut off": DEFLATED[:-1],
    "cut off in the middle": DEFLATED[:8],
    "with a wrong checksum": DEFLATED[:-1] + bytes([DEFLATED[-1] ^ 1]),
    "with more after it": DEFLATED + b"\x00",
    "two streams": DEFLATED + DEFLATED,
    "without the head of ZLIB": RAW.compress(bytes(16)) + RAW.flush(),
    "gzip": GZIP.compress(bytes(16)) + GZIP.flush(),
    "with a dictionary": WITH_DICTIONARY.compress(bytes(16)) + WITH_DICTIONARY.flush(),
    "of no positions": zlib.compress(b""),
    "one octet too many": zlib.compress(bytes(MAX_POSITIONS // 8 + 1)),
    "a bomb": zlib.compress(bytes(512 * 1024 * 1024 // 8), 9),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_list_that_is_not_one_whole_stream_within_bounds_is_refused(name: str) -> None:
    with pytest.raises(ClaimsRejected, match="status_list"):
        judge(with_lst(encode_base64url(UNREADABLE[name])))


def test_a_bomb_is_inflated_no_further_than_a_list_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    inflated: list[int] = []

    class Watched:
        def __init__(self) -> None:
            self.stream = zlib_decompressobj()

        def decompress(self, octets: bytes, most: int) -> bytes:
            given = self.stream.decompress(octets, most)
            inflated.append(len(given))
            return given

        def __getattr__(self, name: str) -> Any:
            return getattr(self.stream, name)

    zlib_decompressobj = zlib.decompressobj
    monkeypatch.setattr(zlib, "decompressobj", Watched)
    with pytest.raises(ClaimsRejected, match="positions"):
        judge(with_lst(encode_base64url(UNREADABLE["a bomb"])))
    assert inflated == [MAX_POSITIONS // 8 + 1]


@pytest.mark.parametrize("spelling", ["{}==", "{} ", "\n{}", "{}A", "+/{}"])
def test_lst_has_one_spelling(spelling: str) -> None:
    lst = encode_base64url(DEFLATED)
    assert judge(with_lst(lst)).value_at(8) == 1
    with pytest.raises(ClaimsRejected, match="base64url"):
        judge(with_lst(spelling.format(lst)))


def test_a_list_of_more_than_two_mebibytes_is_not_looked_at() -> None:
    with pytest.raises(MalformedToken, match="longer"):
        judge("a" * (MAX_LIST_BYTES + 1))


@pytest.mark.parametrize("member", ["sub", "status_list", "exp"])
def test_a_member_that_occurs_twice_is_refused(member: str) -> None:
    twice = json.dumps(list_claims(URI, bytes(16)))
    payload = twice[:-1] + f', "{member}": {json.dumps(list_claims(URI, bytes(16))[member])}}}'
    with pytest.raises(MalformedToken):
        judge(compact(HEADER, payload))


def test_ten_thousand_changed_lists_are_refused() -> None:
    """One character is another one; nothing but our own errors comes out."""
    dice = random.Random(20)
    good = list_token(URI, dice.randbytes(64), signer="Ed25519")
    alphabet = "ABCxyz019-_.=+ \u00e9\x00"
    for _ in range(10_000):
        at = dice.randrange(len(good))
        bad = good[:at] + dice.choice([char for char in alphabet if char != good[at]]) + good[at + 1 :]
        with pytest.raises(AccessTokenError):
            judge(bad)


def test_no_refusal_holds_a_part_of_the_list() -> None:
    made = changed(status_list={"bits": 1, "lst": "c2VjcmV0LXNlY3JldA"})
    with pytest.raises(AccessTokenError) as refused:
        judge(made)
    assert "c2Vjcm" not in str(refused.value)
    assert decode_base64url("c2VjcmV0LXNlY3JldA") == b"secret-secret"
    assert verification_key().kid not in str(refused.value)
