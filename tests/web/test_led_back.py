"""Where a login leads, over HTTP: the whole corpus of addresses at the page, at the form and at the subrequest."""

import re
from collections.abc import Callable, Iterator
from urllib.parse import quote

import httpx2
import pytest

from tests.harness import GatewayProcess, TestUser
from tests.web.asking import client_of
from tests.web.return_addresses import GOOD, HOSTILE
from tests.web.test_browser_sessions import sign_in

pytestmark = pytest.mark.redis
NAME = "__Secure-gateway_session"
ACCOUNT = "/auth/account"
FORM = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"}
NAVIGATION = {"Accept": "text/html", "X-Original-Method": "GET"}


@pytest.fixture(scope="module")
def of_a_domain(gateway_with: Callable[..., GatewayProcess]) -> GatewayProcess:
    """Give a gateway for a domain."""
    return gateway_with(issuer="https://auth.example.com", cookie_domain="example.com", trusted_proxies="127.0.0.1")


@pytest.fixture(scope="module")
def user(of_a_domain: GatewayProcess) -> TestUser:
    """Give somebody who logs in over and over."""
    return of_a_domain.add_user()


@pytest.fixture(scope="module")
def client(of_a_domain: GatewayProcess) -> Iterator[httpx2.Client]:
    """Give an HTTP client that keeps no cookie."""
    with client_of(of_a_domain) as opened:
        yield opened


@pytest.fixture(scope="module")
def session(client: httpx2.Client, of_a_domain: GatewayProcess) -> dict[str, str]:
    """Give the cookie of somebody else who is signed in."""
    return {"Cookie": f"{NAME}={sign_in(client, of_a_domain.add_user(), name=NAME)}"}


def led_to_by_page(client: httpx2.Client, session: dict[str, str], address: str) -> str:
    answer = client.get(f"/auth/login?rd={quote(address, safe='')}", headers=FORM | session)
    assert answer.status_code == 303
    return str(answer.headers["location"])


def led_to_by_form(client: httpx2.Client, user: TestUser, address: str) -> str:
    form = {"username": user.email, "password": user.password, "rd": address}
    answer = client.post("/auth/login", data=form, headers=FORM)
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"])


@pytest.mark.parametrize("address", GOOD)
def test_a_good_address_is_led_to_from_everywhere(
    client: httpx2.Client, session: dict[str, str], user: TestUser, address: str
) -> None:
    for led_to in (led_to_by_page(client, session, address), led_to_by_form(client, user, address)):
        assert led_to.lower() == address.lower()
    answer = client.get("/api/authz/auth-request", headers=NAVIGATION | {"X-Original-URL": address})
    assert answer.headers["location"].lower().endswith("?rd=" + quote(address, safe="").lower())


@pytest.mark.parametrize("address", HOSTILE, ids=ascii)
def test_any_other_is_dropped_without_a_word(
    client: httpx2.Client, session: dict[str, str], user: TestUser, address: str
) -> None:
    """Shows ASVS 1.2.2, ASVS 3.7.2, RFC 9700 2.1, RFC 9700 4.11."""
    assert led_to_by_page(client, session, address) == ACCOUNT
    if len(address) < 2048:
        assert led_to_by_form(client, user, address) == ACCOUNT
    page = client.get(f"/auth/login?rd={quote(address, safe='')}", headers=FORM)
    assert page.status_code == 200
    assert not re.search(r'name="rd" value="[^"]', page.text)


@pytest.mark.parametrize(
    "address",
    [address for address in HOSTILE if address.isprintable() and address.isascii() and address == address.strip()],
)
def test_the_subrequest_leads_nobody_to_a_login_that_would_lead_there(client: httpx2.Client, address: str) -> None:
    answer = client.get("/api/authz/auth-request", headers=NAVIGATION | {"X-Original-URL": address})
    assert answer.status_code == 401
    assert answer.headers.get("location") is None
