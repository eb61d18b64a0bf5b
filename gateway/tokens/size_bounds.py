"""
What a user may be given so that the gateway can serve him: his access token and his identity headers have bounds.

Verifiers take access tokens of 4096 characters, and proxies a head of about 4 KiB; who has more would be refused by
them, each time and for ever. So it is counted where name, roles and address are given.
"""

import msgspec

from gateway.errors import CommandError
from gateway.settings import Settings
from gateway.tokens.access_tokens import token_characters
from gateway.tokens.identity_headers import MAX_IDENTITY_HEADERS_BYTES, NAMES, encode_value, lines_bytes
from gateway.tokens.status_claims import STATUS_PATH
from gateway.verifier.verify import MAX_TOKEN_CHARACTERS

MAX_SIGNATURE_BYTES = 512  # of an RSA key of 4096 bits, the largest that `rsa_key_bits` makes
_USER_ID = "usr_" + "x" * 22
_TOKEN_ID = "x" * 22
_KID = "x" * 43
_INDEX = 2**20 - 1
_LIST = "9" * 22
_SECONDS = 9_999_999_999


class SizeBounds:
    """
    Counts what would be made of a user, for any algorithm, key and family of headers that these settings allow.

    Args:
        settings: Issuer, audience, client id and personal claims count for the token.
        signature_bytes: Of the largest key there is.
    """

    def __init__(self, settings: Settings, signature_bytes: int = MAX_SIGNATURE_BYTES) -> None:
        self._settings = settings
        self._signature_bytes = max(signature_bytes, MAX_SIGNATURE_BYTES)

    def check(self, email: str, name: str, roles: tuple[str, ...]) -> None:
        """
        Let a user through whose token and headers fit.

        Raises:
            CommandError: They do not; says which of name, roles and address takes most, and how many bytes too many.
        """
        if problem := self.problem(email, name, roles):
            raise CommandError(problem)

    def problem(self, email: str, name: str, roles: tuple[str, ...]) -> str | None:
        """Give what `check` would say of a user, or None."""
        characters = self.token_characters(email, name, roles)
        if characters > MAX_TOKEN_CHARACTERS:
            personal = {"email": email, "name": name}
            parts: dict[str, int] = {
                claim: len(msgspec.json.encode(personal[claim])) for claim in self._settings.access_token_claims
            }
            over_bytes = -(-3 * (characters - MAX_TOKEN_CHARACTERS) // 4)
            made = f"an access token would have {characters} characters, and at most {MAX_TOKEN_CHARACTERS} are taken"
            parts["roles"] = len(msgspec.json.encode(roles))
            return _told(parts, over_bytes, made)
        size_bytes = self.header_bytes(email, name, roles)
        if size_bytes > MAX_IDENTITY_HEADERS_BYTES:
            shares = {
                "email": 2 * len(encode_value(email)),
                "name": len(encode_value(name)),
                "roles": len(encode_value(",".join(roles))),
            }
            made = (
                f"the identity headers would have {size_bytes} bytes, percent-encoded, and at most "
                f"{MAX_IDENTITY_HEADERS_BYTES} get through proxies"
            )
            return _told(shares, size_bytes - MAX_IDENTITY_HEADERS_BYTES, made)
        return None

    def token_characters(self, email: str, name: str, roles: tuple[str, ...]) -> int:
        """Give the length of the longest access token that this user can get."""
        personal = {"email": email, "name": name}
        claims: dict[str, object] = {
            "iss": self._settings.issuer,
            "sub": _USER_ID,
            "aud": max((self._settings.audience, *self._settings.audiences), key=len),
            "client_id": self._settings.client_id,
            "iat": _SECONDS,
            "exp": _SECONDS,
            "jti": _TOKEN_ID,
            "sid": _TOKEN_ID,
            "auth_time": _SECONDS,
            "amr": ["pop", "user", "mfa", "hwk"],
            "status": {"status_list": {"idx": _INDEX, "uri": f"{self._settings.issuer_origin}{STATUS_PATH}/{_LIST}"}},
            "roles": roles,
            **{claim: personal[claim] for claim in self._settings.access_token_claims},
        }
        return token_characters(len(msgspec.json.encode(claims)), "Ed25519", _KID, self._signature_bytes)

    def header_bytes(self, email: str, name: str, roles: tuple[str, ...]) -> int:
        """Give the bytes of the longest identity headers that this user can get, names and line ends included."""
        values = [encode_value(value) for value in (email, ",".join(roles), name, email, _USER_ID)]
        return max(lines_bytes([one.encode() for one in names], values) for names in NAMES.values())


def _told(parts_bytes: dict[str, int], over_bytes: int, made: str) -> str:
    words = {"email": "e-mail address", "name": "name", "roles": "roles"}
    largest = max(parts_bytes, key=lambda part: parts_bytes[part])
    are = "are" if largest == "roles" else "is"
    shares = ", ".join(f"{words[part]} {size_bytes}" for part, size_bytes in parts_bytes.items())
    return f"the {words[largest]} {are} too long by {over_bytes} bytes: {made} (in bytes: {shares})"
