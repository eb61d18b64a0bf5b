"""Security events and access lines: who did what, from where, with what outcome; and which setting refused what."""

import json
import re
import time
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from gateway.derived_keys import KeyChain
from gateway.state import Gateway
from gateway.telemetry import account_of
from tests.harness import PASSWORD, SECRET, GatewayProcess, in_gateway, wait_until
from tests.web.asking import client_of, log_in

EVENT_MEMBERS = {"time", "level", "logger", "message", "event", "outcome", "address", "request_id"}


def events(gateway: GatewayProcess) -> list[dict[str, Any]]:
    """Give the events of requests: that the first key was made is none."""
    lines = [line for line in gateway.log_lines() if line["logger"] == "gateway.audit"]
    return [line for line in lines if line["event"] != "key_rotated"]


def access_line(gateway: GatewayProcess, answer: httpx2.Response) -> dict[str, Any]:
    request_id = answer.headers["X-Request-Id"]
    [line] = [
        line
        for line in gateway.log_lines()
        if line.get("request_id") == request_id and line["logger"] == "gateway.access"
    ]
    return line


def stream(gateway: GatewayProcess) -> list[dict[str, str]]:
    """Give what is in `audit`, the oldest first."""

    async def work(parts: Gateway) -> list[Any]:
        key = parts.store.key("audit")
        found: list[Any] = await parts.store.execute("XREVRANGE", key, "+", "-")
        return found

    entries = [
        {name.decode(): value.decode() for name, value in fields.items()}
        for _, fields in reversed(in_gateway(gateway.env, work))
    ]
    return [entry for entry in entries if entry["event"] != "key_rotated"]


def test_every_event_of_a_session_is_one_line_and_one_entry_of_the_stream(
    make_gateway: Callable[..., GatewayProcess],
) -> None:
    """Shows ASVS 16.2.1, ASVS 16.3.1."""
    gateway = make_gateway()
    with client_of(gateway) as client:
        session = log_in(gateway, client)
        email = session.user.email
        wrong = client.post("/auth/login", json={"username": email, "password": "x" * 20})
        client.post("/auth/login", json={"username": "nobody@example.com", "password": "x" * 20})
        other = gateway.login(session.user, client)
        bearer = {"Authorization": f"Bearer {other['access_token']}"}
        change = {"current_password": "x" * 20, "new_password": "quite another password"}
        assert client.post("/auth/change-password", json=change, headers=bearer).status_code == 403
        change["current_password"] = PASSWORD
        assert client.post("/auth/change-password", json=change, headers=bearer).status_code == 204
        assert client.post("/auth/logout-all", headers=bearer).status_code == 200
    told = events(gateway)
    assert [(line["event"], line["outcome"], line.get("reason")) for line in told] == [
        ("login_succeeded", "success", None),
        ("login_failed", "failure", "wrong-password"),
        ("login_failed", "failure", "unknown-user"),
        ("login_succeeded", "success", None),
        ("password_changed", "failure", "wrong-password"),
        ("password_changed", "success", None),
        ("sessions_revoked", "success", "logout-all"),
    ]
    for line in told:
        assert set(line) >= EVENT_MEMBERS
        assert ("sub" in line) != ("account" in line)
        assert line["event"] != line["message"]
        assert line["level"] == ("warning" if line["outcome"] == "failure" else "info")
        assert email not in json.dumps(line)
        assert "nobody@example.com" not in json.dumps(line)
    assert told[1]["sub"] == told[0]["sub"] == session.user.user_id
    assert told[1]["request_id"] == wrong.headers["X-Request-Id"] == access_line(gateway, wrong)["request_id"]
    assert re.fullmatch(r"acc_[A-Za-z0-9_-]{22}", told[2]["account"])
    gateway.stop()
    kept = [{name: line[name] for name in line if name not in ("level", "logger", "message")} for line in told]
    assert stream(gateway) == kept


def test_the_account_is_a_hash_that_takes_the_secret() -> None:
    keys, others = KeyChain.of(SECRET).current, KeyChain.of(SECRET[::-1]).current
    account = account_of("nobody@example.com", keys)
    assert account == account_of("nobody@example.com", keys)
    assert account != account_of("nobody@example.com", others)
    assert KeyChain.of(SECRET).current.account_mac != KeyChain.of(SECRET).current.password_pepper


def test_a_login_that_has_to_wait_is_told_with_its_account(make_gateway: Callable[..., GatewayProcess]) -> None:
    gateway = make_gateway(login_limit="1/hour")
    with client_of(gateway) as client:
        body = {"username": "nobody@example.com", "password": "x" * 20}
        answers = [client.post("/auth/login", json=body) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [401, 429, 429]
    limited = [line for line in events(gateway) if line["event"] == "rate_limited"]
    assert [line["request_id"] for line in limited] == [answer.headers["X-Request-Id"] for answer in answers[1:]]
    assert {(line["outcome"], line["reason"]) for line in limited} == {("failure", "login")}
    assert "account" in limited[0]


def test_events_wait_for_redis_and_nobody_waits_for_them(
    make_gateway: Callable[..., GatewayProcess], own_redis: Callable[..., Any]
) -> None:
    server = own_redis()
    gateway = make_gateway(redis_url=server.url)
    with client_of(gateway) as client:
        session = log_in(gateway, client)
        wait_until(lambda: len(stream(gateway)) == 1)
        server.kill()
        begun = time.monotonic()
        assert client.post("/auth/logout", json={"refresh_token": session.refresh_token}).status_code == 503
        assert time.monotonic() - begun < 2
        server.start()
        wait_until(lambda: client.get("/readyz").status_code == 200)
        gateway.login(session.user, client)
        wait_until(lambda: len(stream(gateway)) == 2)


def test_a_line_names_the_client_behind_a_trusted_proxy(make_gateway: Callable[..., GatewayProcess]) -> None:
    gateway = make_gateway(trusted_proxies="127.0.0.1")
    with client_of(gateway) as client:
        answer = client.get("/auth/me", headers={"X-Forwarded-For": "203.0.113.7"})
    line = access_line(gateway, answer)
    assert (line["address"], line["peer"]) == ("203.0.113.7", "127.0.0.1")


def test_a_forwarded_address_from_nobody_who_is_trusted_is_told_once_a_minute(
    make_gateway: Callable[..., GatewayProcess],
) -> None:
    """Shows ASVS 16.3.3."""
    gateway = make_gateway()
    with client_of(gateway) as client:
        for number in range(3):
            client.get("/auth/me", headers={"X-Forwarded-For": f"not-told, 203.0.113.{number}:80, ::1, {'x' * 500}"})
    [line] = [line for line in gateway.log_lines() if "X-Forwarded-For" in line["message"]]
    assert (line["level"], line["peer"]) == ("warning", "127.0.0.1")
    assert line["forwarded"] == "?, 203.0.113.0, ::1, ?"
    assert "trusted_proxies" in line["mend"]


@pytest.mark.parametrize("path", ["/auth/login", "/auth/refresh", "/auth/logout", "/auth/logout-all"])
def test_a_refused_origin_is_told_with_the_setting_and_the_user(gateway: GatewayProcess, path: str) -> None:
    """Shows ASVS 16.3.2, ASVS 16.3.3."""
    with client_of(gateway) as client:
        user = gateway.add_user()
        body = {"username": user.email, "password": user.password}
        login = client.post("/auth/login", json=body)
        cookies = f"refresh_token={login.cookies['refresh_token']}; access_token={login.json()['access_token']}"
        answer = client.post(path, json=body, headers={"Origin": "https://evil.example", "Cookie": cookies})
    assert answer.status_code == 403
    line = access_line(gateway, answer)
    assert line["origin"] == "https://evil.example"
    assert "allowed_origins" in line["mend"]
    assert line.get("sub") == (None if path == "/auth/login" else user.user_id)


def test_a_403_of_a_subrequest_names_the_user(gateway: GatewayProcess) -> None:
    """Shows ASVS 16.3.2."""
    with client_of(gateway) as client:
        session = log_in(gateway, client)
        bearer = {"Authorization": f"Bearer {session.access_token}"}
        for query in ("role=admin", "role=", "max_auth_age=x"):
            answer = client.get(f"/api/authz/auth-request?{query}", headers=bearer)
            assert answer.status_code == 403
            assert access_line(gateway, answer)["sub"] == session.user.user_id


@pytest.mark.parametrize("setting", ["issuer", "audience"])
def test_a_claim_that_is_refused_is_told_with_its_value_and_the_setting(
    make_gateway: Callable[..., GatewayProcess], setting: str
) -> None:
    gateway = make_gateway()
    with client_of(gateway) as client:
        bearer = {"Authorization": f"Bearer {log_in(gateway, client).access_token}"}
    gateway.stop()
    gateway.env[f"GATEWAY_{setting.upper()}"] = "http://moved.example"
    gateway.start()
    with client_of(gateway) as client:
        answer = client.get("/auth/me", headers=bearer)
    line = access_line(gateway, answer)
    assert (answer.status_code, line["cause"], line["value"]) == (401, f"wrong_{setting}", gateway.url)
    assert line["mend"] == f"the setting {setting} is http://moved.example here"


def test_a_path_makes_no_second_line_and_every_line_is_json(gateway: GatewayProcess) -> None:
    """Shows ASVS 16.2.4, ASVS 16.4.1."""
    with client_of(gateway) as client:
        for path in ("/%0Ax", "/%C2%85", "/%E2%80%A8", "/%1B[2J", "/%22}%0D%0A{", "/%FF", "/%F0%9F%98%80"):
            client.get(path)
    for line in gateway.log_text().splitlines():
        assert isinstance(json.loads(line), dict)
