"""
Random lives of sessions against a model, on a real Redis that is killed, emptied of scripts and cut off (I1 to I3, I5,
I8).

Two gateways in this process share a Redis behind a proxy. Whatever happens, verdicts and stored records are those of
the model; a command is done once although it is sent again; and what was revoked is refused by both gateways.
"""

import asyncio
import itertools
import logging
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any, TypeVar

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase, strategies
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from gateway.accounts.users import UserChanged
from gateway.app import open_gateway
from gateway.derived_keys import KeyChain
from gateway.errors import InvalidCredentials, RefreshTokenInvalid, RefreshTokenReused, StoreUnavailable
from gateway.sessions.families import RefreshToken, new_family_id
from gateway.state import Gateway
from tests.conftest import quick_environment
from tests.deployments import ON_CLUSTER
from tests.families.conftest import Tally
from tests.families.journal import generation_of
from tests.families.model import Model
from tests.families.proxy import Fault, Proxy
from tests.families.records import Records
from tests.harness import SECRET, RedisServer, settings_of
from tests.scripts import load_script

# Time moves by whole units, and no limit is near a multiple of the unit: the seconds that a test takes do not matter.
UNIT_SECONDS = 120
WINDOW_SECONDS, IDLE_SECONDS, ABSOLUTE_SECONDS, MARK_SECONDS = 300, 1260, 1620, 3660
TOLERANCE_SECONDS = 25  # less than for how long a token is kept
MOST_SESSIONS = 3
USERS = 2
STEPS_PER_LIFE = 50
KILLS_APART = 40 if ON_CLUSTER else 12  # a cluster waits for two seconds after a start before it serves
LIVES_PER_SEED = 30
ATTEMPTS = 3  # how often the store sends a command at most
KNOWN_ELSEWHERE_SECONDS = 1.0
SCRIPTS = ("family_rotate", "family_open", "family_mark", "family_revoke", "revocation_announce", "user_change")
R = TypeVar("R")

gateways = strategies.integers(0, 1)
users = strategies.integers(0, USERS - 1)
picks = strategies.integers(0, 2**16)
attempts = strategies.integers(1, ATTEMPTS)


class World:
    """What outlives a single life: Redis, the proxy, and two gateways on an event loop of their own."""

    def __init__(self, server: RedisServer, proxy: Proxy, window: int, tally: Tally) -> None:
        self.server, self.proxy, self.window, self.tally = server, proxy, window, tally
        self.seconds_passed = 0
        self.keys = KeyChain.of(SECRET, ()).current
        self.markers = {name: load_script(name).sha1.encode() for name in SCRIPTS}
        self.prefix = "families:"
        self.records = Records(server, self.prefix)
        self.gateways: list[Gateway] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._stack = AsyncExitStack()

    def open(self) -> None:
        """Start the loop and the gateways."""
        self._thread.start()
        env = quick_environment(
            self.proxy.url,
            redis_key_prefix=self.prefix,
            refresh_replay_window_seconds=self.window,
            refresh_idle_ttl_seconds=IDLE_SECONDS,
            refresh_absolute_ttl_seconds=ABSOLUTE_SECONDS,
            max_sessions_per_user=MOST_SESSIONS,
        )
        settings, begun = settings_of(env), 1_790_000_000

        async def start() -> list[asyncio.Task[None]]:
            for _ in range(2):
                gateway = open_gateway(settings, lambda: begun + self.seconds_passed)
                self.gateways.append(await self._stack.enter_async_context(gateway))
            return [asyncio.create_task(gateway.revocations.follow()) for gateway in self.gateways]

        self._followers = self.run(start())

    def close(self) -> None:
        """End all of it."""

        async def stop() -> None:
            pending = set(self._followers)
            while pending:  # Python 3.11 may lose a cancellation that comes while a command is being sent
                for follower in pending:
                    follower.cancel()
                _, pending = await asyncio.wait(pending, timeout=0.2)
            await self._stack.aclose()

        self.run(stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self.records.close()

    def run(self, work: Coroutine[Any, Any, R]) -> R:
        """Do something on the loop of the gateways."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=20)


class Life(RuleBasedStateMachine):
    """The life of two users and their sessions."""

    world: World

    def __init__(self) -> None:
        super().__init__()
        self.begun = time.monotonic()
        self.numbers = itertools.count()
        self.model = Model(time.monotonic, self.world.window, IDLE_SECONDS, ABSOLUTE_SECONDS, MOST_SESSIONS)
        self.versions: dict[str, int] = {}
        self.roles: dict[str, tuple[str, ...]] = {}
        self.emails: dict[str, str] = {}
        self.revoked_at: dict[str, int] = {}
        self.auth_times: dict[str, int] = {}
        self.cut_off_at: dict[str, int] = {}
        self.armed: tuple[str, str, bool] | None = None
        self.steps = -1
        self.last_steps: dict[str, int] = {}
        for _ in range(USERS):
            email = f"{new_family_id()}@example.com"
            user = self.world.run(self.world.gateways[0].users.add(email, "Name", ("staff",), "hash"))
            self.model.active[user.user_id], self.versions[user.user_id] = True, 1
            self.roles[user.user_id], self.emails[user.user_id] = ("staff",), user.email
        for number in range(2 * USERS):
            self.log_in(number % USERS, number // USERS, is_late=False)
        for session_id in self.model.sessions:
            for generation in range(2):
                self.refresh(session_id, generation, self.world.gateways[0], announce=True)

    def teardown(self) -> None:
        """Leave nothing behind."""
        self.world.proxy.disarm()
        self.world.records.client.flushall()
        self.world.tally.add(lives=1, steps=self.steps)

    # ------------------------------------------------------------------------------------------------------ sessions

    @rule(user=users, gateway=gateways, is_late=strategies.integers(0, 7).map(lambda number: number == 0))
    def log_in(self, user: int, gateway: int, is_late: bool) -> None:
        user_id, at, session_id = self.user(user), self.at(gateway), new_family_id()
        version = self.versions[user_id] - is_late
        opening = at.families.open(user_id, version, session_id, "2001:db8::1", "A device")
        may_open = self.model.active[user_id] and not is_late
        with self.failing("family_open") as failed:
            try:
                opened = self.world.run(opening)
            except InvalidCredentials:
                return self.expect(not may_open, "a login was refused")
            self.expect(may_open, "a login that should have been refused")
            gave_way = sids_of(opened.unannounced)
            self.expect(self.model.open(user_id, session_id, gave_way), "the wrong sessions gave way")
            self.model.sessions[session_id].tokens[0] = opened.refresh_token
            self.auth_times[session_id] = opened.auth_time
            return self.end(at, user_id, gave_way, opened.unannounced)
        if failed.was_done and may_open:
            marked = [known for known, record in self.world.records.of(user_id).items() if record.ended]
            self.auth_times[session_id] = self.world.records.of(user_id)[session_id].created_ms // 1000
            self.expect(self.model.open(user_id, session_id, marked), "the wrong sessions gave way")
            self.remember(session_id)

    @rule(pick=picks, gateway=gateways, is_cookie=strategies.booleans())
    def refresh_with_the_newest(self, pick: int, gateway: int, is_cookie: bool) -> None:
        self.refresh_one_from_the_end(pick, gateway, 0, is_cookie=is_cookie)

    @rule(pick=picks, gateway=gateways, is_cookie=strategies.booleans())
    def refresh_with_the_parent(self, pick: int, gateway: int, is_cookie: bool) -> None:
        self.refresh_one_from_the_end(pick, gateway, 1, is_cookie=is_cookie)

    @rule(pick=picks, gateway=gateways, back=strategies.integers(2, 6), is_cookie=strategies.booleans())
    def refresh_with_an_ancestor(self, pick: int, gateway: int, back: int, is_cookie: bool) -> None:
        self.refresh_one_from_the_end(pick, gateway, back, is_cookie=is_cookie)

    @rule(pick=picks, backs=strategies.lists(strategies.integers(0, 1), min_size=2, max_size=6))
    def refresh_from_several_tabs(self, pick: int, backs: list[int]) -> None:
        for number, back in enumerate(backs):
            self.refresh_one_from_the_end(pick, number % 2, back, is_cookie=True)

    @rule(picks=strategies.lists(picks, min_size=1, max_size=8), gateway=gateways)
    def refresh_some_one_after_the_other(self, picks: list[int], gateway: int) -> None:
        for pick in picks:
            self.refresh_one_from_the_end(pick, gateway, 0)

    @rule(pick=picks, gateway=gateways, units=strategies.integers(0, 4))
    def refresh_and_ask_again_later(self, pick: int, gateway: int, units: int) -> None:
        self.refresh_one_from_the_end(pick, gateway, 0)
        if units:
            self.let_time_pass(units)
        self.refresh_one_from_the_end(pick, 1 - gateway, 1)

    @rule(pick=picks, gateway=gateways, back=strategies.integers(0, 3))
    def refresh_and_crash_before_a_revocation_is_announced(self, pick: int, gateway: int, back: int) -> None:
        session_id = self.session(pick)
        newest = max(self.model.sessions[session_id].tokens)
        self.refresh(session_id, max(0, newest - back), self.at(gateway), announce=False)

    @rule(pick=picks, gateway=gateways, ahead=strategies.integers(1, 100))
    def refresh_with_a_generation_that_redis_has_lost(self, pick: int, gateway: int, ahead: int) -> None:
        session_id = self.session(pick)
        session = self.model.sessions[session_id]
        self.refresh(session_id, session.generation + ahead, self.at(gateway), announce=True)

    @rule(pick=picks, gateway=gateways, place=strategies.integers(0, 91), by=strategies.integers(1, 63))
    def refresh_with_an_invented_one(self, pick: int, gateway: int, place: int, by: int) -> None:
        of_nothing = RefreshToken(self.user(pick % USERS), new_family_id(), place)
        with self.failing("family_rotate"), pytest.raises(RefreshTokenInvalid, match="not valid"):
            self.world.run(self.at(gateway).families.rotate(of_nothing))
        tokens = self.model.sessions[self.session(pick)].tokens
        token, alphabet = tokens[max(tokens)], "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        other = alphabet[(alphabet.index(token[place]) + by) % 64]
        with pytest.raises(RefreshTokenInvalid, match="not valid"):
            self.at(gateway).families.parse(token[:place] + other + token[place + 1 :])
        self.world.tally.add(invented=2)

    @rule(pick=picks, gateway=gateways)
    def log_out(self, pick: int, gateway: int) -> None:
        session_id, at = self.session(pick), self.at(gateway)
        user_id = self.model.sessions[session_id].user
        if self.world.run(at.families.exists(user_id, session_id)):
            self.end(at, user_id, [session_id])

    @rule(user=users, gateway=gateways)
    def log_out_everywhere(self, user: int, gateway: int) -> None:
        user_id, at = self.user(user), self.at(gateway)
        listed = [family.family_id for family in self.world.run(at.families.list(user_id))]
        self.expect(set(listed) == set(self.model.of(user_id, "live")), "the list of sessions")
        due = list(self.world.records.of(user_id))
        for attempt in range(3):
            with self.failing("family_mark", "revocation_announce", "family_revoke"):
                count = self.world.run(at.end_all_families(user_id))
                # What was done in an earlier attempt is not counted again; what was sent again is.
                self.expect(attempt > 0 or count == len(listed), f"{count} ended of {len(listed)}")
                break
        self.look_at_revoked(at, due)
        self.look_at_cut_off(user_id, "")

    @rule(user=users)
    def lose_the_sessions(self, user: int) -> None:
        user_id = self.user(user)
        self.world.records.client.delete(self.world.records.key(user_id))
        for session_id in self.model.of(user_id, "live", "marked"):
            self.model.sessions[session_id].state = "lost"
            self.world.tally.add(lost=1)

    # ---------------------------------------------------------------------------------------------------------- users

    @rule(user=users, gateway=gateways, pick=picks, keep=strategies.booleans())
    def change_the_password(self, user: int, gateway: int, pick: int, keep: bool) -> None:
        user_id, living = self.user(user), self.model.of(self.user(user), "live")
        kept = living[pick % len(living)] if keep and living else ""
        change = self.at(gateway).users.set_password(
            user_id, f"hash {next(self.numbers)}", expected_version=self.versions[user_id], keep_family=kept
        )
        if self.change(user_id, self.at(gateway), change, kept):
            self.versions[user_id] += 1

    @rule(user=users, gateway=gateways)
    def change_the_password_too_late(self, user: int, gateway: int) -> None:
        user_id, number = self.user(user), next(self.numbers)
        earlier = self.versions[user_id] - 1
        change = self.at(gateway).users.set_password(user_id, f"hash {number}", expected_version=earlier)
        with self.failing("user_change"), pytest.raises(UserChanged):
            self.world.run(change)

    @rule(user=users, gateway=gateways)
    def disable(self, user: int, gateway: int) -> None:
        user_id, at = self.user(user), self.at(gateway)
        if self.change(user_id, at, at.users.set_active(user_id, False), ""):
            self.model.active[user_id] = False

    @rule(user=users)
    def disable_past_the_gateway(self, user: int) -> None:
        user_id = self.user(user)
        self.world.records.client.hset(f"{self.world.prefix}user:{{{user_id}}}", "is_active", "0")
        self.model.active[user_id] = False

    @rule(user=users, gateway=gateways)
    def enable(self, user: int, gateway: int) -> None:
        user_id = self.user(user)
        with self.failing("user_change") as failed:
            self.world.run(self.at(gateway).users.set_active(user_id, True))
        self.model.active[user_id] |= failed.was_done

    @rule(user=users, gateway=gateways, roles=strategies.sampled_from(((), ("staff",), ("staff", "ops"))))
    def change_roles(self, user: int, gateway: int, roles: tuple[str, ...]) -> None:
        user_id = self.user(user)
        with self.failing("user_change") as failed:
            self.world.run(self.at(gateway).users.set_roles(user_id, roles))
        if failed.was_done:
            self.roles[user_id] = roles

    # ------------------------------------------------------------------------------------------------- time and faults

    @rule(units=strategies.integers(1, 3))
    def let_time_pass(self, units: int) -> None:
        for user_id in self.model.active:
            self.world.records.age(user_id, units * UNIT_SECONDS)
        self.model.age(units * UNIT_SECONDS)
        self.world.seconds_passed += units * UNIT_SECONDS
        self.count("times_moved")

    @precondition(lambda self: self.steps_since("long_times") >= 20)
    @rule(units=strategies.sampled_from((10, 11, 20, 31)))
    def let_sessions_or_marks_run_out(self, units: int) -> None:
        self.let_time_pass(units)
        self.count("long_times")

    @precondition(lambda self: self.steps_since("redis_kills") >= KILLS_APART)
    @rule()
    def kill_redis_and_start_it_again(self) -> None:
        self.world.server.kill()
        self.world.server.start()
        self.count("redis_kills")

    @precondition(lambda self: self.steps_since("script_flushes") >= 6)
    @rule(of=strategies.sampled_from(("ASYNC", "SYNC")))
    def flush_the_scripts(self, of: str) -> None:
        self.world.records.client.script_flush(of)
        self.count("script_flushes")

    @rule(pick=picks, rotations=strategies.integers(1, 100))
    def lose_the_last_rotations(self, pick: int, rotations: int) -> None:
        session_id = self.session(pick)
        session = self.model.sessions[session_id]
        lost = min(rotations, session.generation)
        if lost and session_id in self.model.of(session.user, "live"):
            self.world.records.set_back(session.user, session_id, lost)
            session.generation -= lost
            self.world.tally.add(set_backs=1)

    @rule(script=strategies.sampled_from(SCRIPTS), keep=strategies.integers(0, 60), times=attempts)
    def reset_within_the_next_request(self, script: str, keep: int, times: int) -> None:
        self.cut(script, Fault("request", keep), times)

    @rule(script=strategies.sampled_from(SCRIPTS), keep=strategies.integers(0, 3), times=attempts)
    def reset_within_the_next_reply(self, script: str, keep: int, times: int) -> None:
        self.cut(script, Fault("reply", keep), times)

    @rule(pick=picks, gateway=gateways, back=strategies.integers(0, 2), times=attempts, is_cookie=strategies.booleans())
    def refresh_without_hearing_the_reply(
        self, pick: int, gateway: int, back: int, times: int, is_cookie: bool
    ) -> None:
        self.cut("family_rotate", Fault("reply"), times)
        self.refresh_one_from_the_end(pick, gateway, back, is_cookie=is_cookie)

    @precondition(lambda self: self.steps_since("silences") >= 40)
    @rule(script=strategies.sampled_from(SCRIPTS), side=strategies.sampled_from(("request", "reply")))
    def silence_within_the_next_command(self, script: str, side: Any) -> None:
        # A command that times out is never sent again, so that one silence is as good as many resets.
        self.cut(script, Fault(side, 3, "silence"), 1)

    # ----------------------------------------------------------------------------------------------------- invariants

    @invariant()
    def everything_is_as_the_model_says(self) -> None:
        self.expect(time.monotonic() - self.begun < TOLERANCE_SECONDS, "this took too long to tell the times apart")
        self.steps += 1
        for user_id in self.model.active:
            self.look_at_records(user_id)
        for session_id, session in self.model.sessions.items():
            revoked_at = self.revoked_at.get(session_id)
            for gateway in self.world.gateways:
                cut_off_at = self.cut_off_at.get(session_id)
                if cut_off_at is not None and self.world.seconds_passed - cut_off_at < MARK_SECONDS - UNIT_SECONDS:
                    self.expect(self.is_refused(gateway, session_id), "a session that was cut off is forgotten (I2)")
                if session.state == "live":
                    is_over = self.model.now() >= self.model.end(session)
                    taken = is_over or not self.is_refused(gateway, session_id)
                    self.expect(taken, "a living session is taken for revoked")
                elif revoked_at is not None and self.world.seconds_passed - revoked_at < MARK_SECONDS - UNIT_SECONDS:
                    self.expect(session_id in gateway.revocations, "a revoked session is forgotten (I2)")

    def look_at_records(self, user_id: str) -> None:
        records = self.world.records.of(user_id)
        for session_id in self.model.of(user_id, "live", "marked"):
            session, record = self.model.sessions[session_id], records.get(session_id)
            self.expect(record is not None, f"a {session.state} session is not stored")
            if record is not None:
                stored = ("marked" if record.ended else "live", record.generation)
                self.expect(stored == (session.state, session.generation), f"stored {stored}, but {session}")
        for session_id in records:
            self.expect(self.model.sessions[session_id].state != "gone", "a revoked session is stored (I2)")
        if records:
            client, key = self.world.records.client, self.world.records.key(user_id)
            (seconds, microseconds), left_ms = client.time(), client.pttl(key)
            ends = [
                record.rotated_ms + MARK_SECONDS * 1000
                if record.ended
                else min(record.rotated_ms + IDLE_SECONDS * 1000, record.created_ms + record.lifetime_seconds * 1000)
                for record in records.values()
            ]
            needed_ms = max(ends) - (seconds * 1000 + microseconds // 1000)
            self.expect(left_ms >= needed_ms - 100, f"stored for {left_ms} ms, needed for {needed_ms} ms")
            self.expect(0 < left_ms <= MARK_SECONDS * 1000, f"stored for {left_ms} ms (I8)")

    # ---------------------------------------------------------------------------------------------------------- parts

    def cut(self, script: str, fault: Fault, times: int) -> None:
        """Arm the proxy, unless it is armed. One reset is always mended, even of a connection that was stale before."""
        if not self.armed:
            self.armed = (script, fault.side, times > 1 or fault.how == "silence")
            self.world.proxy.arm(self.world.markers[script], fault, times)
            self.count("silences" if fault.how == "silence" else "resets", times)

    def count(self, what: str, by: int = 1) -> None:
        """Count something and remember when it was."""
        self.last_steps[what] = self.steps
        self.world.tally.add(**{what: by})

    def steps_since(self, what: str) -> int:
        """Give the steps of this life since something was counted, or since its beginning."""
        return self.steps - self.last_steps.get(what, 0)

    def refresh_one_from_the_end(self, pick: int, gateway: int, back: int, *, is_cookie: bool = False) -> None:
        session_id = self.session(pick)
        newest = max(self.model.sessions[session_id].tokens)
        self.refresh(session_id, max(0, newest - back), self.at(gateway), announce=True, is_cookie=is_cookie)

    def refresh(self, session_id: str, presented: int, at: Gateway, *, announce: bool, is_cookie: bool = False) -> None:
        session = self.model.sessions[session_id]
        token = session.tokens.get(presented) or self.token(session_id, presented)
        verdict, rotation = "", None
        with self.failing("family_rotate") as failed:
            try:
                rotation = self.world.run(at.families.rotate(at.families.parse(token), is_cookie=is_cookie))
                verdict = rotation.outcome
            except RefreshTokenReused:
                verdict = "reused"
            except RefreshTokenInvalid as error:
                verdict = "over" if error.cause in ("unknown", "expired") else error.cause
        if not failed.was_done:
            return
        expected = self.model.refresh(session_id, presented, is_cookie=is_cookie)
        if expected in ("rotated", "healed"):
            self.remember(session_id)
        if not verdict:
            return
        self.world.tally.add(**{verdict: 1})
        # Sent again after it was done, a command finds that its generation is the one that is stored.
        right = verdict == expected or (failed.was_sent_again and (verdict, expected) == ("rotated", "healed"))
        self.expect(right, f"{verdict} instead of {expected}: {presented} of {session}")
        if rotation is not None:
            told = (rotation.user_id, rotation.family_id, rotation.email, rotation.roles)
            asked = (session.user, session_id, self.emails[session.user], self.roles[session.user])
            self.expect(told == asked, f"an answer to somebody else's question (I5): {told}, {asked}")
            left = self.model.end(session) - self.model.now()
            self.expect(abs(rotation.max_age_seconds - left) < TOLERANCE_SECONDS, f"said to live on for {rotation}")
            successor = token if expected == "kept" else session.tokens[presented + 1]
            self.expect(
                rotation.refresh_token == successor,
                f"a second successor (I3) of generation {presented}: {generation_of(rotation.refresh_token)}",
            )
            self.expect(rotation.auth_time <= self.auth_times[session_id], "an auth_time that grew")
            if rotation.unannounced:
                self.end(at, session.user, [], rotation.unannounced)
        elif announce and verdict != "over":
            self.end(at, session.user, [session_id])

    def change(self, user_id: str, at: Gateway, work: Coroutine[Any, Any, tuple[str, ...]], kept: str) -> bool:
        """Do something that ends sessions, and tell whether it was done."""
        due = [session_id for session_id in self.world.records.of(user_id) if session_id != kept]
        with self.failing("user_change") as failed:
            ended = self.world.run(work)
            self.expect(set(sids_of(ended)) == set(due), f"ended {ended} instead of {due}")
            self.model.mark(due)
            self.world.tally.add(changed=1)
            self.end(at, user_id, due, ended)
            self.look_at_cut_off(user_id, kept)
            return True
        if failed.was_done:
            self.model.mark(due)
        return failed.was_done

    def end(self, at: Gateway, user_id: str, session_ids: list[str], unannounced: tuple[str, ...] = ()) -> None:
        """End sessions for good; asked again when Redis did not answer, as a client would. Known to all in a second."""
        for _ in range(3):
            with self.failing("family_mark", "revocation_announce", "family_revoke"):
                self.world.run(at.end_families(user_id, unannounced or tuple(session_ids)))
                break
        self.look_at_revoked(at, session_ids)

    def look_at_cut_off(self, user_id: str, kept: str) -> None:
        """All that a user had is refused everywhere within a second, what Redis has lost too, but what is kept."""
        begun = time.monotonic()
        for session_id, session in self.model.sessions.items():
            if session.user == user_id and session_id != kept:
                self.cut_off_at[session_id] = self.world.seconds_passed
                while not all(self.is_refused(gateway, session_id) for gateway in self.world.gateways):
                    late = time.monotonic() - begun > KNOWN_ELSEWHERE_SECONDS
                    self.expect(not late, f"a {session.state} session is not cut off elsewhere (I2)")
                    time.sleep(0.001)

    def is_refused(self, gateway: Gateway, session_id: str) -> bool:
        """Tell whether the access tokens of a session are."""
        user_id = self.model.sessions[session_id].user
        return gateway.revocations.has_ended(user_id, session_id, self.auth_times[session_id])

    def look_at_revoked(self, at: Gateway, session_ids: list[str]) -> None:
        """What was ended is known here at once, and everywhere within a second."""
        self.model.forget(session_ids)
        begun = time.monotonic()
        for session_id in session_ids:
            self.revoked_at[session_id] = self.world.seconds_passed
            self.expect(session_id in at.revocations, "the gateway that revoked it does not know")
            while not all(session_id in gateway.revocations for gateway in self.world.gateways):
                late = time.monotonic() - begun > KNOWN_ELSEWHERE_SECONDS
                self.expect(not late, "a revoked session is not known elsewhere (I2)")
                time.sleep(0.001)
        self.world.tally.add(revoked=len(session_ids))

    def failing(self, *scripts: str) -> "Failing":
        """Allow that Redis is not there, if connections were to be cut so often that sending again may not help."""
        return Failing(self, scripts)

    def remember(self, session_id: str) -> None:
        """Note the token that a session must have now (I3)."""
        session = self.model.sessions[session_id]
        session.tokens.setdefault(session.generation, self.token(session_id, session.generation))

    def token(self, session_id: str, generation: int) -> str:
        user_id = self.model.sessions[session_id].user
        return RefreshToken(user_id, session_id, generation).format(self.world.keys)

    def session(self, pick: int) -> str:
        """Choose a session: mostly one that lives. When there is none, both users mostly log in again."""
        living = self.living()
        if not living and pick % 8:
            for user in range(USERS):
                self.enable(user, pick % 2)
                self.log_in(user, pick % 2, is_late=False)
            living = self.living()
        pool = living if living and pick % 16 else list(self.model.sessions)
        return pool[pick // 16 % len(pool)]

    def living(self) -> list[str]:
        return [session_id for user_id in self.model.active for session_id in self.model.of(user_id, "live")]

    def user(self, number: int) -> str:
        return list(self.model.active)[number]

    def at(self, number: int) -> Gateway:
        return self.world.gateways[number]

    def expect(self, holds: bool, violation: str) -> None:
        self.world.tally.expect(holds, violation)
        assert holds, violation


def sids_of(revocations: tuple[str, ...]) -> list[str]:
    """Give the sessions among revocations, without the cut-off."""
    return [revocation for revocation in revocations if " " not in revocation]


class Failing:
    """
    A context in which `StoreUnavailable` is right when the proxy was to make one.

    Attributes:
        was_done: Whether the command was done, answered or not.
        was_sent_again: Whether a connection was cut, so that it was sent more than once.
    """

    def __init__(self, life: Life, scripts: tuple[str, ...]) -> None:
        self._life = life
        self._scripts = scripts
        self._injected = life.world.proxy.injected
        self.was_done = True
        self.was_sent_again = False

    def __enter__(self) -> "Failing":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: object) -> bool:
        script, side, may_be_outage = self._life.armed or ("", "", False)
        if self._life.world.proxy.injected > self._injected:
            self._life.armed, self.was_sent_again = None, True
        if not isinstance(error, StoreUnavailable):
            return False
        armed = (script, side, may_be_outage)
        self._life.expect(may_be_outage and script in self._scripts, f"Redis was away, but {armed} was in the way")
        self.was_done = side == "reply"
        self._life.world.tally.add(answered_503=1)
        return True


@pytest.mark.parametrize("window", [WINDOW_SECONDS, 0])
def test_every_life_goes_as_the_model_says(
    own_redis: Callable[..., RedisServer],
    make_proxy: Callable[[RedisServer], Proxy],
    size: Callable[[int, int], int],
    tally: Tally,
    caplog: pytest.LogCaptureFixture,
    window: int,
) -> None:
    caplog.set_level(logging.CRITICAL, "gateway")
    # With `everysec` a kill may lose what was answered in the last moments: test_rollback.py is about that.
    server = own_redis("--appendfsync", "always")
    Life.world = World(server, make_proxy(server), window, tally)
    Life.world.open()
    try:
        for batch in itertools.count():
            if tally.counts["steps"] >= size(700, 50_000):
                break
            run_state_machine_as_test(
                hypothesis.seed(tally.seed + 2 * batch + bool(window))(Life),
                settings=hypothesis.settings(
                    max_examples=LIVES_PER_SEED,
                    stateful_step_count=STEPS_PER_LIFE,
                    database=None,
                    deadline=None,
                    phases=[Phase.generate],
                    suppress_health_check=list(HealthCheck),
                ),
            )
    finally:
        Life.world.close()
    tally.close()
