"""gateway audit: the security events listed, chosen, followed; and a request explained."""

import contextlib
import json
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.clock import rfc3339, system_clock
from gateway.derived_keys import KeyChain
from gateway.state import Gateway
from gateway.telemetry import VERDICTS, RequestIds, account_of
from tests.cli.commands import EMAIL, Outcome, assert_refused, here, in_process
from tests.conftest import quick_environment
from tests.harness import SECRET, GatewayProcess, RedisServer, command_line, in_gateway, wait_until

pytestmark = pytest.mark.redis
Env = dict[str, str]
EARLIER_SECRET = "an earlier secret of 32 bytes and more"
MANY = 10_000
FILL = """
for i = 1, tonumber(ARGV[1]) do
  redis.call('XADD', KEYS[1], ARGV[2] + i .. '-0', 'event', 'login_failed', 'account', 'acc_' .. i % 1000, 'outcome',
    'failure', 'reason', 'unknown-user', 'address', '2001:db8::1', 'request_id', string.format('%016x', i))
end
return 1
"""


def write(env: Env, *entries: dict[str, str], seconds_ago: int = 0) -> None:
    """Put entries into the stream, as they are."""

    async def work(gateway: Gateway) -> None:
        for number, entry in enumerate(entries):
            words = [word for pair in entry.items() for word in pair]
            entry_id = f"{(system_clock() - seconds_ago) * 1000 + number}-0" if seconds_ago else "*"
            await gateway.store.execute("XADD", gateway.store.key("audit"), entry_id, *words)

    in_gateway(env, work)


def fill(redis_server: RedisServer, env: Env, count: int) -> None:
    """Put so many entries into the stream, from a quarter of an hour ago on."""
    key, begin = env["GATEWAY_REDIS_KEY_PREFIX"] + "audit", (system_clock() - 900) * 1000
    with contextlib.closing(redis_server.client()) as client:
        for start in range(0, count, 5_000):
            client.eval(FILL, 1, key, min(5_000, count - start), begin + start)


def entry(**members: str) -> dict[str, str]:
    return {"time": rfc3339(system_clock(), "milliseconds"), "event": "login_failed", "outcome": "failure", **members}


def events(*arguments: str, env: Env) -> list[dict[str, str]]:
    found: list[dict[str, str]] = here("audit", *arguments, "--json", env=env).document["events"]
    return found


def add(env: Env, email: str = EMAIL) -> str:
    user_id: str = here("users", "add", email, "--generate", "--role", "staff", "--json", env=env).document["id"]
    return user_id


def account(secret: str = SECRET) -> str:
    return account_of(EMAIL, KeyChain.of(secret).current)


def sealed(cause: str, user_id: str = "", secret: str = SECRET, path: str = "/auth/me") -> str:
    [verdict] = [verdict for verdict in VERDICTS if verdict.cause == cause and verdict.slug.startswith("ins")]
    return RequestIds(KeyChain.of(secret), system_clock).seal(path, verdict, user_id)


# ------------------------------------------------------------------------------------------------------------- listing


def test_events_are_listed_in_columns_with_the_newest_last(gateway_env: Env) -> None:
    user_id = add(gateway_env)
    write(gateway_env, entry(sub=user_id, reason="wrong-password", address="192.0.2.7"), entry(account="acc_x"))
    told = here("audit", env=gateway_env)
    assert (told.status, told.err) == (0, "")
    headings, *rows = [line.split() for line in told.out.splitlines()]
    assert headings == ["TIME", "EVENT", "OUTCOME", "WHO", "ADDRESS", "REASON"]
    assert [row[1] for row in rows] == ["user_added", "login_failed", "login_failed"]
    assert rows[1][2:] == ["failure", EMAIL, "192.0.2.7", "wrong-password"]
    assert rows[2][3:] == ["acc_x"]


def test_json_is_each_entry_as_it_is_kept(gateway_env: Env) -> None:
    assert events(env=gateway_env) == []
    written = entry(account="acc_x", reason="unknown-user", something="new")
    write(gateway_env, written)
    [found] = events(env=gateway_env)
    assert found.pop("id").endswith("-0")
    assert found == written


def test_a_day_is_listed_and_no_more_rows_than_can_be_read(redis_server: RedisServer, gateway_env: Env) -> None:
    fill(redis_server, gateway_env, 2_000)
    write(gateway_env, entry(reason="newest"))
    told = here("audit", env=gateway_env)
    rows = told.out.splitlines()[1:]
    assert len(rows) == 300
    assert rows[-1].endswith("newest")
    assert told.err == "gateway: these are the last 300 of a day: --since 24h shows all of it\n"
    assert len(here("audit", "--since", "24h", env=gateway_env).out.splitlines()) == 1 + 2_001
    assert len(events(env=gateway_env)) == 2_001


def test_what_is_older_than_a_day_is_listed_when_it_is_asked_for(gateway_env: Env) -> None:
    write(gateway_env, entry(reason="old"), seconds_ago=3 * 86_400)
    write(gateway_env, entry(reason="young"), seconds_ago=2 * 3600)
    assert [event["reason"] for event in events(env=gateway_env)] == ["young"]
    assert [event["reason"] for event in events("--since", "4d", env=gateway_env)] == ["old", "young"]
    assert [event["reason"] for event in events("--since", "1h", env=gateway_env)] == []
    since = rfc3339(system_clock() - 3 * 3600).replace("Z", "+00:00")
    assert [event["reason"] for event in events("--since", since, env=gateway_env)] == ["young"]


def test_many_are_read_page_by_page(redis_server: RedisServer, gateway_env: Env) -> None:
    fill(redis_server, gateway_env, MANY)
    assert len(events("--since", "1d", "--user", "acc_7", env=gateway_env)) == MANY / 1000
    assert "login_failed" in here("audit", "--request", f"{1:016x}", env=gateway_env).out


@pytest.mark.parametrize("time", ["", "1", "1y", "yesterday", "-1h", "2026-11-29T12:00:00", "2026-13-01T00:00:00Z"])
def test_a_time_that_is_none_is_wrong_usage(gateway_env: Env, time: str) -> None:
    assert_refused(here("audit", "--since", time, env=gateway_env), 2, "--since", "30m, 1h or 7d")


@pytest.mark.parametrize(
    ("name", "mend"), [("login_faild", "did you mean login_failed?"), ("teapot", "there are login_succeeded, ")]
)
def test_an_event_that_there_is_not_is_wrong_usage(gateway_env: Env, name: str, mend: str) -> None:
    assert_refused(here("audit", "--event", name, env=gateway_env), 2, f"there is no event {name!r}", mend)


def test_one_kind_of_event_alone(gateway_env: Env) -> None:
    write(gateway_env, entry(), entry(event="logout"))
    for name in ("logout", "LOGOUT"):
        assert [event["event"] for event in events("--event", name, env=gateway_env)] == ["logout"]
    assert len(events("--event", "login-failed", env=gateway_env)) == 1


def test_what_a_user_did_and_what_was_tried_on_the_address_before(gateway_env: Env) -> None:
    before = account()
    write(gateway_env, entry(account=before), entry(account="acc_other"))
    user_id = add(gateway_env)
    write(gateway_env, entry(sub=user_id))
    expected = [before, user_id, user_id]
    for text in (EMAIL, f" {EMAIL.upper()} "):
        found = events("--user", text, env=gateway_env)
        assert [event.get("sub") or event["account"] for event in found] == expected
    assert [event["sub"] for event in events("--user", user_id, env=gateway_env)] == [user_id, user_id]
    here("users", "remove", EMAIL, env=gateway_env)
    assert [event["account"] for event in events("--user", EMAIL, env=gateway_env)] == [before]
    assert len(events("--user", user_id, env=gateway_env)) == 3  # the removal, too
    assert user_id in here("audit", env=gateway_env).out


def test_an_address_is_found_that_was_tried_under_an_earlier_secret(gateway_env: Env) -> None:
    write(gateway_env, entry(account=account(EARLIER_SECRET)))
    assert events("--user", EMAIL, env=gateway_env) == []
    assert len(events("--user", EMAIL, env=gateway_env | {"GATEWAY_PREVIOUS_SECRETS": EARLIER_SECRET})) == 1


def test_nothing_found_is_said(gateway_env: Env) -> None:
    told = here("audit", "--user", "nobody@example.com", env=gateway_env)
    assert told == Outcome(0, "", "gateway: no such events\n")


def test_an_entry_cannot_move_the_cursor(gateway_env: Env) -> None:
    write(gateway_env, entry(reason="\x1b[2J\nforged line", account="acc_\r"))
    out = here("audit", env=gateway_env).out
    assert "\x1b" not in out
    assert len(out.splitlines()) == 2


# ------------------------------------------------------------------------------------------------------------ following


@contextlib.contextmanager
def following(env: Env, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """Run `gateway audit --follow ARGUMENTS`, and give its process and the lines that it has printed so far."""
    command = command_line("audit", "--follow", *arguments)
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    lines: list[str] = []
    out = process.stdout
    assert out is not None
    reader = threading.Thread(target=lambda: lines.extend(iter(out.readline, "")))
    reader.start()
    try:
        yield process, lines
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        reader.join()
        assert process.stderr is not None
        process.stderr.close()
        out.close()


def test_what_happens_is_followed_while_redis_goes_and_comes(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    env = quick_environment(server.url)
    write(env, *(entry(reason=f"before-{number}") for number in range(20)))
    with following(env, "--json") as (process, lines):

        def reasons() -> list[str]:
            return [event["reason"] for event in map(json.loads, list(lines)) if event["event"] != "key_rotated"]

        wait_until(lambda: len(reasons()) == 10, what="the last ten")
        assert reasons() == [f"before-{number}" for number in range(10, 20)]
        write(env, entry(reason="now"))
        wait_until(lambda: len(reasons()) == 11, what="what happens")
        server.kill()
        wait_until(lambda: process.poll() is not None or not server.answers(), what="Redis to be away")
        server.start()
        in_gateway(env, _served)
        write(env, entry(reason="after"))
        wait_until(lambda: len(reasons()) == 12, 15, "what happens afterwards")
        assert reasons()[10:] == ["now", "after"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


def test_what_happens_while_the_last_events_are_being_written_is_followed_too(gateway_env: Env) -> None:
    write(gateway_env, *(entry(reason="x" * 2000) for _ in range(100)))  # more than a pipe holds
    command = command_line("audit", "--follow", "--json", "--since", "1h")
    with subprocess.Popen(command, env=gateway_env, stdout=subprocess.PIPE, text=True) as process:
        ending = threading.Timer(15, process.kill)
        ending.start()
        assert process.stdout is not None
        told = [process.stdout.readline()]  # the rest waits for its reader
        write(gateway_env, entry(reason="meanwhile"))
        while told[-1] and "meanwhile" not in told[-1]:
            told.append(process.stdout.readline())
        ending.cancel()
        process.kill()
    assert "meanwhile" in told[-1]
    assert len(told) == 101


def test_one_user_is_followed_in_columns_until_ctrl_c(gateway_env: Env) -> None:
    user_id = add(gateway_env)
    with following(gateway_env, "--user", EMAIL) as (process, lines):
        wait_until(lambda: len(lines) == 2, what="the headings and the user")
        write(gateway_env, entry(account="acc_other"), entry(sub=user_id, reason="wrong-password"))
        wait_until(lambda: len(lines) == 3, what="the event")
        assert lines[2].split()[3:] == [EMAIL, "wrong-password"]
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 0


async def _served(gateway: Gateway) -> None:
    await gateway.store.execute("PING")


# ----------------------------------------------------------------------------------------------------------- explaining


def test_an_id_is_explained_in_plain_words(gateway_env: Env) -> None:
    user_id = add(gateway_env)
    request_id = sealed("role-missing", user_id, path="/api/authz/forward-auth")
    told = here("audit", "--request", request_id, env=gateway_env)
    assert (told.status, told.err) == (0, "")
    lines = dict(line.split(maxsplit=1) for line in told.out.splitlines())
    assert lines["asked"] == "/api/authz/forward-auth"
    assert lines["answered"] == "403 insufficient-role"
    assert "none of the roles" in lines["why"]
    assert f"`gateway users roles {EMAIL} staff ROLE`" in lines["mend"]
    assert lines["user"] == f"{EMAIL} ({user_id}), roles now: staff"


def test_the_events_of_a_request_are_told_besides(gateway_env: Env) -> None:
    request_id = sealed("role-missing")
    write(gateway_env, entry(request_id=request_id, reason="x"), entry(request_id="0" * 16, reason="y"))
    told = here("audit", "--request", request_id, "--json", env=gateway_env).document
    assert [event["reason"] for event in told["events"]] == ["x"]
    told = here("audit", "--request", "0" * 16, "--json", env=gateway_env).document
    assert (told["refused"], [event["reason"] for event in told["events"]]) == (None, ["y"])
    assert "no refusal is known of it" in here("audit", "--request", "0" * 16, env=gateway_env).out


@pytest.mark.parametrize(
    "paste", ["{}", " {} ", '"{}"', "'{}',", "`{}`", "X-Request-Id: {}", '"request_id":"{}"', "request_id={}\n"]
)
def test_an_id_is_found_in_what_was_pasted(gateway_env: Env, paste: str) -> None:
    request_id = sealed("role-missing")
    told = here("audit", "--request", paste.format(request_id), "--json", env=gateway_env)
    assert json.loads(told.out)["request_id"] == request_id


@pytest.mark.parametrize("text", ["", "x", "0" * 15, "0123456789ABCDEF", "a" * 60, "{}x", "é" * 16])
def test_what_is_no_id_is_wrong_usage(gateway_env: Env, text: str) -> None:
    text = text.format(sealed("role-missing"))
    assert_refused(here("audit", "--request", text, env=gateway_env), 2, "is no request id", "X-Request-Id")


@pytest.mark.parametrize("option", [("--follow",), ("--user", EMAIL), ("--event", "logout"), ("--since", "1h")])
def test_a_request_is_explained_by_itself(gateway_env: Env, option: tuple[str, ...]) -> None:
    assert_refused(
        here("audit", "--request", "0" * 16, *option, env=gateway_env), 2, "--request goes with --json alone"
    )


def test_an_id_of_which_nothing_is_known_is_said_to_be_so(gateway_env: Env) -> None:
    forged = sealed("role-missing")
    forged = forged[:-2] + ("AA" if forged[-2:] != "AA" else "BA")
    for text in ("0" * 16, forged, sealed("role-missing", secret="another secret that nobody has")):
        told = here("audit", "--request", text, env=gateway_env)
        assert_refused(told, 1, f"nothing is known of the request {text}", "allowed", "previous_secrets", "100,000")


def test_an_id_of_an_earlier_secret_is_explained(gateway_env: Env) -> None:
    env = gateway_env | {"GATEWAY_PREVIOUS_SECRETS": EARLIER_SECRET}
    request_id = sealed("role-missing", secret=EARLIER_SECRET)
    assert "none of the roles" in here("audit", "--request", request_id, env=env).out


def test_a_user_who_is_removed_is_told_by_the_id(gateway_env: Env) -> None:
    user_id = add(gateway_env)
    here("users", "remove", EMAIL, env=gateway_env)
    told = here("audit", "--request", sealed("role-missing", user_id), env=gateway_env).out
    assert f"{user_id}, who is not there" in told


def test_a_request_is_explained_without_redis_and_with_a_warning(gateway_env: Env) -> None:
    env = gateway_env | {"GATEWAY_REDIS_URL": "redis://127.0.0.1:1/0"}
    told = in_process("audit", "--request", sealed("role-missing"), env=env)
    assert told.status == 0
    assert "none of the roles" in told.out
    assert told.err.startswith("gateway: neither events nor users could be looked up: ")
    assert told.err.count("\n") == 1
    assert_refused(in_process("audit", "--request", "0" * 16, env=env), 3, "127.0.0.1:1")


# --------------------------------------------------------------------------------------------------- the private Redis


def test_it_works_beside_a_server_with_a_private_redis_and_after_it(
    make_gateway: Callable[..., GatewayProcess], tmp_path: Path
) -> None:
    gateway = make_gateway(redis_url=None, secret=None, redis_key_prefix=None, data_dir=tmp_path / "data")
    assert here("users", "add", EMAIL, "--generate", env=gateway.env).status == 0
    with gateway.client() as client:
        answer = client.post("/auth/login", json={"username": EMAIL, "password": "x" * 20})
    request_id = answer.headers["X-Request-Id"]
    beside = here("audit", "--request", request_id, env=gateway.env)
    assert (beside.status, beside.err) == (0, "")
    assert EMAIL in beside.out
    gateway.stop()
    after = here("audit", env=gateway.env)
    assert [line.split()[1] for line in after.out.splitlines()[1:]] == ["key_rotated", "user_added", "login_failed"]
