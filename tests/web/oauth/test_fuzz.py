"""
Random requests to /oauth/*: a token only for who has shown what it takes, and never an error of the gateway's own.

`make fuzz` sends 100,000 (FUZZ_REQUESTS) with a seed of its own (FUZZ_SEED, printed); `make test` sends 2,000.
"""

import base64
import os
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import quote_plus

import pytest

from tests.harness import GatewayProcess
from tests.machines.clients import JWT_BEARER, KeyedService, Service, add_client, add_keyed_client
from tests.proxies.test_fuzz import Connection
from tests.web.asking import client_of, log_in

REQUESTS = int(os.environ.get("FUZZ_REQUESTS", "2000"))  # noqa: TID251 - for the test alone
SEED = int(os.environ.get("FUZZ_SEED", "20261129"))  # noqa: TID251 - the same
API = "https://api.example.com"
PATHS = ("/oauth/token", "/oauth/introspect", "/oauth/revoke")
NAMES = (
    "grant_type", "client_id", "client_secret", "client_assertion", "client_assertion_type", "token",
    "token_type_hint", "audience", "resource", "scope", "x", "", "GRANT_TYPE", "token[]", "%ff", "client_id%00",
)  # fmt: skip
JUNK = (
    "", " ", "+", "%", "%zz", "%00", "%ff", "%ed%a0%80", "\xff", "&", "=", "==", ";", "#", '"', "\\", "'", "{}", "[]",
    "null", "0", "-1", "1e999", "x" * 300, "x" * 5000, "..", "a.b.c", "e30.e30.AAAA", "cli_" + "x" * 22, "gws_",
    "gwp_" + "A" * 92, "https://x.example#y", "urn:a", ":", "reader", "reader writer", "\u2028",
)  # fmt: skip
TYPES = (
    "application/x-www-form-urlencoded", "application/x-www-form-urlencoded; charset=UTF-8", "application/json",
    "multipart/form-data; boundary=x", "", "text/plain", "application/x-www-form-urlencoded;", "\xff",
)  # fmt: skip
SCHEMES = ("Basic ", "basic ", "Basic", "Basic  ", "Bearer ", "", "Digest ", "Basic\t")


class Fuzzer:
    """Makes random requests out of pieces that are good and pieces that are not."""

    def __init__(self, seed: int, issuer: str, service: Service, keyed: KeyedService, tokens: list[str]) -> None:
        self.chance = random.Random(seed)
        self.issuer, self.service, self.keyed, self.tokens = issuer, service, keyed, tokens

    def request(self) -> bytes:
        """Give one request."""
        chance = self.chance
        path = chance.choice(PATHS) + (f"?{self._pair()}" if chance.random() < 0.05 else "")
        method = "POST" if chance.random() < 0.97 else chance.choice(("GET", "HEAD", "PUT", "DELETE", "OPTIONS"))
        pairs = [self._pair() for _ in range(chance.choice((0, 0, 0, 1, 1, 2, 5, 60)))]
        if chance.random() < 0.8:
            pairs.append("grant_type=client_credentials")
        if chance.random() < 0.7:
            pairs.append(f"token={quote_plus(self._token())}")
        way = chance.random()
        headers = {"Host": "gateway.test", "Content-Type": TYPES[0] if chance.random() < 0.9 else chance.choice(TYPES)}
        if way < 0.4:
            headers["Authorization"] = self._basic()
        if 0.35 < way < 0.65:
            pairs += [f"client_id={self.service.client_id}", f"client_secret={self._value(self.service.secret)}"]
        if way > 0.6:
            assertion = self._value(self._assertion())
            pairs += [f"client_assertion_type={quote_plus(JWT_BEARER)}", f"client_assertion={assertion}"]
        chance.shuffle(pairs)
        body = "&".join(pairs).encode("utf-8")
        if chance.random() < 0.02:
            body = chance.randbytes(chance.randrange(200))
        headers["Content-Length"] = str(len(body))
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1", "replace") + body

    def _pair(self) -> str:
        return f"{self.chance.choice(NAMES)}={self._value(self.chance.choice(JUNK))}"

    def _value(self, text: str) -> str:
        chance, kind = self.chance, self.chance.random()
        if kind < 0.5:
            return quote_plus(text)
        if kind < 0.7:
            return text
        if kind < 0.85 and text:
            place = chance.randrange(len(text))
            return quote_plus(text[:place] + chance.choice("aZ09-_.%+\x00é") + text[place + 1 :])
        return quote_plus(text[: chance.randrange(len(text) + 1)] + chance.choice(JUNK))

    def _basic(self) -> str:
        chance = self.chance
        pair = f"{self.service.client_id}:{self.service.secret}"
        if chance.random() < 0.4:
            pair = pair[: chance.randrange(len(pair))] + chance.choice(("", ":", "\u00e9", "%ff", "%00", "::"))
        encoded = base64.b64encode(pair.encode()).decode()
        if chance.random() < 0.1:
            encoded = chance.choice((encoded[:-2], encoded + "=", "!", "", "/////w=="))
        return (SCHEMES[0] if chance.random() < 0.8 else chance.choice(SCHEMES)) + encoded

    def _assertion(self) -> str:
        chance = self.chance
        header: dict[str, Any] = chance.choice(
            ({}, {}, {}, {"typ": "JWT"}, {"typ": "at+jwt"}, {"alg": "none"}, {"kid": "x"}, {"alg": []}, {"crit": ["a"]})
        )
        claims: dict[str, Any] = chance.choice(
            ({}, {}, {}, {"aud": [self.issuer]}, {"aud": "x"}, {"exp": 0}, {"exp": 1e300}, {"exp": "x"}, {"jti": None},
             {"jti": "\x00"}, {"sub": "x"}, {"iss": 1}, {"nbf": 2**60}, {"sub": "cli_}{", "iss": "cli_}{"},
             {"jti": "x" * 255})
        )  # fmt: skip
        return self.keyed.assertion(self.issuer, header, **claims)

    def _token(self) -> str:
        chance, token = self.chance, self.chance.choice(self.tokens)
        kind, place = chance.random(), chance.randrange(len(token))
        if kind < 0.4:
            return token
        if kind < 0.6:
            return token[:place] + chance.choice("AZaz09-_.=+/ \xe9\x00") + token[place + 1 :]
        if kind < 0.8:
            return ".".join(chance.choice(self.tokens).split(".")[part % 3 :][0] for part in range(3))
        return chance.choice(JUNK)


@pytest.mark.timeout(1800)
def test_nothing_breaks_the_endpoints_and_nobody_gets_a_token_for_nothing(
    gateway_with: Callable[..., GatewayProcess],
) -> None:
    gateway = gateway_with(audiences=API)
    service, keyed = add_client(gateway.env, audiences=(gateway.url, API)), add_keyed_client(gateway.env)
    with client_of(gateway) as client:
        session = log_in(gateway, client)
        tokens = [service.token(client), service.token(client, audience=API), session.access_token]
        logged = gateway.log_size()
        tokens.append(session.refresh_token + ".a.b")
        fuzzer, connection = Fuzzer(SEED, gateway.url, service, keyed, tokens), Connection(gateway.port)
        found, begun = Counter[tuple[str, int]](), time.monotonic()
        print(f"seed {SEED}, {REQUESTS} requests")
        for number in range(REQUESTS):
            request = fuzzer.request()
            status = connection.ask(request)
            path = request.split(b" ")[1].decode("latin-1").partition("?")[0]
            found[path, status] += 1
            context = f"FUZZ_SEED={SEED}, request {number}: {request!r} -> {status}"
            assert status in (200, 400, 401, 405, 413), context
            assert status != 200 or shows_something_good(request, service), context
        connection.close()
        print(f"{REQUESTS / (time.monotonic() - begun):.0f} requests a second: {dict(sorted(found.items()))}")
    for path in PATHS:
        assert min(found[path, 200], found[path, 400], found[path, 401]) > REQUESTS / 500, found
    log = gateway.log_path.read_bytes()[logged:].decode()
    assert "traceback" not in log
    assert service.secret not in log
    assert session.access_token not in log


def shows_something_good(request: bytes, service: Service) -> bool:
    """Tell whether the secret is in the request, whole, or an assertion, which only the client can make."""
    text = request.decode("latin-1")
    authorization = next((line for line in text.split("\r\n") if line.startswith("Authorization: ")), "")
    pair = base64.b64encode(f"{service.client_id}:{service.secret}".encode()).decode()
    return pair in authorization or service.secret in text or "client_assertion=" in text
