"""The decision table by a browser's own headers: what Chromium sends of each kind, and what it is taken for."""

from collections.abc import Iterator

import pytest
from selenium import webdriver
from selenium.common.exceptions import WebDriverException

from gateway.settings import Settings
from gateway.web.subrequest.browsers import Asked, Endpoint, Kind, what_was_asked
from tests.harness import wait_until
from tests.proxies.echo import EchoApplication, Seen
from tests.web.browser_requests import URL, passed_on

SETTINGS = Settings(issuer="https://auth.example.com", cookie_domain="example.com")
ADD = "const element = document.createElement('{}'); Object.assign(element, {}); document.body.append(element);"
SUBMIT = (
    "const form = document.createElement('form'); Object.assign(form, {}); document.body.append(form); form.submit();"
)
# What makes a browser send a request of that name, and what the gateway takes it for.
KINDS: dict[str, tuple[str, Kind]] = {
    "navigation": ("location.href = '/navigation'", Kind.NAVIGATION),
    "iframe": (ADD.format("iframe", "{src: '/iframe'}"), Kind.NAVIGATION),
    "form": (SUBMIT.format("{method: 'post', action: '/form'}"), Kind.FORM),
    "upload": (SUBMIT.format("{method: 'post', action: '/upload', enctype: 'multipart/form-data'}"), Kind.FORM),
    "search": (SUBMIT.format("{method: 'get', action: '/search'}"), Kind.NAVIGATION),
    "fetch": ("fetch('/fetch')", Kind.OTHER),
    "fetch-for-a-page": ("fetch('/fetch-for-a-page', {headers: {Accept: 'text/html'}})", Kind.OTHER),
    "fetch-post": ("fetch('/fetch-post', {method: 'post', body: new URLSearchParams('a=b')})", Kind.OTHER),
    "xhr": ("const asked = new XMLHttpRequest(); asked.open('GET', '/xhr'); asked.send();", Kind.OTHER),
    "image": (ADD.format("img", "{src: '/image'}"), Kind.OTHER),
    "script": (ADD.format("script", "{src: '/script'}"), Kind.OTHER),
    "style": (ADD.format("link", "{rel: 'stylesheet', href: '/style'}"), Kind.OTHER),
    "prefetch": (ADD.format("link", "{rel: 'prefetch', href: '/prefetch'}"), Kind.OTHER),
    "beacon": ("navigator.sendBeacon('/beacon', new URLSearchParams('a=b'))", Kind.OTHER),
    "socket": ("new WebSocket('ws://' + location.host + '/socket')", Kind.OTHER),
    "events": ("new EventSource('/events?pause=0.1')", Kind.OTHER),
}


@pytest.fixture(scope="module")
def application() -> Iterator[EchoApplication]:
    """Give an application that keeps what it saw."""
    echo = EchoApplication()
    yield echo
    echo.stop()


@pytest.mark.parametrize("name", KINDS)
def test_a_browsers_own_request_is_taken_for_what_it_is(
    name: str, chromium: webdriver.Chrome, application: EchoApplication
) -> None:
    chromium.get(f"http://localhost:{application.port}/start")
    script, kind = KINDS[name]
    try:
        chromium.execute_script(script)
    except WebDriverException as error:  # the page is left before the script has told that it ended
        assert "script" in str(error) or "navigat" in str(error)  # noqa: PT017 - it is the way to see it

    def seen() -> Seen | None:
        return next((one for one in application.seen if one.target.partition("?")[0] == f"/{name}"), None)

    wait_until(lambda: seen() is not None, 5, name)
    request = seen()
    assert request is not None
    own = {header: value for header, value in request.headers if header.lower() not in ("host", "connection")}
    print(f"{name}: {request.method} { ({h: v for h, v in own.items() if h.lower().startswith(('sec-', 'accept'))}) }")
    for endpoint in Endpoint:
        asked = what_was_asked(endpoint, *passed_on(endpoint, request.method, own), SETTINGS, is_trusted=True)
        assert asked == Asked(kind, URL if kind is Kind.NAVIGATION else None), endpoint
