"""Every ending marks, announces, deletes: one that failed half-way is completed, and its session never lives again."""

from collections.abc import Callable, Iterator

import pytest

from gateway.errors import RefreshTokenInvalid
from gateway.sessions.revocations import LONGEST_ACCESS_TOKEN_LIFE_SECONDS, MARGIN_SECONDS
from gateway.state import Gateway
from tests.cli.commands import here
from tests.conftest import quick_environment
from tests.families.proxy import Fault, Proxy
from tests.families.records import Records
from tests.harness import GatewayProcess, RedisServer, in_gateway
from tests.scripts import load_script
from tests.web.asking import Session, client_of, log_in, problem_of

PREFIX = "half:"
MOST_SESSIONS = 3
FORGOTTEN_SECONDS = LONGEST_ACCESS_TOKEN_LIFE_SECONDS + MARGIN_SECONDS
ATTEMPTS = 3  # how often the store sends a command at most
NEW_PASSWORD = "quite another sentence"


@pytest.fixture(scope="module")
def proxy(redis_server: RedisServer) -> Iterator[Proxy]:
    """Give a proxy before the Redis of this test process."""
    made = Proxy(redis_server)
    yield made
    made.close()


@pytest.fixture(scope="module")
def behind(proxy: Proxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """Give a gateway that has Redis behind the proxy."""
    env = quick_environment(proxy.url, redis_key_prefix=PREFIX, max_sessions_per_user=MOST_SESSIONS)
    process = GatewayProcess(env, tmp_path_factory.mktemp("gateway") / "gateway.log").start()
    yield process
    process.stop()


@pytest.fixture
def records(redis_server: RedisServer) -> Iterator[Records]:
    """Give the records past the proxy."""
    opened = Records(redis_server, PREFIX)
    yield opened
    opened.close()


def log_out(doomed: Session, other: Session) -> int:
    return doomed.client.post("/auth/logout", json={"refresh_token": doomed.refresh_token}).status_code


def delete(doomed: Session, other: Session) -> int:
    return doomed.client.delete(f"/auth/sessions/{doomed.sid}", headers=other.bearer).status_code


def log_out_everywhere(doomed: Session, other: Session) -> int:
    return doomed.client.post("/auth/logout-all", headers=other.bearer).status_code


def change_password(doomed: Session, other: Session) -> int:
    body = {"current_password": doomed.user.password, "new_password": NEW_PASSWORD}
    return doomed.client.post("/auth/change-password", headers=other.bearer, json=body).status_code


def reuse(doomed: Session, other: Session) -> int:
    first = doomed.refresh_token
    for _ in range(2):
        answer = doomed.refresh()
        doomed.refresh_token = answer.json()["refresh_token"]
    return doomed.client.post("/auth/refresh", json={"refresh_token": first}).status_code


def log_in_over_it(doomed: Session, other: Session) -> int:
    body = {"username": doomed.user.email, "password": doomed.user.password}
    headers = {"Cookie": f"refresh_token={doomed.refresh_token}"}
    return doomed.client.post("/auth/login", json=body, headers=headers).status_code


def log_in_until_it_gives_way(doomed: Session, other: Session) -> int:
    body = {"username": doomed.user.email, "password": doomed.user.password}
    statuses = [doomed.client.post("/auth/login", json=body).status_code for _ in range(MOST_SESSIONS - 1)]
    return statuses[-1]


def revoke(doomed: Session, other: Session) -> int:
    outcome = here("sessions", "revoke", doomed.user.email, doomed.sid, env=doomed.gateway.env)
    return 503 if outcome.status == 1 else outcome.status


def revoke_all(doomed: Session, other: Session) -> int:
    outcome = here("sessions", "revoke", doomed.user.email, "--all", env=doomed.gateway.env)
    return 503 if outcome.status == 1 else outcome.status


def disable_and_enable(doomed: Session, other: Session) -> int:
    email, env = doomed.user.email, doomed.gateway.env
    outcome = here("users", "disable", email, env=env)
    assert here("users", "enable", email, env=env).status == 0
    return 503 if outcome.status == 1 else outcome.status


DEEDS = (
    *(log_out, delete, log_out_everywhere, change_password, reuse, log_in_over_it, log_in_until_it_gives_way),
    *(revoke, revoke_all, disable_and_enable),
)
Deed = Callable[[Session, Session], int]
# What the gateway tells of each as soon as the sessions are marked; commands tell it on their own stderr.
TOLD = {
    log_out: ("logout", ""),
    delete: ("sessions_revoked", ""),
    log_out_everywhere: ("sessions_revoked", "logout-all"),
    change_password: ("password_changed", ""),
    reuse: ("refresh_token_reused", ""),
    log_in_over_it: ("sessions_revoked", "replaced"),
    log_in_until_it_gives_way: ("sessions_revoked", "too-many"),
}


@pytest.mark.parametrize("side", ["request", "reply"])
@pytest.mark.parametrize("script", ["revocation_announce", "family_revoke"])
@pytest.mark.parametrize("deed", DEEDS, ids=lambda deed: deed.__name__)
def test_an_ending_that_failed_half_way_is_no_life(
    deed: Deed, script: str, side: str, behind: GatewayProcess, proxy: Proxy, records: Records
) -> None:
    """
    Not at once, and not when its announcement was forgotten; whoever meets it first completes it.

    Shows ASVS 2.3.3.
    """
    with client_of(behind) as client:
        doomed = log_in(behind, client)
        other = log_in(behind, client, doomed.user)
        user_id, since = doomed.user.user_id, behind.log_size()
        proxy.arm(load_script(script).sha1.encode(), Fault("request" if side == "request" else "reply"), ATTEMPTS)
        assert deed(doomed, other) == 503
        proxy.disarm()
        told = [(line["event"], line.get("reason", "")) for line in behind.log_lines(since) if "event" in line]
        assert [one for one in told if one[0] != "login_succeeded"] == ([TOLD[deed]] if deed in TOLD else [])

        found = records.of(user_id).get(doomed.sid)
        assert (found is None) is (script == "family_revoke" and side == "reply")
        assert found is None or found.ended == 1

        stream = records.client.xrange(f"{PREFIX}revocations")
        announced = any(doomed.sid.encode() in fields.values() for _, fields in stream)
        assert announced is (script == "family_revoke" or side == "reply")

        async def refresh_later(parts: Gateway) -> str:
            with pytest.raises(RefreshTokenInvalid) as refused:
                await parts.families.rotate(parts.families.parse(doomed.refresh_token))
            return refused.value.cause

        # A gateway that has heard of nothing, while the mark is there and when it is gone.
        assert in_gateway(behind.env, refresh_later) == ("unknown" if found is None else "revoked")
        records.age(user_id, FORGOTTEN_SECONDS)
        assert in_gateway(behind.env, refresh_later) in ("unknown", "expired")


@pytest.mark.parametrize("script", ["revocation_announce", "family_revoke"])
@pytest.mark.parametrize("deed", DEEDS, ids=lambda deed: deed.__name__)
def test_the_next_request_completes_an_ending_that_failed_half_way(
    deed: Deed, script: str, behind: GatewayProcess, proxy: Proxy, records: Records
) -> None:
    with client_of(behind) as client:
        doomed = log_in(behind, client)
        other = log_in(behind, client, doomed.user)
        proxy.arm(load_script(script).sha1.encode(), Fault("request"), ATTEMPTS)
        assert deed(doomed, other) == 503
        proxy.disarm()
        problem_of(doomed.refresh(), 401, "refresh-token-invalid")
        assert not doomed.is_alive()
        assert doomed.sid not in records.of(doomed.user.user_id)
        announced = [value for _, fields in records.client.xrange(f"{PREFIX}revocations") for value in fields.values()]
        assert doomed.sid.encode() in announced
        assert not records.client.hexists(f"{PREFIX}user:{{{doomed.user.user_id}}}", "unannounced")


def test_a_cut_off_that_was_not_announced_is_announced_by_the_next_login_or_refresh(
    behind: GatewayProcess, proxy: Proxy, records: Records
) -> None:
    """For the access tokens of sessions that Redis has lost."""
    with client_of(behind) as client:
        for is_login in (True, False):
            lost = log_in(behind, client)
            records.client.delete(records.key(lost.user.user_id))
            kept = log_in(behind, client, lost.user)
            proxy.arm(load_script("revocation_announce").sha1.encode(), Fault("request"), ATTEMPTS)
            assert change_password(lost, kept) == 503
            proxy.disarm()
            lost.user.password = NEW_PASSWORD
            if is_login:
                log_in(behind, client, lost.user)
            else:
                kept.access_token = kept.refresh().json()["access_token"]
            assert kept.is_alive()
            assert not lost.is_alive()
            stream = records.client.xrange(f"{PREFIX}revocations")
            announced = [fields[b"sub"].decode() for _, fields in stream if b"sub" in fields]
            assert [lost.user.user_id, kept.sid] in [text.split(" ")[::2] for text in announced]
            assert not records.client.hexists(f"{PREFIX}user:{{{lost.user.user_id}}}", "unannounced")


@pytest.mark.parametrize("deed", [log_out, delete, log_out_everywhere, revoke], ids=lambda deed: deed.__name__)
def test_an_ending_that_failed_before_it_began_has_ended_nothing(
    deed: Deed, behind: GatewayProcess, proxy: Proxy, records: Records
) -> None:
    """The caller is told to come again, and then it is done."""
    with client_of(behind) as client:
        doomed = log_in(behind, client)
        other = log_in(behind, client, doomed.user)
        proxy.arm(load_script("family_mark").sha1.encode(), Fault("request"), ATTEMPTS)
        assert deed(doomed, other) == 503
        proxy.disarm()
        assert records.of(doomed.user.user_id)[doomed.sid].ended == 0
        assert doomed.is_alive()
        assert deed(doomed, other) in (0, 200, 204)
        assert doomed.sid not in records.of(doomed.user.user_id)
        problem_of(doomed.refresh(), 401, "refresh-token-invalid")


def test_a_removal_that_got_stuck_is_told_as_far_as_it_came(
    behind: GatewayProcess, proxy: Proxy, records: Records
) -> None:
    user = behind.add_user()

    def told() -> list[tuple[bytes, bytes | None]]:
        entries = records.client.xrange(f"{PREFIX}audit")
        own = [fields for _, fields in entries if fields.get(b"sub") == user.user_id.encode()]
        return [(fields[b"event"], fields.get(b"reason")) for fields in own]

    proxy.arm(load_script("user_remove").sha1.encode(), Fault("request"), ATTEMPTS)
    assert here("users", "remove", user.email, env=behind.env).status == 1
    proxy.disarm()
    assert told() == [(b"user_changed", b"disabled")]
    assert here("users", "remove", user.email, env=behind.env).status == 0
    assert told() == [(b"user_changed", b"disabled"), (b"user_removed", None)]


def test_a_password_that_an_invitation_has_set_is_told_though_the_sessions_are_not_all_ended(
    behind: GatewayProcess, proxy: Proxy
) -> None:
    user = behind.add_user()

    async def invite(parts: Gateway) -> str:
        found = await parts.users.find(user.email)
        assert found
        return await parts.invitations.make(found)

    code, since = in_gateway(behind.env, invite), behind.log_size()
    proxy.arm(load_script("revocation_announce").sha1.encode(), Fault("request"), ATTEMPTS)
    with client_of(behind) as client:
        form = {"code": code, "password": NEW_PASSWORD}
        answer = client.post("/auth/welcome", data=form, headers={"Accept": "text/html"})
    proxy.disarm()
    assert answer.status_code == 503
    told = [(line["event"], line["reason"], line["sub"]) for line in behind.log_lines(since) if "event" in line]
    assert told == [("password_changed", "invitation", user.user_id)]
