"""Judges a fault from the clients' journal alone: what they sent, what came, and when."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from tests.faults.entries import Entry

TOLD_WITHIN_SECONDS = 2.0
KNOWN_EVERYWHERE_SECONDS = 1.0
KINDS = {
    "refresh": "refresh",
    "lost refresh": "refresh",
    "ended refresh": "refresh",
    "reuse": "refresh",
    "login": "login",
    "logout": "logout",
    "authz": "authz",
    "ended authz": "authz",
    "browser": "browser",
    "ended browser": "browser",
}


@dataclass
class Strike:
    """
    One time that a fault was there: from *begun* until it was *mended*.

    Attributes:
        excused_seconds: How much longer than allowed its outage may be, since somebody else took that time.
    """

    begun: float
    mended: float = 0.0
    excused_seconds: float = 0.0


@dataclass(frozen=True)
class Allowance:
    """
    What a fault may do.

    Args:
        outage_seconds: How long logins and refreshes may fail after each strike, or after its mend (`from_mend`).
        from_mend: Whether an outage counts from the moment that its cause was mended, or was there.
        redis_is_away: Whether gateways cannot hear each other while it lasts: a logout that was answered just before
            is known everywhere a second after it.
        slack_seconds: Added to every limit on a machine that does other things too.
    """

    outage_seconds: float
    from_mend: bool
    redis_is_away: bool
    slack_seconds: float

    def since(self, strike: Strike) -> float:
        """Give the moment from which an outage counts."""
        return strike.mended if self.from_mend else strike.begun

    def over_at(self, strike: Strike) -> float:
        """Give the moment at which it must be over."""
        return max(strike.mended, self.since(strike) + self.outage_seconds + self.slack_seconds)


@dataclass
class Verdict:
    """
    What a fault did to those who use the gateways.

    Attributes:
        requests: How many of each kind: refresh, login, logout, authz, browser.
        failures: How many of them got no answer, or 503.
        outages: For each strike, for how many seconds logins and refreshes failed after it (or after its mend).
        idle_p99, struck_p99, settling_p99: Of subrequests, in seconds (`prober.py`): before the first strike, while the
            fault was there, and in the times between.
    """

    requests: Counter[str] = field(default_factory=Counter)
    failures: int = 0
    violations: list[str] = field(default_factory=list)
    outages: list[float] = field(default_factory=list)
    idle_p99: float = 0.0
    struck_p99: float = 0.0
    settling_p99: float = 0.0

    @property
    def ratios(self) -> tuple[float, float]:
        """How many times as long subrequests took while the fault was there, and between, as before."""
        idle = self.idle_p99 or float("inf")
        return self.struck_p99 / idle, self.settling_p99 / idle


class Checker:
    """
    Remembers all that was answered on one pair of gateways, and gives the verdict on one fault after another.

    Args:
        owners: `sub sid email` of each session, by `sid`; more come with each login.
        subjects: The `sub` of those who log in, by e-mail address.
    """

    def __init__(self, owners: dict[str, str], subjects: dict[str, str]) -> None:
        self.owners = owners
        self.subjects = subjects
        self.downs: list[tuple[int, float, float]] = []
        self.may_be_refused: Callable[[Entry], bool] = lambda entry: False
        self._allowance = Allowance(0.0, True, False, 0.0)
        self._strikes: list[Strike] = []
        self._successors: dict[tuple[str, str], str] = {}
        self._ending: dict[str, float] = {}
        self._ended: dict[str, tuple[float, int]] = {}
        self._seen: dict[tuple[str, int], float] = {}

    def judge(self, entries: list[Entry], strikes: list[Strike], allowance: Allowance, *, users: set[str]) -> Verdict:
        """
        Judge what was written down since the last verdict.

        Args:
            users: The sessions that must have been refreshed after the last strike.
        """
        verdict = Verdict()
        self._allowance, self._strikes = allowance, strikes
        for entry in entries:
            if entry.what in ("logout", "reuse"):
                self._ending.setdefault(entry.session, entry.begun)
                if entry.status in (204, 401):
                    self._ended.setdefault(entry.session, (entry.ended, entry.port))
        for entry in entries:
            verdict.requests[KINDS[entry.what]] += 1
            verdict.failures += entry.is_failure and entry.what != "lost refresh"
            verdict.violations += [f"{violation}: {entry}" for violation in self._violations(entry)]
        failures = list(self._last_failures(entries))
        verdict.outages = [seconds for seconds, _ in failures]
        for strike, (seconds, last) in zip(strikes, failures, strict=True):
            allowed = allowance.outage_seconds + strike.excused_seconds
            if seconds > allowed + allowance.slack_seconds:
                verdict.violations.append(f"failed for {seconds:.2f} s, allowed {allowed:.2f} s; last: {last}")
        back = {e.session for e in entries if e.what == "refresh" and e.status == 200 and e.begun > strikes[-1].mended}
        verdict.violations += [f"not refreshed since the fault was over: {session}" for session in users - back]
        return verdict

    def _violations(self, entry: Entry) -> Iterable[str]:
        if entry.status == 0:
            if entry.what != "lost refresh" and not self._was_down(entry):
                yield "no answer"
            return
        if KINDS[entry.what] == "authz":
            yield from self._of_authz(entry)
            return
        if entry.seconds > TOLD_WITHIN_SECONDS + self._allowance.slack_seconds:
            yield "told late"
        if entry.status == 503:
            if not entry.retry_after.isdigit() or int(entry.retry_after) < 1:
                yield "503 without Retry-After"
            if entry.what == "browser" and self._was_seen(entry):
                yield "a browser session that was seen was told to come again"
        elif KINDS[entry.what] == "browser":
            yield from self._of_browser(entry)
        elif entry.what == "login":
            yield from self._of_login(entry)
        elif entry.what == "logout":
            if entry.status != 204:
                yield "logout refused"
        elif entry.what == "ended refresh":
            if entry.status == 200:
                yield "an ended session works again"
            elif entry.status != 401:
                yield "neither served nor refused"
        elif entry.what == "reuse":
            if (entry.status, entry.told) != (401, "refresh-token-reused"):
                yield "a used token was not found out"
        else:
            yield from self._of_refresh(entry)

    def _of_refresh(self, entry: Entry) -> Iterable[str]:
        if entry.status == 401:
            if entry.ended < self._ending.get(entry.session, float("inf")):
                yield "logged out"
        elif entry.status != 200:
            yield "neither served nor told to come again"
        elif entry.whose != self.owners.get(entry.session):
            yield "answered with somebody else's"
        elif self._successors.setdefault((entry.session, entry.sent), entry.got) != entry.got:
            yield "a second successor"

    def _of_login(self, entry: Entry) -> Iterable[str]:
        subject, session, email = [*entry.whose.split(" "), "", ""][:3]
        if entry.status != 200:
            yield "a login was refused"
        elif email != entry.session or subject != self.subjects[email] or session in self.owners:
            yield "answered with somebody else's"
        self.owners[session] = entry.whose

    def _of_authz(self, entry: Entry) -> Iterable[str]:
        if entry.what == "authz":
            if entry.status != 200 and not self.may_be_refused(entry):
                yield "a good access token was refused"
            elif entry.status == 200 and entry.whose != self.owners[entry.session].partition(" ")[0]:
                yield "allowed as somebody else"
            return
        ended_at, port = self._ended.get(entry.session, (float("inf"), 0))
        if entry.status == 200 and (port == entry.port or entry.begun > self._known_everywhere_at(ended_at)):
            yield "an ended session's access token works again"
        elif entry.status not in (200, 401):
            yield "neither allowed nor denied"

    def _of_browser(self, entry: Entry) -> Iterable[str]:
        if entry.what == "browser":
            if entry.status != 200:
                yield "a browser was sent to the login"
            elif entry.whose != self.owners[entry.session].partition(" ")[0]:
                yield "allowed as somebody else"
            else:
                self._seen.setdefault((entry.session, entry.port), entry.ended)
            return
        ended_at, port = self._ended.get(entry.session, (float("inf"), 0))
        if entry.status == 200 and (port == entry.port or entry.begun > self._known_everywhere_at(ended_at)):
            yield "an ended browser session works again"
        elif entry.status not in (200, 302):
            yield "neither allowed nor led to the login"

    def _was_seen(self, entry: Entry) -> bool:
        """Tell whether this gateway has seen the session alive, and has not been away since."""
        seen = self._seen.get((entry.session, entry.port), float("inf"))
        return seen < entry.begun and not any(
            port == entry.port and until > seen and since < entry.ended for port, since, until in self.downs
        )

    def _was_down(self, entry: Entry) -> bool:
        return any(
            port == entry.port and entry.begun <= until and entry.ended >= since for port, since, until in self.downs
        )

    def _known_everywhere_at(self, ended_at: float) -> float:
        known_at = ended_at + KNOWN_EVERYWHERE_SECONDS + self._allowance.slack_seconds
        for strike in self._strikes if self._allowance.redis_is_away else ():
            if strike.begun < known_at and self._allowance.over_at(strike) > ended_at:
                known_at = self._allowance.over_at(strike) + KNOWN_EVERYWHERE_SECONDS
        return known_at

    def _last_failures(self, entries: list[Entry]) -> Iterable[tuple[float, Entry | None]]:
        """Give the last failure that began after each strike, or its mend, and how long after that it was told."""
        ends = [strike.begun for strike in self._strikes[1:]] + [float("inf")]
        failures = [e for e in entries if e.is_failure and e.what in ("refresh", "login")]
        for strike, end in zip(self._strikes, ends, strict=True):
            since = self._allowance.since(strike)
            last = max((e for e in failures if since <= e.begun and e.ended < end), key=_end_of, default=None)
            yield (last.ended - since if last else 0.0), last


def _end_of(entry: Entry) -> float:
    return entry.ended
