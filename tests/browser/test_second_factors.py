"""Second factors as a person meets them: in Chromium, with its virtual authenticators, with and without JavaScript."""

from collections.abc import Iterator
from urllib.parse import quote

import pytest
from selenium.webdriver.common.keys import Keys

from tests.browser.conftest import add_authenticator
from tests.browser.driving import Window
from tests.browser.people import enrol_app, enrol_passkey, sign_in_with, sign_out, without_offers
from tests.harness import TestUser, wait_until

pytestmark = pytest.mark.redis
SESSION = "gateway_session"
PASSKEY = "/auth/account/factors/passkey"


@pytest.fixture
def user(strict: Window) -> TestUser:
    """Give a user who has no factor yet."""
    return strict.gateway.add_user()


@pytest.fixture
def unoffered(strict: Window) -> Iterator[Window]:
    """Give the browser that offers nothing in the e-mail field."""
    with without_offers(strict):
        yield strict


@pytest.mark.usefixtures("authenticator")
def test_a_passkey_alone_signs_in_by_a_button(unoffered: Window, user: TestUser) -> None:
    enrol_passkey(unoffered, user)
    assert unoffered.path.startswith("/auth/account/factors/recovery")
    sign_out(unoffered)
    deep = f"{unoffered.gateway.url}/livez?a=1"
    unoffered.go("/auth/login?rd=" + quote(deep, safe=""))
    unoffered.find("[name=remember]").click()
    unoffered.press("form.passkey button")
    assert unoffered.driver.current_url == deep
    cookie = unoffered.driver.get_cookie(SESSION)
    assert cookie is not None
    assert "expiry" in cookie


@pytest.mark.usefixtures("authenticator")
def test_and_from_the_email_field_without_one(strict: Window, user: TestUser) -> None:
    enrol_passkey(strict, user)
    sign_out(strict)
    strict.go("/auth/login?lang=fr")
    wait_until(lambda: strict.path == "/auth/account?lang=fr", 10)
    assert user.email in strict.text


@pytest.mark.usefixtures("authenticator")
def test_it_is_the_second_factor_after_a_password(unoffered: Window, user: TestUser) -> None:
    enrol_passkey(unoffered, user)
    sign_out(unoffered)
    unoffered.sign_in(user)
    assert not unoffered.find_all("[name=totp]")
    unoffered.press("form.passkey button")
    assert unoffered.path == "/auth/account"


@pytest.mark.usefixtures("authenticator")
def test_who_is_not_verified_is_not_let_in(unoffered: Window, user: TestUser) -> None:
    """Shows ASVS 6.5.7."""
    enrol_passkey(unoffered, user)
    sign_out(unoffered)
    unoffered.driver.set_user_verified(False)
    unoffered.go("/auth/login?lang=de")
    unoffered.find("form.passkey button").click()
    alert = unoffered.find("form.passkey [role=alert]")
    wait_until(alert.is_displayed, 10)
    assert alert.text.startswith("Es wurde kein Passkey benutzt.")
    assert unoffered.driver.get_cookie(SESSION) is None
    unoffered.driver.set_user_verified(True)
    unoffered.press("form.passkey button")
    assert unoffered.path == "/auth/account?lang=de"


@pytest.mark.usefixtures("authenticator")
def test_one_that_was_removed_does_not_sign_in_any_more(unoffered: Window, user: TestUser) -> None:
    app = enrol_app(unoffered, user)
    unoffered.go(PASSKEY)
    unoffered.fill_in(name="Laptop")
    unoffered.press("form.passkey button")
    unoffered.go("/auth/account")
    unoffered.press("[aria-label='Change or remove Laptop']")
    unoffered.press("button.danger")
    assert unoffered.find(".note").text == "It has been removed."
    sign_out(unoffered)
    unoffered.go("/auth/login")
    unoffered.press("form.passkey button")
    assert unoffered.focused.text.startswith("This passkey was not accepted.")
    assert unoffered.driver.get_cookie(SESSION) is None
    sign_in_with(unoffered, user, app)
    assert unoffered.path == "/auth/account"


@pytest.mark.usefixtures("authenticator")
def test_a_device_has_one_passkey_of_a_user(strict: Window, user: TestUser) -> None:
    enrol_passkey(strict, user)
    strict.go(PASSKEY)
    strict.find("form.passkey button").click()
    alert = strict.find("form.passkey [role=alert]")
    wait_until(alert.is_displayed, 10)
    assert alert.text == "This device has a passkey for you already."
    strict.driver.remove_virtual_authenticator()
    add_authenticator(strict.driver)
    strict.fill_in(name="Another")
    strict.press("form.passkey button")
    assert strict.path == "/auth/account/factors/recovery?done=passkey-added"


@pytest.mark.usefixtures("authenticator")
def test_nothing_that_they_do_is_refused_by_the_policy_of_the_pages(strict: Window, user: TestUser) -> None:
    strict.complaints()
    enrol_passkey(strict, user)
    strict.press("main button.main")
    sign_out(strict)
    strict.go("/auth/login")
    wait_until(lambda: strict.path == "/auth/account", 10)
    assert strict.complaints() == []


def test_a_code_is_typed_where_the_focus_is(strict: Window, user: TestUser) -> None:
    app = enrol_app(strict, user)
    sign_out(strict)
    strict.sign_in(user)
    assert strict.focused.get_attribute("name") == "totp"
    before = strict.find("html")
    strict.type(app.code(), Keys.ENTER)
    strict.wait_for_another_page(before)
    assert strict.path == "/auth/account"


def test_the_language_is_changed_between_the_steps(strict: Window, user: TestUser) -> None:
    app = enrol_app(strict, user)
    sign_out(strict)
    strict.sign_in(user)
    strict.press("footer button[lang=es]")
    assert "Un paso más" in strict.text
    strict.fill_in(totp=app.code())
    strict.press("main button.main")
    assert strict.path == "/auth/account?lang=es"


def test_all_but_passkeys_works_without_javascript(strict: Window, user: TestUser) -> None:
    strict.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        app = enrol_app(strict, user)
        assert not strict.find_all("form.passkey")
        strict.press("main button.main")
        code = strict.find(".codes code").text
        strict.press("a.main")
        assert strict.path == "/auth/account"
        strict.go(PASSKEY)
        assert strict.find(".without-passkeys").is_displayed()
        assert not strict.find("form.passkey").is_displayed()
        sign_out(strict)
        sign_in_with(strict, user, app)
        assert strict.path == "/auth/account"
        sign_out(strict)
        strict.sign_in(user)
        strict.find("summary").click()
        strict.fill_in(recovery=code)
        strict.press("details button")
        assert "9 of 10 left" in strict.text
    finally:
        strict.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


@pytest.mark.parametrize("width", [320, 1280])
def test_no_page_of_them_is_wider_than_its_window_and_buttons_are_big(strict: Window, width: int) -> None:
    strict.show_as(width=width)
    user = strict.gateway.add_user(name="W" * 60)
    strict.sign_in(user, "/auth/login?lang=de")
    fits(strict, width)
    app = enrol_app(strict, user, "/auth/login?lang=de")
    fits(strict, width)
    strict.press("main button.main")
    fits(strict, width)
    for path in ("/auth/account", "/auth/account/factors/app", PASSKEY):
        strict.go(f"{path}?lang=fr")
        fits(strict, width)
    sign_out(strict)
    strict.sign_in(user, "/auth/login?lang=es")
    strict.find("summary").click()
    fits(strict, width)
    strict.fill_in(totp=app.wrong_code())
    strict.press("main button.main")
    fits(strict, width)


def fits(window: Window, width: int) -> None:
    assert window.driver.execute_script("return document.documentElement.scrollWidth") <= width
    for element in window.find_all("main button, main a.button, main input:not([type=hidden]), summary"):
        if element.is_displayed():
            assert element.size["height"] >= 44, element.get_attribute("outerHTML")
            assert element.size["width"] >= 44


def test_recovery_codes_are_printed_and_nothing_else(strict: Window, user: TestUser) -> None:
    enrol_app(strict, user)
    strict.press("main button.main")
    assert strict.find("a.main").is_displayed()
    strict.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert len([code for code in strict.find_all(".codes code") if code.is_displayed()]) == 10
        assert user.email in strict.text
        assert not [one for one in strict.find_all("button, a, footer, .note") if one.is_displayed()]
    finally:
        strict.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
