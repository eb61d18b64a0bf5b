"""What everybody may read."""

from typing import Annotated

import msgspec

from gateway.errors import NotFound, NotReady, StoreUnavailable
from gateway.web.openapi.operations import PROBLEM, Answer, Operation, json_answer
from gateway.web.public import StatusBody

KEYS, LISTS, HEALTH, DESCRIPTION = "Public keys", "Status lists", "Operations", "Description"
KNOWN = Answer("Who asks has it already.", headers=("ETag",))
_Address = Annotated[str, msgspec.Meta(extra_json_schema={"format": "uri"})]
_Time = Annotated[str, msgspec.Meta(description="A time in the past, of which nothing is known here.")]


class JsonWebKey(msgspec.Struct):
    """A public key (RFC 7517 section 4); other members are those of its kind."""

    kty: str
    use: str
    alg: str
    kid: str


class JsonWebKeySet(msgspec.Struct):
    """The public keys (RFC 7517 section 5): the current one first, then the next, then those that retire."""

    keys: tuple[JsonWebKey, ...]


class Metadata(msgspec.Struct, kw_only=True):
    """Authorization server metadata (RFC 8414 section 2), and what common clients insist on."""

    issuer: _Address
    jwks_uri: _Address
    token_endpoint: _Address
    introspection_endpoint: _Address
    revocation_endpoint: _Address
    grant_types_supported: tuple[str, ...]
    response_types_supported: tuple[str, ...]
    subject_types_supported: tuple[str, ...]
    id_token_signing_alg_values_supported: tuple[str, ...]
    token_endpoint_auth_methods_supported: tuple[str, ...]
    token_endpoint_auth_signing_alg_values_supported: tuple[str, ...]
    introspection_endpoint_auth_methods_supported: tuple[str, ...]
    introspection_endpoint_auth_signing_alg_values_supported: tuple[str, ...]
    revocation_endpoint_auth_methods_supported: tuple[str, ...]
    revocation_endpoint_auth_signing_alg_values_supported: tuple[str, ...]
    status_list_aggregation_endpoint: _Address | msgspec.UnsetType = msgspec.UNSET


class ListAddresses(msgspec.Struct):
    """Addresses of status lists (draft-ietf-oauth-status-list section 9.3)."""

    status_lists: tuple[_Address, ...]


class UnsupportedTime(msgspec.Struct):
    """Nothing is known of lists of the past (draft-ietf-oauth-status-list section 8.4)."""

    type: str
    title: str
    status: int
    detail: str


class TimeOfList(msgspec.Struct):
    """The query of a status list."""

    time: _Time | msgspec.UnsetType = msgspec.UNSET


_METADATA = {200: json_answer("What there is, and nothing that does not work.", Metadata)}
OPERATIONS: dict[str, Operation] = {
    "GET /.well-known/jwks.json": Operation(
        "give_keys",
        KEYS,
        "Read the public keys",
        {200: json_answer("The keys.", JsonWebKeySet, headers=("ETag",)), 304: KNOWN},
    ),
    "GET /.well-known/oauth-authorization-server": Operation("give_metadata", KEYS, "Read the metadata", _METADATA),
    "GET /.well-known/openid-configuration": Operation(
        "give_metadata_again", KEYS, "Read the same, for clients that look here", _METADATA
    ),
    "GET /status/lists": Operation(
        "list_status_lists",
        LISTS,
        "List the status lists that are known here",
        {200: json_answer("Their addresses.", ListAddresses)},
        (NotFound,),
    ),
    "GET /status/{number}": Operation(
        "give_status_list",
        LISTS,
        "Read which sessions were ended",
        {
            200: Answer("A Status List Token.", media_types=("application/statuslist+jwt",), headers=("ETag",)),
            304: KNOWN,
            501: Answer("There are no lists of the past.", (UnsupportedTime,), (PROBLEM,)),
        },
        (NotFound, StoreUnavailable),
        query=TimeOfList,
    ),
    "GET /livez": Operation(
        "livez", HEALTH, "Ask whether the process serves", {200: json_answer("It does.", StatusBody)}
    ),
    "GET /readyz": Operation(
        "readyz",
        HEALTH,
        "Ask whether it should get requests",
        {200: json_answer("It should.", StatusBody)},
        (NotReady,),
    ),
    "GET /openapi.json": Operation(
        "give_description",
        DESCRIPTION,
        "Read this description",
        {200: json_answer("An OpenAPI document.", dict[str, object], headers=("ETag",)), 304: KNOWN},
    ),
}
