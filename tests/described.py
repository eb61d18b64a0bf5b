"""Every answer that a test gets from a gateway is one that its OpenAPI document describes."""

import functools
import json
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import unquote

import httpx2
import msgspec

from gateway.settings import load_settings
from gateway.telemetry import endpoint_of
from gateway.web.openapi.document import document_of
from gateway.web.routes import ROUTES, ROUTES_WITHOUT_PORTAL

PROBLEM = "application/problem+json"
PREFIX = "urn:token-gateway:problem:"
# What may befall any request, before it is known what it asks for.
OF_NO_OPERATION = {
    400: "malformed-request",
    404: "not-found",
    405: "method-not-allowed",
    413: "payload-too-large",
    431: "headers-too-large",
    500: "internal-error",
    503: "overloaded",
}
Document = dict[str, Any]


class Described(NamedTuple):
    """A response: the media types of its body, and the `type` of each problem."""

    media_types: frozenset[str]
    problems: frozenset[str]


@functools.cache
def document_for(**settings: str) -> Document:
    """Give the document of a gateway with these settings, as it goes out."""
    given = load_settings({}, {f"GATEWAY_{name.upper()}": value for name, value in settings.items()}).settings
    routes = ROUTES if given.portal == "on" else ROUTES_WITHOUT_PORTAL
    document: Document = json.loads(msgspec.json.encode(document_of(given, routes)))
    return document


@functools.cache
def described(portal: str) -> dict[tuple[str, str], dict[int, Described]]:
    """Give the responses of each method and path, by their status."""
    document = document_for(portal=portal)
    return {
        (method.upper(), path): {
            int(status): _described(document, response) for status, response in operation["responses"].items()
        }
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }


def check_described(answer: httpx2.Response, portal: str = "on") -> None:
    """Fail unless the document describes the answer: path, method, status, media type, and the `type` of a problem."""
    table, asked = described(portal), answer.request
    path = unquote(asked.url.raw_path.partition(b"?")[0]).removesuffix("\n")  # as the route table reads it
    endpoint = endpoint_of(path)
    method = "GET" if asked.method == "HEAD" and ("HEAD", endpoint) not in table else asked.method
    responses = table.get((method, endpoint))
    what = f"{asked.method} {endpoint} {answer.status_code}"
    media_type = answer.headers.get("content-type", "").partition(";")[0]
    if responses is None:
        is_preflight = asked.method == "OPTIONS" and "origin" in asked.headers and answer.status_code == 204
        assert is_preflight or answer.status_code in OF_NO_OPERATION, f"{what}: there is no such operation"
        if asked.method != "HEAD" and not is_preflight:
            assert _kind(answer) == PREFIX + OF_NO_OPERATION[answer.status_code], what
        return
    response = responses.get(answer.status_code)
    assert response is not None, f"{what}: this status is not described"
    if asked.method == "HEAD":
        return
    known = response.media_types or {""}
    assert media_type in known, f"{what}: the body is {media_type or 'nothing'}, and described is {known}"
    if media_type == PROBLEM and response.problems:
        assert _kind(answer) in response.problems, f"{what}: {_kind(answer)} is not described"


def _kind(answer: httpx2.Response) -> str:
    kind: str = json.loads(answer.read())["type"]
    return kind


def _described(document: Document, response: Document) -> Described:
    contents = resolve(document, response).get("content", {})
    problems = contents.get(PROBLEM, {}).get("schema", {})
    return Described(frozenset(contents), frozenset(_types(document, problems)))


def _types(document: Document, schema: Document) -> Iterator[str]:
    choices: list[Document] = schema.get("oneOf") or schema.get("anyOf") or [schema]
    for one in choices:
        if "const" in (kind := resolve(document, one).get("properties", {}).get("type", {})):
            yield kind["const"]


def resolve(document: Document, node: Document) -> Document:
    """Give what a reference refers to; what is none as it is."""
    while "$ref" in node:
        found: Any = document
        for part in node["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        node = found
    return node
