"""docs/proxies.md: each proxy's section ends in two curls that print what it shows."""

import os
import re
import shutil
import subprocess

import pytest

from tests.harness import Login
from tests.proxies.fronts import ISSUER, ROOT, Front

PAGE = (ROOT / "docs" / "proxies.md").read_text()
HEADINGS = {
    "nginx": "nginx",
    "caddy": "Caddy",
    "haproxy": "HAProxy",
    "traefik": "Traefik",
    "envoy": "Envoy",
    "apache": "Apache httpd",
}
TWO_CURLS = re.compile(r"```sh\n((?:curl .*\n){2})```\n\n```text\n(.*?)```\s*\Z", re.DOTALL)


def test_the_two_curls_print_what_the_page_shows(front: Front, login: Login) -> None:
    if shutil.which("curl") is None:
        pytest.skip("there is no curl here to run the page's curl lines with")
    section = re.search(rf"^## {HEADINGS[front.kind.name]}\n(.*?)(?=^## )", PAGE, re.MULTILINE | re.DOTALL)
    assert section
    shown = TWO_CURLS.search(section[1])
    assert shown, "the section does not end in two curls and what they print"
    commands = shown[1].replace(ISSUER, front.url).replace("http://127.0.0.1:8080", front.url)
    environ = {
        "PATH": os.environ["PATH"],  # noqa: TID251 - for a child
        "TOKEN": login.access_token,
        "CURL_CA_BUNDLE": str(front.certificates.authority),
    }
    done = subprocess.run(["sh", "-eu", "-c", commands], env=environ, capture_output=True, text=True, timeout=30)
    assert done.stdout == shown[2] == "401\n200\n"
