"""What must hold behind every proxy, with the very files of config/."""

import itertools
import secrets
import urllib.parse
from collections.abc import Callable
from urllib.parse import unquote

import httpx2
import jwt
import pytest

from tests.harness import GatewayProcess, Login
from tests.machines.clients import GRANT, add_client
from tests.proxies.conftest import Signer, log_in, log_out
from tests.proxies.echo import EchoApplication, folded
from tests.proxies.fronts import Front

REMOTE = ("Remote-User", "Remote-Groups", "Remote-Name", "Remote-Email", "Remote-Sub")
OTHERS = tuple(
    f"{prefix}-{name}"
    for prefix in ("X-Auth-Request", "X-Forwarded")
    for name in ("User", "Groups", "Preferred-Username", "Email", "Subject", "Access-Token")
)
ACCESS_COOKIE = "__Secure-access_token"
MARK = "forged"

# -------------------------------------------------------------------------------------------------- states of the token

State = Callable[[GatewayProcess, Login, Signer], list[tuple[str, str]]]


def bearer(token: str) -> list[tuple[str, str]]:
    return [("Authorization", f"Bearer {token}")]


def revoked(gateway: GatewayProcess, login: Login, signer: Signer) -> list[tuple[str, str]]:
    ended = log_in(gateway)
    log_out(gateway, ended)
    return bearer(ended.access_token)


def another_key(gateway: GatewayProcess, login: Login, signer: Signer) -> list[tuple[str, str]]:
    """A signature by somebody else under the kid of the gateway's key."""
    head, payload, _ = signer.sign().split(".")
    return bearer(f"{head}.{payload}.{login.access_token.split('.')[2]}")


STATES: dict[str, tuple[State, int]] = {
    "good": (lambda g, login, s: bearer(login.access_token), 200),
    "good, scheme in lower case": (lambda g, login, s: [("authorization", f"bearer {login.access_token}")], 200),
    "good, signed by the test": (lambda g, login, s: bearer(s.sign()), 200),
    "good, as a cookie": (lambda g, login, s: [("Cookie", f"a=b; {ACCESS_COOKIE}={login.access_token}")], 200),
    "none": (lambda g, login, s: [], 401),
    "a password": (lambda g, login, s: [("Authorization", "Basic dXNlcjpwYXNzd29yZA==")], 401),
    "garbage": (lambda g, login, s: bearer("garbage"), 401),
    "empty": (lambda g, login, s: [("Authorization", "Bearer ")], 401),
    "expired": (lambda g, login, s: bearer(s.sign(iat=1_700_000_000, exp=1_700_000_600)), 401),
    "revoked": (revoked, 401),
    "for another audience": (lambda g, login, s: bearer(s.sign(aud="https://api.example.com")), 401),
    "of another issuer": (lambda g, login, s: bearer(s.sign(iss="https://evil.example")), 401),
    "of an unknown key": (lambda g, login, s: bearer(s.sign(header={"kid": "x" * 43})), 401),
    "with a signature of another token": (another_key, 401),
    "without a signature": (lambda g, login, s: bearer(login.access_token.rpartition(".")[0] + "."), 401),
    "not an access token": (lambda g, login, s: bearer(s.sign(header={"typ": "JWT"})), 401),
    "over 4 KiB": (lambda g, login, s: bearer(s.sign(name="x" * 4000)), 401),
    "the refresh token": (lambda g, login, s: bearer(login.refresh_token), 401),
    "as a cookie, by its plain name": (lambda g, login, s: [("Cookie", f"access_token={login.access_token}")], 401),
    "two: header and cookie": (
        lambda g, login, s: [*bearer(login.access_token), ("Cookie", f"{ACCESS_COOKIE}={login.access_token}")], 401
    ),
    "two cookies": (
        lambda g, login, s: [("Cookie", f"{ACCESS_COOKIE}={login.access_token}; {ACCESS_COOKIE}={login.access_token}")],
        401,
    ),
    "without the role": (lambda g, login, s: bearer(log_in(g, roles=("staff",)).access_token), 403),
    "without any role": (lambda g, login, s: bearer(log_in(g, roles=()).access_token), 403),
    "of a role that only begins so": (lambda g, login, s: bearer(s.sign(roles=["demonstrator"])), 403),
}  # fmt: skip


@pytest.mark.parametrize("state", STATES)
def test_a_state_of_the_token_gets_its_answer(
    state: str, front: Front, asked: GatewayProcess, login: Login, signer: Signer, application: EchoApplication
) -> None:
    """T8: 200, 401 or 403 and nothing else; only with 200 is the application reached."""
    make, status = STATES[state]
    headers = make(asked, login, signer)
    before = application.requests
    answer = front.ask("/page", headers)
    assert answer.status == status
    assert application.requests == before + (status == 200)
    if status == 401:
        (challenge,) = answer.values("WWW-Authenticate")
        assert challenge.startswith("Bearer")


def test_there_are_twelve_states_and_more() -> None:
    assert len(STATES) >= 12
    assert {status for _, status in STATES.values()} == {200, 401, 403}


# ------------------------------------------------------------------------------------------------------------- identity


def test_the_application_learns_who_it_is(front: Front, login: Login) -> None:
    seen = front.ask("/page", login.bearer).seen
    assert seen
    told = {name: [unquote(value) for value in seen.values(name)] for name in REMOTE}
    assert told == {
        "Remote-User": [login.user.email],
        "Remote-Groups": ["demo,staff"],
        "Remote-Name": ["Zoë, of <R&D>"],
        "Remote-Email": [login.user.email],
        "Remote-Sub": [login.user.user_id],
    }
    assert seen.values("Authorization") == [login.bearer["Authorization"]]


SPECIAL = "!#$%&'*+.^_`|~"


def spellings(name: str) -> list[str]:
    """Give ways to write a header's name that some application takes for the same one."""
    parts = name.split("-")
    mixed = [
        "".join(itertools.chain.from_iterable(zip(parts, [*separators, ""], strict=True)))
        for separators in itertools.product("-_.", repeat=len(parts) - 1)
    ][:9]
    return [*mixed, *(character.join(parts) for character in SPECIAL), name.lower(), name.upper(), name.swapcase()]


@pytest.mark.parametrize("name", [*REMOTE, *OTHERS])
def test_no_spelling_of_an_identity_header_comes_through(
    name: str, front: Front, asked: GatewayProcess, application: EchoApplication
) -> None:
    """
    T7: nor a second one, nor an empty one; also not where the gateway has nothing to say, here the name.

    Shows ASVS 4.1.3, RFC 9700 4.13a.
    """
    nameless = log_in(asked, name="", roles=("demo",))
    mine = {"remote-user": nameless.user.email, "remote-groups": "demo", "remote-name": ""}
    mine |= {"remote-email": nameless.user.email, "remote-sub": nameless.user.user_id}
    for forged in (
        [(spelt, MARK) for spelt in spellings(name)],
        [(name, MARK), (name, MARK)],
        [(name, ""), (name.replace("-", "_"), MARK), (name.replace("-", "."), "")],
        [(name, MARK), ("Connection", f"close, {name}")],
    ):
        before = application.requests
        assert front.ask("/page", forged).status == 401
        assert application.requests == before
        seen = front.ask("/page", [*forged, *nameless.bearer.items()]).seen
        assert seen
        found = {folded(header): value for header, value in seen.headers if folded(header).startswith("remote-")}
        assert found.items() <= mine.items(), "what is missing says nothing"
        if ("Connection", f"close, {name}") not in forged:
            assert {header: value for header, value in mine.items() if value}.items() <= found.items()
        for header in (*REMOTE, *OTHERS):
            assert len(seen.values(header)) <= 1
        assert not any(MARK in value for header, value in seen.headers if folded(header) != "connection")


FORGED_ORIGIN = {
    "X-Forwarded-For": "192.0.2.66",
    "X-Forwarded-Host": "forged.example",
    "X-Forwarded-Proto": "forged",
    "X-Forwarded-Port": "66",
    "X-Forwarded-Prefix": "/forged",
    "X-Forwarded-Server": "forged.example",
    "X-Forwarded-Uri": "/auth/login?forged",
    "X-Forwarded-Method": "OPTIONS",
    "X-Original-Uri": "/auth/login?forged",
    "X-Original-Url": "http://127.0.0.1/.well-known/jwks.json?forged",
    "X-Original-Method": "OPTIONS",
    "X-Original-Host": "forged.example",
    "X-Rewrite-Url": "/auth/login?forged",
    "X-Real-Ip": "192.0.2.66",
    "Forwarded": "for=192.0.2.66;host=forged.example;proto=forged",
}
HARMLESS = {"X-HTTP-Method-Override": "OPTIONS", "User-Agent": "kube-probe/1.29", "Purpose": "prefetch"}


def test_what_a_client_says_of_where_it_comes_from_is_not_believed(
    front: Front, login: Login, application: EchoApplication
) -> None:
    """T4, T5: it opens nothing, and the application does not get to see it. Shows ASVS 4.1.3, RFC 9700 4.13a."""
    before = application.requests
    for name, value in (FORGED_ORIGIN | HARMLESS).items():
        assert front.ask("/page", {name: value}).status == 401, name
        assert front.ask("/page", {name.replace("-", "_"): value}).status == 401, name
    assert front.ask("/page", FORGED_ORIGIN | HARMLESS).status == 401
    assert application.requests == before
    seen = front.ask("/page", FORGED_ORIGIN | login.bearer).seen
    assert seen
    for name, value in FORGED_ORIGIN.items():
        assert value not in seen.values(name)
    text = " ".join(value for _, value in seen.headers)
    assert "forged" not in text
    assert "192.0.2.66" not in text


def test_the_gateway_learns_the_address_of_the_client_from_the_proxy(
    front: Front, asked: GatewayProcess, login: Login
) -> None:
    """A session that is opened through the proxy has the proxy's peer for its address, not what the peer says."""
    user = asked.add_user()
    body = f'{{"username": "{user.email}", "password": "{user.password}", "delivery": "body"}}'.encode()
    said = {"Content-Type": "application/json", "X-Forwarded-For": "192.0.2.66", "Forwarded": "for=192.0.2.66"}
    answer = front.ask("/auth/login", said, method="POST", body=body)
    assert answer.status == 200
    token = httpx2.Response(200, content=answer.body).json()["access_token"]
    with asked.client() as client:
        (session,) = client.get("/auth/sessions", headers={"Authorization": f"Bearer {token}"}).json()["sessions"]
    # Envoy puts in the machine's own address when the peer is on the loopback interface.
    assert session["ip"] == "127.0.0.1" or front.kind.name == "envoy"
    assert session["ip"] != "192.0.2.66"


# -------------------------------------------------------------------------------------- paths, methods, bodies, queries

PATHS = [
    "/", "//", "///page", "/page/", "/./page", "/page/.", "/page/..", "/../page", "/..;/page", "/;/page", "/page;a=b",
    "/page/..;/..;/", "/%2e%2e%2fpage", "/%2e%2e/page", "/%2E%2E%2Fpage", "/..%2fpage", "/..%5cpage", "/%5c..%5cpage",
    "/%252e%252e%252fpage", "/%00", "/page%00", "/%00/page", "/page%0a", "/page%0d%0aX:%20y", "/page%20", "/page%09",
    "/page?a=b", "/page?", "/?", "/page?/auth/", "/page#a", "/page#/auth/", "/#", "/page%23", "/page%3f", "/page?a#b",
    "/auth", "/auth%2f", "/auth%2flogin", "/AUTH/login", "/Auth/", "/%61uth", "/auth/..", "/auth/../", "/auth/../page",
    "/auth/..;/page", "/auth/;/../page", "/auth/%2e%2e/page", "/auth/%2e%2e%2fpage", "/auth/..%2fpage",
    "/auth/%252e%252e/page", "/auth//../page", "/auth/./../page", "/auth/login/../../page", "/auth/..%00/page",
    "/auth/%00/../../page", "/auth\\..\\page", "/auth/..\\page", "/auth/%5c../page", "/auth;/../page", "/auth?/",
    "/auth#/", "/auth/../../../page", "/auth/..//page", "//auth/../page", "/./auth/../page", "/page/../auth",
    "/.well-known", "/.well-known/../page", "/.well-known/..;/page", "/.well-known/%2e%2e/page",
    "/.well-known/..%2fpage", "/.well-known/jwks.json/../../page", "/.well-known/acme-challenge/../../page",
    "/_auth", "/_auth/", "/_auth?role=x", "//_auth", "/%5fauth", "/api/authz/auth-request", "/api/authz/forward-auth",
    "/api/authz/ext-authz", "/api/authz/ext-authz/", "/api/authz/ext-authz/../../../page", "/livez", "/readyz",
    "/favicon.ico", "/robots.txt", "/static/app.js", "/health", "/metrics", "/@gateway_away",
]  # fmt: skip


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_no_path_leads_to_the_application_without_a_token(
    method: str, front: Front, application: EchoApplication
) -> None:
    """T4. What begins with /auth/ is the gateway's own to answer: nothing is there, or a page of its own."""
    before = application.requests
    for path in PATHS:
        answer = front.ask(path, method=method, body=b"a=b" if method == "POST" else None)
        is_page = answer.status == 200 and answer.values("Content-Language")
        assert is_page or 300 <= answer.status < 500, (path, answer.status)
        assert not answer.values("X-Echo"), path
        assert application.requests == before, path


def test_a_whole_address_in_the_request_line_opens_nothing(front: Front, application: EchoApplication) -> None:
    before = application.requests
    for target in ("http://app.example.com/page", "http://127.0.0.1/auth/../page", "http://evil.example/auth/"):
        assert 300 <= front.ask(target).status < 500, target
    assert application.requests == before


def test_the_paths_that_the_application_gets_are_those_that_were_asked_about(
    front: Front, login: Login, application: EchoApplication
) -> None:
    for path in ("/page", "/page/?a=b&c=%20d", "/a/b%20c", "/%C3%A9"):
        seen = front.ask(path, login.bearer).seen
        assert seen
        assert seen.target == path


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
def test_every_method_is_asked_about_and_the_body_arrives_whole(
    method: str, front: Front, login: Login, application: EchoApplication
) -> None:
    body = None if method in ("GET", "HEAD", "OPTIONS") else secrets.token_hex(50_000).encode()
    before = application.requests
    refused = front.ask("/page", method=method, body=body)
    assert refused.status == 401
    assert application.requests == before
    answer = front.ask("/page", login.bearer, method=method, body=body)
    assert answer.status == 200
    assert application.requests == before + 1
    if answer.seen is not None:
        assert (answer.seen.method, answer.seen.body) == (method, (body or b"").decode())


def test_a_chunked_body_arrives_whole(front: Front, login: Login, application: EchoApplication) -> None:
    sent = [(name, value) for name, value in login.bearer.items()] + [("Transfer-Encoding", "chunked")]
    before = application.requests
    with front.connect() as connection:
        head = "POST /page HTTP/1.1\r\nHost: app.example.com\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head.encode() + b"3\r\nabc\r\n0\r\n\r\n")
        assert b" 401 " in connection.recv(65536).split(b"\r\n")[0]
    assert application.requests == before
    with front.connect() as connection:
        head = "POST /page HTTP/1.1\r\nHost: app.example.com\r\nConnection: close\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in sent)
        connection.sendall(head.encode() + b"\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    if front.kind.name == "caddy" and answer.startswith(b"HTTP/1.1 411"):
        assert application.requests == before, "newer Caddys, which would pass trailers on, refuse it"
        return
    assert answer.startswith(b"HTTP/1.1 200")
    assert b'"body": "abcdefg"' in answer


QUERIES = ("role=admin", "role=", "role=demo&role=admin", "max_auth_age=0", "max_auth_age=x", "access_token=x", "_=1")


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_of_the_client_s_own_neither_opens_nor_closes(
    query: str, front: Front, login: Login, asked: GatewayProcess
) -> None:
    """The requirement is the one in the proxy's configuration."""
    answer = front.ask(f"/page?{query}", login.bearer)
    assert answer.status == 200
    assert answer.seen
    assert answer.seen.target == f"/page?{query}"
    stranger = log_in(asked, roles=("admin",))
    assert front.ask(f"/page?{query}", stranger.bearer).status == 403
    assert front.ask(f"/page?{query}").status == 401


UPGRADES = (
    {"Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAAQAoAAAAAIAAAAA", "Connection": "Upgrade, HTTP2-Settings"},
    {
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "A" * 22 + "==",
        "Connection": "Upgrade",
    },
)


@pytest.mark.parametrize("headers", UPGRADES, ids=lambda headers: headers["Upgrade"])
def test_an_upgrade_is_asked_about_too(headers: dict[str, str], front: Front, application: EchoApplication) -> None:
    """T5."""
    before = application.requests
    assert front.ask("/page", headers).status in (400, 401, 403)
    assert application.requests == before


# ---------------------------------------------------------------------------------------------- the gateway's own paths


def test_a_user_can_log_in_refresh_and_log_out_through_the_proxy(front: Front, asked: GatewayProcess) -> None:
    user = asked.add_user(roles=("demo",))
    context = front.certificates.client_context()
    with httpx2.Client(base_url=front.url, verify=context if front.is_tls else True, timeout=10) as client:
        credentials = {"username": user.email, "password": user.password, "delivery": "body"}
        tokens = client.post("/auth/login", json=credentials).json()
        refreshed = client.post("/auth/refresh", json={"refresh_token": tokens["refresh_token"]}).json()
        headers = {"Authorization": f"Bearer {refreshed['access_token']}"}
        assert client.get("/page", headers=headers).status_code == 200
        assert client.get("/auth/me", headers=headers).json()["email"] == user.email
        assert client.post("/auth/logout", json={"refresh_token": refreshed["refresh_token"]}).status_code == 204
        assert client.get("/auth/me", headers=headers).status_code == 401
        assert client.get("/page", headers=headers).status_code == 401
        keys = client.get("/.well-known/jwks.json")
        assert keys.headers["Cache-Control"] == "public, max-age=300"
        assert len(keys.json()["keys"]) >= 1
        assert client.get("/.well-known/openid-configuration").json()["issuer"] == "https://app.example.com"


def test_a_service_gets_a_token_through_the_proxy_and_uses_it(
    asked: GatewayProcess, front: Front, login: Login, application: EchoApplication
) -> None:
    """The application may have paths of its own beside the three."""
    service = add_client(asked.env, roles=("demo",))
    context = front.certificates.client_context()
    with httpx2.Client(base_url=front.url, verify=context if front.is_tls else True, timeout=10) as client:
        answer = client.post("/oauth/token", data=GRANT, auth=service.auth)
        assert answer.status_code == 200, answer.text
        answer = client.post("/oauth/token", data=GRANT | service.form)
        assert answer.status_code == 200, answer.text
        headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        assert client.get("/page", headers=headers).status_code == 200
        token = {"token": answer.json()["access_token"]}
        assert client.post("/oauth/introspect", data=token, auth=service.auth).json()["active"] is True
        assert client.post("/oauth/revoke", data=token, auth=service.auth).status_code == 200
        assert client.get("/page", headers=headers).status_code == 401
        assert (
            client.post("/oauth/token", data=GRANT, auth=(service.client_id, "x")).json()["error"] == "invalid_client"
        )
    for path in ("/oauth", "/oauth/", "/oauth/callback", "/oauth/tokens", "/oauth/token/", "/x/oauth/token"):
        assert front.ask(path).status == 401, path
        answered = front.ask(path, login.bearer)
        assert answered.seen, path
        assert answered.seen.target == path


OURS = ("jwks.json", "oauth-authorization-server", "openid-configuration")
THEIRS = (
    "", "nothing", "security.txt", "acme-challenge/x", "change-passwords", "assetlinks.json", "jwks.jsonx",
    "jwks.json/", "jwks.json/x", "xjwks.json", "openid-configuration/x", "webfinger?resource=x",
)  # fmt: skip


def test_lists_of_ended_sessions_are_the_gateway_s_and_what_looks_like_them_is_not(
    front: Front, login: Login, application: EchoApplication
) -> None:
    """Services behind the proxy fetch them from the address in the token, without a login."""
    claims = jwt.decode(login.access_token, options={"verify_signature": False})
    path = urllib.parse.urlsplit(claims["status"]["status_list"]["uri"]).path
    answer = front.ask(path)
    assert answer.status == 200
    assert answer.values("Content-Type") == ["application/statuslist+jwt"]
    assert front.ask("/status/lists").status == 200
    before = application.requests
    theirs = ("", "/", "/1", "/x", "/lists/", "/lists2", f"{path[7:]}0", f"{path[7:]}/", f"/x{path[7:]}", "/lists/x")
    for name in theirs:
        assert front.ask(f"/status{name}").status == 401, name
    assert application.requests == before
    for name in theirs:
        answer = front.ask(f"/status{name}", login.bearer)
        assert answer.seen, name
        assert answer.seen.target == f"/status{name}"


def test_only_four_well_known_paths_are_the_gateway_s_own(
    front: Front, login: Login, application: EchoApplication
) -> None:
    """All others are the application's, and asked about."""
    for name in OURS:
        assert front.ask(f"/.well-known/{name}").status == 200
    before = application.requests
    # RFC 8615's change-password leads to the account, where there is a portal.
    assert front.ask("/.well-known/change-password", login.bearer).status in (303, 404)
    for name in THEIRS:
        assert front.ask(f"/.well-known/{name}").status == 401, name
    assert application.requests == before
    for name in THEIRS:
        answer = front.ask(f"/.well-known/{name}", login.bearer)
        assert answer.seen, name
        assert answer.seen.target == f"/.well-known/{name}"
