"""The claims of an access token, as RFC 9068 and the gateway's contract name them."""

import re
from typing import Annotated, Final

import msgspec

LARGEST_EXACT_INTEGER = 2**53 - 1
"""The largest integer that every JSON reader keeps exact (RFC 8259 section 6)."""

_CLAIM_IN_MESSAGE: Final = re.compile(r"`(?:\$\.)?([a-z_]+)(?:[.\[][^`]*)?`\Z")

_Text = Annotated[str, msgspec.Meta(min_length=1)]
_Seconds = Annotated[int, msgspec.Meta(ge=0, le=LARGEST_EXACT_INTEGER)]


class StatusListReference(msgspec.Struct, frozen=True, kw_only=True):
    """Where a Token Status List tells of this token: position `idx`, from 0, in the list at `uri`."""

    idx: Annotated[int, msgspec.Meta(ge=0, le=LARGEST_EXACT_INTEGER)]
    uri: _Text


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What the claim `status` says (draft-ietf-oauth-status-list section 6.1)."""

    status_list: StatusListReference | None = None


class AccessClaims(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a verified access token says about its bearer.

    All times are whole seconds since the epoch. `sub` is the user, `sid` the session (the same for all access
    tokens of one login), `jti` this one token, `client_id` the application that the user logged in to. The token of a
    machine client has its `client_id` as `sub` too, and no `sid`, which is empty then; no other has none.
    `auth_time` is when the password was given (0 when the token does not say, which is the strict reading),
    `amr` how (RFC 8176), `roles` what the user may do. `email` and `name` are there when the gateway is
    configured to tell them. `status` names the list that tells whether the session was revoked. Claims with other
    names are ignored.
    """

    iss: str
    sub: _Text
    aud: str
    client_id: _Text
    iat: _Seconds
    exp: _Seconds
    jti: _Text
    sid: _Text = ""
    auth_time: _Seconds = 0
    amr: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    email: str | None = None
    name: str | None = None
    nbf: _Seconds | None = None
    status: Status | None = None

    @property
    def is_of_client(self) -> bool:
        """Whether a machine client has this token for itself: there is no user, no session and no login."""
        return not self.sid


def claim_in(error: msgspec.ValidationError) -> str:
    """Give the name of the claim that an error of a decoder is about; "?" where it names none."""
    claim = _CLAIM_IN_MESSAGE.search(str(error))
    return claim[1] if claim else "?"
