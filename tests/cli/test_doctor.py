"""The doctor: every fault made on purpose and found, with the line to change; silent where all is right."""

import json
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.doctor import person
from gateway.cli.doctor.asking import Place
from gateway.cli.doctor.cookie_rules import cookie_findings
from gateway.cli.doctor.public_suffixes import is_public_suffix
from gateway.settings import Settings
from tests.certificates import Certificates, make_certificates
from tests.cli.commands import Outcome, assert_refused, here, in_process
from tests.cli.doctored import Answer, Asked, Nginx, OddFront, passed_on
from tests.conftest import quick_environment
from tests.deployments import client_at
from tests.harness import GatewayProcess, RedisServer, command_line, free_port, wait_until
from tests.proxies.conftest import installed
from tests.proxies.echo import EchoApplication
from tests.proxies.fronts import CONFIG, KINDS, Front, Kind, find_program

pytestmark = [
    pytest.mark.redis,
    pytest.mark.skipif(find_program("nginx") is None, reason="nginx is not installed here (package: nginx)"),
]
PASSWORD = "the password of whom the doctor plays"
SESSION_COOKIE = re.compile(r"[A-Za-z0-9_-]{92}")
SHIPPED_FILES_LEAD = any("upstream_http_location" in path.read_text() for path in (CONFIG / "nginx").iterdir())
FINDING = ("fault", "seen", "meaning", "where", "change")


@dataclass
class World:
    """A gateway whose issuer is the front that a test puts on `port`, and an application that shows what it gets."""

    gateway: GatewayProcess
    application: EchoApplication
    port: int

    @property
    def url(self) -> str:
        """The URL that is looked at."""
        return f"http://127.0.0.1:{self.port}/"


def start_gateway(redis_server: RedisServer, directory: Path, port: int, **settings: Any) -> GatewayProcess:
    """Start a gateway behind the front on a port."""
    directory.mkdir(parents=True, exist_ok=True)
    env = quick_environment(
        redis_server.url,
        **{
            "redis_key_prefix": f"doctor{port}:",
            "issuer": f"http://127.0.0.1:{port}",
            "trusted_proxies": "127.0.0.1",
        }
        | settings,
    )
    return GatewayProcess(env, directory / "gateway.log").start()


@pytest.fixture(scope="module")
def world(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Give the world of the faults that are the proxy's."""
    port, application = free_port(), EchoApplication()
    gateway = start_gateway(redis_server, tmp_path_factory.mktemp("doctor"), port)
    yield World(gateway, application, port)
    gateway.stop()
    application.stop()


@pytest.fixture
def settled(redis_server: RedisServer, tmp_path: Path, world: World) -> Iterator[Callable[..., World]]:
    """Give a factory of worlds with settings of their own."""
    made: list[GatewayProcess] = []

    def make(**settings: Any) -> World:
        port = free_port()
        made.append(start_gateway(redis_server, tmp_path / f"gateway-{len(made)}", port, **settings))
        return World(made[-1], world.application, port)

    yield make
    for gateway in made:
        gateway.stop()


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[Callable[..., Nginx]]:
    """Give a factory of nginx in a world, with lines spoilt."""
    started: list[Nginx] = []

    def start(world: World, *spoilt: tuple[str, str], certificates: Certificates | None = None) -> Nginx:
        directory = tmp_path / f"nginx-{len(started)}"
        made = Nginx(directory, world.gateway.port, world.application.port, dict(spoilt), certificates, port=world.port)
        started.append(made)
        return made.start()

    yield start
    for made in started:
        made.stop()


@pytest.fixture
def odd_front() -> Iterator[Callable[[World, Callable[[Asked], Answer | None]], OddFront]]:
    """Give a factory of fronts that do what a test says."""
    started: list[OddFront] = []

    def start(world: World, handle: Callable[[Asked], Answer | None]) -> OddFront:
        started.append(OddFront(handle, world.port))
        return started[-1]

    yield start
    for front in started:
        front.stop()


@pytest.fixture(autouse=True)
def known_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a password that can be looked for in what is printed."""
    monkeypatch.setattr(person, "generate_password", lambda: PASSWORD)


def assert_nobody_is_left(env: dict[str, str]) -> None:
    """See that the person whom the doctor played is gone, with his address and his sessions."""
    with client_at(env["GATEWAY_REDIS_URL"]) as client:
        prefix = env["GATEWAY_REDIS_KEY_PREFIX"]
        left = [key for kind in ("user", "email", "families") for key in client.keys(f"{prefix}{kind}:*")]
        events = [entry for _, entry in client.xrange(f"{prefix}audit")]
    assert left == []
    told = [entry[b"event"] for entry in events if entry.get(b"reason") == b"doctor"]
    assert told.count(b"user_added") == told.count(b"user_removed")


def see_doctor(world: World, *arguments: str, **settings: Any) -> Outcome:
    """Send the doctor in this process, and see that he keeps secrets and leaves nobody behind."""
    env = world.gateway.env | {f"GATEWAY_{name.upper()}": str(value) for name, value in settings.items()}
    outcome = here("doctor", *arguments, env=env)
    for secret in (PASSWORD, env["GATEWAY_SECRET"]):
        assert secret not in outcome.out + outcome.err
    assert not SESSION_COOKIE.search(outcome.out + outcome.err)
    assert_nobody_is_left(env)
    return outcome


def found_by(world: World, *arguments: str, **settings: Any) -> list[dict[str, str]]:
    """Give what the doctor finds, first for people and then for programs."""
    url = [] if arguments and "://" in arguments[-1] else [world.url]
    plain = see_doctor(world, *arguments, *url, **settings)
    outcome = see_doctor(world, "--json", *arguments, *url, **settings)
    assert (outcome.status, outcome.err, plain.status, plain.err) == (1, "", 1, "")
    document = json.loads(outcome.out)
    assert document["ok"] is False
    findings: list[dict[str, str]] = document["findings"]
    for finding in findings:
        assert tuple(finding) == FINDING
        assert all(finding.values())
    assert [finding["change"] for finding in findings] == re.findall(r"^  change   (.*)$", plain.out, re.MULTILINE)
    return findings


def the_one_found_by(world: World, *arguments: str, **settings: Any) -> dict[str, str]:
    """Give the one finding that there is."""
    (finding,) = found_by(world, *arguments, **settings)
    return finding


def gateway_like(world: World, to_application: Callable[[Asked, list[tuple[str, str]]], Answer]) -> Any:
    """Give what a front does that asks the gateway rightly, and then does something of its own with the request."""

    def handle(asked: Asked) -> Answer:
        if asked.target.startswith("/auth/"):
            return passed_on(asked, world.gateway.port, [*asked.headers, ("X-Forwarded-For", "127.0.0.1")])
        question = [pair for pair in asked.headers if pair[0].lower() in ("accept", "cookie", "sec-fetch-mode")]
        question += [("Host", "gateway"), ("X-Forwarded-Proto", "http"), ("X-Forwarded-Host", asked.value("host"))]
        question += [("X-Forwarded-Uri", asked.target), ("X-Forwarded-Method", asked.method)]
        allowed = passed_on(Asked("GET", "/", [], b""), world.gateway.port, question, "/api/authz/forward-auth")
        if allowed[0] != 200:
            return allowed
        given = [(name, value) for name, value in allowed[1] if name.startswith("remote-")]
        ours = re.compile("(remote|x|cookie)([^a-z]|$)", re.IGNORECASE)
        return to_application(asked, [*(pair for pair in asked.headers if not ours.match(pair[0])), *given])

    return handle


# ------------------------------------------------------------------------------------------------------- all is well


def test_nothing_is_said_where_all_is_right(world: World, nginx: Callable[..., Nginx]) -> None:
    nginx(world)
    outcome = in_process("doctor", world.url, env=world.gateway.env)
    assert (outcome.status, outcome.out, outcome.err, outcome.events) == (0, "", "", ())
    assert_nobody_is_left(world.gateway.env)
    documented = in_process("doctor", "--json", world.url + "a/page?of=it", env=world.gateway.env)
    assert documented.document == {"ok": True, "findings": []}


@pytest.mark.skipif(not SHIPPED_FILES_LEAD, reason="the files of config/ lead nobody to the login yet")
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_nothing_is_said_about_the_files_of_config(
    kind: Kind, world: World, settled: Callable[..., World], tmp_path: Path
) -> None:
    """But for Traefik, which cannot take single cookies away."""
    scheme = "https" if kind.always_tls else "http"
    port = free_port()
    gateway = settled(issuer=f"{scheme}://127.0.0.1:{port}").gateway
    with tempfile.TemporaryDirectory(prefix="doctor-") as directory:
        Path(directory).chmod(0o755)  # some proxies run as somebody else
        certificates = make_certificates(Path(directory))
        ports: dict[str, Any] = {"port": port, "tls_port": port} if kind.always_tls else {"port": port}
        front = Front(
            installed(kind), Path(directory) / "front", gateway.port, world.application.port, certificates, **ports
        )
        front.start()
        try:
            outcome = in_process(
                "doctor", "--insecure", "--role", "demo", "--json", f"{scheme}://127.0.0.1:{port}/", env=gateway.env
            )
        finally:
            front.stop()
    faults = [finding["fault"] for finding in json.loads(outcome.out)["findings"]]
    assert not faults, outcome.out


def test_a_front_of_forward_auth_that_does_all_of_it_is_right(world: World, odd_front: Callable[..., OddFront]) -> None:
    odd_front(world, gateway_like(world, lambda asked, headers: passed_on(asked, world.application.port, headers)))
    assert see_doctor(world, world.url).out == ""


def test_its_person_is_told_of_in_the_audit(settled: Callable[..., World], nginx: Callable[..., Nginx]) -> None:
    world = settled()
    nginx(world)
    assert see_doctor(world, world.url).status == 0
    with client_at(world.gateway.env["GATEWAY_REDIS_URL"]) as client:
        entries = [entry for _, entry in client.xrange(f"{world.gateway.env['GATEWAY_REDIS_KEY_PREFIX']}audit")]
    told = {entry[b"event"]: entry.get(b"reason", b"") for entry in entries if b"kid" not in entry}
    assert told == {b"user_added": b"doctor", b"login_succeeded": b"", b"user_removed": b"doctor"}


def test_an_application_that_nobody_reaches_around_the_proxy_is_right(
    world: World, nginx: Callable[..., Nginx]
) -> None:
    nginx(world)
    outcome = see_doctor(world, "--application", f"http://127.0.0.1:{free_port()}", world.url)
    assert (outcome.status, outcome.out) == (0, "")


def test_a_certificate_of_a_test_is_taken_when_told(
    settled: Callable[..., World], nginx: Callable[..., Nginx], tmp_path: Path
) -> None:
    world = settled()
    issuer = f"https://127.0.0.1:{world.port}"
    world.gateway.stop()
    world.gateway.env["GATEWAY_ISSUER"] = issuer
    world.gateway.start()
    nginx(world, certificates=make_certificates(tmp_path))
    assert_refused(see_doctor(world, issuer), 1, issuer, "certificate is not trusted", "--insecure")
    outcome = see_doctor(world, "--insecure", issuer)
    assert (outcome.status, outcome.out, outcome.err) == (0, "", "")


@pytest.mark.parametrize("status", [200, 400, 404, 405, 426, 403])
def test_an_application_without_websockets_is_right(
    world: World, odd_front: Callable[..., OddFront], nginx: Callable[..., Nginx], status: int
) -> None:
    """One that takes no upgrade says anything but a denial; servers of Python say an empty 403."""
    application = odd_front(World(world.gateway, world.application, free_port()), lambda asked: (status, [], b""))
    spoilt = "if ($http_upgrade) { rewrite ^ /upgrade last; } proxy_pass http://127.0.0.1:APP; }\n"
    spoilt += f"location = /upgrade {{ proxy_pass {application.url};"
    nginx(world, ("proxy_pass http://127.0.0.1:APP;", spoilt))
    assert see_doctor(world, world.url).out == ""


# -------------------------------------------------------------------------------------------------------- no redirect


def test_what_is_not_protected_is_told_first(world: World, nginx: Callable[..., Nginx]) -> None:
    nginx(world, ("auth_request /_auth;", ""))
    finding = the_one_found_by(world)
    assert finding["fault"] == "not-protected"
    assert "answers 200" in finding["seen"]
    assert "not protected at all" in finding["meaning"]
    assert finding["where"] == "the proxy's configuration"
    assert finding["change"].startswith("nginx: auth_request /_auth;")


def test_without_the_portal_nobody_is_led(settled: Callable[..., World], nginx: Callable[..., Nginx]) -> None:
    world = settled(portal="off")
    nginx(world, ("error_page 401 = @login;", ""))
    finding = the_one_found_by(world)
    assert finding["fault"] == "no-redirect"
    assert (finding["where"], finding["change"]) == ("the gateway's settings", 'portal = "on"')


def test_a_host_that_no_login_may_lead_to(settled: Callable[..., World], nginx: Callable[..., Nginx]) -> None:
    world = settled(return_hosts="app.example.com")
    nginx(world)
    finding = the_one_found_by(world)
    assert finding["fault"] == "no-redirect"
    assert finding["where"] == "the gateway's settings"
    assert finding["change"] == 'return_hosts = ["app.example.com", "127.0.0.1"]'


def test_a_proxy_that_is_not_trusted(settled: Callable[..., World], nginx: Callable[..., Nginx]) -> None:
    world = settled(trusted_proxies="")
    nginx(world)
    finding = the_one_found_by(world)
    assert finding["fault"] == "no-redirect"
    assert (finding["where"], finding["change"]) == ("the gateway's settings", 'trusted_proxies = ["127.0.0.1"]')


def test_a_proxy_on_this_machine_where_another_one_is_trusted(
    settled: Callable[..., World], nginx: Callable[..., Nginx]
) -> None:
    """Whether 127.0.0.1 is the proxy or this machine the gateway cannot tell: both lines are named."""
    world = settled(trusted_proxies="192.0.2.1")
    nginx(world)
    change = the_one_found_by(world)["change"]
    assert "error_page 401 = @login;" in change
    assert change.endswith('in the gateway\'s settings: trusted_proxies = ["192.0.2.1", "127.0.0.1"]')


def test_a_proxy_behind_the_one_that_is_trusted(settled: Callable[..., World], nginx: Callable[..., Nginx]) -> None:
    """What the gateway takes for the client is a proxy: the one in front of the one that it trusts."""
    world = settled(trusted_proxies="127.0.0.1")
    nginx(
        world,
        ("X-Forwarded-For $remote_addr", "X-Forwarded-For 192.0.2.7"),
        ("proxy_set_header X-Original-URL", "#"),
    )
    finding = the_one_found_by(world)
    assert finding["change"] == 'trusted_proxies = ["127.0.0.1", "192.0.2.7"]'


@pytest.mark.parametrize(
    "spoilt",
    [
        ("error_page 401 = @login;", ""),
        ("proxy_set_header X-Original-URL $scheme://$http_host$request_uri;", ""),
        ("proxy_set_header X-Original-Method $request_method;", ""),
        ("auth_request_set $login $upstream_http_location;", "set $login '';"),
    ],
    ids=["no location", "no address", "no method", "no Location"],
)
def test_a_proxy_that_does_not_lead(world: World, nginx: Callable[..., Nginx], spoilt: tuple[str, str]) -> None:
    nginx(world, spoilt)
    finding = the_one_found_by(world)
    assert finding["fault"] == "no-redirect"
    assert finding["where"] == "the proxy's configuration"
    for line in ("error_page 401 = @login;", "return 302 $login;", "X-Original-URL $scheme://$http_host$request_uri;"):
        assert line in finding["change"]


def test_a_proxy_that_does_not_say_what_is_accepted(world: World, nginx: Callable[..., Nginx]) -> None:
    """Browsers on plain http send no Sec-Fetch-* at all."""
    line = "proxy_set_header X-Original-Method $request_method;"
    nginx(world, (line, f'{line} proxy_set_header Accept "";'))
    finding = the_one_found_by(world)
    assert finding["fault"] == "no-redirect"
    assert "without Sec-Fetch-*" in finding["seen"]
    assert 'proxy_set_header Accept "";' in finding["change"]


@pytest.mark.parametrize(
    ("server", "line"),
    [
        ("Caddy", "Caddy: forward_auth"),
        ("envoy", "Envoy: allowed_headers"),
        ("", "Traefik: authRequestHeaders"),
        ("", "HAProxy: ASKED_WITH"),
        ("Apache/2.4.62 (Debian)", "Apache httpd: ASKED_WITH"),
        ("openresty/1.25", "nginx: auth_request_set"),
        ("somebody else", "docs/proxies.md"),
    ],
)
def test_the_line_is_that_of_the_proxy_that_answers(
    world: World, odd_front: Callable[..., OddFront], server: str, line: str
) -> None:
    def handle(asked: Asked) -> Answer:
        if asked.target.startswith("/auth/"):
            headers = [*asked.headers, ("X-Forwarded-For", "127.0.0.1")]
            return passed_on(asked, world.gateway.port, headers)
        if "gateway_session=" in asked.value("cookie"):
            return 200, [("Server", server)], b"hello"
        return 401, [("Server", server)] if server else [], b""

    odd_front(world, handle)
    finding = the_one_found_by(world)
    assert finding["fault"] == "no-redirect"
    assert line in finding["change"]


def test_a_gateway_that_is_away(world: World, nginx: Callable[..., Nginx]) -> None:
    nginx(world, ("127.0.0.1:GATEWAY/api", f"127.0.0.1:{free_port()}/api"))
    finding = the_one_found_by(world)
    assert finding["fault"] == "gateway-away"
    assert "answers 503" in finding["seen"]
    assert "upstream gateway" in finding["change"]


def test_an_http_address_that_leads_to_https(world: World, odd_front: Callable[..., OddFront]) -> None:
    odd_front(world, lambda asked: (301, [("Location", "https://127.0.0.1/")], b""))
    finding = the_one_found_by(world)
    assert finding["fault"] == "leads-to-https"
    assert finding["change"] == "gateway doctor https://127.0.0.1/"


def test_a_login_of_another_gateway(world: World, odd_front: Callable[..., OddFront]) -> None:
    odd_front(world, lambda asked: (302, [("Location", "https://auth.example.com/auth/login?rd=x")], b""))
    finding = the_one_found_by(world)
    assert finding["fault"] == "other-gateway"
    assert "https://auth.example.com/auth/login" in finding["seen"]
    assert finding["change"].startswith("issuer")


# ----------------------------------------------------------------------------------------------------- return address


@pytest.mark.parametrize(
    ("given", "lost"),
    [
        ("$scheme://$http_host/", "path and query /, not /?a=1&b=%2F%26"),
        ("$scheme://$http_host$uri?$args", "path and query"),
        ("https://$http_host$request_uri", "scheme https, not http"),
        ("$scheme://$host$request_uri", "host 127.0.0.1, not 127.0.0.1:"),
    ],
)
def test_a_return_address_that_got_lost(world: World, nginx: Callable[..., Nginx], given: str, lost: str) -> None:
    nginx(world, ("$scheme://$http_host$request_uri", given))
    url = world.url + ("a%20page" if "$uri" in given else "")
    finding = the_one_found_by(world, url)
    assert finding["fault"] == "return-address"
    assert lost in finding["seen"]
    assert "X-Original-URL $scheme://$http_host$request_uri;" in finding["change"]


# -------------------------------------------------------------------------------------------------------- the cookie


def test_a_cookie_of_another_host(world: World, nginx: Callable[..., Nginx]) -> None:
    nginx(world)
    faults = {finding["fault"]: finding for finding in found_by(world, f"http://localhost:{world.port}/")}
    assert list(faults) == ["no-redirect", "cookie-does-not-arrive"]
    assert "two domains cannot share" in faults["cookie-does-not-arrive"]["change"]
    assert faults["no-redirect"]["change"] == 'return_hosts = ["127.0.0.1", "localhost"]'


@pytest.mark.parametrize(
    ("url", "issuer", "cookie_domain", "line"),
    [
        ("https://app.example.com/", "https://auth.example.com", None, 'cookie_domain = "example.com"'),
        ("https://app.x.example.com/", "https://auth.x.example.com", None, 'cookie_domain = "x.example.com"'),
        ("https://app.example.com/", "https://auth.a.example.com", "a.example.com", 'cookie_domain = "example.com"'),
        ("https://me.duckdns.org/", "https://you.duckdns.org", None, "two domains cannot share"),
        ("https://app.example.org/", "https://auth.example.com", "example.com", "two domains cannot share"),
        (
            "https://app.me.duckdns.org/",
            "https://auth.me.duckdns.org",
            "duckdns.org",
            'cookie_domain = "me.duckdns.org"',
        ),
        ("https://a.example.co.uk/", "https://b.example.co.uk", "co.uk", 'cookie_domain = "example.co.uk"'),
        ("http://app.example.com/", "https://app.example.com", None, "TLS for app.example.com"),
        ("http://10.0.0.1/", "http://10.0.0.2", None, "two domains cannot share"),
    ],
)
def test_a_cookie_that_the_rules_keep_away(url: str, issuer: str, cookie_domain: str | None, line: str) -> None:
    (finding,) = cookie_findings(Place.parse(url), Settings(issuer=issuer, cookie_domain=cookie_domain))
    assert finding.fault == "cookie-does-not-arrive"
    assert line in finding.line


@pytest.mark.parametrize(
    ("url", "issuer", "cookie_domain"),
    [
        ("https://app.example.com/", "https://app.example.com", None),
        ("https://app.example.com:8443/", "https://app.example.com", None),
        ("https://app.example.com/", "https://auth.example.com", "example.com"),
        ("https://example.com/", "https://auth.example.com", "example.com"),
        ("https://me.duckdns.org/", "https://me.duckdns.org", "me.duckdns.org"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8000", None),
    ],
)
def test_a_cookie_that_arrives(url: str, issuer: str, cookie_domain: str | None) -> None:
    assert cookie_findings(Place.parse(url), Settings(issuer=issuer, cookie_domain=cookie_domain)) == []


@pytest.mark.parametrize(
    ("domain", "is_public"),
    [
        ("com", True),
        ("co.uk", True),
        ("duckdns.org", True),
        ("github.io", True),
        ("example.co.uk", False),
        ("example.com", False),
        ("anything.ck", True),  # *.ck
        ("www.ck", False),  # !www.ck
        ("city.kawasaki.jp", False),  # !city.kawasaki.jp, *.kawasaki.jp
        ("other.kawasaki.jp", True),
        ("a.other.kawasaki.jp", False),
        ("xn--55qx5d.cn", True),  # 公司.cn
        ("internal", True),
        ("home.internal", False),
    ],
)
def test_a_public_suffix_is_told_by_the_list(domain: str, is_public: bool) -> None:
    assert is_public_suffix(domain) is is_public


def test_a_proxy_that_keeps_the_cookie(world: World, nginx: Callable[..., Nginx]) -> None:
    line = "proxy_set_header X-Original-Method $request_method;"
    nginx(world, (line, f'{line} proxy_set_header Cookie "";'))
    finding = the_one_found_by(world)
    assert finding["fault"] == "cookie-does-not-arrive"
    assert "alive in Redis" in finding["meaning"]
    assert "proxy_set_header Cookie" in finding["change"]


def test_a_role_that_is_missing(world: World, nginx: Callable[..., Nginx]) -> None:
    nginx(world, ("/api/authz/auth-request;", "/api/authz/auth-request?role=demo;"))
    finding = the_one_found_by(world)
    assert finding["fault"] == "role-missing"
    assert finding["change"] == f"gateway doctor --role ROLE {world.url}"
    assert see_doctor(world, "--role", "staff", "--role", "demo", world.url).out == ""


def test_a_login_that_cannot_be_strong_enough(world: World, nginx: Callable[..., Nginx]) -> None:
    nginx(world, ("/api/authz/auth-request;", "/api/authz/auth-request?amr=mfa;"))
    finding = the_one_found_by(world)
    assert finding["fault"] == "login-too-weak"
    assert "amr=" in finding["change"]


def test_an_application_that_is_away(world: World, nginx: Callable[..., Nginx]) -> None:
    nginx(world, ("127.0.0.1:APP", f"127.0.0.1:{free_port()}"))
    assert the_one_found_by(world)["fault"] == "application-away"


# ----------------------------------------------------------------------------------------------------------- the login


def test_a_login_that_cannot_be_reached(settled: Callable[..., World], nginx: Callable[..., Nginx]) -> None:
    issuer = f"http://127.0.0.1:{free_port()}"
    world = settled(issuer=issuer)
    nginx(world)
    finding = the_one_found_by(world)
    assert finding["fault"] == "login-away"
    assert f"POST {issuer}/auth/login: connection refused" in finding["seen"]
    assert finding["change"].startswith(f'issuer = "{issuer}"')


def test_a_login_that_is_asked_about_itself(world: World, nginx: Callable[..., Nginx]) -> None:
    nginx(world, ("location ^~ /auth/ {\n        auth_request off;", "location ^~ /auth/ {"))
    finding = the_one_found_by(world)
    assert finding["fault"] == "login-away"
    assert "answers 401" in finding["seen"]
    assert "location ^~ /auth/" in finding["change"]


def test_a_login_at_another_gateway(world: World, nginx: Callable[..., Nginx]) -> None:
    nginx(world)
    finding = found_by(world, redis_key_prefix=f"elsewhere{world.port}:")[0]
    assert finding["fault"] == "other-gateway"
    assert finding["where"] == "the gateway's settings"
    assert "redis_key_prefix" in finding["change"]


SECOND_FACTOR = b'{"type":"urn:token-gateway:problem:second-factor-required","methods":[],"pending":"x"}'


@pytest.mark.parametrize(
    ("answer", "fault", "words"),
    [
        ((200, [("Set-Cookie", "gateway_session=of-somebody; Path=/")], b"{}"), "other-gateway", "secret, issuer"),
        ((200, [], b"{}"), "login-away", "no cookie of ours comes along"),
        ((302, [("Location", "/elsewhere?secret=x")], b""), "login-away", "answers 302 to /elsewhere"),
        ((401, [], SECOND_FACTOR), "", ""),
    ],
    ids=["another secret", "no cookie", "a redirect", "a second factor"],
)
def test_what_a_login_may_answer(
    world: World, odd_front: Callable[..., OddFront], answer: Answer, fault: str, words: str
) -> None:
    """Whatever it is, the rest is looked at with a session that was opened in Redis."""
    rest = gateway_like(world, lambda asked, headers: passed_on(asked, world.application.port, headers))
    odd_front(world, lambda asked: answer if asked.target == "/auth/login" else rest(asked))
    if not fault:
        assert see_doctor(world, world.url).out == ""
        return
    finding = the_one_found_by(world)
    assert finding["fault"] == fault
    assert words in finding["seen"] + finding["change"]


def test_too_many_logins(settled: Callable[..., World], nginx: Callable[..., Nginx]) -> None:
    world = settled(login_limit="1/hour")
    nginx(world)
    assert see_doctor(world, world.url).out == ""
    finding = the_one_found_by(world)
    assert finding["fault"] == "rate-limited"
    assert re.search(r"answers 429 \(Retry-After: \d+\)", finding["seen"])


# ----------------------------------------------------------------------------------------------------------- a forger


@pytest.mark.parametrize("name", ["X-Auth-Request-User", "X-Forwarded-Access-Token", "Remote-Access-Token"])
def test_a_header_that_can_be_forged(world: World, nginx: Callable[..., Nginx], name: str) -> None:
    nginx(world, (f'proxy_set_header {name} "";', ""))
    finding = the_one_found_by(world)
    assert finding["fault"] == "forgeable-header"
    assert finding["seen"].endswith(f"as it is: {name}")
    assert finding["change"].startswith(f'nginx: proxy_set_header {name} "";')


def test_all_headers_that_can_be_forged_are_named(world: World, nginx: Callable[..., Nginx]) -> None:
    names = ("X-Forwarded-User", "X-Forwarded-Email")
    nginx(world, *((f'proxy_set_header {name} "";', "") for name in names))
    finding = the_one_found_by(world)
    assert finding["seen"].endswith("as it is: X-Forwarded-User, X-Forwarded-Email")
    assert finding["change"].endswith("likewise X-Forwarded-Email")


@pytest.mark.parametrize(
    ("line", "spoilt", "spelt"),
    [
        ("underscores_in_headers off;", "underscores_in_headers on;", "with _ for -: Remote_User"),
        ("ignore_invalid_headers on;", "ignore_invalid_headers off;", "with . for -: Remote.User"),
    ],
)
def test_a_spelling_that_can_be_forged(
    world: World, nginx: Callable[..., Nginx], line: str, spoilt: str, spelt: str
) -> None:
    nginx(world, (line, spoilt))
    findings = found_by(world)
    assert {finding["fault"] for finding in findings} == {"forgeable-header"}
    assert any(spelt in finding["seen"] for finding in findings)
    for finding in findings:
        assert "underscores_in_headers off; ignore_invalid_headers on;" in finding["change"]


def test_headers_that_a_client_can_have_taken_away(world: World, odd_front: Callable[..., OddFront]) -> None:
    """As proxies do that take away what `Connection` names after they have set it."""

    def careless(asked: Asked, headers: list[tuple[str, str]]) -> Answer:
        named = [word.strip().lower() for word in asked.value("connection").split(",")]
        return passed_on(asked, world.application.port, [pair for pair in headers if pair[0].lower() not in named])

    odd_front(world, gateway_like(world, careless))
    faults = {finding["fault"]: finding for finding in found_by(world)}
    # It takes Upgrade away likewise, since that is what Connection names then.
    assert set(faults) == {"headers-taken-away", "websocket"}
    assert "Connection: Remote-User" in faults["headers-taken-away"]["seen"]


def test_our_cookies_that_reach_the_application(world: World, nginx: Callable[..., Nginx]) -> None:
    nginx(world, ("proxy_set_header Cookie $app_cookies;", ""))
    finding = the_one_found_by(world)
    assert finding["fault"] == "our-cookies"
    assert "gateway_session" in finding["seen"]
    assert "proxy_set_header Cookie $app_cookies;" in finding["change"]


def test_an_application_that_is_reached_around_the_proxy(world: World, nginx: Callable[..., Nginx]) -> None:
    nginx(world)
    address = f"http://127.0.0.1:{world.application.port}"
    finding = the_one_found_by(world, "--application", address, world.url)
    assert finding["fault"] == "around-the-proxy"
    assert address in finding["seen"]
    assert f"127.0.0.1:{world.application.port}" in finding["change"]


def test_whatever_answers_around_the_proxy_is_told(
    world: World, nginx: Callable[..., Nginx], odd_front: Callable[..., OddFront]
) -> None:
    nginx(world)
    refusing = odd_front(World(world.gateway, world.application, free_port()), lambda asked: (403, [], b""))
    assert "answers 403" in the_one_found_by(world, "--application", refusing.url, world.url)["seen"]


# ----------------------------------------------------------------------------------------------------------- a script


def test_a_script_that_is_led_to_the_login(world: World, nginx: Callable[..., Nginx]) -> None:
    login = f"http://127.0.0.1:{world.port}/auth/login"
    nginx(world, ('if ($login = "") { return 401; }', f'if ($login = "") {{ return 302 {login}; }}'))
    finding = the_one_found_by(world)
    assert finding["fault"] == "xhr"
    assert "answers 302" in finding["seen"]
    assert 'if ($login = "") { return 401; }' in finding["change"]


@pytest.mark.parametrize(
    ("line", "spoilt"),
    [
        ("proxy_set_header Upgrade $app_upgrade;", 'proxy_set_header Upgrade "";'),
        ("proxy_pass http://127.0.0.1:APP;", "if ($http_upgrade) { return 403; } proxy_pass http://127.0.0.1:APP;"),
        ("proxy_pass http://127.0.0.1:APP;", "if ($http_upgrade) { return 502; } proxy_pass http://127.0.0.1:APP;"),
        ("proxy_pass http://127.0.0.1:APP;", "if ($http_upgrade) { return 444; } proxy_pass http://127.0.0.1:APP;"),
    ],
    ids=["without Upgrade", "403", "502", "cut"],
)
def test_a_websocket_that_does_not_pass(world: World, nginx: Callable[..., Nginx], line: str, spoilt: str) -> None:
    nginx(world, (line, spoilt))
    finding = the_one_found_by(world)
    assert finding["fault"] == "websocket"
    assert "proxy_set_header Upgrade $app_upgrade;" in finding["change"]


@pytest.mark.parametrize(
    ("line", "spoilt"),
    [
        ("client_max_body_size 0;\n    auth", "client_max_body_size 1m;\n    auth"),
        (
            "proxy_pass http://127.0.0.1:APP;",
            "if ($request_method = POST) { return 502; } proxy_pass http://127.0.0.1:APP;",
        ),
        (
            "proxy_pass http://127.0.0.1:APP;",
            "if ($request_method = POST) { return 444; } proxy_pass http://127.0.0.1:APP;",
        ),
    ],
    ids=["413", "502", "cut"],
)
def test_an_upload_that_does_not_pass(world: World, nginx: Callable[..., Nginx], line: str, spoilt: str) -> None:
    nginx(world, (line, spoilt))
    finding = the_one_found_by(world)
    assert finding["fault"] == "upload"
    assert "client_max_body_size 0;" in finding["change"]


def test_an_application_that_takes_no_such_form_is_right(world: World, nginx: Callable[..., Nginx]) -> None:
    """A form without the secret of a page of its own gets 403, large or small."""
    nginx(
        world, ("proxy_pass http://127.0.0.1:APP;", "limit_except GET { deny all; } proxy_pass http://127.0.0.1:APP;")
    )
    assert see_doctor(world, world.url).out == ""


# ------------------------------------------------------------------------------------------- nothing there, and an end


def test_an_address_where_nothing_answers(world: World) -> None:
    url = f"http://127.0.0.1:{free_port()}/"
    assert_refused(see_doctor(world, url), 1, url, "connection refused")
    assert_refused(see_doctor(world, "http://no-such-name.invalid/"), 1, "no-such-name.invalid is not known", "DNS")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/"
        begun = time.monotonic()
        assert_refused(see_doctor(world, url), 1, url, "nothing comes within 5 s")
        assert time.monotonic() - begun < 9


def test_an_address_that_speaks_no_tls(world: World, nginx: Callable[..., Nginx]) -> None:
    nginx(world)
    assert_refused(see_doctor(world, f"https://127.0.0.1:{world.port}/"), 1, "no TLS is spoken there", "http://")


@pytest.mark.parametrize(
    "url",
    ["app.example.com", "ftp://app.example.com/", "https:///", "https://a b/", "http://h:99999/", "https://u:p@h/", ""],
)
def test_a_url_that_is_none(world: World, url: str) -> None:
    assert_refused(see_doctor(world, url), 2, "is no URL")


def test_a_role_that_is_none(world: World) -> None:
    assert_refused(see_doctor(world, "--role", "No Role", world.url), 1, "'No Role' is not a role")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nobody_is_left_when_it_is_interrupted(
    world: World, odd_front: Callable[..., OddFront], number: signal.Signals
) -> None:
    """It waits for a page that does not come when it is told to end."""
    asked_with_session: list[Asked] = []

    def handle(asked: Asked) -> Answer | None:
        if asked.target.startswith("/auth/"):
            return passed_on(asked, world.gateway.port)
        if "gateway_session=" not in asked.value("cookie"):
            return 401, [], b""
        asked_with_session.append(asked)
        return None

    odd_front(world, handle)
    process = subprocess.Popen(
        command_line("doctor", world.url),
        env=world.gateway.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: bool(asked_with_session), 20)
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (1, "", "gateway: interrupted\n")
    assert_nobody_is_left(world.gateway.env)


def test_a_person_who_could_not_be_removed_is_named(
    own_redis: Callable[..., RedisServer], world: World, odd_front: Callable[..., OddFront]
) -> None:
    """Redis goes away in the middle."""
    server = own_redis()
    env = world.gateway.env | {"GATEWAY_REDIS_URL": server.url}

    def handle(asked: Asked) -> Answer:
        if asked.method == "POST" and server.answers():
            server.kill()
        return 401, [], b""

    odd_front(world, handle)
    outcome = here("doctor", world.url, env=env)
    assert_refused(outcome, 1, "could not be removed", "gateway users remove doctor-", "@gateway.invalid")
