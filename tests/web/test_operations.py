from collections.abc import Callable

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
        assert client.get("/readyz").status_code == 503
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
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()["failing"]) == (503, ["redis"])
        server.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
        assert client.get("/readyz").status_code == 200
