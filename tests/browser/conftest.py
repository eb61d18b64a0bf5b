"""Fixtures of the tests in a real browser: Debian's Chromium, which its driver starts once for each test process."""

import contextlib
import shutil
from collections.abc import Iterator

import pytest
from selenium import webdriver

from tests.browser.driving import Window
from tests.harness import GatewayProcess

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
