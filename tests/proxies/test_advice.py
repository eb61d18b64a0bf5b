"""What docs/proxies.md advises and warns of, put into the shipped files."""

import re
import shutil
import textwrap
from collections.abc import Callable
from pathlib import Path

import jwt
import pytest

from tests.certificates import SITE
from tests.harness import GatewayProcess, Login
from tests.proxies import fronts
from tests.proxies.conftest import installed, sign_in
from tests.proxies.echo import EchoApplication
from tests.proxies.fronts import ISSUER, KINDS, LOGIN_HOST, OTHER_SITE, Front
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


COPIED = "copy_headers Remote-User Remote-Groups Remote-Name Remote-Email Remote-Sub"
LAST = "header_up Remote-Access-Token {http.request.header.Remote-Access-Token}"
# What each file says is to be changed, as (file, what stands there, what it becomes). Envoy's questions have no query.
TOKEN: dict[str, list[tuple[str, str, str]]] = {
    "nginx": [("nginx/protected.conf", '"role=demo"', f'"role=demo&token={ISSUER}"')],
    "caddy": [
        ("caddy/Caddyfile", "role={http.vars.role}", f"role={{http.vars.role}}&token={ISSUER}"),
        ("caddy/Caddyfile", COPIED, f"{COPIED} Remote-Access-Token"),
        ("caddy/Caddyfile", f"# {LAST}", LAST),
    ],
    "haproxy": [("haproxy/haproxy.cfg", "role=demo        #", f"role=demo&token={ISSUER} #")],
    "traefik": [("traefik/dynamic.yml", "role=demo", f"role=demo&token={ISSUER}")],
    "apache": [("apache/protected.conf", "requires=role=demo", f"requires=role=demo&token={ISSUER}")],
}


@pytest.mark.parametrize("name", TOKEN)
def test_an_application_gets_an_access_token_of_its_own_where_the_file_asks_for_one(
    name: str,
    change_file: Callable[[str, str, str], None],
    make_front: Callable[..., Front],
    asked: GatewayProcess,
) -> None:
    """And never the client's, nor an empty one beside it."""
    proxy = kind(name)
    for change in TOKEN[name]:
        change_file(*change)
    front = make_front(proxy, asked, tls=True)
    user = asked.add_user(roles=("demo",))
    cookie = sign_in(front, user)
    for forged in ({}, {"Remote-Access-Token": "forged"}, {"remote_access_token": "forged"}):
        seen = front.ask("/page", {"Cookie": cookie} | forged).seen
        assert seen
        (token,) = seen.values("Remote-Access-Token")
        claims = jwt.decode(token, options={"verify_signature": False})
        assert (claims["aud"], claims["sub"]) == (ISSUER, user.user_id)


ADDRESS = "#sso     ProxyPass / http://127.0.0.1:3001/"
ASK = "#sso     http-request lua.ask_gateway role="
# How one application of several lets in others than the rest do.
OTHERS: dict[str, tuple[str, str, str]] = {
    "nginx": ("nginx/token-gateway.conf", '# set $requires "role=staff"', 'set $requires "role=staff"'),
    "caddy": ("caddy/Caddyfile", "# vars role staff", "vars role staff"),
    "haproxy": ("haproxy/haproxy.cfg", f"{ASK}demo", f"{ASK}staff"),
    "apache": (
        "apache/token-gateway.conf", ADDRESS, f"#sso     SetEnvIfExpr true requires=role=staff\n{ADDRESS}"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_an_application_says_for_itself_who_may_come_in(
    name: str,
    change_file: Callable[[str, str, str], None],
    make_front: Callable[..., Front],
    signed_on: GatewayProcess,
) -> None:
    proxy = kind(name)
    change_file(*OTHERS[name])
    front = make_front(proxy, signed_on, tls=True, sso=True)
    for role, statuses in (("demo", [200, 403]), ("staff", [403, 200])):
        cookie = {"Cookie": sign_in(front, signed_on.add_user(roles=(role,)), host=LOGIN_HOST)}
        assert [front.ask("/page", cookie, host=host).status for host in (SITE, OTHER_SITE)] == statuses
