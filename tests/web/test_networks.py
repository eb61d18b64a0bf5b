"""Which addresses count as one: IPv4 whole, IPv6 by its /64, and the /48 around it with eight times the quota."""

from collections.abc import Callable, Iterator

import httpx2
import pytest

from gateway.errors import RateLimited
from gateway.limits.rate_limits import RateLimiter
from gateway.settings import Quota
from gateway.store.store import Store
from tests.cli.commands import assert_refused, here
from tests.harness import SECRET, GatewayProcess, environment

ONE_A_MINUTE = Quota(1, 60)
SITE = "2001:db8:7::/48"


@pytest.fixture
def limited(make_gateway: Callable[..., GatewayProcess]) -> Iterator[Callable[[str], httpx2.Response]]:
    """Give a function that fails to log in from an address, at a gateway that allows one attempt a minute."""
    gateway = make_gateway(login_limit="1/minute", trusted_proxies="127.0.0.1")
    with gateway.client() as client:
        yield lambda address: client.post(
            "/auth/login",
            headers={"X-Forwarded-For": address},
            data={"username": "nobody@example.com", "password": "x"},
        )


def test_two_addresses_count_as_one_exactly_if_one_customer_has_both(
    limited: Callable[[str], httpx2.Response],
) -> None:
    """T3."""
    same = [
        ("192.0.2.7", "::ffff:192.0.2.7"),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff"),
        ("2001:db8:2:2::", "2001:DB8:2:2:0:0:0:1"),
    ]
    for first, second in same:
        assert limited(first).status_code == 401
        assert limited(second).status_code == 429, second
    for other in ("192.0.2.8", "::ffff:192.0.2.9", "2001:db8:1:3::1", "2001:db8:2:1:ffff:ffff:ffff:ffff"):
        assert limited(other).status_code == 401, other


def test_eight_networks_of_a_site_use_up_the_quota_of_the_site(limited: Callable[[str], httpx2.Response]) -> None:
    """T3: 65,536 networks at will do not give as many attempts; another site's are not touched."""
    for number in range(8):
        answer = limited(f"2001:db8:7:{number:x}::1")
        assert answer.status_code == 401
        assert limited(f"2001:db8:7:{number:x}::2").headers["ratelimit-policy"] == '"login";q=1;w=60'
    for number in range(8, 12):
        answer = limited(f"2001:db8:7:{number:x}::1")
        assert answer.status_code == 429
        assert answer.headers["ratelimit-policy"] == '"login";q=8;w=60'
        assert answer.headers["ratelimit"].startswith('"login";r=0;t=')
        assert 1 <= int(answer.headers["retry-after"]) <= 8
    assert limited("2001:db8:8:8::1").status_code == 401


async def test_who_is_refused_does_not_use_up_his_neighbours_quota(store: Store) -> None:
    limiter = RateLimiter(store, {"login": ONE_A_MINUTE})
    await limiter.take("login", "2001:db8:7::/64", SITE)
    for _ in range(50):
        with pytest.raises(RateLimited):
            await limiter.take("login", "2001:db8:7::/64", SITE)
    for number in range(1, 8):
        await limiter.take("login", f"2001:db8:7:{number:x}::/64", SITE)
    with pytest.raises(RateLimited):
        await limiter.take("login", "2001:db8:7:8::/64", SITE)


async def test_what_is_remembered_of_an_address_ends_with_its_window(store: Store) -> None:
    """Threats 5.9: so many addresses are tracked as come within a window, and no more."""
    limiter = RateLimiter(store, {"login": Quota(10, 60)})
    for number in range(20):
        for _ in range(1 + number % 3):
            await limiter.take("login", f"2001:db8:7:{number:x}::/64", SITE)
    lives = {key: await store.execute("PTTL", key) async for key in store.scan("rate:*")}
    assert len(lives) == 21
    assert all(0 < milliseconds <= 60_000 for milliseconds in lives.values())
    assert lives[store.key("rate:login:2001:db8:7:0::/64")] <= 6_000


@pytest.mark.parametrize("trusted", ["0.0.0.0/0", "::/0", "*", "::ffff:0:0/96", "::ffff:0.0.0.0/90", "10.0.0.1,*"])
def test_trusting_everybody_stops_the_start(trusted: str) -> None:
    """T2: exit 3 and one line. Shows RFC 9700 4.13b."""
    env = environment(trusted_proxies=trusted, secret=SECRET, redis_url="redis://127.0.0.1:1")
    assert_refused(here("serve", env=env), 3, "trusted_proxies")
