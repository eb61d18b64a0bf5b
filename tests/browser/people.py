"""People with second factors in front of a browser."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager

from tests.browser.driving import Window
from tests.harness import TestUser
from tests.web.second_steps import App


def app_of(window: Window) -> App:
    """Give the app that has read the secret of the page that is shown."""
    groups = [str(group.get_attribute("textContent")) for group in window.find_all(".secret span")]
    return App(base64.b32decode("".join(groups)))


def enrol_app(window: Window, user: TestUser, path: str = "/auth/login") -> App:
    """Log in where a second factor is required, and set up an app; a page about recovery codes is shown then."""
    window.sign_in(user, path)
    app = app_of(window)
    window.fill_in(code=app.code())
    window.press("main button.main")
    return app


def enrol_passkey(window: Window, user: TestUser) -> None:
    """Log in there and set up a passkey."""
    window.sign_in(user)
    window.press("form.passkey button")


def sign_in_with(window: Window, user: TestUser, app: App, path: str = "/auth/login") -> None:
    """Log in with password and code."""
    window.sign_in(user, path)
    window.fill_in(totp=app.code())
    window.press("main button.main")


def sign_out(window: Window) -> None:
    """Forget the session."""
    window.driver.execute_cdp_cmd("Network.clearBrowserCookies", {})


@contextmanager
def without_offers(window: Window) -> Iterator[None]:
    """Keep the browser from offering passkeys in the e-mail field, which an agreeable authenticator takes at once."""
    source = (
        "if (globalThis.PublicKeyCredential) PublicKeyCredential.isConditionalMediationAvailable = async () => false"
    )
    added = window.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": source})
    try:
        yield
    finally:
        window.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)
