"""
The secrets of machine clients: `gws_` and 48 characters, base64url of 256 random bits and their CRC-32.

Redis has an HMAC-SHA-256 of each, over the client id and the secret: enough for what nobody can guess, and so cheap
that no flood of wrong ones costs more than the requests themselves. The checksum, over `gws_` and the random octets,
big-endian, lets scanners of source code tell a secret from a text that looks like one.
"""

import base64
import hmac
import secrets
import zlib
from collections.abc import Callable
from typing import NamedTuple

from gateway.derived_keys import DerivedKeys, KeyChain

PREFIX = "gws_"
RANDOM_BYTES, CHECKSUM_BYTES = 32, 4


class Match(NamedTuple):
    """Which of the stored secrets was shown, and how it is stored under the keys in use now."""

    place: int
    renewed: str


def new_client_secret(new_random: Callable[[int], bytes] = secrets.token_bytes) -> str:
    """Give a secret of 256 random bits."""
    octets = new_random(RANDOM_BYTES)
    return PREFIX + base64.urlsafe_b64encode(octets + _checksum(octets)).decode()


def stored_secret(secret: str, client_id: str, keys: DerivedKeys) -> str:
    """Give what is kept of a secret: the name of the key and the MAC."""
    said = f"{client_id}\n{secret}".encode("utf-8", "surrogatepass")
    return f"{keys.key_id}:{hmac.digest(keys.client_secret_mac, said, 'sha256').hex()}"


def match_secret(shown: str, client_id: str, stored: tuple[str, str], keychain: KeyChain) -> Match | None:
    """
    Tell which of the stored secrets was shown; None for neither.

    Takes as long for a wrong one, and where nothing is stored.
    """
    made = [stored_secret(shown, client_id, keys) for keys in keychain]
    places = [
        place for one in made for place, known in enumerate(stored) if hmac.compare_digest(one, known or "-" * len(one))
    ]
    return Match(places[0], made[0]) if places else None


def _checksum(octets: bytes) -> bytes:
    return zlib.crc32(PREFIX.encode() + octets).to_bytes(CHECKSUM_BYTES, "big")
