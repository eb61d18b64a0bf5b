import itertools
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest

from tests.harness import GatewayProcess
from tests.web.asking import APP_ORIGIN, HTTPS_ISSUER, Session, client_of, log_in, problem_of

FOREIGN_ORIGIN = "https://evil.example"
SITES = (None, "same-origin", "none", "same-site", "cross-site")
ORIGINS = (None, "own", APP_ORIGIN, FOREIGN_ORIGIN, "null")
NEW_PASSWORD = "quite another sentence"


@pytest.fixture
def shop(gateway_with: Callable[..., GatewayProcess]) -> Iterator[Session]:
    """Give a session of a gateway that one foreign origin may call, and where every rotation shows."""
    gateway = gateway_with(allowed_origins=APP_ORIGIN, refresh_replay_window_seconds=0)
    with client_of(gateway) as client:
        yield log_in(gateway, client)


def is_allowed(site: str | None, origin: str | None) -> bool:
    """What the contract says, in its own words."""
    return site in ("same-origin", "none") or origin in ("own", APP_ORIGIN) or (site is None and origin is None)


def browser_headers(site: str | None, origin: str | None, gateway: GatewayProcess) -> dict[str, str]:
    headers = {}
    if site is not None:
        headers["Sec-Fetch-Site"] = site
    if origin is not None:
        headers["Origin"] = gateway.url if origin == "own" else origin
    return headers


# What a browser sends of its own accord to each endpoint, and what shows that it has changed nothing.
REFRESH_COOKIE = {"Cookie": "refresh_token={refresh_token}"}
ACCESS_COOKIE = {"Cookie": "access_token={access_token}"}
ENDPOINTS: dict[tuple[str, str], tuple[dict[str, str], dict[str, str] | None]] = {
    ("POST", "/auth/login"): (REFRESH_COOKIE, {"username": "{email}", "password": "{password}"}),
    ("POST", "/auth/refresh"): (REFRESH_COOKIE, None),
    ("POST", "/auth/logout"): (REFRESH_COOKIE, None),
    ("POST", "/auth/logout-all"): (ACCESS_COOKIE, None),
    ("POST", "/auth/change-password"): (
        ACCESS_COOKIE,
        {"current_password": "{password}", "new_password": NEW_PASSWORD},
    ),
    ("DELETE", "/auth/sessions/{sid}"): (ACCESS_COOKIE, None),
}


def ask(session: Session, endpoint: tuple[str, str], headers: dict[str, str]) -> httpx2.Response:
    words = {
        "access_token": session.access_token,
        "refresh_token": session.refresh_token,
        "email": session.user.email,
        "password": session.user.password,
        "sid": session.sid,
    }
    cookie, body = ENDPOINTS[endpoint]
    json: Any = {name: value.format_map(words) for name, value in body.items()} if body else None
    cookies = {name: value.format_map(words) for name, value in cookie.items()}
    return session.client.request(endpoint[0], endpoint[1].format_map(words), headers=cookies | headers, json=json)


def assert_nothing_changed(session: Session) -> None:
    assert session.is_alive()
    listed = session.client.get("/auth/sessions", headers=session.bearer).json()["sessions"]
    assert [row["id"] for row in listed] == [session.sid]
    assert session.refresh().status_code == 200, "the refresh token was used up"
    credentials = {"username": session.user.email, "password": session.user.password}
    assert session.client.post("/auth/login", json=credentials).status_code == 200


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=str)
@pytest.mark.parametrize(("site", "origin"), list(itertools.product(SITES, ORIGINS)))
def test_a_request_is_served_from_where_it_may_come_and_else_changes_nothing(
    site: str | None, origin: str | None, endpoint: tuple[str, str], shop: Session
) -> None:
    """T28: the whole matrix. Shows ASVS 3.5.1, NIST 5.1d."""
    answer = ask(shop, endpoint, browser_headers(site, origin, shop.gateway))
    if is_allowed(site, origin):
        assert answer.status_code in (200, 204)
    else:
        problem_of(answer, 403, "cross-site-request")
        assert "Set-Cookie" not in answer.headers
        assert_nothing_changed(shop)


@pytest.mark.parametrize("site", ["", "Same-Origin", "SAME-ORIGIN", "same-origin, none", "user", "*"])
def test_an_unknown_word_of_the_browser_is_not_believed(site: str, shop: Session) -> None:
    """T28."""
    answer = ask(shop, ("POST", "/auth/logout"), {"Sec-Fetch-Site": site})
    problem_of(answer, 403, "cross-site-request")
    assert_nothing_changed(shop)


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "http://127.0.0.1",
        "https://127.0.0.1:{port}",
        "http://127.0.0.1:{port}/",
        "http://127.0.0.1:{port}.evil.example",
        "http://127.0.0.1:{port}@evil.example",
        "http://localhost:{port}",
        "http://app.example.test",
        "https://app.example.test/",
        "https://app.example.test:8443",
        "https://sub.app.example.test",
        "https://app.example.test.evil.example",
        "https://evilapp.example.test",
        "https://app.example.test, https://evil.example",
        "https://evil.example https://app.example.test",
        "app.example.test",
        "*",
    ],
)
def test_an_origin_is_compared_whole(origin: str, shop: Session) -> None:
    """T28."""
    headers = {"Origin": origin.format(port=shop.gateway.port)}
    problem_of(ask(shop, ("POST", "/auth/refresh"), headers), 403, "cross-site-request")
    assert_nothing_changed(shop)


@pytest.mark.parametrize("names", [["Sec-Fetch-Site"], ["Origin"], ["Sec-Fetch-Site", "Origin"]], ids=str)
def test_a_header_that_is_there_twice_is_not_believed(names: list[str], shop: Session) -> None:
    good = {"Sec-Fetch-Site": "same-origin", "Origin": APP_ORIGIN}
    headers = [("Cookie", f"refresh_token={shop.refresh_token}")] + [(name, good[name]) for name in names for _ in "12"]
    problem_of(shop.client.post("/auth/logout", headers=headers), 403, "cross-site-request")
    assert_nothing_changed(shop)


@pytest.mark.parametrize("content_type", ["application/json", "application/x-www-form-urlencoded", "text/plain"])
@pytest.mark.parametrize("path", ["/auth/login", "/auth/refresh", "/auth/logout", "/auth/change-password"])
def test_no_type_of_body_makes_a_cross_site_request_another_error(path: str, content_type: str, shop: Session) -> None:
    """T28: what an HTML form can send is refused before it is read. Shows ASVS 3.5.2."""
    cookies = f"refresh_token={shop.refresh_token}; access_token={shop.access_token}"
    headers = {"Cookie": cookies, "Content-Type": content_type, "Sec-Fetch-Site": "cross-site", "Origin": "null"}
    problem_of(shop.client.post(path, content=b"{", headers=headers), 403, "cross-site-request")
    assert_nothing_changed(shop)


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}], ids=str)
def test_what_does_not_rely_on_a_cookie_may_come_from_anywhere(headers: dict[str, str], shop: Session) -> None:
    """A page of another site cannot send a bearer token that it does not have."""
    bearer = shop.bearer | headers
    refreshed = shop.client.post("/auth/refresh", json={"refresh_token": shop.refresh_token}, headers=headers)
    assert refreshed.status_code == 200
    changed = shop.client.post(
        "/auth/change-password",
        json={"current_password": shop.user.password, "new_password": NEW_PASSWORD},
        headers=bearer,
    )
    assert changed.status_code == 204
    body = {"refresh_token": refreshed.json()["refresh_token"]}
    assert shop.client.post("/auth/logout", json=body, headers=headers).status_code == 204


@pytest.mark.parametrize("path", ["/auth/me", "/auth/sessions"])
def test_reading_by_cookie_may_come_from_anywhere(path: str, shop: Session) -> None:
    headers = {"Cookie": f"access_token={shop.access_token}", "Sec-Fetch-Site": "cross-site", "Origin": "null"}
    assert shop.client.get(path, headers=headers).status_code == 200


def test_a_login_without_any_cookie_is_protected_too(shop: Session) -> None:
    """T28: else a stranger's page could log the victim in as the stranger. Shows ASVS 7.6.2."""
    credentials = {"username": shop.user.email, "password": shop.user.password}
    for encoding in ({"json": credentials}, {"data": credentials}):
        answer = shop.client.post("/auth/login", headers={"Sec-Fetch-Site": "cross-site"}, **encoding)  # type: ignore[arg-type]
        problem_of(answer, 403, "cross-site-request")
        assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize(
    ("issuer", "origin", "status"),
    [
        (HTTPS_ISSUER, HTTPS_ISSUER, 200),
        (HTTPS_ISSUER, "http://auth.example.test", 403),
        (HTTPS_ISSUER, "https://auth.example.test:443", 403),
        ("https://Auth.Example.Test:443", HTTPS_ISSUER, 200),
    ],
)
def test_the_issuers_own_origin_is_what_a_browser_calls_it(
    issuer: str, origin: str, status: int, gateway_with: Callable[..., GatewayProcess]
) -> None:
    gateway = gateway_with(issuer=issuer)
    with client_of(gateway) as client:
        user = gateway.add_user()
        body = {"username": user.email, "password": user.password}
        assert client.post("/auth/login", json=body, headers={"Origin": origin}).status_code == status
