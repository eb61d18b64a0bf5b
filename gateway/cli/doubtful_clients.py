"""What `gateway check` tells of machine clients."""

from gateway.derived_keys import KeyChain
from gateway.state import Gateway


async def doubtful_clients(gateway: Gateway, keychain: KeyChain, max_named: int) -> list[str]:
    """Give warnings about secrets that need a previous secret, or one that is gone, and audiences that are gone."""
    settings = gateway.settings
    behind = lost = 0
    warnings = []
    async for client in gateway.clients.all():
        known = [keychain.find(key_id) for key_id in client.key_ids]
        behind += sum(keys is not None and keys is not keychain.current for keys in known)
        lost += known.count(None)
        if not {settings.audience, *settings.audiences} & {*client.audiences}:
            warnings.append(
                f"{client.client_id} gets no tokens: none of its audiences is in audience and audiences "
                f"({', '.join(client.audiences)})"
            )
    warnings = sorted(warnings)[:max_named]
    if behind:
        warnings.append(
            f"{behind} secrets of clients are kept under a previous secret: keep it in previous_secrets until they "
            "have been used"
        )
    if lost:
        warnings.append(
            f"{lost} secrets of clients are kept under a secret that is not set, and are no good: put it back into "
            "previous_secrets, or gateway clients new-secret CLIENT_ID"
        )
    return warnings
