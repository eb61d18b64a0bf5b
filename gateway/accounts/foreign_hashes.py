"""
Password hashes that other programs have made, so that their users can move here without a reset.

The spellings are those of Django, of Keycloak's realm export and of Authelia's user file. A hash is stored as it was
given, compared as its own program would, and replaced by one of ours at the first login. Each has bounds on its work:
nobody can bring in a hash that keeps a thread busy for seconds, or takes all memory.

One file: each program's spelling is a few lines, and the bounds are of them all.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import msgspec

from gateway.errors import CommandError

MAX_BCRYPT_COST = 16
MIN_PBKDF2_ROUNDS, MAX_PBKDF2_ROUNDS = 1_000, 4_000_000
MAX_MEMORY_KIB = 256 * 1024
MAX_MEMORY_PASSES_KIB = 1024 * 1024
MIN_DIGEST_BYTES, MAX_DIGEST_BYTES = 16, 128
BCRYPT_BYTES = 72
ARGON2_MEND = "install the extra: pip install 'token-gateway[imports]', here and wherever the gateway runs"
KNOWN_KINDS = "bcrypt, argon2id, argon2i, PBKDF2 with SHA-256 or SHA-512, and scrypt"
_BCRYPT = r"(\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31})"
_OCTETS = r"([A-Za-z0-9+/.]+=*)"
_UNPADDED = r"([A-Za-z0-9+/]+)"


class UnusableHash(CommandError):
    """The hash cannot be compared with, here or at all; the message says why, and holds nothing of it."""


class KeycloakCredential(msgspec.Struct):
    """An element of `credentials` of a user in a realm export; what else it has is not needed."""

    secretData: str
    credentialData: str
    type: str = "password"


class _KeycloakSecret(msgspec.Struct):
    value: str
    salt: str


class _KeycloakParameters(msgspec.Struct):
    algorithm: str
    hashIterations: int
    additionalParameters: dict[str, list[str]] = {}


class ForeignHash(Protocol):
    """A hash that knows how to compare itself; it takes about as long as where it was made."""

    def matches(self, password: bytes) -> bool:
        """Tell whether it is of this password."""


@dataclass(frozen=True)
class BcryptHash:
    """
    What bcrypt has made of a password, or of its SHA-256 in hexadecimal (Django's `bcrypt_sha256`).

    Does not compare: that is `Passwords`, which makes all bcrypt hashes cost the same.
    """

    digest: bytes
    is_prehashed: bool

    def material(self, password: bytes) -> bytes:
        """Give what bcrypt was fed: the cut at 72 bytes has always been bcrypt's own."""
        return hashlib.sha256(password).hexdigest().encode() if self.is_prehashed else password[:BCRYPT_BYTES]


@dataclass(frozen=True)
class Pbkdf2Hash:
    """PBKDF2 with HMAC (RFC 8018 section 5.2)."""

    hash_name: str
    rounds: int
    salt: bytes
    digest: bytes

    def matches(self, password: bytes) -> bool:
        """Tell whether it is of this password."""
        found = hashlib.pbkdf2_hmac(self.hash_name, password, self.salt, self.rounds, len(self.digest))
        return hmac.compare_digest(found, self.digest)


@dataclass(frozen=True)
class ScryptHash:
    """scrypt (RFC 7914) with its cost `n`, block size `r` and parallelism `p`."""

    n: int
    r: int
    p: int
    salt: bytes
    digest: bytes

    def matches(self, password: bytes) -> bool:
        """Tell whether it is of this password."""
        found = hashlib.scrypt(
            password, salt=self.salt, n=self.n, r=self.r, p=self.p, maxmem=2 * MAX_MEMORY_KIB * 1024,
            dklen=len(self.digest),
        )  # fmt: skip
        return hmac.compare_digest(found, self.digest)


@dataclass(frozen=True)
class Argon2Hash:
    """argon2id or argon2i (RFC 9106), in the reference implementation's spelling."""

    encoded: str

    def matches(self, password: bytes) -> bool:
        """Tell whether it is of this password."""
        from argon2.exceptions import VerifyMismatchError
        from argon2.low_level import Type, verify_secret

        kind = Type.ID if self.encoded.startswith("$argon2id$") else Type.I
        try:
            return verify_secret(self.encoded.encode(), password, kind)
        except VerifyMismatchError:
            return False


def read_foreign_hash(stored: str) -> ForeignHash | BcryptHash:
    """
    Read a hash in one of the known spellings.

    Raises:
        UnusableHash: It is of another kind, asks for more work than the bounds allow, or needs the extra `imports`.
    """
    for pattern, read in _READERS:
        if match := pattern.fullmatch(stored):
            return read(*match.groups())
    raise UnusableHash(f"a hash of no kind that is known here; known are {KNOWN_KINDS}")


def spelling_of_keycloak(credential: KeycloakCredential) -> str:
    """
    Give the spelling under which Keycloak's credential is stored here.

    Raises:
        UnusableHash: It is no password, or its parts cannot be read. Its bounds are `read_foreign_hash`'s to check.
    """
    try:
        secret = msgspec.json.decode(credential.secretData, type=_KeycloakSecret)
        parameters = msgspec.json.decode(credential.credentialData, type=_KeycloakParameters)
        salt, value = _unpadded(secret.salt), _unpadded(secret.value)
        rounds, more = parameters.hashIterations, parameters.additionalParameters
        if credential.type != "password":
            raise UnusableHash("a Keycloak credential that is no password: take the one whose type is `password`")
        if parameters.algorithm in ("pbkdf2-sha256", "pbkdf2-sha512"):
            return f"${parameters.algorithm}${rounds}${salt}${value}"
        if parameters.algorithm == "argon2":
            kind, memory, lanes = more["type"][0], more["memory"][0], more["parallelism"][0]
            version = {"1.3": 19, "1.0": 16}[more["version"][0]]
            return f"$argon2{kind}$v={version}$m={memory},t={rounds},p={lanes}${salt}${value}"
    except (msgspec.MsgspecError, LookupError) as error:
        raise UnusableHash(
            "secretData and credentialData are not as Keycloak exports them: take the credential as it is"
        ) from error
    raise UnusableHash(f"a Keycloak credential by {parameters.algorithm!r}; known are {KNOWN_KINDS}")


def _bcrypt(digest: str, cost: str, *, is_prehashed: bool = False) -> BcryptHash:
    _bound("the cost of bcrypt", int(cost), 4, MAX_BCRYPT_COST)
    return BcryptHash(digest.encode(), is_prehashed)


def _prehashed_bcrypt(digest: str, cost: str) -> BcryptHash:
    return _bcrypt(digest, cost, is_prehashed=True)


def _pbkdf2(hash_name: str, rounds: str, salt: bytes, digest: str) -> Pbkdf2Hash:
    _bound("PBKDF2's iterations", int(rounds), MIN_PBKDF2_ROUNDS, MAX_PBKDF2_ROUNDS)
    return Pbkdf2Hash(hash_name, int(rounds), salt, _digest(digest))


def _scrypt(n: int, r: int, p: int, salt: bytes, digest: str) -> ScryptHash:
    if n < 2 or n & (n - 1):
        raise UnusableHash("scrypt's cost is not a power of 2")
    _bound_memory("scrypt", n * r // 8, p)
    return ScryptHash(n, r, p, salt, _digest(digest))


def _argon2(encoded: str, memory: str, passes: str, lanes: str, salt: str, digest: str) -> Argon2Hash:
    try:
        import argon2  # noqa: F401 - whether it is there
    except ImportError as error:
        raise UnusableHash(f"argon2 is not known here: {ARGON2_MEND}") from error
    _bound_memory("argon2", int(memory), int(passes))
    _bound("argon2's parallelism", int(lanes), 1, min(64, int(memory) // 8))
    _bound("the bytes of argon2's salt", len(_octets(salt)), 8, MAX_DIGEST_BYTES)
    _digest(digest)
    return Argon2Hash(encoded)


def _bound(what: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise UnusableHash(f"{what} is {value}; from {least} to {most} is taken")


def _bound_memory(what: str, memory_kib: int, passes: int) -> None:
    _bound(f"{what}'s memory in KiB", memory_kib, 8, MAX_MEMORY_KIB)
    _bound(f"{what}'s memory in KiB, over all passes,", memory_kib * passes, 8, MAX_MEMORY_PASSES_KIB)


def _digest(text: str) -> bytes:
    octets = _octets(text)
    _bound("the bytes of the hash", len(octets), MIN_DIGEST_BYTES, MAX_DIGEST_BYTES)
    return octets


def _octets(text: str) -> bytes:
    """Decode base64, padded or not, with `.` for `+` as passlib and Authelia write it."""
    unpadded = _unpadded(text).replace(".", "+")
    try:
        octets = base64.b64decode(unpadded + "=" * (-len(unpadded) % 4), validate=True)
    except binascii.Error:
        octets = b""
    if _unpadded(base64.b64encode(octets).decode()) != unpadded:
        raise UnusableHash("salt or hash is not base64: take the hash as it is")
    return octets


def _unpadded(text: str) -> str:
    return text.rstrip("=")


def _reader(
    pattern: str, read: Callable[..., ForeignHash | BcryptHash]
) -> tuple[re.Pattern[str], Callable[..., ForeignHash | BcryptHash]]:
    return re.compile(pattern, re.ASCII), read


_READERS = (
    _reader(rf"(?:bcrypt\$)?{_BCRYPT}", _bcrypt),
    _reader(rf"bcrypt_sha256\${_BCRYPT}", _prehashed_bcrypt),
    _reader(
        rf"(?:argon2)?(\$argon2id?\$v=1[69]\$m=(\d{{1,9}}),t=(\d{{1,9}}),p=(\d{{1,9}})\${_UNPADDED}\${_UNPADDED})",
        _argon2,
    ),
    _reader(
        rf"pbkdf2_(sha256)\$(\d{{1,9}})\$([^$]+)\${_OCTETS}",
        lambda name, rounds, salt, digest: _pbkdf2(name, rounds, salt.encode(), digest),
    ),
    _reader(
        rf"\$pbkdf2-(sha256|sha512)\$(\d{{1,9}})\${_OCTETS}\${_OCTETS}",
        lambda name, rounds, salt, digest: _pbkdf2(name, rounds, _octets(salt), digest),
    ),
    _reader(
        rf"scrypt\$(\d{{1,9}})\$([^$]+)\$(\d{{1,5}})\$(\d{{1,5}})\${_OCTETS}",
        lambda n, salt, r, p, digest: _scrypt(int(n), int(r), int(p), salt.encode(), digest),
    ),
    _reader(
        rf"\$scrypt\$ln=(\d{{1,2}}),r=(\d{{1,5}}),p=(\d{{1,5}})\${_OCTETS}\${_OCTETS}",
        lambda ln, r, p, salt, digest: _scrypt(2 ** int(ln), int(r), int(p), _octets(salt), digest),
    ),
)
