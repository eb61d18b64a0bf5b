"""Logging in with a second factor: what is asked for after the password, and what completes the login."""

from collections.abc import Callable
from typing import Any

import httpx2
import jwt
import pytest

from gateway.state import Gateway
from tests.authenticators import BE, BS, UP, UV
from tests.harness import GatewayProcess, TestUser, in_gateway
from tests.web.asking import client_of, log_in, problem_of, set_cookies
from tests.web.second_steps import (
    first_step,
    log_in_with,
    new_user_with_totp,
    passkey_of,
    recovery_codes,
    second_step,
    session_of,
    with_passkey,
)


def claims_of(access_token: str) -> dict[str, Any]:
    """Read an access token, unverified."""
    claims: dict[str, Any] = jwt.decode(access_token, options={"verify_signature": False})
    return claims


def test_a_right_password_opens_no_session_where_there_is_a_factor(
    gateway: GatewayProcess, client: httpx2.Client
) -> None:
    """Shows ASVS 2.3.1."""
    session, _ = new_user_with_totp(gateway, client)
    answer = client.post("/auth/login", json={"username": session.user.email, "password": session.user.password})
    problem = problem_of(answer, 401, "second-factor-required")
    assert problem["methods"] == ["totp"]
    assert "publicKey" not in problem
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="token-gateway"'
    assert not set_cookies(answer)
    assert len(client.get("/auth/sessions", headers=session.bearer).json()["sessions"]) == 1


def test_a_code_completes_the_login(gateway: GatewayProcess, client: httpx2.Client) -> None:
    session, app = new_user_with_totp(gateway, client)
    pending = first_step(client, session.user)["pending"]
    answer = second_step(client, pending, totp=app.code())
    assert claims_of(answer.json()["access_token"])["amr"] == ["pwd", "otp", "mfa"]
    assert answer.json()["user"]["email"] == session.user.email
    assert session_of(gateway, client, session.user, answer).is_alive()


def test_a_wrong_code_does_not_use_up_the_pending_login_and_a_right_one_does(
    gateway: GatewayProcess, client: httpx2.Client
) -> None:
    session, app = new_user_with_totp(gateway, client)
    pending = first_step(client, session.user)["pending"]
    problem_of(second_step(client, pending, totp=app.wrong_code()), 401, "second-factor-invalid")
    assert second_step(client, pending, totp=app.code()).status_code == 200
    problem_of(second_step(client, pending, totp=app.code()), 401, "second-factor-invalid")


def test_a_recovery_code_completes_a_login_once(gateway: GatewayProcess, client: httpx2.Client) -> None:
    session, app = new_user_with_totp(gateway, client)
    codes = recovery_codes(log_in_with(gateway, client, session.user, totp=app.code()))
    assert first_step(client, session.user)["methods"] == ["totp", "recovery"]
    opened = log_in_with(gateway, client, session.user, recovery=codes[3])
    assert claims_of(opened.access_token)["amr"] == ["pwd", "otp", "mfa"]
    pending = first_step(client, session.user)["pending"]
    problem_of(second_step(client, pending, recovery=codes[3]), 401, "second-factor-invalid")
    assert second_step(client, pending, recovery=codes[4].lower()).status_code == 200


def test_a_passkey_is_a_second_factor(gateway: GatewayProcess, client: httpx2.Client) -> None:
    session = log_in(gateway, client)
    device = with_passkey(session)
    asked = first_step(client, session.user)
    assert asked["methods"] == ["passkey"]
    assert [one["id"] for one in asked["publicKey"]["allowCredentials"]]
    answer = second_step(client, asked["pending"], passkey=device.get(asked["publicKey"]))
    assert claims_of(answer.json()["access_token"])["amr"] == ["pop", "user", "mfa", "hwk"]
    again = second_step(client, asked["pending"], passkey=device.get(asked["publicKey"]))
    problem_of(again, 401, "second-factor-invalid")


def test_a_passkey_alone_logs_in_as_its_own_delivery_says(gateway: GatewayProcess, client: httpx2.Client) -> None:
    session = log_in(gateway, client)
    device = with_passkey(session)
    asked = client.post("/auth/login/passkey").json()
    assert set(asked) == {"pending", "publicKey"}
    assert asked["publicKey"]["allowCredentials"] == []
    answer = second_step(client, asked["pending"], passkey=device.get(asked["publicKey"]), delivery="session")
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"user": answer.json()["user"]}
    assert set(set_cookies(answer)) == {"gateway_session"}


def test_the_delivery_of_the_first_step_counts(gateway: GatewayProcess, client: httpx2.Client) -> None:
    session, app = new_user_with_totp(gateway, client)
    pending = first_step(client, session.user, delivery="session", remember=True)["pending"]
    answer = second_step(client, pending, totp=app.code(), delivery="body")
    assert set(answer.json()) == {"user"}
    assert "Max-Age" in set_cookies(answer)["gateway_session"]


@pytest.mark.parametrize(
    "body",
    [
        {"pending": "x"},
        {"pending": "x", "totp": "123456", "recovery": "ABCDE-FGHJK"},
        {"pending": "x", "totp": "123456", "username": "ann", "password": "secret"},
        {"pending": "x", "totp": 123456},
        {"pending": "x", "otp": "123456"},
        {"pending": "x", "passkey": {"id": "x"}},
        {"totp": "123456"},
        {"username": "ann", "password": "secret", "totp": "123456"},
    ],
    ids=str,
)
def test_a_second_step_is_pending_and_exactly_one_factor(client: httpx2.Client, body: dict[str, Any]) -> None:
    problem_of(client.post("/auth/login", json=body), 400, "malformed-request")


def test_a_code_is_good_once_also_with_another_pending_login(gateway: GatewayProcess, client: httpx2.Client) -> None:
    """RFC 6238 section 5.2."""
    session, app = new_user_with_totp(gateway, client)
    pending = [first_step(client, session.user)["pending"] for _ in range(3)]
    problem_of(second_step(client, pending[0], totp=app.last_code()), 401, "second-factor-invalid")
    assert second_step(client, pending[0], totp=app.code()).status_code == 200
    problem_of(second_step(client, pending[1], totp=app.last_code()), 401, "second-factor-invalid")
    assert second_step(client, pending[2], totp=app.code()).status_code == 200


def test_a_factor_is_good_for_its_own_user_alone(gateway: GatewayProcess, client: httpx2.Client) -> None:
    (ann, ann_app), (bob, _) = new_user_with_totp(gateway, client), new_user_with_totp(gateway, client)
    pending = first_step(client, bob.user)["pending"]
    problem_of(second_step(client, pending, totp=ann_app.code()), 401, "second-factor-invalid")

    device, other = with_passkey(log_in(gateway, client)), log_in(gateway, client)
    with_passkey(other)
    asked = first_step(client, other.user)
    shown = second_step(client, asked["pending"], passkey=device.get(asked["publicKey"]))
    problem_of(shown, 401, "second-factor-invalid")
    assert len(client.get("/auth/sessions", headers=ann.bearer).json()["sessions"]) == 1


def test_a_pending_login_is_good_for_its_own_kind_of_step(gateway: GatewayProcess, client: httpx2.Client) -> None:
    session, app = new_user_with_totp(gateway, client)
    alone = client.post("/auth/login/passkey").json()["pending"]
    problem_of(second_step(client, alone, totp=app.code()), 401, "second-factor-invalid")
    after_password = first_step(client, session.user)["pending"]
    shown = second_step(
        client, after_password, passkey=passkey_of(gateway).get({"challenge": "AAAA"}, user_handle="AA")
    )
    problem_of(shown, 401, "second-factor-invalid")
    problem_of(client.post("/auth/factors/totp", json={"pending": after_password}), 401, "second-factor-invalid")


def test_a_new_password_ends_the_pending_logins(gateway: GatewayProcess, client: httpx2.Client) -> None:
    session, app = new_user_with_totp(gateway, client)
    pending = first_step(client, session.user)["pending"]
    change = {"current_password": session.user.password, "new_password": "quite another sentence"}
    assert client.post("/auth/change-password", json=change, headers=session.bearer).status_code == 204
    problem_of(second_step(client, pending, totp=app.code()), 401, "second-factor-invalid")


def test_a_disabled_user_completes_no_login(gateway: GatewayProcess, client: httpx2.Client) -> None:
    session, app = new_user_with_totp(gateway, client)
    pending = first_step(client, session.user)["pending"]

    async def disable(parts: Gateway) -> None:
        await parts.users.set_active(session.user.user_id, False)

    in_gateway(gateway.env, disable)
    problem_of(second_step(client, pending, totp=app.code()), 401, "second-factor-invalid")
    body = {"username": session.user.email, "password": session.user.password}
    problem_of(client.post("/auth/login", json=body), 401, "invalid-credentials")


@pytest.mark.parametrize(
    "bent",
    [
        {"flags": 0x01},
        {"rp_id": "evil.example"},
        {"origin": "https://evil.example"},
        {"challenge": "AAAA"},
        {"cross_origin": True},
        {"user_handle": "AAAAAAAAAAAAAAAAAAAAAA"},
    ],
    ids=str,
)
def test_a_passkey_that_was_not_used_as_asked_opens_nothing_and_uses_nothing_up(
    gateway: GatewayProcess, client: httpx2.Client, bent: dict[str, Any]
) -> None:
    session = log_in(gateway, client)
    device = with_passkey(session)
    for asked in (first_step(client, session.user), client.post("/auth/login/passkey").json()):
        shown = second_step(client, asked["pending"], passkey=device.get(asked["publicKey"], **bent))
        problem_of(shown, 401, "second-factor-invalid")
        right = second_step(client, asked["pending"], passkey=device.get(asked["publicKey"]), delivery="body")
        assert right.status_code == 200, right.text


def test_a_synced_passkey_says_so_and_its_counter_may_stay(gateway: GatewayProcess, client: httpx2.Client) -> None:
    session = log_in(gateway, client)
    device = with_passkey(session, flags=UP | UV | BE | BS, counts_up=False)
    for _ in range(2):
        asked = client.post("/auth/login/passkey").json()
        answer = second_step(client, asked["pending"], passkey=device.get(asked["publicKey"]), delivery="body")
        assert claims_of(answer.json()["access_token"])["amr"] == ["pop", "user", "mfa", "swk"]


def test_the_options_for_a_passkey_alone_are_the_same_for_everybody(
    gateway: GatewayProcess, client: httpx2.Client
) -> None:
    """Who asks says nothing of himself, and is told nothing."""
    with_passkey(log_in(gateway, client))
    shapes = []
    for _ in range(2):
        asked = client.post("/auth/login/passkey").json()
        shapes.append(asked["publicKey"] | {"challenge": len(asked["publicKey"]["challenge"])})
        assert len(asked["pending"]) == 43
    assert shapes[0] == shapes[1]
    assert shapes[0]["userVerification"] == "required"


def test_earlier_sessions_end_when_the_new_one_opens_and_not_before(
    gateway: GatewayProcess, client: httpx2.Client
) -> None:
    """A step-up is a new login that ends the old session."""
    session, app = new_user_with_totp(gateway, client)
    cookie = {"Cookie": f"refresh_token={session.refresh_token}"}
    body = {"username": session.user.email, "password": session.user.password}
    pending = problem_of(client.post("/auth/login", json=body, headers=cookie), 401, "second-factor-required")[
        "pending"
    ]
    assert session.is_alive()
    wrong = {"pending": pending, "totp": app.wrong_code()}
    problem_of(client.post("/auth/login", json=wrong, headers=cookie), 401, "second-factor-invalid")
    assert session.is_alive()
    right = {"pending": pending, "totp": app.code()}
    assert client.post("/auth/login", json=right, headers=cookie).status_code == 200
    assert not session.is_alive()


@pytest.mark.parametrize("step", ["second", "passkey"])
def test_no_other_site_completes_a_login(gateway: GatewayProcess, client: httpx2.Client, step: str) -> None:
    session, app = new_user_with_totp(gateway, client)
    pending = first_step(client, session.user)["pending"]
    path, body = (
        ("/auth/login", {"pending": pending, "totp": app.code()}) if step == "second" else ("/auth/login/passkey", {})
    )
    problem_of(client.post(path, json=body, headers={"Sec-Fetch-Site": "cross-site"}), 403, "cross-site-request")


def test_a_session_keeps_how_it_was_made_over_refreshes_and_a_new_password(
    gateway: GatewayProcess, client: httpx2.Client
) -> None:
    session, app = new_user_with_totp(gateway, client)
    strong = log_in_with(gateway, client, session.user, totp=app.code())
    change = {"current_password": session.user.password, "new_password": "quite another sentence"}
    assert client.post("/auth/change-password", json=change, headers=strong.bearer).status_code == 204
    refreshed = strong.refresh().json()
    assert claims_of(refreshed["access_token"])["amr"] == ["pwd", "otp", "mfa"]
    bearer = {"Authorization": f"Bearer {refreshed['access_token']}"}
    rows = client.get("/auth/sessions", headers=bearer).json()["sessions"]
    assert [row["amr"] for row in rows] == [["pwd", "otp", "mfa"]]


def test_a_reset_of_the_password_gives_no_session_without_the_factor(
    gateway: GatewayProcess, client: httpx2.Client
) -> None:
    """A link for a new password proves nothing but a mailbox. Shows ASVS 6.4.3."""
    session, app = new_user_with_totp(gateway, client)

    async def reset(parts: Gateway) -> str:
        user = await parts.users.get(session.user.user_id)
        assert user is not None
        return await parts.invitations.make(user)

    form = {"code": in_gateway(gateway.env, reset), "password": "quite another sentence"}
    answer = client.post("/auth/welcome", data=form, headers={"Accept": "text/html", "Sec-Fetch-Site": "same-origin"})
    assert "gateway_session" not in set_cookies(answer)
    assert not session.is_alive()
    renewed = TestUser(session.user.user_id, session.user.email, "quite another sentence")
    assert log_in_with(gateway, client, renewed, totp=app.code()).is_alive()


def test_off_asks_nobody_for_a_factor_and_lets_them_rest(make_gateway: Callable[..., GatewayProcess]) -> None:
    asking, off = make_gateway(), make_gateway(second_factor="off")
    with client_of(asking) as client, client_of(off) as other:
        session, app = new_user_with_totp(asking, client)
        pending = first_step(client, session.user)["pending"]
        plain = log_in(off, other, session.user)
        [row] = other.get("/auth/factors", headers=plain.bearer).json()["factors"]
        assert row["kind"] == "totp"
        problem_of(second_step(other, pending, totp=app.code()), 401, "second-factor-invalid")
        problem_of(other.post("/auth/login/passkey"), 404, "not-found")
        problem_of(other.post("/auth/factors/totp", headers=plain.bearer), 404, "not-found")
        problem_of(other.delete(f"/auth/factors/{row['id']}", headers=plain.bearer), 404, "not-found")
        assert second_step(client, pending, totp=app.code()).status_code == 200
