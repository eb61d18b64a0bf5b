import threading
import time
import unicodedata
from collections.abc import Callable

import httpx2
import pytest

from tests.harness import PASSWORD, GatewayProcess, in_gateway
from tests.web.asking import Session, client_of, log_in, problem_of

NEW = "quite another sentence"
PRINTABLE = "".join(map(chr, range(0x20, 0x7F)))


def change(session: Session, new: object = NEW, **members: object) -> httpx2.Response:
    body = {"current_password": session.user.password, "new_password": new} | members
    return session.client.post("/auth/change-password", json=body, headers=session.bearer)


def login_status(session: Session, password: str) -> int:
    body = {"username": session.user.email, "password": password}
    return session.client.post("/auth/login", json=body).status_code


def test_a_new_password_takes_the_place_of_the_old_one(session: Session) -> None:
    """Shows ASVS 6.2.2."""
    answer = change(session)
    assert answer.status_code == 204
    assert answer.content == b""
    assert login_status(session, NEW) == 200
    assert login_status(session, session.user.password) == 401


def test_every_other_session_ends_and_this_one_lives(session: Session) -> None:
    """Shows ASVS 7.4.3, RFC 9700 4.14.2d."""
    others = [log_in(session.gateway, session.client, session.user) for _ in range(2)]
    stranger = log_in(session.gateway, session.client)
    assert change(session).status_code == 204
    assert session.is_alive()
    assert session.refresh().status_code == 200
    assert stranger.is_alive()
    for other in others:
        assert not other.is_alive()
        problem_of(other.refresh(), 401, "refresh-token-invalid")


@pytest.mark.parametrize("current", ["wrong", "", "x" * 2000])
def test_the_wrong_current_password_is_a_403_and_changes_nothing(current: str, session: Session) -> None:
    """Shows ASVS 6.2.3, ASVS 7.5.1."""
    other = log_in(session.gateway, session.client, session.user)
    problem_of(change(session, current_password=current), 403, "invalid-credentials")
    assert login_status(session, session.user.password) == 200
    assert other.is_alive()


@pytest.mark.parametrize("current", ["", PASSWORD])
def test_a_user_who_has_no_password_has_no_right_one_to_change(current: str, session: Session) -> None:
    in_gateway(session.gateway.env, lambda parts: parts.users.renew_hash(session.user.user_id, "", 1))
    problem_of(change(session, current_password=current), 403, "invalid-credentials")


def test_the_current_password_is_looked_at_before_the_new_one(session: Session) -> None:
    problem_of(change(session, "short", current_password="wrong"), 403, "invalid-credentials")


@pytest.mark.parametrize(
    ("new", "reasons"),
    [
        ("", {"too_short"}),
        ("x7 qw!m-5bd+rz", {"too_short"}),
        ("\u00e9" * 7 + "e\u0301" * 7, {"too_short"}),
        ("q" + "7w!z " * 250, {"too_long"}),
        ("\u6f22\u5b57" * 200, {"too_long"}),
        ("my own {email} indeed", {"contains_email"}),
        ("my own {EMAIL} indeed", {"contains_email"}),
        ("it is {local_part}, mind", {"contains_email"}),
        ("{password}", {"unchanged"}),
        ("{local_part}" * 65, {"too_long", "contains_email"}),
    ],
)
def test_a_new_password_is_rejected_with_all_reasons_that_apply(new: str, reasons: set[str], session: Session) -> None:
    """Shows ASVS 6.2.11, ASVS 6.2.1, NIST 3.1.1.2-1, NIST 3.1.1.2-bl."""
    email = session.user.email
    words = {"email": email, "EMAIL": email.upper(), "local_part": email.partition("@")[0]}
    answer = change(session, new.format(password=session.user.password, **words))
    body = problem_of(answer, 422, "password-rejected")
    assert set(body["reasons"]) == reasons
    assert len(body["reasons"]) == len(reasons)
    assert login_status(session, session.user.password) == 200


def test_too_short_and_in_the_address_are_told_together(gateway: GatewayProcess, client: httpx2.Client) -> None:
    session = log_in(gateway, client)
    answer = change(session, session.user.email.partition("@")[0][:14])
    assert "too_short" in answer.json()["reasons"]
    answer = change(session, "password")
    assert set(answer.json()["reasons"]) == {"too_short", "common"}


@pytest.mark.parametrize("new", [PRINTABLE, "x7 qw!m-5bd+rzu", "\u00e9" * 15, " " * 3 + "q7w!z e5t#u8" + " " * 3])
def test_fifteen_code_points_are_enough_whatever_they_are(new: str, session: Session) -> None:
    """Shows ASVS 6.2.5, NIST 3.1.1.2-3, NIST 3.1.1.2-5."""
    assert change(session, new).status_code == 204
    assert login_status(session, new) == 200


def test_the_least_length_is_a_setting(gateway_with: Callable[..., GatewayProcess]) -> None:
    gateway = gateway_with(password_min_length=20)
    with client_of(gateway) as client:
        session = log_in(gateway, client)
        assert set(change(session, "x7 qw!m-5bd+rzu").json()["reasons"]) == {"too_short"}


def test_another_normal_form_of_the_same_password_is_unchanged(session: Session) -> None:
    first = "Zoë hört fünf Töne"
    assert change(session, first).status_code == 204
    answer = change(session, unicodedata.normalize("NFD", first), current_password=first)
    assert problem_of(answer, 422, "password-rejected")["reasons"] == ["unchanged"]


def test_a_form_is_not_taken(session: Session) -> None:
    form = {"current_password": session.user.password, "new_password": NEW}
    answer = session.client.post("/auth/change-password", data=form, headers=session.bearer)
    problem_of(answer, 415, "unsupported-media-type")
    assert login_status(session, session.user.password) == 200


@pytest.mark.parametrize("member", ["current_password", "new_password"])
@pytest.mark.parametrize("value", [None, 1, True, ["x"], {"x": "y"}])
def test_a_password_is_text(member: str, value: object, session: Session) -> None:
    problem_of(change(session, **{member: value}), 400, "malformed-request")


def test_an_unknown_member_is_malformed(session: Session) -> None:
    """Shows ASVS 15.3.3."""
    problem_of(change(session, user_id=session.user.user_id), 400, "malformed-request")
    assert login_status(session, session.user.password) == 200


def test_the_token_is_judged_before_the_body(session: Session) -> None:
    answer = session.client.post("/auth/change-password", content=b"{", headers={"Content-Type": "text/plain"})
    problem_of(answer, 401, "access-token-missing")


def test_a_change_that_races_the_removal_of_its_user_is_no_error_of_ours(
    make_gateway: Callable[..., GatewayProcess],
) -> None:
    gateway = make_gateway(bcrypt_cost=11)
    with client_of(gateway) as client:
        session = log_in(gateway, client)
        answers: list[httpx2.Response] = []
        changing = threading.Thread(target=lambda: answers.append(change(session)))
        changing.start()
        time.sleep(0.1)
        in_gateway(gateway.env, lambda opened: opened.users.remove(session.user.user_id, session.user.email))
        changing.join()
        assert answers[0].status_code in (204, 401, 403)


def test_a_guesser_with_a_stolen_access_token_is_limited_as_at_login(
    gateway_with: Callable[..., GatewayProcess],
) -> None:
    gateway = gateway_with(login_limit="3/hour", trusted_proxies="127.0.0.1")
    with client_of(gateway) as client:
        session = log_in(gateway, client, X_Forwarded_For="198.51.100.77")
        session.client.headers["X-Forwarded-For"] = "198.51.100.78"
        for _ in range(3):
            problem_of(change(session, current_password="wrong"), 403, "invalid-credentials")
        problem_of(change(session), 429, "rate-limited")
