"""Status lists over real HTTP: when they are asked for, who waits, for how long they count, and what then."""

import asyncio
import concurrent.futures
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from gateway.verifier import (
    AccessTokenMiddleware,
    AccessTokenVerifier,
    ClaimsRejected,
    Document,
    StatusUnavailable,
    TokenRevoked,
    UnknownKey,
    http_get,
)
from gateway.verifier.remote_status_lists import MAX_LISTS
from tests.clocks import FakeClock
from tests.verifier.issuing import JWKS, STATUS, Issuer
from tests.verifier.mint import AUDIENCE, NOW, claims, compact, header, list_token, verification_key

LONG = NOW + 100_000
ENDED = 5
LIVING = 6


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    issuer = Issuer()
    issuer.tell(listing(ENDED))
    yield issuer
    issuer.close()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def make_verifier(issuer: Issuer, clock: FakeClock) -> Callable[..., AccessTokenVerifier]:
    def make(**options: Any) -> AccessTokenVerifier:
        usual: dict[str, Any] = {"issuer": issuer.issuer, "audience": AUDIENCE, "clock": clock}
        made = AccessTokenVerifier(**usual | {"revocations": "status-list"} | options)
        if made._lists is not None:
            made._lists._jitter = lambda: 0.0
        return made

    return make


@pytest.fixture
def verifier(make_verifier: Callable[..., AccessTokenVerifier]) -> AccessTokenVerifier:
    return make_verifier()


def listing(*ended: int) -> bytes:
    octets = bytearray(16)
    for idx in ended:
        octets[idx >> 3] |= 1 << (idx & 7)
    return bytes(octets)


def settle(verifier: AccessTokenVerifier) -> None:
    """Wait for the requests that nobody waits for."""
    assert verifier._lists is not None
    for kept in list(verifier._lists._kept.values()):
        concurrent.futures.wait([kept.flight], 5)


def passes(verifier: AccessTokenVerifier, access_token: str) -> bool:
    """Tell whether the token is taken; what this has asked for in the background has been answered."""
    try:
        return verifier.verify(access_token) is not None
    except TokenRevoked:
        return False
    finally:
        settle(verifier)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.005)


# ------------------------------------------------------------------------------------------------------- judging


def test_a_token_that_the_list_calls_invalid_is_refused_and_no_other(
    issuer: Issuer, verifier: AccessTokenVerifier
) -> None:
    assert verifier.verify(issuer.listed(LIVING)).iss == issuer.issuer
    with pytest.raises(TokenRevoked) as refused:
        verifier.verify(issuer.listed(ENDED))
    assert refused.value.sub == claims()["sub"]
    assert issuer.asked[STATUS] == 1


@pytest.mark.parametrize(("bits", "values"), [(2, (1, 2, 3)), (4, (1, 2, 3, 12, 15)), (8, (1, 2, 3, 200, 255))])
def test_only_valid_is_valid(issuer: Issuer, verifier: AccessTokenVerifier, bits: int, values: tuple[int, ...]) -> None:
    """SUSPENDED and what an application may have defined is refused too."""
    octets = bytearray(16)
    for idx, value in enumerate(values, start=1):
        octets[idx * bits // 8] |= value << (idx * bits % 8)
    issuer.tell(bytes(octets), bits=bits)
    assert passes(verifier, issuer.listed(0))
    for idx in range(1, len(values) + 1):
        assert not passes(verifier, issuer.listed(idx))


def test_without_being_asked_to_it_reads_no_list(
    issuer: Issuer, make_verifier: Callable[..., AccessTokenVerifier]
) -> None:
    assert make_verifier(revocations=None).verify(issuer.listed(ENDED)).status is not None
    assert issuer.asked[STATUS] == 0


def test_a_token_without_status_is_judged_as_before(issuer: Issuer, verifier: AccessTokenVerifier) -> None:
    """Those of machine clients, and of sessions that were opened before there were lists."""
    machine = {name: value for name, value in claims(iss=issuer.issuer, client_id=claims()["sub"]).items()}
    del machine["sid"]
    assert verifier.verify(issuer.token()).status is None
    assert verifier.verify(compact(header(), machine)).is_of_client
    assert issuer.asked[STATUS] == 0


def test_a_status_without_a_list_is_refused(issuer: Issuer, verifier: AccessTokenVerifier) -> None:
    with pytest.raises(ClaimsRejected, match="status"):
        verifier.verify(issuer.token(status={}))
    with pytest.raises(ClaimsRejected, match="status"):
        verifier.verify(issuer.token(status={"other": {"idx": 1}}))


@pytest.mark.parametrize("on_stale", ["deny", "allow"])
def test_an_index_beyond_the_list_is_always_refused(
    issuer: Issuer, clock: FakeClock, make_verifier: Callable[..., AccessTokenVerifier], on_stale: str
) -> None:
    verifier = make_verifier(on_stale=on_stale)
    for idx in (128, 2**20, 2**53 - 1):
        with pytest.raises(ClaimsRejected, match="beyond"):
            verifier.verify(issuer.listed(idx))
    issuer.status = 500
    clock.now += 1000
    with pytest.raises(ClaimsRejected, match="beyond"):
        verifier.verify(issuer.listed(128, exp=LONG))


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1:{other}/status/1",
        "http://localhost:{port}/status/1",
        "https://127.0.0.1:{port}/status/1",
        "http://user@127.0.0.1:{port}/status/1",
        "http://127.0.0.1:{port}/status/1#fragment",
        "http://127.0.0.1:{port}/status/1\r\nHost: other",
        "http://127.0.0.1:{port}/status/ 1",
        "http://127.0.0.1:{port}/status/\u00e9",
        "http://127.0.0.1:{port}/" + "a" * 512,
        "//127.0.0.1:{port}/status/1",
        "/status/1",
        "file:///etc/passwd",
        "http://[::1/",
        "http://127.0.0.1:99999/",
    ],
)
def test_only_addresses_of_the_issuers_own_origin_are_asked(
    issuer: Issuer, verifier: AccessTokenVerifier, uri: str
) -> None:
    named = uri.format(port=issuer.server.server_port, other=issuer.server.server_port + 1)
    for _ in range(2):
        with pytest.raises(ClaimsRejected, match="status"):
            verifier.verify(issuer.token(status={"status_list": {"idx": 1, "uri": named}}))
    assert issuer.asked.keys().isdisjoint({STATUS, named})


def test_another_word_for_what_is_wanted_is_refused() -> None:
    for wanted in ({"revocations": "list"}, {"revocations": "status-list", "on_stale": "maybe"}, {"on_stale": ""}):
        options: dict[str, Any] = {"issuer": "https://auth.example.com", "audience": AUDIENCE} | wanted
        with pytest.raises(ValueError, match="is "):
            AccessTokenVerifier(**options)


# -------------------------------------------------------------------------------------------------------- asking


def test_a_list_is_asked_for_again_its_ttl_after_it_was_made(
    issuer: Issuer, clock: FakeClock, verifier: AccessTokenVerifier
) -> None:
    """Not after it was read: a copy out of a cache is as old as it is."""
    clock.now += 7
    assert passes(verifier, issuer.listed(LIVING))
    issuer.tell(listing(LIVING), iat=NOW + 10)
    clock.now += 2
    assert passes(verifier, issuer.listed(LIVING))
    assert issuer.asked[STATUS] == 1
    clock.now += 1
    assert passes(verifier, issuer.listed(LIVING))
    assert issuer.asked[STATUS] == 2
    assert not passes(verifier, issuer.listed(LIVING))


def test_verifiers_ask_up_to_a_tenth_of_the_ttl_later(
    issuer: Issuer, clock: FakeClock, make_verifier: Callable[..., AccessTokenVerifier]
) -> None:
    verifier = make_verifier()
    assert verifier._lists is not None
    verifier._lists._jitter = lambda: 1.0
    issuer.tell(listing(), ttl=100, exp=LONG)
    passes(verifier, issuer.listed(LIVING))
    for passed, asked in ((109, 1), (1, 2)):
        clock.now += passed
        passes(verifier, issuer.listed(LIVING))
        assert issuer.asked[STATUS] == asked


def test_an_unchanged_list_is_asked_for_conditionally_and_each_second(
    issuer: Issuer, clock: FakeClock, verifier: AccessTokenVerifier
) -> None:
    """So a newer one is found as soon as the caches between have it."""
    passes(verifier, issuer.listed(LIVING))
    assert issuer.asked_with[STATUS]["Accept"] == "application/statuslist+jwt"
    assert "If-None-Match" not in issuer.asked_with[STATUS]
    clock.now += 10
    for asked in (2, 3, 4):
        passes(verifier, issuer.listed(LIVING))
        passes(verifier, issuer.listed(LIVING))
        assert issuer.asked[STATUS] == asked
        clock.now += 1
    assert issuer.answered[-4:] == [200, 304, 304, 304]
    issuer.tell(listing(LIVING), iat=NOW + 12)
    passes(verifier, issuer.listed(LIVING))
    assert not passes(verifier, issuer.listed(LIVING))


def test_an_older_list_than_the_one_that_is_there_is_not_taken(
    issuer: Issuer, clock: FakeClock, verifier: AccessTokenVerifier
) -> None:
    issuer.tell(listing(LIVING), iat=NOW - 1)
    assert not passes(verifier, issuer.listed(LIVING))
    issuer.tell(listing(), iat=NOW - 2, exp=LONG)
    clock.now += 9
    assert not passes(verifier, issuer.listed(LIVING))
    assert issuer.asked[STATUS] == 2
    assert not passes(verifier, issuer.listed(LIVING))


def test_a_service_that_is_rarely_asked_waits_for_a_list_of_now(
    issuer: Issuer, clock: FakeClock, verifier: AccessTokenVerifier
) -> None:
    assert verifier.verify(issuer.listed(LIVING)).iss == issuer.issuer
    issuer.tell(listing(LIVING), iat=NOW + 40, exp=LONG)
    clock.now += 45
    with pytest.raises(TokenRevoked):
        verifier.verify(issuer.listed(LIVING))


def test_those_who_have_a_list_do_not_wait_for_the_next(
    issuer: Issuer, clock: FakeClock, verifier: AccessTokenVerifier
) -> None:
    verifier.verify(issuer.listed(LIVING))
    issuer.pause.clear()
    clock.now += 14
    started = time.monotonic()
    assert verifier.verify(issuer.listed(LIVING)).iss == issuer.issuer
    assert time.monotonic() - started < 1
    issuer.pause.set()
    settle(verifier)
    assert issuer.asked[STATUS] == 2


def test_a_clock_that_is_set_back_does_not_stop_the_asking(
    issuer: Issuer, clock: FakeClock, verifier: AccessTokenVerifier
) -> None:
    issuer.tell(listing(), iat=NOW - 3600, ttl=3600, exp=LONG)
    passes(verifier, issuer.listed(LIVING))
    clock.now -= 3600
    issuer.tell(listing(LIVING), iat=NOW - 3599, exp=LONG)
    passes(verifier, issuer.listed(LIVING, iat=NOW - 3600))
    assert not passes(verifier, issuer.listed(LIVING, iat=NOW - 3600))


def test_a_list_of_a_new_key_makes_the_keys_be_read_again(
    issuer: Issuer, clock: FakeClock, verifier: AccessTokenVerifier
) -> None:
    assert passes(verifier, issuer.listed(LIVING))
    issuer.publish([verification_key(), verification_key("ES256")])
    issuer.tell(listing(LIVING), iat=NOW + 30, signer="ES256")
    clock.now += 30
    assert not passes(verifier, issuer.listed(LIVING))
    assert issuer.asked[JWKS] == 2


def test_the_most_recent_lists_alone_are_kept(issuer: Issuer, clock: FakeClock, verifier: AccessTokenVerifier) -> None:
    for number in range(MAX_LISTS + 20):
        clock.now += 1
        issuer.tell(listing(), f"/status/{number}", iat=clock.now)
        assert passes(verifier, issuer.listed(LIVING, f"/status/{number}"))
    assert verifier._lists is not None
    assert [uri.rpartition("/")[2] for uri in verifier._lists._kept] == [*map(str, range(20, MAX_LISTS + 20))]


def test_a_token_that_was_good_is_judged_anew_with_each_list_and_each_set_of_keys(
    issuer: Issuer, clock: FakeClock, verifier: AccessTokenVerifier
) -> None:
    access_token = issuer.listed(LIVING, exp=LONG)
    assert [passes(verifier, access_token) for _ in range(3)] == [True, True, True]
    issuer.tell(listing(LIVING), iat=NOW + 10, exp=LONG)
    clock.now += 10
    assert [passes(verifier, access_token) for _ in range(2)] == [True, False]
    issuer.tell(listing(), iat=NOW + 20, exp=LONG)
    clock.now += 10
    assert [passes(verifier, access_token) for _ in range(2)] == [False, True]
    issuer.publish([verification_key("ES256")])
    issuer.tell(listing(), iat=NOW + 300, exp=LONG, signer="ES256")
    clock.now = NOW + 300
    with pytest.raises(UnknownKey):
        verifier.verify(access_token)


# ------------------------------------------------------------------------------------------------------- failing

BROKEN: dict[str, Callable[[Issuer], Any]] = {
    "an error": lambda issuer: setattr(issuer, "status", 500),
    "not found": lambda issuer: issuer.bodies.pop(STATUS),
    "not acceptable": lambda issuer: setattr(issuer, "status", 406),
    "elsewhere": lambda issuer: setattr(issuer, "status", 302),
    "part of it": lambda issuer: setattr(issuer, "status", 206),
    "of another kind": lambda issuer: issuer.types.update({STATUS: "application/json"}),
    "no list": lambda issuer: issuer.bodies.update({STATUS: b"\xff not a list"}),
    "an access token": lambda issuer: issuer.bodies.update({STATUS: issuer.token().encode()}),
    "too large": lambda issuer: issuer.bodies.update({STATUS: b"a" * (2 * 1024 * 1024 + 1)}),
    "of another address": lambda issuer: issuer.bodies.update(
        {STATUS: list_token(issuer.origin + "/status/2", listing()).encode()}
    ),
    "of another issuer": lambda issuer: issuer.bodies.update(
        {STATUS: list_token("https://auth.example.com/status/1", listing()).encode()}
    ),
    "of another key": lambda issuer: issuer.tell(listing(), signer="ES256"),
    "old": lambda issuer: issuer.tell(listing(), iat=NOW - 60, exp=NOW),
    "of tomorrow": lambda issuer: issuer.tell(listing(), iat=NOW + 86_400, exp=LONG),
}


@pytest.mark.parametrize("how", BROKEN)
def test_without_a_list_it_is_the_service_that_fails(
    issuer: Issuer,
    clock: FakeClock,
    make_verifier: Callable[..., AccessTokenVerifier],
    how: str,
) -> None:
    """A good token is not called bad, and nobody waits again within 5 seconds; with `allow` it is taken."""
    deny, allow = make_verifier(), make_verifier(on_stale="allow")
    for verifier in (deny, allow):
        verifier.verify(issuer.token())
    BROKEN[how](issuer)
    asked = 0
    for passed, left in ((0, 5), (4, 1)):
        clock.now += passed
        with pytest.raises(StatusUnavailable) as refused:
            deny.verify(issuer.listed(LIVING))
        assert refused.value.retry_after_seconds == left
        asked = asked or issuer.asked[STATUS]
        assert asked == issuer.asked[STATUS] == 1
    assert allow.verify(issuer.listed(LIVING)).iss == issuer.issuer
    issuer.status = 200
    issuer.tell(listing(ENDED), iat=NOW)
    clock.now += 5
    for verifier in (deny, allow):
        assert passes(verifier, issuer.listed(LIVING))
        assert not passes(verifier, issuer.listed(ENDED))


def test_the_last_list_counts_until_its_exp_while_the_issuer_is_away(
    issuer: Issuer, clock: FakeClock, make_verifier: Callable[..., AccessTokenVerifier]
) -> None:
    deny, allow = make_verifier(), make_verifier(on_stale="allow")
    living, ended = issuer.listed(LIVING, exp=LONG), issuer.listed(ENDED, exp=LONG)
    for verifier in (deny, allow):
        assert passes(verifier, living)
    issuer.status = 503
    for _ in range(59):
        clock.now += 1
        for verifier in (deny, allow):
            assert passes(verifier, living)
            assert not passes(verifier, ended)
    assert issuer.asked[STATUS] <= 2 * (1 + 50 // 5)
    clock.now += 1
    with pytest.raises(StatusUnavailable):
        deny.verify(living)
    assert passes(allow, living)
    for verifier in (deny, allow):
        assert not passes(verifier, ended), "who was revoked stays so, old as the list is"
    issuer.status = 200
    issuer.tell(listing(LIVING), iat=clock.now, exp=LONG)
    clock.now += 5
    for verifier in (deny, allow):
        assert not passes(verifier, living)
        assert passes(verifier, ended)


def test_a_failure_is_logged_once(
    issuer: Issuer, clock: FakeClock, verifier: AccessTokenVerifier, caplog: pytest.LogCaptureFixture
) -> None:
    verifier.verify(issuer.token())
    issuer.status = 500
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            with pytest.raises(StatusUnavailable):
                verifier.verify(issuer.listed(LIVING))
            clock.now += 10
    assert len([record for record in caplog.records if "status list" in record.getMessage()]) == 1


def test_an_issuer_that_never_answers_costs_a_bounded_wait(
    issuer: Issuer, verifier: AccessTokenVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    verifier.verify(issuer.token())
    monkeypatch.setattr("gateway.verifier.flights.FETCH_TIMEOUT_SECONDS", 0.2)
    issuer.pause.clear()
    started = time.monotonic()
    with pytest.raises(StatusUnavailable, match="in time"):
        verifier.verify(issuer.listed(LIVING))
    assert time.monotonic() - started < 2
    issuer.pause.set()
    settle(verifier)


def test_a_fetch_that_hangs_is_overtaken_and_changes_nothing(
    issuer: Issuer,
    clock: FakeClock,
    make_verifier: Callable[..., AccessTokenVerifier],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hanging, asked = threading.Event(), 0

    def fetch(url: str) -> Document:
        nonlocal asked
        if STATUS in url:
            asked += 1
            if asked == 1:
                hanging.wait(10)
                raise OSError("at last")
        return http_get(url)

    verifier = make_verifier(fetch=fetch)
    verifier.verify(issuer.token())
    monkeypatch.setattr("gateway.verifier.flights.FETCH_TIMEOUT_SECONDS", 0.1)
    with pytest.raises(StatusUnavailable):
        verifier.verify(issuer.listed(LIVING))
    assert verifier._lists is not None
    first = verifier._lists._kept[issuer.origin + STATUS].flight
    monkeypatch.undo()
    clock.now += 30
    assert verifier.verify(issuer.listed(LIVING)).iss == issuer.issuer
    hanging.set()
    concurrent.futures.wait([first], 5)
    assert verifier.verify(issuer.listed(LIVING)).iss == issuer.issuer
    assert asked == 2


def test_an_injected_fetch_of_one_argument_is_enough(
    issuer: Issuer, clock: FakeClock, make_verifier: Callable[..., AccessTokenVerifier]
) -> None:
    def fetch(url: str) -> Document:
        return Document(*http_get(url)[:3])

    verifier = make_verifier(fetch=fetch)
    assert passes(verifier, issuer.listed(LIVING))
    issuer.tell(listing(LIVING), iat=NOW + 15)
    clock.now += 15
    assert not passes(verifier, issuer.listed(LIVING))
    assert issuer.answered[-2:] == [200, 200]


# ------------------------------------------------------------------------------------------------- many at a time


def test_many_threads_share_one_request(issuer: Issuer, verifier: AccessTokenVerifier) -> None:
    verifier.verify(issuer.token())
    issuer.pause.clear()
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        verdicts = [pool.submit(verifier.verify, issuer.listed(idx)) for idx in range(32)]
        wait_until(lambda: issuer.asked[STATUS] == 1)
        issuer.pause.set()
        refused = [idx for idx, verdict in enumerate(verdicts) if isinstance(verdict.exception(), TokenRevoked)]
    assert refused == [ENDED]
    assert issuer.asked[STATUS] == 1


async def test_many_tasks_share_one_request_and_the_loop_goes_on(issuer: Issuer, verifier: AccessTokenVerifier) -> None:
    await verifier.verify_async(issuer.token())
    issuer.pause.clear()
    verdicts = [asyncio.ensure_future(verifier.verify_async(issuer.listed(idx))) for idx in range(100)]
    ticks = 0
    while issuer.asked[STATUS] == 0:
        ticks += 1
        await asyncio.sleep(0.001)
    verdicts[0].cancel()
    await asyncio.sleep(0.01)
    issuer.pause.set()
    results = await asyncio.gather(*verdicts, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert [idx for idx, result in enumerate(results) if isinstance(result, TokenRevoked)] == [ENDED]
    assert sum(isinstance(result, BaseException) for result in results) == 2
    assert ticks > 0
    assert issuer.asked[STATUS] == 1


def test_threads_under_load_never_see_half_a_list(
    issuer: Issuer, clock: FakeClock, verifier: AccessTokenVerifier
) -> None:
    """
    Threads judge while one list follows the other: whose session was ended is never taken, nor another refused.

    Shows ASVS 15.4.1.
    """
    living, ended = issuer.listed(LIVING, exp=LONG), issuer.listed(ENDED, exp=LONG)
    verifier.verify(living)
    verdicts: set[tuple[str, bool]] = set()
    is_over = threading.Event()

    def judge() -> None:
        while not is_over.wait(0.0001):
            for access_token in (living, ended):
                try:
                    verifier.verify(access_token)
                    verdicts.add((access_token, True))
                except TokenRevoked:
                    verdicts.add((access_token, False))

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        done = [pool.submit(judge) for _ in range(4)]
        try:
            for number in range(1, 21):
                issuer.tell(listing(ENDED, 10 + number), iat=NOW + 10 * number, exp=LONG)
                clock.now = NOW + 10 * number
                wait_until(lambda expected=number: issuer.answered.count(200) > expected + 2)  # type: ignore[misc]
                settle(verifier)
        finally:
            is_over.set()
    for judged in done:
        judged.result()
    assert verdicts == {(living, True), (ended, False)}


# ------------------------------------------------------------------------------------------------------- in front


async def hello(request: Request) -> PlainTextResponse:
    return PlainTextResponse("hello")


def test_the_middleware_refuses_an_ended_session_and_fails_closed(
    issuer: Issuer, clock: FakeClock, verifier: AccessTokenVerifier
) -> None:
    app = Starlette(
        routes=[Route("/", hello)], middleware=[Middleware(AccessTokenMiddleware, verifier=verifier, realm="shop")]
    )

    def answer(access_token: str) -> Any:
        return client.get("/", headers={"Authorization": f"Bearer {access_token}"})

    with TestClient(app) as client:
        assert answer(issuer.listed(LIVING)).text == "hello"
        ended = answer(issuer.listed(ENDED))
        assert (ended.status_code, ended.headers["www-authenticate"]) == (
            401,
            'Bearer realm="shop", error="invalid_token"',
        )
        issuer.status = 500
        clock.now += 60
        away = answer(issuer.listed(LIVING))
        assert (away.status_code, away.headers["retry-after"]) == (503, "5")
        assert "www-authenticate" not in away.headers
