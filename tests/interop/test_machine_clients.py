"""
Clients that nobody here wrote: each discovers the gateway, gets an access token, uses it, introspects and revokes it.

A program gets by its environment ISSUER, AUDIENCE, PROTECTED (a subrequest), CLIENT_ID and CLIENT_SECRET, and
KEY_CLIENT_ID with files of its private keys. For each way to authenticate it prints one line of JSON: what its own
library verified of the token by the JWKS, and what it saw before and after it revoked it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.harness import GatewayProcess
from tests.interop.conftest import AddedClient, add_client
from tests.interop.languages import GO, INTEROP, JAVA, NODE, PYTHON, Language, json_lines, prepare, run

BASIC, POST = "client_secret_basic", "client_secret_post"
WRONG = "wrong secret"
CHALLENGE = "OAUTH_WWW_AUTHENTICATE_CHALLENGE"
BAD_REQUESTS_ALONE = "invalid_token_response"


@dataclass(frozen=True)
class Program:
    """A program of ours around a library of others, and in which ways that authenticates."""

    name: str
    language: Language
    source: str
    methods: tuple[str, ...]
    # What it makes of a 401 invalid_client: some look at the challenge, or at a 400 alone.
    refusal: str = "invalid_client"

    def __str__(self) -> str:
        """Name the test."""
        return self.name


PROGRAMS = [
    Program(
        "oauth4webapi",
        NODE,
        "node/oauth4webapi.mjs",
        (BASIC, POST, "private_key_jwt ES256", "private_key_jwt Ed25519"),
    ),
    Program("openid-client", NODE, "node/openid-client.mjs", (BASIC, POST, "private_key_jwt RS256"), CHALLENGE),
    Program("authlib", PYTHON, "python/with_authlib.py", (BASIC, POST, "private_key_jwt RS256")),
    Program("requests-oauthlib", PYTHON, "python/with_requests_oauthlib.py", (BASIC, POST)),
    Program("go-oidc-and-oauth2", GO, "go/main.go", (BASIC, POST, "tried out")),
    Program("nimbus", JAVA, "java/WithNimbus.java", (BASIC, POST, "private_key_jwt ES256")),
    Program(
        "spring-security", JAVA, "java/WithSpring.java", (BASIC, POST, "private_key_jwt"), "invalid_token_response"
    ),
]


@pytest.mark.parametrize("program", PROGRAMS, ids=str)
def test_a_client_nobody_here_wrote_gets_uses_introspects_and_revokes_a_token(
    program: Program,
    gateway: GatewayProcess,
    client_with_secret: AddedClient,
    client_with_keys: AddedClient,
    key_files: dict[str, str],
    tmp_path: Path,
) -> None:
    walks, refused = walk_through(program, gateway, client_with_secret, client_with_keys, key_files, tmp_path)
    assert {walk["method"] for walk in walks} == set(program.methods)
    for walk in walks:
        with_key = walk["method"].startswith("private_key_jwt")
        _check(walk, (client_with_keys if with_key else client_with_secret).client_id, gateway.url)
    # Spring's client with a key is the one that has nothing to revoke with.
    assert sum("usedAfter" in walk for walk in walks) >= min(len(walks), 2)
    assert (refused["method"], refused["error"], refused.get("status", 401)) == (WRONG, program.refusal, 401)


@pytest.mark.parametrize("program", [p for p in PROGRAMS if p.language is GO or p.name == "oauth4webapi"], ids=str)
def test_another_signing_algorithm_needs_no_setting_of_the_client(
    program: Program, make_gateway: Callable[..., GatewayProcess], key_files: dict[str, str], tmp_path: Path
) -> None:
    """go-oidc takes tokens of the algorithms that the metadata names, and without them of RS256 alone."""
    gateway = make_gateway(signing_algorithm="ES256")
    secret = add_client(gateway, "secret", "--role", "orders", "--role", "reports")
    keys = add_client(gateway, "keys", "--role", "orders", "--role", "reports", "--public-key", key_files["JWKS"])
    walks, _ = walk_through(program, gateway, secret, keys, key_files, tmp_path)
    assert {walk["used"] for walk in walks} == {200}


def walk_through(
    program: Program,
    gateway: GatewayProcess,
    with_secret: AddedClient,
    with_keys: AddedClient,
    key_files: dict[str, str],
    directory: Path,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Run a program; give what it saw in each way to authenticate, and with a wrong secret."""
    command = prepare(program.language, INTEROP / program.source, directory)
    env = key_files | {
        "ISSUER": gateway.url,
        "AUDIENCE": gateway.url,
        "PROTECTED": f"{gateway.url}/api/authz/forward-auth?role=orders",
        "CLIENT_ID": with_secret.client_id,
        "CLIENT_SECRET": with_secret.client_secret,
        "KEY_CLIENT_ID": with_keys.client_id,
    }
    *walks, refused = json_lines(run(command, env=env))
    return walks, refused


def _check(walk: dict[str, Any], client_id: str, issuer: str) -> None:
    assert walk["tokens"]["token_type"].lower() == "bearer"
    assert walk["tokens"].get("expires_in", 600) == 600
    verified = walk["verified"]
    assert (verified["iss"], verified["sub"], verified["client_id"]) == (issuer, client_id, client_id)
    assert verified["aud"] in (issuer, [issuer])
    assert verified["roles"] == ["orders", "reports"]
    assert "sid" not in verified
    assert walk["used"] == 200
    introspected = walk["introspected"]
    assert introspected["active"] is True
    assert {name: introspected[name] for name in ("sub", "client_id", "jti", "roles")} == {
        name: verified[name] for name in ("sub", "client_id", "jti", "roles")
    }
    assert walk.get("introspectedAfter", {"active": False}) == {"active": False}
    assert walk.get("usedAfter", 401) == 401
