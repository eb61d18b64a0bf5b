"""
Row 6: the verifier library in one's own process. Without its memory, against PyJWT's decode, which does less, and
against RSA verification by `cryptography` alone, which nobody can save; with its memory, against PyJWT's decode again.
"""

import json
import secrets
import statistics
import time
from collections.abc import Callable

import jwt
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from benchmarks.measuring import Row, chosen, median_ratio, publish
from benchmarks.processes import pinned, server_cores
from gateway.clock import system_clock
from gateway.verifier import AccessTokenVerifier, Document, VerificationKey, public_jwk, thumbprint

ISSUER, AUDIENCE = "https://auth.example.com", "https://api.example.com"
TOKENS = chosen(2000, 200)
ROUNDS = chosen(9, 2)


def signed(key: rsa.RSAPrivateKey, kid: str) -> str:
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
    }
    return jwt.encode(claims, key, algorithm="RS256", headers={"typ": "at+jwt", "kid": kid})


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
    tokens = [signed(key, kid) for _ in range(TOKENS)]
    jwks = json.dumps({"keys": [public_jwk(VerificationKey(kid, "RS256", public))]}).encode()

    def fetch(url: str) -> Document:
        metadata = json.dumps({"issuer": ISSUER, "jwks_uri": f"{ISSUER}/.well-known/jwks.json"}).encode()
        return Document(status=200, body=jwks if url.endswith("jwks.json") else metadata, cache_control="max-age=300")

    forgetful = AccessTokenVerifier(issuer=ISSUER, audience=AUDIENCE, fetch=fetch, max_remembered_tokens=0)
    remembering = AccessTokenVerifier(issuer=ISSUER, audience=AUDIENCE, fetch=fetch)
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
    rows = [
        Row(
            "6a", "verifier, without memory", f"{medians['forgetful']:.1f} µs", pyjwt,
            median_ratio(taken["pyjwt"], taken["forgetful"]), 1.0, details=rsa_details,
        ),
        Row(
            "6b", "verifier, with its memory", f"{medians['remembering']:.2f} µs", pyjwt,
            median_ratio(taken["pyjwt"], taken["remembering"]), 20.0, details={"tokens": TOKENS},
        ),
    ]  # fmt: skip
    publish("verifier", rows)


if __name__ == "__main__":
    main()
