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
from tests.harness import GatewayProcess, TestUser, run_command, wait_until
from tests.web.browsing import browser_of
from tests.web.factor_pages import Person, enrol

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


def account_with_tokens(window: Window, language: str, user: TestUser) -> None:
    window.go(f"/auth/account?lang={language}&done=token-revoked")
    assert window.find("#tokens li").is_displayed()


def wrong_new_token(window: Window, language: str, user: TestUser) -> None:
    window.go(f"/auth/account/tokens?lang={language}")
    window.driver.execute_script("document.querySelector('main form').noValidate = true")
    window.find("[type=checkbox]").click()
    window.press("main button.main")
    assert window.find(".alert").is_displayed()


def new_token(window: Window, language: str, user: TestUser) -> None:
    window.go(f"/auth/account/tokens?lang={language}")
    window.fill_in(name=f"backup {language}")
    window.press("main button.main")
    assert window.find("#token").is_displayed()


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


# What a page of second factors is reached with, and what it then is: in front of a gateway that asks for one.


def enrolment(window: Window, language: str, user: TestUser) -> None:
    window.sign_in(window.gateway.add_user(), f"/auth/login?lang={language}")
    window.find("summary").click()
    assert window.find("form.passkey").is_displayed()


def second_step(window: Window, language: str, user: TestUser) -> None:
    window.sign_in(user, f"/auth/login?lang={language}")
    window.find("summary").click()


def wrong_code(window: Window, language: str, user: TestUser) -> None:
    second_step(window, language, user)
    window.fill_in(recovery="AAAAA-AAAAA")
    window.press("details button")
    assert window.find(".alert").is_displayed()
    assert window.find("#recovery").is_displayed()


def step_over(window: Window, language: str, user: TestUser) -> None:
    second_step(window, language, user)
    window.driver.execute_script("document.querySelector('[name=pending]').value = 'x'")
    window.fill_in(totp="000000")
    window.press("main button.main")
    assert window.find("a.main").is_displayed()


def account_with_factors(window: Window, language: str, user: TestUser) -> None:
    window.go(f"/auth/account?lang={language}&done=app-added")
    assert window.find("#factors li").is_displayed()


def new_app(window: Window, language: str, user: TestUser) -> None:
    window.go(f"/auth/account/factors/app?lang={language}")
    window.fill_in(code="000000")
    window.press("main button.main")
    assert window.find(".alert").is_displayed()


def new_passkey(window: Window, language: str, user: TestUser) -> None:
    window.go(f"/auth/account/factors/passkey?lang={language}")
    window.driver.set_user_verified(False)
    window.find("form.passkey button").click()
    wait_until(window.find(".passkey .alert").is_displayed)


def recovery_codes(window: Window, language: str, user: TestUser) -> None:
    window.go(f"/auth/account/factors/recovery?lang={language}")
    assert window.violations() == []
    window.press("main button.main")
    assert len(window.find_all(".codes li")) == 10


def one_factor(window: Window, language: str, user: TestUser) -> None:
    window.go(f"/auth/account?lang={language}")
    window.press("#factors li a")
    assert window.find("#warning").is_displayed()


BETWEEN = (enrolment, wrong_code, step_over)
WITH_FACTORS = (account_with_factors, new_app, new_passkey, recovery_codes, one_factor)
BEFORE = (login, wrong_password, problem, welcome)
TOKENS = (wrong_new_token, new_token, account_with_tokens)


@pytest.mark.parametrize("show", [*BEFORE, new_login, loop, logout, account, wrong_new_password, *TOKENS])
def test_a_page_is_for_everybody(window: Window, show: Show, user: TestUser) -> None:
    if show not in BEFORE:
        window.sign_in(user)
    for language in LANGUAGES:
        window.show_as()
        show(window, language, user)
        assert window.find("html").get_attribute("lang") == language
        check(window, in_the_dark=language == LANGUAGES[0])


@pytest.fixture(scope="module")
def person(strict_gateway: GatewayProcess) -> Person:
    """Give somebody with an app and recovery codes."""
    browser = browser_of(strict_gateway)
    user = strict_gateway.add_user()
    app, codes = enrol(browser, user)
    return Person(user, browser, app, codes)


@pytest.mark.usefixtures("authenticator")
@pytest.mark.parametrize("show", [*BETWEEN, *WITH_FACTORS])
def test_so_is_a_page_of_second_factors(strict: Window, show: Show, person: Person) -> None:
    if show in WITH_FACTORS:
        value = person.browser.cookies["gateway_session"]
        strict.go("/livez")
        strict.driver.add_cookie({"name": "gateway_session", "value": value, "path": "/"})
    for language in LANGUAGES:
        strict.show_as()
        show(strict, language, person.user)
        assert strict.find("html").get_attribute("lang") == language
        check(strict, in_the_dark=language == LANGUAGES[0])


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
