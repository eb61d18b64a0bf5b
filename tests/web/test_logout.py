import pytest

from gateway.errors import RefreshTokenReused
from gateway.state import Gateway
from tests.harness import in_gateway
from tests.web.asking import CHALLENGE, Session, in_latin_1, log_in, problem_of, set_cookies


def cookie(token: str) -> dict[str, str]:
    return {"Cookie": f"refresh_token={token}"}


def test_logout_by_cookie_ends_the_session_and_clears_the_cookie(session: Session) -> None:
    """Shows ASVS 7.4.1, ASVS 14.3.1, RFC 9700 4.14.2d, NIST 5.1a."""
    answer = session.client.post("/auth/logout", headers=cookie(session.refresh_token))
    assert answer.status_code == 204
    assert answer.content == b""
    assert set_cookies(answer)["refresh_token"]["value"] == ""
    assert not session.is_alive()
    problem_of(session.refresh(), 401, "refresh-token-invalid")


@pytest.mark.parametrize("encoding", ["json", "data"])
def test_logout_with_the_token_in_the_body_ends_the_session(encoding: str, session: Session) -> None:
    body = {encoding: {"refresh_token": session.refresh_token}}
    assert session.client.post("/auth/logout", **body).status_code == 204  # type: ignore[arg-type]
    assert not session.is_alive()
    problem_of(session.refresh(), 401, "refresh-token-invalid")


def test_logout_with_the_previous_token_ends_the_session_too(session: Session) -> None:
    """A browser whose last refresh answer was lost still logs out."""
    successor = session.refresh().json()["refresh_token"]
    answer = session.client.post("/auth/logout", json={"refresh_token": session.refresh_token})
    assert answer.status_code == 204
    answer = session.client.post("/auth/refresh", json={"refresh_token": successor})
    problem_of(answer, 401, "refresh-token-invalid")


def test_logout_ends_no_other_session(session: Session) -> None:
    other = log_in(session.gateway, session.client, session.user)
    session.client.post("/auth/logout", json={"refresh_token": session.refresh_token})
    assert other.is_alive()
    assert other.refresh().status_code == 200


def test_a_second_logout_is_a_204_too(session: Session) -> None:
    for _ in range(2):
        answer = session.client.post("/auth/logout", headers=cookie(session.refresh_token))
        assert answer.status_code == 204
        assert set_cookies(answer)["refresh_token"]["value"] == ""


@pytest.mark.parametrize("token", ["", "forged", "A" * 92, "\u00e9"])
@pytest.mark.parametrize("way", ["cookie", "body"])
def test_logout_with_a_forged_token_is_a_204_and_ends_nothing(way: str, token: str, session: Session) -> None:
    if way == "cookie":
        answer = session.client.post("/auth/logout", headers=in_latin_1("Cookie", f"refresh_token={token}"))
        assert set_cookies(answer)["refresh_token"]["value"] == ""
    else:
        answer = session.client.post("/auth/logout", json={"refresh_token": token})
    assert answer.status_code == 204
    assert session.is_alive()


@pytest.mark.parametrize("json", [None, {}, {"refresh_token": None}])
def test_logout_without_a_token_is_a_401(json: dict[str, None] | None, session: Session) -> None:
    answer = session.client.post("/auth/logout", json=json, headers=session.bearer)
    problem_of(answer, 401, "refresh-token-missing")
    assert answer.headers["WWW-Authenticate"] == CHALLENGE
    assert session.is_alive()


def test_logout_with_two_tokens_is_malformed_and_ends_nothing(session: Session) -> None:
    answer = session.client.post(
        "/auth/logout", json={"refresh_token": session.refresh_token}, headers=cookie(session.refresh_token)
    )
    problem_of(answer, 400, "malformed-request")
    assert session.is_alive()


def test_logout_of_a_user_who_is_gone_is_a_204(session: Session) -> None:
    in_gateway(session.gateway.env, lambda opened: opened.users.remove(session.user.user_id, session.user.email))
    answer = session.client.post("/auth/logout", json={"refresh_token": session.refresh_token})
    assert answer.status_code == 204


@pytest.mark.parametrize("way", ["header", "cookie"])
def test_logout_all_counts_every_session_of_the_caller_and_clears_the_cookie(way: str, session: Session) -> None:
    """Shows ASVS 10.4.9."""
    others = [log_in(session.gateway, session.client, session.user) for _ in range(2)]
    stranger = log_in(session.gateway, session.client)
    headers = session.bearer if way == "header" else {"Cookie": f"access_token={session.access_token}"}
    answer = session.client.post("/auth/logout-all", headers=headers)
    assert answer.status_code == 200
    assert answer.json() == {"revoked_sessions": 3}
    assert set_cookies(answer)["refresh_token"]["value"] == ""
    assert not any(ended.is_alive() for ended in (session, *others))
    assert stranger.is_alive()


def test_logout_all_counts_no_session_that_has_ended(session: Session) -> None:
    other = log_in(session.gateway, session.client, session.user)
    session.client.post("/auth/logout", json={"refresh_token": other.refresh_token})
    answer = session.client.post("/auth/logout-all", headers=session.bearer)
    assert answer.json() == {"revoked_sessions": 1}


def test_after_logout_all_its_own_access_token_is_refused(session: Session) -> None:
    session.client.post("/auth/logout-all", headers=session.bearer)
    answer = session.client.post("/auth/logout-all", headers=session.bearer)
    problem_of(answer, 401, "access-token-invalid")
    assert not set_cookies(answer)


def test_logout_all_does_not_take_a_refresh_token(session: Session) -> None:
    answer = session.client.post("/auth/logout-all", headers=cookie(session.refresh_token))
    problem_of(answer, 401, "access-token-missing")
    assert session.is_alive()


def end_half(session: Session) -> None:
    """Let a thief's use of an old token mark the family as ended, and a crash keep everybody from hearing of it."""

    async def work(parts: Gateway) -> None:
        first = parts.families.parse(session.refresh_token)
        successor = parts.families.parse((await parts.families.rotate(first)).refresh_token)
        await parts.families.rotate(successor)
        with pytest.raises(RefreshTokenReused):
            await parts.families.rotate(first)

    in_gateway(session.gateway.env, work)


def test_logout_everywhere_ends_what_a_crash_left_half_ended(session: Session) -> None:
    """The family of a session that nobody was told to refuse is no living one any more, but its access tokens are."""
    other = log_in(session.gateway, session.client, session.user)
    end_half(other)
    assert other.is_alive()
    answer = session.client.post("/auth/logout-all", headers=session.bearer)
    assert answer.json() == {"revoked_sessions": 1}
    assert not session.is_alive()
    assert not other.is_alive()
