"""
Install what `make dist` has made on a Debian 12 with nothing but Python, and log in with a browser (make bare).

Twice: by `gateway serve`, as an ordinary user of that Debian; and by the unit of config/systemd, under the systemd of
that Debian, with all restrictions. Takes root, debootstrap, systemd-nspawn and Chromium, and a few minutes.
"""

import contextlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from selenium import webdriver

from tests.artefacts.installing import ROOT
from tests.browser.conftest import open_chromium
from tests.browser.driving import Window
from tests.harness import GatewayProcess, TestUser, free_port, wait_until

EMAIL = "ann@example.com"
PROGRAMS = ("debootstrap", "systemd-nspawn", "chromium", "chromedriver")
LOCKS = ("serve.txt", "runtime.txt")
INSTALLED = "/opt/token-gateway"
MOST_EXPOSURE = 1.5
START_SECONDS = 180
UNIT = ROOT / "config" / "systemd"


class Debian:
    """The files of a Debian 12, and programs that run in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def make(self, *packages: str) -> None:
        """Fetch it: the packages that every Debian has, and some more."""
        words = ["--variant=minbase", f"--include={','.join(packages)}", "bookworm", str(self.folder)]
        done("debootstrap", *words)

    def run(self, *words: str, user: str = "0:0", home: str = "/root") -> str:
        """Run a program in it and give what it prints."""
        return done(*self.command(*words, user=user, home=home))

    def command(self, *words: str, user: str = "0:0", home: str = "/root") -> list[str]:
        """Give the command line of a program in it."""
        environment = [f"HOME={home}", "PATH=/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin", "LANG=C.UTF-8"]
        return ["chroot", f"--userspec={user}", str(self.folder), "env", "-i", "-C", home, *environment, *words]

    @contextlib.contextmanager
    def with_proc(self) -> Iterator[None]:
        """Let its programs see processes."""
        done("mount", "--bind", "/proc", str(self.folder / "proc"))
        try:
            yield
        finally:
            done("umount", "--lazy", str(self.folder / "proc"))

    @contextlib.contextmanager
    def booted(self) -> Iterator[list[str]]:
        """Boot it as a container, and give the words with which a command is run in it."""
        words = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--boot", f"--directory={self.folder}"]
        container = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            wait_until(lambda: bool(systemd_of(container.pid)), START_SECONDS, "systemd")
            inside = ["nsenter", "-t", systemd_of(container.pid), "-m", "-u", "-i", "-p", "-r", "-w", "env", "-i"]
            inside += ["PATH=/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin", "LANG=C.UTF-8"]
            is_up = [*inside, "systemctl", "is-system-running", "--wait"]
            wait_until(lambda: output_of(*is_up).strip() in ("running", "degraded"), START_SECONDS, "all of systemd")
            yield inside
            done(*inside, "systemctl", "poweroff")
            container.wait(timeout=START_SECONDS)
        finally:
            container.terminate()
            container.wait(timeout=START_SECONDS)


class Running(GatewayProcess):
    """A gateway that something else has started, for a browser to go to."""

    @classmethod
    def at(cls, port: int) -> "Running":
        """Give the one of a port, when it is ready."""
        gateway = cls({"GATEWAY_PORT": str(port)}, Path("/dev/null"))
        wait_until(lambda: gateway.livez_status() == 200, START_SECONDS, "the gateway")
        return gateway

    def livez_status(self) -> int:
        """Give the status of /livez; 0 where nobody answers."""
        with contextlib.suppress(Exception), self.client() as client:
            return client.get("/livez").status_code
        return 0


def done(*words: str) -> str:
    """Run a program and give what it prints. Raises `SystemExit` where it fails."""
    outcome = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if outcome.returncode != 0:
        raise SystemExit(f"bare: {' '.join(words)[:300]}\n{outcome.stdout[-2000:]}{outcome.stderr[-2000:]}")
    return outcome.stdout


def output_of(*words: str) -> str:
    """Run a program that may fail and give what it prints."""
    return subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout


def systemd_of(container: int) -> str:
    """Give the process that is systemd in a container; nothing while there is none."""
    for child in Path(f"/proc/{container}/task/{container}/children").read_text().split():
        with contextlib.suppress(OSError):
            if Path(f"/proc/{child}/comm").read_text() == "systemd\n":
                return child
    return ""


def fetch_wheels(to: Path) -> None:
    """Fetch what the gateway needs, as locked, also what only another release of Python needs."""
    for name in LOCKS:
        lock = to / name
        # pip would leave out what this Python does not need.
        lock.write_text(re.sub(r" ; .*\\$", r" \\", (ROOT / ".ci/requirements" / name).read_text(), flags=re.MULTILINE))
        words = ["--require-hashes", "--only-binary", ":all:", "--no-deps", "--quiet", "-d", str(to), "-r", str(lock)]
        done(sys.executable, "-m", "pip", "download", *words)
        lock.unlink()


def install(debian: Debian) -> None:
    """Install the wheel with pip from a folder of wheels, and the extras as messages say, from what is installed."""
    wheels = debian.folder / "wheels"
    wheels.mkdir()
    fetch_wheels(wheels)
    (wheel,) = (ROOT / "dist").glob("token_gateway-*.whl")
    shutil.copy(wheel, debian.folder)
    debian.run("python3", "-m", "venv", INSTALLED)
    pip = [f"{INSTALLED}/bin/pip", "install", "--quiet", "--no-index", "--find-links", "/wheels"]
    debian.run(*pip, f"/{wheel.name}")
    debian.run(*pip, "token-gateway[embedded]")
    debian.run(*pip, "token-gateway[imports]")


def log_in(chromium: webdriver.Chrome, gateway: GatewayProcess, password: str) -> None:
    """Log in as a person does, and see the account."""
    window = Window(chromium, gateway)
    window.sign_in(TestUser("", EMAIL, password))
    if window.path != "/auth/account" or EMAIL not in window.text:
        raise SystemExit(f"bare: the browser is not logged in, it is at {window.path}: {window.text[:500]}")


def password_in(printed: str) -> str:
    """Give the password that `gateway users add --generate` has printed."""
    password: str = re.findall(r"^password: (\S+)$", printed, re.MULTILINE)[0]
    return password


def by_hand(debian: Debian, chromium: webdriver.Chrome) -> None:
    """Serve as an ordinary user, whose home is empty."""
    home = debian.folder / "srv" / "ann"
    home.mkdir()
    shutil.chown(home, 1000, 1000)
    port = free_port()
    ann = {"user": "1000:1000", "home": "/srv/ann"}
    command = f"{INSTALLED}/bin/gateway"
    with debian.with_proc():
        serving = debian.command(command, "serve", "--port", str(port), **ann)
        server = subprocess.Popen(serving, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            gateway = Running.at(port)
            password = password_in(debian.run(command, "users", "add", EMAIL, "--generate", **ann))
            log_in(chromium, gateway, password)
            checked = debian.run(command, "check", **ann)
        finally:
            server.terminate()
            server.wait(timeout=START_SECONDS)
    print("by hand: served, logged in with Chromium;", " ".join(checked.splitlines()[1].split()), flush=True)


def by_systemd(debian: Debian, chromium: webdriver.Chrome) -> None:
    """Serve by the unit, under systemd."""
    port = free_port()
    debian.run("apt-get", "install", "-y", "-q", "--no-install-recommends", "systemd-sysv", "dbus")
    shutil.copy(UNIT / "token-gateway.service", debian.folder / "etc/systemd/system")
    shutil.copy(UNIT / "gateway", debian.folder / "usr/local/bin")
    settings = debian.folder / "etc/token-gateway/environment"
    settings.parent.mkdir()
    settings.write_text(f"GATEWAY_PORT={port}\n")
    with debian.booted() as inside:
        done(*inside, "systemctl", "start", "token-gateway")
        gateway = Running.at(port)
        log_in(chromium, gateway, password_in(done(*inside, "gateway", "users", "add", EMAIL, "--generate")))
        analysed = done(*inside, "systemd-analyze", "security", "--no-pager", "token-gateway.service")
        exposure = float(re.findall(r"exposure level for \S+: ([0-9.]+)", analysed)[0])
        version = output_of(*inside, "systemctl", "--version").split()[1]
        done(*inside, "systemctl", "stop", "token-gateway")
        result = done(*inside, "systemctl", "show", "-p", "Result", "--value", "token-gateway").strip()
    print(f"by systemd {version}: started, logged in with Chromium, stopped: {result}; exposure {exposure}", flush=True)
    if result != "success" or exposure > MOST_EXPOSURE:
        raise SystemExit(1)


def main() -> int:
    """Do both, or say what is missing."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        print(f"bare: not run, these are missing: {', '.join(missing)}", file=sys.stderr)
        return 1
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, open_chromium() as chromium:
        debian = Debian(Path(folder) / "debian")
        debian.make("python3", "python3-venv")
        install(debian)
        system = re.findall(r'^PRETTY_NAME="(.*)"', (debian.folder / "etc/os-release").read_text(), re.MULTILINE)[0]
        print(f"{system}, {debian.run('python3', '--version').strip()}: installed", flush=True)
        by_hand(debian, chromium)
        chromium.execute_cdp_cmd("Network.clearBrowserCookies", {})
        by_systemd(debian, chromium)
    print(f"done in {time.monotonic() - begun:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
