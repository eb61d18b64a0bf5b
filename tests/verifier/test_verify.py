import json
from typing import Any

import pytest

from gateway.verifier import (
    AccessClaims,
    AccessTokenError,
    ClaimsRejected,
    ExpiredToken,
    MalformedToken,
    UnknownKey,
    UntrustedToken,
    VerifiedTokens,
    verify_access_token,
)
from tests.verifier.mint import (
    ALGORITHMS,
    AUDIENCE,
    ISSUER,
    NOW,
    claims,
    claims_without,
    compact,
    header,
    keys,
    token,
    verification_key,
    verify,
)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_good_token_gives_its_claims(algorithm: str) -> None:
    assert verify(token(algorithm)) == AccessClaims(
        iss=ISSUER,
        sub="usr_" + "a" * 22,
        aud=AUDIENCE,
        client_id="first-party",
        iat=NOW,
        exp=NOW + 600,
        jti="j" * 22,
        sid="s" * 22,
        auth_time=NOW - 30,
        amr=("pwd",),
        roles=("staff",),
        email="ada@example.com",
        name="Ada Lovelace",
    )


def test_both_spellings_of_the_type_are_good() -> None:
    """RFC 9068 section 4 names two values. Shows RFC 9068 2.1a."""
    assert verify(compact(header(typ="application/at+jwt"), claims())) == verify(token())


@pytest.mark.parametrize(
    "typ", ["JWT", "at+JWT", "AT+JWT", "Application/at+jwt", "at+jwt ", "rt+jwt", "logout+jwt", ""]
)
def test_any_other_type_is_refused(typ: str) -> None:
    """Shows ASVS 9.2.2, RFC 8725 3.11, RFC 9068 4a."""
    with pytest.raises(UntrustedToken):
        verify(compact(header(typ=typ), claims()))


def test_a_token_is_expired_at_the_second_of_its_exp() -> None:
    """RFC 7519 section 4.1.4: "on or after"; there is no leeway. Shows ASVS 9.2.1, RFC 9068 4e."""
    assert verify(token(), now=NOW + 599).exp == NOW + 600
    with pytest.raises(ExpiredToken):
        verify(token(), now=NOW + 600)


@pytest.mark.parametrize("claim", ["iat", "nbf"])
def test_a_token_may_come_from_a_clock_five_seconds_ahead_and_no_more(claim: str) -> None:
    """Shows ASVS 9.2.1."""
    assert getattr(verify(token(**{claim: NOW + 5})), claim) == NOW + 5
    with pytest.raises(ClaimsRejected) as rejected:
        verify(token(**{claim: NOW + 6}))
    assert rejected.value.claim == claim


@pytest.mark.parametrize("claim", ["iss", "sub", "aud", "client_id", "iat", "exp", "jti", "sid"])
def test_each_required_claim_must_be_there(claim: str) -> None:
    """Shows RFC 9068 2.2."""
    for payload in (claims_without(claim), claims(**{claim: None})):
        with pytest.raises(ClaimsRejected) as rejected:
            verify(compact(header(), payload))
        assert rejected.value.claim == claim


def test_the_token_of_a_machine_client_has_no_session() -> None:
    found = verify(compact(header(), claims_without("sid") | {"sub": "cli_1", "client_id": "cli_1"}))
    assert (found.sub, found.sid, found.is_of_client) == ("cli_1", "", True)
    assert not verify(token()).is_of_client


@pytest.mark.parametrize("sub", ["usr_" + "a" * 22, "first-party ", "First-party"])
def test_the_token_of_anybody_else_without_a_session_is_refused(sub: str) -> None:
    with pytest.raises(ClaimsRejected) as rejected:
        verify(compact(header(), claims_without("sid") | {"sub": sub}))
    assert rejected.value.claim == "sid"


@pytest.mark.parametrize(
    "status",
    [
        None,
        {},
        {"status_list": {"idx": 7, "uri": "https://auth.example.com/status/1"}},
        {"status_list": {"idx": 7, "uri": "x", "more": 1}, "other_mechanism": {}},
    ],
)
def test_a_token_may_say_where_its_status_is_told(status: object) -> None:
    found = verify(token(status=status))
    reference = found.status.status_list if found.status else None
    assert (reference is not None and reference.idx == 7) == bool(status)


@pytest.mark.parametrize(
    "status_list", [1, [], {"idx": -1, "uri": "x"}, {"idx": "1", "uri": "x"}, {"idx": 1}, {"uri": "x"}]
)
def test_a_status_that_cannot_be_read_is_refused(status_list: object) -> None:
    with pytest.raises(ClaimsRejected) as rejected:
        verify(token(status={"status_list": status_list}))
    assert rejected.value.claim == "status"


@pytest.mark.parametrize("claim", ["sub", "client_id", "jti", "sid"])
def test_an_empty_identifier_is_none(claim: str) -> None:
    with pytest.raises(ClaimsRejected):
        verify(token(**{claim: ""}))


@pytest.mark.parametrize("claim", ["auth_time", "amr", "roles", "email", "name"])
def test_the_other_claims_may_be_absent_and_then_allow_nothing(claim: str) -> None:
    found = verify(compact(header(), claims_without(claim)))
    assert not getattr(found, claim)


def test_unknown_claims_are_ignored() -> None:
    assert verify(token(scope="read", cnf={"jkt": "x"})) == verify(token())


@pytest.mark.parametrize(
    ("claim", "value"),
    [
        ("iss", ISSUER + "/"),
        ("iss", ISSUER.upper()),
        ("iss", "http://auth.example.com"),
        ("iss", [ISSUER]),
        ("iss", ""),
        ("aud", AUDIENCE + "/"),
        ("aud", "https://other.example.com"),
        ("aud", [AUDIENCE]),
        ("aud", [AUDIENCE, "https://other.example.com"]),
        ("aud", ""),
        ("sub", 1),
        ("jti", 1),
        ("sid", ["s"]),
        ("client_id", {}),
        ("roles", "staff"),
        ("roles", [1]),
        ("roles", None),
        ("amr", "pwd"),
        ("auth_time", "1"),
        ("auth_time", None),
        ("email", 1),
        ("name", ["Ada"]),
    ],
)
def test_a_claim_of_another_kind_or_place_is_refused(claim: str, value: Any) -> None:
    with pytest.raises(ClaimsRejected) as rejected:
        verify(token(**{claim: value}))
    assert rejected.value.claim == claim


@pytest.mark.parametrize("claim", ["exp", "iat", "nbf", "auth_time"])
@pytest.mark.parametrize("value", ["1", True, -1, 1.0, 1.5, 1e300, 2**53, 10**30, [NOW], {}])
def test_times_are_whole_numbers_that_every_reader_keeps_exact(claim: str, value: Any) -> None:
    with pytest.raises(ClaimsRejected) as rejected:
        verify(token(**{claim: value}))
    assert rejected.value.claim == claim


def test_the_signature_is_checked_before_the_claims() -> None:
    """An expired token of a stranger is a stranger's, not expired. Shows ASVS 9.1.1."""
    message, _, signature = token().rpartition(".")
    _, other_payload, _ = token(exp=1).split(".")
    with pytest.raises(UntrustedToken):
        verify(f"{message.split('.')[0]}.{other_payload}.{signature}")


def test_an_unknown_key_is_told_apart() -> None:
    """So that those who can fetch keys know when to."""
    with pytest.raises(UnknownKey):
        verify(compact(header(kid="k" * 43), claims()))


def test_no_message_holds_a_part_of_the_token() -> None:
    for bad in (
        token(exp=1),
        token(aud="https://secret.example.com"),
        compact(header(), '{"secret":'),
        compact('{"secret":', claims()),
        compact(header(typ="secret"), claims()),
        token() + "=",
    ):
        with pytest.raises(AccessTokenError) as caught:
            verify(bad)
        assert caught.value.code
        told = f"{caught.value!s} {caught.value!r}"
        assert "secret" not in told
        assert all(piece not in told for piece in bad.split("."))
        assert caught.value.__cause__ is None


# ------------------------------------------------------------------------------------------------- VerifiedTokens


def remembering(max_tokens: int = 10) -> VerifiedTokens:
    return VerifiedTokens(issuer=ISSUER, audience=AUDIENCE, max_tokens=max_tokens)


def test_a_remembered_token_gives_the_same_claims() -> None:
    tokens, access_token = remembering(), token()
    first = tokens.verify(access_token, keys(), now=NOW)
    assert tokens.verify(str(access_token), keys(), now=NOW + 599) is first


def test_a_remembered_token_expires_all_the_same() -> None:
    tokens, access_token = remembering(), token()
    tokens.verify(access_token, keys(), now=NOW)
    with pytest.raises(ExpiredToken):
        tokens.verify(access_token, keys(), now=NOW + 600)


def test_a_remembered_token_is_forgotten_with_its_key() -> None:
    tokens, access_token = remembering(), token()
    first = tokens.verify(access_token, keys(), now=NOW)
    others = {kid: key for kid, key in keys().items() if key != verification_key()}
    with pytest.raises(UnknownKey):
        tokens.verify(access_token, others, now=NOW)
    assert tokens.verify(access_token, keys(), now=NOW) is not first


def test_equal_keys_read_again_forget_nothing() -> None:
    tokens, access_token = remembering(), token()
    first = tokens.verify(access_token, keys(), now=NOW)
    assert tokens.verify(access_token, dict(keys()), now=NOW) is first


def test_a_bad_token_is_not_remembered_and_none_passes_for_another() -> None:
    tokens, good = remembering(), token()
    tokens.verify(good, keys(), now=NOW)
    for bad in (good + "=", good[:-1], token(iat=NOW + 60)):
        for _ in range(2):
            with pytest.raises((MalformedToken, UntrustedToken, ClaimsRejected)):
                tokens.verify(bad, keys(), now=NOW)


@pytest.mark.parametrize("max_tokens", [0, 1, 3])
def test_the_memory_is_bounded(max_tokens: int) -> None:
    tokens = remembering(max_tokens)
    texts = [token("EdDSA", jti=f"j{number}") for number in range(5)]
    first = [tokens.verify(text, keys(), now=NOW) for text in texts]
    second = [tokens.verify(text, keys(), now=NOW) for text in reversed(texts)][::-1]
    assert first == second
    assert [a is b for a, b in zip(first, second, strict=True)].count(True) == max_tokens


def test_no_token_at_all_is_accepted_without_keys() -> None:
    with pytest.raises(UnknownKey):
        verify_access_token(token(), {}, issuer=ISSUER, audience=AUDIENCE, now=NOW)


def test_the_payload_is_what_was_signed_not_what_parses() -> None:
    """White space and escapes are the issuer's to choose; the signature covers them."""
    spaced = json.dumps(claims(), indent=1).replace("staff", "\\u0073taff")
    assert verify(compact(header(), spaced)).roles == ("staff",)
