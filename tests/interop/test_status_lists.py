"""A round trip with @sd-jwt/jwt-status-list: it reads the gateway's lists, and `gateway.verifier` reads its own."""

import base64
import json
import random
import subprocess
import zlib
from pathlib import Path
from typing import Any

import httpx2
import jwt
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from gateway.clock import system_clock
from gateway.verifier import VerificationKey, thumbprint, verify_status_list
from tests.harness import GatewayProcess, wait_until
from tests.interop.languages import INTEROP, NODE, prepare, run_environment

POSITIONS = 2**20


def test_lists_go_to_and_from_the_library_of_others_unharmed(
    gateway: GatewayProcess, client: httpx2.Client, key_files: dict[str, str], tmp_path: Path
) -> None:
    """draft-ietf-oauth-status-list, sections 4 and 5."""
    command = prepare(NODE, INTEROP / "node" / "status-lists.mjs", tmp_path)
    session = gateway.login(gateway.add_user(), client, delivery="body")
    entry = jwt.decode(session["access_token"], options={"verify_signature": False})["status"]["status_list"]
    assert client.post("/auth/logout", json={"refresh_token": session["refresh_token"]}).status_code == 204

    wait_until(lambda: entry["idx"] in ended_in(client, entry["uri"]), 10, "the list with the ended session")
    ours = client.get(entry["uri"]).text

    private = load_pem_private_key(Path(key_files["KEY_EC"]).read_bytes(), None)
    public: Any = private.public_key()
    key, now, uri = VerificationKey(thumbprint(public), "ES256", public), system_clock(), "https://auth.example.com/1"
    dice = random.Random(20)
    theirs = [{"bits": bits, "values": [dice.randrange(2**bits) for _ in range(4_000)]} for bits in (1, 2, 4, 8)]
    sent = {
        "ours": ours,
        "accessToken": session["access_token"],
        "theirs": theirs,
        "keyFile": key_files["KEY_EC"],
        "header": {"alg": "ES256", "typ": "statuslist+jwt", "kid": key.kid},
        "claims": {"sub": uri, "iat": now, "exp": now + 60, "ttl": 10},
    }
    done = subprocess.run(
        command, input=json.dumps(sent), env=run_environment({}), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["bits"], told["length"], told["entry"]) == (1, POSITIONS, entry)
    assert entry["idx"] in told["set"]
    assert told["set"] == ended_in_list(ours)
    for made, wanted in zip(told["made"], theirs, strict=True):
        read = verify_status_list(made, {key.kid: key}, uri=uri, now=now)
        assert read.bits == wanted["bits"]
        assert [read.value_at(idx) for idx in range(len(read))] == wanted["values"]


def ended_in(client: httpx2.Client, uri: str) -> list[int]:
    """Give the positions of the list at an address that are not 0."""
    return ended_in_list(client.get(uri).text)


def ended_in_list(token: str) -> list[int]:
    """Give the positions of a list that are not 0, by arithmetic of our own."""
    lst = jwt.decode(token, options={"verify_signature": False})["status_list"]["lst"]
    bits = int.from_bytes(zlib.decompress(base64.urlsafe_b64decode(lst + "=" * (-len(lst) % 4))), "little")
    found = []
    while bits:
        lowest = bits & -bits
        found.append(lowest.bit_length() - 1)
        bits ^= lowest
    return found
