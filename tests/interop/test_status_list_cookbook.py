"""The pages of code in docs/status-list-cookbook.md, run as they stand: only issuer and audience are put in."""

import contextlib
import subprocess
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gateway.clock import system_clock
from gateway.verifier.keys import encode_base64url
from tests.harness import GatewayProcess, wait_until
from tests.interop.conftest import AddedClient
from tests.interop.languages import GO, JAVA, NODE, Language, prepare, run_environment
from tests.interop.pages import blocks, put_in
from tests.verifier.issuing import Issuer
from tests.verifier.mint import compact, header, list_claims, list_token

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


@pytest.fixture
def start_checker(tmp_path: Path) -> Iterator[StartChecker]:
    """Give a factory of checkers, from a language and an issuer that is the audience, too."""
    with contextlib.ExitStack() as opened:

        def start(language: Language, issuer: str) -> Checker:
            fence, name = FILES[language]
            [code] = blocks(PAGE, language.name, fence)
            directory = tmp_path / language.name
            directory.mkdir()
            (directory / name).write_text(put_in(code, {"https://auth.example.com": issuer}))
            (directory / "out").mkdir()
            command = prepare(language, directory / name, directory / "out")
            process = subprocess.Popen(
                command, env=run_environment({}), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            opened.callback(process.communicate)
            return Checker(language, process)

        yield start


def start_all(start_checker: StartChecker, issuer: str) -> list[Checker]:
    """Start the page of each language that is here; skips, with the reasons, where none is."""
    checkers, reasons = [], []
    for language in FILES:
        try:
            checkers.append(start_checker(language, issuer))
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
    checkers = start_all(start_checker, gateway.url)
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


class Case:
    """What an issuer might say, and whether the token is taken then."""

    def __init__(self, name: str, token: str, *, good: bool = False) -> None:
        self.name, self.token, self.good = name, token, good


def hostile_cases(issuer: Issuer, elsewhere: Issuer) -> list[Case]:
    """Publish good lists and bad ones, and give a token for each."""
    now, cases = system_clock(), []
    own = {"aud": issuer.issuer, "iat": now, "exp": now + 600}

    def token(status: Any, **changes: Any) -> str:
        return issuer.token(**own | {"status": status} | changes)

    def at(path: str, idx: Any = 0) -> dict[str, Any]:
        return {"status_list": {"idx": idx, "uri": issuer.origin + path}}

    def lists(name: str, body: str | None, idx: Any = 0, *, good: bool = False) -> None:
        path = f"/status/{len(cases)}"
        if body is not None:
            issuer.bodies[path] = body.replace("PATH", issuer.origin + path).encode()
        cases.append(Case(name, token(at(path, idx)), good=good))

    def tells(name: str, octets: bytes = bytes(16), idx: Any = 0, *, good: bool = False, **changes: Any) -> None:
        uri = f"{issuer.origin}/status/{len(cases)}"
        lists(name, list_token(uri, octets, **{"iat": now} | changes), idx, good=good)

    def signed(name: str, head: dict[str, Any], **changes: Any) -> None:
        uri = f"{issuer.origin}/status/{len(cases)}"
        lists(name, compact(head, list_claims(uri, bytes(16), **{"iat": now} | changes)))

    cases.append(Case("no status", issuer.token(**own), good=True))
    tells("a zero", good=True)
    tells("the last position", idx=127, good=True)
    tells("bits of two", bits=2, idx=63, good=True)
    tells("without ttl", good=True, ttl=20)
    tells("a one", b"\x02", 1)
    tells("suspended", b"\x08", 1, bits=2)
    tells("fifteen", b"\xf0", 1, bits=4)
    tells("beyond the end", idx=128)
    tells("beyond the end of two bits", idx=64, bits=2)
    for idx in (-1, 0.5, "0", None, 2**53):
        tells(f"index {idx!r}", idx=idx)
    for name, status in {"empty": {}, "a text": "0", "without uri": {"status_list": {"idx": 0}}}.items():
        cases.append(Case(f"status is {name}", token(status)))
    elsewhere.tell(iat=now)
    cases.append(Case("another host", token({"status_list": {"idx": 0, "uri": elsewhere.origin + "/status/1"}})))
    for typ in ("at+jwt", "JWT", "statuslist+cwt"):
        signed(f"typ {typ}", header(typ=typ))
    typed = header(typ="statuslist+jwt")
    signed("another address", typed, sub=issuer.origin + "/status/1")
    signed("over", typed, exp=now - 10)
    signed("of tomorrow", typed, iat=now + 86_400)
    signed("no ttl", typed, ttl=0)
    signed("ttl below nothing", typed, ttl=-1)
    signed("ttl as text", typed, ttl="10")
    for name, lst in {
        "not base64url": "!!!!",
        "not zlib": encode_base64url(bytes(40)),
        "cut short": encode_base64url(zlib.compress(bytes(range(256)))[:-20]),
        "a bomb": encode_base64url(zlib.compress(bytes(2**25), 9)),
    }.items():
        signed(name, typed, status_list={"bits": 1, "lst": lst})
    signed("three bits", typed, status_list={"bits": 3, "lst": encode_base64url(zlib.compress(bytes(16)))})
    without = {name: value for name, value in list_claims(issuer.origin + "/status/1", b"").items() if name != "exp"}
    lists("without end", compact(typed, without | {"sub": f"{issuer.origin}/status/{len(cases)}", "iat": now}))
    forged = compact(header("EdDSA", typ="statuslist+jwt", kid=header()["kid"]), {}, signer="EdDSA")
    lists("another key", forged)
    lists("an access token", issuer.token(**own))
    lists("no list", "")
    lists("not found", None)
    cases.append(Case("a list for an access token", issuer.bodies["/status/1"].decode()))
    return cases


@pytest.mark.parametrize("language", FILES, ids=str)
def test_only_a_good_list_that_says_valid_lets_a_token_through(language: Language, start_checker: StartChecker) -> None:
    """draft-ietf-oauth-status-list, sections 8.3 and 11."""
    issuer, elsewhere = Issuer(), Issuer()
    issuer.tell(iat=system_clock())
    cases = hostile_cases(issuer, elsewhere)
    checker = start_checker(language, issuer.issuer)
    said = {case.name: checker.ask(case.token) for case in cases}
    assert len(said) == len(cases) > 35
    wrong = {
        case.name: said[case.name]
        for case in cases
        if said[case.name].startswith("refused: ") == case.good or not said[case.name]
    }
    assert not wrong
    assert not elsewhere.asked
    # The one that is good still is, after all that.
    assert checker.takes(cases[1].token)


def test_a_list_is_asked_for_once_in_its_ttl_and_kept_until_it_is_over(start_checker: StartChecker) -> None:
    issuer, now = Issuer(), system_clock()
    checkers: Sequence[Checker] = start_all(start_checker, issuer.issuer)
    token = issuer.listed(3, "/status/1", aud=issuer.issuer, iat=now, exp=now + 600)
    for checker in checkers:  # they are ready then
        checker.ask("")
    now = system_clock()
    issuer.tell(iat=now, ttl=1, exp=now + 5)
    for checker in checkers:
        assert [checker.takes(token) for _ in range(50)] == [True] * 50
    assert issuer.asked["/status/1"] == len(checkers)
    del issuer.bodies["/status/1"]
    time.sleep(max(0.0, now + 3 - time.time()))  # noqa: TID251 - the programs go by the wall clock
    asked = issuer.asked["/status/1"]
    for checker in checkers:
        assert [checker.takes(token) for _ in range(50)] == [True] * 50, "kept although the issuer is away"
    assert issuer.asked["/status/1"] - asked == len(checkers), "asked once a second, not for each token"
    time.sleep(max(0.0, now + 5.1 - time.time()))  # noqa: TID251
    assert [checker.takes(token) for checker in checkers] == [False] * len(checkers)
