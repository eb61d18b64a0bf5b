"""What docs/operations.md tells operators to do, done: move, back up, restore, change the secret."""

import ast
import contextlib
import hashlib
import itertools
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import redis

from gateway.store.private import find_server
from tests.cli.commands import assert_refused, here, in_process
from tests.configured import PASSWORDS, ConfiguredServer, factory, knows_waitaof
from tests.harness import PASSWORD, SECRET, UNUSED_TLS, GatewayProcess, TestUser, environment, wait_until

pytestmark = [pytest.mark.redis, pytest.mark.one_server]

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "operations.md"
ISSUER = "http://gateway.test"
EMAIL = "ann@example.com"
LOUD = ("warning", "warn", "error", "exception", "critical", "log")
OLD_SECRET = "the secret of yesterday for tests alone: 32 bytes"
NEW_SECRET = "the secret of tomorrow for tests alone: 32 bytes"


@pytest.fixture
def configured(tmp_path: Path) -> Iterator[Callable[..., ConfiguredServer]]:
    """Give a factory of servers on the shipped files; they end with the test."""
    with factory(tmp_path) as make:
        yield make


def add_ann(gateway: GatewayProcess) -> TestUser:
    added = here("users", "add", EMAIL, "--role", "staff", "--password-stdin", env=gateway.env, stdin=PASSWORD)
    assert added.status == 0, added
    return TestUser("", EMAIL)


def refresh(gateway: GatewayProcess, refresh_token: str) -> dict[str, Any]:
    with gateway.client() as client:
        answer = client.post("/auth/refresh", json={"refresh_token": refresh_token})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


def login(gateway: GatewayProcess, user: TestUser) -> dict[str, Any]:
    with gateway.client() as client:
        return gateway.login(user, client, delivery="body")


def kids(gateway: GatewayProcess) -> list[str]:
    return [key["kid"] for key in httpx2.get(f"{gateway.url}/.well-known/jwks.json", verify=UNUSED_TLS).json()["keys"]]


def redis_cli(*arguments: str) -> str:
    """Run redis-cli or valkey-cli, as a reader of the page would."""
    program = shutil.which("redis-cli") or shutil.which("valkey-cli")
    if program is None:
        pytest.skip("neither redis-cli nor valkey-cli is on PATH: apt install redis-tools")
    ended = subprocess.run([program, "--no-auth-warning", *arguments], capture_output=True, text=True, timeout=30)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def as_admin(server: ConfiguredServer) -> tuple[str, ...]:
    return ("-p", str(server.port), "--user", "admin", "--pass", PASSWORDS["ADMIN"])


def test_users_sessions_and_keys_move_from_the_private_redis_to_a_server(
    make_gateway: Callable[..., GatewayProcess], configured: Callable[..., ConfiguredServer], tmp_path: Path
) -> None:
    data_dir = tmp_path / "data"
    old = make_gateway(redis_url=None, secret=None, redis_key_prefix=None, data_dir=data_dir, issuer=ISSUER)
    user = add_ann(old)
    session, lost_answer, signing_keys = login(old, user), login(old, user), kids(old)
    session |= refresh(old, session["refresh_token"])
    refresh(old, lost_answer["refresh_token"])

    # 1. End the gateway. 2. Copy its log into the folder of a server that has not been started yet. 3. Start that.
    assert old.stop() == 0
    server = configured_with(configured, data_dir / "redis" / "appendonlydir")
    secret_file = tmp_path / "gateway-secret"
    shutil.copy(data_dir / "secret", secret_file)
    new = make_gateway(
        start=False, redis_url=server.url, secret=None, secret_file=secret_file, redis_key_prefix=None, issuer=ISSUER
    )
    checked = here("check", "--json", env=new.env).document
    assert checked["passwords"]["foreign"] == 0
    assert not any("cannot log in" in text for text in checked["warnings"])
    new.start()

    assert kids(new) == signing_keys
    refreshed = refresh(new, session["refresh_token"])
    refresh(new, lost_answer["refresh_token"])
    with new.client() as client:
        bearer = {"Authorization": f"Bearer {session['access_token']}"}
        assert client.get("/api/authz/auth-request", headers=bearer).headers["Remote-User"] == EMAIL
        assert client.post("/auth/logout", json={"refresh_token": refreshed["refresh_token"]}).status_code == 204
    login(new, user)
    assert server.denials() == [] or {who for who, _, _ in server.denials()} == {"gateway"}


def configured_with(configured: Callable[..., ConfiguredServer], append_only_dir: Path) -> ConfiguredServer:
    """Give a server that finds a log in its folder at its first start."""
    server = configured()
    server.stop()
    shutil.rmtree(server.directory / "appendonlydir")
    shutil.copytree(append_only_dir, server.directory / "appendonlydir")
    server.start()
    return server


def test_a_backup_brings_everything_back(
    make_gateway: Callable[..., GatewayProcess], configured: Callable[..., ConfiguredServer], tmp_path: Path
) -> None:
    """Taken from a server at work; a session that has gone on since heals, one that was ended since is back."""
    server = configured()
    settings = {"redis_key_prefix": None, "issuer": ISSUER, "secret": SECRET}
    gateway = make_gateway(redis_url=server.url, **settings)
    user = add_ann(gateway)
    session, ended, signing_keys = login(gateway, user), login(gateway, user), kids(gateway)
    backup = tmp_path / "backup.rdb"
    redis_cli(*as_admin(server), "--rdb", str(backup))
    for _ in range(3):
        session = refresh(gateway, session["refresh_token"])
    with gateway.client() as client:
        client.post("/auth/logout", json={"refresh_token": ended["refresh_token"]})
    gateway.stop()
    server.stop()

    # Onto a new server: read the backup without a log, then have a log written from it.
    restored = configured()
    restored.stop()
    shutil.rmtree(restored.directory / "appendonlydir")
    shutil.copy(backup, restored.directory / "dump.rdb")
    configuration = restored.directory / "redis.conf"
    shipped = configuration.read_text()
    configuration.write_text(shipped.replace("appendonly yes", "appendonly no"))
    restored.start()
    assert redis_cli(*as_admin(restored), "CONFIG", "SET", "appendonly", "yes") == "OK\n"

    def is_written() -> bool:
        facts = redis_cli(*as_admin(restored), "INFO", "persistence")
        return "aof_enabled:1" in facts and "aof_rewrite_in_progress:0" in facts and "scheduled:0" in facts

    wait_until(is_written, what="the log")
    configuration.write_text(shipped)
    restored.stop()
    (restored.directory / "dump.rdb").unlink()
    restored.start()

    again = make_gateway(redis_url=restored.url, **settings)
    assert kids(again) == signing_keys
    refresh(again, session["refresh_token"])
    login(again, user)
    refresh(again, ended["refresh_token"])
    for row in here("users", "list", "--json", env=again.env).document["users"]:
        assert here("sessions", "revoke", row["email"], "--all", env=again.env).status == 0
    with again.client() as client:
        answer = client.post("/auth/refresh", json={"refresh_token": ended["refresh_token"]})
        assert answer.status_code == 401


def private_blocks() -> list[str]:
    page = section("Backup and restore").partition("### Backup of the private Redis")[2]
    return re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def run_block(block: str, home: Path, env: dict[str, str]) -> None:
    """Run a block of the page with this home, where `~` leads."""
    path = f"{Path(sys.executable).parent}:{env['PATH']}"
    ended = subprocess.run(
        ["sh", "-euc", block], cwd=home, env=env | {"HOME": str(home), "PATH": path}, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr


@pytest.fixture
def short_path() -> Iterator[Path]:
    """Give a folder in which the path of a socket is not too long."""
    with tempfile.TemporaryDirectory(prefix="gw-") as folder:
        yield Path(folder)


def test_the_private_redis_is_copied_at_work_and_restored_with_a_shell_alone(
    make_gateway: Callable[..., GatewayProcess], short_path: Path
) -> None:
    """While users are added and the log is written anew; what was there before the copy is there after the restore."""
    backup, restore, from_dump = private_blocks()
    data_dir = short_path / ".local" / "share" / "token-gateway"
    nothing = {"redis_url": None, "secret": None, "redis_key_prefix": None, "issuer": ISSUER}
    gateway = make_gateway(**nothing, data_dir=data_dir)
    user = add_ann(gateway)
    session, signing_keys = login(gateway, user), kids(gateway)
    ended = threading.Event()

    def keep_writing() -> None:
        with redis.Redis(unix_socket_path=str(data_dir / "redis.sock")) as client:
            for number in itertools.count():
                if ended.is_set():
                    return
                client.set(f"gw:filler{number % 1000}", "x" * 1000)
                if number % 200 == 0:
                    with contextlib.suppress(redis.ResponseError):
                        client.bgrewriteaof()

    writer = threading.Thread(target=keep_writing)
    writer.start()
    try:
        for _ in range(3):
            run_block(backup, short_path, gateway.env)
    finally:
        ended.set()
        writer.join()
    with redis.Redis(unix_socket_path=str(data_dir / "redis.sock")) as client:
        client.save()
    gateway.stop()
    (data_dir / "redis" / "dump.rdb").rename(short_path / "backup.rdb")

    for block in (restore, from_dump):
        shutil.rmtree(data_dir / "redis")
        (data_dir / "redis").mkdir(mode=0o700)
        run_block(block, short_path, gateway.env)
        gateway.start()
        assert kids(gateway) == signing_keys
        session = refresh(gateway, session["refresh_token"])
        login(gateway, user)
        gateway.stop()


def test_a_dump_beside_an_empty_log_stops_the_start_and_its_mend_restores_it(
    make_gateway: Callable[..., GatewayProcess], short_path: Path
) -> None:
    data_dir = short_path / "data"
    nothing = {"redis_url": None, "secret": None, "redis_key_prefix": None, "issuer": ISSUER}
    gateway = make_gateway(**nothing, data_dir=data_dir)
    user, signing_keys = add_ann(gateway), kids(gateway)
    with redis.Redis(unix_socket_path=str(data_dir / "redis.sock")) as client:
        client.save()
    gateway.stop()
    log = data_dir / "redis" / "appendonlydir"
    shutil.rmtree(log)
    text = gateway.env | {"GATEWAY_LOG_FORMAT": "text"}
    for _ in range(2):
        for command in (["check"], ["users", "list"], ["serve"]):
            outcome = in_process(*command, env=text)
            assert_refused(outcome, 3, f"{data_dir}/redis/dump.rdb lies beside an empty log", "would start empty")
        log.mkdir(exist_ok=True)
        (log / "appendonly.aof.1.incr.aof").touch()
        (log / "appendonly.aof.manifest").write_text("file appendonly.aof.1.incr.aof seq 1 type i\n")
    (data_dir / "secret").rename(short_path / "secret")
    assert_refused(in_process("check", env=text), 3, "secret is missing")
    (short_path / "secret").rename(data_dir / "secret")

    mend = re.search(r"to restore it, (.*); to begin anew", outcome.err)
    assert mend
    subprocess.run(["sh", "-euc", mend[1]], check=True)
    gateway.start()
    assert kids(gateway) == signing_keys
    login(gateway, user)


def test_the_secret_is_changed_without_logging_anybody_out(
    make_gateway: Callable[..., GatewayProcess], configured: Callable[..., ConfiguredServer]
) -> None:
    """
    Two gateways, one after the other, in the three rounds of the page; a session wanders between them all along.

    Shows ASVS 11.2.2, ASVS 13.3.4.
    """
    server = configured()
    gateways = [
        make_gateway(redis_url=server.url, redis_key_prefix=None, issuer=ISSUER, secret=OLD_SECRET) for _ in range(2)
    ]
    user = add_ann(gateways[0])
    token = login(gateways[0], user)["refresh_token"]
    signing_keys = kids(gateways[0])
    refreshes = 0
    rounds: list[dict[str, str]] = [
        {"GATEWAY_SECRET": OLD_SECRET, "GATEWAY_PREVIOUS_SECRETS": NEW_SECRET},
        {"GATEWAY_SECRET": NEW_SECRET, "GATEWAY_PREVIOUS_SECRETS": OLD_SECRET},
        {"GATEWAY_SECRET": NEW_SECRET},
    ]
    for settings in rounds:
        for gateway in gateways:
            gateway.stop()
            gateway.env.pop("GATEWAY_PREVIOUS_SECRETS", None)
            gateway.env.update(settings)
            gateway.start()
            for other in (*gateways, *gateways):
                token = refresh(other, token)["refresh_token"]
                refreshes += 1
            assert kids(gateways[0]) == kids(gateways[1]) == signing_keys
        if settings is rounds[1]:
            warnings = here("check", "--json", env=gateways[0].env).document["warnings"]
            assert [text for text in warnings if text.startswith("1 users") and "previous_secrets" in text]
            login(gateways[1], user)
            warnings = here("check", "--json", env=gateways[0].env).document["warnings"]
            assert not [text for text in warnings if "previous_secrets" in text]
    login(gateways[0], user)
    print(f"{refreshes} refreshes of one session while the secret was changed")


def test_after_a_leak_of_the_secret_nothing_made_with_it_is_good(
    make_gateway: Callable[..., GatewayProcess], configured: Callable[..., ConfiguredServer]
) -> None:
    server = configured()
    gateway = make_gateway(redis_url=server.url, redis_key_prefix=None, issuer=ISSUER, secret=OLD_SECRET)
    user = add_ann(gateway)
    leaked, signing_keys = login(gateway, user), kids(gateway)
    gateway.stop()
    gateway.env.update({"GATEWAY_SECRET": NEW_SECRET, "GATEWAY_PREVIOUS_SECRETS": OLD_SECRET})
    assert here("keys", "rotate", "--compromised", env=gateway.env).status == 0
    del gateway.env["GATEWAY_PREVIOUS_SECRETS"]
    gateway.start()
    assert not set(kids(gateway)) & set(signing_keys)
    with gateway.client() as client:
        bearer = {"Authorization": f"Bearer {leaked['access_token']}"}
        assert client.get("/api/authz/auth-request", headers=bearer).status_code == 401
        assert client.post("/auth/refresh", json={"refresh_token": leaked["refresh_token"]}).status_code == 401
        old_password = {"username": user.email, "password": user.password}
        assert client.post("/auth/login", json=old_password).status_code == 401
    set_anew = here("users", "set-password", EMAIL, "--password-stdin", env=gateway.env, stdin="a newer long password")
    assert set_anew.status == 0
    login(gateway, TestUser("", EMAIL, "a newer long password"))


def test_the_server_is_set_up_as_the_page_says(configured: Callable[..., ConfiguredServer], tmp_path: Path) -> None:
    """The very commands of the page, in another folder than /etc/redis; the URL that they print works."""
    sources = tmp_path / "config" / "redis" / "standalone"
    shutil.copytree(ROOT / "config" / "redis" / "standalone", sources)
    installed = tmp_path / "etc"
    installed.mkdir()
    blocks = re.findall(r"^```sh\n(.*?)^```$", section("Setting up a server"), re.MULTILINE | re.DOTALL)
    script = (blocks[0] + ("" if knows_waitaof() else blocks[1])).replace("/etc/redis/", f"{installed}/")
    ended = subprocess.run(["sh", "-euc", script], cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert (ended.returncode, ended.stderr) == (0, "")
    server = configured()
    server.stop()
    shutil.copy(installed / "users.acl", server.directory / "users.acl")
    url = ended.stdout.strip().replace(":6379/", f":{server.port}/")
    assert server.process
    server.process = subprocess.Popen([find_server()[0], str(server.directory / "redis.conf")])
    env = environment(redis_url=url, secret=SECRET)
    wait_until(lambda: here("check", env=env).status == 0, what="the server")
    assert not [text for text in here("check", "--json", env=env).document["warnings"] if "users.acl" in text]


def test_a_password_of_redis_is_changed_without_an_outage(configured: Callable[..., ConfiguredServer]) -> None:
    """Shows ASVS 13.3.4."""
    server, new = configured(), "another password of Redis"
    users = server.directory / "users.acl"
    old_hash, new_hash = (hashlib.sha256(text.encode()).hexdigest() for text in (PASSWORDS["GATEWAY"], new))
    for rules, good in (
        (f"#{old_hash} #{new_hash}", {PASSWORDS["GATEWAY"], new}),
        (f"#{new_hash}", {new}),
    ):
        text = re.sub(r"^(user gateway on) (#\w+ )+", rf"\1 {rules} ", users.read_text(), flags=re.MULTILINE)
        users.write_text(text)
        assert redis_cli(*as_admin(server), "ACL", "LOAD") == "OK\n"
        accepted = {
            password
            for password in (PASSWORDS["GATEWAY"], new)
            if redis_cli("-p", str(server.port), "--user", "gateway", "--pass", password, "EXISTS", "gw:a") == "0\n"
        }
        assert accepted == good


def test_every_alarm_is_on_the_page() -> None:
    """Each line that the gateway logs as a warning or worse, with what to do."""
    told = section("What is told, and what to do")
    alarms = set()
    for module in (ROOT / "gateway").rglob("*.py"):
        if module.name == "logs.py":
            continue  # it passes on what others warn of
        for call in ast.walk(ast.parse(module.read_text())):
            if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)):
                continue
            owner, name = ast.unparse(call.func.value), call.func.attr
            if owner.endswith(("logger", "once_a_minute")) and name in LOUD:
                message = call.args[1] if name == "log" else call.args[0]
                assert isinstance(message, ast.Constant), f"{module}: a message is a text"
                alarms.add(str(message.value).partition(" (%s")[0])
    print(f"{len(alarms)} alarms")
    assert len(alarms) > 8
    assert [alarm for alarm in alarms if f"`{alarm}`" not in told] == []


def section(heading: str) -> str:
    found = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert found
    return found[1]
