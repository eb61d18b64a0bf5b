"""What a `redis_url` says: the kind of Redis, the way to it, and the options of redis-py in its query."""

import re
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from redis.asyncio.connection import Connection, SSLConnection, parse_url

DEFAULT_PORT = 6379


class RedisUrl(NamedTuple):
    """
    The parts of a `redis_url`.

    Args:
        scheme: As it is written, `rediss+sentinel` say.
        username: Decoded; None without one.
        password: Decoded; None without one.
        hosts: Each with its port, an IPv6 address without brackets; none for a Unix socket.
        path: With its slash.
        query: Without the question mark, as it is written.
    """

    scheme: str
    username: str | None
    password: str | None
    hosts: list[tuple[str, int]]
    path: str
    query: str

    @property
    def is_tls(self) -> bool:
        """Tell whether everything that is spoken to has to show a certificate."""
        return self.scheme.startswith("rediss")

    @property
    def has_credentials(self) -> bool:
        """Tell whether a user or a password stands before the hosts."""
        return bool(self.username or self.password)

    def options(self) -> dict[str, Any]:
        """
        Give the options of the query, converted by redis-py, and the user and the password.

        Raises:
            RedisError, TypeError, ValueError: A connection to a server of a Sentinel or a cluster has no such option,
                or it has no such value.
        """
        options: dict[str, Any] = {**parse_url(f"redis://?{self.query}")}
        sentinels = ("sentinel_username", "sentinel_password") if self.scheme.endswith("+sentinel") else ()
        # This one refuses what redis-py's clients of a cluster and of Sentinel drop: options of TLS without TLS, say.
        known = {name: value for name, value in options.items() if name not in ("max_connections", *sentinels)}
        (SSLConnection if self.is_tls else Connection)(host="", port=0, **known)
        credentials = {"username": self.username, "password": self.password}
        return options | {name: value for name, value in credentials.items() if value}


def read_url(url: str) -> RedisUrl:
    """Give the parts of a `redis_url` that the settings have taken."""
    scheme, _, rest = url.partition("://")
    authority = re.split("[/?]", rest, maxsplit=1)[0]
    path, _, query = rest.removeprefix(authority).partition("?")
    credentials, _, hosts = authority.rpartition("@")
    username, _, password = credentials.partition(":")
    parts = [urlsplit(f"//{host}") for host in hosts.split(",") if host]
    return RedisUrl(
        scheme,
        unquote(username) or None,
        unquote(password) or None,
        [(part.hostname or "", part.port or DEFAULT_PORT) for part in parts],
        path,
        query,
    )


def without_credentials(url: str) -> str:
    """Give a URL without the user and the password that stand before the hosts."""
    return re.sub(r"://[^/?]*@", "://", url)
