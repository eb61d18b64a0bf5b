"""`cookies=others`: the answer gives back the cookies that are not ours, for proxies that cannot take one away."""

from collections.abc import Iterator

import httpx2
import pytest

from tests.harness import GatewayProcess
from tests.web.asking import client_of, problem_of
from tests.web.test_browser_sessions import cookie_of, sign_in

PATHS = ("/api/authz/auth-request", "/api/authz/forward-auth")
WAYS = {"quick": {}, "ordinary": {"Connection": "close"}}
OURS = [  # but for those that are a second session, or a second credential: these are refused
    "__Host-gateway_session",
    "__Secure-gateway_session",
    "__Secure-access_token",
    *(prefix + name for name in ("refresh_token", "known_device") for prefix in ("", "__Secure-")),
]
SENT_AND_GIVEN = {
    "ours in the middle": ("a=1; {session}; b=2", "a=1; b=2"),
    "ours alone": ("{session}", None),
    "ours first and last": ("known_device=x; a=1; {session}", "a=1"),
    "no blanks": ("a=1;{session};b=2", "a=1; b=2"),
    "tabs and blanks": ("a=1;\t{session}\t;  b=2", "a=1; b=2"),
    "a blank before the equals sign": ("a=1; known_device =x; {session}", "a=1"),
    "values of any kind": ('a="x=y"; {session}; b=gateway_session; =c; d', 'a="x=y"; b=gateway_session; =c; d'),
    "names that are nearly ours": (
        "{session}; xgateway_session=1; gateway_sessions=2",
        "xgateway_session=1; gateway_sessions=2",
    ),
    "empty ones": ("a=1;;; {session};", "a=1"),
}


@pytest.fixture(scope="module")
def client(gateway: GatewayProcess) -> Iterator[httpx2.Client]:
    with client_of(gateway) as client:
        yield client


@pytest.fixture(scope="module")
def session(gateway: GatewayProcess, client: httpx2.Client) -> str:
    headers = cookie_of(sign_in(client, gateway.add_user(roles=("staff",))))
    assert client.get(PATHS[0], headers=headers).status_code == 200  # seen once, it is answered from memory
    return headers["Cookie"]


@pytest.mark.redis
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("case", SENT_AND_GIVEN)
def test_the_others_come_back_and_ours_do_not(
    case: str, path: str, way: str, client: httpx2.Client, session: str
) -> None:
    sent, given = SENT_AND_GIVEN[case]
    for query in ("cookies=others", "cookies=others&role=staff", "cookies=others&cookies=others"):
        answer = client.get(f"{path}?{query}", headers=WAYS[way] | {"Cookie": sent.format(session=session)})
        assert (answer.status_code, answer.headers.get("cookie")) == (200, given)
        assert answer.headers["remote-groups"] == "staff"
        assert ("x-request-id" in answer.headers) is (way == "ordinary")


@pytest.mark.redis
@pytest.mark.parametrize("name", OURS)
def test_each_of_ours_stays_in_every_spelling(name: str, client: httpx2.Client, session: str) -> None:
    answer = client.get(f"{PATHS[0]}?cookies=others", headers={"Cookie": f"a=1; {name}=x; {session}; b=2"})
    assert (answer.status_code, answer.headers["cookie"]) == (200, "a=1; b=2")


@pytest.mark.redis
def test_nobody_gets_them_unasked_and_what_cannot_be_read_is_refused(client: httpx2.Client, session: str) -> None:
    headers = {"Cookie": f"a=1; {session}"}
    for query in ("", "role=staff", "Cookies=others"):
        assert "cookie" not in client.get(f"{PATHS[0]}?{query}", headers=headers).headers
    for query in ("cookies=", "cookies", "cookies=ours", "cookies=others,", "cookies=others&cookies=all"):
        problem_of(client.get(f"{PATHS[0]}?{query}", headers=headers), 403, "insufficient-role")


@pytest.mark.redis
def test_who_is_denied_gets_none_back(client: httpx2.Client) -> None:
    answer = client.get(f"{PATHS[0]}?cookies=others", headers={"Cookie": "a=1"})
    assert answer.status_code == 401
    assert "cookie" not in answer.headers
