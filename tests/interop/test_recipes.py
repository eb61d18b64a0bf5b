"""
The recipes of docs/machines.md for programs of people, run as they stand: only addresses and secrets are put in.

In front of every application is nginx with the files of config/nginx; a tool that is not installed skips its recipe.
"""

import os
import shutil
import subprocess
from pathlib import Path

import httpx2
import pytest

from tests.certificates import make_certificates
from tests.harness import GatewayProcess
from tests.interop.applications import Application, GitServer, asking, start_webdav
from tests.interop.conftest import OWNER, StartFront
from tests.interop.pages import APP, MACHINES, blocks, lines_that_ask, put_in, shell
from tests.proxies.fronts import KINDS, Front

LUA_SOCKET = Path("/usr/share/lua/5.3/socket/http.lua")


def test_curl_sends_a_personal_token_from_a_file_and_as_a_password(
    app: str, application: Application, token: str, tmp_path: Path
) -> None:
    """docs/machines.md, curl."""
    for commands in blocks(MACHINES, "curl", "sh"):
        before = len(application.seen)
        shell(put_in(commands, {APP: f"http://{app}"}), {"TOKEN": token, "HOME": str(tmp_path)})
        [(path, headers)] = application.seen[before:]
        assert (path, headers["Remote-User"], headers["Remote-Groups"]) == ("/reports", OWNER, "demo")
    assert (tmp_path / ".gateway-token").stat().st_mode & 0o777 == 0o600


@pytest.fixture(scope="session")
def git_host(start_front: StartFront, place: Path, asks_for_a_password: str) -> str:
    """Give the address of a git server behind the proxy, with an empty repository."""
    root = place / "repositories"
    if shutil.which("git") is None:
        pytest.skip("there is no git here")
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", str(root / "project.git")], check=True)
    return start_front(GitServer(root), asks_for_a_password)


@pytest.mark.parametrize("recipe", [0, 1], ids=["a header", "a password"])
def test_git_clones_and_pushes_with_a_personal_token(git_host: str, token: str, tmp_path: Path, recipe: int) -> None:
    """docs/machines.md, git over https."""
    commands = blocks(MACHINES, "git over https", "sh")[recipe]
    commands = commands.replace("https://ann:%s@git.example.com", f"http://ann:%s@{git_host}")
    commands = put_in(commands, {"https://git.example.com": f"http://{git_host}"})
    env = {"TOKEN": token, "HOME": str(tmp_path)}
    shell(commands, env, cwd=tmp_path)
    push = "cd project && git -c user.name=ann -c user.email=ann@example.com commit --quiet --allow-empty -m hello"
    shell(f"{push} && git push --quiet origin HEAD:refs/heads/{('header', 'password')[recipe]}", env, cwd=tmp_path)
    listed = shell(f"git ls-remote http://{git_host}/project.git", env, cwd=tmp_path)
    assert ("refs/heads/header", "refs/heads/password")[recipe] in listed


def test_every_proxy_hands_the_question_for_a_password_on(gateway: GatewayProcess, place: Path) -> None:
    """docs/machines.md, A proxy that asks for a password: the table."""
    lines, certificates = lines_that_ask(), make_certificates(place)
    assert lines.keys() == {kind.name for kind in KINDS} - {"envoy"}
    for name, line in lines.items():
        kind, application = asking(line, name), Application()
        if kind.program is None or (name == "apache" and not LUA_SOCKET.exists()):
            print(f"without {name}: its packages are not installed here")
            continue
        front = Front(kind, place / f"asks-{name}", gateway.port, application.port, certificates, tls=kind.always_tls)
        try:
            answer = front.start().ask("/")
        finally:
            front.stop()
            application.stop()
        assert answer.status == 401, name
        assert [value.partition(" ")[0] for value in answer.values("WWW-Authenticate")] == ["Basic"], name


def test_git_without_a_token_is_asked_for_a_password_and_gets_nothing(git_host: str, tmp_path: Path) -> None:
    answer = httpx2.get(f"http://{git_host}/project.git/info/refs?service=git-upload-pack")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Basic ")
    done = subprocess.run(
        ["git", "ls-remote", f"http://{git_host}/project.git"],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "GIT_TERMINAL_PROMPT": "0"},  # noqa: TID251 - for a child
        capture_output=True,
        text=True,
    )
    assert done.returncode == 128
    assert "could not read Username" in done.stderr


def test_webdav_takes_a_personal_token_as_a_password(
    start_front: StartFront, place: Path, asks_for_a_password: str, token: str, tmp_path: Path
) -> None:
    """docs/machines.md, WebDAV."""
    directory = place / "dav"
    directory.mkdir()
    host = start_front(start_webdav(directory), asks_for_a_password)
    [commands] = blocks(MACHINES, "WebDAV", "sh")
    (tmp_path / "notes.txt").write_text("a note\n")
    commands = put_in(commands, {"https://dav.example.com": f"http://{host}"})
    assert shell(commands, {"TOKEN": token, "HOME": str(tmp_path)}, cwd=tmp_path) == "a note\n"
