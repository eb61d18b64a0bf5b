"""
Row 6: the verifier library in one's own process. Without its memory, against PyJWT's decode, which does less, and
against RSA verification by `cryptography` alone, which nobody can save; with its memory, against PyJWT's decode again;
and what it costs to look into a status list besides.
"""

import json
import random
import secrets
import statistics
import time
import zlib
from collections.abc import Callable

import jwt
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from benchmarks.measuring import Row, chosen, median_ratio, publish
from benchmarks.processes import pinned, server_cores
from gateway.clock import system_clock
from gateway.verifier import AccessTokenVerifier, Document, VerificationKey, public_jwk, thumbprint

ISSUER, AUDIENCE = "https://auth.example.com", "https://api.example.com"
STATUS = f"{ISSUER}/status/1968125813821764782557"
POSITIONS = 2**20
ENDED = 100_000
MOST_FOR_A_LIST_US = 0.3
TOKENS = chosen(2000, 200)
ROUNDS = chosen(9, 2)


def signed(key: rsa.RSAPrivateKey, kid: str, idx: int) -> str:
    now = system_clock()
    claims = {
        "iss": ISSUER,
        "sub": "usr_" + secrets.token_urlsafe(16),
        "aud": AUDIENCE,
        "client_id": "first-party",
        "iat": now,
        "exp": now + 3600,
        "jti": secrets.token_urlsafe(16),
        "sid": secrets.token_urlsafe(16),
        "auth_time": now,
        "amr": ["pwd"],
        "roles": ["demo", "staff"],
        "email": "ann@example.com",
        "name": "Ann Example",
        "status": {"status_list": {"idx": idx, "uri": STATUS}},
    }
    return jwt.encode(claims, key, algorithm="RS256", headers={"typ": "at+jwt", "kid": kid})


def status_list(key: rsa.RSAPrivateKey, kid: str, ended: list[int]) -> bytes:
    octets = bytearray(POSITIONS // 8)
    for idx in ended:
        octets[idx >> 3] |= 1 << (idx & 7)
    lst = jwt.utils.base64url_encode(zlib.compress(octets, 9)).decode()
    now = system_clock()
    claims = {"sub": STATUS, "iat": now, "exp": now + 3600, "ttl": 3600, "status_list": {"bits": 1, "lst": lst}}
    return jwt.encode(claims, key, algorithm="RS256", headers={"typ": "statuslist+jwt", "kid": kid}).encode()


def microseconds(work: Callable[[str], object], tokens: list[str]) -> float:
    """Give the CPU time of one call."""
    begun = time.process_time()
    for token in tokens:
        work(token)
    return (time.process_time() - begun) / len(tokens) * 1e6


def main() -> None:
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
    public = key.public_key()
    kid = thumbprint(public)
    positions = random.Random(TOKENS).sample(range(POSITIONS), ENDED + TOKENS)
    tokens = [signed(key, kid, idx) for idx in positions[ENDED:]]
    listed = status_list(key, kid, positions[:ENDED])
    jwks = json.dumps({"keys": [public_jwk(VerificationKey(kid, "RS256", public))]}).encode()

    def fetch(url: str) -> Document:
        if url == STATUS:
            return Document(status=200, body=listed, cache_control="")
        metadata = json.dumps({"issuer": ISSUER, "jwks_uri": f"{ISSUER}/.well-known/jwks.json"}).encode()
        return Document(status=200, body=jwks if url.endswith("jwks.json") else metadata, cache_control="max-age=300")

    forgetful = AccessTokenVerifier(issuer=ISSUER, audience=AUDIENCE, fetch=fetch, max_remembered_tokens=0)
    remembering = AccessTokenVerifier(issuer=ISSUER, audience=AUDIENCE, fetch=fetch)
    listening = AccessTokenVerifier(issuer=ISSUER, audience=AUDIENCE, fetch=fetch, revocations="status-list")
    jws = {}
    for token in tokens:
        message, _, signature = token.rpartition(".")
        jws[token] = (jwt.utils.base64url_decode(signature), message.encode())
    scheme, digest = padding.PKCS1v15(), hashes.SHA256()

    ways: dict[str, Callable[[str], object]] = {
        "forgetful": forgetful.verify,
        "pyjwt": lambda token: jwt.decode(token, public, algorithms=["RS256"], audience=AUDIENCE, issuer=ISSUER),
        "rsa": lambda token: public.verify(*jws[token], scheme, digest),
        "remembering": remembering.verify,
        "listening": listening.verify,
    }
    taken: dict[str, list[float]] = {way: [] for way in ways}
    with pinned(server_cores()):
        for way in ways.values():  # each token is seen once
            microseconds(way, tokens)
        for _ in range(ROUNDS):
            for name, way in ways.items():
                taken[name].append(microseconds(way, tokens))
    medians = {name: statistics.median(times) for name, times in taken.items()}
    pyjwt = f"PyJWT decode {medians['pyjwt']:.1f} µs"
    rsa_details = {"rsa_verify_us": medians["rsa"], "share_that_is_rsa": median_ratio(taken["rsa"], taken["forgetful"])}
    lists, known = listening._lists, {token: listening.verify(token) for token in tokens}
    assert lists is not None
    look_us = statistics.median(microseconds(lambda token: lists.check(known[token]), tokens) for _ in range(ROUNDS))
    most_us = [us + MOST_FOR_A_LIST_US for us in taken["remembering"]]
    rows = [
        Row(
            "6a", "verifier, without memory", f"{medians['forgetful']:.1f} µs", pyjwt,
            median_ratio(taken["pyjwt"], taken["forgetful"]), 1.0, details=rsa_details,
        ),
        Row(
            "6b", "verifier, with its memory", f"{medians['remembering']:.2f} µs", pyjwt,
            median_ratio(taken["pyjwt"], taken["remembering"]), 20.0, details={"tokens": TOKENS},
        ),
        Row(
            "6c", "verifier, with a status list too", f"{medians['listening']:.2f} µs",
            f"6b and {MOST_FOR_A_LIST_US} µs: {statistics.median(most_us):.2f} µs",
            median_ratio(most_us, taken["listening"]), 1.0,
            details={"ended": ENDED, "list_bytes": len(listed), "look_us_once_in_ttl": look_us},
        ),
    ]  # fmt: skip
    publish("verifier", rows)


if __name__ == "__main__":
    main()
