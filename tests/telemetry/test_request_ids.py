"""Request ids that carry why an answer was refused: opened by who has the secret, and by nobody else."""

import os
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.derived_keys import KeyChain
from gateway.telemetry import VERDICTS, Refusal, RequestIds, Verdict, is_request_id, random_request_id
from gateway.web.routes import ROUTES
from tests.clocks import FakeClock

NOW = 1_790_000_000
USER = "usr_AAECAwQFBgcICQoLDA0ODw"
ROLE_MISSING = next(verdict for verdict in VERDICTS if verdict.cause == "role-missing")
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
LARGEST_SHARE_OF_A_DENIAL_SECONDS = 1e-4


def ids(secret: str = "s" * 32, *previous: str) -> RequestIds:
    return RequestIds(KeyChain.of(secret, previous), FakeClock())


@pytest.mark.parametrize("user_id", [USER, ""])
def test_an_id_says_what_was_refused_when_why_and_to_whom(user_id: str) -> None:
    text = ids().seal("/api/authz/forward-auth", ROLE_MISSING, user_id)
    assert ids().open(text) == Refusal(NOW, "/api/authz/forward-auth", ROLE_MISSING, user_id)
    assert is_request_id(text)
    assert len(text) == 59


def test_every_verdict_comes_back() -> None:
    refusals = [ids().open(ids().seal("/", verdict)) for verdict in VERDICTS]
    assert [refusal.verdict for refusal in refusals if refusal is not None] == list(VERDICTS)


def test_every_path_of_the_route_table_comes_back_as_its_template() -> None:
    for route in ROUTES:
        template = re.sub(r":\w+}", "}", route.path)  # type: ignore[attr-defined]
        asked = template.replace("{path}", "a/b%20\n?c").replace("{id}", "fac_-y").replace("{name}", "a.css")
        refusal = ids().open(ids().seal(asked, ROLE_MISSING))
        assert refusal is not None
        assert refusal.endpoint == template


@pytest.mark.parametrize("path", ["", "/nothing", "/auth/sessions/", "/auth/sessions/a/b", "/AUTH/ME", "/auth/me/"])
def test_an_unknown_path_is_kept_as_such(path: str) -> None:
    refusal = ids().open(ids().seal(path, ROLE_MISSING))
    assert refusal is not None
    assert refusal.endpoint == "other"


@given(st.integers(0, 58), st.sampled_from(ALPHABET))
def test_a_changed_id_is_not_believed(place: int, letter: str) -> None:
    text = ids().seal("/auth/me", ROLE_MISSING, USER)
    changed = text[:place] + letter + text[place + 1 :]
    assert (ids().open(changed) is not None) is (changed == text)


@given(st.text(max_size=80) | st.text(ALPHABET, min_size=59, max_size=59))
def test_a_made_up_id_is_not_believed(text: str) -> None:
    assert ids().open(text) is None


def test_an_id_is_opened_under_an_earlier_secret_and_under_no_other() -> None:
    text = ids("a" * 32).seal("/auth/me", ROLE_MISSING, USER)
    assert ids("c" * 32, "b" * 32, "a" * 32).open(text) is not None
    assert ids("c" * 32, "b" * 32).open(text) is None


def test_two_refusals_of_one_second_have_two_ids() -> None:
    same = ids()
    assert len({same.seal("/auth/me", ROLE_MISSING, USER) for _ in range(1000)}) == 1000


def test_an_id_shows_nothing_of_what_it_says() -> None:
    """Neither the user nor the second is the same in two of them, at any place."""
    texts = [ids().seal("/auth/me", ROLE_MISSING, USER) for _ in range(200)]
    assert all(len({text[place] for text in texts}) > 10 for place in range(58))


@pytest.mark.parametrize("user_id", ["usr_short", "usr_" + "ä" * 22, "somebody", "usr_" + "A" * 23])
def test_what_is_no_user_id_of_ours_is_left_out(user_id: str) -> None:
    refusal = ids().open(ids().seal("/auth/me", ROLE_MISSING, user_id))
    assert refusal is not None
    assert refusal.user_id == ""


def test_a_random_id_has_the_form_that_it_always_had() -> None:
    text = random_request_id()
    assert re.fullmatch("[0-9a-f]{16}", text)
    assert is_request_id(text)
    assert ids().open(text) is None


def test_a_verdict_of_a_later_version_is_one_without_words() -> None:
    later = Verdict(255, "later", "", "", "")
    refusal = ids().open(ids().seal("/auth/me", later, USER))
    assert refusal is not None
    assert (refusal.verdict.code, refusal.user_id) == (0, USER)


def test_an_id_costs_less_than_a_denial_could_be_slowed_by() -> None:
    makes = RequestIds(KeyChain.of(os.urandom(32).hex()), FakeClock())
    rounds = []
    for _ in range(5):
        begun = time.perf_counter()
        for _ in range(200):
            makes.seal("/api/authz/forward-auth", ROLE_MISSING, USER)
        rounds.append((time.perf_counter() - begun) / 200)
    print(f"a sealed id costs {min(rounds) * 1e6:.1f} us")
    assert min(rounds) < LARGEST_SHARE_OF_A_DENIAL_SECONDS
