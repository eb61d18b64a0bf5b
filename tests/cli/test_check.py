import http.server
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from gateway.derived_keys import KeyChain
from gateway.state import Gateway
from tests.cli.commands import Outcome, assert_refused, here, in_process
from tests.harness import SECRET, GatewayProcess, RedisServer, add_user, environment, free_port, in_gateway
from tests.redis_users import close_default, with_user

OLD_SECRET, NEW_SECRET = "an old secret for tests alone: 32 bytes", "a new secret for tests alone: 32 bytes"


def warnings_of(env: dict[str, str]) -> list[str]:
    document = here("check", "--json", env=env).document
    assert document["ok"] is True
    assert document["redis"].split()[0] in ("Redis", "Valkey")
    texts: list[str] = document["warnings"]
    plain = here("check", env=env)
    assert plain.status == 0
    assert [line.removeprefix("warning   ") for line in plain.out.splitlines() if "warning" in line] == texts
    return texts


def well_kept(server: RedisServer) -> RedisServer:
    """Have a user for the gateway alone, and nobody else; the server itself has a limit and is sure of its disk."""
    with_user(server)
    close_default(server)
    return server


@pytest.mark.one_server
def test_all_is_well(own_redis: Callable[..., RedisServer]) -> None:
    server = well_kept(own_redis("--maxmemory", "100mb"))
    env = environment(redis_url=server.url, secret=SECRET)
    # Of an old release nothing but its age can be wrong, and of one before 7.2 what is on disk cannot be known.
    assert [text for text in warnings_of(env) if "CVE" not in text and "WAITAOF" not in text] == []
    outcome = in_process("check", env=env)
    assert (outcome.status, outcome.err) == (0, "")
    assert [line.split()[:2] for line in outcome.out.splitlines()[:4]] == [
        ["settings", "ok"],
        ["redis", "ok:"],
        ["keys", "none"],
        ["users", "0"],
    ]
    here("keys", "list", env=env)
    assert here("check", env=env).out.splitlines()[2].split() == ["keys", "ok"]


def test_the_private_redis_has_nothing_to_warn_of(tmp_path: Path) -> None:
    """It is ours: on a socket of our own, and as safe as it can be."""
    assert warnings_of(environment(data_dir=tmp_path / "data")) == []


@pytest.mark.one_server
def test_what_is_wrong_with_a_redis_is_told(own_redis: Callable[..., RedisServer]) -> None:
    """A server as it is after `apt install`: everybody may everything."""
    told = " ".join(warnings_of(environment(redis_url=own_redis().url, secret=SECRET)))
    for words in ("redis_url has no user", "more than it needs (CONFIG GET, LASTSAVE, RANDOMKEY", "maxmemory"):
        assert words in told


@pytest.mark.one_server
def test_a_user_who_may_too_little_is_told_before_anything_fails(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    with_user(server, "-exists", "-xadd")
    env = environment(redis_url=server.url, secret=SECRET)
    for command in (("check",), ("users", "list")):
        assert_refused(here(*command, env=env), 3, "EXISTS, XADD", "users.acl")
    assert_refused(in_process("serve", "--port", str(free_port()), env=env), 3, "EXISTS, XADD", "users.acl")


def test_looking_changes_nothing(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    here("check", env=environment(redis_url=server.url, secret=SECRET))
    assert server.command("DBSIZE") == b":0\r\n"


def test_what_is_allowed_but_hardly_meant_is_told(own_redis: Callable[..., RedisServer]) -> None:
    """Shows ASVS 12.2.1."""
    server = own_redis("--appendonly", "no")
    env = environment(redis_url=server.url, secret=SECRET, host="::", insecure_test_settings="true")
    told = " ".join(warnings_of(env))
    for words in ("insecure_test_settings", "append-only file", "host :: is open to others"):
        assert words in told


def test_passwords_that_still_need_a_previous_secret_are_counted(gateway_env: dict[str, str]) -> None:
    """Sessions and keys go over by themselves; a password does when its user logs in."""
    old = gateway_env | {"GATEWAY_SECRET": OLD_SECRET}
    users = [add_user(old) for _ in range(3)]
    here("keys", "list", env=old)
    assert not [text for text in warnings_of(old) if "previous secret" in text]
    env = gateway_env | {"GATEWAY_SECRET": NEW_SECRET, "GATEWAY_PREVIOUS_SECRETS": OLD_SECRET}
    assert [text for text in warnings_of(env) if "previous secret" in text and text.startswith("3 users")]

    async def log_in(gateway: Gateway) -> None:
        password_hash = await gateway.passwords.hash(users[0].password)
        await gateway.users.renew_hash(users[0].user_id, password_hash, 1)

    in_gateway(env, log_in)
    assert [text for text in warnings_of(env) if text.startswith("2 users")]

    in_keychain = KeyChain.of(NEW_SECRET, (OLD_SECRET,))
    counted = here("check", "--json", env=env).document["passwords"]
    new_id, old_id = (keys.key_id for keys in in_keychain)
    assert counted == {"current": new_id, "peppers": {old_id: 2, new_id: 1}, "foreign": 0, "missing": 0}
    assert f"3, of them 2 under pepper {old_id}" in here("check", env=env).out


def test_passwords_under_a_secret_that_is_gone_are_told(gateway_env: dict[str, str]) -> None:
    for _ in range(2):
        add_user(gateway_env | {"GATEWAY_SECRET": OLD_SECRET})
    env = gateway_env | {"GATEWAY_SECRET": NEW_SECRET}
    [warning] = [text for text in warnings_of(env) if text.startswith("2 users")]
    assert "cannot log in" in warning
    assert "previous_secrets" in warning


def test_hashes_of_other_programs_are_counted(gateway_env: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "users.jsonl"
    password_hash = "$2b$04$" + "abcdefghijklmnopqrstuu" + "a" * 31
    file.write_text(json.dumps({"email": "moved@example.com", "password_hash": password_hash}))
    assert here("users", "import", str(file), env=gateway_env).status == 0
    assert here("check", "--json", env=gateway_env).document["passwords"]["foreign"] == 1
    assert [text for text in warnings_of(gateway_env) if text.startswith("1 users have the hash of another program")]
    assert "1 from another program" in here("check", env=gateway_env).out


def test_invited_users_without_a_password_are_counted_and_no_reason_to_warn(gateway_env: dict[str, str]) -> None:
    before = warnings_of(gateway_env)
    assert here("users", "invite", "new@example.com", env=gateway_env).status == 0
    passwords = here("check", "--json", env=gateway_env).document["passwords"]
    assert (passwords["peppers"], passwords["foreign"], passwords["missing"]) == ({}, 0, 1)
    assert warnings_of(gateway_env) == before
    assert "1, of them 1 invited, without a password yet" in here("check", env=gateway_env).out


def test_a_redis_that_is_away_is_told_with_exit_status_3_also_for_json() -> None:
    env = environment(redis_url=f"redis://127.0.0.1:{free_port()}", secret=SECRET)
    assert_refused(here("check", "--json", env=env), 3, "Redis", "redis_url")


def test_a_redis_that_needs_a_password_is_told(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis("--requirepass", "")
    server.command("CONFIG", "SET", "requirepass", "canary-password")
    env = environment(redis_url=server.url, secret=SECRET)
    assert_refused(here("check", env=env), 3, "uthenticat", "redis_url")
    wrong = env | {"GATEWAY_REDIS_URL": server.url.replace("//", "//:canary-mistaken@")}
    outcome = here("check", env=wrong)
    assert_refused(outcome, 3, "redis_url")
    assert "canary" not in outcome.err
    right = env | {"GATEWAY_REDIS_URL": server.url.replace("//", "//:canary-password@")}
    assert here("check", env=right).status == 0


def health(port: int, host: str = "127.0.0.1") -> Outcome:
    return here("healthcheck", env=environment(port=port, host=host))


def test_a_gateway_that_serves_is_healthy(gateway: GatewayProcess) -> None:
    real = in_process("healthcheck", env=gateway.env)
    assert (real.status, real.out, real.err) == (0, "ready\n", "")
    assert health(gateway.port, "0.0.0.0").status == 0  # noqa: S104 - what the gateway is told to listen on
    assert health(gateway.port, "localhost").status == 0


def test_the_port_in_use_is_asked_wherever_it_was_given(
    make_gateway: Callable[..., GatewayProcess], tmp_path: Path
) -> None:
    nothing = {"redis_url": None, "secret": None, "redis_key_prefix": None}
    port = free_port()
    gateway = make_gateway("--port", str(port), **nothing, data_dir=tmp_path / "data", port=port)
    elsewhere = gateway.env | {"GATEWAY_PORT": str(free_port())}
    assert in_process("healthcheck", env=elsewhere).out == "ready\n"
    assert_refused(in_process("healthcheck", "--port", str(free_port()), env=elsewhere), 1, "no answer", "--port")
    gateway.stop()
    assert_refused(in_process("healthcheck", env=elsewhere), 1, "no answer", elsewhere["GATEWAY_PORT"])
    assert health(free_port()).status == 1


def test_the_flags_go_over_the_settings(gateway: GatewayProcess) -> None:
    env = gateway.env | {"GATEWAY_PORT": str(free_port())}
    assert here("healthcheck", env=env).status == 1
    assert here("healthcheck", "--port", str(gateway.port), "--host", "127.0.0.1", env=env).status == 0


def test_a_port_where_nobody_answers_is_not_healthy() -> None:
    assert_refused(health(free_port()), 1, "no answer", "gateway serve")
    assert_refused(health(free_port(), "a..b"), 1, "no answer")


def test_a_gateway_without_its_redis_is_not_healthy(
    own_redis: Callable[..., RedisServer], make_gateway: Callable[..., GatewayProcess]
) -> None:
    server = own_redis()
    gateway = make_gateway(redis_url=server.url)
    assert health(gateway.port).status == 0
    server.kill()
    assert_refused(health(gateway.port), 1, "not ready", "redis")


class SomebodyElse(http.server.BaseHTTPRequestHandler):
    """A server that is no gateway."""

    bodies: ClassVar[list[bytes]] = [b"<html>\nnothing\nhere</html>", b'{"failing": 1}', b"\xff"]

    def do_GET(self) -> None:
        self.send_response(404)
        self.end_headers()
        self.wfile.write(self.bodies.pop())

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def somebody_else() -> Iterator[int]:
    with http.server.HTTPServer(("127.0.0.1", 0), SomebodyElse) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_what_is_no_gateway_is_not_healthy_and_its_page_is_not_repeated(somebody_else: int) -> None:
    for _ in range(3):
        assert_refused(health(somebody_else), 1, "HTTP 404")
