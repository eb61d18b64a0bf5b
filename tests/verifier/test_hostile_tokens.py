"""Tokens that an attacker may send: algorithm and format confusion, foreign keys, single bits, noise."""

import contextlib
import hashlib
import hmac
import itertools
import json
import random
import string
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from gateway.verifier import (
    AccessTokenError,
    ClaimsRejected,
    MalformedToken,
    UnknownKey,
    UntrustedToken,
    public_jwk,
    verify_access_token,
)
from gateway.verifier.keys import decode_base64url, encode_base64url
from tests.verifier.mint import (
    ALGORITHMS,
    AUDIENCE,
    ISSUER,
    NOW,
    claims,
    compact,
    header,
    part,
    signature,
    token,
    verification_key,
    verify,
)

HMACS = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}


def public_texts(algorithm: str) -> dict[str, bytes]:
    """Give what is publicly known of a key and might be taken for an HMAC secret."""
    key = verification_key(algorithm)
    pem = key.key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return {
        "PEM": pem,
        "PEM without its last newline": pem.strip(),
        "PEM after a space": b" " + pem,
        "PEM before a newline": pem + b"\n",
        "PEM with CRLF": pem.replace(b"\n", b"\r\n"),
        "DER": key.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        "JWK": json.dumps(public_jwk(key)).encode(),
        "compact JWK": json.dumps(public_jwk(key), separators=(",", ":")).encode(),
        "JWKS": json.dumps({"keys": [public_jwk(key)]}).encode(),
        "kid": key.kid.encode(),
        "nothing": b"",
    }


def algorithm_confusions() -> Iterator[tuple[str, str]]:
    for algorithm, (name, digest) in itertools.product(("RS256", "ES256"), HMACS.items()):
        message = f"{part(header(algorithm, alg=name))}.{part(claims())}"
        for secret_name, secret in public_texts(algorithm).items():
            mac = hmac.new(secret, message.encode(), digest).digest()
            yield f"{name} under the {secret_name} of {algorithm}", f"{message}.{encode_base64url(mac)}"
    for name in ("none", "None", "nOnE", "NONE", "", "rs256", "RS256 ", "RS256\n"):
        message = f"{part(header(alg=name))}.{part(claims())}"
        yield f"alg {name!r} unsigned", f"{message}."
        yield f"alg {name!r} with a null octet", f"{message}.AA"
        yield f"alg {name!r} signed by the key", f"{message}.{signature(message, signer='RS256')}"
    for own, claimed in itertools.permutations(ALGORITHMS, 2):
        payload, kid = claims(), verification_key(own).kid
        yield f"{claimed} of its own key, under {own}'s kid", compact(header(claimed, kid=kid), payload, signer=claimed)
        yield f"{claimed} claimed, {own} signed", compact(header(own, alg=claimed), payload, signer=own)
        yield f"{own} claimed, {claimed} signed", compact(header(own), payload, signer=claimed)
    for other in ("RS384", "RS512", "PS256", "PS384", "PS512"):
        yield f"{other} by the RS256 key", compact(header(alg=other), claims(), signer="RS256", algorithm=other)
        yield f"RS256 claimed, {other} by the RS256 key", compact(header(), claims(), signer="RS256", algorithm=other)


CONFUSIONS = dict(algorithm_confusions())


@pytest.mark.parametrize("name", CONFUSIONS)
def test_a_key_is_used_with_its_own_algorithm_alone(name: str) -> None:
    """Shows ASVS 9.1.2, RFC 8725 3.1, RFC 8725 3.2."""
    with pytest.raises((UntrustedToken, MalformedToken)):
        verify(CONFUSIONS[name])


def test_there_are_enough_confusions() -> None:
    assert len(CONFUSIONS) >= 40


EXTRA_MEMBERS: dict[str, Any] = {
    "crit": ["exp"],
    "b64": False,
    "zip": "DEF",
    "jku": "https://evil.example.com/jwks.json",
    "jwk": public_jwk(verification_key()),
    "x5u": "https://evil.example.com/cert.pem",
    "x5c": ["MII="],
    "x5t": "AA",
    "x5t#S256": "AA",
    "cty": "JWT",
    "epk": {},
    "enc": "A256GCM",
    "p2c": 10**9,
    "nonce": "n",
    "": "",
}


@pytest.mark.parametrize("member", EXTRA_MEMBERS)
def test_a_header_with_any_other_member_is_refused(member: str) -> None:
    """Shows ASVS 9.1.3, RFC 8725 3.10, RFC 8725 3.6, RFC 8725 3.13."""
    with pytest.raises(MalformedToken):
        verify(compact(header(**{member: EXTRA_MEMBERS[member]}), claims()))


@pytest.mark.parametrize("member", ["alg", "typ", "kid"])
@pytest.mark.parametrize("value", [None, 1, True, ["RS256"], {}, "absent"])
def test_each_header_member_is_one_text(member: str, value: Any) -> None:
    fields = header(**{member: value})
    if value == "absent":
        del fields[member]
    with pytest.raises(MalformedToken):
        verify(compact(fields, claims()))


@pytest.mark.parametrize(
    "kid",
    [
        "",
        "k" * 65,
        "../../dev/null",
        "' OR 1=1 --",
        "k\n",
        "k\0",
        "é",
        "\ud800",
        "https://evil.example.com/",
        "k" * 3000,
    ],
)
def test_a_kid_is_a_short_plain_name(kid: str) -> None:
    """Shows RFC 8725 3.10."""
    with pytest.raises(MalformedToken):
        verify(compact(header(kid=kid), claims()))
    with pytest.raises(MalformedToken):
        verify(compact(header(kid=verification_key().kid + "\n"), claims()))


def test_a_kid_of_a_megabyte_is_not_even_read() -> None:
    with pytest.raises(MalformedToken):
        verify(compact(header(kid="k" * 1_000_000), claims()))


def respelt(change: Callable[[str], str]) -> str:
    message, _, text = token().rpartition(".")
    return f"{message}.{change(text)}"


def jws_json() -> str:
    header_part, payload_part, signature_part = token().split(".")
    flattened = {"protected": header_part, "payload": payload_part, "signature": signature_part}
    return json.dumps(flattened)


def twice(member: str, value: str) -> str:
    return json.dumps(claims())[:-1] + f', "{member}": {value}}}'


HEADER_TWICE = json.dumps(header())[:-1] + ', "alg": "RS256"}'
FORMATS: dict[str, str] = {
    "empty": "",
    "dots": "..",
    "one part": token().split(".")[0],
    "two parts": token().rpartition(".")[0],
    "unsigned": token().rpartition(".")[0] + ".",
    "four parts": token() + ".AA",
    "five parts": "e30.AA.AA.AA.AA",
    "without a header": "." + token().partition(".")[2],
    "JSON serialisation": jws_json(),
    "JSON serialisation without signatures": json.dumps({"payload": "e30", "signatures": []}),
    "padded": token() + "==",
    "padded header": token().replace(".", "=.", 1),
    "newline at the end": token() + "\n",
    "space in front": " " + token(),
    "NUL at the end": token() + "\0",
    "Bearer left in front": "Bearer " + token(),
    "line break within": respelt(lambda text: text[:9] + "\n" + text[9:]),
    "a wide letter": respelt(lambda text: "\uff21" + text[1:]),
    "a lone surrogate": respelt(lambda text: "\ud800" + text[1:]),
    "signature in base64": respelt(lambda text: "+/" + text[2:]),
    "signature one character short": respelt(lambda text: text[:-1]),
    "signature cut to half": respelt(lambda text: text[:170]),
    "signature twice": respelt(lambda text: text[:-2] + text),
    "signature of zeros": respelt(lambda text: "A" * len(text)),
    "signature of ones": respelt(lambda text: encode_base64url(b"\xff" * 256)),
    "signature a null octet longer": respelt(lambda text: encode_base64url(decode_base64url(text) + b"\0")),
    "signature with a null octet in front": respelt(lambda text: encode_base64url(b"\0" + decode_base64url(text))),
    "a token of 4097 characters": compact(header(), claims(filler="f" * 2700))[:4097].ljust(4097, "A"),
    "header member twice": compact(HEADER_TWICE, claims()),
    "header an array of pairs": compact(json.dumps(list(header().items())), claims()),
    "header a text": compact('"RS256"', claims()),
    "header with a byte order mark": compact(b"\xef\xbb\xbf" + json.dumps(header()).encode(), claims()),
    "header in UTF-16": compact(json.dumps(header()).encode("utf-16"), claims()),
    "header in Latin-1": compact(json.dumps(header(kid="é"), ensure_ascii=False).encode("latin-1"), claims()),
    "header with a NUL": compact(json.dumps(header()) + "\0", claims()),
    "header of brackets": compact("[" * 2000, claims()),
    "header of braces": compact('{"alg":' * 400, claims()),
    "exp twice": compact(header(), twice("exp", str(NOW + 600))),
    "sub twice": compact(header(), twice("sub", '"usr_admin"')),
    "sub twice, once escaped": compact(header(), twice("s\\u0075b", '"usr_admin"')),
    "an unknown claim twice": compact(header(), twice("x", "1")[:-1] + ', "x": 1}'),
    "a nested member twice": compact(header(), twice("x", '{"y": 1, "y": 1}')),
    "exp NaN": compact(header(), json.dumps(claims(exp=float("nan")))),
    "exp Infinity": compact(header(), json.dumps(claims(exp=float("inf")))),
    "NaN elsewhere": compact(header(), json.dumps(claims(x=[float("nan")]))),
    "-Infinity elsewhere": compact(header(), json.dumps(claims(x=float("-inf")))),
    "a trailing comma": compact(header(), json.dumps(claims())[:-1] + ",}"),
    "a comment": compact(header(), json.dumps(claims()) + "/**/"),
    "two objects": compact(header(), json.dumps(claims()) * 2),
    "payload an array": compact(header(), json.dumps([claims()])),
    "payload null": compact(header(), "null"),
    "payload not JSON": compact(header(), "sub=usr_a"),
    "payload in UTF-16": compact(header(), json.dumps(claims()).encode("utf-16")),
    "payload in Latin-1": compact(header(), json.dumps(claims(name="é"), ensure_ascii=False).encode("latin-1")),
    "payload with broken UTF-8": compact(header(), json.dumps(claims()).encode().replace(b"Ada", b"\xc0\x80")),
    "a surrogate alone": compact(header(), json.dumps(claims(name="\ud800"))),
    "payload with a byte order mark": compact(header(), b"\xef\xbb\xbf" + json.dumps(claims()).encode()),
    "payload of brackets": compact(header(), "[" * 2000),
}


@pytest.mark.parametrize("name", FORMATS)
def test_only_the_one_format_is_accepted(name: str) -> None:
    """Shows RFC 8725 3.3, RFC 8725 3.7, RFC 8725 3.14, RFC 8725 3.15, ASVS 1.5.3."""
    with pytest.raises((MalformedToken, UntrustedToken)):
        verify(FORMATS[name])


def test_a_deep_claim_ends_in_a_verdict() -> None:
    """How deep Python reads is its own affair; from 3.12 on it is deeper than a token is long."""
    with contextlib.suppress(MalformedToken):
        assert verify(compact(header(), twice("x", "[" * 1000 + "]" * 1000))).exp == NOW + 600


def test_a_token_of_4096_characters_is_the_longest() -> None:
    lengths = {len(text): text for text in (token(filler="f" * size) for size in range(2000, 2800))}
    assert verify(lengths[4096]).exp == NOW + 600
    with pytest.raises(MalformedToken):
        verify(lengths[4097])


def test_a_token_of_another_kind_audience_or_issuer_is_refused() -> None:
    """
    RFC 8725 sections 3.8 to 3.12: signed by our very key, but not an access token for us.

    Shows ASVS 9.2.2, ASVS 9.2.3, RFC 8725 3.8, RFC 8725 3.9, RFC 8725 3.12, RFC 9068 3, RFC 9068 4b, RFC 9068 4c.
    """
    with pytest.raises(UntrustedToken):
        verify(compact(header(typ="JWT"), claims()))
    with pytest.raises(ClaimsRejected):
        verify(token(aud="https://other.example.com"))
    with pytest.raises(ClaimsRejected):
        verify(token(iss="https://other.example.com"))
    with pytest.raises(MalformedToken):
        verify("AXVzcl9hYWFhYWFhYWFhYWFhYWFhYWFhYWFhYQ" * 2)


def spellings_one_bit_off(text: str) -> Iterator[str]:
    """Give each text with one bit of one character changed, then each with one bit of the octets it stands for."""
    for place, character in enumerate(text):
        for bit in range(8):
            yield text[:place] + chr(ord(character) ^ 1 << bit) + text[place + 1 :]
    parts = [bytearray(decode_base64url(piece)) for piece in text.split(".")]
    for octets in parts:
        for place, bit in itertools.product(range(len(octets)), range(8)):
            octets[place] ^= 1 << bit
            yield ".".join(encode_base64url(bytes(each)) for each in parts)
            octets[place] ^= 1 << bit


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_any_one_bit_change_of_a_token_is_refused(algorithm: str) -> None:
    """
    All of them, of the text as of the octets behind it, so that a token has no twin.

    Shows ASVS 9.1.1, RFC 8725 3.3, RFC 9068 4d.
    """
    changed = 0
    for text in spellings_one_bit_off(token(algorithm)):
        changed += 1
        try:
            verify(text)
        except AccessTokenError:
            continue
        pytest.fail(f"accepted {text!r}")
    assert changed > 8000


@given(st.data())
def test_a_changed_character_or_a_cut_is_refused(data: st.DataObject) -> None:
    """Any other character in any place, any piece left out or sent twice."""
    good = token("EdDSA")
    start = data.draw(st.integers(0, len(good) - 1))
    end = data.draw(st.integers(start, len(good)))
    bad = good[:start] + data.draw(st.text(max_size=5)) + good[end:]
    if bad != good:
        with pytest.raises(AccessTokenError):
            verify(bad)


GOOD = token("EdDSA")


def noise(source: random.Random) -> str:
    """Give random text, more or less like a token."""
    alphabet = string.ascii_letters + string.digits + "-_"
    match source.randrange(6):
        case 0:
            return "".join(map(chr, source.choices(range(0x11000), k=source.randrange(60))))
        case 1:
            return ".".join("".join(source.choices(alphabet, k=source.randrange(1, 60))) for _ in range(3))
        case 2:
            return ".".join(encode_base64url(source.randbytes(source.randrange(1, 90))) for _ in range(3))
        case 3:
            values: list[Any] = [None, 1, "RS256", "EdDSA", "at+jwt", verification_key("EdDSA").kid, "x", [], 1e400]
            fields = {name: source.choice(values) for name in source.sample(["alg", "typ", "kid", "crit"], k=3)}
            return f"{part(json.dumps(fields))}.{GOOD.partition('.')[2]}"
        case 4:
            places = sorted(source.choices(range(len(GOOD)), k=2))
            return GOOD[: places[0]] + GOOD[places[1] :] + source.choice(alphabet)
        case _:
            octets = source.randbytes(source.randrange(40))
            return compact(
                header("EdDSA"), octets if source.random() < 0.5 else json.dumps([octets.hex()]), signer="EdDSA"
            )


def test_a_hundred_thousand_random_texts_raise_only_our_own_errors() -> None:
    source = random.Random(7638)
    seen: set[type[AccessTokenError]] = set()
    for _ in range(100_000):
        try:
            verify(noise(source))
        except AccessTokenError as error:
            seen.add(type(error))
        else:
            pytest.fail("noise was accepted")
    assert {MalformedToken, UntrustedToken} <= seen


def test_a_foreign_kid_is_looked_up_and_nothing_else() -> None:
    """No I/O, no fallback to the only key there is. Shows ASVS 9.1.3, RFC 8725 3.10."""
    only = {verification_key().kid: verification_key()}
    with pytest.raises(UnknownKey):
        verify_access_token(GOOD, only, issuer=ISSUER, audience=AUDIENCE, now=NOW)
