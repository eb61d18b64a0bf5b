"""The portal as a person meets it: in Chromium, by mouse and keyboard, with and without JavaScript."""

from urllib.parse import quote

import httpx2
import pytest
from selenium.webdriver.common.keys import Keys

from tests.browser.driving import Window
from tests.harness import PASSWORD, wait_until

pytestmark = pytest.mark.redis
NEW = "quite another sentence"


def test_a_login_from_a_deep_link_comes_back_to_it(window: Window) -> None:
    deep = f"{window.gateway.url}/livez?a=1&b=%20x"
    window.sign_in(window.gateway.add_user(), "/auth/login?rd=" + quote(deep, safe=""))
    assert window.driver.current_url == deep


def test_without_a_deep_link_it_leads_to_the_account(window: Window) -> None:
    user = window.gateway.add_user()
    window.go("/")
    assert window.path.startswith("/auth/login?rd=")
    window.fill_in(username=f"  {user.email.upper()} ", password=user.password)
    window.press("main button.main")
    assert window.path == "/auth/account"
    assert user.email in window.text


def test_a_wrong_password_is_told_where_the_focus_goes(window: Window) -> None:
    user = window.gateway.add_user()
    window.go("/auth/login")
    window.fill_in(username=user.email, password="wrong")
    window.press("main button.main")
    assert window.focused.get_attribute("role") == "alert"
    assert window.focused.text == "E-mail address or password is wrong."
    assert window.find("#username").get_attribute("value") == user.email
    assert window.find("#password").get_attribute("value") == ""
    window.fill_in(password=user.password)
    window.press("main button.main")
    assert window.path == "/auth/account"


def test_another_session_is_ended_with_a_button(window: Window) -> None:
    user = window.gateway.add_user()
    with window.gateway.client() as client:
        token = window.gateway.login(user, client, delivery="body")["access_token"]
        window.sign_in(user)
        window.press(".sessions li form button")
        assert window.find(".note").text == "The session has ended."
        assert len(window.find_all(".sessions li")) == 1
        bearer = {"Authorization": f"Bearer {token}"}
        wait_until(lambda: client.get("/api/authz/auth-request", headers=bearer).status_code == 401, 1)


def test_a_password_is_changed(window: Window) -> None:
    user = window.gateway.add_user()
    window.sign_in(user)
    window.fill_in(current_password=PASSWORD, new_password="password")
    window.press("#password button.main")
    assert window.focused.get_attribute("role") == "alert"
    assert "one of the most used" in window.focused.text
    window.fill_in(current_password=PASSWORD, new_password=NEW)
    window.press("#password button.main")
    assert window.find(".note").text.startswith("Your password has been changed")
    body = {"username": user.email, "password": NEW}
    assert httpx2.post(f"{window.gateway.url}/auth/login", json=body).status_code == 200


def test_after_the_logout_the_back_button_shows_nothing(window: Window) -> None:
    """Shows ASVS 7.4.1, ASVS 14.3.1."""
    user = window.gateway.add_user()
    window.sign_in(user)
    window.go("/auth/account?done=session-ended")
    window.press("header button")
    assert window.path == "/auth/login"
    for _ in range(2):
        window.driver.back()
        assert user.email not in window.driver.page_source
        assert "/auth/login" in window.path
    assert not window.driver.get_cookie("gateway_session")


def test_it_works_without_javascript(window: Window) -> None:
    user = window.gateway.add_user()
    window.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        window.go("/auth/login")
        assert not window.find("button.show").is_displayed()
        window.fill_in(username=user.email, password=user.password)
        window.press("main button.main")
        assert window.path == "/auth/account"
        window.fill_in(current_password=PASSWORD, new_password=NEW)
        window.press("#password button.main")
        assert window.find(".note").text.startswith("Your password has been changed")
        window.press("header button")
        assert window.path == "/auth/login"
    finally:
        window.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_with_javascript_a_password_can_be_looked_at_and_is_sent_as_a_password(window: Window) -> None:
    """Shows ASVS 6.2.6."""
    user = window.gateway.add_user()
    window.go("/auth/login")
    window.fill_in(username=user.email, password=user.password)
    field, button = window.find("#password"), window.find("button.show")
    assert (button.text, button.accessible_name) == ("Show", "Show password")
    button.click()
    assert field.get_attribute("type") == "text"
    assert (button.text, button.accessible_name) == ("Hide", "Hide password")
    window.driver.execute_script(
        "document.forms[0].addEventListener('submit', event => event.preventDefault(), {capture: true})"
    )
    window.find("main button.main").click()
    assert field.get_attribute("type") == "password"
    assert field.get_attribute("value") == user.password


def test_the_keyboard_is_enough(window: Window) -> None:
    user = window.gateway.add_user()
    window.go("/auth/login")
    reached = [window.focused.get_attribute("name")]
    window.type(user.email, Keys.TAB, user.password, Keys.TAB)
    reached.append(window.focused.accessible_name)
    window.type(Keys.TAB)
    reached.append(window.focused.get_attribute("name"))
    window.type(Keys.SPACE, Keys.TAB)
    reached.append(window.focused.text)
    assert reached == ["username", "Show password", "remember", "Sign in"]
    assert window.find("[name=remember]").is_selected()
    window.type(Keys.ENTER)
    wait_until(lambda: window.path == "/auth/account", 5)
    cookie = window.driver.get_cookie("gateway_session")
    assert cookie is not None
    assert "expiry" in cookie
    window.type(Keys.TAB, Keys.ENTER)
    wait_until(lambda: window.path == "/auth/login", 5)


def test_nothing_that_the_pages_do_is_refused_by_their_own_policy(window: Window) -> None:
    window.complaints()
    user = window.gateway.add_user()
    window.go("/auth/login?lang=de")
    window.fill_in(username=user.email, password=user.password)
    window.press("main button.main")
    assert window.path == "/auth/account?lang=de"
    window.go("/auth/logout")
    window.press("main button.main")
    assert window.complaints() == []


@pytest.mark.parametrize("width", [320, 360, 768, 1280])
def test_no_page_is_wider_than_its_window_and_buttons_are_big(window: Window, width: int) -> None:
    window.show_as(width=width)
    window.sign_in(window.gateway.add_user(name="W" * 60), "/auth/login?lang=de")
    for path in ("/auth/account?lang=de", "/auth/logout?lang=fr", "/auth/login?max_auth_age=0&amr=mfa&lang=es"):
        window.go(path)
        assert window.driver.execute_script("return document.documentElement.scrollWidth") <= width
        for element in window.find_all("button, input:not([type=hidden]):not([type=checkbox]), label.tick"):
            if element.is_displayed():
                assert element.size["height"] >= 44, element.get_attribute("outerHTML")
                assert element.size["width"] >= 44
