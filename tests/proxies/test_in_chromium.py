"""
A person in front of applications behind a real proxy, in a real browser: in by one login, and nothing in the way.

The login and two applications are on hosts of one domain, over TLS; the browser is told where these hosts are.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from selenium import webdriver
from selenium.common.exceptions import WebDriverException

from tests.browser.conftest import open_chromium
from tests.browser.driving import Window
from tests.certificates import SITE, Certificates
from tests.harness import GatewayProcess, RedisServer, TestUser, wait_until
from tests.proxies.conftest import Signer, standing, start_gateway
from tests.proxies.echo import EchoApplication
from tests.proxies.fronts import KINDS, LOGIN_HOST, OTHER_SITE
from tests.web.return_addresses import HOSTILE

pytestmark = pytest.mark.redis
DEEP = f"https://{SITE}/a%20b/?q=1&x=%2F%26&y="
TABS = 12
HOPS = "__Secure-login_hops"
ACCESS_TOKEN_TTL_SECONDS = 1

FETCH = "fetch('/fetched').then(answer => arguments[0](answer.status), error => arguments[0](String(error)))"
XHR = """
const asked = new XMLHttpRequest(); asked.open('POST', '/xhr');
asked.onload = () => arguments[0](asked.status); asked.onerror = () => arguments[0]('error'); asked.send('a=b');
"""
UPLOAD = """
const form = new FormData(); form.append('file', new Blob([new Uint8Array(2 * 1024 * 1024)]), 'large');
fetch('/upload', {method: 'POST', body: form})
  .then(answer => arguments[0](answer.status), error => arguments[0](String(error)));
"""
SOCKET = """
const socket = new WebSocket('wss://' + location.host + '/socket'), heard = [];
socket.onopen = () => socket.send('hello');
socket.onmessage = message => {
  if (heard.push(message.data) === 2) { socket.close(); arguments[0](heard[1]); }
};
socket.onerror = () => arguments[0]('refused');
"""
EVENTS = """
const source = new EventSource('/events?pause=0.2'), heard = [];
source.onmessage = message => {
  if (heard.push(message.data) === 2) { source.close(); arguments[0](heard[1]); }
};
source.onerror = () => { source.close(); arguments[0]('refused'); };
"""
POST_A_FORM = """
const form = document.createElement('form'); form.method = 'post'; form.action = '/posted';
const field = document.createElement('input'); field.name = 'text'; field.value = 'typed'; form.append(field);
document.body.append(form); form.submit();
"""
GOES_ON = {FETCH: 200, XHR: 200, UPLOAD: 200, SOCKET: "hello", EVENTS: "last"}


@dataclass
class Behind(Window):
    """A window in front of a proxy, named by its kind."""

    kind: str


@pytest.fixture(scope="module")
def quickly_over(
    redis_server: RedisServer, signer: Signer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    """Give a gateway on a host of its own, for all hosts of one domain, whose access tokens are over in a moment."""
    process = start_gateway(
        redis_server,
        tmp_path_factory.mktemp("quickly-over"),
        signer,
        issuer=f"https://{LOGIN_HOST}",
        cookie_domain="example.com",
        access_token_ttl_seconds=str(ACCESS_TOKEN_TTL_SECONDS),
        session_check_seconds="1",
    )
    yield process
    process.stop()


@pytest.fixture(scope="module", params=KINDS, ids=str)
def window(
    request: pytest.FixtureRequest,
    quickly_over: GatewayProcess,
    application: EchoApplication,
    certificates: Certificates,
    place: Path,
) -> Iterator[Behind]:
    """Give a browser in front of each proxy in turn."""
    kind = request.param
    directory = place / f"{kind}-chromium"
    with standing(kind, directory, quickly_over, application, certificates, tls=True, sso=True) as front:
        rules = f"MAP *.example.com:443 127.0.0.1:{front.tls_port}"
        with open_chromium(f"--host-resolver-rules={rules}", "--ignore-certificate-errors") as driver:
            yield Behind(driver, quickly_over, str(kind))


@pytest.fixture
def user(window: Behind) -> TestUser:
    """Give somebody who may come in, before a browser that knows nobody."""
    window.driver.execute_cdp_cmd("Network.clearBrowserCookies", {})
    return window.gateway.add_user(roles=("demo",))


def run(driver: webdriver.Chrome, script: str) -> Any:
    """Run a script of a page and give what it tells."""
    return driver.execute_async_script(script)


def come_in(window: Behind, user: TestUser, url: str = DEEP) -> None:
    """Open a page of the application and log in as a person does."""
    window.driver.get(url)
    assert window.driver.current_url.startswith(f"https://{LOGIN_HOST}/auth/login?rd="), window.driver.current_url
    window.fill_in(username=user.email, password=user.password)
    window.press("main button.main")
    wait_until(lambda: window.driver.current_url == url, 5, window.driver.current_url)
    assert user.email in window.driver.page_source


def test_a_deep_link_leads_to_the_login_and_back_and_a_second_application_asks_nothing(
    window: Behind, user: TestUser
) -> None:
    come_in(window, user)
    other = f"https://{OTHER_SITE}/there?z=%C3%A9"
    window.driver.get(other)
    assert window.driver.current_url == other
    assert user.email in window.driver.page_source


def test_scripts_forms_uploads_and_sockets_go_on_past_the_life_of_an_access_token(
    window: Behind, user: TestUser, application: EchoApplication
) -> None:
    application.seen.clear()
    come_in(window, user)
    for pause_seconds in (0, ACCESS_TOKEN_TTL_SECONDS + 1.5):
        time.sleep(pause_seconds)
        for script, told in GOES_ON.items():
            assert run(window.driver, script) == told, script
        window.driver.execute_script(POST_A_FORM)
        wait_until(lambda: window.driver.current_url == f"https://{SITE}/posted", 5)
        assert "text=typed" in window.driver.page_source
        window.driver.get(DEEP)
    assert all("gateway_session" not in str(seen.headers) for seen in application.seen)


def test_twelve_tabs_that_are_restored_at_once_all_show_their_pages(window: Behind, user: TestUser) -> None:
    come_in(window, user)
    time.sleep(1.1)  # what was seen of the session is asked again
    driver, first = window.driver, window.driver.current_window_handle
    urls = {f"https://{host}/tab?n={number}" for number in range(TABS // 2) for host in (SITE, OTHER_SITE)}
    driver.execute_script("for (const url of arguments[0]) window.open(url);", sorted(urls))
    wait_until(lambda: len(driver.window_handles) == TABS + 1, 5)
    shown = set()
    try:
        for handle in driver.window_handles:
            if handle != first:
                driver.switch_to.window(handle)
                wait_until(lambda: user.email in driver.page_source, 10, driver.current_url)
                shown.add(driver.current_url)
    finally:
        for handle in driver.window_handles:
            if handle != first:
                driver.switch_to.window(handle)
                driver.close()
        driver.switch_to.window(first)
    assert shown == urls


def test_a_logout_in_one_place_ends_it_in_all_within_a_second(window: Behind, user: TestUser) -> None:
    come_in(window, user)
    driver, first = window.driver, window.driver.current_window_handle
    driver.switch_to.new_window("tab")
    driver.get(f"https://{LOGIN_HOST}/auth/logout")
    window.press("main button")
    ended_at = time.monotonic()
    wait_until(lambda: driver.current_url.startswith(f"https://{LOGIN_HOST}/auth/login"), 5)
    driver.close()
    driver.switch_to.window(first)
    wait_until(lambda: run(driver, FETCH) == 401, 2)
    assert time.monotonic() - ended_at < 1
    assert run(driver, SOCKET) == "refused"
    driver.get(f"https://{OTHER_SITE}/")
    assert driver.current_url.startswith(f"https://{LOGIN_HOST}/auth/login?rd=")


def test_a_form_without_a_session_is_told_apart_and_sent_again_after_a_login(
    window: Behind, user: TestUser, application: EchoApplication
) -> None:
    come_in(window, user)
    window.driver.execute_cdp_cmd("Network.clearBrowserCookies", {})
    before = application.requests
    try:
        window.driver.execute_script(POST_A_FORM)
    except WebDriverException as error:  # some versions tell the status of a page as an error
        assert "401" in str(error)  # noqa: PT017 - it is the way to see it
    wait_until(lambda: window.driver.current_url == f"https://{SITE}/posted", 5)
    assert application.requests == before
    assert user.email not in window.driver.page_source
    first = window.driver.current_window_handle
    window.driver.switch_to.new_window("tab")
    come_in(window, user)
    window.driver.close()
    window.driver.switch_to.window(first)
    window.driver.refresh()
    wait_until(lambda: "text=typed" in window.driver.page_source, 5)


def test_no_login_leads_anywhere_else_whatever_it_is_given(
    window: Behind, user: TestUser, pytestconfig: pytest.Config
) -> None:
    """
    The corpus in a browser, which reads an address in its own way: with `--hostile` the whole behind each proxy.

    Else one address in forty behind each, and behind each others.
    """
    come_in(window, user)
    own = [str(kind) for kind in KINDS].index(window.kind)
    addresses = HOSTILE if pytestconfig.getoption("--hostile", default=False) else HOSTILE[own * 7 :: 40]
    print(f"{len(addresses)} of {len(HOSTILE)} addresses in Chromium behind {window.kind}")
    for address in addresses:
        window.driver.execute_cdp_cmd(
            "Network.deleteCookies", {"name": HOPS, "domain": LOGIN_HOST, "path": "/auth/login"}
        )
        window.driver.get(f"https://{LOGIN_HOST}/auth/login?rd={quote(address, safe='')}")
        assert window.driver.current_url == f"https://{LOGIN_HOST}/auth/account", address
    for address in (f"https://{SITE}/x", f"https://{OTHER_SITE}/x?y=%2F"):
        window.driver.get(f"https://{LOGIN_HOST}/auth/login?rd={quote(address, safe='')}")
        assert window.driver.current_url == address
