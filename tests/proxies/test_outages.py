"""What the proxies do when Redis or the gateway is away: nobody gets in who should not, and it heals by itself."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.certificates import Certificates
from tests.deployments import RedisOfTests
from tests.harness import GatewayProcess, Login, RedisServer, wait_until
from tests.proxies.conftest import Signer, installed, log_in, log_out, start_gateway
from tests.proxies.echo import EchoApplication
from tests.proxies.fronts import KINDS, Front, Kind


@dataclass
class Scene:
    """A gateway with a Redis of its own, a living and an ended session, and proxies that start when first asked for."""

    redis: RedisServer
    gateway: GatewayProcess
    living: Login
    ended: Login
    make: Callable[[Kind], Front]
    fronts: dict[str, Front] = field(default_factory=dict)

    def front(self, kind: Kind) -> Front:
        """Give the proxy of this kind."""
        if kind.name not in self.fronts:
            self.fronts[kind.name] = self.make(kind)
        return self.fronts[kind.name]


@pytest.fixture(scope="module")
def make_scene(
    signer: Signer,
    application: EchoApplication,
    certificates: Certificates,
    place: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[], Scene]]:
    """Give a factory of scenes, with a proxy of each kind that is installed."""
    made: list[Scene] = []

    def make() -> Scene:
        directory = tmp_path_factory.mktemp("scene")
        redis = RedisOfTests(directory / "redis").start()
        gateway = start_gateway(redis, directory / "gateway", signer)
        living, ended = log_in(gateway), log_in(gateway)
        log_out(gateway, ended)

        def front(kind: Kind) -> Front:
            return Front(kind, place / directory.name / str(kind), gateway.port, application.port, certificates).start()

        scene = Scene(redis, gateway, living, ended, front)
        made.append(scene)
        (place / directory.name).mkdir()
        for kind in KINDS:
            if kind.program is not None:
                scene.front(kind)
        return scene

    yield make
    for scene in made:
        for running in scene.fronts.values():
            running.stop()
        scene.gateway.stop()
        scene.redis.stop()


@pytest.fixture(scope="module")
def without_redis(make_scene: Callable[[], Scene]) -> Scene:
    """Give a scene whose Redis was killed."""
    scene = make_scene()
    scene.redis.kill()
    return scene


@pytest.fixture(scope="module")
def without_gateway(make_scene: Callable[[], Scene]) -> Scene:
    """Give a scene whose gateway was killed. Each proxy has asked it before."""
    scene = make_scene()
    for running in scene.fronts.values():
        assert running.ask("/page", scene.living.bearer).status == 200
    scene.gateway.kill()
    return scene


@pytest.fixture(scope="module")
def returned(make_scene: Callable[[], Scene]) -> Scene:
    """Give a scene whose gateway was killed, asked in vain, and started again."""
    scene = make_scene()
    scene.gateway.kill()
    for running in scene.fronts.values():
        assert running.ask("/page").status in (401, running.kind.gateway_away)
    scene.gateway.start()
    return scene


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_redis_away_every_answer_is_the_same(kind: Kind, without_redis: Scene, application: EchoApplication) -> None:
    """F1, T8."""
    front = without_redis.front(installed(kind))
    before = application.requests
    assert front.ask("/page").status == 401
    assert front.ask("/page", {"Authorization": "Bearer bad"}).status == 401
    assert front.ask("/page", without_redis.ended.bearer).status == 401
    assert application.requests == before
    assert front.ask("/page", without_redis.living.bearer).status == 200
    login = front.ask(
        "/auth/login", {"Content-Type": "application/json"}, method="POST", body=b'{"username":"a","password":"b"}'
    )
    assert login.status == 503


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_gateway_away_nobody_reaches_the_application(
    kind: Kind, without_gateway: Scene, application: EchoApplication
) -> None:
    front = without_gateway.front(installed(kind))
    before = application.requests
    for headers in ({}, {"Authorization": "Bearer bad"}, without_gateway.ended.bearer, without_gateway.living.bearer):
        assert front.ask("/page", headers).status == kind.gateway_away
    assert application.requests == before


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_gateway_comes_back_and_nothing_has_to_be_restarted(kind: Kind, returned: Scene) -> None:
    front = returned.front(installed(kind))
    wait_until(lambda: front.ask("/page", returned.living.bearer).status == 200, 20, f"{kind} to ask again")
    assert front.ask("/page").status == 401
