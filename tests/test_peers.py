"""benchmarks/peers: what can be seen without the peers, and a brief run with the one that is cheap where it is."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import jwt
import pytest

from benchmarks.peers import locks, picture
from benchmarks.peers.issuer import CLIENT_ID, issuer

FOLDER = Path(__file__).parents[1] / "benchmarks" / "peers"
PICTURE = FOLDER.parent / "results" / "peers.svg"
SVG = "{http://www.w3.org/2000/svg}"


def run_driver(*arguments: str) -> str:
    command = [sys.executable, str(FOLDER / "bench_peers.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=110).stdout


def test_every_package_of_the_peers_is_locked_by_a_hash() -> None:
    for lock in FOLDER.glob("*/requirements.txt"):
        for package in re.split(r"\n(?=\S)", lock.read_text()):
            assert package.startswith("#") or "--hash=sha256:" in package, package
    npm_lock = json.loads((FOLDER / "oidc-provider" / "package-lock.json").read_text())
    assert [name for name, of in npm_lock["packages"].items() if name and "integrity" not in of] == []
    for module_file in FOLDER.glob("*/go.mod"):
        sums = module_file.with_name("go.sum").read_text()
        for module, version in re.findall(r"^\t(\S+) (v\S+)", module_file.read_text(), re.MULTILINE):
            assert f"{module} {version} h1:" in sums, module
    assert re.fullmatch(r"[0-9a-f]{64}  \S+\.zip\n", (FOLDER / "keycloak" / "SHA256SUMS").read_text())


def test_the_version_of_keycloak_that_is_fetched_is_the_one_whose_hash_is_held() -> None:
    pom = ElementTree.parse(FOLDER / "keycloak" / "pom.xml")  # noqa: S314 - a file of this repository
    maven = "{http://maven.apache.org/POM/4.0.0}"
    (dependency,) = pom.iter(f"{maven}dependency")
    name = "{}-{}.{}".format(*(dependency.findtext(maven + part) for part in ("artifactId", "version", "type")))
    assert (FOLDER / "keycloak" / "SHA256SUMS").read_text().endswith(f"  {name}\n")


def test_a_file_that_the_lock_does_not_hold_is_not_installed(tmp_path: Path) -> None:
    lock = tmp_path / "SHA256SUMS"
    lock.write_text(f"{hashlib.sha256(b'as locked').hexdigest()}  server.zip\n")
    (tmp_path / "server.zip").write_bytes(b"as locked")
    assert locks.locked_file(tmp_path, lock) == tmp_path / "server.zip"
    (tmp_path / "server.zip").write_bytes(b"another")
    with pytest.raises(locks.Unavailable, match=r"server\.zip is not the file"):
        locks.locked_file(tmp_path, lock)


def test_the_driver_tells_what_it_does() -> None:
    help_text = run_driver("--help")
    assert "--brief" in help_text
    assert "oidc-provider" in help_text


def test_the_table_in_the_readme_is_that_of_the_last_full_run() -> None:
    shown = re.search(r"<!-- table -->\n(.*)<!-- end -->", (FOLDER / "README.md").read_text(), re.DOTALL)
    assert shown is not None
    assert shown[1] == run_driver("--table")


def test_the_picture_is_that_of_the_last_full_run() -> None:
    assert PICTURE.read_text() == run_driver("--picture")


def test_a_bar_of_the_picture_reaches_from_the_gateway_to_what_the_work_takes_of_it() -> None:
    ratios = {"gateway: subrequest": None, "half": 0.5, "four times": 4.0, "gateway: refresh": None}
    works = {work: {} if ratio is None else {picture.RATIO: ratio} for work, ratio in ratios.items()}
    drawn = ElementTree.fromstring(picture.picture({"works": works}))  # noqa: S314 - made just now
    bars = [bar for bar in drawn.iter(f"{SVG}rect") if bar.get("class") in ("gateway", "peer")]
    ends = [(float(bar.attrib["x"]), float(bar.attrib["x"]) + float(bar.attrib["width"])) for bar in bars]
    (one,) = [float(line.attrib["x1"]) for line in drawn.iter(f"{SVG}line") if line.get("class") == "one"]
    half, four_times = (one - ends[1][0], ends[2][1] - one)
    assert ends[0] == ends[3]
    assert ends[1][1] == ends[2][0] + picture.MIN_WIDTH  # both begin at the line
    assert four_times / half == pytest.approx(2, rel=0.05)  # a scale of logarithms


def test_what_the_stand_in_for_a_provider_signs_is_verified_by_the_keys_that_it_publishes() -> None:
    with issuer() as provider:
        keys = jwt.PyJWKClient(f"{provider.url}/keys")
        token = provider.token()
        key = keys.get_signing_key_from_jwt(token)
        assert jwt.decode(token, key, ["RS256"], audience=CLIENT_ID, issuer=provider.url)["sub"] == "ann"


def test_oauth2_proxy_is_measured_beside_the_gateway_where_it_is_installed() -> None:
    if not locks.is_installed(FOLDER / "oauth2-proxy" / "go.sum", FOLDER / ".work" / "oauth2-proxy"):
        pytest.skip("oauth2-proxy takes minutes to compile: make bench-peers BRIEF=1 does it, once")
    if shutil.which("wrk") is None:
        pytest.skip("wrk is not installed here: apt-get install wrk")
    report = run_driver("--only", "oauth2-proxy")
    rows = re.findall(r"^\| ([a-z0-9-]+: [^|]+) \|", report, re.MULTILINE)
    assert rows == [
        "gateway: subrequest",
        "oauth2-proxy: JWT",
        "oauth2-proxy: session in a cookie",
        "oauth2-proxy: session in Redis",
    ]
    print(report)
