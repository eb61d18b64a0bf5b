"""Personal tokens as the account shows them."""

from typing import Any

from gateway.clock import rfc3339
from gateway.machines import TokenEntry
from gateway.state import GatewayRequest
from gateway.web.pages.moments import day_of, last_use


async def section_of_tokens(request: GatewayRequest, user_id: str) -> dict[str, Any]:
    """Give what the account shows of them, the newest first."""
    gateway = request.state["gateway"]
    now = gateway.clock()
    return {"tokens": [token_row(entry, now) for entry in await gateway.personal_tokens.all(user_id)]}


def token_row(entry: TokenEntry, now: int) -> dict[str, Any]:
    """Give one of them."""
    return {
        "id": entry.token_id,
        "name": entry.name,
        "roles": entry.roles,
        "has_all_roles": entry.has_all_roles,
        "created": day_of(entry.created_at),
        "created_at": rfc3339(entry.created_at),
        "ends": day_of(entry.expires_at),
        "ends_at": rfc3339(entry.expires_at),
        **last_use(entry.last_used_at, now),
    }
