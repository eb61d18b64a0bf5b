"""The decision table over HTTP: kind of request, endpoint, and state of the session, and what each is told."""

from collections.abc import Callable
from urllib.parse import parse_qs, quote, urlsplit

import httpx2
import pytest

from gateway.web.subrequest.browsers import Endpoint, Kind
from tests.harness import GatewayProcess, RedisServer, wait_until
from tests.web.asking import CHALLENGE, client_of, log_in, problem_of
from tests.web.browser_requests import REQUESTS, URL, passed_on
from tests.web.test_browser_sessions import sign_in

pytestmark = pytest.mark.redis
ISSUER = "https://auth.example.com"
NAME = "__Secure-gateway_session"
Make = Callable[..., GatewayProcess]
Gateway = Callable[..., GatewayProcess]
PATHS = {Endpoint.NGINX: "/api/authz/auth-request", Endpoint.FORWARD: "/api/authz/forward-auth"}


@pytest.fixture
def behind_proxy(gateway_with: Gateway) -> GatewayProcess:
    """Give a gateway that trusts who asks here as its proxy."""
    return gateway_with(issuer=ISSUER, cookie_domain="example.com", trusted_proxies="127.0.0.1")


def ask(
    client: httpx2.Client, endpoint: Endpoint, request_name: str, url: str = URL, query: str = "", **more: str
) -> httpx2.Response:
    """Ask as the proxy of an endpoint does about one of the requests."""
    method, path, headers = passed_on(endpoint, *REQUESTS[request_name][:2], url=url)
    target = PATHS.get(endpoint, "/api/authz/ext-authz/" + path) + query
    sent = [*headers, *((name.lower().encode(), value.encode()) for name, value in more.items())]
    return client.request(method, target, headers=sent)


@pytest.mark.parametrize("endpoint", Endpoint, ids=lambda endpoint: endpoint.value)
@pytest.mark.parametrize("request_name", REQUESTS)
@pytest.mark.parametrize("state", ["none", "forged", "ended", "alive"])
def test_what_each_is_told(behind_proxy: GatewayProcess, endpoint: Endpoint, request_name: str, state: str) -> None:
    with client_of(behind_proxy) as client:
        more = {}
        if state in ("ended", "alive"):
            cookie = sign_in(client, behind_proxy.add_user(), name=NAME)
            more = {"Cookie": f"{NAME}={cookie}"}
        if state == "forged":
            more = {"Cookie": f"{NAME}={'A' * 92}"}
        if state == "ended":
            assert client.post("/auth/logout", headers=more).status_code == 204
        answer = ask(client, endpoint, request_name, **more)
    kind = REQUESTS[request_name][2]
    if state == "alive":
        assert (answer.status_code, answer.content) == (200, b"")
        assert "location" not in answer.headers
        return
    assert answer.headers["cache-control"] == "no-store"
    assert "set-cookie" not in answer.headers
    assert "Cookie" in answer.headers["vary"]
    assert "Sec-Fetch-Mode" in answer.headers["vary"]
    to_login = f"{ISSUER}/auth/login?rd={quote(URL, safe='')}"
    if kind is Kind.NAVIGATION and endpoint is not Endpoint.NGINX:
        assert (answer.status_code, answer.headers["location"]) == (302, to_login)
        return
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith(CHALLENGE)
    assert answer.headers.get("location") == (to_login if kind is Kind.NAVIGATION else None)
    is_page = answer.headers["content-type"].startswith("text/html")
    assert is_page == (kind is Kind.FORM)


@pytest.mark.parametrize("endpoint", Endpoint, ids=lambda endpoint: endpoint.value)
@pytest.mark.parametrize(
    "url", ["https://evil.example/", "https://auth.example.com/auth/logout", "https://app.example.com@evil.example/"]
)
def test_nobody_is_led_to_a_login_that_could_not_lead_back(
    behind_proxy: GatewayProcess, endpoint: Endpoint, url: str
) -> None:
    with client_of(behind_proxy) as client:
        answer = ask(client, endpoint, "navigation", url=url)
    problem_of(answer, 401, "access-token-missing")
    assert "location" not in answer.headers


@pytest.mark.parametrize(
    "settings",
    [{"portal": "off", "trusted_proxies": "127.0.0.1"}, {"trusted_proxies": "192.0.2.1"}, {}],
    ids=["portal off", "another proxy", "no proxy"],
)
def test_nobody_is_led_without_the_portal_or_by_who_is_not_trusted(
    gateway_with: Gateway, settings: dict[str, str]
) -> None:
    gateway = gateway_with(issuer=ISSUER, cookie_domain="example.com", **settings)
    with client_of(gateway) as client:
        for endpoint in Endpoint:
            answer = ask(client, endpoint, "navigation")
            problem_of(answer, 401, "access-token-missing")
            assert "location" not in answer.headers


def test_a_login_page_of_ones_own_is_led_to(gateway_with: Gateway) -> None:
    gateway = gateway_with(
        issuer=ISSUER, cookie_domain="example.com", trusted_proxies="127.0.0.1", login_url="https://www.example.com/in"
    )
    with client_of(gateway) as client:
        location = ask(client, Endpoint.FORWARD, "navigation").headers["location"]
    assert location == f"https://www.example.com/in?rd={quote(URL, safe='')}"


def test_a_requirement_of_the_login_goes_along(behind_proxy: GatewayProcess) -> None:
    with client_of(behind_proxy) as client:
        session = {"Cookie": f"{NAME}={sign_in(client, behind_proxy.add_user(), name=NAME)}"}
        query = "?max_auth_age=3600&amr=mfa,pop&amr=pwd"
        answer = ask(client, Endpoint.FORWARD, "navigation", query=query, **session)
        assert answer.status_code == 302
        asked = parse_qs(urlsplit(answer.headers["location"]).query)
        assert asked == {"rd": [URL], "amr": ["mfa,pop"]}
        bare = ask(client, Endpoint.FORWARD, "fetch", query=query, **session)
        problem_of(bare, 401, "authentication-too-weak")
        challenge = f'{CHALLENGE}, error="insufficient_user_authentication", acr_values="mfa pop"'
        assert bare.headers["www-authenticate"] == challenge


@pytest.mark.parametrize("endpoint", [Endpoint.NGINX, Endpoint.FORWARD], ids=lambda endpoint: endpoint.value)
def test_who_may_not_is_told_who_he_is(behind_proxy: GatewayProcess, endpoint: Endpoint) -> None:
    with client_of(behind_proxy) as client:
        user = behind_proxy.add_user()
        session = {"Cookie": f"{NAME}={sign_in(client, user, name=NAME)}"}
        page = ask(client, endpoint, "navigation", query="?role=admin", **session)
        assert page.status_code == 403
        assert page.headers["content-type"].startswith("text/html")
        assert user.email in page.text
        assert f"{ISSUER}/auth/logout" in page.text
        problem_of(ask(client, endpoint, "fetch", query="?role=admin", **session), 403, "insufficient-role")


def test_our_own_fault_leads_nobody_to_the_login(make_gateway: Make, own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    gateway = make_gateway(
        redis_url=server.url,
        issuer=ISSUER,
        cookie_domain="example.com",
        trusted_proxies="127.0.0.1",
    )
    with client_of(gateway) as client:
        user = gateway.add_user()
        session = {"Cookie": f"{NAME}={sign_in(client, user, name=NAME)}"}
        unseen = {"Cookie": f"{NAME}={sign_in(client, user, name=NAME)}"}
        assert ask(client, Endpoint.FORWARD, "navigation", **session).status_code == 200
        server.kill()
        for endpoint in Endpoint:
            assert ask(client, endpoint, "navigation", **session).status_code == 200
            answer = ask(client, endpoint, "navigation", **unseen)
            problem_of(answer, 503, "store-unavailable")
            assert int(answer.headers["retry-after"]) >= 1
            assert "location" not in answer.headers


def test_nor_does_a_good_token_while_nobody_is_heard(make_gateway: Make, own_redis: Callable[..., RedisServer]) -> None:
    """With `revocation_max_lag_seconds` it is denied then; a new login would mend nothing."""
    server = own_redis()
    gateway = make_gateway(
        redis_url=server.url,
        issuer=ISSUER,
        cookie_domain="example.com",
        trusted_proxies="127.0.0.1",
        revocation_max_lag_seconds=1,
    )
    with client_of(gateway) as client:
        bearer = log_in(gateway, client).bearer
        assert ask(client, Endpoint.FORWARD, "navigation", **bearer).status_code == 200
        server.kill()
        wait_until(lambda: ask(client, Endpoint.FORWARD, "fetch", **bearer).status_code == 401, 5, "the limit")
        for endpoint in Endpoint:
            answer = ask(client, endpoint, "navigation", **bearer)
            problem_of(answer, 401, "access-token-invalid")
            assert "location" not in answer.headers
