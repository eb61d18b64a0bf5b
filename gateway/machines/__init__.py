"""Machines: personal tokens for the scripts of people, and clients for services that call services."""

from gateway.machines.client_keys import ASSERTION_ALGORITHMS, read_client_keys
from gateway.machines.client_record import Client
from gateway.machines.clients import Clients, UnknownClient
from gateway.machines.personal_tokens import DEFAULT_DAYS, MAX_DAYS, LivingToken, PersonalTokens, TokenEntry
from gateway.machines.token_text import PREFIX as PERSONAL_TOKEN_PREFIX
from gateway.machines.token_text import PersonalToken

__all__ = [
    "PERSONAL_TOKEN_PREFIX",
    "PersonalToken",
    "PersonalTokens",
    "LivingToken",
    "TokenEntry",
    "DEFAULT_DAYS",
    "MAX_DAYS",
    "Client",
    "Clients",
    "UnknownClient",
    "ASSERTION_ALGORITHMS",
    "read_client_keys",
]
