"""Gateways are killed and replaced, clients hang up and repeat themselves (F13 to F17, F21 to F23)."""

import contextlib
import json
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace

import jwt

from gateway.errors import CommandError
from gateway.state import Gateway
from tests.families.records import Records
from tests.faults.conftest import MakeFault, MakeScene
from tests.faults.entries import Entry, Order
from tests.faults.scenes import ROOT, Scene, Size
from tests.harness import GatewayProcess, RedisServer, in_gateway, wait_until

DRAIN_SECONDS = 5.0
LEEWAY_SECONDS = 5
REPUBLISHED_SECONDS = 3.0
COOL_DOWN_SECONDS = 1.0
STAYING = ("user", "email", "revocations", "keyring", "status-index", "client", "audit")


def test_a_gateway_is_killed(scene: Scene, make_fault: MakeFault, size: Size) -> None:
    """F13: in the middle of refreshes; their clients ask the other one, and get the same successor."""
    with make_fault(scene, "F13", "A gateway is killed (SIGKILL) in the middle of refreshes") as fault:
        for number in range(size.of(1, 30)):
            gateway = scene.gateways[number % 2]
            with fault.strike(settle_seconds=random.uniform(0.2, 1.0)), scene.away(gateway):
                gateway.kill()
                gateway.start()
        time.sleep(size.settle_seconds)


def test_clients_hang_up(scene: Scene, make_fault: MakeFault, size: Size) -> None:
    """F14: within their request, while they wait, or within the answer; by asking again they get the token."""
    with make_fault(scene, "F14", "Clients hang up within a refresh, then ask again") as fault:
        with fault.strike():
            scene.order(Order("set", hang_up=size.of(50, 40) / 100))
            time.sleep(size.of(1, 40))
            scene.order(Order("set"))
        fault.injected = sum(entry.what == "lost refresh" for entry in scene.reader.peek())


def test_a_refresh_comes_more_than_once(scene: Scene, make_fault: MakeFault, size: Size) -> None:
    """F15: at once or late, it gets the same successor; after the successor was used it ends the session."""
    with make_fault(scene, "F15", "A refresh is sent 2, 8 and 50 times at once, and again later") as fault:
        late = [5.0, 30.0, 55.0, 61.0, 61.5] if size.is_long else [0.3]
        robbed = size.of(4, 40)
        heard = _events(scene)
        with fault.strike():
            for twins, share in ((2, 0.5), (8, 0.2), (50, 0.02)):
                scene.order(Order("set", twins=twins, twin_share=share))
                time.sleep(size.of(3, 150) / 10)
            scene.order(Order("set"))
            scene.order(Order("reuse", sessions=scene.open_sessions(robbed)))
            scene.order(Order("late", sessions=scene.open_sessions(len(late)), late_seconds=late))
        reuses = robbed + sum(seconds > 60 for seconds in late)
        fault.expect(_events(scene) - heard == reuses, f"{_events(scene) - heard} security events for {reuses} reuses")
        fault.injected = sum(entry.what in ("refresh", "reuse") for entry in scene.reader.peek()) - len(
            {entry.sent for entry in scene.reader.peek() if entry.what == "refresh"}
        )
        fault.notes["reuses found out"] = str(reuses)


def _events(scene: Scene) -> int:
    return sum(g.log_text().count('"event":"refresh_token_reused"') for g in scene.gateways)


class SkewedGateway(GatewayProcess):
    """A gateway whose clock is wrong."""

    ahead_seconds = 0

    def start(self, *, wait: bool = True) -> "SkewedGateway":
        """Start it."""
        with self.log_path.open("ab") as log:
            command = [sys.executable, "-m", "tests.faults.skewed_gateway", str(self.ahead_seconds)]
            self.process = subprocess.Popen(
                command, env=self.env, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        if wait:
            self.wait_until_ready()
        return self


def test_the_clock_of_a_gateway_is_wrong(scene: Scene, make_fault: MakeFault, size: Size) -> None:
    """F16: sessions do not notice; access tokens from the future are refused, and a log tells why."""
    ordinary = scene.gateways[1]
    periods: list[tuple[float, float, int]] = []

    def is_from_the_future(entry: Entry) -> bool:
        for begun, ended, ahead_seconds in periods:
            if begun < entry.begun and entry.ended < ended:
                ahead = {ordinary.port: ahead_seconds}
                return ahead.get(int(entry.sent), 0) > ahead.get(entry.port, 0) + LEEWAY_SECONDS
        return False

    with make_fault(scene, "F16", "The clock of one gateway is 5 minutes ahead, or behind") as fault:
        scene.checker.may_be_refused = is_from_the_future
        told, shifts = 0, (300, -300, 300, -300)[: size.of(1, 4)]
        for ahead_seconds in shifts:
            skewed = SkewedGateway(ordinary.env, ordinary.log_path)
            skewed.ahead_seconds = ahead_seconds
            with fault.strike(settle_seconds=0.2):
                size_of_log = ordinary.log_size()
                _replace(scene, ordinary, skewed)
                begun = time.monotonic()
                scene.order(Order("renew"))
                time.sleep(size.of(1, 12))
                scene.order(Order("pause"))
                periods.append((begun, time.monotonic(), ahead_seconds))
                _replace(scene, skewed, ordinary)
                scene.order(Order("renew"))
            told += any("clock" in line["message"] for line in ordinary.log_lines(size_of_log))
        time.sleep(size.settle_seconds)
        fault.notes["told in the log"] = f"{told} of {len(shifts)} times"
        refused = sum(entry.what == "authz" and entry.status == 401 for entry in scene.reader.peek())
        fault.notes["access tokens from the future refused"] = str(refused)
    scene.checker.may_be_refused = lambda entry: False


def _replace(scene: Scene, old: GatewayProcess, new: GatewayProcess) -> None:
    """Put one process in the place of another, while no client asks for anything."""
    scene.order(Order("pause"))
    with scene.away(old):
        old.stop()
        new.start()


def test_a_flood_of_logins(
    scene: Scene, server: RedisServer, make_scene: MakeScene, make_fault: MakeFault, size: Size
) -> None:
    """F17: the flood is told to come again; who logs in from another address is served."""
    if size.is_long:
        scene = make_scene(server.url, size_of_scene=replace(size, logins_per_second=2), bcrypt_cost=10)
    clients = size.of(60, 200)
    with make_fault(scene, "F17", f"{clients} clients log in over and over from another address") as fault:
        with fault.strike():
            command = [sys.executable, "tests/login_flood.py", str(scene.gateways[0].port), str(clients)]
            flood = subprocess.run(
                [*command, str(size.of(1, 20)), "203.0.113.66"], cwd=ROOT, capture_output=True, text=True, check=True
            )
        answers: dict[str, int] = json.loads(flood.stdout)
        fault.injected = sum(answers.values())
        fault.notes["the flood was answered"] = ", ".join(
            f"{n} times {status}" for status, n in sorted(answers.items())
        )
        fault.expect(set(answers) <= {"401", "429", "503"}, f"the flood got {answers}")


def test_keys_rotate(scene: Scene, make_fault: MakeFault, size: Size) -> None:
    """F21: every 2 seconds, and the keyring is deleted from Redis; no access token is refused by anybody."""
    verified, refused = 0, []
    # The clients' cool-down is to the pause between rotations as 30 s are to a minute.
    known = {
        gateway.port: jwt.PyJWKClient(f"{gateway.url}/.well-known/jwks.json", cooldown_duration=COOL_DOWN_SECONDS)
        for gateway in scene.gateways
    }
    user = scene.gateways[0].add_user()

    def verify_elsewhere() -> None:
        """Get an access token from one gateway, and verify it with the keys that the other one tells."""
        nonlocal verified
        for signer, teller in (scene.gateways, scene.gateways[::-1]):
            with signer.client() as client:
                access_token = signer.login(user, client, delivery="body")["access_token"]
            try:
                key = known[teller.port].get_signing_key_from_jwt(access_token)
                issuer = scene.gateways[0].url
                jwt.decode(access_token, key, algorithms=["RS256"], audience=issuer, issuer=issuer)
                verified += 1
            except jwt.PyJWTError as error:
                refused.append(f"{type(error).__name__}: {error}")

    async def rotate(gateway: Gateway) -> None:
        with contextlib.suppress(CommandError):  # both gateways look after the keyring too
            await gateway.keyring.rotate(force=True)

    async def delete(gateway: Gateway) -> None:
        await gateway.store.execute("DEL", gateway.store.key("keyring"))

    async def is_there(gateway: Gateway) -> bool:
        return bool(await gateway.store.execute("EXISTS", gateway.store.key("keyring")))

    title = "Signing keys rotate (`--force`) every 2 s, and the keyring is deleted from Redis"
    with make_fault(scene, "F21", title) as fault:
        for number in range(size.of(2, 25)):
            with fault.strike(settle_seconds=0):
                in_gateway(scene.gateways[0].env, delete if number % 5 == 1 else rotate)
                ends = time.monotonic() + size.of(1, 2)
                while time.monotonic() < ends:
                    verify_elsewhere()
                    time.sleep(0.1)
            back = wait_until(lambda: in_gateway(scene.gateways[0].env, is_there), what="the keyring to be put back")
            fault.expect(back < REPUBLISHED_SECONDS, f"the keyring was put back after {back:.1f} s")
        time.sleep(size.settle_seconds)
        fault.notes["verified with PyJWKClient"] = str(verified)
        fault.violations += refused


def test_gateways_are_replaced_one_by_one(scene: Scene, server: RedisServer, make_fault: MakeFault, size: Size) -> None:
    """F22: SIGTERM while requests wait for Redis; each of them is answered, and it ends within 5 s."""
    longest = 0.0
    with make_fault(
        scene, "F22", "Rolling restart: SIGTERM while requests are on their way", redis_is_away=True
    ) as fault:
        for number in range(size.of(1, 20)):
            gateway = scene.gateways[number % 2]
            assert gateway.process is not None
            with fault.strike(settle_seconds=0.2):
                server.signal(signal.SIGSTOP)
                time.sleep(0.2)
                scene.order(Order("set", avoided=[gateway.port]))  # as the balancer before them would
                begun = time.monotonic()
                gateway.process.terminate()
                server.signal(signal.SIGCONT)
                gateway.process.wait(timeout=15)
                longest = max(longest, time.monotonic() - begun)
                gateway.start()
                scene.order(Order("set"))
        time.sleep(size.settle_seconds)
        fault.expect(longest < DRAIN_SECONDS, f"it took {longest:.1f} s to end")
        fault.notes["longest time to end"] = f"{longest:.2f} s"


def test_everything_that_may_expire_does(scene: Scene, server: RedisServer, make_fault: MakeFault, size: Size) -> None:
    """
    F23: whenever Redis or a gateway is killed, no limit and no session is left without its time to live.

    Shows ASVS 14.2.7.
    """
    seen = 0
    with make_fault(
        scene, "F23", "Redis, or a gateway too, is killed at any moment; keys without a TTL?", redis_is_away=True
    ) as fault:
        for number in range(size.of(3, 40)):
            with fault.strike(settle_seconds=random.uniform(0.05, 0.4)), contextlib.ExitStack() as stack:
                if number % 5 == 4:
                    stack.enter_context(scene.away(scene.gateways[0]))
                    scene.gateways[0].kill()
                server.kill()
                server.start()
                if number % 5 == 4:
                    scene.gateways[0].start()
                with contextlib.closing(Records(server, scene.prefix)) as records:
                    for key, left_ms in records.keys():
                        kind = key.removeprefix(scene.prefix).partition(":")[0]
                        seen += kind in ("rate", "families", "guess")
                        fault.expect(left_ms != -1 or kind in STAYING, f"no TTL: {key}")
        time.sleep(size.settle_seconds)
        fault.notes["keys looked at"] = str(seen)
        fault.expect(seen > 0, "no key that may expire")
