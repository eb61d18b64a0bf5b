import ast
import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import jsonschema
import openapi_spec_validator
import pytest
from starlette.responses import Response
from starlette.routing import Route

from gateway import __version__, errors
from gateway.errors import GatewayError
from gateway.settings import load_settings
from gateway.state import GatewayRequest
from gateway.web.http import problem_response
from gateway.web.openapi import oauth, subrequest
from gateway.web.openapi.document import METHODS, document_of, operations_of
from gateway.web.openapi.paths import template_of
from gateway.web.openapi.problems import all_errors, schema_name
from gateway.web.routes import ROUTES, ROUTES_WITHOUT_PORTAL
from gateway.web.subrequest import requirements
from tests.described import check_described, document_for, resolve
from tests.web.openapi.page import page, the_document

ROOT = Path(__file__).parents[3]
WEB = ROOT / "gateway" / "web"
PORTALS = {"on": ROUTES, "off": ROUTES_WITHOUT_PORTAL}
DEFAULTS = load_settings({}, {}).settings
# One of each error that needs to be told something.
WITH_FACTS: list[GatewayError] = [
    errors.AuthenticationTooWeak(600, (("mfa",),)),
    errors.SecondFactorRequired(("passkey", "totp"), "pending", {"challenge": "x"}),
    errors.SecondFactorRequired((), "pending"),
    errors.MethodNotAllowed("GET, HEAD"),
    errors.PasswordRejected(("too_short", "common")),
    errors.RateLimited(3, '"login";q=10;w=60', '"login";r=0;t=3'),
    errors.Overloaded(2),
    errors.NotReady(("redis",)),
]


def problems_of(document: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """Give `type` and status of every problem that some response may have."""
    for response in document["components"]["responses"].values():
        for content in response.get("content", {}).values():
            for choice in content["schema"].get("oneOf", [content["schema"]]):
                members = resolve(document, choice).get("properties", {})
                if "type" in members:
                    yield members["type"]["const"], members["status"]["const"]


def validator_of(document: dict[str, Any], schema: dict[str, Any]) -> jsonschema.Draft202012Validator:
    """Give what compares a body with a schema of the document."""
    return jsonschema.Draft202012Validator({**schema, "components": document["components"]})


@pytest.mark.parametrize("portal", PORTALS)
def test_the_document_is_openapi_3_1(portal: str) -> None:
    document = document_for(portal=portal)
    assert document["openapi"].startswith("3.1.")
    assert document["info"]["version"] == __version__
    openapi_spec_validator.validate(document)


@pytest.mark.parametrize("portal", PORTALS)
def test_the_document_has_every_method_of_every_route_and_no_other(portal: str) -> None:
    """HEAD is as GET, and not told apart; where a path takes any method, it has all that OpenAPI has a word for."""
    described = {
        (path, method.upper())
        for path, operations in document_for(portal=portal)["paths"].items()
        for method in operations
    }
    routes = [route for route in PORTALS[portal] if isinstance(route, Route)]
    assert len(routes) == len(PORTALS[portal])
    assert described == {
        (template_of(route), method)
        for route in routes
        for method in (METHODS if route.methods is None else route.methods - {"HEAD"})
    }


def test_nothing_is_said_of_what_is_no_route() -> None:
    used = {
        f"{method} {template_of(route)}"
        for route in ROUTES
        if isinstance(route, Route)
        for method in (route.methods or {"ANY"}) - {"HEAD"}
    }
    assert operations_of(DEFAULTS).keys() == used


def test_an_endpoint_of_which_nothing_is_said_is_an_error() -> None:
    async def answer(request: GatewayRequest) -> Response:
        return Response()

    with pytest.raises(KeyError, match="POST /auth/new"):
        document_of(DEFAULTS, [*ROUTES, Route("/auth/new", answer, methods=["POST"])])


def test_an_operation_has_a_name_of_its_own() -> None:
    names = [one["operationId"] for path in the_document()["paths"].values() for one in path.values()]
    assert len(names) == len(set(names))


def test_every_error_is_an_answer_of_some_operation() -> None:
    document = the_document()
    expected = {
        (f"urn:token-gateway:problem:{kind.slug}", kind.status)
        for kind in all_errors()
        if not issubclass(kind, errors.OAuthError)
    }
    assert set(problems_of(document)) == expected
    of_oauth = {schema_name(kind) for kind in all_errors() if issubclass(kind, errors.OAuthError)}
    named = json.dumps(document["components"]["responses"])
    assert {name for name in of_oauth if f'"#/components/schemas/{name}"' in named} == of_oauth
    assert len(of_oauth) == 7


@pytest.mark.parametrize(
    "error",
    [*WITH_FACTS, *(kind.__new__(kind) for kind in all_errors() if "__init__" not in vars(kind))],
    ids=lambda error: type(error).__name__,
)
def test_an_error_is_answered_as_its_schema_says(error: GatewayError) -> None:
    if not error.args:
        GatewayError.__init__(error)
    document, answer = the_document(), problem_response(error)
    schema = document["components"]["schemas"][schema_name(type(error))]
    body = json.loads(bytes(answer.body))
    validator_of(document, schema).validate(body)
    assert body.keys() <= schema["properties"].keys()


def test_every_body_that_is_decoded_is_described_by_the_type_that_decodes_it() -> None:
    """`PendingMember` looks at bodies before the types that decode them, and takes all."""
    decoded = set()
    for module in WEB.rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "read_body":
                assert isinstance(node.args[1], ast.Name)
                decoded.add(node.args[1].id)
    operations = itertools.chain(*operations_of(DEFAULTS).values())
    described = {one.takes.kind for one in operations if one.takes}
    of_oauth = {kind for kind in described if kind.__module__ == oauth.__name__}
    assert {kind.__name__ for kind in described - of_oauth} == decoded - {"PendingMember"}


def test_the_forms_of_clients_have_every_parameter_that_is_read() -> None:
    read = set()
    for module in (WEB / "oauth").glob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name("parameters"), attr="get" | "require"),
                    args=[ast.Constant(str() as name)],
                ):
                    read.add(name)
    described = {*oauth.TokenRequest.__struct_fields__, *oauth.ShownToken.__struct_fields__}
    assert described == read | {"resource", "token_type_hint"}


def test_the_query_of_a_subrequest_has_every_requirement() -> None:
    assert subrequest.Requirements.__struct_fields__ == requirements.NAMES


def test_names_of_cookies_and_header_fields_are_those_of_the_settings() -> None:
    plain, secure = document_for(issuer="http://127.0.0.1:8000"), the_document()
    assert plain["components"]["securitySchemes"]["browserSession"]["name"] == "gateway_session"
    assert secure["components"]["securitySchemes"]["browserSession"]["name"] == "__Host-gateway_session"
    assert secure["servers"] == [{"url": "https://auth.example.com"}]
    forwarded = document_for(identity_headers="x-forwarded")["paths"]["/api/authz/forward-auth"]["get"]
    assert "X-Forwarded-Email" in forwarded["responses"]["200"]["headers"]


def test_the_page_is_made_of_the_document() -> None:
    """Run `make openapi` when this fails."""
    assert (ROOT / "docs" / "api.md").read_text() == page(the_document())


def test_who_does_not_ask_for_the_document_loads_nothing_for_it() -> None:
    code = "import sys, gateway.app; print(*sorted(name for name in sys.modules if '.openapi' in name))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "gateway.web.openapi gateway.web.openapi.serving"


@pytest.mark.parametrize(
    ("method", "path", "status", "media_type", "body"),
    [
        ("GET", "/auth/me", 418, "application/problem+json", b"{}"),
        ("GET", "/auth/me", 200, "text/html", b"<p>"),
        ("GET", "/auth/me", 401, "application/problem+json", b'{"type": "urn:token-gateway:problem:not-found"}'),
        ("GET", "/auth/new", 200, "application/json", b"{}"),
        ("POST", "/auth/me", 405, "application/problem+json", b'{"type": "urn:token-gateway:problem:not-found"}'),
        ("DELETE", "/auth/sessions/x", 204, "application/json", b"{}"),
    ],
)
def test_an_answer_that_is_not_described_fails_the_test_that_got_it(
    method: str, path: str, status: int, media_type: str, body: bytes
) -> None:
    request = httpx2.Request(method, f"http://127.0.0.1{path}")
    with pytest.raises(AssertionError, match=f"^{method} "):
        check_described(httpx2.Response(status, headers={"Content-Type": media_type}, content=body, request=request))
