import subprocess
import sys
from pathlib import Path

BLOCKED = ("starlette", "uvicorn", "redis", "valkey", "bcrypt", "click", "httptools", "uvloop", "anyio")

PROGRAM = f"""
import sys
for name in {BLOCKED!r}:
    sys.modules[name] = None
import gateway.verifier
from gateway.verifier import *
loaded = {{name for name in sys.modules if name.startswith("gateway") and sys.modules[name] is not None}}
above = gateway.verifier.__name__.rpartition(".")[0]  # none, where it is a distribution of its own
assert {{name for name in loaded if not name.startswith(gateway.verifier.__name__)}} == {{above}} - {{""}}, loaded
print(*sorted(gateway.verifier.__all__))
"""


def test_the_verifier_works_without_redis_a_web_framework_and_the_rest_of_the_gateway() -> None:
    """A service that verifies tokens installs no more than it uses."""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=root, capture_output=True, text=True, check=True)
    assert "AccessTokenVerifier" in done.stdout.split()
