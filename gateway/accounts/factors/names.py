"""Names that people give to their factors, so that they know which to remove when a telephone is lost."""

from gateway.accounts.users import check_name
from gateway.errors import CommandError, MalformedRequest

MAX_NAME_CHARACTERS = 60


def check_factor_name(text: str) -> str:
    """
    Give the name of a factor without surrounding blanks; it may be empty.

    Raises:
        MalformedRequest: More than 60 characters, or one that does not print.
    """
    try:
        name = check_name(text)
    except CommandError as error:
        raise MalformedRequest(f"A name has at most {MAX_NAME_CHARACTERS} printable characters") from error
    if len(name) > MAX_NAME_CHARACTERS:
        raise MalformedRequest(f"A name has at most {MAX_NAME_CHARACTERS} printable characters")
    return name
