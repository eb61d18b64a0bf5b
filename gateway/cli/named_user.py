"""The user whom a command names by e-mail address."""

from gateway.accounts import UnknownUser, User
from gateway.state import Gateway


async def find_named(gateway: Gateway, email: str) -> User:
    """
    Give the user.

    Raises:
        UnknownUser: There is none.
    """
    user = await gateway.users.find(email)
    if user is None:
        raise UnknownUser(f"there is no user {email}: see `gateway users list`")
    return user
