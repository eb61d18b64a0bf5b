"""The guessing throttle over HTTP."""

from collections.abc import Callable

import httpx2
import pytest

from tests.harness import GatewayProcess, run_command


@pytest.fixture
def throttled(make_gateway: Callable[..., GatewayProcess]) -> GatewayProcess:
    return make_gateway(account_throttle="on", password_min_length=8)


def attempt(client: httpx2.Client, email: str, password: str = "not the password") -> httpx2.Response:
    return client.post("/auth/login", json={"username": email, "password": password})


def test_the_sixth_attempt_waits_the_same_for_a_user_and_for_nobody(throttled: GatewayProcess) -> None:
    """T26: whether a user exists does not show."""
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
    """T1 and threats 5.8: no stranger can lock the owner out."""
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
    make_gateway: Callable[..., GatewayProcess],
) -> None:
    gateway = make_gateway(account_throttle="on", issuer="https://auth.example.test")
    user = gateway.add_user()
    with gateway.client() as client:
        answer = attempt(client, user.email, user.password)
        cookies = answer.headers.get_list("set-cookie")
        (device,) = [cookie for cookie in cookies if cookie.startswith("__Secure-known_device=")]
        attributes = device.split("; ")[1:]
        assert attributes == ["Path=/auth/login", "Max-Age=31536000", "HttpOnly", "SameSite=Strict", "Secure"]
        body = {"username": user.email, "password": user.password, "delivery": "body"}
        assert client.post("/auth/login", json=body).headers.get_list("set-cookie") == []


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
