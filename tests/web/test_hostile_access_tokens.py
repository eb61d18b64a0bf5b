"""Tokens that an attacker may send, at every endpoint that takes an access token (T14, T15, T17, T18)."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest

from gateway.clock import system_clock
from tests.harness import GatewayProcess, in_gateway
from tests.verifier import mint
from tests.verifier.test_hostile_tokens import EXTRA_MEMBERS, algorithm_confusions

ENDPOINTS = (
    ("GET", "/auth/me"),
    ("GET", "/auth/sessions"),
    ("DELETE", "/auth/sessions/aaaaaaaaaaaaaaaaaaaaaa"),
    ("POST", "/auth/logout-all"),
    ("POST", "/auth/change-password"),
    ("GET", "/api/authz/auth-request"),
    ("GET", "/api/authz/forward-auth"),
    ("PATCH", "/api/authz/ext-authz/any/path"),
)


@pytest.fixture
def knowing(make_gateway: Callable[..., GatewayProcess]) -> GatewayProcess:
    """Give a gateway that signs with a key which the tests have too."""
    gateway = make_gateway(start=False, issuer=mint.ISSUER, audience=mint.AUDIENCE)
    in_gateway(gateway.env, lambda parts: parts.keyring.add(mint.private_key("RS256")))
    return gateway.start()


def hostile_tokens() -> Iterator[tuple[str, str]]:
    yield from algorithm_confusions()
    for member, value in EXTRA_MEMBERS.items():
        yield f"header with {member}", mint.compact(mint.header(**{member: value}), mint.claims())
    changed: dict[str, dict[str, Any]] = {
        "expired": {"exp": mint.NOW},
        "of another issuer": {"iss": "https://other.example.com"},
        "for another audience": {"aud": "https://other.example.com"},
        "for several audiences": {"aud": [mint.AUDIENCE]},
        "of the future": {"iat": mint.NOW + 3600},
        "with a float": {"exp": mint.NOW + 600.5},
        "with a text for a time": {"exp": str(mint.NOW + 600)},
        "with a huge time": {"exp": 10**30},
    }
    for name, changes in changed.items():
        yield name, mint.compact(mint.header(), mint.claims(**changes))
    for claim in ("exp", "iat", "sub", "client_id", "jti", "sid", "iss", "aud"):
        yield f"without {claim}", mint.compact(mint.header(), mint.claims_without(claim))
    for typ in ("JWT", "id_token+jwt", "at+JWT2", ""):
        yield f"of the type {typ!r}", mint.compact(mint.header(typ=typ), mint.claims())
    good = mint.compact(mint.header(), mint.claims())
    yield "padded", good + "="
    yield "in five parts", good + ".a.b"
    yield "without its signature", good.rpartition(".")[0] + "."


def test_no_endpoint_takes_a_hostile_token(knowing: GatewayProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shows ASVS 9.1.2, RFC 8725 3.1, RFC 8725 3.14."""
    monkeypatch.setattr(mint, "NOW", system_clock())
    good = mint.compact(mint.header(), mint.claims())
    tokens = dict(hostile_tokens())
    statuses, taken = Counter[int](), []
    with knowing.client() as client:

        def ask(method: str, path: str, token: str) -> httpx2.Response:
            return client.request(method, path, headers={"Authorization": f"Bearer {token}"})

        assert ask("GET", "/api/authz/auth-request", good).status_code == 200
        for name, token in tokens.items():
            for method, path in ENDPOINTS:
                status = ask(method, path, token).status_code
                statuses[status] += 1
                if status != 401:
                    taken.append((name, method, path, status))
        assert ask("GET", "/api/authz/auth-request", good).status_code == 200
    print(f"{len(tokens)} hostile tokens at {len(ENDPOINTS)} endpoints: {dict(statuses)}")
    assert taken == []
    assert len(tokens) >= 80
