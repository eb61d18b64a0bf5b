"""The figures of a run as a table, and what it ran on."""

import json
import platform
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from measures import CONNECTIONS, HERE
from servers import CORES

from gateway.store.private import find_server

COMPARED = ("requests_per_second", "cpu_seconds_per_1000")


def machine() -> dict[str, Any]:
    """Say what it ran on, and which versions."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return {
        "processor": model[1] if model else platform.machine(),
        "processors": len(CORES),
        "python": platform.python_version(),
        "node": version_of("node", "--version"),
        "java": version_of("java", "--version").removeprefix("openjdk ").partition(" ")[0],
        "go": version_of("go", "env", "GOVERSION").removeprefix("go"),
        "redis": find_server()[1],
        "versions": locked_versions(),
    }


def version_of(*command: str) -> str:
    """Give what a program prints as its version, the first line; nothing when it is not there."""
    if shutil.which(command[0]) is None:
        return ""
    return subprocess.run(command, capture_output=True, text=True).stdout.partition("\n")[0].strip()


def locked_versions() -> dict[str, str]:
    """Give the versions of the peers, from their locks."""
    packages = json.loads((HERE / "oidc-provider/package-lock.json").read_text())["packages"]
    found = {"oidc-provider": packages["node_modules/oidc-provider"]["version"]}
    found["oauth2-proxy"] = tool_version("oauth2-proxy")
    (found["Keycloak"],) = re.findall(r"keycloak-quarkus-dist-(\S+)\.zip", (HERE / "keycloak/SHA256SUMS").read_text())
    for folder, names in (("simplejwt", "djangorestframework-simplejwt|gunicorn"), ("fastapi-users", "fastapi-users")):
        found.update(re.findall(rf"^({names})==(\S+)", (HERE / folder / "requirements.txt").read_text(), re.MULTILINE))
    return found


def tool_version(folder: str) -> str:
    """Give the version of the module that is the tool of a folder's go.mod."""
    lines = (HERE / folder / "go.mod").read_text().splitlines()
    (tool,) = [line.split()[1] for line in lines if line.startswith("tool ")]
    (version,) = [line.split()[1] for line in lines if line.startswith(f"\t{tool} ")]
    return version.removeprefix("v")


def table(results: dict[str, Any]) -> str:
    """Give the table of a run in Markdown."""
    lines = [
        "| | requests/s | to gateway | p50 ms | p99 ms | CPU s per 1000 | to gateway | Redis CPU s | RSS MiB |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for work, of in results["works"].items():
        rate, cpu = (of.get(f"{name}_to_gateway", 1.0) for name in COMPARED)
        lines.append(
            f"| {work} | {of['requests_per_second']:,.0f} | {rate:.2f} | {of['p50_ms']:.2f} | {of['p99_ms']:.2f} "
            f"| {of['cpu_seconds_per_1000']:.3f} | {cpu:.2f} | {of['redis_cpu_seconds_per_1000']:.3f} "
            f"| {of['rss_mib']:.0f} |"
        )
    lines += [f"| {name} | {reason} | | | | | | | |" for name, reason in results["missing"].items()]
    on = results["machine"]
    others = max(of["others_cpu"] for of in results["works"].values())
    discarded = sum(of["discarded"] for of in results["works"].values())
    unavailable = {work: of["unavailable"] for work, of in results["works"].items() if of["unavailable"]}
    versions = ", ".join(f"{name} {version}" for name, version in on["versions"].items())
    languages = {"Python": on["python"], "Node.js": on["node"], "Go": on.get("go"), "Java": on.get("java")}
    runtimes = ", ".join(f"{name} {version}" for name, version in languages.items() if version)
    lines += [
        "",
        f"{on['processors']} processors ({on['processor']}), {runtimes}, {on['redis']}; {versions}. "
        f"Rounds: {results['rounds']} of {results['seconds']:g} s with {CONNECTIONS} connections, medians. "
        f"Other programs took up to {others:.2f} of a processor meanwhile (the highest of these medians); "
        f"{discarded} measurements that they disturbed more than others were discarded.",
        *(f"{number:.0f} answers of `{work}` were 503 and do not count." for work, number in unavailable.items()),
    ]
    return "\n".join(lines) + "\n"
