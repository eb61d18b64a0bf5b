"""Accounts: users by e-mail address, their passwords, links that set one, second factors, hashes from elsewhere."""

from gateway.accounts.changes import Change, Changes
from gateway.accounts.factors import (
    ENROLMENT_SECONDS,
    PENDING_SECONDS,
    Asked,
    Assertion,
    Demand,
    Factor,
    FactorLogins,
    NewCredential,
    NewTotp,
    PendingLogin,
    Proved,
    RelyingParty,
    SecondFactors,
    check_factor_name,
)
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
    "Changes",
    "Change",
    "Passwords",
    "generate_password",
    "check_new_password",
    "length_of",
    "Invitations",
    "SecondFactors",
    "Factor",
    "check_factor_name",
    "FactorLogins",
    "Demand",
    "PENDING_SECONDS",
    "PendingLogin",
    "Asked",
    "Proved",
    "ENROLMENT_SECONDS",
    "NewTotp",
    "RelyingParty",
    "NewCredential",
    "Assertion",
    "KeycloakCredential",
    "read_foreign_hash",
    "spelling_of_keycloak",
]
