"""Fixtures: machine clients and a personal token of the ordinary gateway, and proxies that ask it."""

import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc.jwk import KeySet, import_key

from gateway.state import Gateway
from tests.certificates import make_certificates
from tests.harness import PASSWORD, GatewayProcess, in_gateway, run_command
from tests.interop.applications import Application, asking
from tests.interop.pages import MACHINES, blocks, lines_that_ask, shell
from tests.proxies.fronts import Front

OWNER = "ann@example.com"
ROLE_ALONE = 'set $requires "role=demo";'

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


class Standing(Protocol):
    """What is behind a proxy."""

    port: int

    def stop(self) -> None:
        """End it."""


StartFront = Callable[[Standing, str], str]


@pytest.fixture(scope="session")
def place() -> Iterator[Path]:
    """Give a folder that nginx's own user may read too."""
    with tempfile.TemporaryDirectory(prefix="recipes-") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


@pytest.fixture(scope="session")
def start_front(gateway: GatewayProcess, place: Path) -> Iterator[StartFront]:
    """Give a factory of proxies in front of something, from that and the line of protected.conf; gives its address."""
    certificates, running = make_certificates(place), list[tuple[Front, Standing]]()
    if shutil.which("curl") is None or asking(ROLE_ALONE).program is None:
        pytest.skip("the recipes need curl and nginx (packages: curl, nginx)")

    def start(behind: Standing, requires: str) -> str:
        kind, directory = asking(requires), place / f"front-{len(running)}"
        front = Front(kind, directory, gateway.port, behind.port, certificates)
        running.append((front.start(), behind))
        return f"127.0.0.1:{front.port}"

    yield start
    for front, behind in running:
        front.stop()
        behind.stop()


@pytest.fixture(scope="session")
def application() -> Application:
    """Give the application behind the proxy of most recipes; it ends with that."""
    return Application()


@pytest.fixture(scope="session")
def app(start_front: StartFront, application: Application) -> str:
    """Give the address of that proxy, which leads the browser of who is not logged in to the login."""
    return start_front(application, ROLE_ALONE)


@pytest.fixture(scope="session")
def token(gateway: GatewayProcess) -> str:
    """Give the personal token that the page's own command makes."""

    async def add_owner(opened: Gateway) -> None:
        await opened.users.add(OWNER, "Ann Example", ("demo", "staff"), await opened.passwords.hash(PASSWORD))

    in_gateway(gateway.env, add_owner)
    [command] = blocks(MACHINES, "A personal token", "sh")
    [shown] = blocks(MACHINES, "A personal token", "text")
    printed = shell(command, gateway.env)
    assert re.fullmatch(re.escape(shown).replace("…", "[A-Za-z0-9_-]+"), printed)
    return printed.rpartition("token: ")[2].strip()


@pytest.fixture(scope="session")
def billing(gateway: GatewayProcess) -> AddedClient:
    """Give the machine client that the page's own command makes."""
    [command] = blocks(MACHINES, "Service to service", "sh")
    assert command == "gateway clients add billing --role demo\n"
    return add_client(gateway, *command.split()[3:])


@pytest.fixture(scope="session")
def asks_for_a_password() -> str:
    """Give the line of the page that makes a proxy ask for a password."""
    return lines_that_ask()["nginx"]
