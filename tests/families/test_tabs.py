"""
Tabs of one browser, whose answers come to the one cookie jar in any order: nobody is logged out by that, and no thief
stays for longer than he did when nothing was kept.

Requests are judged in any order, and answers come in any order, each within half a minute of its request.
"""

import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest

from gateway.accounts.users import Users
from gateway.derived_keys import KeyChain
from gateway.errors import RefreshTokenInvalid, RefreshTokenReused, StoreUnavailable
from gateway.sessions.families import RefreshFamilies, RefreshToken, new_family_id
from gateway.store.store import Store
from tests.conftest import OpenStore
from tests.families.conftest import Tally
from tests.families.model import Model, Session
from tests.families.records import Records
from tests.harness import SECRET, RedisServer

WINDOW_SECONDS, IDLE_SECONDS, ABSOLUTE_SECONDS = 60, 86_400, 10 * 86_400
MOST_TABS = 8
STEPS_PER_LIFE = 60
# All times are multiples of 7, and no limit is near one: the milliseconds that a test takes do not matter.
WITHIN_A_BURST_SECONDS = (7, 14)
LONGEST_BURST_SECONDS = 14  # from then on nothing is sent until all answers have come
BETWEEN_BURSTS_SECONDS = (7, 14, 28, 35, 49, 56, 63, 91, 602, 3605)
CHANCE_TO_STEAL, CHANCE_TO_USE = 0.1, 0.2
LIVES, LIVES_OF_A_SOAK = 100, 3000


@dataclass
class Browser:
    """
    One jar, and what is on its way: requests that have not been judged, answers that have not come.

    Attributes:
        jar: The generation of the token that the next request will carry.
        history: Every judged token: when, by the clock of the life, its generation, and the verdict.
        is_torn: Whether a rotation happened while an answer with the very token that it superseded, or something with
            an older one, was under way: an order of things that decision 2 tells of.
    """

    families: RefreshFamilies
    records: Records
    user_id: str
    family_id: str
    is_cookie: bool
    jar: int = 0
    now: int = 0
    burst_began: int = 0
    requests: list[int] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    history: list[tuple[int, int, str]] = field(default_factory=list)
    is_torn: bool = False
    is_out: bool = False

    @property
    def is_quiet(self) -> bool:
        """Tell whether nothing is on its way."""
        return not self.requests and not self.answers

    def let_time_pass(self, seconds: int) -> None:
        """Move what is stored."""
        self.records.age(self.user_id, seconds)
        self.now += seconds

    async def judge(self, generation: int) -> int | None:
        """Present a token and give the generation of the answer's; None when that is a 401."""
        token = RefreshToken(self.user_id, self.family_id, generation)
        try:
            rotation = await self.families.rotate(token, is_cookie=self.is_cookie)
        except RefreshTokenReused:
            self.history.append((self.now, generation, "reused"))
            return None
        except RefreshTokenInvalid as error:
            verdict = "over" if error.cause in ("unknown", "expired") else error.cause
            self.history.append((self.now, generation, verdict))
            return None
        self.history.append((self.now, generation, rotation.outcome))
        if rotation.outcome == "rotated":
            late = [known for known in self.answers if known <= generation]
            late += [known for known in self.requests if known < generation]
            self.is_torn |= bool(late)
        return self.families.parse(rotation.refresh_token).generation

    async def step(self, dice: random.Random, tabs: int) -> None:
        """Let one thing happen, whichever."""
        if self.is_quiet:
            self.burst_began = self.now
        may_go_on = self.now - self.burst_began < LONGEST_BURST_SECONDS
        choices = ["send"] * (may_go_on and len(self.requests) + len(self.answers) < tabs)
        choices += ["judge"] * bool(self.requests) + ["hear"] * bool(self.answers) + ["wait"] * may_go_on
        match dice.choice(choices):
            case "send":
                self.requests.append(self.jar)
            case "judge":
                presented = self.requests.pop(dice.randrange(len(self.requests)))
                answered = await self.judge(presented)
                self.is_out |= answered is None
                if answered is not None:
                    self.answers.append(answered)
            case "hear":
                self.jar = self.answers.pop(dice.randrange(len(self.answers)))
            case _:
                self.let_time_pass(dice.choice(BETWEEN_BURSTS_SECONDS if self.is_quiet else WITHIN_A_BURST_SECONDS))


@pytest.fixture
async def families(
    redis_server: RedisServer, open_store: OpenStore
) -> AsyncIterator[tuple[Store, RefreshFamilies, Records]]:
    """Give a store of the tabs' own, families on it, and their records."""
    store = open_store(redis_server.url, f"tabs-{random.randrange(2**32)}:")
    made = RefreshFamilies(
        store,
        KeyChain.of(SECRET),
        idle_ttl_seconds=IDLE_SECONDS,
        absolute_ttl_seconds=ABSOLUTE_SECONDS,
        replay_window_seconds=WINDOW_SECONDS,
        max_per_user=50,
    )
    records = Records(redis_server, store.prefix)
    yield store, made, records
    records.close()


Parts = tuple[Store, RefreshFamilies, Records]


async def new_browser(parts: Parts, *, is_cookie: bool) -> Browser:
    """Log a user of his own in."""
    store, families, records = parts
    user = await Users(store, lambda: 0).add(f"{new_family_id()}@example.com", "Ann", (), "no hash", durable=False)
    opened = await families.open(user.user_id, 1, new_family_id(), "", "")
    return Browser(families, records, user.user_id, opened.family_id, is_cookie)


def judged_as_before(history: list[tuple[int, int, str]]) -> list[str]:
    """Give the verdicts of the rules that keep nothing on these tokens, at these times."""
    now = 0
    model = Model(lambda: now, WINDOW_SECONDS, IDLE_SECONDS, ABSOLUTE_SECONDS, 50, active={"ann": True})
    model.sessions["session"] = Session("ann", 0.0, 0.0)
    verdicts = []
    for at, generation, _ in history:
        now = at
        verdicts.append(model.refresh("session", generation))
    return verdicts


async def share_a_jar(parts: Parts, dice: random.Random, tabs: int, *, is_cookie: bool) -> Browser:
    """Live a life without a thief, and let all answers come at its end."""
    browser = await new_browser(parts, is_cookie=is_cookie)
    for _ in range(STEPS_PER_LIFE):
        if not browser.is_out:
            await browser.step(dice, tabs)
    browser.burst_began = browser.now - LONGEST_BURST_SECONDS
    while not browser.is_quiet and not browser.is_out:
        await browser.step(dice, tabs)
    return browser


async def share_a_jar_with_a_thief(parts: Parts, dice: random.Random, tabs: int, tally: Tally) -> Browser:
    """Live a life in which somebody has what was in the jar, and what he has got for it."""
    browser, stolen = await new_browser(parts, is_cookie=True), list[int]()
    for _ in range(STEPS_PER_LIFE):
        await browser.step(dice, tabs)
        if dice.random() < CHANCE_TO_STEAL:
            stolen.append(browser.jar)
        if stolen and dice.random() < CHANCE_TO_USE:
            got = await browser.judge(dice.choice(stolen))
            tally.add(thefts=1, **{f"thief_{browser.history[-1][2]}": 1})
            stolen += [] if got is None else [got]
    return browser


@pytest.mark.redis
async def test_no_order_of_answers_logs_anybody_out(
    families: Parts, size: Callable[[int, int], int], tally: Tally, chance: random.Random
) -> None:
    """And when all have come, the jar has the token of the family. The same tabs are logged out when none is kept."""
    for number in range(size(LIVES, LIVES_OF_A_SOAK)):
        seed, tabs = chance.randrange(2**32), chance.randint(2, MOST_TABS)
        try:
            before, browser = [
                await share_a_jar(families, random.Random(seed), tabs, is_cookie=is_cookie)
                for is_cookie in (False, True)
            ]
        except StoreUnavailable:  # on a busy machine
            tally.add(answers_503=1)
            continue
        tally.add(lives=1, requests=len(browser.history), logged_out_when_none_is_kept=before.is_out)
        for _, _, verdict in browser.history:
            tally.add(**{verdict: 1})
        if browser.is_torn:
            tally.add(torn=1, torn_and_logged_out=browser.is_out)
            continue
        stored = browser.records.of(browser.user_id)[browser.family_id]
        tally.expect(not browser.is_out, f"life {number}: logged out: {browser.history}")
        tally.expect(browser.jar == stored.generation, f"life {number}: an old token in the jar: {browser.history}")
    tally.close()
    assert tally.counts["logged_out_when_none_is_kept"] > 0
    assert tally.counts["kept"] > tally.counts["lives"] > 2 * tally.counts["torn"]


@pytest.mark.redis
async def test_no_thief_stays_longer_than_before(
    families: Parts, size: Callable[[int, int], int], tally: Tally, chance: random.Random
) -> None:
    """
    He has a copy of the jar, takes what he gets for it, and comes when he likes.

    A token that was kept changed nothing for anybody: without it the old rules give the same verdicts on all others,
    the thief's and the owner's. And a token that is superseded is good for the replay window and no longer.
    """
    for number in range(size(LIVES, LIVES_OF_A_SOAK)):
        try:
            browser = await share_a_jar_with_a_thief(families, chance, chance.randint(1, MOST_TABS), tally)
        except StoreUnavailable:  # on a busy machine
            tally.add(answers_503=1)
            continue
        superseded_at: dict[int, int] = {}
        for at, generation, verdict in browser.history:
            if verdict == "rotated":
                superseded_at[generation] = at
            is_late = at - superseded_at.get(generation, at) > WINDOW_SECONDS
            is_old = any(later > generation for later in superseded_at)
            taken = verdict in ("rotated", "kept", "replayed")
            tally.expect(not (taken and (is_late or is_old)), f"life {number}: an old token taken: {browser.history}")
        others = [judged for judged in browser.history if judged[2] != "kept"]
        before = judged_as_before(others)
        tally.expect(before == [verdict for _, _, verdict in others], f"life {number}: {others}, before {before}")
        tally.add(lives=1, found_out="reused" in before)
    tally.close()
    assert tally.counts["found_out"] > 0
    assert tally.counts["thief_kept"] > 0
