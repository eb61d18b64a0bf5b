"""
The words in which the tables of this room say what an operation takes, gives and refuses.

What follows from elsewhere is not said in them: path, method and path parameters are those of the route table, bodies
those of the types that decode and encode, and what every operation may refuse is added by `document`.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from gateway.errors import (
    AccessTokenInvalid,
    AccessTokenMissing,
    CrossSiteRequest,
    GatewayError,
    MalformedRequest,
    StoreUnavailable,
    UnsupportedMediaType,
)

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
HTML = "text/html"
PROBLEM = "application/problem+json"

RATE_HEADERS = ("RateLimit-Policy", "RateLimit")
PERSON = ("accessToken", "accessTokenCookie", "browserSession")
OR_OTHERWISE = ""
"""Among the ways to show who asks: by a member of the body; or not at all, where a person is led to the login then."""

BODY: tuple[type[GatewayError], ...] = (MalformedRequest, UnsupportedMediaType)
CALLER: tuple[type[GatewayError], ...] = (AccessTokenMissing, AccessTokenInvalid, MalformedRequest, StoreUnavailable)
SENDER = (*CALLER, CrossSiteRequest)


class Answer(NamedTuple):
    """
    An answer that is no refusal.

    `bodies` are the types of a JSON body, any one of them; other media types have a text. `headers` are some of
    `headers.HEADERS`.
    """

    what: str
    bodies: tuple[Any, ...] = ()
    media_types: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()


class Takes(NamedTuple):
    """
    A request body: the struct that it is decoded as, in any of these media types.

    `also` are keywords of its schema besides, where fields depend on each other; `ignored` are fields of a form that
    are let through unread.
    """

    kind: type
    media_types: tuple[str, ...] = (JSON,)
    also: Mapping[str, Any] = MappingProxyType({})
    ignored: frozenset[str] = frozenset()


class Operation(NamedTuple):
    """
    What one method of one path is for.

    `shows` are the ways to show who asks, any one of them, `query` is a struct whose fields are the parameters of the
    query, and `name` is that of the operation in clients that are made from the document.
    """

    name: str
    tag: str
    summary: str
    gives: Mapping[int, Answer]
    refuses: tuple[type[GatewayError], ...] = ()
    takes: Takes | None = None
    shows: tuple[str, ...] = ()
    query: type | None = None
    details: str = ""
    is_page: bool = False


def json_answer(what: str, *bodies: Any, headers: tuple[str, ...] = ()) -> Answer:
    """Give an answer with a JSON body, of any one of these types."""
    return Answer(what, bodies, (JSON,), headers)


def page_answer(what: str, headers: tuple[str, ...] = ()) -> Answer:
    """Give an answer with a page."""
    return Answer(what, (), (HTML,), headers)


def led_on(what: str, *headers: str) -> Answer:
    """Give an answer that leads on."""
    return Answer(what, (), (), ("Location", *headers))
