"""A personal token as a person meets it: in Chromium, by the keyboard, and gone when he goes back."""

import pytest
from selenium.webdriver.common.keys import Keys

from tests.browser.driving import Window

pytestmark = pytest.mark.redis
TOKENS = "/auth/account/tokens"


@pytest.fixture
def made(window: Window) -> str:
    """Give a token that was made by the form, whose page is shown."""
    window.sign_in(window.gateway.add_user())
    window.press("#tokens a.button")
    assert window.path == TOKENS
    window.fill_in(name="backup")
    window.press("main button.main")
    return str(window.find("#token").get_attribute("value"))


def test_the_whole_token_is_selected_by_the_keyboard_alone(window: Window, made: str) -> None:
    window.driver.execute_script("document.querySelector('h1').tabIndex = -1; document.querySelector('h1').focus()")
    window.type(Keys.TAB)
    assert window.focused.get_attribute("id") == "token"
    selected = "const field = document.activeElement; return [field.selectionStart, field.selectionEnd]"
    assert window.driver.execute_script(selected) == [0, len(made)]
    window.type("x")
    assert window.find("#token").get_attribute("value") == made


def test_the_back_button_does_not_show_it_again(window: Window, made: str) -> None:
    window.press("main a.main")
    assert "backup" in window.find("#tokens").text
    window.driver.back()
    assert made not in window.driver.page_source
    window.driver.back()
    assert made not in window.driver.page_source


def test_it_is_revoked_by_a_button(window: Window, made: str) -> None:
    window.press("main a.main")
    window.press("#tokens li button")
    assert window.find(".note.good").text == "The token has been revoked."
    assert not window.find_all("#tokens li")
