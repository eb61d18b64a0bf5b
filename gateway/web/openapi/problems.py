"""What is refused, and how that looks: from the types of errors (RFC 9457; RFC 6749 section 5.2 under /oauth/)."""

import inspect
from collections.abc import Iterable
from typing import Any

from gateway import errors
from gateway.errors import GatewayError, NotReady, OAuthError, PasswordRejected, SecondFactorRequired
from gateway.web.http import PROBLEM_TYPE_PREFIX
from gateway.web.openapi.headers import header_references
from gateway.web.openapi.operations import HTML, JSON, PROBLEM, RATE_HEADERS

Schema = dict[str, Any]
_OPTIONS = {"type": "object", "description": "For `PublicKeyCredential.parseRequestOptionsFromJSON()`."}
_MEMBERS: dict[type[GatewayError], tuple[Schema, list[str]]] = {
    SecondFactorRequired: (
        {
            "methods": {"type": "array", "items": {"enum": ["passkey", "totp", "recovery"]}},
            "pending": {"type": "string"},
            "publicKey": _OPTIONS,
        },
        ["methods", "pending"],
    ),
    PasswordRejected: (
        {
            "reasons": {
                "type": "array",
                "items": {"enum": ["too_short", "too_long", "common", "contains_email", "unchanged"]},
            }
        },
        ["reasons"],
    ),
    NotReady: (
        {"failing": {"type": "array", "items": {"enum": ["redis", "keyring", "revocations"]}}},
        ["failing"],
    ),
}
_HEADERS: dict[int, tuple[str, ...]] = {
    401: ("WWW-Authenticate",),
    405: ("Allow",),
    429: ("Retry-After", *RATE_HEADERS),
    503: ("Retry-After",),
}
_TEXT: Schema = {"type": "string"}


def all_errors() -> list[type[GatewayError]]:
    """Give every type of error that is an answer."""
    return [
        kind
        for kind in vars(errors).values()
        if inspect.isclass(kind) and issubclass(kind, GatewayError) and hasattr(kind, "slug")
    ]


def schema_name(kind: type[GatewayError]) -> str:
    """Give the name of the schema of an error: those of one name have one `type` and one status."""
    return f"oauth-{kind.code}" if issubclass(kind, OAuthError) else f"{kind.slug}-{kind.status}"


def problem_schemas() -> dict[str, Schema]:
    """Give the schemas of all errors."""
    schemas: dict[str, Schema] = {}
    for kind in all_errors():
        schemas.setdefault(schema_name(kind), _schema(kind))
    return schemas


def refusal(status: int, kinds: Iterable[type[GatewayError]], *, is_page: bool = False) -> Schema:
    """
    Give the response of a status to what is refused with it.

    Args:
        is_page: Whether a person gets a page; what is no request of his has a problem all the same.
    """
    of_oauth, problems = _names(kinds, is_oauth=True), _names(kinds, is_oauth=False)
    content: Schema = {}
    if problems:
        content[PROBLEM] = {"schema": _one_of(problems)}
    if of_oauth:
        content[JSON] = {"schema": _one_of(of_oauth)}
    if is_page:
        content[HTML] = {"schema": _TEXT}
    headers = _HEADERS.get(status, ())
    if of_oauth and status == 401:
        headers = ("Client-Challenge",)
    titles = dict.fromkeys(kind.title for kind in kinds)
    return {
        "description": ". ".join(titles) + ".",
        "headers": header_references(("X-Request-Id", *headers)),
        "content": content,
    }


def refusal_name(status: int, kinds: Iterable[type[GatewayError]], *, is_page: bool = False) -> str:
    """Give the name under which that response is kept for all operations that have it."""
    names = [
        name.removesuffix(f"-{status}") for name in (*_names(kinds, is_oauth=False), *_names(kinds, is_oauth=True))
    ]
    return ".".join([str(status), *names, *(["page"] if is_page else [])])


def _names(kinds: Iterable[type[GatewayError]], *, is_oauth: bool) -> list[str]:
    return list(dict.fromkeys(schema_name(kind) for kind in kinds if issubclass(kind, OAuthError) is is_oauth))


def _one_of(names: list[str]) -> Schema:
    references: list[Schema] = [{"$ref": f"#/components/schemas/{name}"} for name in names]
    return references[0] if len(references) == 1 else {"oneOf": references}


def _schema(kind: type[GatewayError]) -> Schema:
    what = inspect.cleandoc(kind.__doc__ or "").partition("\n\n")[0].replace("\n", " ")
    if issubclass(kind, OAuthError):
        properties: Schema = {"error": {"const": kind.code}, "error_description": _TEXT}
        return {"type": "object", "description": what, "properties": properties, "required": list(properties)}
    properties = {
        "type": {"const": PROBLEM_TYPE_PREFIX + kind.slug},
        "title": {"type": "string", "examples": [kind.title]},
        "status": {"const": kind.status},
        "detail": _TEXT,
    }
    required = list(properties)
    more, more_required = _MEMBERS.get(kind, ({}, []))
    return {
        "type": "object",
        "description": what,
        "properties": properties | more,
        "required": required + more_required,
    }
