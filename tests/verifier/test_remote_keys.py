"""The issuer's keys over real HTTP: found, kept, read again, and never asked for too often."""

import asyncio
import concurrent.futures
import datetime
import http.server
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from gateway.verifier import (
    AccessTokenVerifier,
    Document,
    ExpiredToken,
    KeysUnavailable,
    MalformedToken,
    RemoteKeys,
    UnknownKey,
    UntrustedToken,
    fetch,
    http_get,
    public_jwk,
)
from tests.clocks import FakeClock
from tests.verifier.issuing import JWKS, METADATA, Issuer
from tests.verifier.mint import AUDIENCE, ISSUER, NOW, claims, compact, header, verification_key


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    issuer = Issuer()
    yield issuer
    issuer.close()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def verifier(issuer: Issuer, clock: FakeClock) -> AccessTokenVerifier:
    return AccessTokenVerifier(issuer=issuer.issuer, audience=AUDIENCE, clock=clock)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.005)


# ----------------------------------------------------------------------------------------------------------- finding


def test_the_keys_are_found_through_the_metadata_and_read_once(issuer: Issuer, verifier: AccessTokenVerifier) -> None:
    for _ in range(3):
        assert verifier.verify(issuer.token()).iss == issuer.issuer
    assert issuer.asked == {METADATA: 1, JWKS: 1}


def test_an_issuer_with_a_path_has_the_well_known_part_before_it(clock: FakeClock) -> None:
    """RFC 8414 section 3.1."""
    issuer = Issuer("/tenant")
    verifier = AccessTokenVerifier(issuer=issuer.issuer, audience=AUDIENCE, clock=clock)
    assert verifier.verify(issuer.token()).iss == issuer.origin + "/tenant"
    assert issuer.asked == {METADATA + "/tenant": 1, JWKS: 1}
    issuer.close()


def test_a_given_jwks_uri_needs_no_metadata(issuer: Issuer, clock: FakeClock) -> None:
    verifier = AccessTokenVerifier(
        issuer="https://auth.example.com", audience=AUDIENCE, jwks_uri=issuer.origin + JWKS, clock=clock
    )
    assert verifier.verify(compact(header(), claims())).sub == claims()["sub"]
    assert issuer.asked == {JWKS: 1}


@pytest.mark.parametrize("member", ["issuer", "jwks_uri"])
def test_metadata_of_another_issuer_or_without_usable_address_is_refused(
    issuer: Issuer, verifier: AccessTokenVerifier, member: str
) -> None:
    wrong = {"issuer": issuer.issuer + "/", "jwks_uri": "file:///etc/passwd"}[member]
    issuer.bodies[METADATA] = issuer.metadata(**{member: wrong})
    with pytest.raises(KeysUnavailable):
        verifier.verify(issuer.token())
    assert issuer.asked == {METADATA: 1}


def test_an_https_issuer_cannot_hand_its_keys_over_in_the_clear(clock: FakeClock) -> None:
    """Shows ASVS 12.3.1."""
    asked = []

    def answer(url: str) -> Document:
        asked.append(url)
        body = {"issuer": "https://auth.example.com", "jwks_uri": "http://auth.example.com/jwks"}
        return Document(200, "", json.dumps(body).encode())

    verifier = AccessTokenVerifier(issuer="https://auth.example.com", audience=AUDIENCE, fetch=answer, clock=clock)
    with pytest.raises(KeysUnavailable):
        verifier.verify(compact(header(), claims()))
    assert asked == ["https://auth.example.com/.well-known/oauth-authorization-server"]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "auth.example.com",
        "file:///etc/passwd",
        "ftp://a/",
        "https://",
        "https://u:p@a/",
        "https://a/#f",
        "https://a:x/",
    ],
)
def test_only_plain_http_and_https_addresses_are_taken(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        RemoteKeys(url)
    with pytest.raises(ValueError, match=r"."):
        RemoteKeys("https://auth.example.com", jwks_uri=url)
    with pytest.raises(ValueError, match="query"):
        RemoteKeys("https://auth.example.com?tenant=1")


# ----------------------------------------------------------------------------------------------------------- keeping


@pytest.mark.parametrize(
    ("cache_control", "seconds"),
    [
        ("public, max-age=300", 300),
        ("max-age=120", 120),
        ("Public, Max-Age=120", 120),
        ('max-age="90"', 90),
        ("s-maxage=600, max-age=90", 90),
        ("", 300),
        ("public", 300),
        ("max-age=soon", 300),
        ("max-age=0", 60),
        ("max-age=300, no-cache", 60),
        ("no-store", 60),
        ("max-age=999999999", 86_400),
        ("max-age=99999999999999999999", 86_400),
    ],
)
def test_the_keys_are_fresh_for_their_max_age_within_bounds(
    issuer: Issuer, clock: FakeClock, verifier: AccessTokenVerifier, cache_control: str, seconds: int
) -> None:
    issuer.headers = {"Cache-Control": cache_control} if cache_control else {}
    access_token = issuer.token(exp=NOW + 100_000)
    verifier.verify(access_token)
    clock.now += seconds - 1
    verifier.verify(access_token)
    assert issuer.asked[JWKS] == 1
    clock.now += 1
    verifier.verify(access_token)
    assert issuer.asked == {METADATA: 1, JWKS: 2}


def test_a_key_that_left_the_document_stops_verifying(
    issuer: Issuer, clock: FakeClock, verifier: AccessTokenVerifier
) -> None:
    verifier.verify(issuer.token())
    issuer.publish([verification_key("ES256")])
    clock.now += 300
    with pytest.raises(UnknownKey):
        verifier.verify(issuer.token())


def test_unusable_entries_are_skipped(issuer: Issuer, verifier: AccessTokenVerifier) -> None:
    good = public_jwk(verification_key())
    unusable = [
        {},
        {"kty": "oct", "k": "AQAB"},
        {"kty": "AKP", "alg": "ML-DSA-44"},
        good | {"use": "enc"},
        good | {"e": "AQ"},
    ]
    issuer.publish([verification_key()], *unusable)
    assert verifier.verify(issuer.token()).iss == issuer.issuer


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"keys":[]}',
        b'{"keys":{}}',
        b'{"keys":[1]}',
        b'{"keys":[{"kty":"oct"}]}',
        b"[" * 9999,
        b"\xff",
    ],
)
def test_a_document_without_a_usable_key_is_a_failed_fetch(
    issuer: Issuer, clock: FakeClock, verifier: AccessTokenVerifier, body: bytes
) -> None:
    access_token = issuer.token()
    verifier.verify(access_token)
    issuer.bodies[JWKS] = body
    clock.now += 300
    assert verifier.verify(access_token).iss == issuer.issuer
    assert issuer.asked[JWKS] == 2


@pytest.mark.parametrize("status", [201, 204, 301, 302, 307, 304, 401, 404, 500, 503])
def test_only_200_is_an_answer_and_no_redirect_is_followed(
    issuer: Issuer, verifier: AccessTokenVerifier, status: int
) -> None:
    issuer.status = status
    issuer.headers["Location"] = issuer.origin + "/elsewhere"
    with pytest.raises(KeysUnavailable):
        verifier.verify(issuer.token())
    assert issuer.asked == {METADATA: 1}


def test_a_document_of_more_than_256_kib_is_refused(issuer: Issuer, verifier: AccessTokenVerifier) -> None:
    issuer.bodies[JWKS] = issuer.bodies[JWKS][:-1] + b" " * 262_144 + b"}"
    with pytest.raises(KeysUnavailable):
        verifier.verify(issuer.token())


# ----------------------------------------------------------------------------------------------------------- failing


def test_stale_keys_beat_none_and_come_back_by_themselves(
    issuer: Issuer, clock: FakeClock, verifier: AccessTokenVerifier
) -> None:
    access_token = issuer.token(exp=NOW + 100_000)
    verifier.verify(access_token)
    issuer.status = 500
    clock.now += 10_000
    for _ in range(100):
        assert verifier.verify(access_token).iss == issuer.issuer
    assert issuer.asked[JWKS] == 2
    issuer.status = 200
    clock.now += 30
    verifier.verify(access_token)
    clock.now += 299
    verifier.verify(access_token)
    assert issuer.asked[JWKS] == 3


def test_without_any_keys_a_good_token_is_not_called_bad(
    issuer: Issuer, clock: FakeClock, verifier: AccessTokenVerifier
) -> None:
    """It is the service that fails; asked again 30 seconds later, and then it works."""
    issuer.status = 503
    for passed in (0, 10, 19):
        clock.now += passed
        with pytest.raises(KeysUnavailable) as unavailable:
            verifier.verify(issuer.token())
        assert unavailable.value.retry_after_seconds == NOW + 30 - clock()
    assert issuer.asked == {METADATA: 1}
    issuer.status = 200
    clock.now += 1
    assert verifier.verify(issuer.token()).iss == issuer.issuer


def test_a_malformed_token_is_bad_with_or_without_keys(issuer: Issuer, verifier: AccessTokenVerifier) -> None:
    issuer.status = 503
    with pytest.raises(MalformedToken):
        verifier.verify("not.a.token")


def test_an_unknown_key_is_not_called_bad_while_the_issuer_is_away(
    issuer: Issuer, clock: FakeClock, verifier: AccessTokenVerifier
) -> None:
    verifier.verify(issuer.token())
    issuer.status = 500
    clock.now += 30
    with pytest.raises(KeysUnavailable):
        verifier.verify(issuer.token("ES256"))
    assert verifier.verify(issuer.token()).iss == issuer.issuer


def test_an_issuer_that_moved_its_keys_is_found_again(
    issuer: Issuer, clock: FakeClock, verifier: AccessTokenVerifier
) -> None:
    verifier.verify(issuer.token())
    issuer.bodies["/keys"] = issuer.bodies.pop(JWKS)
    issuer.bodies[METADATA] = issuer.metadata(jwks_uri=issuer.origin + "/keys")
    clock.now += 300
    verifier.verify(issuer.token())
    clock.now += 30
    verifier.verify(issuer.token())
    assert issuer.asked == {METADATA: 2, JWKS: 2, "/keys": 1}


def test_nobody_listening_is_a_failed_fetch(clock: FakeClock) -> None:
    issuer = Issuer()
    issuer.close()
    verifier = AccessTokenVerifier(issuer=issuer.issuer, audience=AUDIENCE, clock=clock)
    with pytest.raises(KeysUnavailable):
        verifier.verify(issuer.token())


def test_whatever_an_injected_fetch_raises_is_a_failed_fetch(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(url: str) -> Document:
        raise RuntimeError(f"no way to {url}")

    verifier = AccessTokenVerifier(issuer="https://auth.example.com", audience=AUDIENCE, fetch=broken, clock=clock)
    with caplog.at_level(logging.WARNING), pytest.raises(KeysUnavailable):
        verifier.verify(compact(header(), claims()))
    assert len(caplog.records) == 1


def test_a_slow_trickle_ends_after_the_time_for_all_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each read comes in time, but not the whole."""
    monkeypatch.setattr(fetch, "FETCH_TIMEOUT_SECONDS", 0.3)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            try:
                while True:
                    self.wfile.write(b"x")
                    time.sleep(0.05)
            except OSError:
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        started = time.monotonic()
        with pytest.raises((OSError, http.client.HTTPException)):
            http_get(f"http://127.0.0.1:{server.server_port}/")
        assert time.monotonic() - started < 2
        server.shutdown()


# --------------------------------------------------------------------------------------------------- unknown keys


def test_a_new_key_is_read_at_once_when_the_cool_down_is_over(
    issuer: Issuer, clock: FakeClock, verifier: AccessTokenVerifier
) -> None:
    verifier.verify(issuer.token())
    issuer.publish([verification_key(), verification_key("ES256")])
    with pytest.raises(UnknownKey):
        verifier.verify(issuer.token("ES256"))
    clock.now += 30
    assert verifier.verify(issuer.token("ES256")).iss == issuer.issuer
    assert issuer.asked == {METADATA: 1, JWKS: 2}


def test_ten_thousand_unknown_keys_cause_one_request_in_thirty_seconds(
    issuer: Issuer, clock: FakeClock, verifier: AccessTokenVerifier
) -> None:
    message, _, signature = issuer.stranger(0).rpartition(".")
    payload = message.partition(".")[2]
    for number in range(10_000):
        if number % 1000 == 0:
            clock.now += 6
        first = issuer.stranger(number).partition(".")[0] if number % 500 == 0 else None
        bad = f"{first}.{payload}.{signature}" if first else f"{message}.{signature}"
        with pytest.raises(UnknownKey):
            verifier.verify(bad)
    assert issuer.asked[JWKS] == 2
    assert verifier.verify(issuer.token()).iss == issuer.issuer


def test_only_an_unknown_key_causes_a_request(issuer: Issuer, clock: FakeClock, verifier: AccessTokenVerifier) -> None:
    verifier.verify(issuer.token())
    clock.now += 100
    for bad in (compact(header(typ="JWT"), claims()), compact(header(alg="none"), claims()), issuer.token()[:-9], "x"):
        with pytest.raises((UntrustedToken, MalformedToken)):
            verifier.verify(bad)
    with pytest.raises(ExpiredToken):
        verifier.verify(issuer.token(exp=NOW + 100))
    assert issuer.asked[JWKS] == 1


def test_a_clock_that_is_set_back_does_not_stop_the_reading(
    issuer: Issuer, clock: FakeClock, verifier: AccessTokenVerifier
) -> None:
    verifier.verify(issuer.token())
    clock.now -= 3600
    issuer.publish([verification_key("ES256")])
    assert verifier.verify(issuer.token("ES256", iat=NOW - 3600)).iss == issuer.issuer


# ------------------------------------------------------------------------------------------------- many at a time


def test_many_threads_share_one_request(issuer: Issuer, verifier: AccessTokenVerifier) -> None:
    """Shows ASVS 15.4.1."""
    issuer.pause.clear()
    access_token = issuer.token()
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        verdicts = [pool.submit(verifier.verify, access_token) for _ in range(32)]
        wait_until(lambda: issuer.asked[METADATA] == 1)
        issuer.pause.set()
        assert {verdict.result().sub for verdict in verdicts} == {claims()["sub"]}
    assert issuer.asked == {METADATA: 1, JWKS: 1}


async def test_many_tasks_share_one_request_and_the_loop_goes_on(issuer: Issuer, verifier: AccessTokenVerifier) -> None:
    issuer.pause.clear()
    access_token = issuer.token()
    verdicts = [asyncio.ensure_future(verifier.verify_async(access_token)) for _ in range(100)]
    ticks = 0
    while issuer.asked[METADATA] == 0:
        ticks += 1
        await asyncio.sleep(0.001)
    verdicts[0].cancel()
    await asyncio.sleep(0.01)
    issuer.pause.set()
    results = await asyncio.gather(*verdicts, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert {result.sub for result in results[1:] if not isinstance(result, BaseException)} == {claims()["sub"]}
    assert not any(isinstance(result, BaseException) for result in results[1:])
    assert ticks > 0
    assert issuer.asked == {METADATA: 1, JWKS: 1}


async def test_the_asynchronous_door_judges_as_the_other(
    issuer: Issuer, clock: FakeClock, verifier: AccessTokenVerifier
) -> None:
    assert await verifier.verify_async(issuer.token()) == verifier.verify(issuer.token())
    issuer.publish([verification_key(), verification_key("ES256")])
    with pytest.raises(UnknownKey):
        await verifier.verify_async(issuer.token("ES256"))
    clock.now += 30
    assert (await verifier.verify_async(issuer.token("ES256"))).iss == issuer.issuer
    issuer.status = 500
    clock.now += 30
    with pytest.raises(KeysUnavailable):
        await verifier.verify_async(issuer.token("EdDSA"))


def test_those_who_can_use_the_old_keys_do_not_wait_for_the_new(
    issuer: Issuer, clock: FakeClock, verifier: AccessTokenVerifier
) -> None:
    access_token = issuer.token()
    verifier.verify(access_token)
    clock.now += 300
    issuer.pause.clear()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        first = pool.submit(verifier.verify, access_token)
        wait_until(lambda: issuer.asked[JWKS] == 2)
        assert verifier.verify(access_token).iss == issuer.issuer
        assert not first.done()
        issuer.pause.set()
        assert first.result().iss == issuer.issuer


def test_an_issuer_that_never_answers_costs_a_bounded_wait(
    issuer: Issuer, clock: FakeClock, verifier: AccessTokenVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.verifier.flights.FETCH_TIMEOUT_SECONDS", 0.2)
    issuer.pause.clear()
    started = time.monotonic()
    with pytest.raises(KeysUnavailable, match="in time"):
        verifier.verify(issuer.token())
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("late_answer_is_good", [True, False])
def test_an_answer_that_was_overtaken_changes_nothing(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch, late_answer_is_good: bool
) -> None:
    monkeypatch.setattr("gateway.verifier.flights.FETCH_TIMEOUT_SECONDS", 0.2)
    released = threading.Event()
    flights = iter(["RS256", "ES256"])
    threads: list[threading.Thread] = []

    def answer(url: str) -> Document:
        algorithm = next(flights)
        threads.append(threading.current_thread())
        if algorithm == "RS256":
            released.wait(10)
            if not late_answer_is_good:
                raise OSError("timed out")
        return Document(200, "", json.dumps({"keys": [public_jwk(verification_key(algorithm))]}).encode())

    verifier = AccessTokenVerifier(
        issuer="https://auth.example.com", audience=AUDIENCE, jwks_uri=ISSUER + JWKS, fetch=answer, clock=clock
    )
    with pytest.raises(KeysUnavailable):
        verifier.verify(compact(header(), claims()))
    clock.now += 30
    newer = compact(header("ES256"), claims(), signer="ES256")
    assert verifier.verify(newer).sub == claims()["sub"]
    released.set()
    for thread in threads:
        thread.join(5)
    assert verifier.verify(newer).sub == claims()["sub"]
    with pytest.raises(UnknownKey):
        verifier.verify(compact(header(), claims()))


def test_the_verifiers_own_clock_is_the_hosts(issuer: Issuer) -> None:
    verifier = AccessTokenVerifier(issuer=issuer.issuer, audience=AUDIENCE)
    now = int(datetime.datetime.now(datetime.UTC).timestamp())  # noqa: TID251 - it is compared with the host's clock
    assert verifier.verify(issuer.token(iat=now, exp=now + 60)).iat == now
    with pytest.raises(ExpiredToken):
        verifier.verify(issuer.token(iat=now - 60, exp=now - 2))
