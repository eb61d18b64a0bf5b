"""What the clients of the campaign write down: one entry for each request, whatever came of it."""

from pathlib import Path

import msgspec

BROWSED_HOST = "app.example.com"


class Entry(msgspec.Struct, array_like=True, frozen=True):
    """
    One request and what came of it. Times are those of the machine's monotonic clock, in seconds.

    Attributes:
        what: `refresh`, `lost refresh` (the client hung up), `login`, `logout`, `authz`, and `browser`, a navigation
            with the cookie of the session; `ended refresh`, `ended authz` and `ended browser` for a session that was
            ended before; `reuse` for a token whose successor's successor was used.
        session: The `sid` that it was about; for a login the e-mail address.
        port: Of the gateway that was asked.
        status: Of the answer, 0 for none.
        sent: The refresh token; for a subrequest the port of the gateway that had signed the access token.
        got: The refresh token of the answer.
        whose: `sub sid email` of the access token that was answered; for a subrequest the `sub` alone.
        told: The slug of a problem, or the error that there was instead of an answer.
        retry_after: The header of that name.
        is_fresh: Whether the connection had been opened for this request.
    """

    begun: float
    ended: float
    what: str
    session: str
    port: int
    status: int
    sent: str = ""
    got: str = ""
    whose: str = ""
    told: str = ""
    retry_after: str = ""
    is_fresh: bool = False

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.begun

    @property
    def is_failure(self) -> bool:
        """Tell whether nobody was served: no answer, or told to come again."""
        return self.status in (0, 503)


class Known(msgspec.Struct):
    """
    A session that a client knows: whose it is, its newest tokens, and its cookie, which stays the same; `minted_at` is
    the port of the gateway.
    """

    user_id: str
    email: str
    session_id: str
    refresh_token: str
    access_token: str = ""
    minted_at: int = 0
    cookie: str = ""


class Plan(msgspec.Struct):
    """What the clients do: who they are, where the gateways listen, and how often they ask."""

    ports: list[int]
    users: list[Known]
    logins: list[str]
    password: str
    seconds_between_refreshes: float
    authz_per_second: float
    logins_per_second: float
    logouts_per_second: float
    journal: str


class Order(msgspec.Struct, omit_defaults=True):
    """
    What the campaign tells the clients, one line each; they answer each with a line when it is done.

    Attributes:
        what: `set` (the members below), `stock` (sessions to be ended), `drain` (wait until they are), `reuse`
            (sessions to be robbed), `late`, `check` (ask for every session that has ended so far, at these ports),
            `forget` them, `renew` (everybody refreshes while nobody asks for anything else), `pause`, `go_on`, `end`.
        avoided: Ports to send nothing to.
        hang_up: How many of the refreshes are not listened to, 0 to 1.
        twins: How many requests a refresh is sent as, all at once, and `twin_share` how many refreshes, 0 to 1.
        late_seconds: After how many seconds a used token is sent again, each in a session of `sessions`.
    """

    what: str
    avoided: list[int] = []
    hang_up: float = 0.0
    twins: int = 1
    twin_share: float = 1.0
    ports: list[int] = []
    sessions: list[Known] = []
    late_seconds: list[float] = []


class Reader:
    """Reads a journal as it grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0
        self._decoder = msgspec.json.Decoder(Entry)

    def peek(self) -> list[Entry]:
        """Give the entries that came since the last call of `new`, and leave them there for it."""
        position = self._position
        entries = self.new()
        self._position = position
        return entries

    def new(self) -> list[Entry]:
        """Give the entries that came since the last call, in the order in which they ended."""
        with self._path.open("rb") as journal:
            journal.seek(self._position)
            octets = journal.read()
        whole, _, _ = octets.rpartition(b"\n")
        self._position += len(whole) + 1 if whole else 0
        return sorted(map(self._decoder.decode, whole.splitlines()), key=lambda entry: entry.ended)
