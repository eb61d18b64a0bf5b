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
from tests.harness import GatewayProcess, TestUser, run_command

pytestmark = [
    pytest.mark.redis,
    pytest.mark.skipif(not AXE.is_file(), reason="axe-core is missing: apt install nodejs npm, then make test"),
]
Show = Callable[[Window, str, TestUser], None]


@pytest.fixture(scope="module")
def user(gateway: GatewayProcess) -> TestUser:
    """Give the user who looks at them all."""
    return gateway.add_user(roles=("staff", "ops"))


def login(window: Window, language: str, user: TestUser) -> None:
    window.go(f"/auth/login?lang={language}&rd={window.gateway.url}/livez")


def wrong_password(window: Window, language: str, user: TestUser) -> None:
    login(window, language, user)
    window.fill_in(username=user.email, password="wrong")
    window.press("main button.main")
    assert window.find(".alert").is_displayed()


def new_login(window: Window, language: str, user: TestUser) -> None:
    window.go(f"/auth/login?lang={language}&amr=mfa")
    assert window.find(".note").is_displayed()


def loop(window: Window, language: str, user: TestUser) -> None:
    rd = f"{window.gateway.url}/livez"
    hops = f"5.{hashlib.sha256(rd.encode()).hexdigest()[:16]}.{system_clock()}"
    window.driver.add_cookie({"name": "login_hops", "value": hops, "path": "/auth/login"})
    window.go(f"/auth/login?lang={language}&rd={rd}")
    assert window.find(".note").is_displayed()


def logout(window: Window, language: str, user: TestUser) -> None:
    window.go(f"/auth/logout?lang={language}")


def account(window: Window, language: str, user: TestUser) -> None:
    window.go(f"/auth/account?lang={language}&done=session-ended")
    assert window.find(".note").is_displayed()


def wrong_new_password(window: Window, language: str, user: TestUser) -> None:
    window.go(f"/auth/account?lang={language}")
    window.fill_in(current_password=user.password, new_password="password")
    window.press("#password button.main")
    assert window.find(".alert").is_displayed()


def problem(window: Window, language: str, user: TestUser) -> None:
    window.driver.get(f"data:text/html,<form method=post action='{window.gateway.url}/auth/logout?lang={language}'>")
    before = window.find("html")
    window.driver.execute_script("document.forms[0].submit()")
    window.wait_for_another_page(before)
    assert window.find(".alert").is_displayed()


def welcome(window: Window, language: str, user: TestUser) -> None:
    shown = window.find_all("[name=code]")  # a password that is refused uses nothing up
    if shown:
        code = shown[0].get_attribute("value")
    else:
        code = run_command("users", "reset", user.email, env=window.gateway.env).stdout.partition("code=")[2].split()[0]
    window.go(f"/auth/welcome?lang={language}&code={code}")
    window.fill_in(password="password")
    window.press("main button.main")
    assert window.find(".alert").is_displayed()


BEFORE = (login, wrong_password, problem, welcome)


@pytest.mark.parametrize("show", [*BEFORE, new_login, loop, logout, account, wrong_new_password])
def test_a_page_is_for_everybody(window: Window, show: Show, user: TestUser) -> None:
    if show not in BEFORE:
        window.sign_in(user)
    for language in LANGUAGES:
        window.show_as()
        show(window, language, user)
        assert window.find("html").get_attribute("lang") == language
        check(window, in_the_dark=language == LANGUAGES[0])


@pytest.mark.parametrize("template", ["forbidden", "sign_in_elsewhere"])
def test_so_is_one_on_the_host_of_an_application(window: Window, template: str, tmp_path: Path) -> None:
    html = Html(Settings(portal_name="Example"))
    for language in LANGUAGES:
        (tmp_path / "page.html").write_text(html.render(template, language, email="ann@example.com", rd=""))
        window.show_as()
        window.driver.get((tmp_path / "page.html").as_uri())
        check(window, in_the_dark=language == LANGUAGES[0])


def check(window: Window, *, in_the_dark: bool) -> None:
    """Find no fault; colours, and how it fits a telephone, are the same in every language."""
    assert window.violations() == []
    if not in_the_dark:
        return
    window.show_as(is_dark=True, width=360)
    assert window.violations("color-contrast", "target-size") == []
