"""One walk to the URL: what is asked there, how each sort of client asks, and how its answers are read."""

from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from gateway.cli.doctor.asking import Answer, Asker, Headers, Place
from gateway.cli.doctor.proxy_lines import proxy_of
from gateway.settings import Settings

USER_AGENT = ("User-Agent", "Mozilla/5.0 (gateway doctor)")
OLD_NAVIGATION: Headers = [
    USER_AGENT,
    ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("Accept-Language", "en"),
]
"""What an old browser says when it opens a page, and every browser on plain http."""
NAVIGATION: Headers = [
    *OLD_NAVIGATION,
    ("Sec-Fetch-Site", "none"),
    ("Sec-Fetch-Mode", "navigate"),
    ("Sec-Fetch-Dest", "document"),
    ("Sec-Fetch-User", "?1"),
]
FETCH: Headers = [
    USER_AGENT,
    ("Accept", "*/*"),
    ("Sec-Fetch-Site", "same-origin"),
    ("Sec-Fetch-Mode", "cors"),
    ("Sec-Fetch-Dest", "empty"),
]
PROBE_QUERY = "a=1&b=%2F%26"


@dataclass(frozen=True, repr=False)
class Session:
    """
    A browser session of the person whom the doctor plays.

    `address` is what the gateway took for the client's at the login; nothing where it was not asked.
    """

    user_id: str
    family_id: str
    cookie_name: str
    cookie: str
    address: str = ""

    @property
    def header(self) -> tuple[str, str]:
        """The header that carries it."""
        return "Cookie", f"{self.cookie_name}={self.cookie}"


@dataclass
class Walk:
    """Asks about one URL, and keeps the answers; the first is one to a navigation without a session."""

    asker: Asker
    place: Place
    settings: Settings
    answers: list[Answer] = field(default_factory=list, repr=False)

    async def ask(
        self, headers: Headers, *, place: Place | None = None, method: str = "GET", body: bytes | None = None
    ) -> Answer:
        """Ask at the URL, or at another place. Raises `NoAnswer`."""
        answer = await self.asker.ask(place or self.place, headers, method=method, body=body)
        self.answers.append(answer)
        return answer

    @property
    def probe(self) -> Place:
        """The URL with a query that gets lost where somebody is careless."""
        return self.place.with_query(PROBE_QUERY)

    @property
    def proxy(self) -> str:
        """Name of the proxy, where it tells it: in the first answer, which is not the application's if all is well."""
        return proxy_of(self.answers[0])

    @property
    def login_address(self) -> str:
        """Where browsers are led."""
        return self.settings.login_url or f"{self.settings.issuer_origin}/auth/login"


def led_with(answer: Answer, walk: Walk) -> dict[str, list[str]] | None:
    """Give the query with which an answer leads to the login; None where it does not."""
    if not answer.is_redirect:
        return None
    address, _, query = answer.first("location").partition("?")
    return parse_qs(query, keep_blank_values=True) if address == walk.login_address.partition("?")[0] else None


def is_let_through(answer: Answer, walk: Walk) -> bool:
    """Tell whether an answer is the application's, as far as it can be seen."""
    if answer.status in (401, 403) or answer.status >= 500:
        return False
    return led_with(answer, walk) is None


def told(answer: Answer) -> str:
    """Give an answer in words; what a query has in it is left out."""
    if not answer.is_redirect:
        return str(answer.status)
    return f"{answer.status} to {urlsplit(answer.first('location'))._replace(query='', fragment='').geturl()}"
