"""What the tables of docs/protection.md are held to: read from the code, and from the table of who may what."""

import ast
import functools
import importlib
from collections.abc import Iterator
from pathlib import Path

from tests.web.test_credentials import CREDENTIALS, OPENED_BY

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "gateway"
PAGE = ROOT / "docs" / "protection.md"
MODULES = sorted(PACKAGE.rglob("*.py"))
PRIMITIVES = "cryptography.hazmat.primitives"
NO_PRIMITIVES = {"serialization", "Encoding", "PublicFormat", "load_pem_public_key"}
LIBRARIES = ("argon2", "bcrypt", "fido2", "jwt")


def name_of(module: Path) -> str:
    """Give a module as it is written in the documents."""
    return str(module.relative_to(ROOT))


@functools.cache
def nodes_of(module: Path) -> tuple[ast.AST, ...]:
    """Give all nodes of a module's syntax tree."""
    return tuple(ast.walk(ast.parse(module.read_text())))


def section(title: str) -> str:
    """Give the text below a heading of the page, up to the next one."""
    page = PAGE.read_text()
    assert f"\n## {title}\n" in page, title
    return page.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def rows(title: str, header: str) -> list[list[str]]:
    """Give the cells of the rows of the table below a heading of the page whose first row is *header*."""
    _, found, table = section(title).partition(f"| {header} |\n")
    assert found, header
    lines = table.partition("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def constant(name: str, path: str) -> object:
    """Give the constant of a module of the gateway, by its path."""
    return getattr(importlib.import_module(path.removesuffix(".py").replace("/", ".")), name)


def who_may_what() -> str:
    """Give a table of what opens each endpoint, as the test of credentials has it."""
    lines = ["| opened by | endpoints |", "| --- | --- |"]
    by_credentials: dict[frozenset[str], list[str]] = {}
    for endpoint, openers in OPENED_BY.items():
        by_credentials.setdefault(frozenset(openers), []).append(endpoint)
    for credentials, endpoints in by_credentials.items():
        names = [name for name in CREDENTIALS if name in credentials]
        said = "everybody" if len(names) == len(CREDENTIALS) else ", ".join(names)
        lines.append(f"| {said} | {', '.join(f'`{endpoint}`' for endpoint in endpoints)} |")
    return "\n".join(lines) + "\n"


def cryptography() -> str:
    """Give a table of the modules that use cryptography, and of what they use."""
    lines = ["| module | uses |", "| --- | --- |"]
    for module in MODULES:
        if used := sorted(set(_used_by(module)), key=str.lower):
            lines.append(f"| [{name_of(module)}](../{name_of(module)}) | {', '.join(used)} |")
    return "\n".join(lines) + "\n"


def _used_by(module: Path) -> Iterator[str]:
    for node in nodes_of(module):
        match node:
            case ast.ImportFrom(module=str(name), names=names) if name.startswith(PRIMITIVES):
                yield from (alias.name for alias in names if alias.name not in NO_PRIMITIVES)
            case ast.ImportFrom(module=str(name)) if name.partition(".")[0] in LIBRARIES:
                yield name.partition(".")[0]
            case ast.Import(names=names):
                yield from (alias.name for alias in names if alias.name in LIBRARIES)
            case ast.Call(func=ast.Attribute(value=ast.Name(id="hmac"), attr="digest" | "new"), args=[_, _, digest]):
                yield f"HMAC-{_plain(digest)}"
            case ast.Attribute(value=ast.Name(id="hashlib"), attr=name):
                yield name
            case ast.Attribute(value=ast.Name(id="secrets" | "os" as generator), attr=name) if name in RANDOM:
                yield f"{generator}.{name}"


RANDOM = ("choice", "randbelow", "randbits", "token_bytes", "token_hex", "token_urlsafe", "urandom")


def _plain(digest: ast.expr) -> str:
    assert isinstance(digest, ast.Constant | ast.Attribute)
    return str(digest.value) if isinstance(digest, ast.Constant) else digest.attr


def with_tables(page: str) -> str:
    """Give the text of docs/protection.md with the tables that are made, made anew."""
    for name, table in (("who", who_may_what()), ("cryptography", cryptography())):
        begins, ends = f"<!-- {name}: made by `make standards` -->\n", f"<!-- end of {name} -->\n"
        assert page.count(begins) == page.count(ends) == 1, name
        page = page.partition(begins)[0] + begins + table + ends + page.partition(ends)[2]
    return page
