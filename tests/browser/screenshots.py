"""Make the pictures of the quickstart (make screenshots): the login and the account, as they are."""

import base64
import sys
import tempfile
from pathlib import Path

from tests.browser.conftest import open_chromium
from tests.browser.driving import Window
from tests.conftest import quick_environment
from tests.harness import PASSWORD, GatewayProcess, RedisServer, TestUser, run_command

PICTURES = Path(__file__).parents[2] / "docs/pictures"
EMAIL = "ann@example.com"
OTHER_DEVICES = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Version/18.0 Safari/604.1",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0",
)


def main() -> int:
    """Start a gateway with one user and take the pictures."""
    with tempfile.TemporaryDirectory() as directory:
        server = RedisServer(Path(directory) / "redis").start()
        env = quick_environment(server.url, portal_name="Example Inc.")
        gateway = GatewayProcess(env, Path(directory) / "gateway.log").start()
        try:
            words = ("users", "add", EMAIL, "--name", "Ann Example", "--role", "staff", "--role", "wiki")
            run_command(*words, "--password-stdin", env=env, stdin=PASSWORD).check_returncode()
            take_pictures(gateway)
        finally:
            gateway.stop()
            server.stop()
    return 0


def take_pictures(gateway: GatewayProcess) -> None:
    """Log in on three devices, and show the login and the account on one of them."""
    PICTURES.mkdir(exist_ok=True)
    user = TestUser("", EMAIL)
    for device in OTHER_DEVICES:
        with gateway.client(headers={"User-Agent": device}) as client:
            gateway.login(user, client)
    with open_chromium() as chromium:
        window = Window(chromium, gateway)
        window.show_as(width=800, height=640)
        window.go("/auth/login")
        window.driver.execute_script("document.activeElement.blur()")
        take(window, "login.png")
        window.sign_in(user)
        window.show_as(width=800, height=window.driver.execute_script("return document.documentElement.scrollHeight"))
        take(window, "account.png")


def take(window: Window, name: str) -> None:
    """Write what the window shows."""
    picture = window.driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
    (PICTURES / name).write_bytes(base64.b64decode(picture["data"]))


if __name__ == "__main__":
    sys.exit(main())
