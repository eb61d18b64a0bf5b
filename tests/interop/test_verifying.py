"""The programs of docs/verifying.md, run as they stand: only issuer, audience and port are put in."""

import contextlib
import hashlib
import hmac
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from gateway.clock import system_clock
from gateway.verifier.keys import encode_base64url
from tests.conftest import quick_environment
from tests.harness import GatewayProcess, RedisServer, free_port, run_command, wait_until
from tests.interop.languages import DOTNET, GO, JAVA, NODE, PHP, PYTHON, RUST, Language, prepare, run_environment
from tests.interop.pages import AUTH, blocks, put_in
from tests.verifier.issuing import JWKS, Issuer
from tests.verifier.mint import claims, compact, header, part, private_key

ROOT = Path(__file__).parents[2]
PAGE = "verifying.md"
PORT = "9000"
START_SECONDS = 60.0
STARTED_BY = {
    "python": [sys.executable],
    "uvicorn": [sys.executable, "-m", "uvicorn"],
    "flask": [sys.executable, "-m", "flask"],
    "php": ["php"],
}


@dataclass(frozen=True)
class Service:
    """A program that answers /orders: its section, its language, its file, and the words that come before that."""

    heading: str
    language: Language
    fence: str
    file: str

    def __str__(self) -> str:
        """Name the tests."""
        return self.heading


SERVICES = (
    Service("FastAPI", PYTHON, "python", "orders.py"),
    Service("Flask", PYTHON, "python", "orders.py"),
    Service("Django", PYTHON, "python", "orders.py"),
    Service("Express", NODE, "js", "orders.mjs"),
    Service("Fastify", NODE, "js", "orders.mjs"),
    Service("Go", GO, "go", "orders.go"),
    Service(".NET", DOTNET, "csharp", "Program.cs"),
    Service("PHP", PHP, "php", "orders.php"),
)


@dataclass
class Running:
    """A program of the page that runs."""

    url: str
    log: Path

    def ask(self, token: str | None) -> httpx2.Response:
        """Send a token, or none."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        with httpx2.Client(timeout=30) as client:
            return client.get(f"{self.url}/orders", headers=headers)


StartService = Callable[[Service, str], Running]


@pytest.fixture(scope="module")
def known(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """Give a gateway that signs with a key of ours: so a test can sign as it does what it never would."""
    directory = tmp_path_factory.mktemp("known")
    pem = private_key("RS256").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (directory / "key.pem").write_bytes(pem)
    env = quick_environment(redis_server.url, redis_key_prefix=f"t{secrets.token_hex(4)}:")
    imported = run_command("keys", "import", str(directory / "key.pem"), env=env)
    assert imported.stdout.startswith("current key: "), imported.stderr
    process = GatewayProcess(env, directory / "gateway.log").start()
    yield process
    process.stop()


@pytest.fixture(scope="module")
def start_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartService]:
    """Give a factory of the page's services, from the issuer."""
    with contextlib.ExitStack() as opened:

        def start(service: Service, issuer: str) -> Running:
            service.language.require()
            directory, port = tmp_path_factory.mktemp("service"), free_port()
            [code] = blocks(PAGE, service.heading, service.fence)
            code = code.replace(AUTH, issuer)
            (directory / service.file).write_text(code if service.language in (PYTHON, PHP) else at(port, code))
            (directory / "out").mkdir()
            (directory / "gateway_verifier").symlink_to(ROOT / "gateway" / "verifier")
            command = prepare(service.language, directory / service.file, directory / "out")
            if service.language in (PYTHON, PHP):
                [line] = blocks(PAGE, service.heading, "sh")
                program, *words = at(port, line).split()
                command = [*STARTED_BY[program], *words]
            log = directory / "log"
            env = run_environment({"PYTHONPATH": str(directory)})
            with log.open("wb") as output:
                process = subprocess.Popen(command, cwd=directory, env=env, stdout=output, stderr=output)
            opened.callback(process.wait, 20)
            opened.callback(process.terminate)
            running = Running(f"http://127.0.0.1:{port}", log)

            def answers() -> bool:
                assert process.poll() is None, log.read_text()
                with contextlib.suppress(httpx2.TransportError):
                    return running.ask(None).status_code == 401
                return False

            wait_until(answers, START_SECONDS, f"{service}: {log.read_text()}")
            return running

        yield start


def at(port: int, text: str) -> str:
    """Put a port in."""
    return put_in(text, {PORT: str(port)})


def hostile_tokens(issuer: str) -> dict[str, str]:
    """Give what is no access token for a service of this issuer, by what is wrong with it."""
    now = system_clock()

    def good(**changes: object) -> dict[str, object]:
        return claims(iss=issuer, aud=issuer, iat=now, exp=now + 600) | changes

    def without(name: str) -> dict[str, object]:
        return {claim: value for claim, value in good().items() if claim != name}

    public = private_key("RS256").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    whole = compact(header(), good())
    head, payload, signature = whole.split(".")
    other = compact(header(), good(sub="usr_" + "b" * 22)).split(".")[1]
    untyped = {name: value for name, value in header().items() if name != "typ"}
    return {
        "another payload": f"{head}.{other}.{signature}",
        "no signature": f"{head}.{payload}.",
        "alg none": compact(header(alg="none"), good()).rpartition(".")[0] + ".",
        "the public key as a secret": hmac_signed(header(alg="HS256"), good(), public),
        "a key of nobody": compact(header("ES256"), good(), signer="ES256"),
        "an ID token": compact(header(typ="JWT"), good()),
        "a status list": compact(header(typ="statuslist+jwt"), good()),
        "no typ": compact(untyped, good()),
        "another issuer": compact(header(), good(iss="https://evil.example")),
        "the issuer with a slash": compact(header(), good(iss=issuer + "/")),
        "another audience": compact(header(), good(aud="https://other.example")),
        "no audience": compact(header(), without("aud")),
        "over for an hour": compact(header(), good(iat=now - 7200, exp=now - 3600)),
        "without an end": compact(header(), without("exp")),
        "garbage": "garbage",
        "three dots": "...",
    }


def hmac_signed(head: dict[str, object], payload: dict[str, object], secret: bytes) -> str:
    """Give a JWS by HS256 (RFC 8725, section 2.1: the key that verifies taken for a secret)."""
    message = f"{part(head)}.{part(payload)}"
    return f"{message}.{encode_base64url(hmac.digest(secret, message.encode(), hashlib.sha256))}"


def tokens_that_are_good(gateway: GatewayProcess) -> dict[str, str]:
    """Give a token that the gateway gave, and one that the test signed in its name; by their `sub`."""
    user, now = gateway.add_user(), system_clock()
    with gateway.client() as client:
        given = gateway.login(user, client, delivery="body")["access_token"]
    signed = claims(iss=gateway.url, aud=gateway.url, iat=now, exp=now + 600)
    return {user.user_id: given, str(signed["sub"]): compact(header(), signed)}


@pytest.mark.parametrize("service", SERVICES, ids=str)
def test_the_service_takes_tokens_of_the_gateway_and_no_other(
    service: Service, known: GatewayProcess, start_service: StartService
) -> None:
    running = start_service(service, known.url)
    for sub, token in tokens_that_are_good(known).items():
        answer = running.ask(token)
        assert answer.status_code == 200, running.log.read_text()
        assert answer.json() == {"sub": sub}
    hostile = hostile_tokens(known.url)
    said = {name: running.ask(token) for name, token in hostile.items()}
    assert {name: answer.status_code for name, answer in said.items()} == dict.fromkeys(hostile, 401)
    assert all(answer.headers["WWW-Authenticate"].startswith("Bearer") for answer in said.values())
    print(f"{service}: 2 tokens taken, {len(said)} refused")


@pytest.mark.parametrize("service", [s for s in SERVICES if s.language is not DOTNET], ids=str)
def test_the_service_answers_503_and_not_401_when_it_cannot_get_the_keys(
    service: Service, start_service: StartService
) -> None:
    """RFC 9110, section 15.6.4."""
    away = f"http://127.0.0.1:{free_port()}"
    now = system_clock()
    answer = start_service(service, away).ask(compact(header(), claims(iss=away, aud=away, iat=now, exp=now + 600)))
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0


@pytest.mark.parametrize("service", [s for s in SERVICES if s.language is not DOTNET], ids=str)
def test_the_service_answers_503_and_not_401_when_what_it_gets_is_no_set_of_keys(
    service: Service, start_service: StartService
) -> None:
    """RFC 9110, section 15.6.4."""
    with contextlib.closing(Issuer()) as issuer:
        running, now = start_service(service, issuer.origin), system_clock()
        token = compact(header(), claims(iss=issuer.origin, aud=issuer.origin, iat=now, exp=now + 600))
        issuer.pause.clear()
        said = {"silence": running.ask(token).status_code}
        waited_in_vain = not issuer.answered
        issuer.pause.set()
        for trouble, status in (("an error", 500), ("a page", 200)):
            issuer.status, issuer.bodies[JWKS] = status, b"<p>Hello"
            said[trouble] = running.ask(token).status_code
    assert said == dict.fromkeys(said, 503)
    assert waited_in_vain, "it would have waited for ever"


@dataclass(frozen=True)
class Program:
    """A program of the page that reads a token a line, and the argument that it is started with."""

    name: str
    language: Language
    fence: str
    files: tuple[str, ...]
    argument: str = ""

    def __str__(self) -> str:
        """Name the tests."""
        return self.name


PROGRAMS = (
    Program("Spring", JAVA, "java", ("AccessTokens.java", "AccessTokensBefore65.java"), "AccessTokens"),
    Program("Spring", JAVA, "java", ("AccessTokens.java", "AccessTokensBefore65.java"), "AccessTokensBefore65"),
    Program("Rust", RUST, "rust", ("verifying.rs",)),
)


def says(program: Program, issuer: str, tokens: list[str], directory: Path) -> list[str]:
    """Run a program with tokens, and give the line that it says of each."""
    program.language.require()
    (directory / "out").mkdir()
    for name, code in zip(program.files, blocks(PAGE, program.name, program.fence), strict=True):
        (directory / name).write_text(put_in(code, {AUTH: issuer}))
        if program.argument in ("", name.removesuffix(".java")):
            command = prepare(program.language, directory / name, directory / "out")
    if program.language is JAVA:
        command = [
            *prepare(JAVA, ROOT / "tests" / "interop" / "java" / "Decode.java", directory / "out"),
            program.argument,
        ]
    done = subprocess.run(
        command, env=run_environment({}), input="\n".join(tokens) + "\n", capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.argument or program.name)
def test_the_program_takes_tokens_of_the_gateway_and_no_other(
    program: Program, known: GatewayProcess, tmp_path: Path
) -> None:
    good, hostile = tokens_that_are_good(known), hostile_tokens(known.url)
    said = says(program, known.url, [*good.values(), *hostile.values()], tmp_path)
    assert said[: len(good)] == list(good)
    told = dict(zip(hostile, said[len(good) :], strict=True))
    assert {name: line for name, line in told.items() if not line.startswith("refused: ")} == {}
    print(f"{program}: {len(good)} tokens taken, {len(told)} refused")


def test_the_decoder_that_spring_makes_of_the_issuer_alone_refuses_our_tokens(
    known: GatewayProcess, tmp_path: Path
) -> None:
    """The trap that the page tells of, in the words that the log has."""
    JAVA.require()
    (tmp_path / "out").mkdir()
    command = prepare(JAVA, ROOT / "tests" / "interop" / "java" / "Decode.java", tmp_path / "out")
    token = next(iter(tokens_that_are_good(known).values()))
    done = subprocess.run(
        [*command, known.url], env=run_environment({}), input=token + "\n", capture_output=True, text=True, timeout=120
    )
    shown = "JOSE header typ (type) at+jwt not allowed"
    assert f"`{shown}`" in (ROOT / "docs" / PAGE).read_text()
    assert done.stdout.strip().endswith(shown), done.stdout + done.stderr
