"""What the README and the pages beside it say is so: commands, output, tables, links."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import httpx2
import pytest
from starlette.routing import Route
from starlette.testclient import TestClient

from gateway import errors
from gateway.cli import cli
from gateway.settings import settings_table
from gateway.web.routes import ROUTES
from tests.harness import GatewayProcess, run_command

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
HTTP_PAGE = ROOT / "docs" / "http.md"
OAUTH_PAGE = ROOT / "docs" / "oauth.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(ROOT.glob("docs/**/*.md"))]
SHOWN_ADDRESS = "http://127.0.0.1:8000"
SHORTENED = "…"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def section(page: Path, heading: str) -> str:
    """Give the text between a heading of the second level and the next one."""
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", page.read_text(), re.MULTILINE | re.DOTALL)
    assert found, f"{page.name} has no section {heading}"
    return found[1]


def code_of(page: Path) -> list[str]:
    """Give every line of shell blocks and every code span outside of blocks."""
    text = page.read_text()
    lines = [line for language, block in FENCE.findall(text) if language == "sh" for line in block.splitlines()]
    return lines + [span.replace("\\|", "|") for span in re.findall(r"`([^`\n]+)`", FENCE.sub("", text))]


def steps(text: str) -> list[tuple[str, str]]:
    """Give shell commands with the output that is shown below them."""
    found, commands = [], ""
    for language, block in FENCE.findall(text):
        if language == "sh":
            commands += block
        elif commands:
            found.append((commands, block))
            commands = ""
    return found


def shown_pattern(output: str) -> re.Pattern[str]:
    """Give the pattern of a shown output: `…` stands for some text of a line, alone on a line for all that follows."""
    lines = [
        r"(?:.*\n)*" if line == SHORTENED else re.escape(line).replace(SHORTENED, r'[^"\n]*') + r"\n"
        for line in output.splitlines()
    ]
    return re.compile("".join(lines))


def check_steps(wanted: list[tuple[str, str]], **variables: str) -> None:
    """Run the commands of all steps in one shell, and compare what each prints with what is shown."""
    if shutil.which("curl") is None:
        pytest.skip("there is no curl here to run the README's curl lines with")
    end_of_step = "== end of step =="
    script = "".join(f"{commands}\necho '{end_of_step}'\n" for commands, _ in wanted)
    environ = {"PATH": os.environ["PATH"], **variables}  # noqa: TID251 - for a child
    done = subprocess.run(["sh", "-eu", "-c", script], env=environ, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    printed = done.stdout.replace("\r\n", "\n").split(end_of_step + "\n")
    for (commands, output), found in zip(wanted, printed[:-1], strict=True):
        assert shown_pattern(output).fullmatch(found), f"{commands}\nprints\n{found}\nbut the README shows\n{output}"


@pytest.fixture(scope="module")
def demo_password(gateway: GatewayProcess) -> str:
    """Add the user that `make serve` adds and give the password."""
    arguments = ("users", "add", "demo@example.com", "--name", "Demo User", "--role", "demo", "--generate")
    added = run_command(*arguments, env=gateway.env)
    assert added.returncode == 0, added.stderr
    return added.stdout.rpartition("password: ")[2].strip()


@pytest.fixture
def demo_token(gateway: GatewayProcess, demo_password: str) -> str:
    """Log the demo user in and give the access token."""
    answer = httpx2.post(f"{gateway.url}/auth/login", data={"username": "demo@example.com", "password": demo_password})
    token: str = answer.json()["access_token"]
    return token


def test_the_transcript_prints_what_it_shows(gateway: GatewayProcess, demo_password: str) -> None:
    """Every command of the quickstart runs as it stands; only port and password are put in."""
    text = section(README, "Quickstart").partition("In a second terminal")[2]
    text, replaced = re.subn(r"^PASSWORD=.*$", f"PASSWORD='{demo_password}'", text, flags=re.MULTILINE)
    assert replaced == 1
    wanted = steps(text.replace(SHOWN_ADDRESS, gateway.url))
    assert len(wanted) >= 5
    check_steps(wanted)


@pytest.fixture(scope="module")
def installed_verifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder that `pip install ./gateway/verifier` has installed into."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--target", str(folder)]
    subprocess.run(
        [*pip, "--no-deps", "--no-build-isolation", "--no-index", "./gateway/verifier"], cwd=ROOT, check=True
    )
    return folder


def test_the_python_programs_verify_a_token(
    gateway: GatewayProcess, demo_token: str, tmp_path: Path, installed_verifier: Path
) -> None:
    """Both programs accept a good token and refuse a bad one; only the address is put in."""
    programs = [
        block
        for language, block in FENCE.findall(section(README, "Verify a token offline"))
        if language == "python" and "sys.argv" in block
    ]
    assert len(programs) == 2
    for number, program in enumerate(programs):
        path = tmp_path / f"verify{number}.py"
        path.write_text(program.replace(SHOWN_ADDRESS, gateway.url))
        for token, accepted in ((demo_token, True), (demo_token[:-8] + "AAAAAAAA", False)):
            done = subprocess.run(
                [sys.executable, str(path), token], cwd=ROOT, capture_output=True, text=True, timeout=30,
                env={"PYTHONPATH": str(installed_verifier)},
            )  # fmt: skip
            assert (done.returncode == 0) is accepted, done.stderr
            assert ("usr_" in done.stdout) is accepted
            assert ("demo" in done.stdout) is accepted


def test_the_node_program_verifies_a_token(gateway: GatewayProcess, demo_token: str) -> None:
    """It accepts a good token and refuses a bad one; only the address is put in."""
    if shutil.which("node") is None or not (ROOT / "tests/node/node_modules").is_dir():
        pytest.skip("node or tests/node/node_modules is missing: apt install nodejs npm, then make test")
    (program,) = [
        block for language, block in FENCE.findall(section(README, "Verify a token offline")) if language == "js"
    ]
    program = program.replace(SHOWN_ADDRESS, gateway.url).replace("process.argv[2]", "process.argv[1]")
    for token, accepted in ((demo_token, True), (demo_token[:-8] + "AAAAAAAA", False)):
        done = subprocess.run(
            ["node", "--input-type=module", "--eval", program, token],
            cwd=ROOT / "tests/node", capture_output=True, text=True, timeout=30,
        )  # fmt: skip
        assert (done.returncode == 0) is accepted, done.stderr
        assert ("usr_" in done.stdout) is accepted


def test_the_protected_application_serves_whom_the_role_allows(
    gateway: GatewayProcess, demo_token: str, installed_verifier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The README's Starlette application, with the address and the role of the demo user put in."""
    monkeypatch.syspath_prepend(installed_verifier)
    (program,) = [
        block
        for language, block in FENCE.findall(section(README, "Verify a token offline"))
        if language == "python" and "AccessTokenMiddleware" in block
    ]
    program = program.replace("https://auth.example.com", gateway.url)
    for role, expected in (("demo", 200), ("staff", 403)):
        names: dict[str, Any] = {}
        exec(program.replace('role="staff"', f'role="{role}"'), names)  # noqa: S102 - the program that readers copy
        with TestClient(names["app"]) as client:
            assert client.get("/orders").status_code == 401
            answer = client.get("/orders", headers={"Authorization": f"Bearer {demo_token}"})
            assert answer.status_code == expected


def test_the_sections_on_proxies_are_those_of_the_page_that_is_tested() -> None:
    """Each ends in the two curls that tests/proxies runs from docs/proxies.md."""
    page = (ROOT / "docs" / "proxies.md").read_text()
    sections = re.split(r"^### (.*)$", section(README, "Behind a reverse proxy"), flags=re.MULTILINE)[1:]
    assert sections[::2] == ["nginx", "Caddy", "HAProxy", "Traefik", "Envoy", "Apache httpd"]
    for name, text in zip(sections[::2], sections[1::2], strict=True):
        told = re.search(rf"^## {name}\n(.*?)(?=^## )", page, re.MULTILINE | re.DOTALL)
        assert told
        assert [block for block in FENCE.findall(text) if block not in FENCE.findall(told[1])] == []
        assert [language for language, _ in FENCE.findall(text)] == ["sh", "sh", "text"]


def test_the_table_of_settings_is_the_generated_one() -> None:
    """Put `gateway.settings.settings_table()` there when this fails."""
    assert settings_table() in section(README, "Settings")


def test_the_tables_of_endpoints_are_the_route_table() -> None:
    routes = set()
    for route in ROUTES:
        assert isinstance(route, Route)
        path = re.sub(r":\w+}", "}", route.path)
        routes |= {(method, path) for method in (route.methods or {"ANY"}) - {"HEAD"}}
    routes.remove(("ANY", "/api/authz/ext-authz"))  # the one with a path stands for both
    in_readme = re.findall(r"^\| ([A-Za-z]+) `(/[^`]*)` \|", section(README, "HTTP"), re.MULTILINE)
    on_page = re.findall(r"^### ([A-Z]+) (/\S*)$", HTTP_PAGE.read_text(), re.MULTILINE)
    assert sorted((method.upper(), path) for method, path in in_readme) == sorted(routes)
    assert sorted(on_page) == sorted(routes)


def test_the_table_of_problems_has_every_error() -> None:
    def leaves(kind: type[errors.GatewayError]) -> Iterator[type[errors.GatewayError]]:
        for child in kind.__subclasses__():
            yield from leaves(child)
            yield child

    raised: dict[str, set[str]] = {}
    for error in leaves(errors.GatewayError):
        if issubclass(error, errors.OAuthError):
            continue
        raised.setdefault(error.slug, set()).add(str(error.status))
    rows = re.findall(r"^\| `([a-z-]+)` \| ([0-9, ]+) \|", section(HTTP_PAGE, "Problems"), re.MULTILINE)
    assert {slug: set(statuses.split(", ")) for slug, statuses in rows} == raised


def test_the_table_of_oauth_errors_has_every_one() -> None:
    kinds: list[type[errors.OAuthError]] = [errors.OAuthError, *errors.OAuthError.__subclasses__()]
    rows = re.findall(r"^\| `([a-z_]+)` \| ([0-9]+) \|", section(OAUTH_PAGE, "Errors"), re.MULTILINE)
    assert set(rows) == {(kind.code, str(kind.status)) for kind in kinds}


def commands() -> dict[tuple[str, ...], click.Command]:
    """Give every command by its words."""
    context = click.Context(cli)
    found: dict[tuple[str, ...], click.Command] = {}
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            found |= {(name, child): grandchild for child, grandchild in command.commands.items()}
        else:
            found[(name,)] = command
    return found


def test_the_commands_that_are_named_are_the_commands_that_there_are() -> None:
    known = commands()
    groups = {path[0] for path in known if len(path) > 1}
    named = set()
    for code in [code for page in PAGES for code in code_of(page)]:
        for text in re.findall(r"(?:^|[\s/])gateway ([a-z].*)", code):
            first, second = [*str(text).split(), "", ""][:2]
            if first in groups and second in ("", "..."):
                continue
            path = (first, second) if first in groups else (first,)
            assert path in known, f"there is no command `gateway {text}`"
            named.add(path)
            options = {option for parameter in known[path].params for option in parameter.opts}
            unknown = set(re.findall(r"--[a-z-]+", text)) - options
            assert not unknown, f"`gateway {text}`: there is no {unknown}"
    assert named == set(known)


def test_the_make_targets_that_are_named_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    code = [code for page in PAGES for code in code_of(page)]
    named = {target for line in code for target in re.findall(r"(?:^|\s)make ([a-z-]+)", line)}
    assert {"serve", "test"} <= named
    assert named <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", page.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        destination = (page.parent / path).resolve() if path else page
        assert destination.exists(), f"{page.name}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", FENCE.sub("", destination.read_text()), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
            assert anchor in anchors, f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_file_that_is_named_is_there(page: Path) -> None:
    rooms = "|".join(path.name for path in (ROOT / "gateway").iterdir() if path.is_dir() and path.name != "__pycache__")
    named = re.findall(rf"`((?:gateway|tests|benchmarks|{rooms})/[\w./-]+\.(?:py|lua))`", page.read_text())
    assert [name for name in named if not (ROOT / name).exists() and not (ROOT / "gateway" / name).exists()] == []


def test_the_floors_in_contributing_are_those_of_the_import_rule() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract.get("containers") == ["gateway"])
    floors = [[f"`{module}`" for module in layer.split(" | ")] for layer in layers]
    shown = " · ".join(", ".join(floor) for floor in floors)
    assert shown in section(ROOT / "CONTRIBUTING.md", "Where things are"), f"it should have {shown}"


def repository_files() -> list[Path]:
    """Give the files that git has or would take; without git, or outside of a clone, the named folders'."""
    if (ROOT / ".git").exists() and shutil.which("git"):
        listing = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.split("\0")
        found = [ROOT / name for name in listing if name]
    else:
        folders = (".ci", "benchmarks", "config", "docs", "gateway", "tests")
        found = [*ROOT.glob("[!.]*"), *(path for folder in folders for path in (ROOT / folder).rglob("*"))]
    return [path for path in found if path.is_file() and "__pycache__" not in path.parts]


def test_the_lock_files_have_no_address_at_all() -> None:
    """
    Neither of a package index nor of anybody else: a lock says what, and the machine says where from.

    Shows ASVS 15.2.4.
    """
    locks = [
        path
        for path in repository_files()
        if path.parent.name == "requirements" or path.name in ("requirements.txt", "package-lock.json")
    ]
    assert {path.name for path in locks} >= {"test.txt", "requirements.txt", "package-lock.json"}
    for lock in locks:
        assert not re.search(r"://|--(extra-)?index-url|--find-links|--trusted-host|\"resolved\"", lock.read_text()), (
            lock
        )


def test_no_file_names_a_path_of_the_machine_that_it_was_written_on() -> None:
    """Neither this folder nor somebody's home directory; `alice` is nobody."""
    homes = r"/(?:home|Users)/(?!alice\b)\w|/root/\w"
    pattern = re.compile(f"{homes}|{re.escape(str(ROOT))}(?![\\w-])" if len(ROOT.parts) > 2 else homes)
    for path in repository_files():
        found = pattern.findall(path.read_text(errors="replace"))
        assert path == Path(__file__) or not found, f"{path.relative_to(ROOT)}: {found}"
