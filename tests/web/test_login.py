import time
import unicodedata
from collections.abc import Callable

import httpx2
import pytest

from gateway.state import Gateway
from tests.harness import GatewayProcess, in_gateway, wait_until
from tests.web.asking import RFC_3339_UTC, Session, comparable, in_latin_1, log_in, problem_of, set_cookies, sid_of

FORM_FIELDS_OF_OAUTH = {
    "grant_type": "password",
    "scope": "openid profile",
    "client_id": "app",
    "client_secret": "not a secret",
}


def credentials(session: Session) -> dict[str, str]:
    return {"username": session.user.email, "password": session.user.password}


@pytest.mark.parametrize("encoding", ["json", "data"])
def test_a_login_by_json_or_form_gives_tokens_and_the_user(encoding: str, session: Session) -> None:
    answer = session.client.post("/auth/login", **{encoding: credentials(session)})  # type: ignore[arg-type]
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    body = answer.json()
    assert body.keys() == {"access_token", "token_type", "expires_in", "user"}
    assert body["token_type"] == "Bearer"
    assert body["expires_in"] == 600
    assert RFC_3339_UTC.fullmatch(body["user"].pop("created_at"))
    assert body["user"] == {
        "id": session.user.user_id,
        "email": session.user.email,
        "full_name": "Ann Example",
        "roles": ["staff"],
        "is_active": True,
    }


def test_by_default_the_refresh_token_is_a_cookie_and_nowhere_else(session: Session) -> None:
    """Shows ASVS 3.3.4, ASVS 10.1.1."""
    answer = session.client.post("/auth/login", json=credentials(session))
    token = set_cookies(answer)["refresh_token"]["value"]
    assert token not in answer.text
    assert "refresh_token" not in answer.json()


def test_delivery_in_the_body_sets_no_cookie(session: Session) -> None:
    answer = session.client.post("/auth/login", json=credentials(session) | {"delivery": "body"})
    assert answer.json().keys() == {"access_token", "token_type", "expires_in", "user", "refresh_token"}
    assert "Set-Cookie" not in answer.headers


def test_delivery_by_cookie_can_be_asked_for(session: Session) -> None:
    answer = session.client.post("/auth/login", json=credentials(session) | {"delivery": "cookie"})
    assert "refresh_token" in set_cookies(answer)
    assert "refresh_token" not in answer.json()


def test_a_form_can_ask_for_delivery_in_the_body_too(session: Session) -> None:
    answer = session.client.post("/auth/login", data=credentials(session) | {"delivery": "body"})
    assert "refresh_token" in answer.json()
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize("delivery", ["", "Body", "header", None, 1, True, ["body"]])
def test_any_other_delivery_is_malformed(delivery: object, session: Session) -> None:
    answer = session.client.post("/auth/login", json=credentials(session) | {"delivery": delivery})
    problem_of(answer, 400, "malformed-request")
    assert not set_cookies(answer)


@pytest.mark.parametrize("field", FORM_FIELDS_OF_OAUTH)
def test_the_other_fields_of_the_oauth_password_form_are_ignored(field: str, session: Session) -> None:
    """RFC 6749 sections 2.3.1 and 4.3.2."""
    form = credentials(session) | {field: FORM_FIELDS_OF_OAUTH[field]}
    assert session.client.post("/auth/login", data=form).status_code == 200


@pytest.mark.parametrize("field", FORM_FIELDS_OF_OAUTH)
def test_in_json_the_fields_of_oauth_are_unknown_members(field: str, session: Session) -> None:
    body = credentials(session) | {field: FORM_FIELDS_OF_OAUTH[field]}
    problem_of(session.client.post("/auth/login", json=body), 400, "malformed-request")


@pytest.mark.parametrize(
    "spelling",
    [
        str.upper,
        str.title,
        lambda email: f"  {email}\t\n",
        lambda email: f"\u00a0{email}\u3000",
        lambda email: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in email),
    ],
    ids=["upper case", "title case", "white space", "foreign white space", "full width"],
)
def test_every_spelling_of_an_address_is_one_account(spelling: Callable[[str], str], session: Session) -> None:
    """T31."""
    answer = session.client.post("/auth/login", json=credentials(session) | {"username": spelling(session.user.email)})
    assert answer.json()["user"]["id"] == session.user.user_id


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_password_is_the_same_in_every_normal_form(form: str, session: Session) -> None:
    """Shows NIST 3.1.1.2-4."""
    new = "Zoë hört fünf Töne"
    changed = session.client.post(
        "/auth/change-password",
        json={"current_password": session.user.password, "new_password": new},
        headers=session.bearer,
    )
    assert changed.status_code == 204
    spelt = {"username": session.user.email, "password": unicodedata.normalize(form, new)}  # type: ignore[arg-type]
    assert session.client.post("/auth/login", json=spelt).status_code == 200
    assert session.client.post("/auth/login", data=spelt).status_code == 200


def test_an_unencoded_form_in_utf_8_is_read_as_such(session: Session) -> None:
    """What `curl -d` sends when the password is not ASCII."""
    new = "Zoë hört fünf Töne"
    session.client.post(
        "/auth/change-password",
        json={"current_password": session.user.password, "new_password": new},
        headers=session.bearer,
    )
    answer = session.client.post(
        "/auth/login",
        content=f"username={session.user.email}&password={new}".encode(),
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert answer.status_code == 200


def test_unknown_user_wrong_password_and_disabled_user_get_the_same_answer_to_the_byte(
    gateway: GatewayProcess, client: httpx2.Client
) -> None:
    """Shows ASVS 6.3.8."""
    known, disabled = gateway.add_user(), gateway.add_user()
    in_gateway(gateway.env, lambda opened: opened.users.set_active(disabled.user_id, False))
    attempts = [
        {"username": known.email, "password": "wrong"},
        {"username": known.email, "password": ""},
        {"username": known.email, "password": "x" * 1025},
        {"username": known.email, "password": known.password + "\0"},
        {"username": disabled.email, "password": disabled.password},
        {"username": disabled.email, "password": "wrong"},
        {"username": "nobody@example.com", "password": known.password},
        {"username": "not an address", "password": "wrong"},
        {"username": "", "password": ""},
        {"username": "x" * 10_000, "password": "wrong"},
        {"username": known.user_id, "password": known.password},
    ]
    answers = [client.post("/auth/login", json=attempt) for attempt in attempts]
    problem_of(answers[0], 401, "invalid-credentials")
    assert len({repr(comparable(answer)) for answer in answers}) == 1
    assert "Set-Cookie" not in answers[0].headers


@pytest.mark.parametrize("delivery", ["cookie", "body"])
def test_a_login_that_brings_a_live_refresh_cookie_ends_that_session(delivery: str, session: Session) -> None:
    """Shows ASVS 7.2.4."""
    answer = session.client.post(
        "/auth/login",
        json=credentials(session) | {"delivery": delivery},
        headers={"Cookie": f"refresh_token={session.refresh_token}"},
    )
    assert answer.status_code == 200
    assert sid_of(answer.json()["access_token"]) != session.sid
    assert not session.is_alive()
    problem_of(session.refresh(), 401, "refresh-token-invalid")


def test_the_session_of_another_user_in_the_same_browser_ends_too(
    gateway: GatewayProcess, client: httpx2.Client, session: Session
) -> None:
    other = gateway.add_user()
    answer = client.post(
        "/auth/login",
        json={"username": other.email, "password": other.password},
        headers={"Cookie": f"refresh_token={session.refresh_token}"},
    )
    assert answer.json()["user"]["id"] == other.user_id
    assert not session.is_alive()


def test_a_failed_login_ends_no_session(session: Session) -> None:
    answer = session.client.post(
        "/auth/login",
        json=credentials(session) | {"password": "wrong"},
        headers={"Cookie": f"refresh_token={session.refresh_token}"},
    )
    problem_of(answer, 401, "invalid-credentials")
    assert session.is_alive()
    assert session.refresh().status_code == 200


@pytest.mark.parametrize("cookie", ["", "forged", "\u00e9"])
def test_a_refresh_cookie_that_is_none_of_ours_does_not_hinder_a_login(cookie: str, session: Session) -> None:
    """T28, fixation: what was in the cookie before is never what is in it afterwards. Shows ASVS 7.2.4."""
    answer = session.client.post(
        "/auth/login",
        json=credentials(session),
        headers=in_latin_1("Cookie", f"refresh_token={cookie}"),
    )
    assert answer.status_code == 200
    assert set_cookies(answer)["refresh_token"]["value"] not in ("", cookie)


def test_logins_without_a_cookie_are_sessions_side_by_side(session: Session) -> None:
    second = log_in(session.gateway, session.client, session.user)
    assert second.sid != session.sid
    assert session.is_alive()
    assert second.is_alive()


@pytest.mark.parametrize("name", ["access_token", "refresh_token", "token"])
def test_a_token_in_the_query_is_malformed(name: str, session: Session) -> None:
    """Shows ASVS 14.2.1, RFC 9700 4.3."""
    answer = session.client.post("/auth/login", params={name: "x"}, json=credentials(session))
    problem_of(answer, 400, "malformed-request")


def test_expires_in_is_the_lifetime_of_the_access_token(gateway_with: Callable[..., GatewayProcess]) -> None:
    gateway = gateway_with(access_token_ttl_seconds=2)
    with gateway.client() as client:
        body = gateway.login(gateway.add_user(), client)
        answered = time.monotonic()
        assert body["expires_in"] == 2
        bearer = {"Authorization": f"Bearer {body['access_token']}"}
        assert client.get("/auth/me", headers=bearer).status_code == 200
        wait_until(lambda: client.get("/auth/me", headers=bearer).status_code == 401, 3)
        assert time.monotonic() - answered <= 2.1
        problem_of(client.get("/auth/me", headers=bearer), 401, "access-token-invalid")
        problem_of(client.get("/api/authz/auth-request", headers=bearer), 401, "access-token-invalid")


def test_a_form_is_decoded_once(session: Session) -> None:
    """Shows ASVS 1.1.1."""
    new = "one hundred%20percent %2541"
    change = {"current_password": session.user.password, "new_password": new}
    assert session.client.post("/auth/change-password", json=change, headers=session.bearer).status_code == 204
    for password, status in ((new, 200), ("one hundred percent %41", 401)):
        answer = session.client.post("/auth/login", data={"username": session.user.email, "password": password})
        assert answer.status_code == status


def test_a_password_is_good_however_old_it_is(session: Session) -> None:
    """Shows ASVS 6.2.10, NIST 3.1.1.2-6."""

    async def age(parts: Gateway) -> None:
        key = parts.store.key(f"user:{{{session.user.user_id}}}")
        await parts.store.execute("HSET", key, "created_at", "1")

    in_gateway(session.gateway.env, age)
    answer = session.client.post("/auth/login", json=credentials(session))
    assert answer.status_code == 200
    assert answer.json()["user"]["created_at"] == "1970-01-01T00:00:01Z"
    assert session.client.get("/auth/sessions", headers=session.bearer).status_code == 200
