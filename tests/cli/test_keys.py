import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_public_key,
)

from gateway.state import Gateway
from tests.cli.commands import assert_refused, here, in_process
from tests.harness import UNUSED_TLS, GatewayProcess, in_gateway, wait_until

KNOWN_WITHIN_SECONDS = 5.0


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    """A key that is good for RS256."""
    return rsa.generate_private_key(65537, 2048)


def pem_of(key: Any, passphrase: bytes = b"") -> bytes:
    encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    octets: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    return octets


def keyring(env: dict[str, str]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = here("keys", "list", "--json", env=env).document["keys"]
    return rows


def kid_of(env: dict[str, str], state: str) -> str:
    [kid] = [key["kid"] for key in keyring(env) if key["state"] == state]
    return str(kid)


def published(gateway: GatewayProcess) -> list[str]:
    return [key["kid"] for key in httpx2.get(f"{gateway.url}/.well-known/jwks.json", verify=UNUSED_TLS).json()["keys"]]


def kid_of_token(token: str) -> str:
    return str(jwt.get_unverified_header(token)["kid"])


def is_allowed(gateway: GatewayProcess, token: str) -> bool:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx2.get(f"{gateway.url}/api/authz/auth-request", headers=headers, verify=UNUSED_TLS).status_code == 200


def test_the_list_shows_a_key_that_signs_and_one_that_will(gateway_env: dict[str, str]) -> None:
    current, following = keyring(gateway_env)
    assert set(current) == {"kid", "state", "alg", "published_at", "signs_since", "leaves_at"}
    assert (current["state"], following["state"]) == ("current", "next")
    assert (current["alg"], following["alg"]) == ("RS256", "RS256")
    assert current["signs_since"]
    assert (following["signs_since"], current["leaves_at"], following["leaves_at"]) == (None, None, None)
    table = in_process("keys", "list", env=gateway_env)
    assert (table.status, table.err) == (0, "")
    assert [line.split()[:3] for line in table.out.splitlines()[1:]] == [
        [key["kid"], key["state"], key["alg"]] for key in (current, following)
    ]


def test_a_next_key_that_nobody_can_know_yet_does_not_sign(gateway_env: dict[str, str]) -> None:
    before = keyring(gateway_env)
    assert_refused(in_process("keys", "rotate", env=gateway_env), 1, "24 hours", "--force")
    assert keyring(gateway_env) == before


def test_force_lets_the_next_key_sign_and_keeps_the_tokens_of_the_last_one(
    make_gateway: Callable[..., GatewayProcess],
) -> None:
    gateway = make_gateway()
    user = gateway.add_user()
    with gateway.client() as client:
        token = gateway.login(user, client)["access_token"]
        old, following = kid_of(gateway.env, "current"), kid_of(gateway.env, "next")
        assert kid_of_token(token) == old
        outcome = in_process("keys", "rotate", "--force", env=gateway.env)
        assert (outcome.status, outcome.out, outcome.err) == (0, f"signing now: {following}\n", "")

        assert kid_of(gateway.env, "current") == following
        assert kid_of(gateway.env, "retiring") == old
        assert len(keyring(gateway.env)) == 3

        def signs_with_the_next() -> bool:
            return kid_of_token(client.post("/auth/refresh").json()["access_token"]) == following

        seconds = wait_until(signs_with_the_next, KNOWN_WITHIN_SECONDS, "the new key to sign")
        print(f"rotation known after {seconds:.2f} s")
        assert published(gateway) == [following, kid_of(gateway.env, "next"), old]
        assert is_allowed(gateway, token)


def test_compromised_keys_are_gone_everywhere_within_five_seconds_and_sessions_go_on(
    make_gateway: Callable[..., GatewayProcess],
) -> None:
    gateways = [make_gateway(issuer="http://gateway.test"), make_gateway(issuer="http://gateway.test")]
    user = gateways[0].add_user()
    with gateways[0].client() as client:
        token = gateways[0].login(user, client)["access_token"]
        dropped = {kid_of(gateways[0].env, "current"), kid_of(gateways[0].env, "next")}
        assert all(is_allowed(gateway, token) for gateway in gateways)

        outcome = in_process("keys", "rotate", "--compromised", env=gateways[0].env)
        begun = time.monotonic()
        assert outcome.status == 0
        assert outcome.out == f"signing now: {kid_of(gateways[0].env, 'current')}\n"
        assert dropped.isdisjoint(key["kid"] for key in keyring(gateways[0].env))
        for gateway in gateways:
            left = KNOWN_WITHIN_SECONDS - (time.monotonic() - begun)
            wait_until(lambda: not is_allowed(gateway, token), left, "the token to be refused")  # noqa: B023
            assert dropped.isdisjoint(published(gateway))
        print(f"refused by both gateways after {time.monotonic() - begun:.2f} s")

        refreshed = client.post("/auth/refresh")
        assert refreshed.status_code == 200
        assert all(is_allowed(gateway, refreshed.json()["access_token"]) for gateway in gateways)


@pytest.mark.parametrize("is_running", [True, False])
def test_compromised_keys_do_not_come_back_with_a_keyring_that_is_restored(
    make_gateway: Callable[..., GatewayProcess], is_running: bool
) -> None:
    """Put back by hand, while gateways run and while none does, and whatever command looks at it first."""
    gateway = make_gateway()
    user = gateway.add_user()

    async def saved(opened: Gateway) -> bytes:
        value: bytes = await opened.store.execute("GET", opened.store.key("keyring"))
        return value

    async def restored(opened: Gateway) -> None:
        await opened.store.execute("SET", opened.store.key("keyring"), older)

    with gateway.client() as client:
        token = gateway.login(user, client)["access_token"]
    dropped = {kid_of(gateway.env, "current"), kid_of(gateway.env, "next")}
    older = in_gateway(gateway.env, saved)
    assert in_process("keys", "rotate", "--compromised", env=gateway.env).status == 0
    wait_until(lambda: not is_allowed(gateway, token), KNOWN_WITHIN_SECONDS, "the token to be refused")
    if not is_running:
        gateway.stop()
    in_gateway(gateway.env, restored)
    if not is_running:
        gateway.start()
    ends_at = time.monotonic() + 3
    while time.monotonic() < ends_at:
        assert dropped.isdisjoint(published(gateway))
        assert not is_allowed(gateway, token)
        time.sleep(0.1)
    assert dropped.isdisjoint(key["kid"] for key in keyring(gateway.env))
    with gateway.client() as client:
        fresh = gateway.login(user, client)["access_token"]
    assert kid_of_token(fresh) not in dropped
    assert is_allowed(gateway, fresh)
    if is_running:
        return
    gateway.stop()
    in_gateway(gateway.env, restored)
    assert dropped.isdisjoint(key["kid"] for key in keyring(gateway.env))


def test_a_key_is_brought_in_as_the_next_one(
    gateway_env: dict[str, str], tmp_path: Path, rsa_key: rsa.RSAPrivateKey
) -> None:
    current = kid_of(gateway_env, "current")
    file = tmp_path / "key.pem"
    file.write_bytes(pem_of(rsa_key))
    outcome = in_process("keys", "import", str(file), env=gateway_env)
    kid = kid_of(gateway_env, "next")
    assert (outcome.status, outcome.out, outcome.err) == (0, f"next key: {kid}\n", "")
    assert kid_of(gateway_env, "current") == current
    before = keyring(gateway_env)
    assert_refused(here("keys", "import", str(file), env=gateway_env), 1, "has this key already")
    assert keyring(gateway_env) == before


def test_a_key_signs_at_once_on_an_empty_keyring(
    make_gateway: Callable[..., GatewayProcess], tmp_path: Path, rsa_key: rsa.RSAPrivateKey
) -> None:
    """`gateway check` before it makes no keys, so it stays empty until then."""
    gateway = make_gateway(start=False)
    assert "none yet" in here("check", env=gateway.env).out
    file = tmp_path / "key.pem"
    file.write_bytes(pem_of(rsa_key))
    assert here("keys", "import", str(file), env=gateway.env).out.startswith("current key: ")
    gateway.start()
    user = gateway.add_user()
    with gateway.client() as client:
        token = gateway.login(user, client)["access_token"]
    jwt.decode(token, rsa_key.public_key(), algorithms=["RS256"], audience=gateway.url)


def bad_keys() -> dict[str, bytes]:
    good = rsa.generate_private_key(65537, 2048)
    public = good.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return {
        "empty": b"",
        "garbage": b"\x00\xff not a key",
        "damaged": pem_of(good)[:600] + b"\n-----END PRIVATE KEY-----\n",
        "public": public,
        "encrypted": pem_of(good, b"a passphrase"),
        "short": pem_of(rsa.generate_private_key(65537, 1024)),  # noqa: S505 - to be refused
        "ec": pem_of(ec.generate_private_key(ec.SECP256R1())),
        "ed25519": pem_of(ed25519.Ed25519PrivateKey.generate()),
        "x25519": pem_of(x25519.X25519PrivateKey.generate()),
        "dsa": pem_of(dsa.generate_private_key(2048)),
    }


def test_what_cannot_sign_is_refused_and_changes_nothing(gateway_env: dict[str, str], tmp_path: Path) -> None:
    before = keyring(gateway_env)
    for name, octets in bad_keys().items():
        file = tmp_path / name
        file.write_bytes(octets)
        outcome = here("keys", "import", str(file), env=gateway_env)
        assert_refused(outcome, 1)
        assert keyring(gateway_env) == before, name
    assert_refused(here("keys", "import", str(tmp_path / "missing"), env=gateway_env), 1, "No such file")
    assert_refused(in_process("keys", "import", str(tmp_path / "garbage"), env=gateway_env), 1, "PEM")


@pytest.mark.parametrize(
    ("algorithm", "good", "bad"),
    [
        ("PS256", lambda: rsa.generate_private_key(65537, 2048), ed25519.Ed25519PrivateKey.generate),
        ("ES256", lambda: ec.generate_private_key(ec.SECP256R1()), lambda: ec.generate_private_key(ec.SECP384R1())),
        ("Ed25519", ed25519.Ed25519PrivateKey.generate, lambda: ec.generate_private_key(ec.SECP256R1())),
        ("EdDSA", ed25519.Ed25519PrivateKey.generate, lambda: ec.generate_private_key(ec.SECP256R1())),
    ],
)
def test_a_key_must_be_of_the_kind_that_signing_algorithm_says(
    gateway_env: dict[str, str], tmp_path: Path, algorithm: str, good: Callable[[], Any], bad: Callable[[], Any]
) -> None:
    env = gateway_env | {"GATEWAY_SIGNING_ALGORITHM": algorithm}
    file = tmp_path / "key.pem"
    file.write_bytes(pem_of(bad()))
    assert_refused(here("keys", "import", str(file), env=env), 1, f"cannot sign with {algorithm}")
    file.write_bytes(pem_of(good()))
    assert here("keys", "import", str(file), env=env).status == 0
    assert [key["alg"] for key in keyring(env) if key["state"] == "current"] == [algorithm]


def test_export_gives_public_keys_alone(gateway: GatewayProcess, tmp_path: Path) -> None:
    jwks = in_process("keys", "export", env=gateway.env)
    assert (jwks.status, jwks.err) == (0, "")
    assert jwks.document == httpx2.get(f"{gateway.url}/.well-known/jwks.json", verify=UNUSED_TLS).json()
    for key in jwks.document["keys"]:
        assert set(key) == {"kty", "use", "alg", "kid", "n", "e"}
    pem = here("keys", "export", "--pem", env=gateway.env).out
    assert "PRIVATE" not in pem
    blocks = [block + "-----END PUBLIC KEY-----\n" for block in pem.split("-----END PUBLIC KEY-----\n")[:-1]]
    numbers = [load_pem_public_key(block.encode()).public_numbers().n for block in blocks]  # type: ignore[union-attr]
    assert numbers == [jwt.PyJWK(key).key.public_numbers().n for key in jwks.document["keys"]]
    file = tmp_path / "public.pem"
    file.write_text(blocks[0])
    subprocess.run(["openssl", "pkey", "-pubin", "-in", str(file), "-noout"], check=True, timeout=10)
