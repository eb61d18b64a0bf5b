"""Second factors as pages show them."""

import re
from typing import Any

from gateway.accounts import Factor, NewTotp
from gateway.clock import rfc3339
from gateway.state import GatewayRequest
from gateway.web.pages.moments import day_of, last_use

SECRET_GROUP_CHARACTERS = 4
RECOVERY = "recovery"
_ADDRESS = re.compile(r".*\.[0-9]+|\[.*\]|[0-9]+")


def can_have_passkeys(request: GatewayRequest) -> bool:
    """Tell whether passkeys are taken here: browsers make none for a host that is an address."""
    gateway = request.state["gateway"]
    return gateway.factors.logins.is_on and not _ADDRESS.fullmatch(gateway.settings.passkey_domain)


async def section_of_factors(request: GatewayRequest, user_id: str) -> dict[str, Any]:
    """Give what the account shows of them; nothing where they are off."""
    gateway = request.state["gateway"]
    if not gateway.factors.logins.is_on:
        return {"has_factors": False}
    factors, now = await gateway.factors.all(user_id), gateway.clock()
    # Recovery codes come last: they are no factor of their own.
    rows = [factor_row(factor, now) for factor in sorted(factors, key=lambda one: one.kind == RECOVERY)]
    kinds = {factor.kind for factor in factors}
    return {
        "has_factors": True,
        "factors": rows,
        "has_factor": bool(kinds - {RECOVERY}),
        "has_codes": RECOVERY in kinds,
        "can_have_passkeys": can_have_passkeys(request),
    }


def factor_row(factor: Factor, now: int) -> dict[str, Any]:
    """Give one of them."""
    return {
        "id": factor.factor_id,
        "kind": factor.kind,
        "name": factor.name,
        "created": day_of(factor.created_at),
        "created_at": rfc3339(factor.created_at),
        **last_use(factor.last_used_at, now),
        "left": factor.left,
        "is_readable": factor.is_readable,
        "is_nameable": factor.is_readable and factor.kind != RECOVERY,
    }


def app_to_set_up(new: NewTotp, name: str = "") -> dict[str, Any]:
    """Give what an authenticator app is to be given: a picture, and the same to be typed, in groups."""
    size = SECRET_GROUP_CHARACTERS
    return {
        "id": new.factor_id,
        "uri": new.otpauth_uri,
        "groups": [new.secret[start : start + size] for start in range(0, len(new.secret), size)],
        "name": name,
    }
