"""Every event by HTTP: exactly one line and one entry, with the same members, and with nothing that is secret."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
from fido2 import cbor

from gateway.accounts import User
from gateway.accounts.factors.totp import spell_secret
from gateway.errors import InvalidCredentials
from gateway.sessions import BY_PASSKEY_IN_HARDWARE, BY_PASSWORD_AND_CODE
from gateway.state import Gateway
from gateway.telemetry import EVENTS
from tests.authenticators import BE, BS, UP, UV, new_key
from tests.harness import PASSWORD, GatewayProcess, TestUser, in_gateway
from tests.web.asking import Session, client_of, log_in, sid_of
from tests.web.browsing import Browser, browser_of
from tests.web.second_steps import (
    bearer_of_login,
    first_step,
    log_in_with,
    passkey_of,
    recovery_codes,
    second_step,
    session_of,
    with_passkey,
    with_totp,
)
from tests.web.test_audit import access_line, events, stream
from tests.web.test_pages_welcome import link_for, set_password

pytestmark = pytest.mark.redis
WRONG, NEW = "a wrong pass phrase, a canary", "quite another pass phrase"
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
# Told by commands, by the schedule, or only where two requests meet.
NOT_BY_ONE_REQUEST = {
    *("user_added", "user_changed", "user_removed", "user_invited", "key_rotated", "key_imported"),
    *(("factor_removed", "reset"), ("second_factor_failed", "off"), ("second_factor_failed", "user-disabled")),
    *(
        ("second_factor_failed", "gone"),
        ("second_factor_failed", "user-changed"),
        ("second_factor_failed", "not-first"),
    ),
    *(("login_failed", "user-changed"), ("password_changed", "user-changed"), ("password_changed", "set-by-command")),
    *(("sessions_revoked", "by-command"), ("sessions_revoked", "all-by-command")),
    *("client_added", "client_changed", "client_removed"),
    *(("token_created", "by-command"), ("token_revoked", "by-command")),
}
Told = tuple[str, str]


class Deeds:
    """Does one thing after the other, and sees what each has told."""

    def __init__(self, gateway: GatewayProcess, client: httpx2.Client) -> None:
        self.gateway, self.client = gateway, client
        self.seen: list[dict[str, Any]] = []
        self.secrets: set[str] = {PASSWORD, WRONG, NEW}

    def told(self, *expected: Told, sub: str = "", sid: str = "") -> list[dict[str, Any]]:
        """Give the events since the last time. Fails unless they are these, of *sub*, the first of them of *sid*."""
        lines = self.told_of_nobody(*expected)
        assert {line["sub"] for line in lines if "sub" in line} <= {sub}
        assert all("sub" in line or "account" in line for line in lines)
        assert not sid or lines[0]["sid"] == sid
        return lines

    def told_of_nobody(self, *expected: Told) -> list[dict[str, Any]]:
        """Give them likewise, whoever they are of."""
        lines = events(self.gateway)[len(self.seen) :]
        self.seen += lines
        assert [(line["event"], line.get("reason", "")) for line in lines] == list(expected)
        return lines

    def user(self) -> TestUser:
        user = self.gateway.add_user()
        self.secrets |= {user.email, user.user_id.upper()}
        return user

    def session(self, user: TestUser | None = None, **headers: str) -> Session:
        session = log_in(self.gateway, self.client, user or self.user(), **headers)
        self.secrets |= {session.access_token, session.refresh_token}
        return session

    def post(self, path: str, session: Session | None = None, status: int = 204, **body: Any) -> httpx2.Response:
        answer = self.client.post(path, json=body, headers=session.bearer if session else {})
        assert answer.status_code == status, answer.text
        return answer

    def browser(self, user: TestUser) -> Browser:
        browser = browser_of(self.gateway)
        browser.sign_in(user)
        self.secrets |= set(browser.cookies.values())
        return browser


@pytest.fixture
def deeds(make_gateway: Callable[..., GatewayProcess]) -> Iterator[Deeds]:
    gateway = make_gateway(max_sessions_per_user=2)
    with client_of(gateway) as client:
        yield Deeds(gateway, client)


def test_every_event_is_one_line_and_one_entry(deeds: Deeds) -> None:
    """Whatever can be done with one request, by the API and by the pages. Shows ASVS 16.3.1, ASVS 16.3.3."""
    logins(deeds)
    endings(deeds)
    passwords(deeds)
    second_factors(deeds)
    new_passkeys(deeds)
    passkeys(deeds)
    personal_tokens(deeds)
    by_pages(deeds)
    deeds.gateway.stop()
    entries = [entry for entry in stream(deeds.gateway) if entry["event"] != "user_invited"]  # by a command
    assert entries == [
        {name: value for name, value in line.items() if name not in ("level", "logger", "message")}
        for line in deeds.seen
    ]
    told = {(line["event"], line.get("reason", "")) for line in deeds.seen}
    known = {(event.name, reason) for event in EVENTS for reason in (*event.successes, *event.failures)}
    assert {one for one in known - told if one[0] != "rate_limited"} == {
        one for one in known if one[0] in NOT_BY_ONE_REQUEST or one in NOT_BY_ONE_REQUEST
    }
    for text in (deeds.gateway.log_text(), json.dumps(entries)):
        assert [secret for secret in deeds.secrets if secret in text] == []


def logins(deeds: Deeds) -> None:
    first = deeds.session()
    user = first.user
    deeds.told(("login_succeeded", ""), sub=user.user_id, sid=first.sid)
    second = deeds.session(user, Cookie=f"refresh_token={first.refresh_token}")
    lines = deeds.told(("sessions_revoked", "replaced"), ("login_succeeded", ""), sub=user.user_id, sid=first.sid)
    assert lines[1]["sid"] == second.sid
    third = deeds.session(user)
    deeds.told(("login_succeeded", ""), sub=user.user_id, sid=third.sid)
    deeds.session(user)
    deeds.told(("sessions_revoked", "too-many"), ("login_succeeded", ""), sub=user.user_id, sid=second.sid)
    deeds.post("/auth/login", status=401, username=user.email, password=WRONG)
    deeds.told(("login_failed", "wrong-password"), sub=user.user_id)
    deeds.secrets.add("canary@example.com")
    deeds.post("/auth/login", status=401, username="canary@example.com", password=WRONG)
    [line] = deeds.told(("login_failed", "unknown-user"))
    assert line["account"].startswith("acc_")

    async def disable(parts: Gateway) -> None:
        await parts.users.set_active(user.user_id, False)

    in_gateway(deeds.gateway.env, disable)
    deeds.post("/auth/login", status=401, username=user.email, password=PASSWORD)
    deeds.told(("login_failed", "user-disabled"), sub=user.user_id)


def endings(deeds: Deeds) -> None:
    session = deeds.session()
    sub = session.user.user_id
    deeds.told(("login_succeeded", ""), sub=sub)
    for token in (session.refresh_token, session.refresh().json()["refresh_token"]):
        deeds.secrets.add(token)
        deeds.post("/auth/refresh", status=200, refresh_token=token)
    deeds.told()
    deeds.post("/auth/refresh", status=401, refresh_token=session.refresh_token)
    deeds.told(("refresh_token_reused", ""), sub=sub, sid=session.sid)
    deeds.post("/auth/refresh", status=401, refresh_token=session.refresh_token)
    deeds.told()

    session = deeds.session()
    sub = session.user.user_id
    deeds.post("/auth/logout", refresh_token=session.refresh_token)
    deeds.told(("login_succeeded", ""), ("logout", ""), sub=sub, sid=session.sid)
    deeds.post("/auth/logout", refresh_token=session.refresh_token)
    deeds.told()

    session = deeds.session()
    sub = session.user.user_id

    async def lose(parts: Gateway) -> None:
        await parts.store.execute("DEL", parts.store.key(f"families:{{{sub}}}"))

    in_gateway(deeds.gateway.env, lose)
    deeds.post("/auth/logout", refresh_token=session.refresh_token)
    deeds.told(("login_succeeded", ""), ("logout", "already-over"), sub=sub, sid=session.sid)

    session = deeds.session()
    other = deeds.session(session.user)
    answer = deeds.client.delete(f"/auth/sessions/{other.sid}", headers=session.bearer)
    assert answer.status_code == 204
    deeds.post("/auth/logout-all", session, 200)
    deeds.told(
        ("login_succeeded", ""), ("login_succeeded", ""), ("sessions_revoked", ""), ("sessions_revoked", "logout-all"),
        sub=session.user.user_id, sid=session.sid,
    )  # fmt: skip
    assert [line["sid"] for line in deeds.seen[-2:]] == [other.sid, session.sid]


def passwords(deeds: Deeds) -> None:
    session = deeds.session()
    deeds.post("/auth/change-password", session, 403, current_password=WRONG, new_password=NEW)
    deeds.post("/auth/change-password", session, 422, current_password=PASSWORD, new_password="short")
    deeds.post("/auth/change-password", session, current_password=PASSWORD, new_password=NEW)
    deeds.told(
        ("login_succeeded", ""), ("password_changed", "wrong-password"), ("password_changed", ""),
        sub=session.user.user_id, sid=session.sid,
    )  # fmt: skip
    link = link_for(deeds.gateway, "reset", session.user.email)
    deeds.secrets.add(link.partition("code=")[2])
    assert set_password(deeds.client, link, "a third pass phrase").status_code == 303
    deeds.secrets.add("a third pass phrase")
    deeds.told(("password_changed", "invitation"), ("login_succeeded", "invitation"), sub=session.user.user_id)
    assert set_password(deeds.client, link, "a third pass phrase").status_code == 404
    deeds.told()


def personal_tokens(deeds: Deeds) -> None:
    session = deeds.session()
    sub = session.user.user_id
    made = deeds.post("/auth/tokens", session, 200, name="a canary of a name").json()
    deeds.secrets |= {made["token"], made["token"].removeprefix("gwp_"), "a canary of a name"}
    lines = deeds.told(("login_succeeded", ""), ("token_created", ""), sub=sub, sid=session.sid)
    assert (lines[1]["sid"], lines[1]["token_id"]) == (session.sid, made["id"])
    bearer = {"Authorization": f"Bearer {made['token']}"}
    assert deeds.client.get("/auth/me", headers=bearer).status_code == 200
    deeds.told()
    assert deeds.client.delete(f"/auth/tokens/{made['id']}", headers=session.bearer).status_code == 204
    [line] = deeds.told(("token_revoked", ""), sub=sub, sid=session.sid)
    assert line["token_id"] == made["id"]
    assert deeds.client.delete(f"/auth/tokens/{made['id']}", headers=session.bearer).status_code == 404
    deeds.told()


def second_factors(deeds: Deeds) -> None:
    session = deeds.session()
    user, sub = session.user, session.user.user_id
    app = with_totp(session)
    deeds.secrets |= {spell_secret(app.secret)}
    deeds.told(("login_succeeded", ""), ("factor_added", "totp"), sub=sub, sid=session.sid)
    assert deeds.seen[-1]["sid"] == session.sid
    late = {"id": "fac_unknown", "code": "123456"}
    strong = bearer_of_login(session, seconds_ago=0, amr=BY_PASSWORD_AND_CODE)
    assert deeds.client.post("/auth/factors/totp/confirm", json=late, headers=strong).status_code == 401
    deeds.told(("second_factor_failed", "enrolment-over"), sub=sub)

    pending = first_step(deeds.client, user)["pending"]
    deeds.secrets.add(pending)
    deeds.told()  # a session was neither opened nor refused
    deeds.post("/auth/login", status=401, pending=pending, totp=app.wrong_code())
    deeds.post("/auth/login", status=401, pending=pending, totp=app.last_code())
    deeds.told(("second_factor_failed", "wrong-code"), ("second_factor_failed", "spent"), sub=sub)
    session = session_of(deeds.gateway, deeds.client, user, second_step(deeds.client, pending, totp=app.code()))
    deeds.told(("login_succeeded", "totp"), sub=sub, sid=session.sid)
    deeds.post("/auth/login", status=401, pending=pending, totp=app.last_code())
    [line] = deeds.told_of_nobody(("second_factor_failed", "pending-over"))
    assert "sub" not in line, "nobody knows whose it was"

    codes = recovery_codes(session)
    deeds.secrets |= set(codes)
    deeds.told(("factor_added", "recovery"), sub=sub, sid=session.sid)
    session = log_in_with(deeds.gateway, deeds.client, user, recovery=codes[0])
    deeds.told(("sessions_revoked", "too-many"), ("login_succeeded", "recovery"), sub=sub)
    [row] = [one for one in list_factors(session) if one["kind"] == "totp"]
    assert deeds.client.delete(f"/auth/factors/{row['id']}", headers=session.bearer).status_code == 204
    deeds.told(("factor_removed", ""), sub=sub, sid=session.sid)


def new_passkeys(deeds: Deeds) -> None:
    session = deeds.session()
    deeds.told(("login_succeeded", ""), sub=session.user.user_id)
    for reason, bent in (
        ("credential-id", {"id": "AAAA"}),
        ("algorithm", {"public_key": cbor.encode({1: 2, 3: -999})}),
    ):
        options = deeds.post("/auth/factors/passkeys/options", session, 200).json()["publicKey"]
        credential = passkey_of(deeds.gateway).create(options, **bent)
        credential |= {name: value for name, value in bent.items() if name == "id"}
        deeds.post("/auth/factors/passkeys", session, 401, credential=credential)
        deeds.told(("second_factor_failed", reason), sub=session.user.user_id)


def passkeys(deeds: Deeds) -> None:
    session = deeds.session()
    user, sub = session.user, session.user.user_id
    device = with_passkey(session)
    deeds.told(("login_succeeded", ""), ("factor_added", "passkey"), sub=sub, sid=session.sid)
    strong = bearer_of_login(session, seconds_ago=0, amr=BY_PASSKEY_IN_HARDWARE)
    options = deeds.client.post("/auth/factors/passkeys/options", headers=strong).json()["publicKey"]
    again = {"credential": device.create(options)}
    assert deeds.client.post("/auth/factors/passkeys", json=again, headers=strong).status_code == 401
    deeds.told(("second_factor_failed", "known-already"), sub=sub)

    asked = first_step(deeds.client, user)
    shown = device.get(asked["publicKey"])
    for reason, answer in {
        "origin": device.get(asked["publicKey"], origin="https://evil.example"),
        "cross-origin": device.get(asked["publicKey"], cross_origin=True),
        "rp-id": device.get(asked["publicKey"], rp_id="evil.example"),
        "challenge": device.get(asked["publicKey"], challenge="AAAA"),
        "ceremony": device.get(asked["publicKey"], ceremony="webauthn.create"),
        "user-presence": device.get(asked["publicKey"], flags=UV),
        "user-verification": device.get(asked["publicKey"], flags=UP),
        "backup-state": device.get(asked["publicKey"], flags=UP | UV | BS),
        "backup-eligibility": device.get(asked["publicKey"], flags=UP | UV | BE),
        "signature": device.get(asked["publicKey"], key=new_key(-7)),
        "user-handle": device.get(asked["publicKey"], user_handle="AA"),
        "unknown-credential": shown | {"id": "AAAA"},
        "malformed": shown | {"response": shown["response"] | {"clientDataJSON": "?"}},
    }.items():
        deeds.post("/auth/login", status=401, pending=asked["pending"], passkey=answer)
        deeds.told(("second_factor_failed", reason), sub=sub)
    deeds.post("/auth/login", status=200, pending=asked["pending"], passkey=device.get(asked["publicKey"]))
    deeds.told(("login_succeeded", "passkey"), sub=sub)
    device.counter = 0
    asked = deeds.post("/auth/login/passkey", status=200).json()
    deeds.post("/auth/login", status=200, pending=asked["pending"], passkey=device.get(asked["publicKey"]))
    deeds.told(
        ("second_factor_failed", "counter-went-back"), ("sessions_revoked", "too-many"), ("login_succeeded", "passkey"),
        sub=sub,
    )  # fmt: skip


def list_factors(session: Session) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = session.client.get("/auth/factors", headers=session.bearer).json()["factors"]
    return listed


def by_pages(deeds: Deeds) -> None:
    user = deeds.user()
    one, other = deeds.browser(user), deeds.browser(user)
    told = deeds.told(("login_succeeded", ""), ("login_succeeded", ""), sub=user.user_id)
    assert one.post(f"/auth/account/sessions/{told[1]['sid']}/end").status_code == 303
    deeds.told(("sessions_revoked", ""), sub=user.user_id, sid=told[1]["sid"])
    assert other.get("/auth/account").status_code == 303
    assert one.post("/auth/account/sessions/end-others").status_code == 303
    deeds.told()  # there was none
    deeds.browser(user)
    assert one.post("/auth/account/sessions/end-others").status_code == 303
    deeds.told(("login_succeeded", ""), ("sessions_revoked", "others"), sub=user.user_id)
    assert deeds.seen[-1]["sid"] == told[0]["sid"]
    form = {"current_password": WRONG, "new_password": NEW}
    assert one.post("/auth/account/password", **form).status_code == 403
    assert one.post("/auth/account/password", **form | {"current_password": PASSWORD}).status_code == 303
    deeds.told(("password_changed", "wrong-password"), ("password_changed", ""), sub=user.user_id)
    assert one.post("/auth/login", username=user.email, password=NEW).status_code == 303
    deeds.told(("sessions_revoked", "replaced"), ("login_succeeded", ""), sub=user.user_id)
    deeds.secrets |= set(one.cookies.values())
    assert one.post("/auth/login", username=user.email, password=WRONG).status_code == 401
    assert one.post("/auth/logout").status_code == 303
    deeds.told(("login_failed", "wrong-password"), ("logout", ""), sub=user.user_id)


def test_every_limit_is_told_by_its_name(make_gateway: Callable[..., GatewayProcess]) -> None:
    """Shows ASVS 16.3.3."""
    gateway = make_gateway(login_limit="7/hour", refresh_limit="1/hour", account_throttle="on")
    with client_of(gateway) as client:
        deeds = Deeds(gateway, client)
        session = deeds.session()
        sub = session.user.user_id
        deeds.told(("login_succeeded", ""), sub=sub)
        credentials = {"username": session.user.email, "password": WRONG}
        for status in (401, 401, 401, 401, 401, 429, 429):
            deeds.post("/auth/login", None, status, **credentials)
        *_, line = deeds.told(
            *[("login_failed", "wrong-password")] * 5, ("rate_limited", "account"), ("rate_limited", "login"), sub=sub
        )
        assert line["account"].startswith("acc_"), "whose it is was not looked up"
        session.refresh()
        assert session.refresh().status_code == 429
        assert [line["reason"] for line in events(gateway)[len(deeds.seen) :]] == ["refresh"]
        deeds.seen += events(gateway)[len(deeds.seen) :]
        for status in [422] * 7 + [429]:
            deeds.post("/auth/change-password", session, status, current_password=PASSWORD, new_password="short")
        deeds.told(("rate_limited", "change-password"), sub=sub)
        gateway.stop()
    reasons = [entry["reason"] for entry in stream(gateway) if entry["event"] == "rate_limited"]
    assert reasons[0] == "account"


def test_a_login_that_meets_a_change_of_its_user_is_told_as_that(gateway_env: dict[str, str]) -> None:
    async def work(parts: Gateway) -> str:
        user: User = await parts.users.add("a@example.com", "", (), "a hash")
        try:
            await parts.families.open(user.user_id, user.password_version + 1, "x" * 22, "", "")
        except InvalidCredentials as error:
            return error.cause
        return ""

    assert in_gateway(gateway_env, work) == "user-changed"


def test_what_strangers_send_is_in_no_line(gateway: GatewayProcess) -> None:
    """Whatever they put where secrets are expected, also where it is refused. Shows ASVS 16.2.5."""
    canary = f"canary-{time.monotonic_ns()}"
    since = gateway.log_size()
    bodies: tuple[Any, ...] = (
        {"username": f"{canary}@example.com", "password": canary, "device_token": canary},
        {"username": canary, "password": canary, "delivery": canary},
        {"refresh_token": canary, canary: canary},
        {"current_password": canary, "new_password": canary},
        canary,
    )
    ways: tuple[dict[str, str], ...] = (
        {"Cookie": f"refresh_token={canary}; access_token={canary}; gateway_session={canary}; known_device={canary}"},
        {"Cookie": f"refresh_token={canary}; refresh_token={canary}", "User-Agent": canary},
        {"Authorization": f"Bearer {canary}", "traceparent": canary, "X-Forwarded-For": canary},
        {"Authorization": canary, "X-Request-Id": canary},
    )
    with client_of(gateway) as client:
        for path in ("/auth/login", "/auth/refresh", "/auth/logout", "/auth/logout-all", "/auth/change-password",
                     "/auth/me", "/auth/sessions", "/auth/welcome", "/auth/account", "/auth/account/password",
                     "/api/authz/auth-request", "/api/authz/forward-auth", "/api/authz/ext-authz/"):  # fmt: skip
            for headers in ways:
                client.get(f"{path}?access_token={canary}&code={canary}", headers=headers)
                for body in bodies:
                    client.post(f"{path}?access_token={canary}", json=body, headers=headers)
                    client.post(path, json=body, headers=headers)
                client.post(path, data={"code": canary, "password": canary, "username": canary}, headers=headers)
    lines = [line for line in gateway.log_path.read_bytes()[since:].decode().splitlines() if canary in line]
    assert lines == []
    assert canary not in json.dumps(stream(gateway))


def test_a_trace_is_in_the_access_line_the_event_and_its_entry(make_gateway: Callable[..., GatewayProcess]) -> None:
    gateway = make_gateway()
    with client_of(gateway) as client:
        log_in(gateway, client)
        session = log_in(gateway, client, traceparent=f"00-{TRACE}-{SPAN}-01")
        answer = client.get("/auth/sessions", headers={"traceparent": f"00-{TRACE}-{SPAN}-01"})
        denied = client.get("/api/authz/auth-request", headers={"traceparent": f"00-{TRACE}-{SPAN}-01"})
    gateway.stop()
    without, traced = events(gateway)
    assert "trace_id" not in without
    assert "span_id" not in without
    assert traced["sid"] == sid_of(session.access_token)
    for told in (traced, stream(gateway)[1], access_line(gateway, answer), access_line(gateway, denied)):
        assert (told["trace_id"], told["span_id"]) == (TRACE, SPAN)


@pytest.mark.parametrize("level", ["debug", "warning"])
def test_the_level_chooses_lines_and_never_entries(make_gateway: Callable[..., GatewayProcess], level: str) -> None:
    gateway = make_gateway(log_level=level)
    with client_of(gateway) as client:
        log_in(gateway, client)
        client.post("/auth/login", json={"username": "nobody@example.com", "password": WRONG})
        client.get("/livez")
    gateway.stop()
    told = [line["event"] for line in events(gateway)]
    kept = [entry["event"] for entry in stream(gateway)]
    assert kept == ["login_succeeded", "login_failed"]
    assert told == (kept if level == "debug" else kept[1:])
    lines = gateway.log_lines()
    assert gateway.log_text().count("\n") == len(lines), "every line is JSON"
    paths = [line["path"] for line in lines if line["logger"] == "gateway.access"]
    assert ("/livez" in paths, "/auth/login" in paths) == (level == "debug", level == "debug")
    levels = ["debug", "info", "warning", "error", "critical"]
    assert {line["level"] for line in lines} <= set(levels[levels.index(level) :])
    assert {line["logger"] for line in lines if line["level"] == "debug"} <= {"gateway.access"}
