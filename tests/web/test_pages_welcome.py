"""GET and POST /auth/welcome: a link sets a password once, and signs in."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest

from tests.harness import GatewayProcess, TestUser, run_command
from tests.web.asking import client_of
from tests.web.test_browser_sessions import NAME, cookie_of, sign_in

pytestmark = pytest.mark.redis
PASSWORD = "a long and new pass phrase"
FORM = {"Accept": "text/html,application/xhtml+xml", "Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def browser(gateway: GatewayProcess) -> Iterator[httpx2.Client]:
    """Give an HTTP client that keeps no cookie."""
    with client_of(gateway) as opened:
        yield opened


def link_for(gateway: GatewayProcess, *words: str) -> str:
    """Run a command that prints a link, and give its path and query."""
    done = run_command("users", *words, env=gateway.env)
    assert done.returncode == 0, done.stderr
    [link] = re.findall(r"^link: (\S+)$", done.stdout, re.MULTILINE)
    assert link.startswith(gateway.url + "/auth/welcome?code=")
    return str(link).removeprefix(gateway.url)


def set_password(client: httpx2.Client, link: str, password: str = PASSWORD, **headers: str) -> httpx2.Response:
    form = {"code": link.partition("code=")[2], "password": password}
    return client.post("/auth/welcome", data=form, headers=FORM | headers)


def test_who_was_invited_sets_a_password_and_is_signed_in(gateway: GatewayProcess, browser: httpx2.Client) -> None:
    email = "new.person@example.com"
    link = link_for(gateway, "invite", email, "--name", "New Person", "--role", "staff")
    for _ in range(3):  # looking uses nothing up
        page = browser.get(link, headers=FORM)
        assert page.status_code == 200
        assert email in page.text
    answer = set_password(browser, link)
    assert (answer.status_code, answer.headers["location"]) == (303, "/auth/account")
    [line] = [line for line in answer.headers.get_list("set-cookie") if line.startswith(NAME)]
    session = cookie_of(line.partition("=")[2].partition(";")[0])
    assert browser.get("/auth/me", headers=session).json()["email"] == email
    assert browser.get("/auth/account", headers=session | FORM).status_code == 200
    login = browser.post("/auth/login", json={"username": email, "password": PASSWORD})
    assert login.status_code == 200


def test_a_link_is_good_once(gateway: GatewayProcess, browser: httpx2.Client) -> None:
    """Shows ASVS 6.4.3."""
    link = link_for(gateway, "reset", gateway.add_user().email)
    assert set_password(browser, link).status_code == 303
    again = set_password(browser, link, "yet another long pass phrase")
    assert again.status_code == 404
    assert "set-cookie" not in again.headers
    assert browser.get(link, headers=FORM).status_code == 404


def test_a_reset_ends_all_sessions_and_unlocks(gateway: GatewayProcess, browser: httpx2.Client) -> None:
    """Shows ASVS 6.4.3."""
    user = gateway.add_user()
    session = cookie_of(sign_in(browser, user))
    for _ in range(6):
        browser.post("/auth/login", json={"username": user.email, "password": "wrong wrong wrong"})
    link = link_for(gateway, "reset", user.email)
    assert browser.get("/auth/me", headers=session).status_code == 200
    assert set_password(browser, link).status_code == 303
    assert browser.get("/auth/me", headers=session).status_code == 401
    renewed = TestUser(user.user_id, user.email, PASSWORD)
    assert sign_in(browser, renewed)


@pytest.mark.parametrize("password", ["Kurz-7", "", "x" * 2000])
def test_a_password_that_breaks_a_rule_uses_nothing_up(
    gateway: GatewayProcess, browser: httpx2.Client, password: str
) -> None:
    link = link_for(gateway, "reset", gateway.add_user().email)
    answer = set_password(browser, link, password)
    assert answer.status_code == 422
    assert 'role="alert"' in answer.text
    assert not password or password not in answer.text
    assert set_password(browser, link).status_code == 303


@pytest.mark.parametrize("code", ["", "x", "A" * 24, "'\"><script>", "%00", "é" * 24])
def test_a_code_that_is_none_is_told_without_an_echo(browser: httpx2.Client, code: str) -> None:
    page = browser.get("/auth/welcome", params={"code": code}, headers=FORM)
    assert page.status_code == 404
    assert "<script>" not in page.text
    assert set_password(browser, f"code={code}").status_code == 404


def test_another_site_cannot_set_a_password(gateway: GatewayProcess, browser: httpx2.Client) -> None:
    link = link_for(gateway, "reset", gateway.add_user().email)
    assert set_password(browser, link, **{"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert set_password(browser, link).status_code == 303


def test_without_the_portal_there_is_no_page(gateway_with: Callable[..., Any]) -> None:
    with client_of(gateway_with(portal="off")) as client:
        assert client.get("/auth/welcome?code=x", headers=FORM).status_code == 404
