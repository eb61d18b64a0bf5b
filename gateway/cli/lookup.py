"""Whom a command is about."""

from gateway.accounts import UnknownUser, User
from gateway.state import Gateway


async def find_user(gateway: Gateway, email: str) -> User:
    """
    Give the user of an e-mail address, in whatever spelling.

    Raises:
        UnknownUser: There is none.
    """
    user = await gateway.users.find(email)
    if user is None:
        raise UnknownUser(f"there is no user {email}: see `gateway users list`")
    return user
