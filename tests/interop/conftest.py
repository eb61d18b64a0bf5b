"""Fixtures: two machine clients of the ordinary gateway, one with a secret, one with keys."""

import json
import re
from dataclasses import dataclass
from typing import Literal

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc.jwk import KeySet, import_key

from tests.harness import GatewayProcess, run_command

KINDS: dict[str, Literal["RSA", "EC", "OKP"]] = {"KEY_RSA": "RSA", "KEY_EC": "EC", "KEY_ED25519": "OKP"}
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True)
class AddedClient:
    """A machine client as `gateway clients add` has printed it."""

    client_id: str
    client_secret: str = ""


def add_client(gateway: GatewayProcess, *arguments: str) -> AddedClient:
    """Run `gateway clients add NAME ARGUMENTS`."""
    added = run_command("clients", "add", *arguments, env=gateway.env)
    assert added.returncode == 0, added.stderr
    return AddedClient(**dict(re.findall(r"^(client_\w+): (\S+)$", added.stdout, re.MULTILINE)))


@pytest.fixture(scope="session")
def key_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Give files with a private key of each kind, and one with the JWKS of the public ones."""
    directory = tmp_path_factory.mktemp("client-keys")
    keys: dict[str, PrivateKey] = {
        "KEY_RSA": rsa.generate_private_key(65537, 2048),
        "KEY_EC": ec.generate_private_key(ec.SECP256R1()),
        "KEY_ED25519": ed25519.Ed25519PrivateKey.generate(),
    }
    for name, key in keys.items():
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (directory / name).write_bytes(pem)
    public = KeySet([import_key((directory / name).read_text(), kind) for name, kind in KINDS.items()])
    (directory / "JWKS").write_text(json.dumps(public.as_dict(private=False)))
    return {name: str(directory / name) for name in (*keys, "JWKS")}


@pytest.fixture(scope="session")
def client_with_secret(gateway: GatewayProcess) -> AddedClient:
    """Give a client of the ordinary gateway that has a secret."""
    return add_client(gateway, "With a secret", "--role", "orders", "--role", "reports")


@pytest.fixture(scope="session")
def client_with_keys(gateway: GatewayProcess, key_files: dict[str, str]) -> AddedClient:
    """Give a client of the ordinary gateway that has an RSA, an EC and an Ed25519 key."""
    return add_client(gateway, "With keys", "--role", "orders", "--role", "reports", "--public-key", key_files["JWKS"])
