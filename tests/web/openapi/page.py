"""
docs/api.md: the OpenAPI document as a page that needs no script.

    python -m tests.web.openapi.page          prints the page
    python -m tests.web.openapi.page json     prints the document
"""

import json
import re
import sys
from collections.abc import Iterator
from typing import Any

from tests.described import document_for, resolve

ISSUER = "https://auth.example.com"
EVERYWHERE = (
    "400.malformed-request",
    "413.payload-too-large",
    "431.headers-too-large",
    "500.internal-error",
    "503.overloaded",
)
ANSWERS = ("| status | body | headers | |", "| --- | --- | --- | --- |")
Node = dict[str, Any]


def page(document: Node) -> str:
    """Give the page."""
    return "\n".join(_lines(document)) + "\n"


def the_document() -> Node:
    """Give the document that the page is made of: that of a gateway with the settings of the beginning."""
    return document_for(issuer=ISSUER)


def _lines(document: Node) -> Iterator[str]:
    info = document["info"]
    yield "# API"
    yield ""
    yield (
        "Every operation with what it takes, gives and refuses, made by `make openapi` of the document that each "
        f"gateway gives at `/openapi.json` (OpenAPI {document['openapi']}): that of a gateway with the issuer "
        f"`{ISSUER}` and all else as it is without settings. [http.md](http.md) says the same in sentences, with "
        "examples."
    )
    yield ""
    yield info["description"]
    yield ""
    yield "## Ways to show who asks"
    yield ""
    yield "| | as | |"
    yield "| --- | --- | --- |"
    for name, scheme in document["components"]["securitySchemes"].items():
        shown = f"cookie `{scheme['name']}`" if scheme["type"] == "apiKey" else f"`{scheme['scheme'].capitalize()}`"
        yield f"| {name} | {shown} | {_cell(scheme['description'])} |"
    yield ""
    yield "## Refused everywhere"
    yield ""
    yield "Whatever is asked for, subrequests excepted."
    yield ""
    yield from ANSWERS
    for name in EVERYWHERE:
        yield _answer(document, name.partition(".")[0], {"$ref": f"#/components/responses/{name}"})
    for tag in document["tags"]:
        yield ""
        yield f"## {tag['name']}"
        for path, operations in document["paths"].items():
            yield from _operations(document, tag["name"], path, operations)
    yield ""
    yield "## Headers"
    yield ""
    yield "| field | always | |"
    yield "| --- | --- | --- |"
    for name, header in document["components"]["headers"].items():
        if not name.startswith(("Client-", "Login-")):
            yield f"| `{name}` | {'yes' if header['required'] else ''} | {_cell(header['description'])} |"
    yield ""
    yield "## Schemas"
    for name, schema in document["components"]["schemas"].items():
        yield from _schema(name, schema)


def _operations(document: Node, tag: str, path: str, operations: Node) -> Iterator[str]:
    ours = {method: operation for method, operation in operations.items() if operation["tags"] == [tag]}
    if len(ours) > 4:
        yield from _operation(document, "ANY", path, ours["get"])
    else:
        for method, operation in ours.items():
            yield from _operation(document, method.upper(), path, operation)


def _operation(document: Node, method: str, path: str, operation: Node) -> Iterator[str]:
    yield ""
    yield f"### {method} {path}"
    yield ""
    yield f"{operation['summary']}."
    if "description" in operation:
        yield ""
        yield operation["description"]
    yield ""
    shown = [" and ".join(way) or "nothing, or a member of the body" for way in operation["security"]]
    yield f"- Shows who asks by {' or '.join(shown)}." if shown else "- Open to everybody."
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        yield f"- Takes `{media_type}`: {_type(content['schema'])}."
    if parameters := operation.get("parameters"):
        yield ""
        yield "| parameter | in | type | |"
        yield "| --- | --- | --- | --- |"
        for one in parameters:
            what = _cell(one.get("description", ""))
            yield f"| `{one['name']}` | {one['in']} | {_type(one['schema'])} | {what} |"
    yield ""
    yield from ANSWERS
    for status, reference in operation["responses"].items():
        if reference.get("$ref", "").rpartition("/")[2] not in EVERYWHERE:
            yield _answer(document, status, reference)


def _answer(document: Node, status: str, reference: Node) -> str:
    response = resolve(document, reference)
    bodies = [
        f"`{media_type}`" + (f": {_type(content['schema'])}" if content["schema"] != {"type": "string"} else "")
        for media_type, content in response.get("content", {}).items()
    ]
    headers = ", ".join(f"`{name}`" for name in response.get("headers", {}) if name != "X-Request-Id")
    return f"| {status} | {'; '.join(bodies)} | {headers} | {_cell(response['description'])} |"


def _schema(name: str, schema: Node) -> Iterator[str]:
    yield ""
    yield f"### {name}"
    if "description" in schema:
        yield ""
        yield _cell(schema["description"])
    if "properties" not in schema:
        return
    yield ""
    if not schema["properties"]:
        yield "No members."
        return
    yield "| member | type | required | |"
    yield "| --- | --- | --- | --- |"
    for member, kind in schema["properties"].items():
        is_required = "yes" if member in schema.get("required", []) else ""
        yield f"| `{member}` | {_type(kind)} | {is_required} | {_cell(kind.get('description', ''))} |"


def _type(schema: Node) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{re.sub(r'[^a-z0-9_-]', '', name.lower())})"
    if choices := schema.get("oneOf", schema.get("anyOf")):
        return " or ".join(_type(choice) for choice in choices)
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return " or ".join(f"`{json.dumps(value)}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"array of {_type(schema['items'])}" if "items" in schema else "array"
    kind = str(schema.get("type", "any"))
    if "pattern" in schema:
        kind += f", `{schema['pattern']}`"
    bounds = {"from": schema.get("minimum"), "to": schema.get("maximum")}
    return " ".join([kind, *(f"{word} {bound}" for word, bound in bounds.items() if bound is not None)])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    if sys.argv[1:] == ["json"]:
        print(json.dumps(the_document(), indent=2, ensure_ascii=False))
    else:
        print(page(the_document()), end="")
