"""Each method of each path as OpenAPI has it: an operation, its parameters, its body, its responses."""

import re
from typing import Any

from starlette.routing import Route

from gateway.errors import (
    GatewayError,
    HeadersTooLarge,
    InternalError,
    MalformedRequest,
    PayloadTooLarge,
    TooManyConnections,
)
from gateway.web.openapi.headers import header_references
from gateway.web.openapi.operations import OR_OTHERWISE, Answer, Operation
from gateway.web.openapi.problems import refusal, refusal_name
from gateway.web.openapi.schemas import Schemas

Schema = dict[str, Any]
SUBREQUESTS = "/api/authz/"
ANY_TEXT = "(?s:.*)"  # no regular expression of ECMA-262, which JSON Schema has
_EVERYWHERE: tuple[type[GatewayError], ...] = (
    MalformedRequest,
    PayloadTooLarge,
    HeadersTooLarge,
    InternalError,
    TooManyConnections,
)
_CONVERTOR = re.compile(r":\w+}")


def template_of(route: Route) -> str:
    """Give the path of a route as a template, without the kinds of its parameters."""
    return _CONVERTOR.sub("}", route.path)


class Paths:
    """
    Collects the operations of all paths.

    Attributes:
        paths: `paths`.
        responses: `components.responses`: what is refused looks the same in many operations.
    """

    def __init__(self, schemas: Schemas) -> None:
        self.paths: dict[str, Schema] = {}
        self.responses: dict[str, Schema] = {}
        self._schemas = schemas

    def add(self, route: Route, method: str, operations: list[Operation]) -> None:
        """Add one method of one path, for which there are several operations where people and programs share it."""
        template, first = template_of(route), operations[0]
        described: Schema = {
            "operationId": first.name if route.methods else f"{first.name}_{method.lower()}",
            "tags": [first.tag],
            "summary": first.summary,
            "description": "\n\n".join(operation.details for operation in operations if operation.details),
            "parameters": [*_path_parameters(route), *self._query_parameters(operations)],
            "responses": self._responses(template, operations),
            "security": _security(operations),
        }
        if body := self._request_body(operations):
            described["requestBody"] = body
        self.paths.setdefault(template, {})[method.lower()] = {
            name: value for name, value in described.items() if value or name == "security"
        }

    def refusal(self, status: int, kinds: list[type[GatewayError]], *, is_page: bool = False) -> Schema:
        """Give the response to what is refused with a status."""
        name = refusal_name(status, kinds, is_page=is_page)
        if name not in self.responses:
            self.responses[name] = refusal(status, kinds, is_page=is_page)
        return {"$ref": f"#/components/responses/{name}"}

    def _responses(self, template: str, operations: list[Operation]) -> Schema:
        refused: dict[int, list[type[GatewayError]]] = {}
        pages = {kind.status for operation in operations if operation.is_page for kind in operation.refuses}
        everywhere = (TooManyConnections,) if template.startswith(SUBREQUESTS) else _EVERYWHERE
        for kind in (*(kind for operation in operations for kind in operation.refuses), *everywhere):
            refused.setdefault(kind.status, []).append(kind)
        responses = {status: self.refusal(status, kinds, is_page=status in pages) for status, kinds in refused.items()}
        for operation in operations:
            for status, answer in operation.gives.items():
                given = self._answer(answer)
                if status in responses:
                    given = _both(self._resolved(responses[status]), given)
                responses[status] = given
        return {str(status): responses[status] for status in sorted(responses)}

    def _answer(self, answer: Answer) -> Schema:
        text: Schema = {"type": "string"}
        given: Schema = {
            "description": answer.what,
            "headers": header_references(("X-Request-Id", *answer.headers)),
            "content": {
                media_type: {"schema": self._schemas.of(answer.bodies) if answer.bodies else text}
                for media_type in answer.media_types
            },
        }
        return {name: value for name, value in given.items() if value}

    def _resolved(self, response: Schema) -> Schema:
        name = response.get("$ref", "").rpartition("/")[2]
        return self.responses[name] if name else response

    def _request_body(self, operations: list[Operation]) -> Schema | None:
        content: Schema = {}
        is_required = False
        for takes in (operation.takes for operation in operations if operation.takes):
            is_required |= self._schemas.is_required(takes)
            for media_type in takes.media_types:
                schema = self._schemas.taken(takes, media_type)
                known = content.get(media_type)
                content[media_type] = {"schema": {"anyOf": [known["schema"], schema]} if known else schema}
        return {"required": is_required, "content": content} if content else None

    def _query_parameters(self, operations: list[Operation]) -> list[Schema]:
        return [
            parameter
            for operation in operations
            if operation.query
            for parameter in self._schemas.parameters(operation.query)
        ]


def _both(one: Schema, other: Schema) -> Schema:
    """Give a response that is either of two; a header field of one alone may be missing."""
    given: Schema = {"description": f"{other['description']} {one['description']}"}
    given["headers"] = one.get("headers", {}) | other.get("headers", {})
    if content := _both_contents(one.get("content", {}), other.get("content", {})):
        given["content"] = content
    return given


def _both_contents(one: Schema, other: Schema) -> Schema:
    contents = dict(one)
    for media_type, content in other.items():
        known = contents.get(media_type)
        if known is None or known == content:
            contents[media_type] = content
        else:
            contents[media_type] = {"schema": {"anyOf": [known["schema"], content["schema"]]}}
    return contents


def _path_parameters(route: Route) -> list[Schema]:
    parameters = []
    for name, convertor in route.param_convertors.items():
        schema: Schema = {"type": "string"}
        if convertor.regex != ANY_TEXT:
            schema["pattern"] = f"^{convertor.regex}$"
        parameters.append({"name": name, "in": "path", "required": True, "schema": schema})
    return parameters


def _security(operations: list[Operation]) -> list[Schema]:
    shown = dict.fromkeys(scheme for operation in operations for scheme in operation.shows)
    is_optional = OR_OTHERWISE in shown or any(not operation.shows for operation in operations)
    schemes: list[Schema] = [{scheme: []} for scheme in shown if scheme != OR_OTHERWISE]
    return [*schemes, {}] if schemes and is_optional else schemes
