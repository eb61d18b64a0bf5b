"""The pages of code in docs/status-list-cookbook.md, run as they stand: only issuer and audience are put in."""

import contextlib
import functools
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import httpx2
import pytest

from gateway.clock import system_clock
from tests.harness import GatewayProcess, wait_until
from tests.interop.conftest import AddedClient
from tests.interop.hostile_lists import hostile_cases
from tests.interop.languages import GO, JAVA, NODE, Language, prepare, run_environment
from tests.interop.pages import blocks, put_in
from tests.verifier.issuing import Issuer

PAGE = "status-list-cookbook.md"
# What docs/status-lists.md promises: `ttl`, what a cache in front may add, and a second to hear of it.
PROMISED_SECONDS = 16.0
FILES = {NODE: ("js", "status.mjs"), GO: ("go", "status.go"), JAVA: ("java", "StatusCheck.java")}


@dataclass
class Checker:
    """A running page of code: one token a line goes in, who it is or why not comes out."""

    language: Language
    process: subprocess.Popen[str]

    def ask(self, token: str) -> str:
        """Give what it says of a token."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(token + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def takes(self, token: str) -> bool:
        """Tell whether it takes a token. Fails when it has ended."""
        said = self.ask(token)
        assert said, f"the program in {self.language} ended"
        return not said.startswith("refused: ")


StartChecker = Callable[[Language, str], Checker]


@pytest.fixture(scope="module")
def start_checker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartChecker]:
    """Give a factory of checkers, from a language and an issuer that is the audience, too."""
    with contextlib.ExitStack() as opened:

        def start(language: Language, issuer: str) -> Checker:
            fence, name = FILES[language]
            [code] = blocks(PAGE, language.name, fence)
            directory = tmp_path_factory.mktemp(language.name)
            (directory / name).write_text(put_in(code, {"https://auth.example.com": issuer}))
            (directory / "out").mkdir()
            command = prepare(language, directory / name, directory / "out")
            process = subprocess.Popen(
                command, env=run_environment({}), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            opened.callback(process.communicate)
            return Checker(language, process)

        yield start


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    """Give an issuer that says whatever a test wants, and that the checkers below ask."""
    return Issuer()


@pytest.fixture(scope="module")
def checker_of(issuer: Issuer, start_checker: StartChecker) -> Callable[[Language], Checker]:
    """Give the one checker of a language that asks this issuer."""
    return functools.cache(lambda language: start_checker(language, issuer.issuer))


def here(checker_of: Callable[[Language], Checker]) -> list[Checker]:
    """Give the checker of each language that is here; skips, with the reasons, where none is."""
    checkers, reasons = [], []
    for language in FILES:
        try:
            checkers.append(checker_of(language))
        except pytest.skip.Exception as skipped:
            reasons.append(str(skipped))
            print(f"without {language}: {skipped}")
    if not checkers:
        pytest.skip("; ".join(reasons))
    return checkers


def test_a_service_in_any_language_refuses_an_ended_session_within_sixteen_seconds(
    gateway: GatewayProcess, client: httpx2.Client, client_with_secret: AddedClient, start_checker: StartChecker
) -> None:
    living, ended = (gateway.login(gateway.add_user(), client, delivery="body") for _ in range(2))
    machine = client.post(
        "/oauth/token",
        data={"grant_type": "client_credentials"},
        auth=(client_with_secret.client_id, client_with_secret.client_secret),
    ).json()
    checkers = here(lambda language: start_checker(language, gateway.url))
    good = [session["access_token"] for session in (living, ended, machine)]
    for checker in checkers:
        assert [checker.takes(token) for token in good] == [True, True, True], checker.language
    assert client.post("/auth/logout", json={"refresh_token": ended["refresh_token"]}).status_code == 204
    begun = time.monotonic()
    for checker in checkers:
        left = PROMISED_SECONDS - (time.monotonic() - begun)
        wait_until(lambda c=checker: not c.takes(ended["access_token"]), left, str(checker.language))  # type: ignore[misc]
        print(f"{checker.language}: refused after {time.monotonic() - begun:.1f} s")
        assert checker.ask(ended["access_token"]) == "refused: the session was ended"
        assert checker.takes(living["access_token"])
        assert checker.takes(machine["access_token"])


@pytest.mark.parametrize("language", FILES, ids=str)
def test_only_a_good_list_that_says_valid_lets_a_token_through(
    language: Language, issuer: Issuer, checker_of: Callable[[Language], Checker]
) -> None:
    """draft-ietf-oauth-status-list, sections 8.3 and 11."""
    checker, elsewhere = checker_of(language), Issuer()
    cases = hostile_cases(issuer, elsewhere)
    said = {case.name: checker.ask(case.token) for case in cases}
    assert len(said) == len(cases) > 35
    assert {name for name, line in said.items() if line.startswith("usr_")} == {c.name for c in cases if c.good}
    assert all(line.startswith(("usr_", "refused: ")) for line in said.values())
    assert not elsewhere.asked
    # The one that is good still is, after all that.
    assert checker.takes(cases[1].token)


def test_a_list_is_asked_for_once_in_its_ttl_and_kept_until_it_is_over(
    issuer: Issuer, checker_of: Callable[[Language], Checker]
) -> None:
    checkers, now, path = here(checker_of), system_clock(), "/status/kept"
    token = issuer.listed(3, path, aud=issuer.issuer, iat=now, exp=now + 600)
    for checker in checkers:  # they are ready, and have the keys, then
        assert checker.takes(issuer.token(aud=issuer.issuer, iat=now, exp=now + 600))
    now = system_clock()
    issuer.tell(bytes(16), path, iat=now, ttl=1, exp=now + 7)
    for checker in checkers:
        assert [checker.takes(token) for _ in range(50)] == [True] * 50
    assert issuer.asked[path] <= 2 * len(checkers), "asked once in its ttl, not for each token"
    del issuer.bodies[path]
    time.sleep(max(0.0, now + 3 - time.time()))  # noqa: TID251 - the programs go by the wall clock
    asked = issuer.asked[path]
    for checker in checkers:
        assert [checker.takes(token) for _ in range(50)] == [True] * 50, "kept although the issuer is away"
    assert issuer.asked[path] - asked <= 2 * len(checkers), "asked once a second, not for each token"
    time.sleep(max(0.0, now + 7.1 - time.time()))  # noqa: TID251
    assert [checker.takes(token) for checker in checkers] == [False] * len(checkers)
