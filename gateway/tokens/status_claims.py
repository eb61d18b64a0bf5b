"""The claim `status`: where a list tells whether the session of a token was ended (draft-ietf-oauth-status-list)."""

from collections.abc import Callable

STATUS_PATH = "/status"
AGGREGATION_PATH = STATUS_PATH + "/lists"
MAX_MENTIONED = 64


class StatusClaims:
    """
    Makes the claims, and remembers the lists that they mentioned last.

    Args:
        origin: Of the addresses of lists.
        find: Gives number of the list and position of a session by its `sid`; None for one that has no index.
    """

    def __init__(self, origin: str, find: Callable[[str], tuple[int, int] | None]) -> None:
        self._uri = origin + STATUS_PATH
        self._find = find
        self._mentioned: dict[int, None] = {}

    @property
    def mentioned(self) -> tuple[int, ...]:
        """Give the numbers of the lists that claims were made of, at most `MAX_MENTIONED`."""
        return tuple(self._mentioned)

    def of(self, session_id: str) -> dict[str, object] | None:
        """Give the claim of a session (section 6.1); None for one that has no index."""
        if (index := self._find(session_id)) is None:
            return None
        number, position = index
        self.mention(number)
        return {"status_list": {"idx": position, "uri": self.uri_of(number)}}

    def mention(self, number: int) -> None:
        """Remember that there is a list."""
        self._mentioned.setdefault(number)
        if len(self._mentioned) > MAX_MENTIONED:
            del self._mentioned[next(iter(self._mentioned))]

    def uri_of(self, number: int) -> str:
        """Give the address of a list, which is also its `sub`."""
        return f"{self._uri}/{number}"
