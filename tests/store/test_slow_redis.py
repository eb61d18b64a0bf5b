"""A Redis that answers, but slowly: a request with many calls is told in time, whatever each of them takes."""

import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import pytest

from gateway.clock import system_clock
from gateway.derived_keys import KeyChain
from gateway.errors import StoreUnavailable
from gateway.sessions import StatusIndexes
from gateway.store.store import CALL_DEADLINE_SECONDS, REQUEST_SECONDS, Store, request_budget
from tests.families.proxy import Proxy
from tests.harness import PASSWORD, GatewayProcess, RedisServer
from tests.web.asking import problem_of

pytestmark = [
    pytest.mark.redis,
    pytest.mark.one_server("a cluster is asked who serves what, too: other numbers of calls"),
]

TOLD_WITHIN_SECONDS = 2.0


@pytest.mark.parametrize("server", ["own_redis", "own_valkey"])
@pytest.mark.parametrize("delay_seconds", [0.2, 0.45])
def test_every_request_is_answered_in_time_however_many_calls_it_makes(
    request: pytest.FixtureRequest, make_gateway: Callable[..., GatewayProcess], delay_seconds: float, server: str
) -> None:
    """Either as asked for, or by 503; also where the disk is waited for, as with Valkey."""
    proxy = Proxy(request.getfixturevalue(server)())
    gateway = make_gateway(redis_url=proxy.url, account_throttle="on", login_limit="1000/second")
    user = gateway.add_user()
    answers, slowest = Counter[tuple[str, int]](), 0.0
    with gateway.client() as client:
        sessions = [gateway.login(user, client, delivery="body") for _ in range(5)]
        client.headers["Authorization"] = f"Bearer {sessions[0]['access_token']}"
        proxy.delay_seconds = lambda: delay_seconds
        asked = [
            ("POST", "/auth/login", {"username": user.email, "password": PASSWORD}),
            ("POST", "/auth/login", {"username": user.email, "password": "a wrong password"}),
            ("POST", "/auth/refresh", {"refresh_token": sessions[1]["refresh_token"]}),
            ("POST", "/auth/logout", {"refresh_token": sessions[2]["refresh_token"]}),
            ("POST", "/auth/change-password", {"current_password": PASSWORD, "new_password": "quite another one!"}),
            ("POST", "/auth/logout-all", None),
        ]
        for method, path, body in asked:
            client.cookies.clear()
            begun = time.monotonic()
            answer = client.request(method, path, json=body)
            slowest = max(slowest, time.monotonic() - begun)
            answers[path, answer.status_code] += 1
            if answer.status_code == 503:
                problem_of(answer, 503, "store-unavailable")
        print(f"each answer of Redis {delay_seconds} s late: slowest request {slowest:.2f} s, {dict(answers)}")
        assert slowest < TOLD_WITHIN_SECONDS
        assert {status for _, status in answers} <= {200, 204, 401, 503}
        proxy.delay_seconds = lambda: 0.0
        assert client.post("/auth/login", json={"username": "nobody@example.com", "password": "x"}).status_code == 401
    gateway.stop()
    proxy.close()


async def test_all_calls_of_a_request_share_a_budget_and_other_requests_do_not(
    own_redis: Callable[..., RedisServer],
) -> None:
    proxy = Proxy(own_redis())
    store = Store(proxy.url, "gw:")
    await store.execute("GET", "gw:a")
    proxy.delay_seconds = lambda: 0.4
    begun, answered = time.monotonic(), 0
    with request_budget(), suppress(StoreUnavailable):
        while time.monotonic() - begun < TOLD_WITHIN_SECONDS:
            await store.execute("GET", "gw:a")
            answered += 1
    seconds = time.monotonic() - begun
    print(f"{answered} calls in {seconds:.2f} s")
    assert answered == int(REQUEST_SECONDS / 0.4)
    assert seconds < REQUEST_SECONDS + 0.1
    for _ in range(2):
        with request_budget():
            await store.execute("GET", "gw:a")
    for _ in range(round(REQUEST_SECONDS / 0.4) + 2):
        await store.execute("GET", "gw:a")  # without a request there is no budget, as in what goes on for ever
    await store.close()
    proxy.close()


async def test_what_a_request_waits_for_with_others_is_of_its_budget_too(
    own_redis: Callable[..., RedisServer],
) -> None:
    """A login that needs a block of indexes, a browser session that has to be looked at: another task asks."""
    proxy = Proxy(own_redis())
    store = Store(proxy.url, "gw:")
    indexes = StatusIndexes(store, KeyChain.of("s" * 32), system_clock)
    await store.execute("GET", "gw:a")
    proxy.delay_seconds = lambda: 0.4
    with request_budget():
        begun = time.monotonic()
        for _ in range(3):
            await store.execute("GET", "gw:a")
        with pytest.raises(StoreUnavailable):
            await indexes.new_session_id()
        seconds = time.monotonic() - begun
    print(f"told after {seconds:.2f} s")
    assert seconds < REQUEST_SECONDS + 0.1
    proxy.delay_seconds = lambda: 0.0
    assert await indexes.new_session_id()
    await indexes.close()
    await store.close()
    proxy.close()


def test_the_budget_keeps_what_the_contract_says() -> None:
    assert CALL_DEADLINE_SECONDS < REQUEST_SECONDS < TOLD_WITHIN_SECONDS
