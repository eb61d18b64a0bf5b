"""Accounts: users by e-mail address, their passwords, links that set one, and hashes that came from elsewhere."""

from gateway.accounts.foreign_hashes import KeycloakCredential, read_foreign_hash, spelling_of_keycloak
from gateway.accounts.invitations import Invitations
from gateway.accounts.password_rules import check_new_password, length_of
from gateway.accounts.passwords import Passwords, generate_password
from gateway.accounts.users import (
    NOBODY,
    ROLE,
    EmailTaken,
    UnknownUser,
    User,
    UserChanged,
    Users,
    check_email,
    check_name,
    check_roles,
    normalise_email,
)

__all__ = [
    "NOBODY",
    "ROLE",
    "EmailTaken",
    "UnknownUser",
    "User",
    "UserChanged",
    "Users",
    "check_email",
    "check_name",
    "check_roles",
    "normalise_email",
    "Passwords",
    "generate_password",
    "check_new_password",
    "length_of",
    "Invitations",
    "KeycloakCredential",
    "read_foreign_hash",
    "spelling_of_keycloak",
]
