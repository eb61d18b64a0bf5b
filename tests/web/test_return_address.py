import pytest

from gateway.settings import Settings
from gateway.web.http.return_address import safe_return_address
from tests.web.return_addresses import GOOD, HOSTILE

SETTINGS = Settings(issuer="https://auth.example.com", cookie_domain="example.com")


def test_the_corpus_is_large_enough_and_has_each_once() -> None:
    assert len(HOSTILE) == len(set(HOSTILE)) >= 150
    assert len(GOOD) == len(set(GOOD)) >= 40


@pytest.mark.parametrize("address", GOOD)
def test_a_login_leads_back_to_a_page_of_the_domain(address: str) -> None:
    found = safe_return_address(address, SETTINGS)
    assert found is not None
    assert found.lower() == address.lower()


@pytest.mark.parametrize("address", HOSTILE, ids=ascii)
def test_a_login_leads_nowhere_else(address: str) -> None:
    """Shows ASVS 1.2.2, ASVS 3.7.2, RFC 9700 2.1, RFC 9700 4.11."""
    assert safe_return_address(address, SETTINGS) is None


@pytest.mark.parametrize(
    ("issuer", "address", "is_good"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:9000/app", True),
        ("http://127.0.0.1:8000", "https://127.0.0.1/app", True),
        ("http://127.0.0.1:8000", "http://localhost:8000/app", False),
        ("http://[::1]:8000", "http://[::1]:9000/app", True),
        ("http://[::1]:8000", "http://[::2]:9000/app", False),
        ("https://auth.example.com", "https://auth.example.com/app", True),
        ("https://auth.example.com", "https://example.com/app", False),
    ],
)
def test_without_settings_it_is_the_host_of_the_issuer(issuer: str, address: str, is_good: bool) -> None:
    assert (safe_return_address(address, Settings(issuer=issuer)) is not None) is is_good


def test_hosts_that_are_named_are_all_that_count() -> None:
    named = Settings(issuer="https://auth.example.com", return_hosts=("shop.example.org", "*.apps.example.net"))
    for host, is_good in {
        "shop.example.org": True, "x.shop.example.org": False, "apps.example.net": False, "a.apps.example.net": True,
        "a.b.apps.example.net": True, "auth.example.com": False, "xapps.example.net": False,
    }.items():  # fmt: skip
        assert (safe_return_address(f"https://{host}/", named) is not None) is is_good, host
