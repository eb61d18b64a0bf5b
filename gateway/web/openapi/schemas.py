"""The schemas of bodies and parameters, from the types that decode and encode them (JSON Schema 2020-12)."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from gateway.web.openapi.operations import FORM, Takes

Schema = dict[str, Any]
TEMPLATE = "#/components/schemas/{name}"
_TEXT: Schema = {"type": "string"}


class Schemas:
    """
    The schemas of all types that operations name.

    Attributes:
        components: `components.schemas`; those of forms come to it as they are asked for.
    """

    def __init__(self, kinds: Iterable[Any]) -> None:
        distinct = list(dict.fromkeys(kinds))
        schemas, self.components = msgspec.json.schema_components(
            distinct, schema_hook=_any_json, ref_template=TEMPLATE
        )
        self._by_kind: dict[Any, Schema] = dict(zip(distinct, schemas, strict=True))
        for schema in self.components.values():
            _on_one_line(schema)

    def of(self, kinds: tuple[Any, ...]) -> Schema:
        """Give the schema of a body that is any one of these."""
        known = [self._by_kind[kind] for kind in kinds]
        return known[0] if len(known) == 1 else {"anyOf": known}

    def taken(self, takes: Takes, media_type: str) -> Schema:
        """Give the schema of a request body."""
        self._members(takes.kind).update(takes.also)
        return self._form(takes) if media_type == FORM else self.of((takes.kind,))

    def is_required(self, takes: Takes) -> bool:
        """Tell whether a body has to be there: no body at all is one without members."""
        return bool(takes.also or self._members(takes.kind)["required"])

    def parameters(self, kind: type) -> list[Schema]:
        """Give the parameters of a query that is described by a struct."""
        members = self._members(kind)
        return [
            {
                "name": name,
                "in": "query",
                "description": schema.pop("description", ""),
                "required": name in members["required"],
                "schema": schema,
            }
            for name, schema in ((name, dict(schema)) for name, schema in members["properties"].items())
        ]

    def forget(self, kinds: Iterable[type]) -> None:
        """Take the structs of queries out: nothing refers to them."""
        for kind in kinds:
            self.components.pop(_name(self._by_kind[kind]), None)

    def _members(self, kind: type) -> Schema:
        members: Schema = self.components[_name(self._by_kind[kind])]
        return members

    def _form(self, takes: Takes) -> Schema:
        """
        Give the schema of a form: those members that a text can be, and what is let through unread. What a type does
        not know and does not forbid may come once, too.
        """
        name, members = f"{_name(self._by_kind[takes.kind])}.form", self._members(takes.kind)
        properties = {
            field: text for field, schema in members["properties"].items() if (text := _as_text(schema)) is not None
        }
        self.components[name] = {
            "additionalProperties": _TEXT,
            **{key: value for key, value in members.items() if key not in ("properties", "title")},
            "properties": properties | {field: _TEXT for field in sorted(takes.ignored)},
        }
        return {"$ref": TEMPLATE.format(name=name)}


def _as_text(schema: Schema) -> Schema | None:
    """Give what a member may be in a form: a text, or texts that come one by one; None where it can be neither."""
    for choice in schema.get("anyOf", [schema]):
        if choice.get("type") in ("string", "array") or "enum" in choice:
            return {key: value for key, value in choice.items() if key != "default"}
    return None


def _name(reference: Mapping[str, Any]) -> str:
    name: str = reference["$ref"].rpartition("/")[2]
    return name


def _any_json(kind: type) -> Schema:
    if kind is object:
        return {"description": "Any JSON."}
    raise NotImplementedError


def _on_one_line(schema: Schema) -> None:
    """Undo the line breaks that a docstring has within its paragraphs; `title` says no more than the name does."""
    schema.pop("title", None)
    if "description" in schema:
        paragraphs = schema["description"].split("\n\n")
        schema["description"] = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
