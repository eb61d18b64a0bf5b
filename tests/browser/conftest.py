"""Fixtures of the tests in a real browser: Debian's Chromium, which its driver starts once for each test process."""

import contextlib
import shutil
from collections.abc import Iterator

import pytest
from selenium import webdriver
from selenium.webdriver.common.virtual_authenticator import VirtualAuthenticatorOptions

from tests.browser.driving import Window
from tests.conftest import quick_environment
from tests.harness import GatewayProcess, RedisServer, free_port

ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",  # it would need namespaces, which containers do not give
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--hide-scrollbars",
    "--lang=en",
    "--window-size=1000,900",
)


@contextlib.contextmanager
def open_chromium(*more: str) -> Iterator[webdriver.Chrome]:
    """Give a browser of its own, with *more* arguments; skips where there is none."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("chromium or chromedriver is missing: apt install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in (*ARGUMENTS, *more):
        options.add_argument(argument)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    browser.set_page_load_timeout(20)
    try:
        yield browser
    finally:
        browser.quit()


@pytest.fixture(scope="session")
def chromium() -> Iterator[webdriver.Chrome]:
    """Give the browser that most tests share."""
    with open_chromium() as browser:
        yield browser


@pytest.fixture
def window(chromium: webdriver.Chrome, gateway: GatewayProcess) -> Iterator[Window]:
    """Give the browser without any cookie, in front of the ordinary gateway."""
    chromium.execute_cdp_cmd("Network.clearBrowserCookies", {})
    chromium.get("about:blank")
    yield Window(chromium, gateway)
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


class NamedGateway(GatewayProcess):
    """A gateway whose issuer has a name: browsers make no passkeys for an address."""

    @property
    def url(self) -> str:
        """Its address, by that name."""
        return f"http://localhost:{self.port}"


@pytest.fixture(scope="session")
def strict_gateway(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """Give a gateway that has passkeys, and asks everybody for a second factor."""
    port = free_port()
    named = {"port": port, "issuer": f"http://localhost:{port}", "redis_key_prefix": "strict:"}
    env = quick_environment(redis_server.url, second_factor="required", **named)
    process = NamedGateway(env, tmp_path_factory.mktemp("strict") / "gateway.log").start()
    yield process
    process.stop()


@pytest.fixture
def strict(window: Window, strict_gateway: GatewayProcess) -> Window:
    """Give the browser in front of that one."""
    return Window(window.driver, strict_gateway)


@pytest.fixture
def authenticator(chromium: webdriver.Chrome) -> Iterator[None]:
    """Let the browser have an authenticator, whose owner is there and agrees to everything at once."""
    add_authenticator(chromium)
    yield
    if chromium.virtual_authenticator_id is not None:
        chromium.remove_virtual_authenticator()


def add_authenticator(chromium: webdriver.Chrome) -> None:
    """Add it."""
    chromium.add_virtual_authenticator(
        VirtualAuthenticatorOptions(
            protocol=VirtualAuthenticatorOptions.Protocol.CTAP2,
            transport=VirtualAuthenticatorOptions.Transport.INTERNAL,
            has_resident_key=True,
            has_user_verification=True,
            is_user_verified=True,
        )
    )
