"""A machine client as it is stored: the fields of its hash, and what they say."""

from dataclasses import dataclass

from gateway.machines.client_keys import ClientKey, client_keys_of


@dataclass(frozen=True, repr=False)
class Client:
    """
    A client as stored. `created_at` is in whole seconds since the epoch.

    `audiences` are those for which it gets tokens, the first one where it asks for none. `stored_secrets` are the MACs
    of the newest secret and of the one before, empty where there is none; `jwks` its public keys. `version` is another
    text after each change. `cut_off` is empty but of a client whose removal was begun: the revocation of all that was
    issued to it.
    """

    client_id: str
    name: str
    roles: tuple[str, ...]
    audiences: tuple[str, ...]
    created_at: int
    stored_secrets: tuple[str, str]
    jwks: str
    version: str
    cut_off: str

    @property
    def secret_count(self) -> int:
        """Give how many secrets are good, 0 to 2."""
        return sum(bool(stored) for stored in self.stored_secrets)

    @property
    def key_ids(self) -> tuple[str, ...]:
        """Give the names of the keys that its secrets are kept under (`gateway.derived_keys`)."""
        return tuple(stored.partition(":")[0] for stored in self.stored_secrets if stored)

    @property
    def keys(self) -> tuple[ClientKey, ...]:
        """Give the public keys."""
        return client_keys_of(self.jwks)

    def __repr__(self) -> str:
        """Show the id alone."""
        return f"Client({self.client_id})"


def cut_off_of(client_id: str, second: str) -> str:
    """Give the revocation of all that was issued to a client until a second (`gateway.sessions.Revocations`)."""
    return f"{client_id} {second} "


def client_of(client_id: str, fields: dict[str, str]) -> Client:
    """Give the client whose hash has these fields."""
    return Client(
        client_id=client_id,
        name=fields["name"],
        roles=tuple(fields["roles"].split(",")) if fields["roles"] else (),
        audiences=tuple(fields["audiences"].split("\n")),
        created_at=int(fields["created_at"]),
        stored_secrets=(fields.get("secret", ""), fields.get("previous_secret", "")),
        jwks=fields.get("keys", ""),
        version=fields["version"],
        cut_off=cut_off_of(client_id, fields["removed"]) if "removed" in fields else "",
    )
