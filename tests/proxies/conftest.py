"""Fixtures: the real proxies, each with the files of config/ in front of an application that echoes."""

import contextlib
import json
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from gateway.verifier import thumbprint
from tests.certificates import SITE, Certificates, make_certificates
from tests.conftest import quick_environment
from tests.harness import GatewayProcess, Login, RedisServer, TestUser, run_command
from tests.proxies.echo import EchoApplication
from tests.proxies.fronts import ISSUER, KINDS, LOGIN_HOST, Front, Kind


@dataclass
class Signer:
    """The gateway's signing key: it was brought in with `gateway keys import`, so that tests can sign too."""

    key: rsa.RSAPrivateKey

    @property
    def kid(self) -> str:
        """Its id in the JWKS."""
        return thumbprint(self.key.public_key())

    @property
    def pem(self) -> bytes:
        """The file to import."""
        form, no_password = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        return self.key.private_bytes(serialization.Encoding.PEM, form, no_password)

    def sign(self, *, header: dict[str, Any] | None = None, **changes: Any) -> str:
        """Give an access token that is good, but for the *changes* of its claims and header."""
        now = int(time.time())  # noqa: TID251 - the gateway goes by the wall clock too
        claims = {
            "iss": ISSUER,
            "sub": "usr_" + "a" * 22,
            "aud": ISSUER,
            "client_id": "first-party",
            "iat": now,
            "exp": now + 600,
            "jti": secrets.token_urlsafe(16),
            "sid": secrets.token_urlsafe(16),
            "auth_time": now,
            "amr": ["pwd"],
            "roles": ["demo"],
            "email": "signed@example.com",
            "name": "Signed",
        }
        return jwt.encode(
            claims | changes, self.key, algorithm="RS256", headers={"typ": "at+jwt", "kid": self.kid} | (header or {})
        )


def log_in(gateway: GatewayProcess, **user: Any) -> Login:
    """Log in a user of its own, who has the role that the configurations ask for unless told otherwise."""
    added = gateway.add_user(**{"roles": ("demo", "staff"), "name": "Zoë, of <R&D>"} | user)
    with gateway.client() as client:
        body = gateway.login(added, client, delivery="body")
    return Login(added, body["access_token"], body["refresh_token"])


def sign_in(front: Front, user: TestUser, *, host: str = SITE) -> str:
    """Log in through the proxy, as a login page would, and give the cookie of the browser session, name and value."""
    body = json.dumps({"username": user.email, "password": user.password, "delivery": "session"}).encode()
    said = {"Content-Type": "application/json", "Sec-Fetch-Site": "same-origin", "Origin": f"https://{host}"}
    answer = front.ask("/auth/login", said, method="POST", body=body, host=host)
    assert answer.status == 200, answer.body
    (cookie,) = [value for value in answer.values("Set-Cookie") if "gateway_session=" in value]
    return cookie.partition(";")[0]


def log_out(gateway: GatewayProcess, login: Login) -> None:
    """End the session."""
    with gateway.client() as client:
        assert client.post("/auth/logout", json={"refresh_token": login.refresh_token}).status_code == 204


def start_gateway(redis: RedisServer, directory: Path, signer: Signer, **settings: str) -> GatewayProcess:
    """Start a gateway with the issuer that the configurations name, behind a proxy on this host."""
    directory.mkdir(parents=True, exist_ok=True)
    said = {"issuer": ISSUER, "trusted_proxies": "127.0.0.1"} | settings
    env = quick_environment(redis.url, redis_key_prefix=f"t{secrets.token_hex(4)}:", **said)
    pem = directory / "key.pem"
    pem.write_bytes(signer.pem)
    done = run_command("keys", "import", str(pem), env=env)
    assert done.returncode == 0, done.stderr
    return GatewayProcess(env, directory / "gateway.log").start()


@pytest.fixture(scope="session")
def signer() -> Signer:
    """Give a key that gateways sign with."""
    return Signer(rsa.generate_private_key(public_exponent=65_537, key_size=2048))


@pytest.fixture(scope="session")
def place() -> Iterator[Path]:
    """Give a directory that others may read too, since some proxies run as somebody else."""
    with tempfile.TemporaryDirectory(prefix="proxies-") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


@pytest.fixture(scope="session")
def certificates(place: Path) -> Certificates:
    """Give a certificate of a CA of our own for the site."""
    return make_certificates(place)


@pytest.fixture(scope="session")
def asked(
    redis_server: RedisServer, signer: Signer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    """Give the gateway that all proxies ask; never stop it."""
    process = start_gateway(redis_server, tmp_path_factory.mktemp("asked"), signer)
    yield process
    process.stop()


@pytest.fixture(scope="session")
def signed_on(
    redis_server: RedisServer, signer: Signer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    """Give a gateway on a host of its own, for all hosts of one domain; never stop it."""
    settings = {"issuer": f"https://{LOGIN_HOST}", "cookie_domain": "example.com"}
    process = start_gateway(redis_server, tmp_path_factory.mktemp("signed-on"), signer, **settings)
    yield process
    process.stop()


@pytest.fixture(scope="module")
def login(asked: GatewayProcess) -> Login:
    """Give a session that no test ends."""
    return log_in(asked)


@pytest.fixture(scope="session")
def application() -> Iterator[EchoApplication]:
    """Give the application behind all proxies."""
    echo = EchoApplication()
    yield echo
    echo.stop()


def installed(kind: Kind) -> Kind:
    """Skip with the reason unless the proxy is there."""
    if kind.program is None:
        pytest.skip(f"{kind} is not installed here (package: {kind.package})")
    if kind.name == "apache" and not Path("/usr/share/lua/5.3/socket/http.lua").exists():
        pytest.skip("LuaSocket is not installed here (package: lua-socket)")
    return kind


@contextlib.contextmanager
def standing(
    kind: Kind,
    directory: Path,
    gateway: GatewayProcess,
    application: EchoApplication,
    certificates: Certificates,
    *,
    tls: bool = False,
    sso: bool = False,
) -> Iterator[Front]:
    """Give a proxy in front of the application, if it is installed."""
    running = Front(installed(kind), directory, gateway.port, application.port, certificates, tls=tls, sso=sso)
    try:
        yield running.start()
    finally:
        running.stop()


@pytest.fixture(scope="session", params=KINDS, ids=str)
def front(
    request: pytest.FixtureRequest,
    asked: GatewayProcess,
    application: EchoApplication,
    certificates: Certificates,
    place: Path,
) -> Iterator[Front]:
    """Give each proxy in turn, in front of the application; never stop it."""
    kind = request.param
    with standing(kind, place / str(kind), asked, application, certificates) as running:
        yield running


@pytest.fixture(scope="session", params=KINDS, ids=str)
def tls_front(
    request: pytest.FixtureRequest,
    asked: GatewayProcess,
    application: EchoApplication,
    certificates: Certificates,
    place: Path,
) -> Iterator[Front]:
    """Give each proxy in turn, the marks of TLS taken away: it speaks HTTP/2; never stop it."""
    kind = request.param
    with standing(kind, place / f"{kind}-tls", asked, application, certificates, tls=True) as running:
        yield running


@pytest.fixture
def make_front(place: Path, application: EchoApplication, certificates: Certificates) -> Iterator[Callable[..., Front]]:
    """Give a factory of proxies that a test may do with as it likes."""
    made: list[Front] = []

    def make(kind: Kind, gateway: GatewayProcess, *, await_keys: bool = True, **options: Any) -> Front:
        directory = place / f"{kind}-{secrets.token_hex(4)}"
        ports = {"gateway_port": gateway.port, "app_port": application.port} | options
        running = Front(installed(kind), directory, certificates=certificates, **ports)
        made.append(running)
        return running.start(await_keys=await_keys)

    yield make
    for running in made:
        running.stop()


def problem_type(body: bytes) -> str:
    """Give the last part of a problem's type."""
    return str(json.loads(body)["type"]).rpartition(":")[2]
