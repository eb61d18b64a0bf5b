import itertools
import re
import time
from collections.abc import Callable

import httpx2
import pytest

from tests.harness import GatewayProcess
from tests.web.asking import Session, client_of, log_in, problem_of, send_raw

PEER = "127.0.0.1"
BEHIND_PROXIES = {"trusted_proxies": "127.0.0.1,10.0.0.0/8,2001:db8:ffff::/48"}
ADDRESSES = (f"198.51.{third}.{fourth}" for third, fourth in itertools.product(range(1, 200), range(1, 200)))
NOBODY = {"username": "nobody@example.com", "password": "wrong"}


def seen_address(gateway: GatewayProcess, headers: list[tuple[str, str]]) -> str:
    """Log in with these headers and give the address that the session has in the user's own list."""
    user = gateway.add_user()
    with client_of(gateway) as client:
        body = {"username": user.email, "password": user.password}
        answer = client.post("/auth/login", json=body, headers=headers)
        bearer = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        [row] = client.get("/auth/sessions", headers=bearer).json()["sessions"]
    ip: str = row["ip"]
    return ip


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        ([], PEER),
        ([""], PEER),
        ([", ,"], PEER),
        (["203.0.113.9"], "203.0.113.9"),
        (["1.1.1.1, 203.0.113.9"], "203.0.113.9"),
        (["1.1.1.1,203.0.113.9"], "203.0.113.9"),
        (["1.1.1.1 ,\t203.0.113.9"], "203.0.113.9"),
        (["1.1.1.1", "203.0.113.9"], "203.0.113.9"),
        (["203.0.113.9", "10.1.2.3"], "203.0.113.9"),
        (["203.0.113.9, 10.1.2.3"], "203.0.113.9"),
        (["1.1.1.1, 203.0.113.9, 10.1.2.3, 127.0.0.1, 10.9.9.9"], "203.0.113.9"),
        (["203.0.113.9,"], "203.0.113.9"),
        ([", 203.0.113.9,, 10.1.2.3,"], "203.0.113.9"),
        (["10.0.0.1"], "10.0.0.1"),
        (["10.0.0.1, 10.0.0.2"], "10.0.0.1"),
        (["10.0.0.1", "10.0.0.2, 127.0.0.1"], "10.0.0.1"),
        (["::ffff:203.0.113.9"], "203.0.113.9"),
        (["::FFFF:CB00:7109"], "203.0.113.9"),
        (["203.0.113.9, ::ffff:10.1.2.3"], "203.0.113.9"),
        (["2001:db8::1"], "2001:db8::1"),
        (["2001:DB8:0:0:0:0:0:1"], "2001:db8::1"),
        (["2001:db8::1, 2001:db8:ffff::7"], "2001:db8::1"),
        (["203.0.113.9:1234"], "203.0.113.9"),
        (["[2001:db8::1]"], "2001:db8::1"),
        (["[2001:db8::1]:443"], "2001:db8::1"),
        (["[::ffff:203.0.113.9]:443"], "203.0.113.9"),
        (["1.1.1.1, 203.0.113.9:65535 , 10.1.2.3:80,[2001:db8:ffff::7]:1"], "203.0.113.9"),
        (["10.0.0.1:1, 10.0.0.2:2"], "10.0.0.1"),
        (["2001:db8::1:443"], "2001:db8::1:443"),
        (["203.0.113.9:"], PEER),
        (["203.0.113.9:x"], PEER),
        (["203.0.113.9:65536"], PEER),
        (["203.0.113.9:-1"], PEER),
        (["203.0.113.9: 80"], PEER),
        (["203.0.113.9:80:80"], PEER),
        (["[2001:db8::1]:"], PEER),
        (["[2001:db8::1]443"], PEER),
        (["[2001:db8::1"], PEER),
        (["2001:db8::1]:443"], PEER),
        (["[203.0.113.9]:443"], PEER),
        (["[]:443"], PEER),
        (["host.example:443"], PEER),
        (["unknown"], PEER),
        (["_hidden"], PEER),
        (["for=203.0.113.9"], PEER),
        (['"203.0.113.9"'], PEER),
        (["203.0.113.9, rubbish"], PEER),
        (["203.0.113.9, rubbish, 10.1.2.3"], PEER),
        (["rubbish, 203.0.113.9"], "203.0.113.9"),
        (["203.0.113"], PEER),
        (["203.0.113.09"], PEER),
        (["203.0.113.256"], PEER),
        (["0xcb.0.0x71.9"], PEER),
        (["3405803785"], PEER),
        (["203.0.113.9/32"], PEER),
        (["203.0.113.9; 1.1.1.1"], PEER),
        (["203.0.113.9 1.1.1.1"], PEER),
    ],
)
def test_behind_trusted_proxies_the_right_most_address_that_is_not_trusted_counts(
    forwarded: list[str], address: str, gateway_with: Callable[..., GatewayProcess]
) -> None:
    """T1. Shows ASVS 15.3.4."""
    headers = [("X-Forwarded-For", value) for value in forwarded]
    assert seen_address(gateway_with(**BEHIND_PROXIES), headers) == address


@pytest.mark.parametrize(
    "name",
    ["X-Forwarded-For", "Forwarded", "X-Real-IP", "X-Client-IP", "True-Client-IP", "CF-Connecting-IP", "Client-IP"],
)
def test_from_an_untrusted_peer_no_header_is_believed(name: str, gateway: GatewayProcess) -> None:
    """T1. Shows ASVS 4.1.3, ASVS 15.3.4, RFC 9700 4.13b."""
    assert seen_address(gateway, [(name, "203.0.113.9")]) == PEER


@pytest.mark.parametrize("name", ["Forwarded", "X-Real-IP", "X_Forwarded_For", "CF-Connecting-IP", "X-Client-IP"])
def test_from_a_trusted_peer_no_other_header_is_believed(
    name: str, gateway_with: Callable[..., GatewayProcess]
) -> None:
    """T1."""
    assert seen_address(gateway_with(**BEHIND_PROXIES), [(name, "203.0.113.9")]) == PEER


def test_a_peer_that_is_not_among_the_trusted_ones_is_not_believed(
    gateway_with: Callable[..., GatewayProcess],
) -> None:
    gateway = gateway_with(trusted_proxies="10.0.0.0/8,::1")
    assert seen_address(gateway, [("X-Forwarded-For", "203.0.113.9")]) == PEER


def test_the_address_in_an_audit_line_is_the_clients(gateway_with: Callable[..., GatewayProcess]) -> None:
    gateway = gateway_with(**BEHIND_PROXIES)
    with client_of(gateway) as client:
        session = log_in(gateway, client, X_Forwarded_For="203.0.113.77")
    lines = [line for line in gateway.log_lines() if line.get("sid") == session.sid]
    assert [line["address"] for line in lines] == ["203.0.113.77"]


def test_a_port_wins_no_attempt(gateway_with: Callable[..., GatewayProcess]) -> None:
    """T1: it is the client's to choose."""
    gateway = gateway_with(login_limit="3/hour", trusted_proxies=PEER)
    address = next(ADDRESSES)
    assert statuses(gateway, [f"{address}:{port}" for port in range(1000, 1004)]) == [401] * 3 + [429]


def test_what_cannot_be_read_is_told_in_the_log_once_a_minute_with_its_text(
    make_gateway: Callable[..., GatewayProcess],
) -> None:
    gateway = make_gateway(trusted_proxies=PEER)
    for garbage in ("unknown", "_hidden", "203.0.113.9:x", "u" * 5000):
        attempt(gateway, garbage)
    attempt(gateway, "203.0.113.9:80")
    [line] = [line for line in gateway.log_lines() if "X-Forwarded-For" in line["message"]]
    assert (line["level"], line["peer"], line["element"]) == ("warning", PEER, "unknown")


# --------------------------------------------------------------------------------------------------------------- limits

LIMITED = {"login_limit": "3/hour", "refresh_limit": "3/hour", "trusted_proxies": PEER}


@pytest.fixture
def limited(gateway_with: Callable[..., GatewayProcess]) -> GatewayProcess:
    """Give a gateway that takes three logins and three refreshes an hour from each address of `X-Forwarded-For`."""
    return gateway_with(**LIMITED)


def attempt(
    gateway: GatewayProcess, address: str, path: str = "/auth/login", body: dict[str, str] = NOBODY
) -> httpx2.Response:
    with client_of(gateway) as client:
        return client.post(path, json=body, headers={"X-Forwarded-For": address} if address else {})


def statuses(gateway: GatewayProcess, addresses: list[str]) -> list[int]:
    return [attempt(gateway, address).status_code for address in addresses]


def test_one_attempt_more_than_the_limit_is_a_429(limited: GatewayProcess) -> None:
    """Shows ASVS 2.3.2, ASVS 2.4.1."""
    assert statuses(limited, [next(ADDRESSES)] * 5) == [401, 401, 401, 429, 429]


def test_another_address_has_a_limit_of_its_own(limited: GatewayProcess) -> None:
    assert statuses(limited, [next(ADDRESSES)] * 4)[-1] == 429
    assert statuses(limited, [next(ADDRESSES)]) == [401]


def test_a_429_says_which_limit_and_when_to_try_again(limited: GatewayProcess) -> None:
    address = next(ADDRESSES)
    answer = [attempt(limited, address) for _ in range(4)][-1]
    problem_of(answer, 429, "rate-limited")
    assert answer.headers["RateLimit-Policy"] == '"login";q=3;w=3600'
    assert re.fullmatch(r'"login";r=0;t=[1-9][0-9]*', answer.headers["RateLimit"])
    assert re.fullmatch(r"[1-9][0-9]*", answer.headers["Retry-After"])
    assert int(answer.headers["Retry-After"]) <= 3600
    assert "WWW-Authenticate" not in answer.headers
    assert answer.headers["Cache-Control"] == "no-store"


def test_a_success_says_how_much_is_left(limited: GatewayProcess) -> None:
    address, user = next(ADDRESSES), limited.add_user()
    body = {"username": user.email, "password": user.password}
    answers = [attempt(limited, address, body=body) for _ in range(3)]
    assert {answer.headers["RateLimit-Policy"] for answer in answers} == {'"login";q=3;w=3600'}
    assert [answer.headers["RateLimit"].split(";")[1] for answer in answers] == ["r=2", "r=1", "r=0"]


def test_an_attempt_counts_before_the_password_is_looked_at(limited: GatewayProcess) -> None:
    address, user = next(ADDRESSES), limited.add_user()
    assert statuses(limited, [address] * 3) == [401, 401, 401]
    right = attempt(limited, address, body={"username": user.email, "password": user.password})
    problem_of(right, 429, "rate-limited")


def test_logins_and_refreshes_are_counted_apart(limited: GatewayProcess) -> None:
    address = next(ADDRESSES)
    assert statuses(limited, [address] * 4)[-1] == 429
    with client_of(limited) as client:
        session = log_in(limited, client, X_Forwarded_For=next(ADDRESSES))
    answer = attempt(limited, address, "/auth/refresh", {"refresh_token": session.refresh_token})
    assert answer.status_code == 200
    assert answer.headers["RateLimit-Policy"] == '"refresh";q=3;w=3600'


def test_a_forged_refresh_token_does_not_count(limited: GatewayProcess) -> None:
    address = next(ADDRESSES)
    with client_of(limited) as client:
        session = log_in(limited, client, X_Forwarded_For=next(ADDRESSES))
    for token in ("", "forged", "A" * 92, session.refresh_token + "A", session.access_token) * 2:
        answer = attempt(limited, address, "/auth/refresh", {"refresh_token": token})
        problem_of(answer, 401, "refresh-token-invalid")
    answer = attempt(limited, address, "/auth/refresh", {"refresh_token": session.refresh_token})
    assert answer.status_code == 200
    assert answer.headers["RateLimit"].startswith('"refresh";r=2')


def test_a_refresh_over_the_limit_uses_nothing_up_and_takes_no_cookie_back(limited: GatewayProcess) -> None:
    address = next(ADDRESSES)
    with client_of(limited) as client:
        session = log_in(limited, client, X_Forwarded_For=next(ADDRESSES))
        for _ in range(3):
            answer = attempt(limited, address, "/auth/refresh", {"refresh_token": session.refresh_token})
            session.refresh_token = answer.json()["refresh_token"]
        cookie = {"Cookie": f"refresh_token={session.refresh_token}"}
        refused = client.post("/auth/refresh", headers=cookie | {"X-Forwarded-For": address})
        problem_of(refused, 429, "rate-limited")
        assert refused.headers["RateLimit-Policy"] == '"refresh";q=3;w=3600'
        assert "Set-Cookie" not in refused.headers
        again = client.post("/auth/refresh", headers=cookie | {"X-Forwarded-For": next(ADDRESSES)})
        assert again.status_code == 200


def test_two_gateways_count_together(make_gateway: Callable[..., GatewayProcess]) -> None:
    """Shows ASVS 2.3.2, ASVS 2.4.1."""
    a, b = (make_gateway(login_limit="3/hour") for _ in range(2))
    assert [attempt(gateway, "").status_code for gateway in (a, b, a, b, a)] == [401, 401, 401, 429, 429]


def test_rotating_the_header_from_an_untrusted_peer_wins_no_attempt(
    make_gateway: Callable[..., GatewayProcess],
) -> None:
    """T1: the client that stands before the gateway alone chooses what it likes, and is counted as who it is."""
    gateway = make_gateway(login_limit="3/hour")
    rotating = ["1.1.1.1", "2.2.2.2, 3.3.3.3", "rubbish", "::1", "", "5.5.5.5"]
    assert statuses(gateway, rotating) == [401] * 3 + [429] * 3


def test_rotating_what_lies_left_of_the_clients_address_wins_no_attempt(limited: GatewayProcess) -> None:
    """T1."""
    address = next(ADDRESSES)
    rotating = [f"{number}.1.1.1, {address}" for number in range(1, 6)]
    assert statuses(limited, rotating) == [401] * 3 + [429] * 2


def test_garbage_counts_as_the_peer_and_wins_no_attempt(make_gateway: Callable[..., GatewayProcess]) -> None:
    """T1."""
    gateway = make_gateway(**LIMITED)
    rotating = ["203.0.113.9:x", "203.0.113.9:70000", "rubbish", "[::1]:y", "_hidden", ""]
    assert statuses(gateway, rotating) == [401] * 3 + [429] * 3


def test_an_ipv6_customer_is_counted_by_the_64_in_which_he_picks_at_will(limited: GatewayProcess) -> None:
    """T1."""
    inside = [f"2001:db8:1:2:{number:x}::{number:x}" for number in range(1, 6)]
    assert statuses(limited, inside) == [401] * 3 + [429] * 2
    assert statuses(limited, ["2001:db8:1:3::1"]) == [401]


def test_an_ipv4_address_counts_alone_however_it_is_written(limited: GatewayProcess) -> None:
    address = next(ADDRESSES)
    spelt = [address, f"::ffff:{address}", f"::FFFF:{address}", address]
    assert statuses(limited, spelt) == [401, 401, 401, 429]


@pytest.mark.parametrize(
    "path", ["/auth/login?x=1", "/auth/%6cogin", "/auth%2flogin", "/%61uth/login", "/auth/login%0a", "//auth/login"]
)
def test_no_spelling_of_the_path_has_a_limit_of_its_own(path: str, limited: GatewayProcess) -> None:
    """T30: it shares the counter or is not there."""
    address = next(ADDRESSES)
    assert statuses(limited, [address] * 3) == [401] * 3
    answer = attempt(limited, address, path)
    assert answer.status_code in (404, 429)


def test_after_the_time_that_it_said_an_attempt_is_heard_again(gateway_with: Callable[..., GatewayProcess]) -> None:
    gateway = gateway_with(login_limit="2/second", trusted_proxies=PEER)
    address = next(ADDRESSES)
    answers = [attempt(gateway, address) for _ in range(10)]
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.headers["Retry-After"] == "1"
    time.sleep(1)
    assert attempt(gateway, address).status_code == 401


def test_a_limit_that_is_off_neither_counts_nor_tells(standing: Session) -> None:
    user = standing.gateway.add_user()
    body = {"username": user.email, "password": user.password}
    answers = [standing.client.post("/auth/login", json=body) for _ in range(30)]
    assert {answer.status_code for answer in answers} == {200}
    assert not [name for answer in answers for name in answer.headers if name.startswith("ratelimit")]


def test_the_defaults_are_ten_logins_and_120_refreshes_a_minute(make_gateway: Callable[..., GatewayProcess]) -> None:
    gateway = make_gateway(login_limit=None, refresh_limit=None)
    with client_of(gateway) as client:
        session = log_in(gateway, client)
        login = client.post("/auth/login", json={"username": session.user.email, "password": session.user.password})
        assert login.headers["RateLimit-Policy"] == '"login";q=10;w=60'
        assert session.refresh().headers["RateLimit-Policy"] == '"refresh";q=120;w=60'


def test_the_servers_own_handling_of_proxy_headers_is_off(gateway: GatewayProcess) -> None:
    """T1: uvicorn trusts the loopback interface unless told otherwise."""
    headers = ["X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: https", "Content-Length: 0"]
    assert send_raw(gateway, "POST /auth/me", *headers).status == 405
    lines = [line for line in gateway.log_lines() if line.get("path") == "/auth/me" and line.get("status") == 405]
    assert {line["peer"] for line in lines} == {PEER}
