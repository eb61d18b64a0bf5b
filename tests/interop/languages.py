"""Programs in other languages: how each is run, and the reason where it cannot be."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

INTEROP = Path(__file__).parent
GO_ENVIRONMENT = {
    "GOCACHE": str(INTEROP / "go" / ".build"),
    "GOFLAGS": "-mod=vendor",
    "GOPROXY": "off",
    "GOTOOLCHAIN": "local",
}
# A virtual machine that lives for three seconds wants little of the machine.
JAVA_OPTIONS = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto")


@dataclass(frozen=True)
class Language:
    """One language: its tools, and the folder that .ci/interop has put its libraries into."""

    name: str
    tools: tuple[str, ...] = ()
    libraries: Path | None = None
    fetched_by: str = ".ci/interop"

    def __str__(self) -> str:
        """Name the tests."""
        return self.name

    def require(self) -> None:
        """Skip the test, with the reason, where the language is not here."""
        for tool in self.tools:
            if shutil.which(tool) is None:
                pytest.skip(f"there is no {tool} on PATH to run {self.name} programs with")
        if self.libraries is not None and not (self.libraries / ".locked").exists():
            pytest.skip(f"the libraries of {self.name} are not in {self.libraries}: {self.fetched_by} fetches them")


PYTHON = Language("Python")
NODE = Language("Node", ("node",), INTEROP / "node" / "node_modules")
GO = Language("Go", ("go",), INTEROP / "go" / "vendor")
JAVA = Language("Java", ("java", "javac"), INTEROP / "java" / "lib")
# What these need is fetched and built by `make snippets` alone.
RUST = Language("Rust", ("cargo",), INTEROP / "rust" / "target", "make snippets")
DOTNET = Language(".NET", ("dotnet",), INTEROP / "dotnet" / "obj", "make snippets")
PHP = Language("PHP", ("php",), INTEROP / "php" / "vendor", "make snippets")


def prepare(language: Language, source: Path, directory: Path) -> list[str]:
    """Compile a program where that is to be done, in *directory*, and give the command that runs it."""
    language.require()
    if language is PYTHON:
        return [sys.executable, str(source)]
    if language is NODE:
        # Modules are looked for beside the program.
        if not (directory / "node_modules").exists():
            (directory / "node_modules").symlink_to(INTEROP / "node" / "node_modules")
        shutil.copy(source, directory)
        return ["node", str(directory / source.name)]
    if language is GO:
        program = directory / source.stem
        _compile(["go", "build", "-o", str(program), str(source)], INTEROP / "go", GO_ENVIRONMENT)
        return [str(program)]
    if language is RUST:
        return [_built_by_cargo(source, directory)]
    if language is DOTNET:
        return ["dotnet", "run", "--project", str(_project_of_dotnet(source, directory))]
    if language is PHP:
        (source.parent / "vendor").symlink_to(INTEROP / "php" / "vendor")
        return ["php", str(source)]
    jars = f"{JAVA.libraries}/*"
    _compile(["javac", "-nowarn", "-proc:none", "-cp", jars, "-d", str(directory), str(source)], directory, {})
    return ["java", *JAVA_OPTIONS, "-cp", f"{jars}:{directory}", source.stem]


def run(command: list[str], *arguments: str, env: Mapping[str, str], timeout: float = 60) -> str:
    """Run a program to its end and give what it printed. Fails when it does."""
    done = subprocess.run(
        [*command, *arguments], env=run_environment(env), capture_output=True, text=True, timeout=timeout
    )
    assert done.returncode == 0, f"{command[0]} printed\n{done.stdout}\nand\n{done.stderr}"
    return done.stdout


def json_lines(output: str) -> list[dict[str, Any]]:
    """Give the JSON objects that a program printed, one a line."""
    return [json.loads(line) for line in output.splitlines() if line]


def _built_by_cargo(source: Path, directory: Path) -> str:
    package, target = INTEROP / "rust", INTEROP / "rust" / "target"
    for name in ("Cargo.toml", "Cargo.lock"):
        shutil.copy(package / name, directory)
    (directory / "src").mkdir()
    shutil.copy(source, directory / "src" / "main.rs")
    _compile(["cargo", "build", "--quiet", "--offline", "--target-dir", str(target)], directory, {})
    return str(shutil.copy(target / "debug" / "verifying", directory / source.stem))


def _project_of_dotnet(source: Path, directory: Path) -> Path:
    shutil.copytree(INTEROP / "dotnet", directory, dirs_exist_ok=True)
    return Path(shutil.copy(source, directory)).parent


def _compile(command: list[str], directory: Path, env: Mapping[str, str]) -> None:
    done = subprocess.run(command, cwd=directory, env=run_environment(env), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def run_environment(env: Mapping[str, str]) -> dict[str, str]:
    """Give the environment that a program runs in."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}  # noqa: TID251 - for children
    # Authlib and oauthlib speak to nobody but over TLS, unless they are told.
    return inherited | {"AUTHLIB_INSECURE_TRANSPORT": "1", "OAUTHLIB_INSECURE_TRANSPORT": "1"} | dict(env)
