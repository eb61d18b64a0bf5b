"""Machines: personal tokens for the scripts of people, and clients for services that call services."""

from gateway.machines.client_keys import ASSERTION_ALGORITHMS, read_client_keys
from gateway.machines.clients import Client, Clients, UnknownClient

__all__ = [
    "Client",
    "Clients",
    "UnknownClient",
    "ASSERTION_ALGORITHMS",
    "read_client_keys",
]
