"""
What the query of a subrequest asks for, besides a login: roles, a young or a strong login, a token for the application,
the cookies that are not ours, a challenge that makes programs send a password.

Only the proxy's own configuration is meant to say so. A client's own query, where a proxy appends it, can make it
stricter and nothing else.
"""

import difflib
import functools
import math
import re
import unicodedata
from typing import NamedTuple
from urllib.parse import parse_qsl

from gateway.accounts import ROLE
from gateway.errors import AuthenticationTooWeak, InsufficientRole
from gateway.web.http import Caller

MAX_REMEMBERED_QUERIES = 128
MAX_REMEMBERED_QUERY_BYTES = 1024
MAX_NAMES_COMPARED = 16
MAX_NAME_CHARACTERS = 64
LIKENESS = 0.75
NAMES = ("role", "max_auth_age", "amr", "token", "cookies", "challenge")
_BY_LETTERS = {name.replace("_", ""): name for name in NAMES}
_LONG_ENOUGH_TO_STAND_OUT = ("role", "maxauthage")
_SECONDS = re.compile(r"\A[0-9]{1,10}\Z")
_METHOD = re.compile(r"\A[a-z0-9]{1,16}\Z")
Group = tuple[str, ...]


class Requirements(NamedTuple):
    """
    What a query asks for.

    `roles` and `amr` hold groups, of each of which one must be there; `max_auth_age` is in seconds; `audience` is of
    the token that is asked for; `wants_cookies` says that the answer is to give back those cookies that are not ours;
    `asks_for_basic` says that a 401 is to ask for name and password, as git, docker and WebDAV clients wait for;
    `near_misses` has names of ours by those that are like them.
    """

    is_readable: bool = True
    roles: tuple[frozenset[str], ...] = ()
    max_auth_age: int | None = None
    amr: tuple[Group, ...] = ()
    audience: str | None = None
    wants_cookies: bool = False
    asks_for_basic: bool = False
    near_misses: tuple[tuple[str, str], ...] = ()


def read_requirements(query: bytes) -> Requirements:
    """
    Read a query; what cannot be read is kept as such, for `check`.

    What was read is remembered, but not of a long query: one of 32 KB, which no configuration has, would take 1 MB.
    """
    return _remembered(query) if len(query) <= MAX_REMEMBERED_QUERY_BYTES else _read(query)


def _read(query: bytes) -> Requirements:
    asked = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    said: dict[str, list[str]] = {name: [value for given, value in asked if given == name] for name in NAMES}
    roles, amr = (tuple(tuple(value.split(",")) for value in said[name]) for name in ("role", "amr"))
    ages, audiences = said["max_auth_age"], list(dict.fromkeys(said["token"]))
    is_readable = (
        all(_SECONDS.match(age) for age in ages)
        and all(ROLE.match(role) for group in roles for role in group)
        and all(_METHOD.match(method) for group in amr for method in group)
        and len(audiences) <= 1
        and all(whose == "others" for whose in said["cookies"])
        and all(scheme == "basic" for scheme in said["challenge"])
    )
    others = [name for name in dict.fromkeys(name for name, _ in asked) if name not in NAMES]
    near_misses = tuple((name, ours) for name in others[:MAX_NAMES_COMPARED] if (ours := _nearest(name)))
    if not is_readable:
        return Requirements(is_readable=False, near_misses=near_misses)
    return Requirements(
        is_readable=True,
        roles=tuple(frozenset(group) for group in roles),
        max_auth_age=min((int(age) for age in ages), default=None),
        amr=amr,
        audience=audiences[0] if audiences else None,
        wants_cookies=bool(said["cookies"]),
        asks_for_basic=bool(said["challenge"]),
        near_misses=near_misses,
    )


_remembered = functools.lru_cache(maxsize=MAX_REMEMBERED_QUERIES)(_read)


def check(asked: Requirements, caller: Caller, now: int, audiences: frozenset[str]) -> None:
    """
    Let a caller through for whom all holds that is asked for.

    Raises:
        AuthenticationTooWeak: The login is too old, or was not made as it should be.
        InsufficientRole: A role is missing, no token is made for that audience, or a requirement cannot be read.
    """
    if not asked.is_readable:
        raise InsufficientRole("requirement-unreadable", "A requirement of the proxy's configuration cannot be read")
    # Without a time nobody has logged in: a personal token, a machine client.
    age = now - caller.auth_time if caller.auth_time else math.inf
    is_old = asked.max_auth_age is not None and age > asked.max_auth_age
    unmet = tuple(group for group in asked.amr if set(group).isdisjoint(caller.amr)) if asked.amr else ()
    if is_old or unmet:
        raise AuthenticationTooWeak(asked.max_auth_age if is_old else None, unmet)
    for group in asked.roles:
        if group.isdisjoint(caller.roles):
            raise InsufficientRole("role-missing", requirement=f"role={','.join(sorted(group))}")
    if asked.audience is not None and asked.audience not in audiences:
        detail = "token= of the proxy's configuration names none of the audiences of the gateway"
        raise InsufficientRole("audience-unknown", detail, f"token={asked.audience}")


def holds_until(asked: Requirements, caller: Caller, minute_end: int) -> int:
    """
    Give the first second, up to *minute_end*, in which what `check` lets through now may be too old a login.

    The minute is that of the token which is handed out; nothing is judged from memory for longer.
    """
    return minute_end if asked.max_auth_age is None else min(minute_end, caller.auth_time + asked.max_auth_age + 1)


def _nearest(name: str) -> str | None:
    """Give the requirement that a name is nearly the name of: another case, another dash, a letter more or less."""
    letters = re.sub(r"[^a-z0-9]", "", unicodedata.normalize("NFKC", name[:MAX_NAME_CHARACTERS]).casefold())
    likely = difflib.get_close_matches(letters, _BY_LETTERS, 1, LIKENESS)
    likely = likely or [ours for ours in _LONG_ENOUGH_TO_STAND_OUT if ours in letters]
    return _BY_LETTERS[likely[0]] if likely else None
