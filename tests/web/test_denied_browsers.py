"""What a denied request is told, by what browsers really send and proxies pass on."""

import pytest

from gateway.settings import Settings
from gateway.web.subrequest.browsers import Asked, Endpoint, Kind, what_was_asked
from tests.web.browser_requests import REQUESTS, URL, passed_on

SETTINGS = Settings(issuer="https://auth.example.com", cookie_domain="example.com")


@pytest.mark.parametrize("endpoint", Endpoint)
@pytest.mark.parametrize("request_name", REQUESTS)
def test_what_a_request_is(endpoint: Endpoint, request_name: str) -> None:
    method, own, kind = REQUESTS[request_name]
    asked = what_was_asked(endpoint, *passed_on(endpoint, method, own), SETTINGS, is_trusted=True)
    assert asked == Asked(kind, URL if kind is Kind.NAVIGATION else None)


@pytest.mark.parametrize("endpoint", Endpoint)
def test_who_is_no_trusted_proxy_is_not_believed(endpoint: Endpoint) -> None:
    subrequest = passed_on(endpoint, *REQUESTS["navigation"][:2])
    assert what_was_asked(endpoint, *subrequest, SETTINGS, is_trusted=False) == Asked(Kind.OTHER, None)


@pytest.mark.parametrize("endpoint", Endpoint)
@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/",
        "http://app.example.com/",
        "https://auth.example.com/auth/login",
        "https://a.example.com/#x",
    ],
)
def test_a_login_does_not_lead_where_it_may_not(endpoint: Endpoint, url: str) -> None:
    subrequest = passed_on(endpoint, *REQUESTS["navigation"][:2], url=url)
    assert what_was_asked(endpoint, *subrequest, SETTINGS, is_trusted=True) == Asked(Kind.NAVIGATION, None)


@pytest.mark.parametrize("name", [b"x-forwarded-host", b"x-forwarded-uri", b"x-forwarded-proto"])
def test_what_was_sent_twice_says_nothing(name: bytes) -> None:
    method, path, headers = passed_on(Endpoint.FORWARD, *REQUESTS["navigation"][:2])
    twice = [*headers, (name, b"app.example.com")]
    asked = what_was_asked(Endpoint.FORWARD, method, path, twice, SETTINGS, is_trusted=True)
    assert asked == Asked(Kind.NAVIGATION, None)
