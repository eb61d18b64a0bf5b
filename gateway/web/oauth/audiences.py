"""For which audiences a client gets tokens and is told of them, and for which a token is that somebody shows."""

import msgspec

from gateway.machines import Client
from gateway.settings import Settings
from gateway.verifier.keys import decode_base64url
from gateway.verifier.verify import MAX_TOKEN_CHARACTERS


class _Audience(msgspec.Struct):
    aud: str


def audiences_of(client: Client, settings: Settings) -> tuple[str, ...]:
    """Give the audiences of a client for which tokens are made still, in its order."""
    return tuple(audience for audience in client.audiences if audience in (settings.audience, *settings.audiences))


def claimed_audience(token: str) -> str | None:
    """Give the `aud` of a token that nobody has verified yet; None where it has none that can be read."""
    if len(token) > MAX_TOKEN_CHARACTERS:
        return None
    try:
        _, payload, _ = token.split(".")
        return msgspec.json.decode(decode_base64url(payload), type=_Audience).aud
    except (ValueError, RecursionError):  # msgspec's errors are of these
        return None
