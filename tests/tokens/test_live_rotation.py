"""A hundred rotations under two gateways, and clients that cache the JWKS as they like: nobody notices."""

import asyncio
import json
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import jwt
import pytest
from joserfc import jwk as joserfc_jwk
from joserfc import jwt as joserfc_jwt

from gateway.errors import CommandError
from gateway.state import Gateway
from gateway.verifier import AccessTokenVerifier, RemoteKeys
from tests.harness import UNUSED_TLS, GatewayProcess, in_gateway

ROTATIONS = 100
# The pause between rotations is to the cool-down of the clients as 24 hours are to 30 seconds, or harder on them.
PAUSE_SECONDS = 0.2
COOL_DOWN_SECONDS = 0.02
NODE = Path(__file__).parents[1] / "node"
ISSUER = "http://gateway.test"
Check = Callable[[str], None]


def with_pyjwt(jwks_uri: str) -> Check:
    client = jwt.PyJWKClient(jwks_uri, cooldown_duration=COOL_DOWN_SECONDS)

    def check(token: str) -> None:
        key = client.get_signing_key_from_jwt(token)
        jwt.decode(token, key, algorithms=["RS256"], audience=ISSUER, issuer=ISSUER)

    return check


def with_joserfc(jwks_uri: str) -> Check:
    """Fetch the set when a kid is unknown, as its documentation shows."""
    known: dict[str, Any] = {}

    def check(token: str) -> None:
        kid = jwt.get_unverified_header(token)["kid"]
        if kid not in known:
            known.update({key["kid"]: key for key in httpx2.get(jwks_uri, verify=UNUSED_TLS).json()["keys"]})
        decoded = joserfc_jwt.decode(token, joserfc_jwk.RSAKey.import_key(known[kid]), algorithms=["RS256"])
        registry = joserfc_jwt.JWTClaimsRegistry(
            iss={"essential": True, "value": ISSUER}, aud={"essential": True, "value": ISSUER}
        )
        registry.validate(decoded.claims)

    return check


def with_our_verifier(jwks_uri: str) -> Check:
    # Its cool-down is 30 s: its clock runs as much faster as the rotations here follow one another.
    faster = 30 / COOL_DOWN_SECONDS
    begun = time.monotonic()
    verifier = AccessTokenVerifier(issuer=ISSUER, audience=ISSUER, jwks_uri=jwks_uri)
    verifier._keys = RemoteKeys(  # its keys alone: the times in the tokens are real
        ISSUER, jwks_uri=jwks_uri, clock=lambda: 1_790_000_000 + int((time.monotonic() - begun) * faster)
    )

    def check(token: str) -> None:
        verifier.verify(token)

    return check


class NodeClients:
    """The clients of Node, in a process of their own."""

    def __init__(self, jwks_uri: str) -> None:
        command = ["node", "verify.mjs", jwks_uri, ISSUER, ISSUER, str(int(COOL_DOWN_SECONDS * 1000))]
        self._process = subprocess.Popen(command, cwd=NODE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def results(self, token: str) -> dict[str, bool | str]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(token + "\n")
        self._process.stdin.flush()
        results: dict[str, bool | str] = json.loads(self._process.stdout.readline())
        return results

    def close(self) -> None:
        self._process.communicate(timeout=10)


@pytest.mark.timeout(240)
def test_a_hundred_rotations_give_no_unknown_kid_and_refuse_no_good_token(
    make_gateway: Callable[..., GatewayProcess],
) -> None:
    """F21: keys rotate without anybody noticing."""
    a, b = make_gateway(issuer=ISSUER), make_gateway(issuer=ISSUER)
    user = a.add_user()
    clients: dict[str, Check] = {}
    for name, make in (("PyJWKClient", with_pyjwt), ("joserfc", with_joserfc), ("gateway.verifier", with_our_verifier)):
        # Each client reads the JWKS of one gateway, and gets the tokens of both.
        clients[name] = make(f"{(b if len(clients) % 2 else a).url}/.well-known/jwks.json")
    has_node = shutil.which("node") is not None and (NODE / "node_modules").is_dir()
    node = NodeClients(f"{b.url}/.well-known/jwks.json") if has_node else None
    if node is None:
        print("without Node's clients: node or tests/node/node_modules is missing (apt install nodejs npm; make test)")

    verified, failures, kids = Counter[str](), [], set()
    first_tokens: list[str] = []

    def verify_everywhere(token: str) -> None:
        outcomes: dict[str, bool | str] = node.results(token) if node else {}
        for name, check in clients.items():
            try:
                check(token)
                outcomes[name] = True
            except Exception as error:
                outcomes[name] = f"{type(error).__name__}: {error}"
        for name, outcome in outcomes.items():
            verified[name] += outcome is True
            if outcome is not True:
                failures.append((name, jwt.get_unverified_header(token)["kid"], outcome))

    with a.client() as at_a, b.client() as at_b:
        refresh_token = a.login(user, at_a, delivery="body")["refresh_token"]

        def fresh_token(client: httpx2.Client) -> str:
            nonlocal refresh_token
            answer = client.post("/auth/refresh", json={"refresh_token": refresh_token}).json()
            refresh_token = answer["refresh_token"]
            token: str = answer["access_token"]
            return token

        async def rotate(gateway: Gateway) -> int:
            conflicts = done = 0
            while done < ROTATIONS:
                try:
                    await gateway.keyring.rotate(force=True)
                    done += 1
                except CommandError:
                    conflicts += 1
                await asyncio.sleep(PAUSE_SECONDS)
                for client in (at_a, at_b):
                    token = await asyncio.to_thread(fresh_token, client)
                    kids.add(jwt.get_unverified_header(token)["kid"])
                    if done <= 1:
                        first_tokens.append(token)
                    await asyncio.to_thread(verify_everywhere, token)
                    for gate in (at_a, at_b):
                        headers = {"Authorization": f"Bearer {token}"}
                        answer = await asyncio.to_thread(gate.get, "/api/authz/auth-request", headers=headers)
                        verified["authz"] += answer.status_code == 200
                        if answer.status_code != 200:
                            failures.append(("authz", token[:20], answer.text))
            return conflicts

        conflicts = in_gateway(a.env, rotate)
        for token in first_tokens:
            verify_everywhere(token)
    if node:
        node.close()
    print(
        f"{ROTATIONS} rotations, {conflicts} conflicts, {len(kids)} keys signed, tokens verified: {dict(verified)}, "
        f"refused: {len(failures)}"
    )
    assert failures == []
    assert len(kids) >= 5


def test_ten_gateways_started_at_once_on_an_empty_redis_agree_on_one_keyring(
    make_gateway: Callable[..., GatewayProcess],
) -> None:
    gateways = [make_gateway(start=False) for _ in range(10)]
    for gateway in gateways:
        gateway.start(wait=False)
    for gateway in gateways:
        gateway.wait_until_ready()
    served = {httpx2.get(f"{gateway.url}/.well-known/jwks.json", verify=UNUSED_TLS).content for gateway in gateways}
    print(f"{len(gateways)} gateways, {len(served)} keyring")
    assert len(served) == 1
    assert len(json.loads(served.pop())["keys"]) == 2
