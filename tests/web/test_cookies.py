import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest

from tests.harness import GatewayProcess
from tests.web.asking import HTTPS_ISSUER, Session, client_of, log_in, problem_of, send_raw, set_cookies

DAY = 86_400
HTTP = {"Path": "/auth", "HttpOnly": "", "SameSite": "Strict"}
KINDS: dict[str, tuple[dict[str, Any], str, dict[str, str]]] = {
    "http": ({}, "refresh_token", HTTP),
    "http, lax": ({"cookie_samesite": "lax"}, "refresh_token", HTTP | {"SameSite": "Lax"}),
    "https": ({"issuer": HTTPS_ISSUER}, "__Secure-refresh_token", HTTP | {"Secure": ""}),
    "https, none": (
        {"issuer": HTTPS_ISSUER, "cookie_samesite": "none"},
        "__Secure-refresh_token",
        HTTP | {"Secure": "", "SameSite": "None"},
    ),
}


def login(gateway: GatewayProcess, client: httpx2.Client) -> httpx2.Response:
    user = gateway.add_user()
    return client.post("/auth/login", json={"username": user.email, "password": user.password})


def refresh_cookie(answer: httpx2.Response, name: str) -> tuple[str, str, dict[str, str]]:
    """Give value, Max-Age and the other attributes of the one refresh cookie that an answer sets."""
    cookies = {found: cookie for found, cookie in set_cookies(answer).items() if "refresh_token" in found}
    assert cookies.keys() == {name}
    attributes = dict(cookies[name])
    return attributes.pop("value"), attributes.pop("Max-Age"), attributes


@pytest.mark.parametrize("kind", KINDS)
def test_the_refresh_cookie_has_the_name_and_the_attributes_that_the_issuer_asks_for(
    kind: str, gateway_with: Callable[..., GatewayProcess]
) -> None:
    """Shows ASVS 3.3.1, ASVS 3.3.2, ASVS 3.3.4, NIST 5.1.1a, NIST 5.1.1b, NIST 5.1.1c, NIST 5.1.1f."""
    settings, name, attributes = KINDS[kind]
    gateway = gateway_with(**settings)
    with client_of(gateway) as client:
        token, _, found = refresh_cookie(login(gateway, client), name)
        assert found == attributes
        refreshed = client.post("/auth/refresh", headers={"Cookie": f"{name}={token}"})
        assert refreshed.status_code == 200
        assert refresh_cookie(refreshed, name)[2] == attributes


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("deed", ["logout", "logout by body", "logout-all", "invalid", "reused"])
def test_the_refresh_cookie_is_cleared_with_the_attributes_that_it_was_set_with(
    deed: str, kind: str, gateway_with: Callable[..., GatewayProcess]
) -> None:
    """Shows ASVS 14.3.1, NIST 5.1a."""
    settings, name, attributes = KINDS[kind]
    gateway = gateway_with(**settings)
    with client_of(gateway) as client:
        body = login(gateway, client)
        token = set_cookies(body)[name]["value"]
        cookie = {"Cookie": f"{name}={token}"}
        match deed:
            case "logout":
                answer = client.post("/auth/logout", headers=cookie)
            case "logout by body":
                answer = client.post("/auth/logout", json={"refresh_token": token})
            case "logout-all":
                bearer = {"Authorization": f"Bearer {body.json()['access_token']}"}
                answer = client.post("/auth/logout-all", headers=bearer)
            case "invalid":
                answer = client.post("/auth/refresh", headers={"Cookie": f"{name}=forged"})
            case _:
                second = set_cookies(client.post("/auth/refresh", headers=cookie))[name]["value"]
                client.post("/auth/refresh", json={"refresh_token": second})  # by cookie it would be kept
                answer = client.post("/auth/refresh", headers=cookie)
        assert refresh_cookie(answer, name) == ("", "0", attributes)


def test_a_cookie_is_one_plain_word_and_short(session: Session) -> None:
    """At most 4096 bytes; and no quotes, which not everybody reads alike. Shows ASVS 3.3.5."""
    answer = session.client.post(
        "/auth/login", json={"username": session.user.email, "password": session.user.password}
    )
    for name, cookie in set_cookies(answer).items():
        assert re.fullmatch(r"[A-Za-z0-9_.-]+", cookie["value"])
        assert len(name) + len(cookie["value"]) < 4096
    assert all("Domain" not in cookie and "Expires" not in cookie for cookie in set_cookies(answer).values())


def test_the_cookie_lives_as_long_as_the_session_can_live_unused(session: Session) -> None:
    """Shows NIST 5.1.1d."""
    answer = session.client.post("/auth/refresh", headers={"Cookie": f"refresh_token={session.refresh_token}"})
    assert refresh_cookie(answer, "refresh_token")[1] == str(14 * DAY)


def test_the_cookie_does_not_outlive_the_session(gateway_with: Callable[..., GatewayProcess]) -> None:
    """Shows NIST 5.1.1d."""
    gateway = gateway_with(access_token_ttl_seconds=100, refresh_idle_ttl_seconds=100, refresh_absolute_ttl_seconds=100)
    with client_of(gateway) as client:
        answer = login(gateway, client)
        token, max_age, _ = refresh_cookie(answer, "refresh_token")
        assert max_age == "100"
        refreshed = client.post("/auth/refresh", headers={"Cookie": f"refresh_token={token}"})
        assert 90 <= int(refresh_cookie(refreshed, "refresh_token")[1]) <= 100


# ------------------------------------------------------------------------------------------------------- https and http


@pytest.fixture
def secure(gateway_with: Callable[..., GatewayProcess]) -> Iterator[Session]:
    """Give a session of a gateway with an https issuer."""
    gateway = gateway_with(issuer=HTTPS_ISSUER)
    with client_of(gateway) as client:
        yield log_in(gateway, client)


@pytest.mark.parametrize("path", ["/auth/refresh", "/auth/logout"])
def test_under_https_the_plain_name_of_the_refresh_cookie_means_nothing(path: str, secure: Session) -> None:
    """Shows NIST 5.1c."""
    answer = secure.client.post(path, headers={"Cookie": f"refresh_token={secure.refresh_token}"})
    problem_of(answer, 401, "refresh-token-missing")
    assert "Set-Cookie" not in answer.headers
    assert secure.is_alive()


def test_under_https_the_plain_name_at_login_ends_no_session(secure: Session) -> None:
    body = {"username": secure.user.email, "password": secure.user.password}
    answer = secure.client.post("/auth/login", json=body, headers={"Cookie": f"refresh_token={secure.refresh_token}"})
    assert answer.status_code == 200
    assert secure.is_alive()


@pytest.mark.parametrize("path", ["/auth/me", "/api/authz/auth-request"])
def test_under_https_the_plain_name_of_the_access_cookie_means_nothing(path: str, secure: Session) -> None:
    answer = secure.client.get(path, headers={"Cookie": f"access_token={secure.access_token}"})
    problem_of(answer, 401, "access-token-missing")


@pytest.mark.parametrize("path", ["/auth/me", "/api/authz/auth-request"])
def test_under_https_the_access_cookie_has_the_secure_name(path: str, secure: Session) -> None:
    answer = secure.client.get(path, headers={"Cookie": f"__Secure-access_token={secure.access_token}"})
    assert answer.status_code == 200


def test_under_https_a_plain_cookie_beside_the_secure_one_is_not_a_second_token(secure: Session) -> None:
    """A page of plain http on the host can set the plain one, and lock nobody out with it."""
    cookies = f"access_token=planted; __Secure-access_token={secure.access_token}"
    assert secure.client.get("/auth/me", headers={"Cookie": cookies}).status_code == 200
    cookies = f"refresh_token=planted; __Secure-refresh_token={secure.refresh_token}"
    assert secure.client.post("/auth/refresh", headers={"Cookie": cookies}).status_code == 200


@pytest.mark.parametrize("prefix", ["__Secure-", "__Host-", "__secure-"])
def test_under_http_only_the_plain_names_mean_something(prefix: str, standing: Session) -> None:
    cookie = {"Cookie": f"{prefix}access_token={standing.access_token}"}
    problem_of(standing.client.get("/auth/me", headers=cookie), 401, "access-token-missing")
    cookie = {"Cookie": f"{prefix}refresh_token={standing.refresh_token}"}
    problem_of(standing.client.post("/auth/refresh", headers=cookie), 401, "refresh-token-missing")


# ---------------------------------------------------------------------------------------------------------- sent twice

TWICE: dict[str, Callable[[str, str], list[tuple[str, str]]]] = {
    "in one header": lambda name, value: [("Cookie", f"{name}={value}; {name}={value}")],
    "in two headers": lambda name, value: [("Cookie", f"{name}={value}"), ("Cookie", f"{name}={value}")],
    "the second empty": lambda name, value: [("Cookie", f"{name}={value}; {name}=")],
    "the first planted": lambda name, value: [("Cookie", f"{name}=planted; other=1; {name}={value}")],
    "without a space": lambda name, value: [("Cookie", f"{name}={value};{name}={value}")],
}


@pytest.mark.parametrize("way", TWICE)
@pytest.mark.parametrize("path", ["/auth/refresh", "/auth/logout"])
def test_a_refresh_cookie_sent_twice_is_malformed_and_none_is_used(path: str, way: str, session: Session) -> None:
    """A sibling subdomain can plant a second one: neither is believed. Shows ASVS 15.3.7."""
    answer = session.client.post(path, headers=TWICE[way]("refresh_token", session.refresh_token))
    problem_of(answer, 400, "malformed-request")
    assert session.is_alive()
    assert session.refresh().status_code == 200


@pytest.mark.parametrize("way", TWICE)
def test_a_refresh_cookie_sent_twice_at_login_is_malformed(way: str, session: Session) -> None:
    body = {"username": session.user.email, "password": session.user.password}
    answer = session.client.post("/auth/login", json=body, headers=TWICE[way]("refresh_token", session.refresh_token))
    problem_of(answer, 400, "malformed-request")
    assert session.is_alive()


@pytest.mark.parametrize("way", TWICE)
def test_an_access_cookie_sent_twice_is_malformed(way: str, standing: Session) -> None:
    answer = standing.client.get("/auth/me", headers=TWICE[way]("access_token", standing.access_token))
    problem_of(answer, 400, "malformed-request")


def test_a_cookie_of_another_name_may_be_there_as_often_as_it_likes(standing: Session) -> None:
    cookies = f"a=1; a=2; b; ; =c; access_token={standing.access_token}; a=3; xaccess_token=1; access_token2=1"
    assert standing.client.get("/auth/me", headers={"Cookie": cookies}).status_code == 200


# ------------------------------------------------------------------------------------------------------- one spelling

# What str.strip takes away besides blank and tab, and what some readers of cookies take away.
MARKS = ('"', "'", "\x1f", "\x85", "\xa0", "\u00ad", "%20", "+")


def raw_cookie(session: Session, path: str, header: str, method: str = "GET") -> int:
    return send_raw(session.gateway, f"{method} {path}", f"Cookie: {header}").status


def test_blanks_and_tabs_around_a_cookie_do_not_belong_to_it(standing: Session) -> None:
    for around in ("", " ", "\t", " \t "):
        header = f"a=1;{around}access_token{around}={around}{standing.access_token}{around};b=2"
        assert raw_cookie(standing, "/auth/me", header) == 200


@pytest.mark.parametrize("mark", MARKS, ids=ascii)
def test_a_value_with_anything_else_around_it_is_another_value(mark: str, standing: Session) -> None:
    for value in (mark + standing.access_token + mark, mark + standing.access_token, standing.access_token + mark):
        for path in ("/auth/me", "/api/authz/auth-request", "/api/authz/ext-authz/x"):
            assert raw_cookie(standing, path, f"access_token={value}") in (400, 401)
        assert raw_cookie(standing, "/auth/refresh", f"refresh_token={mark}{standing.refresh_token}", "POST") in (
            400,
            401,
        )
    assert standing.is_alive()


@pytest.mark.parametrize("mark", MARKS, ids=ascii)
def test_a_name_with_anything_else_around_it_is_another_name_and_no_second_cookie(mark: str, standing: Session) -> None:
    for name in (f"{mark}access_token", f"access_token{mark}", f"{mark}access_token{mark}", "ACCESS_TOKEN"):
        assert raw_cookie(standing, "/auth/me", f"{name}={standing.access_token}") in (400, 401)
        both = raw_cookie(standing, "/auth/me", f"{name}=planted; access_token={standing.access_token}")
        assert both == (400 if mark == "\x1f" and mark in name else 200)


def test_a_refresh_cookie_in_quotes_is_invalid(standing: Session) -> None:
    cookie = {"Cookie": f'refresh_token="{standing.refresh_token}"'}
    problem_of(standing.client.post("/auth/refresh", headers=cookie), 401, "refresh-token-invalid")
    assert standing.is_alive()
