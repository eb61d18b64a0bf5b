"""benchmarks/load.py against real gateways: what it reports is what happened, and what is wrong is told."""

import asyncio
import contextlib
import datetime
import ipaddress
import json
import re
import secrets
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.state import Gateway
from tests.harness import PASSWORD, GatewayProcess, RedisServer, free_port, in_gateway, wait_until

LOAD = Path(__file__).parents[1] / "benchmarks" / "load.py"
BEARER = re.compile(rb"Authorization: Bearer [^\r]+")
QUICK = ("--sessions", "4", "--ramp", "0", "--think", "0.02", "--refresh-every", "0.2", "--away", "0.05")


class Loads:
    """The load tests that one test has started."""

    def __init__(self) -> None:
        self.started: list[subprocess.Popen[str]] = []

    def start(self, url: str, *arguments: str, stdin: str = PASSWORD) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        command = [sys.executable, str(LOAD), "--url", url, *arguments]
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        self.started.append(process)
        assert process.stdin is not None
        process.stdin.write(stdin + "\n")
        process.stdin.flush()
        return process

    def run(self, url: str, *arguments: str) -> tuple[int, str, str]:
        """Give exit status, stdout and stderr."""
        process = self.start(url, *arguments)
        output, errors = process.communicate(timeout=30)
        return process.returncode, output, errors


@pytest.fixture
def loads() -> Iterator[Loads]:
    """Give what starts load tests; none of them outlives the test."""
    made = Loads()
    yield made
    for process in made.started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def users_file(gateway: GatewayProcess, folder: Path, count: int) -> str:
    """Add users and give the file that names them."""
    emails = [f"user-{secrets.token_hex(6)}@example.com" for _ in range(count)]

    async def add(opened: Gateway) -> None:
        password_hash = await opened.passwords.hash(PASSWORD)
        for email in emails:
            await opened.users.add(email, "Ann Example", ("staff",), password_hash)

    in_gateway(gateway.env, add)
    file = folder / "users.jsonl"
    file.write_text("".join(json.dumps({"email": email, "password": PASSWORD}) + "\n" for email in emails))
    return str(file)


def causes(document: dict[str, Any]) -> dict[str, int]:
    return {f"{error['kind']}: {error['cause']}": error["count"] for error in document["errors"]}


class Relay:
    """Passes bytes on to a gateway, by TLS where it is told, and mixes up who asks where it is told."""

    def __init__(self, port: int, *, tls: ssl.SSLContext | None = None, is_mixing_up: bool = False) -> None:
        self.port = free_port()
        self.mixed_up = 0
        self._to, self._tls, self._is_mixing_up = port, tls, is_mixing_up
        self._first: bytes | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))

    def __enter__(self) -> "Relay":
        self._stopped = asyncio.Event()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(timeout=10)
        self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._connect, "127.0.0.1", self.port, ssl=self._tls)
        async with server:
            await self._stopped.wait()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection("127.0.0.1", self._to)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(self._pass_on(reader, forth, self._mix_up), self._pass_on(back, writer, bytes))
        forth.close()
        writer.close()

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, change: Callable[[bytes], bytes]
    ) -> None:
        with contextlib.suppress(OSError):
            while octets := await reader.read(65536):
                writer.write(change(octets))
                await writer.drain()
        writer.close()

    def _mix_up(self, octets: bytes) -> bytes:
        bearer = BEARER.search(octets)
        if bearer is None or not self._is_mixing_up:
            return octets
        self._first = self._first or bearer[0]
        self.mixed_up += bearer[0] != self._first
        return octets.replace(bearer[0], self._first)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Give a file with a certificate for 127.0.0.1 and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway.test")])
    begins = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + datetime.timedelta(days=36_500))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, unencrypted = serialization.Encoding.PEM, serialization.NoEncryption()
    file = tmp_path / "certificate.pem"
    file.write_bytes(made.public_bytes(pem) + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, unencrypted))
    return file


def test_the_counts_of_the_report_are_those_of_the_gateways_log(
    loads: Loads, gateway: GatewayProcess, tmp_path: Path
) -> None:
    users, before = users_file(gateway, tmp_path, 3), len(gateway.log_lines())
    arguments = (*QUICK, "--users", users, "--duration", "2.2", "--logout", "0.1", "--json")
    status, output, errors = loads.run(gateway.url, *arguments)
    assert status == 0, errors
    document = json.loads(output)
    kinds = document["kinds"]
    logged = Counter(line["path"].rpartition("/")[2] for line in gateway.log_lines()[before:] if "path" in line)
    print({kind: row["sent"] for kind, row in kinds.items()}, "logged", dict(logged))
    assert min(row["done"] for row in kinds.values()) > 0
    assert logged["login"] == kinds["login"]["sent"]
    assert logged["refresh"] == kinds["refresh"]["sent"]
    assert logged["logout"] == kinds["logout"]["sent"] + document["cleanup"]["logged_out"]
    assert (
        logged["auth-request"] == 1
    )  # the one without a token, by which it knows a gateway; allowed ones are not logged
    assert document["requests"]["done"] == document["requests"]["sent"] == sum(row["sent"] for row in kinds.values())
    assert document["errors"] == []
    assert document["identities"] == {
        "checked": sum(kinds[kind]["done"] for kind in ("login", "refresh", "subrequest")),
        "missing": 0,
    }
    assert document["cleanup"]["left_behind"] == 0
    assert all(0 < row["p50_ms"] <= row["p90_ms"] <= row["p99_ms"] <= row["max_ms"] for row in kinds.values())
    progress = errors.splitlines()
    assert len(progress) == len(document["timeline"]) > 0
    assert re.fullmatch(r" +1 s  users \d+  requests/s [\d.]+  errors 0  CPU [\d.]+ %", progress[0])


def test_redis_killed_in_the_middle_is_told_as_the_cause_and_costs_nobody_the_session(
    loads: Loads, make_gateway: Callable[..., GatewayProcess], own_redis: Callable[..., RedisServer], tmp_path: Path
) -> None:
    redis = own_redis()
    gateway = make_gateway(redis_url=redis.url)
    users = users_file(gateway, tmp_path, 4)
    load = loads.start(gateway.url, *QUICK, "--users", users, "--duration", "2", "--logout", "0", "--json")
    wait_until(lambda: gateway.log_text().count("/auth/login") == 4, what="logins")
    wait_until(lambda: gateway.log_text().count("/auth/refresh") >= 4, what="refreshes")
    redis.kill()
    wait_until(lambda: gateway.log_text().count("store-unavailable") >= 4, what="refusals")
    redis.start()
    output, errors = load.communicate(timeout=30)
    document = json.loads(output)
    print(causes(document), document["violations"])
    assert load.returncode == 0, errors
    assert set(causes(document)) == {"refresh: 503 store-unavailable"}
    logged = Counter((line["path"], line["status"]) for line in gateway.log_lines() if "path" in line)
    assert causes(document)["refresh: 503 store-unavailable"] == logged["/auth/refresh", 503] > 0
    assert document["kinds"]["refresh"]["done"] == logged["/auth/refresh", 200] > 0
    assert document["kinds"]["subrequest"]["failed"] == 0 < document["kinds"]["subrequest"]["done"]
    assert document["kinds"]["login"]["sent"] == 4
    assert document["violations"]["count"] == 0
    assert any("did not reach its Redis" in text for text in document["advice"])


def test_limits_are_explained_and_retry_after_is_heeded(
    loads: Loads, make_gateway: Callable[..., GatewayProcess], tmp_path: Path
) -> None:
    gateway = make_gateway(login_limit="3/minute", refresh_limit="3/minute")
    users = users_file(gateway, tmp_path, 6)
    status, output, errors = loads.run(
        gateway.url, *QUICK, "--sessions", "6", "--users", users, "--duration", "1", "--logout", "0"
    )
    assert status == 0, errors
    assert re.search(r"^login +6 +3 +3 ", output, re.MULTILINE), output
    assert re.search(r"^refresh +6 +3 +3 ", output, re.MULTILINE), output
    assert re.search(r"^error +3  login: 429 rate-limited$", output, re.MULTILINE)
    assert 'advice     429 "login";q=3;w=60 at login: ' in output
    assert 'login_limit = "off"' in output
    assert 'refresh_limit = "off"' in output
    assert re.search(r"^subrequest +\d+ +[1-9]\d* +0 ", output, re.MULTILINE), output


def test_the_guessing_throttle_is_explained_and_a_wrong_password_is_tried_once(
    loads: Loads,
    make_gateway: Callable[..., GatewayProcess],
) -> None:
    gateway = make_gateway(account_throttle="on")
    user = gateway.add_user()
    mistaken = gateway.add_user()
    with gateway.client() as client:
        for _ in range(6):
            client.post("/auth/login", json={"username": user.email, "password": "not the password"})
    one_account = ("--password-stdin", "--sessions", "20", "--logout", "0", "--duration", "0.5", "--json")
    throttled = loads.start(gateway.url, *QUICK, *one_account, "--email", user.email)
    wrong = loads.start(
        gateway.url, *QUICK, *one_account, "--ramp", "0.4", "--email", mistaken.email, stdin="not the password"
    )
    output, errors = throttled.communicate(timeout=30)
    assert throttled.returncode == 1, errors  # nobody was let in
    document = json.loads(output)
    assert causes(document)["login: 429 rate-limited"] > 0
    assert any('account_throttle = "off"' in text for text in document["advice"])
    output, errors = wrong.communicate(timeout=30)
    assert wrong.returncode == 1, errors
    document = json.loads(output)
    assert causes(document) == {"login: 401 invalid-credentials": 1}
    assert document["accounts_set_aside"] == [mistaken.email]


def test_a_session_that_somebody_ended_is_a_violation(loads: Loads, gateway: GatewayProcess) -> None:
    user = gateway.add_user()
    account = ("--email", user.email, "--password-stdin")
    load = loads.start(gateway.url, *QUICK, *account, "--duration", "1", "--logout", "0", "--json")
    with gateway.client() as client:
        client.headers["Authorization"] = f"Bearer {gateway.login(user, client)['access_token']}"
        wait_until(lambda: len(client.get("/auth/sessions").json()["sessions"]) == 5, what="four sessions beside ours")
        assert client.post("/auth/logout-all").json() == {"revoked_sessions": 5}
    output, errors = load.communicate(timeout=30)
    document = json.loads(output)
    print(causes(document), document["violations"])
    assert load.returncode == 1, errors
    assert document["violations"]["count"] >= 4
    assert any("though nobody ended the session" in text for text in document["violations"]["first"])


def test_an_answer_of_somebody_else_is_a_violation(loads: Loads, gateway: GatewayProcess, tmp_path: Path) -> None:
    users = users_file(gateway, tmp_path, 4)
    with Relay(gateway.port, is_mixing_up=True) as relay:
        status, output, errors = loads.run(
            f"http://127.0.0.1:{relay.port}",
            *(*QUICK, "--refresh-every", "60", "--users", users, "--duration", "0.5", "--logout", "0", "--json"),
        )
    violations = json.loads(output)["violations"]
    print(relay.mixed_up, violations["count"])
    assert status == 1, errors
    assert violations["count"] == relay.mixed_up > 0
    assert "a subrequest was answered with the identity of usr_" in violations["first"][0]


def test_https_is_checked_against_the_certificates_that_it_is_given(
    loads: Loads, gateway: GatewayProcess, tmp_path: Path, certificate: Path
) -> None:
    users = users_file(gateway, tmp_path, 2)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    with Relay(gateway.port, tls=tls) as relay:
        url, command = f"https://127.0.0.1:{relay.port}", (*QUICK, "--users", users, "--duration", "1", "--json")
        strict = loads.start(url, *command)
        trusting = [loads.start(url, *command, *trust) for trust in (("--cacert", str(certificate)), ("--insecure",))]
        output, errors = strict.communicate(timeout=30)
        assert (strict.returncode, output) == (1, "")
        assert re.fullmatch(r"load: .* cannot be reached: TLS: .*certificate.*: use --cacert FILE, .*\n", errors)
        for load in trusting:
            output, errors = load.communicate(timeout=30)
            assert load.returncode == 0, errors
            assert json.loads(output)["kinds"]["subrequest"]["done"] > 0


def test_in_the_open_model_a_stall_of_the_gateway_is_in_all_that_it_held_up(
    loads: Loads, gateway: GatewayProcess, tmp_path: Path
) -> None:
    """A closed model would see one slow request for each client, and its p90 nothing."""
    users, before = users_file(gateway, tmp_path, 2), gateway.log_text().count("/auth/login")
    arguments = ("--users", users, "--sessions", "2", "--ramp", "0", "--logout", "0", "--duration", "1.5", "--json")
    load = loads.start(gateway.url, *arguments, "--rate", "200")
    wait_until(lambda: gateway.log_text().count("/auth/login") >= before + 2, what="logins")
    assert gateway.process is not None
    gateway.process.send_signal(signal.SIGSTOP)
    time.sleep(0.5)
    gateway.process.send_signal(signal.SIGCONT)
    output, errors = load.communicate(timeout=30)
    document = json.loads(output)
    row = document["kinds"]["subrequest"]
    print(row)
    assert load.returncode == 0, errors
    assert document["model"] == "open"
    assert row["max_ms"] > 400
    assert row["p90_ms"] > 150


def test_more_requests_than_can_be_done_do_not_make_the_run_longer_and_are_told(
    loads: Loads, gateway: GatewayProcess, tmp_path: Path
) -> None:
    arguments = ("--users", users_file(gateway, tmp_path, 1), "--sessions", "1", "--ramp", "0", "--logout", "0")
    status, output, errors = loads.run(gateway.url, *arguments, "--rate", "100000", "--duration", "0.4", "--json")
    document = json.loads(output)
    requests = document["requests"]
    print(requests)
    assert status == 0, errors
    assert requests["unsent"] > requests["done"] == requests["sent"] > 0
    assert requests["unsent"] + requests["sent"] == pytest.approx(40_000, rel=0.2)
    assert document["seconds"] < 2
    assert any("were not sent before the end" in text for text in document["warnings"])


def test_a_generator_that_was_held_up_says_so_and_an_interrupt_ends_it_with_its_report(
    loads: Loads, gateway: GatewayProcess, tmp_path: Path
) -> None:
    users, before = users_file(gateway, tmp_path, 4), gateway.log_text().count("/auth/refresh")
    load = loads.start(gateway.url, *QUICK, "--users", users, "--duration", "60", "--logout", "0")
    wait_until(lambda: gateway.log_text().count("/auth/refresh") >= before + 4, what="refreshes")
    load.send_signal(signal.SIGSTOP)
    time.sleep(0.3)
    load.send_signal(signal.SIGCONT)
    time.sleep(0.1)
    load.send_signal(signal.SIGINT)
    output, errors = load.communicate(timeout=10)
    assert load.returncode == 0, errors
    assert re.search(r"^WARNING +the load generator was itself held up \(loop lag p99 \d{3,}", output, re.MULTILINE), (
        output
    )
    assert re.search(r"^sessions +4 logged out at the end, 0 left behind$", output, re.MULTILINE), output


def test_what_cannot_be_reached_is_told_in_one_line(
    loads: Loads, gateway: GatewayProcess, redis_server: RedisServer
) -> None:
    reasons = {
        f"http://127.0.0.1:{free_port()}": "cannot be reached: connection refused: is the gateway running there?",
        f"http://127.0.0.1:{redis_server.port}": "cannot be reached: ",
        f"https://127.0.0.1:{gateway.port}": "cannot be reached: TLS: ",
    }
    runs = {url: loads.start(url, "--email", "ann@example.com", "--password-stdin") for url in reasons}
    for url, run in runs.items():
        output, errors = run.communicate(timeout=30)
        assert (run.returncode, output, errors.count("\n")) == (1, "", 1), errors
        assert errors.startswith(f"load: {url} {reasons[url]}"), errors


def test_a_mistake_takes_one_line_and_exit_status_2(loads: Loads, tmp_path: Path) -> None:
    file = tmp_path / "users.jsonl"
    file.write_text('{"email": "a@example.com", "password": "x"}\n{"email": 1}\n')
    here, one = "http://127.0.0.1:1", ("--email", "a@example.com", "--password-stdin")
    mistakes = {
        ("http://192.0.2.1", *one): "if you may load it, add --yes-this-is-mine",
        ("127.0.0.1:8000", *one): "is not like http://127.0.0.1:8000",
        (here, "--users", str(file)): "line 2 is not like {",
        (here, *one, "--rate", "0"): "argument --rate: '0' is not 0.01",
        (here, *one, "--sessions", "51"): "set --sessions-per-user",
    }
    runs = {arguments: loads.start(*arguments) for arguments in mistakes}
    for arguments, run in runs.items():
        output, errors = run.communicate(timeout=30)
        assert (run.returncode, output, errors.count("\n")) == (2, "", 1), errors
        assert mistakes[arguments] in errors
