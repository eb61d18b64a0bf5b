"""
Row 15: who else may ask than an access token that was seen before. Personal tokens from memory, as Bearer and as the
password of Basic, against one access token; first looks at a browser session and at a personal token, against a bare
application that asks Redis the same each time, by redis-py; a first `token=`, against the RSA signature in it.

All by CPU of the gateway's process, which has a core of its own. Every first one is the first of its kind: each round
has sessions, tokens or an audience that no other round has, and Redis tells how often it was asked.
"""

import base64
import statistics
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from benchmarks.bench_refresh import signatures_per_cpu_second, signing_key
from benchmarks.filling import (
    Filler,
    families_key,
    family_id_of,
    hash_password,
    token_id_of,
    tokens_key,
    user_key,
)
from benchmarks.measuring import Row, chosen, in_turn, median_ratio, publish
from benchmarks.servers import bare_server, bearing, gateway_at, mint, pid_of, redis_at, request_file, workplace
from benchmarks.wrk import Sample, press
from gateway.settings import Settings
from gateway.store.store import Script
from tests.harness import RedisServer

PATH = "/api/authz/auth-request"
ROUNDS, SECONDS, WARM_UP_SECONDS = chosen((5, 1.0, 1.0), (1, 0.2, 0.2))
NEW_OF_A_ROUND = chosen(10_000, 2000)
CALLERS_OF_AUDIENCES = chosen(4000, 1500)
AUDIENCES = [f"https://app{number}.example.com" for number in range(ROUNDS)]
TARGETS = {"15a": 0.9, "15b": 0.8, "15c": 0.45, "15d": 0.45, "15e": 0.55}


class Stand:
    """A gateway, the Redis that it asks, and a way to put requests to it."""

    def __init__(self, folder: Path, redis: RedisServer, url: str, pid: int) -> None:
        self._folder, self._redis, self._url, self.pid = folder, redis, url, pid
        self._client = redis.client()

    def requests(self, name: str, lines: Iterable[str], query: str = "") -> Path:
        """Write requests, each with one of these header lines."""
        (folder := self._folder / name).mkdir()
        return request_file(folder, PATH + query, list(lines))

    def ask(self, requests: Path, seconds: float = SECONDS, *, refusals: bool = False) -> Sample:
        """Ask in turn, from the first on."""
        return press(self._url, seconds, self.pid, requests=requests, refusals=refusals)

    def ask_for_the_first_time(self, requests: Path, of: int) -> Sample:
        """Ask likewise; fails unless each is new to the gateway, so that it asks Redis."""
        before = self._calls()
        sample = self.ask(requests)
        asked = self._calls() - before
        assert sample.requests <= of, f"{sample.requests} requests: some of {of} were asked twice"
        assert asked >= 0.95 * sample.requests, f"Redis was asked {asked} times in {sample.requests} requests"
        return sample

    def remember(self, requests: Path, count: int) -> None:
        """Ask until each was seen, in one go, since each begins with the first."""
        seconds = WARM_UP_SECONDS
        while (sample := self.ask(requests, seconds, refusals=True)).requests < 2 * count or sample.refused:
            seconds *= 2

    def access_token_told(self, line: str, audience: str) -> str:
        """Give what is told to the application."""
        name, _, value = line.partition(": ")
        query = f"?token={quote(audience, safe='')}"
        with urllib.request.urlopen(urllib.request.Request(self._url + PATH + query, headers={name: value})) as answer:
            return str(answer.headers["remote-access-token"])

    def _calls(self) -> int:
        return int(self._client.info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"])


def row_of(number: str, name: str, samples: list[Sample], others: list[float], what: str) -> Row:
    """Give the row of a kind of request, against microseconds of CPU of something else."""
    cpu_us = [sample.cpu_us for sample in samples]
    return Row(
        number,
        name,
        f"{statistics.median(cpu_us):.1f} µs",
        f"{what} {statistics.median(others):.1f} µs",
        median_ratio(others, cpu_us),
        TARGETS[number],
        details={
            "requests_per_second": statistics.median(sample.rate for sample in samples),
            "p50_ms": statistics.median(sample.p50_ms for sample in samples),
            "p99_ms": statistics.median(sample.p99_ms for sample in samples),
            "cpu_us_per_request": cpu_us,
            "cpu_us_of_the_other": others,
        },
    )


def remembered(stand: Stand, number: str, name: str, line: str, plain: Path) -> Row:
    """Measure one who was seen before, against the access token."""
    requests = stand.requests(number, [line])
    stand.remember(requests, 1)
    samples, others = in_turn(lambda: stand.ask(requests), lambda: stand.ask(plain), ROUNDS)
    return row_of(number, name, samples, [sample.cpu_us for sample in others], "access token")


def first_looks(
    stand: Stand, redis: RedisServer, number: str, name: str, lines_of: Callable[[range], list[str]], words: list[str]
) -> Row:
    """Measure those who were never seen, against the application that asks Redis *words* and answers 204."""
    turns = iter(range(ROUNDS))

    def ask() -> Sample:
        begin = next(turns) * NEW_OF_A_ROUND
        requests = stand.requests(f"{number}-{begin}", lines_of(range(begin, begin + NEW_OF_A_ROUND)))
        return stand.ask_for_the_first_time(requests, NEW_OF_A_ROUND)

    with bare_server(asks=[redis.url, *words]) as (port, pid):
        bare_url = f"http://127.0.0.1:{port}{PATH}"
        press(bare_url, WARM_UP_SECONDS, pid)
        samples, others = in_turn(ask, lambda: press(bare_url, SECONDS, pid), ROUNDS)
    return row_of(number, name, samples, [sample.cpu_us for sample in others], "bare that asks")


def first_of_the_minute(stand: Stand, cookies: list[str]) -> Row:
    """Measure `token=` of sessions that were seen, each the first for its audience, against RSA signatures."""
    stand.remember(stand.requests("seen", cookies), len(cookies))
    assert stand.access_token_told(cookies[-1], AUDIENCES[0]).count(".") == 2
    queries = [f"?token={quote(audience, safe='')}" for audience in AUDIENCES]
    turns = iter([stand.requests(f"15e-{place}", cookies, query) for place, query in enumerate(queries)])

    def ask() -> Sample:
        sample = stand.ask(next(turns))
        assert sample.requests <= len(cookies), "some were asked twice within the minute"
        return sample

    key = signing_key()
    samples, signatures = in_turn(ask, lambda: signatures_per_cpu_second(key), ROUNDS)
    signature_us = [1e6 / per_second for per_second in signatures]
    return row_of("15e", "authz, a first token=", samples, signature_us, "RSA signature")


def main() -> None:
    settings: dict[str, Any] = {
        "access_token_ttl_seconds": 3600,
        "session_check_seconds": 600,
        "audiences": ",".join(AUDIENCES),
    }
    with workplace() as folder, redis_at(folder) as redis, gateway_at(redis, **settings) as gateway:
        stand = Stand(folder, redis, gateway.url, pid_of(gateway))
        new = ROUNDS * NEW_OF_A_ROUND
        filler = Filler(redis.port, hash_password(4))
        filler.add_users(new + CALLERS_OF_AUDIENCES)
        filler.add_sessions(new + CALLERS_OF_AUDIENCES)
        filler.add_personal_tokens(new + 1)
        plain = stand.requests("plain", bearing(mint(gateway, 1)))
        stand.remember(plain, 1)
        (token,) = filler.personal_token_texts([new])
        basic = base64.b64encode(f"ann@example.com:{token}".encode()).decode()

        def cookies(numbers: range) -> list[str]:
            return [f"Cookie: gateway_session={cookie}" for cookie in filler.session_cookies(numbers)]

        def tokens(numbers: range) -> list[str]:
            return bearing(list(filler.personal_token_texts(numbers)))

        looks = Script.load("gateway.sessions", "presence_look"), Script.load("gateway.machines", "token_look")
        for script in looks:
            filler.client.script_load(script.text)
        idle_seconds = str(Settings().refresh_idle_ttl_seconds)
        ask_of_session, ask_of_token = (["EVALSHA", script.sha1, "2"] for script in looks)
        ask_of_session += [families_key(new), user_key(new), family_id_of(new), idle_seconds]
        ask_of_token += [tokens_key(new), user_key(new), token_id_of(new)]
        rows = [
            remembered(stand, "15a", "authz, personal token as Bearer", f"Authorization: Bearer {token}", plain),
            remembered(stand, "15b", "authz, personal token as Basic", f"Authorization: Basic {basic}", plain),
            first_looks(stand, redis, "15c", "authz, first look at a session", cookies, ask_of_session),
            first_looks(stand, redis, "15d", "authz, first look at a personal token", tokens, ask_of_token),
            first_of_the_minute(stand, cookies(range(new, new + CALLERS_OF_AUDIENCES))),
        ]
    publish("callers", rows)


if __name__ == "__main__":
    main()
