"""axe-core finds nothing on any page: in four languages, light and dark (WCAG 2.2 AA, and what is good practice)."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.clock import system_clock
from gateway.settings import Settings
from gateway.web.html.languages import LANGUAGES
from gateway.web.html.rendering import Html
from tests.browser.driving import AXE, Window
from tests.harness import TestUser

pytestmark = [
    pytest.mark.redis,
    pytest.mark.skipif(not AXE.is_file(), reason="axe-core is missing: apt install nodejs npm, then make test"),
]
Show = Callable[[Window, str, TestUser], None]


def login(window: Window, language: str, user: TestUser) -> None:
    window.go(f"/auth/login?lang={language}&rd={window.gateway.url}/livez")


def wrong_password(window: Window, language: str, user: TestUser) -> None:
    login(window, language, user)
    window.fill_in(username=user.email, password="wrong")
    window.press("main button.main")
    assert window.find(".alert")


def new_login(window: Window, language: str, user: TestUser) -> None:
    window.sign_in(user)
    window.go(f"/auth/login?lang={language}&amr=mfa")
    assert window.find(".note")


def loop(window: Window, language: str, user: TestUser) -> None:
    window.sign_in(user)
    rd = f"{window.gateway.url}/livez"
    hops = f"5.{hashlib.sha256(rd.encode()).hexdigest()[:16]}.{system_clock()}"
    window.driver.add_cookie({"name": "login_hops", "value": hops, "path": "/auth/login"})
    window.go(f"/auth/login?lang={language}&rd={rd}")
    assert window.find(".note")


def logout(window: Window, language: str, user: TestUser) -> None:
    window.sign_in(user)
    window.go(f"/auth/logout?lang={language}")


def account(window: Window, language: str, user: TestUser) -> None:
    with window.gateway.client() as client:
        window.gateway.login(user, client)
    window.sign_in(user)
    window.go(f"/auth/account?lang={language}&done=session-ended")
    assert window.find(".note")


def wrong_new_password(window: Window, language: str, user: TestUser) -> None:
    window.sign_in(user, f"/auth/login?lang={language}")
    window.fill_in(current_password=user.password, new_password="password")
    window.press("#password button.main")
    assert window.find(".alert")


def problem(window: Window, language: str, user: TestUser) -> None:
    window.driver.execute_cdp_cmd("Network.enable", {})
    window.sign_in(user)
    window.driver.get(f"data:text/html,<form method=post action='{window.gateway.url}/auth/logout?lang={language}'>")
    window.driver.execute_script("document.forms[0].submit()")
    assert window.find(".alert")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("show", [login, wrong_password, new_login, loop, logout, account, wrong_new_password, problem])
def test_a_page_is_for_everybody(window: Window, show: Show, language: str) -> None:
    window.show_as()
    show(window, language, window.gateway.add_user())
    assert window.find("html").get_attribute("lang") == language
    assert window.violations() == []
    window.show_as(is_dark=True, width=360)
    assert window.violations("color-contrast", "target-size") == []


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("template", ["forbidden", "sign_in_elsewhere"])
def test_so_is_one_on_the_host_of_an_application(window: Window, template: str, language: str, tmp_path: Path) -> None:
    page = Html(Settings(portal_name="Example")).render(template, language, email="ann@example.com", rd="")
    (tmp_path / "page.html").write_text(page)
    window.show_as()
    window.driver.get((tmp_path / "page.html").as_uri())
    assert window.violations() == []
    window.show_as(is_dark=True, width=360)
    assert window.violations("color-contrast", "target-size") == []
