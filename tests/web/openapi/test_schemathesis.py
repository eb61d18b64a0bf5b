"""
A real gateway, asked what its document allows and what it forbids, by schemathesis: no 5xx, no answer that is not
described, nothing refused that is allowed, nothing taken that is forbidden.

`make schemathesis` installs it and asks for longer; OPENAPI_EXAMPLES is how often each operation is asked at most.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.state import Gateway
from tests.harness import GatewayProcess, in_gateway

HERE = Path(__file__).parent
OTHER_AUDIENCE = "https://wiki.example.test"
EXAMPLES = os.environ.get("OPENAPI_EXAMPLES", "")  # noqa: TID251 - what `make schemathesis` says
SHORT = ("--max-examples", "1", "--phases", "fuzzing")
SEED = "20261129"


def find_schemathesis() -> str | None:
    """Give the program, as .ci/schemathesis has installed it beside the tests' own Python, or from PATH."""
    beside = Path(sys.prefix) / "schemathesis" / "bin" / "schemathesis"
    return str(beside) if beside.exists() else shutil.which("schemathesis")


@pytest.mark.redis
def test_a_gateway_answers_as_its_document_says(gateway_with: Callable[..., GatewayProcess], tmp_path: Path) -> None:
    program = find_schemathesis()
    if program is None:
        pytest.skip("schemathesis is not installed: make schemathesis")
    gateway = gateway_with(audiences=OTHER_AUDIENCE)
    user = gateway.add_user()

    async def add_client(parts: Gateway) -> str:
        service, secret = await parts.clients.add("Service", ("staff",), (gateway.url,))
        return f"{service.client_id} {secret}"

    env = {
        **os.environ,  # noqa: TID251 - for a child
        "OPENAPI_HOOKS": str(HERE / "credentials.py"),
        "OPENAPI_GATEWAY": gateway.url,
        "OPENAPI_USER": f"{user.email} {user.password}",
        "OPENAPI_CLIENT": in_gateway(gateway.env, add_client),
    }
    report = tmp_path / "report.json"
    asked = ("--max-examples", EXAMPLES) if EXAMPLES else SHORT
    done = subprocess.run(
        [
            *(program, "--config-file", str(HERE / "schemathesis.toml"), "run", f"{gateway.url}/openapi.json"),
            *("--no-color", "--seed", SEED, "--report", "json", "--report-json-path", str(report), *asked),
        ],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
    )
    assert report.exists(), done.stdout + done.stderr
    told: dict[str, Any] = json.loads(report.read_text())
    cases, operations = told["test_cases"], told["operations"]
    print(
        f"schemathesis {told['schemathesis_version']}: {cases['generated']} cases of {operations['tested']} operations,"
    )
    print(f"{cases['with_failures']} with failures, {cases['errored']} with errors, in {told['running_time']:.0f} s")
    assert (done.returncode, operations["tested"]) == (0, operations["total"]), done.stdout
