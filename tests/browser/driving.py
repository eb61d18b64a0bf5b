"""How the tests drive a browser: by what a person sees and presses."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.expected_conditions import staleness_of
from selenium.webdriver.support.wait import WebDriverWait

from tests.harness import GatewayProcess, TestUser

PATIENCE_SECONDS = 10
POLL_SECONDS = 0.05
AXE = Path(__file__).parents[1] / "node/node_modules/axe-core/axe.min.js"


@dataclass
class Window:
    """A window of a browser in front of a gateway."""

    driver: webdriver.Chrome
    gateway: GatewayProcess

    def go(self, path: str) -> None:
        """Go to a page of the gateway."""
        self.driver.get(self.gateway.url + path)

    @property
    def path(self) -> str:
        """Where it is, without the gateway's own address."""
        return self.driver.current_url.removeprefix(self.gateway.url)

    @property
    def text(self) -> str:
        """What is to be seen."""
        return self.find("body").text

    @property
    def focused(self) -> WebElement:
        """What has the focus."""
        return self.driver.switch_to.active_element

    def find(self, selector: str) -> WebElement:
        """Give an element by CSS."""
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def find_all(self, selector: str) -> list[WebElement]:
        """Give all such elements."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def fill_in(self, **fields: str) -> None:
        """Type into fields by their names."""
        for name, text in fields.items():
            element = self.find(f"[name={name}]:not([hidden])")
            element.clear()
            element.send_keys(text)

    def press(self, selector: str) -> None:
        """Press a button that leads to another page, and wait for that."""
        before = self.find("html")
        self.find(selector).click()
        self.wait_for_another_page(before)

    def wait_for_another_page(self, before: WebElement) -> None:
        """Wait until an element of the page that was shown *before* is gone."""
        # In between, the driver may say that the element is of no document.
        waiting = WebDriverWait(self.driver, PATIENCE_SECONDS, POLL_SECONDS, ignored_exceptions=[WebDriverException])
        waiting.until(staleness_of(before))

    def type(self, *keys: str) -> None:
        """Press keys, wherever the focus is."""
        for key in keys:
            ActionChains(self.driver).send_keys(key).perform()

    def sign_in(self, user: TestUser, path: str = "/auth/login") -> None:
        """Log in as a person does."""
        self.go(path)
        self.fill_in(username=user.email, password=user.password)
        self.press("main button.main")

    def show_as(self, *, is_dark: bool = False, width: int = 1000, height: int = 900) -> None:
        """Show pages in a scheme, and as wide as a device is."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        still = {"name": "prefers-reduced-motion", "value": "reduce"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme, still]})
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def complaints(self) -> list[str]:
        """Give what the browser has complained about in its console since it was asked last."""
        return [entry["message"] for entry in self.driver.get_log("browser")]  # type: ignore[no-untyped-call]

    def violations(self, *rules: str) -> list[str]:
        """Give what axe-core finds fault with on the page that is shown, by all of its rules or by some."""
        options: dict[str, Any] = {"resultTypes": ["violations"]}
        if rules:
            options["runOnly"] = {"type": "rule", "values": rules}
        if not self.driver.execute_script("return 'axe' in window"):
            self.driver.execute_script(AXE.read_text())
        found = self.driver.execute_async_script("axe.run(document, arguments[0]).then(arguments[1])", options)
        return [f"{fault['id']}: {node['html']}" for fault in found["violations"] for node in fault["nodes"]]
