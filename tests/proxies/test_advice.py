"""What docs/proxies.md advises and warns of, put into the shipped files."""

import re
import shutil
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness import GatewayProcess, Login
from tests.proxies import fronts
from tests.proxies.conftest import installed
from tests.proxies.echo import EchoApplication
from tests.proxies.fronts import KINDS, Front
from tests.proxies.test_page import PAGE


@pytest.fixture
def change_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str, str], None]:
    """Give what changes a file of config/ for the proxies that this test starts."""
    copy = tmp_path / "config"
    shutil.copytree(fronts.CONFIG, copy)
    monkeypatch.setattr(fronts, "CONFIG", copy)

    def change(name: str, shown: str, changed: str) -> None:
        text = (copy / name).read_text()
        assert text.count(shown) == 1
        (copy / name).write_text(text.replace(shown, changed))

    return change


def kind(name: str) -> fronts.Kind:
    return installed(next(kind for kind in KINDS if kind.name == name))


def test_nginx_answers_preflights_as_advised_and_nothing_else(
    change_file: Callable[[str, str, str], None],
    make_front: Callable[..., Front],
    asked: GatewayProcess,
    login: Login,
    application: EchoApplication,
) -> None:
    nginx = kind("nginx")
    (snippet,) = re.findall(r"```nginx\n(.*?)```", PAGE, re.DOTALL)
    file = (fronts.CONFIG / "nginx/token-gateway.conf").read_text()
    (location,) = re.findall(r"^    location / \{\n.*?^    \}\n", file, re.MULTILINE | re.DOTALL)
    change_file("nginx/token-gateway.conf", location, textwrap.indent(textwrap.dedent(snippet), "    "))
    front = make_front(nginx, asked)
    preflight = {"Origin": "https://www.example.com", "Access-Control-Request-Method": "POST"}
    before = application.requests
    answer = front.ask("/page", preflight, method="OPTIONS")
    assert answer.status == 204
    assert answer.values("Access-Control-Allow-Origin") == ["https://www.example.com"]
    assert front.ask("/page", {"Origin": "https://www.example.com"}).status == 401
    assert application.requests == before
    assert front.ask("/page", login.bearer).status == 200


@pytest.mark.parametrize(
    ("line", "status"), [("redir * /login?from={uri} 302", 302), ("redir /login?from={uri} 302", 200)]
)
def test_caddy_takes_a_path_after_redir_for_a_matcher(
    line: str,
    status: int,
    change_file: Callable[[str, str, str], None],
    make_front: Callable[..., Front],
    asked: GatewayProcess,
) -> None:
    """The page warns of it: the second line lets everybody in."""
    caddy = kind("caddy")
    shown = "copy_headers Remote-User Remote-Groups Remote-Name Remote-Email Remote-Sub\n"
    handled = f"@denied status 401\nhandle_response @denied {{\n{line}\n}}\n"
    change_file("caddy/Caddyfile", shown, shown + handled)
    answer = make_front(caddy, asked).ask("/page")
    assert answer.status == status
    assert (answer.seen is not None) is (status == 200)
