"""Client assertions, good and bad, by RFC 7523 section 3 and RFC 10070; no Redis and no HTTP."""

from typing import Any

import pytest

from gateway.errors import InvalidClient
from gateway.machines.assertions import MAX_LIFE_SECONDS, judge_assertion, read_assertion
from gateway.machines.client_keys import ClientKey, client_keys_of, read_client_keys
from tests.machines.clients import KeyedService, new_key, public_pem, sign

ISSUER = "https://auth.example.com"
NOW = 1_790_000_000
SERVICE = KeyedService("cli_" + "a" * 22, new_key())
KEYS = client_keys_of(read_client_keys(public_pem(SERVICE.key)))
OTHER = new_key()


def judge(text: str, keys: tuple[ClientKey, ...] = KEYS) -> None:
    judge_assertion(read_assertion(text), keys, issuer=ISSUER, now=NOW)


def cause_of(text: str, keys: tuple[ClientKey, ...] = KEYS) -> str:
    with pytest.raises(InvalidClient) as caught:
        judge(text, keys)
    assert caught.value.status == 401
    return caught.value.cause


GOOD: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("plain", {}, {}),
    ("typed", {"typ": "client-authentication+jwt"}, {}),
    ("typed in full", {"typ": "application/client-authentication+jwt"}, {}),
    ("typed as JWT", {"typ": "JWT"}, {}),
    ("named by thumbprint", {"kid": KEYS[0].kid}, {}),
    ("old name of the algorithm", {"alg": "EdDSA"}, {}),
    ("header of others", {"x5t": "x"}, {}),
    ("without iat", {}, {"iat": None}),
    ("times with fractions", {}, {"exp": NOW + 60.5, "iat": NOW - 0.5}),
    ("nbf of now", {}, {"nbf": NOW}),
    ("longest life", {}, {"exp": NOW + MAX_LIFE_SECONDS}),
    ("claims of others", {}, {"scope": "x", "nested": {"a": [1]}}),
]


@pytest.mark.parametrize(("name", "header", "claims"), GOOD, ids=[case[0] for case in GOOD])
def test_a_good_assertion_is_taken(name: str, header: dict[str, Any], claims: dict[str, Any]) -> None:
    judge(SERVICE.assertion(ISSUER, header, now=NOW, **claims))


BAD: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("aud is the endpoint", "assertion-audience", {}, {"aud": ISSUER + "/oauth/token"}),
    ("aud with a slash", "assertion-audience", {}, {"aud": ISSUER + "/"}),
    ("aud in other letters", "assertion-audience", {}, {"aud": ISSUER.upper()}),
    ("aud is a list", "assertion-malformed", {}, {"aud": [ISSUER]}),
    ("no aud", "assertion-malformed", {}, {"aud": None}),
    ("no iss", "assertion-malformed", {}, {"iss": None}),
    ("no sub", "assertion-malformed", {}, {"sub": None}),
    ("no exp", "assertion-malformed", {}, {"exp": None}),
    ("no jti", "assertion-malformed", {}, {"jti": None}),
    ("empty jti", "assertion-malformed", {}, {"jti": ""}),
    ("long jti", "assertion-malformed", {}, {"jti": "x" * 256}),
    ("jti is a number", "assertion-malformed", {}, {"jti": 1}),
    ("iss is another", "assertion-malformed", {}, {"iss": "cli_" + "b" * 22}),
    ("exp is text", "assertion-malformed", {}, {"exp": "1790000000"}),
    ("exp is negative", "assertion-malformed", {}, {"exp": -1}),
    ("expired", "assertion-time", {}, {"exp": NOW}),
    ("too long a life", "assertion-time", {}, {"exp": NOW + MAX_LIFE_SECONDS + 6}),
    ("exp without end", "assertion-time", {}, {"exp": 2**53}),
    ("iat ahead", "assertion-time", {}, {"iat": NOW + 6}),
    ("nbf ahead", "assertion-time", {}, {"nbf": NOW + 6}),
    ("another kid", "assertion-key-unknown", {"kid": "x"}, {}),
    ("kid is a number", "assertion-malformed", {"kid": 1}, {}),
    ("alg of another key", "assertion-key-unknown", {"alg": "ES256"}, {}),
    ("alg none", "assertion-malformed", {"alg": "none"}, {}),
    ("alg HS256", "assertion-malformed", {"alg": "HS256"}, {}),
    ("alg is a list", "assertion-malformed", {"alg": ["Ed25519"]}, {}),
    ("access token", "assertion-malformed", {"typ": "at+jwt"}, {}),
    ("typ is a number", "assertion-malformed", {"typ": 1}, {}),
    ("crit", "assertion-malformed", {"crit": ["exp"]}, {}),
]


@pytest.mark.parametrize(("name", "cause", "header", "claims"), BAD, ids=[case[0] for case in BAD])
def test_a_bad_assertion_is_refused(name: str, cause: str, header: dict[str, Any], claims: dict[str, Any]) -> None:
    assert cause_of(SERVICE.assertion(ISSUER, header, now=NOW, **claims)) == cause


def test_an_assertion_that_somebody_else_signed_is_refused() -> None:
    assert cause_of(SERVICE.assertion(ISSUER, key=OTHER, now=NOW)) == "assertion-signature"


def test_a_client_without_keys_has_none_that_could_have_signed() -> None:
    assert cause_of(SERVICE.assertion(ISSUER, now=NOW), keys=()) == "assertion-key-unknown"


def test_every_kind_of_key_signs() -> None:
    for algorithm in ("RS256", "PS256", "ES256", "Ed25519", "EdDSA"):
        service = KeyedService(SERVICE.client_id, new_key(algorithm), algorithm)
        judge(service.assertion(ISSUER, now=NOW), client_keys_of(read_client_keys(public_pem(service.key))))


def test_one_of_several_keys_is_found_without_a_kid() -> None:
    jwks = read_client_keys(b"".join(public_pem(key) for key in (OTHER, SERVICE.key, new_key("ES256"))))
    judge(SERVICE.assertion(ISSUER, now=NOW), client_keys_of(jwks))


MALFORMED = [
    "",
    "a.b",
    "a.b.c",
    "..",
    "a.b.c.d",
    "e30.e30.AAAA",
    "A" * 8193,
    "e30.e30.A=A",
    sign(SERVICE.key, {"alg": "Ed25519"}, b"[]"),
    sign(SERVICE.key, {"alg": "Ed25519"}, b"{"),
    sign(SERVICE.key, {"alg": "Ed25519"}, b'{"iss":"a","iss":"a"}'),
    sign(SERVICE.key, {"alg": "Ed25519"}, b"[" * 3000),
    sign(SERVICE.key, {"alg": "Ed25519"}, b"\xff"),
    sign(SERVICE.key, {"alg": "Ed25519"}, b'{"exp":NaN}'),
    SERVICE.assertion(ISSUER, now=NOW) + "\n",
    " " + SERVICE.assertion(ISSUER, now=NOW),
]


@pytest.mark.parametrize("text", MALFORMED, ids=range(len(MALFORMED)))
def test_what_is_no_jwt_is_refused(text: str) -> None:
    assert cause_of(text) == "assertion-malformed"
