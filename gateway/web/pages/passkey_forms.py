"""Passkeys in forms: `passkeys.js` takes the options from an attribute, and puts what the browser says into a field."""

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from gateway.errors import MalformedRequest

T = TypeVar("T")


def options_text(options: Mapping[str, object]) -> str:
    """Give the options of a ceremony as the JSON that stands in a form."""
    return msgspec.json.encode(options).decode()


def read_answer(text: str, kind: type[T]) -> T:
    """
    Read what came back, as a *kind* of answer.

    Raises:
        MalformedRequest: It is none.
    """
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise MalformedRequest("That is not what a browser says of a passkey", "body-unreadable") from error
