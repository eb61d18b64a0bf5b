"""
Passwords: hashed and compared off the event loop, on threads of lower priority, at the same cost for everybody.

Ours are `p1$<pepper id>$<bcrypt>` with bcrypt(base64(HMAC-SHA-384(pepper, NFC(password)))): the whole password
counts, and a dump of Redis does not confirm one without `secret` (OWASP Password Storage Cheat Sheet). Plain
`$2a$`, `$2b$` and `$2y$` are understood and renewed at the next login.
"""

import asyncio
import base64
import hmac
import os
import re
import secrets
import string
import threading
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import bcrypt

from gateway.derived_keys import DerivedKeys, KeyChain
from gateway.errors import InvalidCredentials, Overloaded
from gateway.password_rules import MAX_PASSWORD_BYTES

LETTERS_AND_DIGITS = string.ascii_letters + string.digits
GENERATED_PASSWORD_CHARACTERS = 24
LONGEST_WAIT_SECONDS = 2.0
THREAD_NICENESS = 10
R = TypeVar("R")
_COST_SALT_DIGEST = r"\$(?:0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}"
_PEPPERED = re.compile(rf"\Ap1\$([A-Za-z0-9_-]{{8}})\$(\$2b{_COST_SALT_DIGEST})\Z")
_PLAIN = re.compile(rf"\A\$2[aby]{_COST_SALT_DIGEST}\Z")


def generate_password() -> str:
    """Give a random password of 142 bits: 24 letters and digits, so that a double click takes all of it."""
    return "".join(secrets.choice(LETTERS_AND_DIGITS) for _ in range(GENERATED_PASSWORD_CHARACTERS))


class Passwords:
    """
    Hashes and compares passwords.

    Args:
        cost: bcrypt's cost, the base-2 logarithm of its rounds.
        threads: How many hashes may run at once.
        monotonic: Seconds that never go back, to learn how long a hash takes.
    """

    def __init__(self, keychain: KeyChain, cost: int, threads: int, monotonic: Callable[[], float]) -> None:
        self._keychain = keychain
        self._cost = cost
        self._threads = threads
        self._monotonic = monotonic
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="password", initializer=_lower_priority)
        self._unfinished = 0
        self._seconds_per_hash = 0.2 * 2.0 ** (cost - 12)

    async def hash(self, password: str) -> str:
        """
        Give the hash to store.

        Raises:
            Overloaded: Too many are waiting already.
        """
        keys = self._keychain.current
        digest = await self._in_pool(bcrypt.hashpw, _peppered(keys, _normalised(password)), bcrypt.gensalt(self._cost))
        return f"p1${keys.key_id}${digest.decode()}"

    async def verify(self, password: str, stored: str | None) -> None:
        """
        Compare a password with a stored hash; with None, do the same work for nobody.

        Raises:
            InvalidCredentials: It is another password, or the hash is of no kind that we know, or its pepper is
                of a secret that we were not given.
            Overloaded: Too many are waiting already.
        """
        material, digest = self._comparable(password, stored or "")
        if not await self._in_pool(self._compare, material, digest):
            raise InvalidCredentials

    def needs_renewal(self, stored: str) -> bool:
        """Tell whether scheme, pepper or cost of a stored hash are behind what `hash` makes now."""
        current = re.compile(rf"\Ap1\${re.escape(self._keychain.current.key_id)}\$\$2b\${self._cost:02d}\$")
        return not current.match(stored)

    def close(self) -> None:
        """Let the threads end; hashes that have not begun are dropped."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _comparable(self, password: str, stored: str) -> tuple[bytes, bytes]:
        normalised = _normalised(password)
        nobody = _peppered(self._keychain.current, normalised), _hash_of_nobody(self._cost)
        if len(normalised) > MAX_PASSWORD_BYTES:
            return nobody
        if match := _PEPPERED.match(stored):
            keys = self._keychain.find(match[1])
            return (_peppered(keys, normalised), match[2].encode()) if keys else nobody
        if _PLAIN.match(stored):
            # What bcrypt elsewhere has always done: NFC is ours, the cut at 72 bytes is theirs.
            return normalised[:72], stored.encode()
        return nobody

    def _compare(self, material: bytes, digest: bytes) -> bool:
        matches = bcrypt.checkpw(material, digest)
        # A hash of an older, lower cost c is filled up to the work of a new one: 2^c + 2^c + 2^(c+1) + ... = 2^cost.
        for cost in range(int(digest[4:6]), self._cost):
            bcrypt.checkpw(material, _hash_of_nobody(cost))
        return matches

    async def _in_pool(self, work: Callable[[bytes, bytes], R], password: bytes, salt: bytes) -> R:
        if self._unfinished * self._seconds_per_hash / self._threads > LONGEST_WAIT_SECONDS:
            raise Overloaded
        self._unfinished += 1
        try:
            begun, result, ended = await asyncio.get_running_loop().run_in_executor(
                self._pool, lambda: (self._monotonic(), work(password, salt), self._monotonic())
            )
        finally:
            self._unfinished -= 1
        self._seconds_per_hash += (ended - begun - self._seconds_per_hash) / 8
        return result


def _normalised(password: str) -> bytes:
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")


def _hash_of_nobody(cost: int) -> bytes:
    # Well-formed, and of no password: comparing with it costs what comparing with a real hash does.
    return b"$2b$%02d$" % cost + b"." * 53


def _peppered(keys: DerivedKeys, normalised: bytes) -> bytes:
    return base64.b64encode(hmac.digest(keys.password_pepper, normalised, "sha384"))


def _lower_priority() -> None:
    # On Linux a thread has a niceness of its own; elsewhere this would lower the whole process.
    if os.uname().sysname == "Linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), THREAD_NICENESS)
