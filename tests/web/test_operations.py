import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from tests.harness import GatewayProcess, RedisServer, wait_until
from tests.web.asking import METADATA_PATHS, Session, client_of, log_in, problem_of


@pytest.mark.parametrize(("path", "word"), [("/livez", "alive"), ("/readyz", "ready")])
def test_a_probe_needs_no_token_and_says_one_word(path: str, word: str, client: httpx2.Client) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.json() == {"status": word}


def test_livez_is_200_while_redis_is_away(orphan: Session) -> None:
    assert orphan.client.get("/livez").status_code == 200


def test_readyz_names_the_parts_that_fail_and_nothing_more(orphan: Session) -> None:
    """Shows ASVS 13.4.5, ASVS 13.4.6."""
    answer = orphan.client.get("/readyz")
    body = problem_of(answer, 503, "not-ready")
    assert body.keys() == {"type", "title", "status", "detail", "failing"}
    assert "redis" in body["failing"]
    assert set(body["failing"]) <= {"redis", "keyring", "revocations"}
    assert int(answer.headers["Retry-After"]) >= 1


@pytest.mark.parametrize("path", ["/.well-known/jwks.json", *METADATA_PATHS, "/api/authz/auth-request"])
def test_what_verifiers_and_proxies_need_answers_from_memory_while_redis_is_away(path: str, orphan: Session) -> None:
    """F1."""
    assert orphan.client.get(path, headers=orphan.bearer).status_code == 200


def test_readyz_is_200_again_when_redis_is_back(
    own_redis: Callable[..., RedisServer], make_gateway: Callable[..., GatewayProcess]
) -> None:
    server = own_redis("--appendfsync", "always")
    gateway = make_gateway(redis_url=server.url)
    with client_of(gateway) as client:
        session = log_in(gateway, client)
        server.kill()
        wait_until(lambda: client.get("/readyz").status_code == 503, 1.5)
        server.start()
        wait_until(gateway.is_ready, 2)
        assert session.refresh().status_code == 200


def test_readyz_fails_while_redis_would_evict_sessions_and_the_log_says_how_to_mend_it(
    own_redis: Callable[..., RedisServer], make_gateway: Callable[..., GatewayProcess]
) -> None:
    """F6: the policy is changed while the gateway runs."""
    server = own_redis()
    gateway = make_gateway(redis_url=server.url, log_format="json")
    with gateway.client() as client:
        server.command("CONFIG", "SET", "maxmemory-policy", "volatile-ttl")
        wait_until(lambda: client.get("/readyz").status_code == 503, 1.1)
        assert client.get("/readyz").json()["failing"] == ["redis"]
        server.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
        wait_until(lambda: client.get("/readyz").status_code == 200, 1.1)


def looks_at(server: RedisServer) -> int:
    """Give how often a Redis was asked what it is, this time included."""
    statistics = server.client().info("commandstats")
    return int(statistics["cmdstat_info"]["calls"]) + 1


@pytest.mark.one_server("counts what it is asked")
def test_however_many_ask_readyz_redis_is_looked_at_once_a_second(
    own_redis: Callable[..., RedisServer], make_gateway: Callable[..., GatewayProcess]
) -> None:
    server = own_redis()
    gateway = make_gateway(redis_url=server.url)
    with gateway.client() as client, ThreadPoolExecutor(8) as crowd:
        before, begun = looks_at(server), time.monotonic()
        rounds = 0
        while time.monotonic() - begun < 2.5:
            answers = list(crowd.map(lambda _: client.get("/readyz").status_code, range(20)))
            assert set(answers) == {200}
            rounds += 1
        looks = looks_at(server) - before - 1
    assert rounds > 5
    assert 2 <= looks <= 3 + 1  # and one by who watches the policy


@pytest.mark.parametrize("seconds_away", [0.3, 1.2, 4.0])
def test_readyz_is_200_within_a_second_of_the_return_of_redis(
    seconds_away: float, own_redis: Callable[..., RedisServer], make_gateway: Callable[..., GatewayProcess]
) -> None:
    """With a crowd that asks all the time, so that there is always a look that is still remembered."""
    server = own_redis("--appendfsync", "always")
    gateway = make_gateway(redis_url=server.url)
    server.kill()
    begun = time.monotonic()
    while time.monotonic() - begun < seconds_away:
        gateway.is_ready()
        time.sleep(0.01)
    assert not gateway.is_ready() or seconds_away < 1
    server.start()
    assert wait_until(gateway.is_ready, 3) <= 1.1
