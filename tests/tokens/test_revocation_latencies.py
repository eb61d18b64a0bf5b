"""How long a token is taken after its session was ended: what `gateway check` says, measured at real gateways."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.clock import system_clock
from gateway.settings import Settings
from gateway.tokens import Latency, latencies_of
from gateway.verifier import AccessTokenVerifier, Document, ExpiredToken, StatusUnavailable, TokenRevoked, http_get
from tests.cli.commands import here
from tests.harness import GatewayProcess, Login

ISSUER = "http://gateway.test"
AUTHZ = "/api/authz/auth-request"
Pair = tuple[GatewayProcess, GatewayProcess]


def way(name: str, **settings: object) -> Latency:
    chosen = Settings(**({"issuer": ISSUER} | settings))  # type: ignore[arg-type]
    return next(latency for latency in latencies_of(chosen) if latency.way == name)


@pytest.fixture
def pair(make_gateway: Callable[..., GatewayProcess]) -> Pair:
    """Give two gateways of one issuer: at the first sessions are ended, the second is asked."""
    first, second = (make_gateway(issuer=ISSUER) for _ in range(2))
    return first, second


def sessions(gateway: GatewayProcess, number: int = 2) -> list[Login]:
    user = gateway.add_user()
    with gateway.client() as client:
        bodies = [gateway.login(user, client, delivery="body") for _ in range(number)]
    return [Login(user, body["access_token"], body["refresh_token"]) for body in bodies]


def end(gateway: GatewayProcess, session: Login) -> float:
    """End a session, and give when that was answered."""
    with gateway.client() as client:
        assert client.post("/auth/logout", json={"refresh_token": session.refresh_token}).status_code == 204
    return time.monotonic()


def asking(gateway: GatewayProcess) -> Callable[[str], Document]:
    """Give a way to get what is of the issuer's from this gateway."""
    return lambda url: http_get(url.replace(ISSUER, gateway.url))


def seconds_until(condition: Callable[[], bool], ended_at: float, most_seconds: float) -> float:
    while not condition():
        assert time.monotonic() - ended_at < most_seconds
        time.sleep(0.01)
    return time.monotonic() - ended_at


def refuses(verifier: AccessTokenVerifier, session: Login) -> bool:
    try:
        verifier.verify(session.access_token)
    except TokenRevoked:
        return True
    return False


def test_a_subrequest_elsewhere_and_a_verifier_with_the_list_refuse_in_time_and_no_other_session(pair: Pair) -> None:
    """The list is as fresh as it can be when the session ends, so that it is kept for the longest."""
    first, second = pair
    ended, living = sessions(first)
    verifier = AccessTokenVerifier(
        issuer=ISSUER, audience=ISSUER, fetch=asking(second), revocations="status-list", on_stale="deny"
    )
    with second.client() as client:

        def is_denied(session: Login = ended) -> bool:
            return client.get(AUTHZ, headers=session.bearer).status_code == 401

        assert not is_denied()
        assert not is_denied(living)
        assert not refuses(verifier, ended)
        assert not refuses(verifier, living)
        ended_at = end(first, ended)
        asked = seconds_until(is_denied, ended_at, way("subrequest").seconds)
        listed = seconds_until(lambda: refuses(verifier, ended), ended_at, way("offline with the status list").seconds)
        assert not is_denied(living)
        assert not refuses(verifier, living)
    print(f"refused by a subrequest elsewhere after {asked:.2f} s, offline with the list after {listed:.1f} s")


class Ahead:
    """The host's clock, and what a test adds to it."""

    def __init__(self) -> None:
        self.seconds = 0

    def __call__(self) -> int:
        return system_clock() + self.seconds


def test_introspection_elsewhere_says_in_time_that_a_token_is_over(pair: Pair) -> None:
    first, second = pair
    (ended,) = sessions(first, 1)
    service = here("clients", "add", "Service", "--json", env=first.env).document
    with second.client(auth=(service["client_id"], service["client_secret"])) as client:

        def is_active() -> bool:
            answer = client.post("/oauth/introspect", data={"token": ended.access_token})
            assert answer.status_code == 200, answer.text
            return bool(answer.json()["active"])

        assert is_active()
        ended_at = end(first, ended)
        told = seconds_until(lambda: not is_active(), ended_at, way("introspection").seconds)
    print(f"told by introspection elsewhere after {told:.2f} s")


def test_offline_a_token_is_taken_until_it_expires(gateway: GatewayProcess) -> None:
    (ended,) = sessions(gateway, 1)
    clock = Ahead()
    verifier = AccessTokenVerifier(issuer=gateway.url, audience=gateway.url, clock=clock)
    claims = verifier.verify(ended.access_token)
    end(gateway, ended)
    left_seconds = claims.exp - clock()
    assert left_seconds <= way("offline").seconds
    clock.seconds = left_seconds - 2
    assert verifier.verify(ended.access_token) == claims
    clock.seconds = left_seconds
    with pytest.raises(ExpiredToken):
        verifier.verify(ended.access_token)


def test_the_token_that_an_application_was_given_is_over_in_time(gateway: GatewayProcess) -> None:
    (ended,) = sessions(gateway, 1)
    clock = Ahead()
    verifier = AccessTokenVerifier(issuer=gateway.url, audience=gateway.url, clock=clock)
    with gateway.client() as client:
        asked = f"{AUTHZ}?token={gateway.url}"
        given = client.get(asked, headers=ended.bearer).headers["Remote-Access-Token"]
        end(gateway, ended)
        assert client.get(asked, headers=ended.bearer).status_code == 401
    assert verifier.verify(given).exp - clock() <= way("offline behind token=").seconds
    clock.seconds = way("offline behind token=").seconds
    with pytest.raises(ExpiredToken):
        verifier.verify(given)


def test_without_any_gateway_the_list_counts_for_a_minute(make_gateway: Callable[..., GatewayProcess]) -> None:
    gateway = make_gateway()
    (session,) = sessions(gateway, 1)
    clock = Ahead()
    verifier = AccessTokenVerifier(
        issuer=gateway.url, audience=gateway.url, clock=clock, revocations="status-list", on_stale="deny"
    )
    verifier.verify(session.access_token)
    gateway.kill()
    clock.seconds = 50
    assert verifier.verify(session.access_token).sub == session.user.user_id
    clock.seconds = way("offline with the status list").gateway_away_seconds
    with pytest.raises(StatusUnavailable):
        verifier.verify(session.access_token)


def test_no_way_takes_a_token_for_longer_than_it_lives_but_a_subrequest_that_hears_nothing() -> None:
    for latency in latencies_of(Settings(issuer=ISSUER, access_token_ttl_seconds=60)):
        assert latency.seconds <= 121
    assert way("offline with the status list", access_token_ttl_seconds=60).gateway_away_seconds == 60
    assert way("subrequest", revocation_max_lag_seconds=30).redis_away_seconds == 30
    assert way("subrequest").redis_away_seconds == 3600
    assert way("offline with the status list", revocation_max_lag_seconds=30).redis_away_seconds == 90
    assert way("offline", access_token_ttl_seconds=900).seconds == 900


def test_the_page_has_what_the_defaults_give() -> None:
    page = (Path(__file__).parents[2] / "docs" / "revocation.md").read_text()
    for latency in latencies_of(Settings(issuer=ISSUER)):
        seconds = (latency.seconds, latency.redis_away_seconds, latency.gateway_away_seconds)
        assert f"| {latency.way.replace('token=', '`token=`')} | {' | '.join(f'{n:,}' for n in seconds)} |" in page


def test_without_lists_there_is_no_such_way() -> None:
    ways = [latency.way for latency in latencies_of(Settings(issuer=ISSUER, status_list="off"))]
    assert ways == ["subrequest", "introspection", "offline behind token=", "offline"]


def test_gateway_check_tells_them(gateway: GatewayProcess) -> None:
    told = here("check", "--json", env=gateway.env).document["latencies"]
    assert [(row["way"], row["seconds"]) for row in told] == [
        ("subrequest", 1),
        ("introspection", 1),
        ("offline with the status list", 16),
        ("offline behind token=", 121),
        ("offline", 600),
    ]
    assert "offline with the status list 16 s" in here("check", env=gateway.env).out
