"""GET and POST /auth/tokens, DELETE /auth/tokens/{id}: a user's personal tokens."""

from starlette.responses import Response

from gateway.clock import rfc3339
from gateway.machines import TokenEntry
from gateway.state import GatewayRequest
from gateway.web.api.wire import NewPersonalTokenBody, NewPersonalTokenRequest, PersonalTokenBody, PersonalTokensBody
from gateway.web.http import json_response, make_own_token, read_body, require_caller, revoke_own_token


async def list_tokens(request: GatewayRequest) -> Response:
    """Give the caller's personal tokens, newest first."""
    caller = await require_caller(request)
    entries = await request.state["gateway"].personal_tokens.all(caller.sub)
    return json_response(PersonalTokensBody([_row(entry) for entry in entries]))


async def make_token(request: GatewayRequest) -> Response:
    """Make one, and show it this once."""
    caller = await require_caller(request)
    body = await read_body(request, NewPersonalTokenRequest, form=False)
    text, entry = await make_own_token(request, caller, body.name, body.roles, body.days)
    row = _row(entry)
    return json_response(
        NewPersonalTokenBody(
            id=row.id,
            token=text,
            name=row.name,
            roles=row.roles,
            created_at=row.created_at,
            expires_at=row.expires_at,
            last_used_at=row.last_used_at,
        )
    )


async def revoke_personal_token(request: GatewayRequest) -> Response:
    """Revoke one of the caller's."""
    caller = await require_caller(request)
    await revoke_own_token(request, caller, request.path_params["id"])
    return Response(status_code=204)


def _row(entry: TokenEntry) -> PersonalTokenBody:
    return PersonalTokenBody(
        id=entry.token_id,
        name=entry.name,
        roles=entry.roles,
        created_at=rfc3339(entry.created_at),
        expires_at=rfc3339(entry.expires_at),
        last_used_at=None if entry.last_used_at is None else rfc3339(entry.last_used_at),
    )
