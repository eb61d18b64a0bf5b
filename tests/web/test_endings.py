"""What ends with a session, and what ends with all of them: access tokens too, though Redis has lost the session."""

import contextlib
from collections.abc import Callable, Iterator

import jwt
import pytest

from gateway.state import Gateway
from tests.cli.commands import here
from tests.families.records import Records
from tests.harness import GatewayProcess, RedisServer, in_gateway, wait_until
from tests.web.asking import Session, client_of, log_in, problem_of, set_cookies

KNOWN_EVERYWHERE_SECONDS = 1.0
NEW_PASSWORD = "quite another sentence"
ROUNDS = 12


def life_of(access_token: str) -> int:
    """Give the seconds from `iat` to `exp`."""
    claims = jwt.decode(access_token, options={"verify_signature": False})
    return int(claims["exp"]) - int(claims["iat"])


@contextlib.contextmanager
def records_of(gateway: GatewayProcess, redis_server: RedisServer) -> Iterator[Records]:
    records = Records(redis_server, gateway.env["GATEWAY_REDIS_KEY_PREFIX"])
    try:
        yield records
    finally:
        records.close()


def lose_sessions(session: Session) -> None:
    """Let Redis lose all sessions of a user, as after a failover."""

    async def work(parts: Gateway) -> None:
        await parts.store.execute("DEL", parts.store.key(f"families:{{{session.user.user_id}}}"))

    in_gateway(session.gateway.env, work)


# ----------------------------------------------------------------------------------------- the end of one session


def test_no_access_token_outlives_its_session(
    gateway_with: Callable[..., GatewayProcess], redis_server: RedisServer
) -> None:
    """By its absolute end at a refresh, by its idle end at a login; `expires_in` says the same."""
    gateway = gateway_with(access_token_ttl_seconds=300, refresh_idle_ttl_seconds=300, refresh_absolute_ttl_seconds=400)
    with client_of(gateway) as client, records_of(gateway, redis_server) as records:
        session = log_in(gateway, client)
        assert life_of(session.access_token) == 300
        records.age(session.user.user_id, 250)
        for _ in range(2):  # rotated, then replayed
            body = session.refresh().json()
            assert 140 <= body["expires_in"] <= 150
            assert life_of(body["access_token"]) == body["expires_in"]


def test_a_token_that_is_replayed_or_kept_ends_with_the_idle_time_of_its_rotation(
    gateway_with: Callable[..., GatewayProcess], redis_server: RedisServer
) -> None:
    gateway = gateway_with(access_token_ttl_seconds=300, refresh_idle_ttl_seconds=300, refresh_absolute_ttl_seconds=400)
    with client_of(gateway) as client, records_of(gateway, redis_server) as records:
        session = log_in(gateway, client)
        presented = session.refresh_token
        successor = session.refresh().json()["refresh_token"]
        records.age(session.user.user_id, 20)
        for token in (presented, successor):
            answer = client.post("/auth/refresh", headers={"Cookie": f"refresh_token={token}"})
            again = set_cookies(answer)["refresh_token"]
            assert again["value"] == successor
            assert 270 <= int(again["Max-Age"]) == answer.json()["expires_in"] <= 280
            assert life_of(answer.json()["access_token"]) == answer.json()["expires_in"]


@pytest.mark.parametrize("is_lost", [False, True])
def test_after_a_logout_the_access_token_is_refused_though_redis_has_lost_the_session(
    is_lost: bool, session: Session
) -> None:
    other = log_in(session.gateway, session.client, session.user)
    if is_lost:
        lose_sessions(session)
    answer = session.client.post("/auth/logout", json={"refresh_token": session.refresh_token})
    assert answer.status_code == 204
    assert not session.is_alive()
    assert other.is_alive()


def test_nobody_ends_the_session_of_another_by_its_id(session: Session) -> None:
    """Not even one that Redis does not have: an id is no proof."""
    victim = log_in(session.gateway, session.client)
    for _ in range(2):
        answer = session.client.delete(f"/auth/sessions/{victim.sid}", headers=session.bearer)
        problem_of(answer, 404, "not-found")
        assert victim.is_alive()
        lose_sessions(victim)


# ------------------------------------------------------------------------------------ the end of all sessions of a user


def disable(session: Session) -> None:
    assert here("users", "disable", session.user.email, env=session.gateway.env).status == 0


def enable(session: Session) -> None:
    assert here("users", "enable", session.user.email, env=session.gateway.env).status == 0


def remove(session: Session) -> None:
    assert here("users", "remove", session.user.email, env=session.gateway.env).status == 0


def set_password(session: Session) -> None:
    stdin = NEW_PASSWORD + "\n"
    command = ("users", "set-password", session.user.email, "--password-stdin")
    assert here(*command, env=session.gateway.env, stdin=stdin).status == 0
    session.user.password = NEW_PASSWORD


def revoke_all(session: Session) -> None:
    assert here("sessions", "revoke", session.user.email, "--all", env=session.gateway.env).status == 0


def log_out_everywhere(session: Session) -> None:
    assert session.client.post("/auth/logout-all", headers=session.bearer).status_code == 200


def change_password(session: Session) -> None:
    body = {"current_password": session.user.password, "new_password": session.user.password + "!"}
    answer = session.client.post("/auth/change-password", headers=session.bearer, json=body)
    assert answer.status_code == 204, answer.text
    session.user.password += "!"


DEEDS = (disable, remove, set_password, revoke_all, log_out_everywhere, change_password)


@pytest.fixture
def two(make_gateway: Callable[..., GatewayProcess]) -> tuple[GatewayProcess, GatewayProcess]:
    """Give two gateways that behave as one."""
    first = make_gateway()
    return first, make_gateway(issuer=first.url)


@pytest.mark.parametrize("deed", DEEDS, ids=lambda deed: deed.__name__)
def test_what_ends_all_sessions_refuses_every_token_made_before_though_redis_has_lost_the_session(
    deed: Callable[[Session], None],
    two: tuple[GatewayProcess, GatewayProcess],
    make_gateway: Callable[..., GatewayProcess],
) -> None:
    """Everywhere within a second, at a gateway that starts later too; whoever logs in at once afterwards is let in."""
    first, second = two
    with client_of(first) as here_, client_of(second) as there:
        lost = log_in(first, here_)
        lose_sessions(lost)
        caller = log_in(first, here_, lost.user)
        deed(caller)
        wait_until(lambda: not lost.is_alive(), KNOWN_EVERYWHERE_SECONDS, "the first gateway to know")
        elsewhere = Session(lost.user, lost.access_token, lost.refresh_token, second, there)
        wait_until(lambda: not elsewhere.is_alive(), KNOWN_EVERYWHERE_SECONDS, "the second gateway to know")
        if deed is disable:
            enable(caller)
        afterwards = [] if deed is remove else [log_in(one, there, lost.user) for one in (second, second)]
        late = make_gateway(issuer=first.url)
        with client_of(late) as later:
            for client in (here_, there, later):
                assert not Session(lost.user, lost.access_token, "", first, client).is_alive()
                for session in afterwards:
                    assert Session(lost.user, session.access_token, "", first, client).is_alive()
                own = Session(lost.user, caller.access_token, "", first, client)
                assert own.is_alive() is (deed is change_password)
        # The caller's own session lives on with a change of password, and none of the others does.
        assert caller.refresh().status_code == (200 if deed is change_password else 401)
        assert all(session.refresh().status_code == 200 for session in afterwards)


@pytest.mark.parametrize("deed", [log_out_everywhere, change_password], ids=lambda deed: deed.__name__)
def test_before_and_after_are_told_apart_within_one_second(deed: Callable[[Session], None], session: Session) -> None:
    """Though an access token tells whole seconds alone."""
    in_one_second = 0
    caller = session
    for _ in range(ROUNDS):
        before = log_in(session.gateway, session.client, session.user)
        lose_sessions(session)
        caller = log_in(session.gateway, session.client, session.user)
        deed(caller)
        after = log_in(session.gateway, session.client, session.user)
        assert not before.is_alive()
        assert after.is_alive()
        assert after.refresh().status_code == 200
        assert caller.is_alive() is (deed is change_password)
        claims = [jwt.decode(one.access_token, options={"verify_signature": False}) for one in (before, after)]
        in_one_second += claims[0]["iat"] == claims[1]["iat"]
    print(f"{in_one_second} of {ROUNDS} rounds within one second")
    assert in_one_second


def test_a_session_that_was_kept_ends_with_the_next_change_that_does_not_keep_it(session: Session) -> None:
    change_password(session)
    other = log_in(session.gateway, session.client, session.user)
    lose_sessions(session)
    log_out_everywhere(other)
    assert not session.is_alive()
    assert not other.is_alive()
    assert session.refresh().status_code == 401


def test_a_session_that_redis_has_back_after_it_was_cut_off_is_ended_when_it_refreshes(
    session: Session, redis_server: RedisServer
) -> None:
    """As when Redis returns to an older copy, which nobody has announced the session itself in."""
    other = log_in(session.gateway, session.client, session.user)
    with records_of(session.gateway, redis_server) as records:
        record = records.of(session.user.user_id)[session.sid]
        records.client.hdel(records.key(session.user.user_id), session.sid)
        log_out_everywhere(other)
        records.client.hset(records.key(session.user.user_id), session.sid, record.pack())
        problem_of(session.refresh(), 401, "refresh-token-invalid")
        assert records.of(session.user.user_id) == {}
