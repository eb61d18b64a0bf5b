"""What holds for the whole of the code; who imports whom is lint-imports' to see."""

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.routing import Route

from gateway import errors
from gateway.web.routes import ROUTES, ROUTES_WITHOUT_PORTAL, page_or_api

PACKAGE = Path(__file__).parents[1] / "gateway"
MODULES = sorted(PACKAGE.rglob("*.py"))

ANY_METHOD = None
PATHS: dict[str, set[str] | None] = {
    "/": {"GET", "HEAD"},
    "/auth/login": {"GET", "HEAD", "POST"},
    "/auth/refresh": {"POST"},
    "/auth/logout": {"GET", "HEAD", "POST"},
    "/auth/logout-all": {"POST"},
    "/auth/me": {"GET", "HEAD"},
    "/auth/change-password": {"POST"},
    "/auth/sessions": {"GET", "HEAD"},
    "/auth/sessions/{id}": {"DELETE"},
    "/auth/login/passkey": {"POST"},
    "/auth/factors": {"GET", "HEAD"},
    "/auth/factors/totp": {"POST"},
    "/auth/factors/totp/confirm": {"POST"},
    "/auth/factors/passkeys/options": {"POST"},
    "/auth/factors/passkeys": {"POST"},
    "/auth/factors/recovery": {"POST"},
    "/auth/factors/{id}": {"DELETE"},
    "/auth/tokens": {"GET", "HEAD", "POST"},
    "/auth/tokens/{id}": {"DELETE"},
    "/auth/account": {"GET", "HEAD"},
    "/auth/account/sessions/end-others": {"POST"},
    "/auth/account/sessions/{id}/end": {"POST"},
    "/auth/account/password": {"POST"},
    "/auth/account/factors/app": {"GET", "HEAD", "POST"},
    "/auth/account/factors/passkey": {"GET", "HEAD", "POST"},
    "/auth/account/factors/recovery": {"GET", "HEAD", "POST"},
    "/auth/account/factors/recovery/file": {"POST"},
    "/auth/account/factors/{id}": {"GET", "HEAD"},
    "/auth/account/factors/{id}/name": {"POST"},
    "/auth/account/factors/{id}/remove": {"POST"},
    "/auth/account/tokens": {"GET", "HEAD", "POST"},
    "/auth/account/tokens/{id}/revoke": {"POST"},
    "/auth/welcome": {"GET", "HEAD", "POST"},
    "/auth/static/{name}": {"GET", "HEAD"},
    "/api/authz/auth-request": {"GET", "HEAD"},
    "/api/authz/forward-auth": {"GET", "HEAD"},
    "/api/authz/ext-authz": ANY_METHOD,
    "/api/authz/ext-authz/{path}": ANY_METHOD,
    "/.well-known/change-password": {"GET", "HEAD"},
    "/.well-known/jwks.json": {"GET", "HEAD"},
    "/.well-known/oauth-authorization-server": {"GET", "HEAD"},
    "/.well-known/openid-configuration": {"GET", "HEAD"},
    "/oauth/token": {"POST"},
    "/oauth/introspect": {"POST"},
    "/oauth/revoke": {"POST"},
    "/status/lists": {"GET", "HEAD"},
    "/status/{number}": {"GET", "HEAD"},
    "/livez": {"GET", "HEAD"},
    "/readyz": {"GET", "HEAD"},
    "/openapi.json": {"GET", "HEAD"},
}

PROBLEMS = {
    ("malformed-request", 400),
    ("invalid-credentials", 401),
    ("invalid-credentials", 403),
    ("access-token-missing", 401),
    ("access-token-invalid", 401),
    ("authentication-too-weak", 401),
    ("second-factor-required", 401),
    ("second-factor-invalid", 401),
    ("refresh-token-missing", 401),
    ("refresh-token-invalid", 401),
    ("refresh-token-reused", 401),
    ("insufficient-role", 403),
    ("cross-site-request", 403),
    ("headers-too-large", 431),
    ("headers-too-large", 403),
    ("not-found", 404),
    ("invitation-spent", 404),
    ("method-not-allowed", 405),
    ("payload-too-large", 413),
    ("unsupported-media-type", 415),
    ("password-rejected", 422),
    ("rate-limited", 429),
    ("internal-error", 500),
    ("overloaded", 503),
    ("store-unavailable", 503),
    ("not-ready", 503),
}

# RFC 6749 section 5.2, RFC 7009 section 2.2.1, RFC 8707 section 2.
OAUTH_ERRORS = {
    ("invalid_request", 400),
    ("invalid_client", 401),
    ("invalid_grant", 400),
    ("unsupported_grant_type", 400),
    ("unsupported_token_type", 400),
    ("invalid_scope", 400),
    ("invalid_target", 400),
}

# Where the last word on an unforeseen error is spoken: an answer that tells nothing, a denial, the keys from before,
# the end of a connection that others share; and where it goes on to who waits on another thread.
CATCH_ALL = {
    "web/connections.py",
    "web/http/middleware.py",
    "web/http/direct.py",
    "web/subrequest/authz.py",
    "tokens/signing_thread.py",
    "verifier/jwks.py",
    "verifier/remote_status_lists.py",
    "store/turns.py",
}


def name_of(module: Path) -> str:
    return str(module.relative_to(PACKAGE))


def nodes_of(module: Path) -> Iterator[ast.AST]:
    yield from ast.walk(ast.parse(module.read_text()))


def imports_of(module: Path) -> set[str]:
    found = set()
    for node in nodes_of(module):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def test_the_route_table_has_every_path_of_the_contract_and_no_other() -> None:
    """Shows ASVS 6.3.4, ASVS 8.4.2."""
    routes = {re.sub(r":\w+}", "}", route.path): route.methods for route in ROUTES if isinstance(route, Route)}
    assert len(routes) == len(ROUTES)
    assert routes == PATHS


def test_handlers_do_not_import_each_other() -> None:
    endpoints = [route.endpoint for route in (*ROUTES, *ROUTES_WITHOUT_PORTAL) if isinstance(route, Route)]
    handlers = {
        endpoint.__module__ if inspect.isroutine(endpoint) else type(endpoint).__module__ for endpoint in endpoints
    }
    handlers -= {page_or_api.__module__}  # the table itself, which knows them all
    assert len(handlers) >= 9
    for handler in handlers:
        module = Path(str(sys.modules[handler].__file__))
        assert not imports_of(module) & (handlers - {handler}), handler


def test_every_problem_of_the_contract_is_one_type_of_error() -> None:
    leaves = [
        kind
        for kind in vars(errors).values()
        if inspect.isclass(kind) and issubclass(kind, errors.GatewayError) and hasattr(kind, "slug")
    ]
    of_oauth = [kind for kind in leaves if issubclass(kind, errors.OAuthError)]
    assert {(kind.code, kind.status) for kind in of_oauth} == OAUTH_ERRORS
    assert {(kind.slug, kind.status) for kind in leaves if kind not in of_oauth} == PROBLEMS
    assert all(kind.title and re.fullmatch(r"[a-z-]+", kind.slug) for kind in leaves)


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_an_unforeseen_error_is_caught_in_few_places(module: Path) -> None:
    """All others let it pass, or name what they catch. Shows ASVS 16.5.4."""
    caught = [
        node
        for node in nodes_of(module)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or (isinstance(node.type, ast.Name) and node.type.id == "Exception"))
    ]
    assert not caught or name_of(module) in CATCH_ALL


@pytest.mark.parametrize("module", [module for module in MODULES if "verifier/" not in name_of(module)], ids=name_of)
def test_no_address_is_taken_from_the_request(module: Path) -> None:
    """T10: `Host` is the client's to choose; addresses come from the settings."""
    read = {node.attr for node in nodes_of(module) if isinstance(node, ast.Attribute)}
    assert not read & {"base_url", "url_for", "url_path_for"}
    assert not [
        node
        for node in nodes_of(module)
        if isinstance(node, ast.Attribute)
        and node.attr == "url"
        and isinstance(node.value, ast.Name)
        and node.value.id == "request"
    ]


@pytest.mark.parametrize("module", [module for module in MODULES if "cli/" not in name_of(module)], ids=name_of)
def test_a_module_keeps_no_state(module: Path) -> None:
    """It has constants, types and a logger; what changes lives in the `Gateway` that the lifespan builds."""
    tree = ast.parse(module.read_text())
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Global)]
    targets = [target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets]
    targets += [node.target for node in tree.body if isinstance(node, ast.AnnAssign)]
    names = {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
    constant_or_type = re.compile(r"_?[A-Z][A-Za-z0-9_]*|__\w+__|logger|_\w+")
    assert {name for name in names if not constant_or_type.fullmatch(name)} == set()
