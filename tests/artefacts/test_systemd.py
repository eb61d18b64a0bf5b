"""The unit of config/systemd; `make bare` runs it under a real systemd."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from gateway.cli.serve import DRAIN_SECONDS
from gateway.settings import load_settings
from tests.artefacts.installing import ROOT

FOLDER = ROOT / "config" / "systemd"
UNIT = FOLDER / "token-gateway.service"
MOST_EXPOSURE = 1.5


def values_of(key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", UNIT.read_text(), re.MULTILINE)


@pytest.fixture
def analyze() -> str:
    """Give the path of systemd-analyze, of a systemd that looks at units without one at work."""
    found = shutil.which("systemd-analyze")
    if found is None:
        pytest.skip("systemd-analyze is missing: apt install systemd")
    version = re.findall(r"^systemd (\d+)", subprocess.run([found, "--version"], capture_output=True, text=True).stdout)
    if not version or int(version[0]) < 250:
        pytest.skip(f"systemd-analyze looks at files from 250 on, this is {version}")
    return found


def exposure_of(analyze: str, unit: Path) -> float:
    words = ["security", "--offline=yes", "--no-pager", str(unit)]
    told = subprocess.run([analyze, *words], capture_output=True, text=True)
    (found,) = re.findall(r"exposure level for \S+: ([0-9.]+)", told.stdout)
    return float(found)


def test_it_is_exposed_to_little(analyze: str, tmp_path: Path) -> None:
    exposure = exposure_of(analyze, UNIT)
    print(f"exposure {exposure}")
    assert exposure <= MOST_EXPOSURE
    open_unit = tmp_path / "token-gateway.service"
    open_unit.write_text(re.sub(r"^(Protect|Private|Restrict|SystemCall|Capab).*\n", "", UNIT.read_text(), flags=re.M))
    assert exposure_of(analyze, open_unit) > MOST_EXPOSURE


def test_systemd_knows_every_word(analyze: str, tmp_path: Path) -> None:
    unit = tmp_path / "token-gateway.service"
    text = UNIT.read_text().replace("/opt/token-gateway/bin/gateway", "/bin/true")
    for added, complaint in (("", ""), ("\n[Service]\nNoSuchKey=1\n", "NoSuchKey")):
        unit.write_text(re.sub(r"^Documentation=.*\n", "", text, flags=re.M) + added)
        told = subprocess.run([analyze, "verify", "--man=no", str(unit)], capture_output=True, text=True)
        about_ours = "\n".join(line for line in told.stderr.splitlines() if "token-gateway" in line)
        assert (complaint in about_ours) if complaint else about_ours == ""


def test_its_settings_are_ones() -> None:
    environ = dict(word.split("=", 1) for line in values_of("Environment") for word in line.split())
    expanded = {name: value.replace("%S", "/var/lib") for name, value in environ.items() if name.startswith("GATEWAY_")}
    settings = load_settings({}, expanded).settings
    assert settings.data_dir == Path("/var/lib") / values_of("StateDirectory")[0]


def test_its_mode_is_the_one_that_the_gateway_wants() -> None:
    assert values_of("StateDirectoryMode") == ["0700"]
    assert values_of("UMask") == ["0077"]


def test_it_is_ended_by_the_gateway_itself_and_has_the_time_for_it() -> None:
    """TERM goes to the gateway alone: a Redis that got it too would end before the last requests do."""
    assert values_of("KillMode") == ["mixed"]
    assert int(values_of("TimeoutStopSec")[0].removesuffix("s")) > 2 * DRAIN_SECONDS
    assert values_of("Type") == ["notify"]
    assert values_of("WatchdogSec")


def test_the_command_beside_it_is_the_shell_s(tmp_path: Path) -> None:
    command = FOLDER / "gateway"
    assert subprocess.run(["sh", "-n", str(command)]).returncode == 0
    assert command.stat().st_mode & 0o111
    stub = tmp_path / "systemctl"
    stub.write_text("#!/bin/sh\necho 0\n")
    stub.chmod(0o755)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    told = subprocess.run([str(command), "check"], capture_output=True, text=True, env=env)
    assert (told.returncode, told.stderr) == (
        3,
        "gateway: its service is not running: systemctl start token-gateway\n",
    )
