"""Setting up second factors and taking them away: who may, with what login, and what is told of it."""

from typing import Any

import httpx2
import pytest

from gateway.sessions import BY_PASSWORD, BY_PASSWORD_AND_CODE
from tests.harness import GatewayProcess
from tests.web.asking import CHALLENGE, RFC_3339_UTC, Session, log_in, problem_of
from tests.web.second_steps import (
    App,
    bearer_of_login,
    first_step,
    log_in_with,
    new_user_with_totp,
    passkey_of,
    recovery_codes,
    second_step,
    with_passkey,
    with_totp,
)

CHANGES: list[tuple[str, str, Any]] = [
    ("POST", "/auth/factors/totp", None),
    ("POST", "/auth/factors/totp/confirm", {"id": "fac_x", "code": "123456"}),
    ("POST", "/auth/factors/passkeys/options", None),
    (
        "POST",
        "/auth/factors/passkeys",
        {"credential": {"id": "", "type": "", "response": {"clientDataJSON": "", "attestationObject": ""}}},
    ),
    ("POST", "/auth/factors/recovery", None),
    ("DELETE", "/auth/factors/fac_x", None),
]


def factors(session: Session) -> list[dict[str, Any]]:
    answer = session.client.get("/auth/factors", headers=session.bearer)
    assert answer.status_code == 200, answer.text
    listed: list[dict[str, Any]] = answer.json()["factors"]
    return listed


def change(session: Session, method: str, path: str, body: Any, bearer: dict[str, str]) -> httpx2.Response:
    return session.client.request(method, path, json=body, headers=bearer)


def test_factors_are_listed_with_all_that_their_user_may_know(gateway: GatewayProcess, client: httpx2.Client) -> None:
    session = log_in(gateway, client)
    assert factors(session) == []
    new = client.post("/auth/factors/totp", headers=session.bearer)
    app = App.of(new)
    confirmed = {"id": new.json()["id"], "code": app.code(), "name": " Telephone "}
    made = client.post("/auth/factors/totp/confirm", headers=session.bearer, json=confirmed).json()
    [row] = factors(session)
    assert row == made
    assert row == {
        "id": new.json()["id"],
        "kind": "totp",
        "name": "Telephone",
        "created_at": row["created_at"],
        "last_used_at": None,
    }
    assert RFC_3339_UTC.fullmatch(row["created_at"])

    again = log_in_with(gateway, client, session.user, totp=app.code())
    recovery_codes(again)
    with_passkey(again)
    totp, recovery, passkey = sorted(factors(again), key=lambda row: ["totp", "recovery", "passkey"].index(row["kind"]))
    assert RFC_3339_UTC.fullmatch(totp["last_used_at"])
    assert recovery["left"] == 10
    assert set(passkey) == set(row)


def test_the_secret_is_given_as_text_and_as_a_link_for_an_app(gateway: GatewayProcess, client: httpx2.Client) -> None:
    session = log_in(gateway, client)
    new = client.post("/auth/factors/totp", headers=session.bearer).json()
    assert set(new) == {"id", "secret", "otpauth_uri"}
    assert f"secret={new['secret']}&" in new["otpauth_uri"]
    assert new["otpauth_uri"].startswith("otpauth://totp/")


def test_a_wrong_code_confirms_nothing_and_uses_nothing_up(gateway: GatewayProcess, client: httpx2.Client) -> None:
    session = log_in(gateway, client)
    new = client.post("/auth/factors/totp", headers=session.bearer)
    app, body = App.of(new), {"id": new.json()["id"]}
    for code in (app.wrong_code(), "", "12345", "".join(chr(0xFF10 + digit) for digit in range(1, 7))):
        refused = client.post("/auth/factors/totp/confirm", headers=session.bearer, json=body | {"code": code})
        problem_of(refused, 401, "second-factor-invalid")
    assert factors(session) == []
    right = body | {"code": app.code()}
    assert client.post("/auth/factors/totp/confirm", headers=session.bearer, json=right).status_code == 200


def test_nobody_confirms_what_another_user_has_begun(gateway: GatewayProcess, client: httpx2.Client) -> None:
    ann, bob = log_in(gateway, client), log_in(gateway, client)
    new = client.post("/auth/factors/totp", headers=ann.bearer)
    body = {"id": new.json()["id"], "code": App.of(new).code()}
    answer = client.post("/auth/factors/totp/confirm", headers=bob.bearer, json=body)
    problem_of(answer, 401, "second-factor-invalid")
    options = client.post("/auth/factors/passkeys/options", headers=ann.bearer).json()["publicKey"]
    credential = {"credential": passkey_of(gateway).create(options)}
    answer = client.post("/auth/factors/passkeys", headers=bob.bearer, json=credential)
    problem_of(answer, 401, "second-factor-invalid")


@pytest.mark.parametrize(("method", "path", "body"), CHANGES, ids=lambda part: str(part)[:32])
def test_a_login_older_than_ten_minutes_changes_no_factor(session: Session, method: str, path: str, body: Any) -> None:
    """RFC 9470 section 3. Shows ASVS 7.5.1, ASVS 7.5.3."""
    old = bearer_of_login(session, seconds_ago=605, amr=BY_PASSWORD)
    answer = change(session, method, path, body, old)
    problem_of(answer, 401, "authentication-too-weak")
    assert answer.headers["WWW-Authenticate"] == (
        f'{CHALLENGE}, error="insufficient_user_authentication", max_age="600"'
    )
    young = bearer_of_login(session, seconds_ago=590, amr=BY_PASSWORD)
    assert "too-weak" not in change(session, method, path, body, young).text
    assert session.client.get("/auth/factors", headers=old).status_code == 200


@pytest.mark.parametrize(("method", "path", "body"), CHANGES, ids=lambda part: str(part)[:32])
def test_who_has_a_factor_changes_factors_with_it_alone(
    gateway: GatewayProcess, client: httpx2.Client, method: str, path: str, body: Any
) -> None:
    """A password is not enough to take the second factor away that protects from its theft. Shows ASVS 7.5.1."""
    session, _ = new_user_with_totp(gateway, client)
    answer = change(session, method, path, body, session.bearer)
    problem_of(answer, 401, "authentication-too-weak")
    assert answer.headers["WWW-Authenticate"] == (
        f'{CHALLENGE}, error="insufficient_user_authentication", acr_values="mfa"'
    )
    strong = bearer_of_login(session, seconds_ago=0, amr=BY_PASSWORD_AND_CODE)
    assert "too-weak" not in change(session, method, path, body, strong).text
    old = bearer_of_login(session, seconds_ago=700, amr=BY_PASSWORD)
    assert (
        change(session, method, path, body, old).headers["WWW-Authenticate"].endswith('max_age="600", acr_values="mfa"')
    )


def test_what_was_begun_with_the_password_alone_is_not_completed_once_there_is_a_factor(
    gateway: GatewayProcess, client: httpx2.Client
) -> None:
    thief = log_in(gateway, client)
    new = client.post("/auth/factors/totp", headers=thief.bearer)
    code = App.of(new).code()
    with_totp(log_in(gateway, client, thief.user))
    answer = client.post(
        "/auth/factors/totp/confirm", headers=thief.bearer, json={"id": new.json()["id"], "code": code}
    )
    problem_of(answer, 401, "authentication-too-weak")
    assert len(factors(thief)) == 1


def test_recovery_codes_are_for_who_has_another_factor(session: Session) -> None:
    answer = session.client.post("/auth/factors/recovery", headers=session.bearer)
    problem_of(answer, 400, "malformed-request")
    strong = bearer_of_login(session, seconds_ago=0, amr=BY_PASSWORD_AND_CODE)
    problem_of(session.client.post("/auth/factors/recovery", headers=strong), 400, "malformed-request")


def test_new_recovery_codes_make_those_from_before_void(gateway: GatewayProcess, client: httpx2.Client) -> None:
    session, app = new_user_with_totp(gateway, client)
    strong = log_in_with(gateway, client, session.user, totp=app.code())
    before, now = recovery_codes(strong), recovery_codes(strong)
    assert len(set(before + now)) == 20
    pending = first_step(client, session.user)["pending"]
    problem_of(second_step(client, pending, recovery=before[0]), 401, "second-factor-invalid")
    assert second_step(client, pending, recovery=now[0]).status_code == 200


def test_a_removed_factor_is_good_for_nothing_and_the_last_one_takes_the_recovery_codes_along(
    gateway: GatewayProcess, client: httpx2.Client
) -> None:
    """Shows ASVS 6.5.6."""
    session, app = new_user_with_totp(gateway, client)
    strong = log_in_with(gateway, client, session.user, totp=app.code())
    recovery_codes(strong)
    device = with_passkey(strong)
    rows = {row["kind"]: row["id"] for row in factors(strong)}
    pending = first_step(client, session.user)["pending"]
    assert client.delete(f"/auth/factors/{rows['totp']}", headers=strong.bearer).status_code == 204
    problem_of(second_step(client, pending, totp=app.code()), 401, "second-factor-invalid")
    problem_of(client.delete(f"/auth/factors/{rows['totp']}", headers=strong.bearer), 404, "not-found")

    alone = client.post("/auth/login/passkey").json()
    assert client.delete(f"/auth/factors/{rows['passkey']}", headers=strong.bearer).status_code == 204
    shown = second_step(client, alone["pending"], passkey=device.get(alone["publicKey"]))
    problem_of(shown, 401, "second-factor-invalid")
    assert factors(strong) == []
    assert log_in(gateway, client, session.user).is_alive()


def test_nobody_removes_the_factor_of_another_user(gateway: GatewayProcess, client: httpx2.Client) -> None:
    """Shows ASVS 8.2.2."""
    ann, bob = new_user_with_totp(gateway, client)[0], log_in(gateway, client)
    [row] = factors(ann)
    problem_of(client.delete(f"/auth/factors/{row['id']}", headers=bob.bearer), 404, "not-found")
    assert factors(ann) == [row]


@pytest.mark.parametrize("name", ["x" * 61, "two\nlines", "\u202eevil"])
def test_a_name_is_short_and_prints(gateway: GatewayProcess, client: httpx2.Client, name: str) -> None:
    session = log_in(gateway, client)
    new = client.post("/auth/factors/totp", headers=session.bearer)
    body = {"id": new.json()["id"], "code": App.of(new).code(), "name": name}
    problem_of(client.post("/auth/factors/totp/confirm", headers=session.bearer, json=body), 400, "malformed-request")


@pytest.mark.parametrize(
    "bent",
    [
        {"rp_id": "evil.example"},
        {"origin": "https://evil.example"},
        {"challenge": "AAAA"},
        {"flags": 0x01},
        {"ceremony": "webauthn.get"},
    ],
    ids=str,
)
def test_a_passkey_is_made_for_this_party_with_its_user_verified(
    gateway: GatewayProcess, client: httpx2.Client, bent: dict[str, Any]
) -> None:
    session = log_in(gateway, client)
    options = client.post("/auth/factors/passkeys/options", headers=session.bearer).json()["publicKey"]
    device = passkey_of(gateway)
    refused = client.post(
        "/auth/factors/passkeys", headers=session.bearer, json={"credential": device.create(options, **bent)}
    )
    problem_of(refused, 401, "second-factor-invalid")
    right = {"credential": device.create(options)}
    assert client.post("/auth/factors/passkeys", headers=session.bearer, json=right).status_code == 200


def test_the_domain_of_passkeys_is_the_issuers_host(gateway: GatewayProcess, client: httpx2.Client) -> None:
    session = log_in(gateway, client)
    options = client.post("/auth/factors/passkeys/options", headers=session.bearer).json()["publicKey"]
    assert options["rp"]["id"] == "127.0.0.1"
    assert options["authenticatorSelection"]["residentKey"] == "required"
    assert options["authenticatorSelection"]["userVerification"] == "required"
    assert client.post("/auth/login/passkey").json()["publicKey"]["rpId"] == "127.0.0.1"
