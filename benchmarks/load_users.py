"""
The user model of the load test: virtual users who log in, ask, think, refresh, log out and come again.

Each is an honest client. It sends one request at a time, uses each refresh token once, presents it again only when
the answer to it was lost, waits as long as `Retry-After` says, and never tries a wrong password twice.
"""

import asyncio
import json
import random
import time
from collections import deque
from dataclasses import dataclass, field

from load_answers import NotUnderstood, Session, normalised, read_tokens, retry_after, slug_of, subject_of
from load_http import Answer, Client, Endpoint, Unanswered
from load_measures import Measures

RETRY_SECONDS = 1.0
TURN_SECONDS = 0.05


@dataclass
class Account:
    """
    An account.

    *opened* counts the sessions that may be open, those of lost answers included. Until the password has proved right
    one user alone is on trial with it, so that a wrong one is tried once, and not by all who share the account.
    """

    email: str
    password: str = field(repr=False)
    opened: int = 0
    is_on_trial: bool = False
    is_proven: bool = False
    is_set_aside: bool = False


@dataclass(frozen=True)
class Model:
    """How the virtual users behave; seconds are means of exponential distributions where they are thought or away."""

    is_open: bool
    pause_seconds: float
    away_seconds: float
    logout_probability: float
    refresh_every_seconds: float | None
    replay_window_seconds: float
    sessions_per_user: int
    subrequest_target: str


class Crowd:
    """All virtual users of a run: their accounts, what they measure, and when it is over."""

    def __init__(self, model: Model, accounts: list[Account], sessions: int, measures: Measures) -> None:
        self.model = model
        self.measures = measures
        self.ends = 0.0
        # Each account as often as it may be logged in at a time; who logs out goes to the end of the line.
        self._accounts = len(accounts)
        self._line = deque(accounts * -(-sessions // len(accounts)))

    def next_account(self) -> Account | None:
        """Give the account that is next in the line; None when there is none just now."""
        for _ in range(len(self._line)):
            account = self._line.popleft()
            if account.is_proven or not (account.is_on_trial or account.is_set_aside):
                account.is_on_trial = not account.is_proven
                return account
            self._line.append(account)
        return None

    def give_back(self, account: Account) -> None:
        """Put an account at the end of the line."""
        self._line.append(account)

    def set_aside(self, account: Account) -> None:
        """Use an account no more: its password is wrong. The run is over when that was the last one."""
        if not account.is_set_aside:
            account.is_set_aside, account.is_proven = True, False
            self.measures.set_aside.append(account.email)
            if len(self.measures.set_aside) == self._accounts:
                self.ends = time.monotonic()


class VirtualUser:
    """One user at a time with one connection; when he logs out, another account takes his place."""

    def __init__(self, crowd: Crowd, endpoint: Endpoint, timeout_seconds: float) -> None:
        self.client = Client(endpoint, timeout_seconds)
        self._crowd, self._model, self._measures = crowd, crowd.model, crowd.measures
        self._account: Account | None = None
        self._session: Session | None = None
        self.is_asleep = False

    async def live(self, begins: float) -> None:
        """Do one request after another until the run is over. In the open model each has its time beforehand."""
        due = begins
        while due < self._crowd.ends:
            if self._model.is_open and time.monotonic() >= self._crowd.ends:
                self._measures.unsent += 1
                due += random.expovariate(1 / self._model.pause_seconds)
                continue
            self.is_asleep = True
            await asyncio.sleep(due - time.monotonic())
            self.is_asleep = False
            kind = self._next_kind()
            if kind is None:
                assert self._session is not None
                due = self._session.may_refresh_at
                continue
            if kind == "login" and not self._take_account():
                due = time.monotonic() + TURN_SECONDS
                continue
            now = time.monotonic()
            wait_seconds = await self._do(kind, min(due, now) if self._model.is_open else now)
            now, mean = time.monotonic(), self._model.pause_seconds
            if self._account is None and not self._model.is_open:
                mean = self._model.away_seconds
            due = (due if self._model.is_open else now) + random.expovariate(1 / mean)
            if wait_seconds:
                due = max(due, now + wait_seconds)

    async def leave(self) -> bool | None:
        """Log out, outside of what is measured. Give whether that was done, None when there was no session."""
        if self._session is None:
            return None
        try:
            answer = await self._post("logout", {"refresh_token": self._session.refresh_token})
        except Unanswered:
            return False
        finally:
            self.client.close()
        return answer.status == 204

    def _take_account(self) -> bool:
        if self._account is None or self._account.is_set_aside:
            self._account = self._crowd.next_account()
        return self._account is not None

    def _next_kind(self) -> str | None:
        """Give what to ask next; None when the access token is over and a refresh has to wait."""
        session, now = self._session, time.monotonic()
        if session is None:
            return "login"
        if session.is_leaving:
            return "logout"
        if now >= max(session.refresh_at, session.may_refresh_at):
            return "refresh"
        if now >= session.expires_at:
            return None
        session.is_leaving = random.random() < self._model.logout_probability
        return "logout" if session.is_leaving else "subrequest"

    async def _do(self, kind: str, counted_from: float) -> float:
        """Send one request, judge the answer, and give the seconds that this user has to wait at least."""
        self._measures.sent[kind] += 1
        sent_at = time.monotonic()
        try:
            answer = await self._ask(kind)
        except Unanswered as error:
            self._measures.failed(kind, error.cause, time.monotonic() - counted_from if error.is_late else None)
            if kind == "refresh":
                self._refresh_was_lost(sent_at, RETRY_SECONDS)
            return 0.0
        seconds = time.monotonic() - counted_from
        if answer.status == (204 if kind == "logout" else 200):
            try:
                self._accept(kind, answer, sent_at)
            except NotUnderstood as error:
                self._measures.failed(kind, f"200 not understood: {error}")
                if kind == "refresh":
                    self._refresh_was_lost(sent_at, RETRY_SECONDS)
                return RETRY_SECONDS
            self._measures.succeeded(kind, seconds)
            return 0.0
        self._measures.failed(kind, f"{answer.status} {slug_of(answer)}".strip())
        return self._refused(kind, answer, sent_at)

    async def _ask(self, kind: str) -> Answer:
        if kind == "login":
            assert self._account is not None
            self._account.opened += 1
            fields = {"username": self._account.email, "password": self._account.password, "delivery": "body"}
            return await self._post("login", fields)
        assert self._session is not None
        if kind == "subrequest":
            bearer = f"Authorization: Bearer {self._session.access_token}\r\n".encode()
            return await self.client.ask(self._model.subrequest_target, bearer)
        return await self._post(kind, {"refresh_token": self._session.refresh_token})

    async def _post(self, name: str, fields: dict[str, str]) -> Answer:
        return await self.client.ask(f"/auth/{name}", body=json.dumps(fields).encode())

    def _accept(self, kind: str, answer: Answer, sent_at: float) -> None:
        """Take what an answer brings, and check that it is this user's."""
        if kind == "logout":
            self._end_visit()
            return
        if kind == "subrequest":
            assert self._session is not None
            self._check_subject(subject_of(answer), self._session.subject, kind)
            return
        renewed, identity = read_tokens(answer, sent_at, self._model.refresh_every_seconds)
        if self._session is None:
            self._measures.logged_in += 1
        else:
            self._check_subject(renewed.subject, self._session.subject, kind)
            if renewed.session_id != self._session.session_id:
                self._violation(
                    f"a refresh gave tokens of session {renewed.session_id}, not {self._session.session_id}"
                )
        self._session = renewed
        if identity is not None:
            assert self._account is not None
            self._account.is_proven = True
            self._check_subject(identity.subject, renewed.subject, kind)
            if normalised(identity.email) != normalised(self._account.email):
                self._violation(f"a login gave the tokens of {identity.email}")

    def _check_subject(self, told: str | None, expected: str, kind: str) -> None:
        if told is None:
            self._measures.identities_missing += 1
            return
        self._measures.identities_checked += 1
        if told != expected:
            self._violation(f"a {kind} was answered with the identity of {told} and not of {expected}")

    def _refused(self, kind: str, answer: Answer, sent_at: float) -> float:
        """Judge a refusal and give the seconds to wait."""
        wait_seconds = retry_after(answer)
        if answer.status == 429:
            policy = answer.headers.get(b"ratelimit-policy", b"").decode("latin-1")
            name = policy.partition(";")[0].strip('" ') or kind
            self._measures.limits[name] = f"{policy or slug_of(answer)} at {kind}"
        match kind, answer.status:
            case "login", status:
                assert self._account is not None
                if status < 500:
                    self._account.opened -= 1
                if status == 401:
                    self._crowd.set_aside(self._account)
                    self._account = None
            case "refresh", 401:
                self._judge_refused_refresh(answer)
                self._end_visit()
            case "refresh", status:
                if status >= 500:
                    self._refresh_was_lost(sent_at, wait_seconds)
                assert self._session is not None
                self._session.may_refresh_at = time.monotonic() + max(wait_seconds, RETRY_SECONDS)
                return 0.0
            case "subrequest", 401:
                assert self._session is not None
                alive_seconds = self._session.expires_at - time.monotonic()
                if alive_seconds > 0 and not self._is_crowded_out():
                    self._violation(
                        f"a subrequest was refused with 401 {slug_of(answer)}, with {alive_seconds:.0f} s to live"
                    )
                self._session.refresh_at = 0.0
        return wait_seconds

    def _judge_refused_refresh(self, answer: Answer) -> None:
        assert self._session is not None
        lost_at = self._session.first_lost_at
        if lost_at is not None and time.monotonic() - lost_at >= self._model.replay_window_seconds - 1:
            return  # asked again after the window, which the gateway need not forgive
        if not self._is_crowded_out():
            self._violation(f"a refresh was refused with 401 {slug_of(answer)}, though nobody ended the session")

    def _is_crowded_out(self) -> bool:
        """Tell whether the gateway may have ended the session because the account had too many of them."""
        return self._account is not None and self._account.opened > self._model.sessions_per_user

    def _refresh_was_lost(self, sent_at: float, wait_seconds: float) -> None:
        """Ask again soon with the same token: it may have been rotated, and the answer is kept for the window."""
        assert self._session is not None
        if self._session.first_lost_at is None:
            self._session.first_lost_at = sent_at
        self._session.may_refresh_at = time.monotonic() + wait_seconds

    def _end_visit(self) -> None:
        assert self._account is not None
        self._account.opened -= 1
        self._crowd.give_back(self._account)
        self._account = self._session = None
        self._measures.logged_in -= 1

    def _violation(self, text: str) -> None:
        email = self._account.email if self._account else "nobody"
        self._measures.violations.append(f"{email}: {text}")
