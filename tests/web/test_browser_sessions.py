"""Browser sessions over HTTP: one opaque cookie, taken wherever an access token is, ended everywhere."""

import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import httpx2
import pytest

from tests.harness import GatewayProcess, RedisServer, TestUser, run_command, wait_until
from tests.web.asking import AUTHZ_PATHS, client_of, problem_of

pytestmark = pytest.mark.redis
NAME = "gateway_session"
Make = Callable[..., GatewayProcess]


@pytest.fixture
def caller(gateway: GatewayProcess) -> Iterator[httpx2.Client]:
    """Give an HTTP client that keeps no cookie."""
    with client_of(gateway) as opened:
        yield opened


def sign_in(
    client: httpx2.Client, user: TestUser, headers: dict[str, str] | None = None, *, name: str = NAME, **members: object
) -> str:
    """Open a browser session and give its cookie's value."""
    body = {"username": user.email, "password": user.password, "delivery": "session", **members}
    answer = client.post("/auth/login", json=body, headers=headers or {})
    assert answer.status_code == 200, answer.text
    assert answer.json().keys() == {"user"}
    [cookie] = [line for line in answer.headers.get_list("set-cookie") if line.startswith(name)]
    return cookie.partition("=")[2].partition(";")[0]


def cookie_of(value: str) -> dict[str, str]:
    return {"Cookie": f"{NAME}={value}"}


def test_the_cookie_is_opaque_and_lasts_as_long_as_the_browser(gateway: GatewayProcess, caller: httpx2.Client) -> None:
    """Shows ASVS 3.3.2, ASVS 3.3.4, NIST 5.1.1c, NIST 5.1.1f, NIST 5.1.1g."""
    user = gateway.add_user()
    body = {"username": user.email, "password": user.password, "delivery": "session"}
    answer = caller.post("/auth/login", json=body)
    [line] = [line for line in answer.headers.get_list("set-cookie") if line.startswith(NAME)]
    assert re.fullmatch(NAME + r"=[A-Za-z0-9_-]{92}; Path=/; HttpOnly; SameSite=Lax", line)
    assert "refresh_token" not in str(answer.headers)


def test_one_that_is_remembered_lasts_as_a_session_does(make_gateway: Make) -> None:
    gateway = make_gateway(refresh_absolute_ttl_seconds=5000, refresh_idle_ttl_seconds=4000)
    user = gateway.add_user()
    with client_of(gateway) as client:
        body = {"username": user.email, "password": user.password, "delivery": "session", "remember": True}
        [line] = [line for line in client.post("/auth/login", json=body).headers.get_list("set-cookie") if NAME in line]
        assert line.endswith("; Path=/; Max-Age=5000; HttpOnly; SameSite=Lax")


@pytest.mark.parametrize(
    ("settings", "name", "domain"),
    [
        ({}, "__Host-gateway_session", ""),
        ({"cookie_domain": "example.test"}, "__Secure-gateway_session", "; Domain=example.test"),
    ],
    ids=["one host", "a domain"],
)
def test_under_https_its_name_binds_it(make_gateway: Make, settings: dict[str, str], name: str, domain: str) -> None:
    """Shows ASVS 3.3.1, NIST 5.1.1a, NIST 5.1.1b, NIST 5.1c."""
    gateway = make_gateway(issuer="https://auth.example.test", **settings)
    user = gateway.add_user()
    with client_of(gateway) as client:
        body = {"username": user.email, "password": user.password, "delivery": "session"}
        lines = client.post("/auth/login", json=body).headers.get_list("set-cookie")
        [line] = [line for line in lines if "gateway_session" in line]
        assert re.fullmatch(rf"{name}=[A-Za-z0-9_-]{{92}}; Path=/{domain}; HttpOnly; SameSite=Lax; Secure", line)
        value = line.partition("=")[2].partition(";")[0]
        path = "/api/authz/auth-request"
        assert client.get(path, headers={"Cookie": f"{name}={value}"}).status_code == 200
        assert client.get(path, headers=cookie_of(value)).status_code == 401


@pytest.mark.parametrize("path", AUTHZ_PATHS)
def test_a_subrequest_with_it_is_allowed_as_its_user(gateway: GatewayProcess, caller: httpx2.Client, path: str) -> None:
    user = gateway.add_user(roles=("staff", "admin"), name="Änn")
    session = cookie_of(sign_in(caller, user))
    for _ in range(3):  # the first takes a look at Redis, the others come from memory
        answer = caller.get(path, headers=session)
        assert answer.status_code == 200
        assert answer.headers["remote-user"] == answer.headers["remote-email"] == user.email
        assert answer.headers["remote-sub"] == user.user_id
        assert answer.headers["remote-groups"].split(",") == ["admin", "staff"] or answer.headers["remote-groups"]
        assert answer.headers["remote-name"] == "%C3%84nn"
        assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("scheme", ["Bearer eyJhbGciOiJub25lIn0.e30.", "Bearer opaque-token", "Basic QTpC", "Token x"])
def test_the_authorization_of_an_application_is_left_alone(
    gateway: GatewayProcess, caller: httpx2.Client, scheme: str
) -> None:
    session = cookie_of(sign_in(caller, gateway.add_user()))
    for _ in range(2):
        assert caller.get("/api/authz/auth-request", headers=session | {"Authorization": scheme}).status_code == 200
    assert caller.get("/api/authz/auth-request", headers={"Authorization": scheme}).status_code == 401


def test_an_access_token_of_ours_decides_before_it(gateway: GatewayProcess, caller: httpx2.Client) -> None:
    ann, bob = gateway.add_user(), gateway.add_user()
    session = cookie_of(sign_in(caller, ann))
    token = gateway.login(bob, caller, delivery="body")["access_token"]
    answer = caller.get("/api/authz/auth-request", headers=session | {"Authorization": f"Bearer {token}"})
    assert answer.headers["remote-sub"] == bob.user_id


def test_requirements_hold_for_it(gateway: GatewayProcess, caller: httpx2.Client) -> None:
    session = cookie_of(sign_in(caller, gateway.add_user(roles=("staff",))))
    expected = {"role=staff": 200, "role=admin": 403, "max_auth_age=300": 200, "max_auth_age=x": 403}
    for query, status in expected.items():
        for _ in range(2):
            assert caller.get(f"/api/authz/auth-request?{query}", headers=session).status_code == status, query


def test_what_is_no_cookie_of_ours_is_refused_without_asking_redis(
    make_gateway: Make, own_redis: Callable[..., RedisServer]
) -> None:
    """Shows ASVS 7.2.1, ASVS 7.2.2."""
    server = own_redis()
    gateway = make_gateway(redis_url=server.url)
    user = gateway.add_user()
    with client_of(gateway) as client:
        good = sign_in(client, user)
        refresh_token = gateway.login(user, client, delivery="body")["refresh_token"]
        server.kill()
        bad = [
            "",
            "x",
            good[:-1],
            good + "A",
            good[:-1] + ("A" if good[-1] != "A" else "B"),
            f'"{good}"',
            refresh_token,
        ]
        for value in bad:
            answer = client.get("/api/authz/auth-request", headers=cookie_of(value))
            assert answer.status_code == 401, value
        twice = client.get("/api/authz/auth-request", headers={"Cookie": f"{NAME}={good}; {NAME}={good}"})
        assert twice.status_code == 401


def test_it_is_no_refresh_token_and_no_access_token(gateway: GatewayProcess, caller: httpx2.Client) -> None:
    value = sign_in(caller, gateway.add_user())
    assert caller.post("/auth/refresh", json={"refresh_token": value}).status_code == 401
    assert caller.get("/auth/me", headers={"Authorization": f"Bearer {value}"}).status_code == 401
    assert caller.get("/api/authz/auth-request", headers={"Cookie": f"access_token={value}"}).status_code == 401


def test_the_api_takes_it_where_it_takes_an_access_token(gateway: GatewayProcess, caller: httpx2.Client) -> None:
    user = gateway.add_user()
    session = cookie_of(sign_in(caller, user))
    assert caller.get("/auth/me", headers=session).json()["id"] == user.user_id
    [row] = caller.get("/auth/sessions", headers=session).json()["sessions"]
    assert row["current"] is True
    answer = caller.post("/auth/logout-all", headers=session)
    assert answer.json() == {"revoked_sessions": 1}
    assert f"{NAME}=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax" in answer.headers.get_list("set-cookie")
    assert caller.get("/auth/me", headers=session).status_code == 401


def test_another_site_changes_nothing_with_it(gateway: GatewayProcess, caller: httpx2.Client) -> None:
    session = cookie_of(sign_in(caller, gateway.add_user()))
    for path in ("/auth/logout", "/auth/logout-all"):
        answer = caller.post(path, headers=session | {"Sec-Fetch-Site": "cross-site"})
        problem_of(answer, 403, "cross-site-request")
    assert caller.get("/api/authz/auth-request", headers=session).status_code == 200


def test_logout_ends_it_at_every_gateway_within_a_second(make_gateway: Make) -> None:
    """Shows ASVS 7.4.1, NIST 5.1a."""
    first, second = make_gateway(), make_gateway()
    user = first.add_user()
    with client_of(first) as here, client_of(second) as there:
        session = cookie_of(sign_in(here, user))
        for client in (here, there):
            assert client.get("/api/authz/auth-request", headers=session).status_code == 200
        answer = here.post("/auth/logout", headers=session)
        ended_at = time.monotonic()
        assert answer.status_code == 204
        assert f"{NAME}=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax" in answer.headers.get_list("set-cookie")
        assert here.get("/api/authz/auth-request", headers=session).status_code == 401
        wait_until(lambda: there.get("/api/authz/auth-request", headers=session).status_code == 401, 2)
        assert time.monotonic() - ended_at < 1


def test_a_login_ends_the_session_whose_cookie_came_along(gateway: GatewayProcess, caller: httpx2.Client) -> None:
    """Shows ASVS 7.2.4."""
    user = gateway.add_user()
    before = cookie_of(sign_in(caller, user))
    after = cookie_of(sign_in(caller, user, before))
    assert caller.get("/api/authz/auth-request", headers=before).status_code == 401
    assert caller.get("/api/authz/auth-request", headers=after).status_code == 200


def test_it_ends_after_its_time_unless_it_is_remembered(make_gateway: Make) -> None:
    """Shows ASVS 7.3.2."""
    gateway = make_gateway(browser_session_ttl_seconds=2, session_check_seconds=600)
    user = gateway.add_user()
    with client_of(gateway) as client:
        short, long = cookie_of(sign_in(client, user)), cookie_of(sign_in(client, user, remember=True))
        for session in (short, long):
            assert client.get("/api/authz/auth-request", headers=session).status_code == 200
        time.sleep(2.1)  # from memory too: Redis's clock cannot be moved
        assert client.get("/api/authz/auth-request", headers=short).status_code == 401
        assert client.get("/api/authz/auth-request", headers=long).status_code == 200


@pytest.mark.one_server("counts what it is asked")
def test_fifty_first_requests_at_once_cost_one_look(make_gateway: Make, own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    gateway = make_gateway(redis_url=server.url)
    user = gateway.add_user()
    with client_of(gateway) as client:
        session = cookie_of(sign_in(client, user))
        other = cookie_of(sign_in(client, gateway.add_user()))
        client.get("/api/authz/auth-request", headers=other)  # so that Redis has the script
    statuses: Counter[int] = Counter()
    barrier = threading.Barrier(50)

    def ask() -> None:
        with client_of(gateway) as client:
            client.get("/livez")
            barrier.wait()
            statuses[client.get("/api/authz/auth-request", headers=session).status_code] += 1

    with server.client() as redis:

        def calls() -> int:
            return int(redis.info("commandstats")["cmdstat_evalsha"]["calls"])

        before = -1
        while before != (before := calls()):  # until what the logins have left to be done is done
            time.sleep(0.5)
        threads = [threading.Thread(target=ask) for _ in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        looks = calls() - before
    print(f"50 first requests at once: {dict(statuses)}, {looks} looks at Redis")
    assert statuses == {200: 50}
    assert looks in (1, 2)  # the keyring is looked at by a script too, every now and then


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_while_redis_is_away_who_was_seen_passes_and_others_are_told_to_come_again(
    make_gateway: Make, own_redis: Callable[..., RedisServer], how: str
) -> None:
    server = own_redis()
    gateway = make_gateway(redis_url=server.url, session_check_seconds=1)
    with client_of(gateway) as client:
        seen, unseen = (cookie_of(sign_in(client, gateway.add_user())) for _ in range(2))
        assert client.get("/api/authz/auth-request", headers=seen).status_code == 200
        server.kill() if how == "killed" else server.signal(signal.SIGSTOP)
        try:
            time.sleep(1.2)  # the memory of it would be asked again now
            begun = time.monotonic()
            while time.monotonic() - begun < 3:
                assert client.get("/api/authz/auth-request", headers=seen).status_code == 200
                answer = client.get("/api/authz/auth-request", headers=unseen)
                assert answer.status_code == 503
                assert int(answer.headers["retry-after"]) >= 1
                time.sleep(0.1)
        finally:
            server.signal(signal.SIGCONT) if how == "stopped" else server.start()
        wait_until(lambda: client.get("/api/authz/auth-request", headers=unseen).status_code == 200, 3)


def test_a_change_of_roles_is_seen_with_the_next_look(make_gateway: Make) -> None:
    """Shows ASVS 8.3.2."""
    gateway = make_gateway(session_check_seconds=1)
    user = gateway.add_user(roles=("staff",))
    with client_of(gateway) as client:
        session = cookie_of(sign_in(client, user))
        assert client.get("/api/authz/auth-request?role=staff", headers=session).status_code == 200
        assert run_command("users", "roles", user.email, "admin", env=gateway.env).returncode == 0
        wait_until(lambda: client.get("/api/authz/auth-request?role=admin", headers=session).status_code == 200, 3)
