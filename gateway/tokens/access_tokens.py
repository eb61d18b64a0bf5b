"""Access tokens: RS256 (or PS256, ES256, Ed25519, EdDSA) JWTs in the profile of RFC 9068."""

import functools
import json
import secrets
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import msgspec

from gateway.tokens.keyring import Keyring
from gateway.tokens.signing_keys import SigningKey
from gateway.tokens.signing_thread import SigningThread
from gateway.verifier.keys import ALGORITHMS, encode_base64url
from gateway.verifier.verify import MAX_TOKEN_CHARACTERS

TYPE = "at+jwt"
Result = TypeVar("Result")


def sign(payload: bytes, key: SigningKey, kind: str) -> str:
    """Give a signed token whose header says its *kind* (`typ`), the algorithm and the key (RFC 7515 section 7.1)."""
    signed = f"{_header(key.algorithm, key.kid, kind)}.{encode_base64url(payload)}"
    signature = ALGORITHMS[key.algorithm][1].sign(signed.encode(), key.private_key)
    return f"{signed}.{encode_base64url(signature)}"


# All tokens of one key and kind have the same header.
@functools.lru_cache(maxsize=64)
def _header(algorithm: str, kid: str, kind: str) -> str:
    return encode_base64url(json.dumps({"alg": algorithm, "kid": kid, "typ": kind}, separators=(",", ":")).encode())


def token_characters(payload_bytes: int, algorithm: str, kid: str, signature_bytes: int) -> int:
    """Give how long an access token is, in its compact serialisation."""
    payload, signature = -(-4 * payload_bytes // 3), -(-4 * signature_bytes // 3)
    return len(_header(algorithm, kid, TYPE)) + payload + signature + len("..")


def new_token_id() -> str:
    """Give 128 random bits as 22 base64url characters."""
    return secrets.token_urlsafe(16)


class AccessTokenMinter:
    """
    Signs access tokens with the current key, on a thread of its own: an RSA signature takes half a millisecond, during
    which the event loop can answer several subrequests.

    Args:
        issuer: Value of `iss`, byte for byte.
        audience: Value of `aud`.
        client_id: Value of `client_id`.
        ttl_seconds: From `iat` to `exp`, where the session lives for so long.
        personal_claims: Which of `email` and `name` go into the token.
        status_of: Gives the claim `status` of a session by its `sid`; None where none is told.
    """

    def __init__(
        self,
        keyring: Keyring,
        *,
        issuer: str,
        audience: str,
        client_id: str,
        ttl_seconds: int,
        personal_claims: tuple[str, ...],
        status_of: Callable[[str], object | None] = lambda sid: None,
        new_id: Callable[[], str] = new_token_id,
    ) -> None:
        self._keyring = keyring
        self._issuer = issuer
        self._audience = audience
        self._client_id = client_id
        self._ttl_seconds = ttl_seconds
        self._personal_claims = personal_claims
        self._status_of = status_of
        self._new_id = new_id
        self._thread = SigningThread()

    def close(self) -> None:
        """Let the thread end."""
        self._thread.close()

    def lifetime_seconds(self, session_seconds_left: int) -> int:
        """Give the seconds from `iat` to `exp`: a token does not outlive its session."""
        return min(self._ttl_seconds, session_seconds_left)

    async def mint(
        self,
        *,
        subject: str,
        family_id: str,
        auth_time: int,
        roles: tuple[str, ...],
        email: str,
        name: str,
        now: int,
        session_seconds_left: int,
        amr: tuple[str, ...] = ("pwd",),
        audience: str | None = None,
        ttl_seconds: int | None = None,
    ) -> str:
        """
        Give a signed token for one session (RFC 9068 section 2.2).

        Args:
            family_id: Value of `sid`; empty for a machine client, which is *subject* and has neither session nor login.
            auth_time: When the password was given, in seconds since the epoch.
            now: Value of `iat`, in seconds since the epoch.
            session_seconds_left: For how long the session can still live unused, by the clock of Redis: a span, since
                that clock and the one of *now* may differ.
            amr: How the login was made (RFC 8176).
            audience: Value of `aud`, if not that of logins.
            ttl_seconds: From `iat` to `exp` likewise.

        A user of an earlier version, or of other settings, may have more than fits into a token that verifiers take:
        the name is left out then, and if that is not enough the address. `gateway check` names such users.

        Raises:
            StoreUnavailable: This process has never seen the keyring.
        """
        claims: dict[str, object] = {
            "iss": self._issuer,
            "sub": subject,
            "aud": self._audience if audience is None else audience,
            "client_id": self._client_id if family_id else subject,
            "iat": now,
            "exp": now + min(self._ttl_seconds if ttl_seconds is None else ttl_seconds, session_seconds_left),
            "jti": self._new_id(),
        }
        if family_id:
            claims |= {"sid": family_id, "auth_time": auth_time, "amr": amr}
            if (status := self._status_of(family_id)) is not None:
                claims["status"] = status
        claims["roles"] = roles
        key = self._keyring.signing_key
        personal = {"email": email, "name": name} if family_id else {}
        return await self.on_thread(partial(sign, self._payload(claims, personal, key), key, TYPE))

    async def on_thread(self, work: Callable[[], Result]) -> Result:
        """Do a piece of work, of some milliseconds at most, on the thread that signs, and give its result."""
        return await self._thread.do(work)

    def _payload(self, claims: dict[str, object], personal: dict[str, str], key: SigningKey) -> bytes:
        for left_out in ((), ("name",), ("name", "email")):
            said = {
                claim: personal[claim] for claim in self._personal_claims if claim in personal and claim not in left_out
            }
            payload = msgspec.json.encode(claims | said)
            characters = token_characters(len(payload), key.algorithm, key.kid, key.signature_bytes)
            if characters <= MAX_TOKEN_CHARACTERS:
                break
        return payload
