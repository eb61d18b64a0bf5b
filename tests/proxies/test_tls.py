"""The files of config/ with the marks of TLS taken away, as they tell."""

import re
from collections.abc import Callable

import pytest

from tests.harness import GatewayProcess, Login
from tests.proxies.echo import EchoApplication
from tests.proxies.fronts import KINDS, Front, Kind


@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.always_tls], ids=str)
def test_without_the_marks_the_file_serves_tls(
    kind: Kind, make_front: Callable[..., Front], asked: GatewayProcess, login: Login, application: EchoApplication
) -> None:
    front = make_front(kind, asked, tls=True)
    before = application.requests
    refused = front.ask("/page")
    assert refused.status == 401
    assert application.requests == before
    allowed = front.ask("/page", login.bearer)
    assert allowed.status == 200
    assert allowed.seen
    assert allowed.seen.values("X-Forwarded-Proto") == ["https"]
    assert allowed.seen.values("Remote-User") == [login.user.email]
    for answer in (refused, allowed, front.ask("/.well-known/jwks.json")):
        (policy,) = answer.values("Strict-Transport-Security")
        assert int(re.findall(r"max-age=(\d+)", policy)[0]) >= 31_536_000
        assert "includeSubDomains" in policy
