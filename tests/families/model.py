"""What must become of sessions, in less than a hundred lines and with nothing of the gateway's code in it."""

from collections.abc import Callable
from dataclasses import dataclass, field

MARK_SECONDS = 3660  # how long a family that has ended is kept until its end has been announced
KEPT_SECONDS = 30  # how long after a rotation a cookie jar gets the same token again


@dataclass
class Session:
    """One family. `state` is `live`, `marked` (ended, not announced yet), `gone` (announced and deleted) or `lost`."""

    user: str
    created: float
    rotated: float
    generation: int = 0
    state: str = "live"
    tokens: dict[int, str] = field(default_factory=dict)


@dataclass
class Model:
    """The rules of contract section 6. Times in seconds of any clock that also shows the time that was moved."""

    now: Callable[[], float]
    window: int
    idle: int
    absolute: int
    most: int
    active: dict[str, bool] = field(default_factory=dict)
    sessions: dict[str, Session] = field(default_factory=dict)

    def end(self, session: Session) -> float:
        """Give the time at which a session, or the mark that it left, is over."""
        if session.state == "marked":
            return session.rotated + MARK_SECONDS
        return min(session.rotated + self.idle, session.created + self.absolute)

    def of(self, user: str, *states: str) -> list[str]:
        """Give the sessions of a user in these states whose time is not over."""
        return [
            session_id
            for session_id, session in self.sessions.items()
            if session.user == user and session.state in states and self.now() < self.end(session)
        ]

    def open(self, user: str, session_id: str, gave_way: list[str]) -> bool:
        """Open a session, the least recently used giving way; False when these are not the ones that should."""
        living = sorted(self.of(user, "live"), key=lambda known: self.sessions[known].rotated)
        due = max(0, len(living) - self.most + 1)
        latest = max((self.sessions[known].rotated for known in living[:due]), default=0.0)
        chosen = [known for known in gave_way if known in living]
        right = len(chosen) == due and all(self.sessions[known].rotated < latest + 0.01 for known in chosen)
        right = right and set(gave_way) == set(chosen) | set(self.of(user, "marked"))
        self.mark(chosen)
        self.sessions[session_id] = Session(user, self.now(), self.now())
        return right

    def refresh(self, session_id: str, presented: int, *, is_cookie: bool = False) -> str:
        """Judge a token with a good MAC, and give the verdict."""
        session, now = self.sessions.get(session_id), self.now()
        if session is None or session.state in ("gone", "lost") or now >= self.end(session):
            return "over"
        if session.state == "marked":
            return "revoked"
        if not self.active[session.user]:
            self.mark([session_id])
            return "user_disabled"
        behind = session.generation - presented
        may_be_kept = is_cookie and self.window > 0 and session.generation > 0
        if behind == 0 and may_be_kept and now - session.rotated <= KEPT_SECONDS:
            return "kept"
        if behind == 1 and 0 < self.window and now - session.rotated <= self.window:
            return "replayed"
        if behind > 0:
            self.mark([session_id])
            return "reused"
        session.generation, session.rotated = presented + 1, now
        return "rotated" if behind == 0 else "healed"

    def mark(self, session_ids: list[str]) -> None:
        """End sessions; nobody has been told yet."""
        for session_id in session_ids:
            session = self.sessions[session_id]
            if session.state == "live":
                session.state, session.rotated = "marked", self.now()

    def forget(self, session_ids: list[str]) -> None:
        """End sessions for good: everybody has been told (I2: from here on they never work again)."""
        for session_id in session_ids:
            self.sessions[session_id].state = "gone"

    def age(self, seconds: int) -> None:
        """Let time pass for all that is stored."""
        for session in self.sessions.values():
            session.created -= seconds
            session.rotated -= seconds
