"""
Strangers through real proxies, with the files of config/, while honest users go on: nobody gets what is not his.

`make hostile` opens 100,000 connections and writes docs/hostile.md; `make test` opens a few hundred.
"""

import asyncio
import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import uvloop

from tests.certificates import Certificates
from tests.faults.resources import Resources
from tests.harness import GatewayProcess, RedisServer, TestUser, wait_until
from tests.hostile.attacks import FORGED_ADDRESS, Attacks
from tests.hostile.conftest import Size
from tests.hostile.honest import HonestUser, Notes
from tests.hostile.table import Row, Table
from tests.hostile.tap import Tap
from tests.proxies.conftest import Signer, log_in, start_gateway
from tests.proxies.echo import EchoApplication
from tests.proxies.fronts import KINDS, Front, Kind

# Beside what each login and refresh leaves: an access token that was verified and is remembered, at about 2 KiB.
MOST_GROWTH_KIB = 16 * 1024
TOKEN_KIB = 2
MOST_OTHER_FILES = 2
LISTENING = 1
ASKED = "/api/authz/"
SETTLING_SECONDS = 20.0
MOST_SHOWN = 10
BY_NAME = {kind.name: kind for kind in KINDS}
NEWEST_CADDY = os.environ.get("NEWEST_CADDY", "caddy-newest")  # noqa: TID251 - for the test alone
FRONTS = (
    BY_NAME["nginx"],
    BY_NAME["haproxy"],
    BY_NAME["caddy"],
    replace(BY_NAME["caddy"], name="newest-caddy", programs=(NEWEST_CADDY,), package="NEWEST_CADDY=its path"),
)


@pytest.fixture(scope="module")
def gateway(
    redis_server: RedisServer, signer: Signer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    """Give the gateway behind all of the proxies."""
    process = start_gateway(redis_server, tmp_path_factory.mktemp("hostile"), signer)
    yield process
    process.stop()


@pytest.fixture(scope="module")
def users(gateway: GatewayProcess, size: Size) -> list[TestUser]:
    """Give honest users."""
    return [gateway.add_user(roles=("demo",)) for _ in range(size.honest_users)]


async def honest(users: list[TestUser], port: int, notes: Notes, until: asyncio.Event) -> None:
    """Let honest users go on until told to stop."""
    await asyncio.gather(*(HonestUser(user, port, notes).live(until) for user in users))


async def campaign(
    front: Front, attacks: Attacks, users: list[TestUser], connections: int, size: Size
) -> tuple[Tap, Notes, Notes, float]:
    """Run the honest users alone, then with strangers; give what the tap and they saw, and the seconds of that."""
    tap = await Tap(front.gateway_port).start()
    front.gateway_port = tap.port
    calm, meanwhile = Notes(), Notes()
    await asyncio.to_thread(front.start)
    try:
        attacks.port = front.port
        done = asyncio.Event()
        alone = asyncio.create_task(honest(users, front.port, calm, done))
        await asyncio.sleep(size.calm_seconds)
        done.set()
        await alone
        begun = time.monotonic()
        done = asyncio.Event()
        together = asyncio.create_task(honest(users, front.port, meanwhile, done))
        await attacks.run(connections, size.at_once)
        done.set()
        await together
        seconds = time.monotonic() - begun
    finally:
        assert front.process is not None
        ended = front.process.poll()
        await asyncio.to_thread(front.stop)
        await tap.stop()
        assert ended is None, f"{front.kind} ended with {ended}, {attacks.opened}:\n{front.log_text()[-3000:]}"
    return tap, calm, meanwhile, seconds


def at_rest(gateway: GatewayProcess) -> Resources:
    """Give what the gateway holds when its connections have ended, or have not for long."""
    assert gateway.process is not None
    with contextlib.suppress(AssertionError):  # it shows in what is held
        wait_until(lambda: Resources.of(gateway).clients <= LISTENING, SETTLING_SECONDS)
    return Resources.of(gateway)


def version(kind: Kind) -> str:
    """Give the version of a proxy as it says it."""
    assert kind.program is not None
    # A Caddy that was built by Go alone says "unknown", one of Debian has no version in what it was built from.
    told = ""
    for option in ("-v",) if kind.name in ("nginx", "haproxy") else ("version", "build-info"):
        done = subprocess.run([kind.program, option], capture_output=True, text=True)
        told += done.stdout + done.stderr
    found = re.search(r"(?:^|nginx/|HAProxy version |caddy/v2\s+)v?([0-9]+\.[0-9.]+[0-9])", told)
    return found[1] if found else "unknown version"


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", FRONTS, ids=str)
def test_nobody_gets_what_is_not_his_whatever_strangers_send(
    kind: Kind,
    gateway: GatewayProcess,
    users: list[TestUser],
    application: EchoApplication,
    certificates: Certificates,
    place: Path,
    size: Size,
    table: Table,
    pytestconfig: pytest.Config,
) -> None:
    if kind.program is None:
        pytest.skip(f"{kind} is not installed here ({kind.package})")
    attacker = log_in(gateway)

    def run(connections: int, seed: int) -> tuple[Attacks, tuple[Tap, Notes, Notes, float]]:
        attacks = Attacks(port=0, seed=seed, attacker=attacker)
        front = Front(kind, place / f"hostile-{kind}", gateway.port, application.port, certificates)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return attacks, runner.run(campaign(front, attacks, users, connections, size))

    run(size.warm_up, table.seed + 1)  # what Python takes once it keeps
    before = at_rest(gateway)
    attacks, (tap, calm, meanwhile, seconds) = run(size.connections, table.seed)
    after = at_rest(gateway)
    violations = [*tap.violations, *attacks.violations, *calm.of_others, *meanwhile.of_others]
    violations += [f"the application was asked {seen}" for seen in application.seen if seen.target.startswith(ASKED)]
    del application.seen[:]
    violations += [*calm.unserved, *meanwhile.unserved]
    tokens = sum(notes.asked["login"] + notes.asked["refresh"] for notes in (calm, meanwhile))
    if after.resident_kib > before.resident_kib + MOST_GROWTH_KIB + TOKEN_KIB * tokens:
        violations.append(f"memory: {before} became {after}, with {tokens} tokens")
    if after.files > before.files + MOST_OTHER_FILES or after.clients > before.clients:
        violations.append(f"files: {before} became {after}")
    log = gateway.log_text()
    violations += [f"the log has {forged}" for forged in (FORGED_ADDRESS, "Traceback") if forged in log]
    row = Row(kind.name, version(kind), tap, attacks, calm, meanwhile, before, after, violations, seconds)
    table.rows.append(row)
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled() if capture else contextlib.nullcontext():
        print(f"\n{row.line()}", file=sys.stderr, flush=True)
    assert not violations, "\n".join([row.line(), *violations[:MOST_SHOWN]])
    assert attacks.opened.total() == size.connections
    assert tap.requests == tap.answers + tap.given_up
    assert min(meanwhile.asked[what] for what in ("login", "refresh", "application", "me")) > 0
