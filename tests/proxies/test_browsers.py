"""People behind every proxy: led to the login and back, let in by a browser session, and nothing of it in their way."""

import base64
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, unquote, urlencode

import pytest

from tests.certificates import SITE, Certificates
from tests.harness import GatewayProcess, TestUser, wait_until
from tests.proxies.conftest import sign_in, standing
from tests.proxies.echo import EchoApplication, Seen
from tests.proxies.fronts import ISSUER, KINDS, LOGIN_HOST, OTHER_SITE, Answer, Front

DEEP = "/a%20b/?q=1&x=%2F%26&y="
HTML = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
FORM = "application/x-www-form-urlencoded"
HANDSHAKE = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
HANDSHAKE |= {"Sec-WebSocket-Key": base64.b64encode(b"0123456789abcdef").decode()}
Asked = tuple[str, dict[str, str]]
# What Chromium and others send, as (method, headers).
NAVIGATIONS: dict[str, Asked] = {
    "navigation": ("GET", {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Accept": HTML}),
    "navigation by HEAD": ("HEAD", {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Accept": HTML}),
    "frame": ("GET", {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe", "Accept": HTML}),
    "old browser": ("GET", {"Accept": HTML}),
}
OTHERS: dict[str, Asked] = {
    "fetch": ("GET", {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty", "Accept": "*/*"}),
    "fetch for a page": ("GET", {"Sec-Fetch-Mode": "same-origin", "Sec-Fetch-Dest": "empty", "Accept": HTML}),
    "XHR post": ("POST", {"Sec-Fetch-Mode": "cors", "Accept": "*/*", "Content-Type": FORM}),
    "image": ("GET", {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image", "Accept": "image/avif,*/*;q=0.8"}),
    "script": ("GET", {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script", "Accept": "*/*"}),
    "WebSocket": ("GET", HANDSHAKE | {"Sec-Fetch-Mode": "websocket", "Origin": ISSUER}),
    "WebSocket of an old browser": ("GET", HANDSHAKE | {"Origin": ISSUER}),
    "prefetch": ("GET", {"Sec-Fetch-Mode": "no-cors", "Sec-Purpose": "prefetch", "Accept": HTML}),
    "prerender": ("GET", {"Sec-Fetch-Mode": "navigate", "Sec-Purpose": "prefetch;prerender", "Accept": HTML}),
    "server-sent events": ("GET", {"Sec-Fetch-Mode": "cors", "Accept": "text/event-stream"}),
    "API": ("PUT", {"Accept": "application/json", "Content-Type": "application/json"}),
    "curl": ("GET", {"Accept": "*/*", "User-Agent": "curl/7.88.1"}),
}
FORMS: dict[str, Asked] = {
    "form": ("POST", {"Sec-Fetch-Mode": "navigate", "Accept": HTML, "Content-Type": FORM}),
    "upload": (
        "POST", {"Sec-Fetch-Mode": "navigate", "Accept": HTML, "Content-Type": "multipart/form-data; boundary=x"}
    ),
    "form of an old browser": ("POST", {"Accept": HTML, "Content-Type": FORM}),
}  # fmt: skip
NAVIGATION = NAVIGATIONS["navigation"][1]


@pytest.fixture(scope="session", params=KINDS, ids=str)
def several_hosts(
    request: pytest.FixtureRequest,
    signed_on: GatewayProcess,
    application: EchoApplication,
    certificates: Certificates,
    place: Path,
) -> Iterator[Front]:
    """Give each proxy in turn, with TLS: two applications and the login on hosts of their own; never stop it."""
    kind = request.param
    directory = place / f"{kind}-several-hosts"
    with standing(kind, directory, signed_on, application, certificates, tls=True, sso=True) as running:
        yield running


@pytest.fixture(scope="session")
def person(asked: GatewayProcess) -> TestUser:
    """Give somebody who may come in."""
    return asked.add_user(roles=("demo", "staff"))


@pytest.fixture
def session(tls_front: Front, person: TestUser) -> str:
    """Give the cookie of a browser session."""
    return sign_in(tls_front, person)


def send(front: Front, asked: Asked, *, target: str = DEEP, more: dict[str, str] | None = None) -> Answer:
    """Send a request, with a body where its method has one."""
    method, headers = asked
    body = b"a=b" if method in ("POST", "PUT") else None
    if headers.get("Upgrade") and more:
        return shake_hands(front, target, headers | more)
    return front.ask(target, headers | (more or {}), method=method, body=body)


def shake_hands(front: Front, target: str, headers: dict[str, str]) -> Answer:
    """Offer a WebSocket and give the status of the answer, without a body."""
    head = f"GET {target} HTTP/1.1\r\nHost: {SITE}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"
    with front.connect() as connection:
        connection.sendall(head.encode())
        return Answer(int(connection.recv(65536).split(b" ")[1]), [], b"")


def login_at(url: str, issuer: str = ISSUER) -> str:
    """Give the address of the login that leads back to a URL."""
    return f"{issuer}/auth/login?rd={quote(url, safe='')}"


# --------------------------------------------------------------------------------------------------- without a session


@pytest.mark.parametrize("name", NAVIGATIONS)
def test_a_browser_that_opens_a_page_is_led_to_the_login_and_back_to_the_very_url(
    name: str, tls_front: Front, application: EchoApplication
) -> None:
    before = application.requests
    answer = send(tls_front, NAVIGATIONS[name])
    assert answer.status == 302
    assert answer.values("Location") == [login_at(ISSUER + DEEP)]
    assert answer.values("Cache-Control") == ["no-store"]
    assert {"Cookie", "Accept", "Sec-Fetch-Mode"} <= set(",".join(answer.values("Vary")).replace(" ", "").split(","))
    assert application.requests == before


@pytest.mark.parametrize("target", ["/", "/?", "/a?b?c=/&d=%C3%A9", "/%C3%A9/a%2Fb;c=d?e=f+g%20h", "/a/?x=a'b(c)*~!"])
def test_whatever_the_url_is_it_comes_back_byte_for_byte(target: str, tls_front: Front) -> None:
    if tls_front.kind.name == "envoy":
        target = target.removesuffix("?")  # which of the two it was ASGI does not tell
    assert send(tls_front, NAVIGATIONS["navigation"], target=target).values("Location") == [login_at(ISSUER + target)]


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_page_gets_the_bare_401(name: str, tls_front: Front, application: EchoApplication) -> None:
    """A script would run into CORS errors, and an image be broken."""
    before = application.requests
    answer = send(tls_front, OTHERS[name])
    assert answer.status == 401
    assert not answer.values("Location")
    (challenge,) = answer.values("WWW-Authenticate")
    assert challenge.startswith("Bearer")
    assert "no-store" in answer.values("Cache-Control")
    assert application.requests == before


def page_of(gateway: GatewayProcess, asked: Asked, **more: str) -> bytes:
    """Give what the gateway itself says to a proxy about a request."""
    method, headers = asked
    said = {"X-Forwarded-Method": method, "X-Forwarded-Proto": "https", "X-Forwarded-Host": SITE}
    with gateway.client() as client:
        answer = client.get("/api/authz/forward-auth?role=demo", headers=headers | said | more)
        assert answer.headers["Content-Type"].startswith("text/html")
        return answer.content


@pytest.mark.parametrize("name", FORMS)
def test_a_form_is_told_that_it_was_not_sent(
    name: str, tls_front: Front, asked: GatewayProcess, application: EchoApplication
) -> None:
    """By a redirect what was typed would be lost."""
    before = application.requests
    answer = send(tls_front, FORMS[name])
    assert answer.status == 401
    assert not answer.values("Location")
    assert answer.values("WWW-Authenticate")
    assert "text/html" in answer.values("Content-Type")[0]
    if tls_front.kind.name != "nginx":
        assert answer.body == page_of(asked, FORMS[name], **{"X-Forwarded-Uri": DEEP})
    assert application.requests == before


FORGED = {
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Proto": "http",
    "X-Forwarded-Uri": "/elsewhere",
    "X-Forwarded-Method": "POST",
    "X-Forwarded-Port": "66",
    "X-Forwarded-Prefix": "/elsewhere",
    "X-Original-URL": "https://other.example.com/elsewhere",
    "X-Original-Method": "POST",
    "X-Original-Host": "evil.example",
    "X-Original-Uri": "/elsewhere",
    "X-Rewrite-Url": "/elsewhere",
    "X-Envoy-Original-Path": "/elsewhere",
    "Forwarded": "host=evil.example;proto=http",
}


def test_what_a_client_says_of_the_url_changes_nothing(tls_front: Front) -> None:
    for name, value in FORGED.items():
        for spelt in (name, name.lower(), name.replace("-", "_")):
            answer = tls_front.ask(DEEP, [*NAVIGATION.items(), (spelt, value)])
            assert answer.values("Location") == [login_at(ISSUER + DEEP)], spelt
        twice = [*NAVIGATION.items(), (name, value), (name, value)]
        assert tls_front.ask(DEEP, twice).values("Location") == [login_at(ISSUER + DEEP)], name
    answer = tls_front.ask(DEEP, FORGED | NAVIGATION)
    assert (answer.status, answer.values("Location")) == (302, [login_at(ISSUER + DEEP)])
    # Nor does it make a navigation of what is none.
    for method in ("POST", "PUT"):
        answer = tls_front.ask(DEEP, {"X-Forwarded-Method": "GET", "X-Original-Method": "GET"}, method=method, body=b"")
        assert answer.status == 401
        assert not answer.values("Location")


TRICKS = [
    "//evil.example/", "///evil.example", "/\\evil.example", "/.evil.example", "/@evil.example", "/%5c%5cevil.example",
    "/%2f%2fevil.example/", "/?rd=https://evil.example/", "/auth/login?rd=https://evil.example/",
    "https://evil.example/", "http://evil.example/", "/..//evil.example", "/;@evil.example", "/%09/evil.example",
]  # fmt: skip


def test_no_url_leads_to_another_site(tls_front: Front, application: EchoApplication) -> None:
    before = application.requests
    for target in TRICKS:
        for host in (SITE, "evil.example", f"{SITE}.evil.example", f"{SITE}@evil.example", f"evil.example/{SITE}"):
            for location in tls_front.ask(target, NAVIGATION, host=host).values("Location"):
                if location.startswith(f"{ISSUER}/auth/login?rd="):
                    back = unquote(location.partition("?rd=")[2])
                    assert back.startswith(f"{ISSUER}/"), (target, host, location)
                else:  # a proxy that tidies up, on its own host
                    assert location.startswith("/"), (target, host, location)
                    assert not location.startswith(("//", "/\\")), (target, host, location)
    assert application.requests == before


def test_who_lacks_the_role_is_not_led_to_the_login(tls_front: Front, asked: GatewayProcess) -> None:
    """It would lead straight back: a loop."""
    cookie = sign_in(tls_front, asked.add_user(roles=("staff",)))
    answer = send(tls_front, NAVIGATIONS["navigation"], more={"Cookie": cookie})
    assert answer.status == 403
    assert not answer.values("Location")
    if tls_front.kind.name not in ("nginx", "envoy"):
        assert answer.body == page_of(asked, NAVIGATIONS["navigation"], Cookie=cookie, **{"X-Forwarded-Uri": DEEP})


# ------------------------------------------------------------------------------------------------------ with a session


@pytest.mark.parametrize("name", NAVIGATIONS | OTHERS | FORMS)
def test_with_a_session_everything_passes(name: str, tls_front: Front, session: str) -> None:
    answer = send(tls_front, (NAVIGATIONS | OTHERS | FORMS)[name], more={"Cookie": session})
    assert answer.status == (101 if "WebSocket" in name else 200)
    assert answer.status == 101 or answer.seen or name == "navigation by HEAD"
    if answer.seen:
        assert answer.seen.target == DEEP


def seen(front: Front, headers: list[tuple[str, str]]) -> Seen:
    """Give what the application saw of a request that it got."""
    answer = front.ask(DEEP, headers)
    assert answer.seen, answer.status
    return answer.seen


def test_the_application_learns_who_it_is(tls_front: Front, session: str, person: TestUser) -> None:
    told = seen(tls_front, [("Cookie", session)])
    assert told.values("Remote-User") == [person.email]
    assert told.values("Remote-Groups") == ["demo,staff"]
    assert told.values("Remote-Sub") == [person.user_id]


@pytest.mark.parametrize("own", ["Basic dXNlcjpwYXNzd29yZA==", "Bearer of-the-application-s-own", "Digest username=x"])
def test_an_authorization_of_the_application_s_own_reaches_it(own: str, tls_front: Front, session: str) -> None:
    told = seen(tls_front, [("Cookie", session), ("Authorization", own)])
    assert told.values("Authorization") == [own]


OURS = (
    "gateway_session", "__Secure-gateway_session", "access_token", "refresh_token", "__Secure-refresh_token",
    "known_device", "__Secure-known_device",
)  # fmt: skip
# Pairs of the application's own, which must arrive as they are.
OWN = (
    "a=1", "b=x=y==", 'quoted="a b, c"', "empty=", "gateway_session2=x", "my_gateway_session=x", "access_tokens=x",
    "x=gateway_session=y", "__Host-access_token=x", "Access_Token=x", "-gateway_session=x",
    "url=https%3A%2F%2Fa.example", "flag", "unicode=\xe9", "a=1",
)  # fmt: skip


def cookie_headers(session: str) -> dict[str, list[str]]:
    """Give ways in which cookies come, as the values of one or more Cookie headers."""
    ours = [session, *(f"{name}=x" for name in OURS)]
    return {
        "ours alone": [session],
        "ours first": ["; ".join([*ours, *OWN])],
        "ours in the middle": ["; ".join([*OWN[:5], *ours, *OWN[5:]])],
        "ours last": ["; ".join([*OWN, *ours])],
        "one of ours between any two": ["; ".join([OWN[0], session, OWN[1], ours[1], OWN[2], ours[3], OWN[3]])],
        "without blanks": [";".join([OWN[0], session, OWN[1], ours[1], OWN[2]])],
        "with tabs and blanks": [f"{OWN[0]} ;\t{session}  ;  {OWN[1]}"],
        "a blank before the equals sign": [f"a=1; {session}; known_device =x; b=2"],
        "twice": [f"a=1; refresh_token=x; b=2; refresh_token=y; {session}; c=3"],
        "two headers": [f"a=1; {session}", "b=2; known_device=x; c=3"],
        "a header of ours alone": [session, "a=1; b=2"],
        "an end without a pair": [f"a=1; {session};"],
        "long": [f"long={'x' * 12_000}; {session}; also={'y;' * 3_000}"],
        "many": ["; ".join([*(f"n{number}=v{number}" for number in range(300)), session])],
    }


@pytest.mark.parametrize("way", cookie_headers("x=y"))
def test_our_cookies_stay_and_the_application_s_own_arrive(way: str, tls_front: Front, session: str) -> None:
    """Shows ASVS 10.1.1."""
    headers = cookie_headers(session)[way]
    if len(headers) > 1 and tls_front.kind.name in ("envoy", "apache"):
        # No browser sends two (RFC 6265, section 5.4); these ask with a comma between them.
        assert tls_front.ask(DEEP, [("Cookie", value) for value in headers]).status == 401
        return
    arrived = "; ".join(seen(tls_front, [("Cookie", value) for value in headers]).values("Cookie"))
    names = {session.partition("=")[0], *OURS}
    sent = [pair.strip(" \t") for value in headers for pair in value.split(";")]
    expected = [pair for pair in sent if pair.partition("=")[0].strip(" \t") not in names]
    assert [pair for pair in map(str.strip, arrived.split(";")) if pair] == [pair for pair in expected if pair]
    assert session.partition("=")[2] not in arrived


def test_cookies_that_a_browser_sends_in_crumbs_are_told_apart_too(tls_front: Front, session: str) -> None:
    """RFC 9113, section 8.2.3."""
    crumbs = ["a=1", session, "b=x=y==", "known_device=x", "c=3"]
    answer = tls_front.ask_over_http2(DEEP, [("Cookie", crumb) for crumb in crumbs])
    assert answer.seen
    arrived = [pair.strip() for value in answer.seen.values("Cookie") for pair in value.split(";") if pair.strip()]
    assert arrived == ["a=1", "b=x=y==", "c=3"]


TOKENS = ("Remote-Access-Token", "X-Auth-Request-Access-Token", "X-Forwarded-Access-Token")


@pytest.mark.parametrize("name", TOKENS)
def test_an_access_token_that_the_client_sends_is_not_the_gateway_s(name: str, tls_front: Front, session: str) -> None:
    for spelt in (name, name.lower(), name.replace("-", "_"), name.replace("-", ".")):
        told = seen(tls_front, [("Cookie", session), (spelt, "forged"), (spelt, "forged")])
        assert not [value for header, value in told.headers if "forged" in value], spelt


# --------------------------------------------------------------------------------------------- several hosts, one login


@pytest.mark.parametrize("host", [SITE, OTHER_SITE])
def test_each_application_leads_to_the_one_login(host: str, several_hosts: Front, application: EchoApplication) -> None:
    before = application.requests
    answer = several_hosts.ask(DEEP, NAVIGATION, host=host)
    assert answer.status == 302
    assert answer.values("Location") == [login_at(f"https://{host}{DEEP}", f"https://{LOGIN_HOST}")]
    answer = several_hosts.ask(DEEP, OTHERS["fetch"][1], host=host)
    assert (answer.status, answer.values("Location")) == (401, [])
    with_port = f"{host}:8443"
    answer = several_hosts.ask(DEEP, NAVIGATION, host=with_port)
    assert answer.values("Location") == [login_at(f"https://{with_port}{DEEP}", f"https://{LOGIN_HOST}")]
    assert application.requests == before


def test_one_login_is_enough_for_all_and_one_logout_ends_all(several_hosts: Front, signed_on: GatewayProcess) -> None:
    user = signed_on.add_user(roles=("demo",))
    cookie = sign_in(several_hosts, user, host=LOGIN_HOST)
    assert cookie.startswith("__Secure-gateway_session=")
    for host in (SITE, OTHER_SITE):
        answer = several_hosts.ask(DEEP, NAVIGATION | {"Cookie": f"a=1; {cookie}"}, host=host)
        assert answer.seen
        assert answer.seen.values("Remote-User") == [user.email]
        assert answer.seen.values("Host") == [host]
        assert answer.seen.values("Cookie") == ["a=1"]
    said = {"Cookie": cookie, "Sec-Fetch-Site": "same-origin", "Origin": f"https://{LOGIN_HOST}"}
    assert several_hosts.ask("/auth/logout", said, method="POST", host=LOGIN_HOST, body=b"").status == 204
    ended = time.monotonic()

    def are_refused() -> bool:
        said = NAVIGATION | {"Cookie": cookie}
        return all(several_hosts.ask(DEEP, said, host=host).status == 302 for host in (SITE, OTHER_SITE))

    wait_until(are_refused, 5, "the end of the session")
    assert time.monotonic() - ended < 1


def test_the_form_of_a_login_arrives(several_hosts: Front, signed_on: GatewayProcess) -> None:
    user = signed_on.add_user(roles=("demo",))
    form = urlencode({"username": user.email, "password": user.password}).encode()
    said = {"Content-Type": FORM, "Sec-Fetch-Site": "same-origin", "Origin": f"https://{LOGIN_HOST}"}
    answer = several_hosts.ask("/auth/login", said, method="POST", body=form, host=LOGIN_HOST)
    assert answer.status == 200
    assert user.email.encode() in answer.body


def test_all_of_the_login_s_host_goes_to_the_gateway(
    several_hosts: Front, signed_on: GatewayProcess, application: EchoApplication
) -> None:
    cookie = sign_in(several_hosts, signed_on.add_user(roles=("demo",)), host=LOGIN_HOST)
    before = application.requests
    for target in ("/", "/page", "/auth/login", "/auth/static/style.css", "/.well-known/change-password", "/livez"):
        for headers in ({}, {"Cookie": cookie}):
            assert several_hosts.ask(target, headers, host=LOGIN_HOST).status in (200, 303, 404, 405), target
    assert several_hosts.ask("/auth/me", {"Cookie": cookie}, host=LOGIN_HOST).status == 200
    assert several_hosts.ask("/.well-known/jwks.json", host=LOGIN_HOST).status == 200
    assert application.requests == before


def test_an_application_on_a_host_of_its_own_has_all_paths(several_hosts: Front, signed_on: GatewayProcess) -> None:
    cookie = sign_in(several_hosts, signed_on.add_user(roles=("demo",)), host=LOGIN_HOST)
    for target in ("/auth/login", "/.well-known/jwks.json", "/.well-known/change-password"):
        for host in (SITE, OTHER_SITE):
            assert several_hosts.ask(target, host=host).status == 401
            told = several_hosts.ask(target, {"Cookie": cookie}, host=host).seen
            assert told, (host, target)
            assert told.target == target
