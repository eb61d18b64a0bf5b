"""Where a personal token ends: revoked, its owner disabled or removed, at every gateway; and where it does not."""

import signal
import time
from collections.abc import Callable, Iterator

import httpx2
import pytest

from tests.cli.commands import here
from tests.conftest import quick_environment
from tests.families.proxy import Fault, Proxy
from tests.harness import GatewayProcess, RedisServer, wait_until
from tests.scripts import load_script
from tests.web.asking import Session, client_of, log_in, problem_of
from tests.web.personal_tokens import AUTHZ, as_basic, as_bearer, make_token, status_with

pytestmark = pytest.mark.redis
Make = Callable[..., GatewayProcess]
PREFIX = "pat:"
ATTEMPTS = 3  # how often the store sends a command at most


@pytest.fixture(scope="module")
def pair(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Session]]:
    """Give a session at two gateways that behave as one; the second has another process, and the same user."""
    directory, settings = tmp_path_factory.mktemp("pair"), {"redis_key_prefix": "pair:"}
    first = GatewayProcess(quick_environment(redis_server.url, **settings), directory / "1.log").start()
    other = quick_environment(redis_server.url, issuer=first.url, **settings)
    second = GatewayProcess(other, directory / "2.log").start()
    with client_of(first) as one, client_of(second) as two:
        session = log_in(first, one)
        yield [session, Session(session.user, session.access_token, session.refresh_token, second, two)]
    for process in (first, second):
        process.stop()


def seconds_until_refused(client: httpx2.Client, token: str) -> float:
    return wait_until(lambda: status_with(client, token) == 401, 3, "the refusal")


def test_one_that_is_revoked_is_refused_by_another_gateway_within_a_second(pair: list[Session]) -> None:
    here_, there = pair
    took = []
    for _ in range(20):
        made = make_token(here_)
        assert [status_with(at.client, made["token"]) for at in pair] == [200, 200]
        assert here_.client.delete(f"/auth/tokens/{made['id']}", headers=here_.bearer).status_code == 204
        assert status_with(here_.client, made["token"]) == 401, "at once where it was revoked"
        took.append(seconds_until_refused(there.client, made["token"]))
    print(f"revoked at one gateway, refused at another one after {max(took) * 1000:.0f} ms at most, 20 times")
    assert max(took) < 1


def test_one_that_is_revoked_by_a_command_is_refused_within_a_second(pair: list[Session]) -> None:
    made = make_token(pair[0])
    assert [status_with(at.client, made["token"]) for at in pair] == [200, 200]
    assert here("tokens", "revoke", pair[0].user.email, made["id"], env=pair[0].gateway.env).status == 0
    assert max(seconds_until_refused(at.client, made["token"]) for at in pair) < 1


def test_its_owner_disabled_is_refused_within_a_second_and_enabled_let_in_again(pair: list[Session]) -> None:
    session = log_in(pair[0].gateway, pair[0].client)
    token = make_token(session)["token"]
    took = []
    for _ in range(5):
        assert [status_with(at.client, token) for at in pair] == [200, 200]
        assert here("users", "disable", session.user.email, env=session.gateway.env).status == 0
        took.append(max(seconds_until_refused(at.client, token) for at in pair))
        assert here("users", "enable", session.user.email, env=session.gateway.env).status == 0
    print(f"its owner disabled, it was refused after {max(took) * 1000:.0f} ms at most, 5 times at two gateways")
    assert max(took) < 1
    assert [status_with(at.client, token) for at in pair] == [200, 200]


def test_its_owner_removed_is_refused_within_a_second(pair: list[Session]) -> None:
    session = log_in(pair[0].gateway, pair[0].client)
    token = make_token(session)["token"]
    assert [status_with(at.client, token) for at in pair] == [200, 200]
    assert here("users", "remove", session.user.email, env=session.gateway.env).status == 0
    assert max(seconds_until_refused(at.client, token) for at in pair) < 1


def test_a_new_password_and_the_end_of_all_sessions_leave_it_alone(pair: list[Session]) -> None:
    session = log_in(pair[0].gateway, pair[0].client)
    token = make_token(session)["token"]
    passwords = {"current_password": session.user.password, "new_password": "quite another sentence"}
    for path, body in (("/auth/change-password", passwords), ("/auth/logout-all", None)):
        assert status_with(pair[1].client, token) == 200
        assert session.client.post(path, json=body, headers=session.bearer).is_success
        until = time.monotonic() + 1.2
        while time.monotonic() < until:
            assert [status_with(at.client, token) for at in pair] == [200, 200], path
    assert session.client.get(AUTHZ, headers=session.bearer).status_code == 401


def test_memory_passes_in_between_and_each_look_is_a_use(
    make_gateway: Make, own_redis: Callable[..., RedisServer]
) -> None:
    """Memory passes for as long as `session_check_seconds` says."""
    server = own_redis()
    gateway = make_gateway(redis_url=server.url, session_check_seconds=2)
    with client_of(gateway) as client:
        session = log_in(gateway, client)
        token = make_token(session)["token"]
        used = set()
        begun = time.monotonic()
        while time.monotonic() - begun < 4.5:
            assert status_with(client, token) == 200
            [listed] = client.get("/auth/tokens", headers=session.bearer).json()["tokens"]
            used.add(listed["last_used_at"])
    assert 2 <= len(used) <= 4


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_while_redis_is_away_one_that_was_seen_passes_and_another_one_is_told_to_come_again(
    make_gateway: Make, own_redis: Callable[..., RedisServer], how: str
) -> None:
    server = own_redis()
    gateway = make_gateway(redis_url=server.url, session_check_seconds=1)
    with client_of(gateway) as client:
        session = log_in(gateway, client)
        seen, unseen = (make_token(session)["token"] for _ in range(2))
        assert status_with(client, seen) == 200
        server.kill() if how == "killed" else server.signal(signal.SIGSTOP)
        try:
            time.sleep(1.2)  # the memory of it would be asked again now
            for _ in range(5):
                assert status_with(client, seen) == 200
                answer = client.get(AUTHZ, headers=as_basic(unseen))
                assert answer.status_code == 503
                assert int(answer.headers["Retry-After"]) >= 1
                assert client.get(AUTHZ, headers=as_bearer(unseen[:-1] + "!")).status_code == 401
        finally:
            server.signal(signal.SIGCONT) if how == "stopped" else server.start()
        wait_until(lambda: status_with(client, unseen) == 200, 3)


@pytest.fixture(scope="module")
def proxy(redis_server: RedisServer) -> Iterator[Proxy]:
    """Give a proxy before the Redis of this test process."""
    made = Proxy(redis_server)
    yield made
    made.close()


@pytest.fixture(scope="module")
def behind(proxy: Proxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """Give a gateway that has Redis behind the proxy."""
    env = quick_environment(proxy.url, redis_key_prefix=PREFIX)
    process = GatewayProcess(env, tmp_path_factory.mktemp("behind") / "gateway.log").start()
    yield process
    process.stop()


@pytest.mark.parametrize("script", ["revocation_announce", "token_revoke"])
@pytest.mark.parametrize("is_command", [False, True], ids=["by its owner", "by a command"])
def test_a_revocation_that_failed_half_way_is_completed_by_the_next_request(
    script: str, is_command: bool, behind: GatewayProcess, proxy: Proxy, redis_server: RedisServer
) -> None:
    with client_of(behind) as client, redis_server.client() as records:
        session = log_in(behind, client)
        made = make_token(session)
        key = f"{PREFIX}tokens:{{{session.user.user_id}}}"
        proxy.arm(load_script(script).sha1.encode(), Fault("request"), ATTEMPTS)
        if is_command:
            assert here("tokens", "revoke", session.user.email, made["id"], env=behind.env).status == 1
        else:
            answer = client.delete(f"/auth/tokens/{made['id']}", headers=session.bearer)
            problem_of(answer, 503, "store-unavailable")
        proxy.disarm()
        assert records.hexists(key, made["id"]), "the mark is there"
        assert client.get("/auth/tokens", headers=session.bearer).json()["tokens"] == []
        assert status_with(client, made["token"]) == 401
        if script == "revocation_announce" and is_command:
            announced = [text for _, entry in records.xrange(f"{PREFIX}revocations") for text in entry.values()]
            assert made["id"].encode() in announced
            assert not records.hexists(key, made["id"])
        assert client.delete(f"/auth/tokens/{made['id']}", headers=session.bearer).status_code in (204, 404)
        assert not records.hexists(key, made["id"])
        assert status_with(client, made["token"]) == 401
