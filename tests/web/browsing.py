"""What the tests of the pages share: a browser without its window, and a reader of what it is shown."""

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

import httpx2

from tests.harness import GatewayProcess, TestUser
from tests.web.asking import client_of, set_cookies

ACCEPT = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@dataclass
class Page(HTMLParser):
    """An HTML answer: its text, its forms by their address, and the attributes of all that has an id."""

    html: str
    text: str = ""
    title: str = ""
    language: str = ""
    links: list[str] = field(default_factory=list)
    forms: dict[str, dict[str, str]] = field(default_factory=dict)
    ids: dict[str, dict[str, str | None]] = field(default_factory=dict)
    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Read it."""
        super().__init__()
        self._open: list[str] = []
        self._form: dict[str, str] = {}
        self.feed(self.html)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep what tests look for."""
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        self._open.append(tag)
        if attributes.get("id"):
            self.ids[str(attributes["id"])] = attributes
        if tag == "html":
            self.language = str(attributes["lang"])
        if tag == "a":
            self.links.append(str(attributes["href"]))
        if tag == "form":
            self._form = self.forms.setdefault(str(attributes["action"]), {})
        if tag == "input":
            self._form[str(attributes.get("name"))] = attributes.get("value") or ""

    def handle_data(self, data: str) -> None:
        """Collect the text, and the title apart."""
        if "title" in self._open[-1:]:
            self.title += data
        elif self._open[-1:] not in (["style"], ["script"]):
            self.text += f" {data}"

    def handle_endtag(self, tag: str) -> None:
        """Leave an element."""
        while self._open and self._open.pop() != tag:
            pass


def page_of(answer: httpx2.Response, status: int = 200) -> Page:
    """Give the page of an answer. Fails unless it is one, with the headers that all of them have."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.headers.get_list("Cache-Control") == ["no-store"]
    assert answer.headers.get_list("X-Content-Type-Options") == ["nosniff"]
    assert len(answer.headers.get_list("Content-Security-Policy")) == 1
    page = Page(answer.text)
    assert page.language == answer.headers["Content-Language"]
    return page


@dataclass
class Browser:
    """Sends what a browser sends, and keeps cookies by name; paths and domains of these are for other tests."""

    gateway: GatewayProcess
    cookies: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)

    def get(self, path: str, **headers: str) -> httpx2.Response:
        """Go to a page."""
        return self._send("GET", path, headers)

    def post(self, path: str, _headers: dict[str, str] | None = None, /, **fields: str | list[str]) -> httpx2.Response:
        """Send a form; a list is a field that comes as often."""
        return self._send("POST", path, {"Sec-Fetch-Site": "same-origin"} | (_headers or {}), fields)

    def sign_in(self, user: TestUser, **fields: str) -> httpx2.Response:
        """Log in by the form. Fails unless that leads on."""
        answer = self.post("/auth/login", username=user.email, password=user.password, **fields)
        assert answer.status_code == 303, answer.text
        return answer

    def is_signed_in(self) -> bool:
        """Tell whether a proxy would let this browser pass."""
        return self.get("/api/authz/auth-request").status_code == 200

    def raw(self, method: str, path: str, headers: dict[str, str], **body: Any) -> httpx2.Response:
        """Send a request as it is given, without the cookies of the jar."""
        with client_of(self.gateway) as client:
            return client.request(method, path, headers=headers, **body)

    def _send(
        self, method: str, path: str, headers: dict[str, str], fields: dict[str, str | list[str]] | None = None
    ) -> httpx2.Response:
        jar = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        sent: dict[str, Any] = {"Accept": ACCEPT} | ({"Cookie": jar} if jar else {}) | self.headers
        if fields is not None:
            sent["Content-Type"] = "application/x-www-form-urlencoded"  # browsers say so of an empty form too
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        answer = self.raw(method, path, sent, data=fields)
        for name, cookie in set_cookies(answer).items():
            self.cookies[name] = cookie["value"]
            if cookie.get("Max-Age") == "0":
                del self.cookies[name]
        return answer


def browser_of(gateway: GatewayProcess, **headers: str) -> Browser:
    """Give a browser with an empty jar, and headers that it always sends."""
    return Browser(gateway, headers={name.replace("_", "-"): text for name, text in headers.items()})


def policy_of(answer: httpx2.Response) -> dict[str, list[str]]:
    """Give the Content-Security-Policy by directive."""
    parts = re.split(r"; *", answer.headers["Content-Security-Policy"])
    return {part.split()[0]: part.split()[1:] for part in parts}
