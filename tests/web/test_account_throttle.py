"""The guessing throttle over HTTP."""

import hashlib
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from gateway.state import Gateway
from tests.harness import GatewayProcess, RedisServer, TestUser, in_gateway, run_command, wait_until
from tests.web.asking import problem_of, set_cookies

ANOTHER_PASSWORD = "quite another sentence"


@pytest.fixture
def throttled(gateway_with: Callable[..., GatewayProcess]) -> GatewayProcess:
    return gateway_with(account_throttle="on", password_min_length=8)


def attempt(client: httpx2.Client, email: str, password: str = "not the password") -> httpx2.Response:
    return client.post("/auth/login", json={"username": email, "password": password})


def test_the_sixth_attempt_waits_the_same_for_a_user_and_for_nobody(throttled: GatewayProcess) -> None:
    """T26: whether a user exists does not show. Shows ASVS 6.3.8."""
    user = throttled.add_user()
    seen = []
    with throttled.client() as client:
        for email in (user.email, "nobody@example.com"):
            answers = [attempt(client, email) for _ in range(6)]
            assert [answer.status_code for answer in answers] == [401] * 5 + [429]
            assert answers[5].headers["retry-after"] == "30"
            assert answers[5].json()["type"] == "urn:token-gateway:problem:rate-limited"
            seen.append([(answer.status_code, answer.content) for answer in answers])
        right = attempt(client, user.email, user.password)
        assert right.status_code == 429
    assert seen[0] == seen[1]


def test_the_owner_logs_in_from_a_known_device_while_strangers_fail(throttled: GatewayProcess) -> None:
    """T1 and threats 5.8: no stranger can lock the owner out. Shows ASVS 6.3.1."""
    user = throttled.add_user()
    with throttled.client() as owner, throttled.client() as strangers:
        throttled.login(user, owner)
        assert "known_device" in owner.cookies
        refused = 0
        for _ in range(1000):
            refused += attempt(strangers, user.email).status_code == 429
        assert refused == 995
        assert attempt(strangers, user.email, user.password).status_code == 429
        assert attempt(owner, user.email, user.password).status_code == 200
    print(f"strangers: 1000 attempts, {refused} not heard; owner: logged in")


def test_the_device_cookie_goes_to_login_alone_and_to_cookie_delivery_alone(
    gateway_with: Callable[..., GatewayProcess],
) -> None:
    gateway = gateway_with(account_throttle="on", issuer="https://auth.example.test")
    user = gateway.add_user()
    with gateway.client() as client:
        answer = attempt(client, user.email, user.password)
        cookies = answer.headers.get_list("set-cookie")
        (device,) = [cookie for cookie in cookies if cookie.startswith("__Secure-known_device=")]
        attributes = device.split("; ")[1:]
        assert attributes == ["Path=/auth/login", "Max-Age=31536000", "HttpOnly", "SameSite=Strict", "Secure"]
        assert "device_token" not in answer.json()
        body = {"username": user.email, "password": user.password, "delivery": "body"}
        answer = client.post("/auth/login", json=body)
        assert answer.headers.get_list("set-cookie") == []
        assert len(answer.json()["device_token"]) == 72


# ------------------------------------------------------------------------------------------------------ known devices


def log_in(client: httpx2.Client, user: TestUser, *, form: bool = False, **members: Any) -> dict[str, Any]:
    body = {"username": user.email, "password": user.password, "delivery": "body"} | members
    answer = client.post("/auth/login", data=body) if form else client.post("/auth/login", json=body)
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()
    return result


def shut_strangers_out(client: httpx2.Client, user: TestUser) -> None:
    while (status := attempt(client, user.email).status_code) == 401:
        pass
    assert status == 429


def id_of(token: str) -> str:
    """Give the part of a device token in which its id is: version, id and time are the first 22 of its 54 bytes."""
    return token[1:24]


@pytest.mark.parametrize("form", [False, True], ids=["json", "form"])
def test_a_device_without_a_cookie_jar_is_known_by_its_token(form: bool, throttled: GatewayProcess) -> None:
    user = throttled.add_user()
    with throttled.client() as client:
        token = log_in(client, user, form=form)["device_token"]
        shut_strangers_out(client, user)
        body = {"username": user.email, "password": user.password, "delivery": "body"}
        problem_of(client.post("/auth/login", json=body), 429, "rate-limited")
        assert "device_token" in log_in(client, user, form=form, device_token=token)


def test_a_device_has_one_id_over_its_logins_by_cookie_and_by_token(throttled: GatewayProcess) -> None:
    """So it has one lane too: logging in again gives nobody five more guesses."""
    user = throttled.add_user()
    with throttled.client() as client:
        tokens = [log_in(client, user)["device_token"]]
        for _ in range(2):
            tokens.append(log_in(client, user, device_token=tokens[-1])["device_token"])
        by_cookie = {"Cookie": f"known_device={tokens[0]}"}
        answer = client.post("/auth/login", json={"username": user.email, "password": user.password}, headers=by_cookie)
        tokens.append(set_cookies(answer)["known_device"]["value"])
        assert len({id_of(token) for token in tokens}) == 1
        with throttled.client() as other:
            assert id_of(log_in(other, user)["device_token"]) != id_of(tokens[0])
            body = {"username": user.email, "password": "not the password", "delivery": "body"}
            statuses = [other.post("/auth/login", json=body | {"device_token": one}).status_code for one in tokens * 2]
            assert statuses == [401] * 5 + [429] * 3


@pytest.mark.parametrize("by", ["owner", "administrator"])
def test_a_new_password_ends_every_known_device(by: str, throttled: GatewayProcess) -> None:
    user = throttled.add_user()
    with throttled.client() as client:
        body = log_in(client, user)
        if by == "owner":
            change = {"current_password": user.password, "new_password": ANOTHER_PASSWORD}
            bearer = {"Authorization": f"Bearer {body['access_token']}"}
            answer = client.post("/auth/change-password", json=change, headers=bearer)
            assert answer.status_code == 204
            assert "set-cookie" not in answer.headers
        else:
            done = run_command(
                "users", "set-password", user.email, "--password-stdin", env=throttled.env, stdin=ANOTHER_PASSWORD
            )
            assert done.returncode == 0, done.stderr
        changed = TestUser(user.user_id, user.email, ANOTHER_PASSWORD)
        shut_strangers_out(client, changed)
        stale = {"username": user.email, "password": ANOTHER_PASSWORD, "device_token": body["device_token"]}
        problem_of(client.post("/auth/login", json=stale), 429, "rate-limited")


def test_a_renewed_hash_ends_no_known_device(make_gateway: Callable[..., GatewayProcess]) -> None:
    user = make_gateway(account_throttle="on").add_user()
    costly = make_gateway(account_throttle="on", bcrypt_cost=5)
    with costly.client() as client:
        token = log_in(client, user)["device_token"]  # the hash of cost 4 becomes one of cost 5
        shut_strangers_out(client, user)
        log_in(client, user, device_token=token)


def test_a_device_of_a_removed_user_is_none_of_the_next_with_this_address(throttled: GatewayProcess) -> None:
    """Shows ASVS 10.3.3."""
    user = throttled.add_user()
    with throttled.client() as client:
        token = log_in(client, user)["device_token"]
        shut_strangers_out(client, user)
        for arguments, stdin in (
            (("remove", user.email), None),
            (("add", user.email, "--password-stdin"), user.password),
        ):
            done = run_command("users", *arguments, env=throttled.env, stdin=stdin)
            assert done.returncode == 0, done.stderr
        log_in(client, user)  # nobody's failures are not the new user's
        shut_strangers_out(client, user)
        body = {"username": user.email, "password": user.password, "device_token": token}
        problem_of(client.post("/auth/login", json=body), 429, "rate-limited")


@pytest.mark.parametrize("token", [1, True, ["x"], {}])
def test_a_device_token_is_text(token: object, throttled: GatewayProcess) -> None:
    with throttled.client() as client:
        body = {"username": "a@example.com", "password": "x", "device_token": token}
        problem_of(client.post("/auth/login", json=body), 400, "malformed-request")


@pytest.mark.parametrize("token", [None, "", "x", "\u017c" * 72, "A" * 72, "A" * 5000])
def test_a_device_token_that_is_none_of_ours_is_as_none(token: str | None, throttled: GatewayProcess) -> None:
    user = throttled.add_user()
    with throttled.client() as client:
        assert "device_token" in log_in(client, user, device_token=token)


def test_unlock_and_a_password_set_by_an_administrator_end_the_wait(throttled: GatewayProcess) -> None:
    user = throttled.add_user()
    with throttled.client() as client:
        for command, stdin in (("unlock", None), ("set-password", user.password)):
            assert [attempt(client, user.email).status_code for _ in range(6)] == [401] * 5 + [429]
            options = ("--password-stdin",) if stdin else ()
            done = run_command("users", command, user.email, *options, env=throttled.env, stdin=stdin)
            assert done.returncode == 0, done.stderr
            assert attempt(client, user.email, user.password).status_code == 200


def test_off_there_is_no_wait_and_no_device_cookie(gateway: GatewayProcess, client: httpx2.Client) -> None:
    user = gateway.add_user()
    assert {attempt(client, user.email).status_code for _ in range(8)} == {401}
    gateway.login(user, client)
    assert "known_device" not in client.cookies
    assert "device_token" not in log_in(client, user)
    bearer = {"Authorization": f"Bearer {log_in(client, user)['access_token']}"}
    assert {change(client, bearer, "wrong").status_code for _ in range(8)} == {403}


# -------------------------------------------------------------------------------------------------- change of password


def change(client: httpx2.Client, bearer: dict[str, str], current: str, new: str = ANOTHER_PASSWORD) -> httpx2.Response:
    body = {"current_password": current, "new_password": new}
    return client.post("/auth/change-password", json=body, headers=bearer)


def test_a_stolen_access_token_gives_no_free_guesses_and_locks_no_login_out(throttled: GatewayProcess) -> None:
    user = throttled.add_user()
    with throttled.client() as client:
        bearers = [{"Authorization": f"Bearer {log_in(client, user)['access_token']}"} for _ in range(2)]
        statuses = [change(client, bearers[number % 2], f"guess {number}").status_code for number in range(6)]
        assert statuses == [403] * 5 + [429]
        refused = change(client, bearers[0], user.password)
        problem_of(refused, 429, "rate-limited")
        assert refused.headers["retry-after"] == "30"
        log_in(client, user)  # strangers, too, are heard at login
        assert attempt(client, user.email).status_code == 401
        problem_of(change(client, bearers[0], user.password), 429, "rate-limited")
        for command, stdin in (("unlock", None), ("set-password", user.password)):
            options = ("--password-stdin",) if stdin else ()
            done = run_command("users", command, user.email, *options, env=throttled.env, stdin=stdin)
            assert done.returncode == 0, done.stderr
            bearer = {"Authorization": f"Bearer {log_in(client, user)['access_token']}"}
            assert [change(client, bearer, "wrong").status_code for _ in range(6)] == [403] * 5 + [429]


def test_failed_logins_do_not_slow_a_change_of_password_down(throttled: GatewayProcess) -> None:
    user = throttled.add_user()
    with throttled.client() as client:
        bearer = {"Authorization": f"Bearer {log_in(client, user)['access_token']}"}
        shut_strangers_out(client, user)
        assert change(client, bearer, user.password).status_code == 204


def test_at_a_change_of_password_only_a_wrong_one_counts_and_a_right_one_ends_the_count(
    throttled: GatewayProcess,
) -> None:
    user = throttled.add_user()
    with throttled.client() as client:
        bearer = {"Authorization": f"Bearer {log_in(client, user)['access_token']}"}
        assert [change(client, bearer, "wrong").status_code for _ in range(4)] == [403] * 4
        for _ in range(6):
            problem_of(change(client, bearer, user.password, "short"), 422, "password-rejected")
            problem_of(change(client, bearer, user.password, user.password), 422, "password-rejected")
            answer = client.post("/auth/change-password", json={"new_password": "x"}, headers=bearer)
            problem_of(answer, 400, "malformed-request")
            problem_of(change(client, {"Authorization": "Bearer x"}, "wrong"), 401, "access-token-invalid")
        assert [change(client, bearer, "wrong").status_code for _ in range(6)] == [403] * 5 + [429]


# ------------------------------------------------------------------------------------- only a wrong password counts


def statuses_with_redis_lost(
    gateway: GatewayProcess, server: RedisServer, ask: Callable[[], int], how: str
) -> list[int]:
    """Ask six times, and let Redis go away while each password is being compared."""
    statuses = []
    for _ in range(6):
        asking = threading.Thread(target=lambda: statuses.append(ask()))
        asking.start()
        time.sleep(0.15)
        if how == "killed":
            server.kill()
            asking.join()
            server.start()
        else:
            server.command("CONFIG", "SET", "maxmemory", "1")
            asking.join()
            server.command("CONFIG", "SET", "maxmemory", "0")
        wait_until(gateway.is_ready)
    return statuses


@pytest.mark.parametrize(("path", "how"), [("login", "killed"), ("login", "full"), ("change-password", "killed")])
def test_answers_503_never_lead_to_a_429(
    path: str, how: str, make_gateway: Callable[..., GatewayProcess], own_redis: Callable[..., RedisServer]
) -> None:
    server = own_redis()
    gateway = make_gateway(account_throttle="on", redis_url=server.url, bcrypt_cost=12)
    user = gateway.add_user()
    with gateway.client() as client:
        bearer = {"Authorization": f"Bearer {log_in(client, user)['access_token']}"}

        def ask() -> int:
            if path == "login":
                return attempt(client, user.email, user.password).status_code
            return change(client, bearer, user.password).status_code

        statuses = statuses_with_redis_lost(gateway, server, ask, how)
        print(f"{path}, Redis {how} in the middle: {statuses}")
        assert statuses == [503] * 6

        def is_served() -> bool:
            statuses.append(ask())
            return statuses[-1] in (200, 204)

        wait_until(is_served, 2)  # /readyz may be a second old
        assert set(statuses) <= {503, 200, 204}


def test_attempts_that_were_overloaded_do_not_count(make_gateway: Callable[..., GatewayProcess]) -> None:
    """More at once than can be hashed within two seconds: some are told 503, and none is told 429."""
    gateway = make_gateway(account_throttle="on", bcrypt_cost=13)
    user = gateway.add_user()
    others = [f"nobody-{number}@example.com" for number in range(30)]
    statuses: list[int] = []

    def ask(email: str) -> None:
        with gateway.client() as client:
            statuses.append(attempt(client, email, user.password).status_code)

    threads = [threading.Thread(target=ask, args=(email,)) for other in others for email in (other, user.email)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counted = {status: statuses.count(status) for status in sorted(set(statuses))}
    print(f"60 logins at once: {counted}")
    assert 503 in counted
    assert 429 not in counted
    with gateway.client() as client:
        assert wait_until(lambda: attempt(client, user.email, user.password).status_code == 200, 10)
    gateway.kill()  # else it ends when all of them are hashed


def test_callers_who_hang_up_with_the_right_password_do_not_count(make_gateway: Callable[..., GatewayProcess]) -> None:
    gateway = make_gateway(account_throttle="on", bcrypt_cost=11)
    user = gateway.add_user()
    with gateway.client() as client:
        for _ in range(12):
            with gateway.client() as leaving, pytest.raises(httpx2.TimeoutException):
                leaving.post("/auth/login", json={"username": user.email, "password": user.password}, timeout=0.02)
        statuses = [attempt(client, user.email, user.password).status_code]
        while statuses[-1] == 503 and len(statuses) < 10:  # what they left behind is still being hashed
            statuses.append(attempt(client, user.email, user.password).status_code)
        assert statuses[-1] == 200, statuses


# -------------------------------------------------------------------------------------------------------------- memory


def test_what_one_wrong_guess_leaves_is_gone_the_same_day(throttled: GatewayProcess) -> None:
    """Else every address that somebody makes up costs memory for a month."""
    email = "nobody-at-all@example.com"
    with throttled.client() as client:
        assert attempt(client, email).status_code == 401

    async def seconds_left(gateway: Gateway) -> int:
        found: int = await gateway.store.execute("TTL", gateway.store.key(f"guess:{{{digest}}}"))
        return found

    digest = hashlib.sha256(email.encode()).hexdigest()
    assert 0 < in_gateway(throttled.env, seconds_left) <= 6 * 3600
