"""
Request ids of refusals: each carries, sealed, what was refused when and why, so that nothing need be stored of it.

The seal is AES-SIV (RFC 5297) under a key of the `secret`: whoever has that can open the id years later, Redis up or
down; nobody else can read one, change one, or make one. A flood of refusals costs no memory. All have one length, since
that would tell who asks for a login whether there is such a user.
"""

import base64
import os
import re
import struct
from collections.abc import Callable
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from gateway.clock import Clock
from gateway.derived_keys import KeyChain
from gateway.telemetry.endpoints import ENDPOINTS, endpoint_of
from gateway.telemetry.verdicts import UNKNOWN, Verdict, verdict_by_code

RANDOM_BYTES = 6
USER_ID_PREFIX = "usr_"

_FIELDS = struct.Struct(f">IBB{RANDOM_BYTES}s16s")
_NOBODY = bytes(16)
_RANDOM = re.compile(r"[0-9a-f]{16}")
_SEALED = re.compile(r"[A-Za-z0-9_-]{59}")
_USER_ID = re.compile(r"[A-Za-z0-9_-]{22}")


class Refusal(NamedTuple):
    """
    What a sealed id says.

    `at` is in seconds since the epoch; `endpoint` one of `ENDPOINTS`; `user_id` empty where no user was known.
    """

    at: int
    endpoint: str
    verdict: Verdict
    user_id: str


class RequestIds:
    """
    Makes and opens the ids of refusals.

    Args:
        new_random: Gives so many random bytes; they tell two refusals of one second apart.
    """

    def __init__(self, keychain: KeyChain, clock: Clock, new_random: Callable[[int], bytes] = os.urandom) -> None:
        self._seals = tuple(AESSIV(keys.request_id_sealing) for keys in keychain)
        self._clock = clock
        self._new_random = new_random

    def seal(self, path: str, verdict: Verdict, user_id: str = "") -> str:
        """
        Give an id that carries a refusal: 59 characters of base64url.

        Args:
            path: That was asked for; its endpoint alone is kept.
            user_id: Empty where nobody is known.
        """
        at, random = self._clock() & 0xFFFFFFFF, self._new_random(RANDOM_BYTES)
        said = _FIELDS.pack(at, ENDPOINTS.index(endpoint_of(path)), verdict.code, random, _user_bytes(user_id))
        return base64.urlsafe_b64encode(self._seals[0].encrypt(said, None)).rstrip(b"=").decode()

    def open(self, text: str) -> Refusal | None:
        """Give what an id carries; None for one that no secret at hand has sealed, a changed one included."""
        if not _SEALED.fullmatch(text):
            return None
        sealed = base64.urlsafe_b64decode(text + "=")
        if base64.urlsafe_b64encode(sealed).rstrip(b"=").decode() != text:
            return None  # the bits that are left over say something
        for seal in self._seals:
            try:
                said = seal.decrypt(sealed, None)
            except InvalidTag:
                continue
            at, endpoint, code, _, user = _FIELDS.unpack(said)
            return Refusal(
                at,
                ENDPOINTS[endpoint] if endpoint < len(ENDPOINTS) else ENDPOINTS[0],
                verdict_by_code(code) or UNKNOWN,
                "" if user == _NOBODY else USER_ID_PREFIX + base64.urlsafe_b64encode(user).decode().rstrip("="),
            )
        return None


def random_request_id() -> str:
    """Give an id that carries nothing, of a request that something was told of before its answer was known."""
    return os.urandom(8).hex()


def is_request_id(text: str) -> bool:
    """Tell whether a text has the form of an id, of either kind."""
    return bool(_RANDOM.fullmatch(text) or _SEALED.fullmatch(text))


def _user_bytes(user_id: str) -> bytes:
    text = user_id.removeprefix(USER_ID_PREFIX)
    return base64.urlsafe_b64decode(text + "==") if _USER_ID.fullmatch(text) else _NOBODY
