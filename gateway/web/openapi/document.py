"""
The OpenAPI document of a gateway (OpenAPI 3.1.1): its route table, and what the tables of this room say of each row.

It describes the gateway that gives it: without the portal there are no pages in it, and names of cookies and header
fields are those of its settings. HEAD, which every GET has, is not told apart.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from starlette.routing import BaseRoute, Route

from gateway import __version__
from gateway.errors import (
    GatewayError,
    MethodNotAllowed,
    NotFound,
)
from gateway.settings import Settings
from gateway.web.openapi import api, oauth, pages, public, subrequest
from gateway.web.openapi.headers import described_headers, security_schemes
from gateway.web.openapi.operations import Operation
from gateway.web.openapi.paths import Paths, template_of
from gateway.web.openapi.problems import problem_schemas
from gateway.web.openapi.schemas import Schemas

Schema = dict[str, Any]
VERSION = "3.1.1"
METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE")
"""All that the document has a word for, where a path takes any."""
_OF_NO_OPERATION: tuple[type[GatewayError], ...] = (NotFound, MethodNotAllowed)
_DESCRIPTION = """\
Logins, sessions, tokens, and verdicts on the requests of others.

Bodies are UTF-8 JSON of at most 16 KiB, where nothing else is said. Errors are problems (RFC 9457): go by `type` and \
`status`; new ones may come. An unknown path is 404 `not-found`, another method 405 `method-not-allowed` with `Allow`; \
HEAD is as GET. Preflights (OPTIONS) of allowed origins are answered under `/auth/`, those of all origins for what \
everybody may read. Unsafe methods that rely on a cookie, and logins, have to come from where they may: else 403 \
`cross-site-request`."""


def document_of(settings: Settings, routes: Iterable[BaseRoute]) -> Schema:
    """
    Give the document.

    Args:
        routes: Those of the gateway: each of its methods has an operation in one of the tables.

    Raises:
        KeyError: One has none.
    """
    rows = list(_rows(settings, routes))
    schemas = Schemas(kind for _, _, operations in rows for operation in operations for kind in _kinds(operation))
    assembled = Paths(schemas)
    for route, method, operations in rows:
        assembled.add(route, method, operations)
    schemas.forget(operation.query for _, _, operations in rows for operation in operations if operation.query)
    for kind in _OF_NO_OPERATION:
        assembled.refusal(kind.status, [kind])
    tags = dict.fromkeys(operation.tag for operations in operations_of(settings).values() for operation in operations)
    return {
        "openapi": VERSION,
        "info": {
            "title": "token-gateway",
            "version": __version__,
            "summary": "A login and token gateway",
            "description": _DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": settings.issuer_origin}],
        "tags": [{"name": tag} for tag in tags],
        "paths": assembled.paths,
        "components": {
            "schemas": dict(sorted((schemas.components | problem_schemas()).items())),
            "responses": dict(sorted(assembled.responses.items())),
            "headers": described_headers(settings),
            "securitySchemes": security_schemes(settings),
        },
    }


def operations_of(settings: Settings) -> dict[str, list[Operation]]:
    """Give what is said of each method and path: where people and programs share one, the operations of both."""
    tables = [api.OPERATIONS, oauth.OPERATIONS, subrequest.operations(settings), public.OPERATIONS]
    if settings.portal == "on":
        tables.append(pages.OPERATIONS)
    said: dict[str, list[Operation]] = {}
    for table in tables:
        for row, operation in table.items():
            said.setdefault(row, []).append(operation)
    return said


def _rows(settings: Settings, routes: Iterable[BaseRoute]) -> Iterator[tuple[Route, str, list[Operation]]]:
    said = operations_of(settings)
    for route in routes:
        assert isinstance(route, Route)  # noqa: S101 - the table has no other ones
        if route.methods is None:
            for method in METHODS:
                yield route, method, said[f"ANY {template_of(route)}"]
        else:
            for method in sorted(route.methods - {"HEAD"}):
                yield route, method, said[f"{method} {template_of(route)}"]


def _kinds(operation: Operation) -> Iterator[Any]:
    for answer in operation.gives.values():
        yield from answer.bodies
    if operation.takes:
        yield operation.takes.kind
    if operation.query:
        yield operation.query
