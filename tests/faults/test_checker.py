"""The checker finds what it is there for: each of these journals has one thing wrong with it, or nothing."""

from dataclasses import replace as changed

import pytest
from msgspec.structs import replace

from tests.faults.checker import Allowance, Checker, Strike
from tests.faults.entries import Entry

ANN, BOB = "usr_ann s1 ann@example.com", "usr_bob s2 bob@example.com"
BEFORE, WITHIN, AFTER = 5.0, 11.0, 14.0
STRIKE = Strike(10.0, 12.0)
STRICT = Allowance(outage_seconds=1.0, from_mend=True, redis_is_away=False, slack_seconds=0.0)


def entry(what: str, at: float, status: int, **others: object) -> Entry:
    """Give an entry of Ann's session, answered by gateway 1 in 10 ms."""
    plain = Entry(at, at + 0.01, what, "s1", 1, status)
    return replace(plain, **others)


def refreshed(at: float, sent: str, got: str, **others: object) -> Entry:
    return entry("refresh", at, 200, sent=sent, got=got, **{"whose": ANN, **others})


LAST = refreshed(AFTER, "t8", "t9")
AWAY = entry("refresh", WITHIN, 503, retry_after="1")
LOGOUT = entry("logout", BEFORE, 204)
GOOD: dict[str, list[Entry]] = {
    "users are served": [refreshed(BEFORE, "t1", "t2"), entry("authz", WITHIN, 200, whose="usr_ann"), LAST],
    "a lost answer is given again": [refreshed(BEFORE, "t1", "t2"), refreshed(WITHIN, "t1", "t2"), LAST],
    "our trouble is told": [AWAY, LAST],
    "a login": [entry("login", BEFORE, 200, session="bob@example.com", whose=BOB), LAST],
    "an ended session stays so": [LOGOUT, entry("ended refresh", 5.1, 401), entry("ended authz", 5.1, 401), LAST],
    "the other gateway hears of an end": [LOGOUT, entry("ended authz", 5.9, 200, port=2), LAST],
    "a gateway that is away answers nothing": [entry("authz", WITHIN, 0, port=3), LAST],
    "a client hangs up": [entry("lost refresh", WITHIN, 0), LAST],
    "a browser is served": [entry("browser", BEFORE, 200, whose="usr_ann"), LAST],
    "a browser that was not seen is told to come again": [entry("browser", WITHIN, 503, retry_after="1"), LAST],
    "an ended browser session is led to the login": [LOGOUT, entry("ended browser", 5.1, 302), LAST],
    "a thief is found out": [entry("reuse", BEFORE, 401, told="refresh-token-reused"), LAST],
}
BAD: dict[str, list[Entry]] = {
    "a good access token was refused": [entry("authz", WITHIN, 401), LAST],
    "allowed as somebody else": [entry("authz", WITHIN, 200, whose="usr_bob"), LAST],
    "no answer": [entry("authz", WITHIN, 0), LAST],
    "logged out": [entry("refresh", WITHIN, 401), LAST],
    "neither served nor told to come again": [entry("refresh", WITHIN, 500), LAST],
    "503 without Retry-After": [entry("refresh", WITHIN, 503), LAST],
    "a browser was sent to the login": [entry("browser", WITHIN, 302), LAST],
    "a browser session that was seen was told to come again": [
        entry("browser", BEFORE, 200, whose="usr_ann"),
        entry("browser", WITHIN, 503, retry_after="1"),
        LAST,
    ],
    "an ended browser session works again": [LOGOUT, entry("ended browser", 6.1, 200, port=2), LAST],
    "neither allowed nor led to the login": [LOGOUT, entry("ended browser", 6.1, 500), LAST],
    "told late": [replace(AWAY, ended=WITHIN + 2.1), LAST],
    "a second successor": [refreshed(BEFORE, "t1", "t2"), refreshed(WITHIN, "t1", "t3"), LAST],
    "answered with somebody else's": [refreshed(WITHIN, "t1", "t2", whose=BOB), LAST],
    "a login was refused": [entry("login", WITHIN, 401, session="bob@example.com"), LAST],
    "logout refused": [entry("logout", WITHIN, 401), LAST],
    "an ended session works again": [LOGOUT, entry("ended refresh", WITHIN, 200, whose=ANN), LAST],
    "an ended session's access token works again": [LOGOUT, entry("ended authz", 6.1, 200, port=2), LAST],
    "neither allowed nor denied": [LOGOUT, entry("ended authz", 6.1, 503), LAST],
    "neither served nor refused": [LOGOUT, entry("ended refresh", 6.1, 500), LAST],
    "a used token was not found out": [entry("reuse", WITHIN, 200), LAST],
    "failed for 1.11 s": [entry("login", 13.1, 503, retry_after="1"), LAST],
    "not refreshed since the fault was over": [refreshed(BEFORE, "t1", "t2")],
}


def violations(entries: list[Entry], allowance: Allowance = STRICT) -> list[str]:
    """Judge a journal of one strike, while gateway 3 was away."""
    checker = Checker({"s1": ANN}, {"bob@example.com": "usr_bob"})
    checker.downs.append((3, 10.0, 12.0))
    return checker.judge(entries, [STRIKE], allowance, users={"s1"}).violations


@pytest.mark.parametrize("name", GOOD)
def test_nothing_is_wrong_with_a_good_journal(name: str) -> None:
    assert violations(GOOD[name]) == []


@pytest.mark.parametrize("expected", BAD)
def test_each_violation_is_found(expected: str) -> None:
    found = violations(BAD[expected])
    assert found
    assert found[0].startswith(expected)


def test_the_gateway_that_ended_a_session_knows_it_at_once() -> None:
    assert violations([LOGOUT, entry("ended authz", BEFORE + 0.1, 200), LAST])


def test_a_logout_just_before_redis_was_away_is_known_a_second_after_its_return() -> None:
    allowance = changed(STRICT, redis_is_away=True, outage_seconds=0.0)
    journal = [entry("logout", 9.5, 204), entry("ended authz", 12.5, 200, port=2), LAST]
    assert violations(journal, allowance) == []
    assert violations(journal) != []
    assert violations([*journal, entry("ended authz", 13.1, 200, port=2)], allowance) != []


def test_an_outage_may_be_longer_by_what_somebody_else_took() -> None:
    journal = [entry("login", 13.1, 503, retry_after="1"), LAST]
    excused = changed(STRIKE, excused_seconds=0.2)
    checker = Checker({"s1": ANN}, {"bob@example.com": "usr_bob"})
    assert not checker.judge(journal, [excused], STRICT, users={"s1"}).violations
    assert violations(journal) != []


def test_an_outage_counts_from_the_fault_when_another_server_takes_over() -> None:
    allowance = changed(STRICT, from_mend=False)
    assert violations([AWAY, LAST], allowance) != []
    assert violations([replace(AWAY, begun=10.5, ended=10.9), LAST], allowance) == []
