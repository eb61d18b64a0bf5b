"""Connections that a proxy keeps to the gateway, at the edge of the time after which the gateway closes them."""

import re
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.settings import Settings
from tests.harness import GatewayProcess
from tests.proxies import fronts
from tests.proxies.fronts import CONFIG, KINDS, Front

POSTS = 1_000
AT_ONCE = 25
KEPT_SECONDS = 60
SHORT_SECONDS = 5
# Where each file says for how long it keeps a connection to the gateway; HAProxy keeps none.
KEPT = {
    "nginx/token-gateway.conf": r"keepalive_timeout (\d+)s",
    "caddy/Caddyfile": r"keepalive (\d\d)s",
    "apache/token-gateway.conf": r"ttl=(\d+)",
    "traefik/dynamic.yml": r"idleConnTimeout: (\d\d)s",
    "envoy/envoy.yaml": r"idle_timeout: (\d\d)s } *. *# shorter",
}


@pytest.mark.parametrize("name", KEPT)
def test_no_file_keeps_a_connection_for_as_long_as_the_gateway(name: str) -> None:
    found = {int(seconds) for seconds in re.findall(KEPT[name], (CONFIG / name).read_text())}
    assert found == {KEPT_SECONDS}
    assert KEPT_SECONDS < Settings().keep_alive_seconds


@pytest.fixture
def shortened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this test's proxies keep connections for as much shorter as its gateway does."""
    ratio = SHORT_SECONDS / Settings().keep_alive_seconds
    for kind in KINDS:
        (tmp_path / "config" / kind.name).mkdir(parents=True)
        for file in (CONFIG / kind.name).iterdir():
            text = file.read_text()
            if pattern := KEPT.get(f"{kind.name}/{file.name}"):
                for found in list(re.finditer(pattern, text))[::-1]:
                    short = str(round(int(found[1]) * ratio))
                    text = text[: found.start(1)] + short + text[found.end(1) :]
            (tmp_path / "config" / kind.name / file.name).write_text(text)
    monkeypatch.setattr(fronts, "CONFIG", tmp_path / "config")


@pytest.mark.timeout(180)
@pytest.mark.usefixtures("shortened")
def test_no_post_fails_at_the_edge_of_the_idle_time(
    make_gateway: Callable[..., GatewayProcess], make_front: Callable[..., Front]
) -> None:
    """A thousand through each proxy, in rounds that end when proxy and gateway are about to close what is idle."""
    gateway = make_gateway(keep_alive_seconds=str(SHORT_SECONDS), trusted_proxies="127.0.0.1", refresh_limit="off")
    running = [make_front(kind, gateway) for kind in KINDS if kind.program is not None]
    rounds = POSTS // AT_ONCE // 8
    found: dict[str, Counter[int]] = {front.kind.name: Counter() for front in running}

    def post(front: Front) -> None:
        answer = front.ask("/auth/refresh", {"Content-Type": "application/json"}, method="POST", body=b"{}")
        found[front.kind.name][answer.status] += 1

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for number in range(rounds):
            for _ in range(8):
                list(pool.map(post, running * AT_ONCE))
            edge_seconds = SHORT_SECONDS * (KEPT_SECONDS / Settings().keep_alive_seconds if number % 2 else 1)
            time.sleep(edge_seconds - 0.05 + 0.02 * number)
    print(found)
    for name, answers in found.items():
        assert sum(answers.values()) == POSTS
        assert set(answers) == {401}, name
