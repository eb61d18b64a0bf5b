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
from gateway.errors import InvalidCredentials, Overloaded, PasswordRejected

MAX_PASSWORD_BYTES = 1024
MIN_LOCAL_PART_CHARACTERS = 4
LETTERS_AND_DIGITS = string.ascii_letters + string.digits
GENERATED_PASSWORD_CHARACTERS = 24
LONGEST_WAIT_SECONDS = 2.0
THREAD_NICENESS = 10
R = TypeVar("R")
_PEPPERED = re.compile(r"\Ap1\$([A-Za-z0-9_-]{8})\$(\$2b\$\d\d\$.{53})\Z")
_PLAIN = re.compile(r"\A\$2[aby]\$\d\d\$.{53}\Z")


def generate_password() -> str:
    """Give a random password of 142 bits: 24 letters and digits, so that a double click takes all of it."""
    return "".join(secrets.choice(LETTERS_AND_DIGITS) for _ in range(GENERATED_PASSWORD_CHARACTERS))


def check_new_password(password: str, email: str, min_length: int) -> None:
    """
    See whether a password may be set (NIST SP 800-63B-4 section 3.1.1.2; no composition rules).

    Args:
        email: The normalised address of the user.
        min_length: In code points after NFC.

    Raises:
        PasswordRejected: With all reasons that apply but `unchanged`, which only the caller can tell.
    """
    password = unicodedata.normalize("NFC", password)
    folded, local_part = password.casefold(), email.rpartition("@")[0].casefold()
    reasons = {
        "too_short": len(password) < min_length,
        "too_long": len(password.encode("utf-8", "surrogatepass")) > MAX_PASSWORD_BYTES,
        "contains_email": email.casefold() in folded
        or (len(local_part) >= MIN_LOCAL_PART_CHARACTERS and local_part in folded),
    }
    if any(reasons.values()):
        raise PasswordRejected(tuple(reason for reason, applies in reasons.items() if applies))


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
        # Well-formed, and of no password: comparing with it costs what comparing with a real hash does.
        self._nobody = b"$2b$%02d$" % cost + b"." * 22 + b"." * 31

    async def hash(self, password: str) -> str:
        """
        Give the hash to store.

        Raises:
            Overloaded: Too many are waiting already.
        """
        keys = self._keychain.current
        digest = await self._in_pool(bcrypt.hashpw, _peppered(keys, password), bcrypt.gensalt(self._cost))
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
        if not await self._in_pool(bcrypt.checkpw, material, digest):
            raise InvalidCredentials

    def needs_renewal(self, stored: str) -> bool:
        """Tell whether scheme, pepper or cost of a stored hash are behind what `hash` makes now."""
        current = re.compile(rf"\Ap1\${re.escape(self._keychain.current.key_id)}\$\$2b\${self._cost:02d}\$")
        return not current.match(stored)

    def close(self) -> None:
        """Let the threads end; hashes that have not begun are dropped."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _comparable(self, password: str, stored: str) -> tuple[bytes, bytes]:
        nobody = _peppered(self._keychain.current, password), self._nobody
        if len(password.encode("utf-8", "surrogatepass")) > MAX_PASSWORD_BYTES:
            return nobody
        if match := _PEPPERED.match(stored):
            keys = self._keychain.find(match[1])
            return (_peppered(keys, password), match[2].encode()) if keys else nobody
        if _PLAIN.match(stored):
            # What bcrypt elsewhere has always done: NFC is ours, the cut at 72 bytes is theirs.
            return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")[:72], stored.encode()
        return nobody

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


def _peppered(keys: DerivedKeys, password: str) -> bytes:
    normalised = unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")
    return base64.b64encode(hmac.digest(keys.password_pepper, normalised, "sha384"))


def _lower_priority() -> None:
    # On Linux a thread has a niceness of its own; elsewhere this would lower the whole process.
    if os.uname().sysname == "Linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), THREAD_NICENESS)
