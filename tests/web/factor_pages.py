"""What the tests of second factors on the pages share: a person with an app, who reads pages and fills in forms."""

import base64
import re
from dataclasses import dataclass
from typing import Any

import httpx2
import msgspec

from tests.authenticators import Authenticator
from tests.harness import GatewayProcess, TestUser
from tests.web.browsing import Browser, Page, browser_of, page_of
from tests.web.second_steps import App

APP = "/auth/account/factors/app"
PASSKEY = "/auth/account/factors/passkey"
RECOVERY = "/auth/account/factors/recovery"
NAMED = "http://localhost:8000"
"""An issuer for which there are passkeys: for an address there are none."""
_SECRET = re.compile(r"(?:[A-Z2-7]{4} ){7}[A-Z2-7]{4}")
_CODE = re.compile(r"[0-9A-Z]{5}-[0-9A-Z]{5}")


def fields_of(page: Page, name: str) -> dict[str, str]:
    """Give the fields of the form that has one of that name, hidden ones with their values."""
    [form] = [fields for fields in page.forms.values() if name in fields]
    return form


def secret_of(page: Page) -> str:
    """Give the secret that a page shows to who cannot scan it."""
    found = _SECRET.search(page.text)
    assert found, page.text
    return found[0]


def app_of(page: Page) -> App:
    """Give the app that has read it."""
    return App(base64.b32decode(secret_of(page).replace(" ", "")))


def codes_of(page: Page) -> list[str]:
    """Give the recovery codes that a page shows."""
    codes = _CODE.findall(page.text)
    assert len(codes) == 10
    return codes


def options_of(page: Page) -> dict[str, Any]:
    """Give the options for a passkey that stand in a page."""
    [text] = [attributes["data-options"] for _, attributes in page.tags if attributes.get("data-options")]
    options: dict[str, Any] = msgspec.json.decode(str(text))
    return options


def answer_of(said: dict[str, Any]) -> str:
    """Give what an authenticator says as passkeys.js puts it into a form."""
    return msgspec.json.encode(said).decode()


def passkey() -> Authenticator:
    """Give an authenticator for `NAMED`."""
    return Authenticator(rp_id="localhost", origin=NAMED)


@dataclass
class Person:
    """A user with an authenticator app and recovery codes, and the browser in which these were made."""

    user: TestUser
    browser: Browser
    app: App
    codes: list[str]

    def first_step(self, browser: Browser, **fields: str) -> Page:
        """Show the password in another browser, and give the page that asks for more."""
        return page_of(
            browser.post("/auth/login", username=self.user.email, password=self.user.password, **fields), 200
        )

    def sign_in(self, browser: Browser) -> None:
        """Log in with both. Fails unless that leads on."""
        pending = fields_of(self.first_step(browser), "totp")["pending"]
        answer = browser.post("/auth/login", pending=pending, totp=self.app.code())
        assert answer.status_code == 303, answer.text


def add_app(browser: Browser, **fields: str) -> tuple[App, httpx2.Response]:
    """Set up an app on the account, and give the answer of the form."""
    page = page_of(browser.get(APP))
    app = app_of(page)
    return app, browser.post(APP, id=fields_of(page, "code")["id"], code=app.code(), **fields)


def new_person(gateway: GatewayProcess, **fields: str) -> Person:
    """Give somebody who has just set up an app."""
    user, browser = gateway.add_user(), browser_of(gateway)
    browser.sign_in(user)
    app, answer = add_app(browser, **fields)
    return Person(user, browser, app, codes_of(page_of(answer)))


def enrol(browser: Browser, user: TestUser) -> tuple[App, list[str]]:
    """Set up an app at the login where a second factor is required, and recovery codes."""
    page = page_of(browser.post("/auth/login", username=user.email, password=user.password))
    app, form = app_of(page), fields_of(page, "code")
    answer = browser.post("/auth/login", **form | {"code": app.code()})
    assert answer.status_code == 303, answer.text
    return app, codes_of(page_of(browser.post(RECOVERY)))
