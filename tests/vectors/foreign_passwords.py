"""
The users of the other programs, and their passwords.

`django_users.jsonl`: hashes made by Django 5.2 itself. `keycloak_users.jsonl`: two hashes that Keycloak has made, and
two in the parameters of older versions. `authelia_users.jsonl`: the hashes of Authelia's manual, and some of passlib's
and bcrypt's in the spellings that Authelia shares with them.
"""

import json
from pathlib import Path
from typing import Any

import msgspec

from gateway.accounts.foreign_hashes import KeycloakCredential, spelling_of_keycloak

USUAL = "correct horse battery staple"
OTHERS = {
    "bcrypt-sha256@django.example.com": f"{USUAL}, and {USUAL}, and {USUAL}, and ",
    "argon2@django.example.com": "żółw na rowerze nad morzem",
    "argon2@keycloak.example.com": "iceberg",
    "pbkdf2@keycloak.example.com": "password",
    "argon2@authelia.example.com": "password",
    "pbkdf2@authelia.example.com": "insecure_secret",
}


def file_of(program: str) -> Path:
    """Give the file that `gateway users import` takes."""
    return Path(__file__).parent / f"{program}_users.jsonl"


def users_of(program: str) -> dict[str, tuple[str, str]]:
    """Give hash and password of each user by the normalised e-mail address."""
    lines: list[dict[str, Any]] = [json.loads(line) for line in file_of(program).read_text().splitlines()]
    return {
        email: (_spelling(line["password_hash"]), OTHERS.get(email, USUAL))
        for line in lines
        for email in [line["email"].lower()]
    }


def _spelling(given: str | dict[str, Any]) -> str:
    return given if isinstance(given, str) else spelling_of_keycloak(msgspec.convert(given, KeycloakCredential))


USERS = users_of("django") | users_of("keycloak") | users_of("authelia")
