"""docs/machines.md, A docker registry: a real registry behind nginx, and a real client of it."""

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.interop.applications import start_registry
from tests.interop.conftest import StartFront
from tests.interop.pages import MACHINES, blocks, put_in, shell


def test_a_registry_takes_a_personal_token_as_a_password(
    start_front: StartFront, place: Path, asks_for_a_password: str, token: str, tmp_path: Path
) -> None:
    """docs/machines.md, A docker registry: skopeo speaks to it as podman does, and nearly as docker."""
    if shutil.which("skopeo") is None or shutil.which("docker-registry") is None:
        pytest.skip("skopeo or docker-registry is not installed here (packages of these names)")
    [command] = blocks(MACHINES, "A docker registry", "sh")
    directory = place / "registry"
    directory.mkdir()
    host = start_front(start_registry(directory), asks_for_a_password)
    write_image(tmp_path / "image")
    env = {"TOKEN": token, "HOME": str(tmp_path), "REGISTRY_AUTH_FILE": str(tmp_path / "auth.json")}
    login = put_in(command, {"docker login": "skopeo login --tls-verify=false", "registry.example.com": host})
    shell(login, env)
    copy = "skopeo --insecure-policy copy --quiet --dest-tls-verify=false --src-tls-verify=false"
    shell(f"{copy} oci:{tmp_path}/image:1 docker://{host}/team/image:1", env)
    shell(f"{copy} docker://{host}/team/image:1 oci:{tmp_path}/back:1", env)
    assert (tmp_path / "back" / "index.json").exists()
    refused = subprocess.run(["sh", "-c", f"PATH={os.environ['PATH']} {login}"], env=env | {"TOKEN": "wrong"})  # noqa: TID251
    assert refused.returncode != 0


def write_image(directory: Path) -> None:
    """Write an image of one file as an OCI layout."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("hello"), io.BytesIO())
    config = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [_digest(layer.getvalue())]},
    }
    vendor = "application/vnd.oci.image"
    (directory / "blobs" / "sha256").mkdir(parents=True)

    def put(octets: bytes, media_type: str) -> dict[str, Any]:
        digest = _digest(octets)
        (directory / "blobs" / "sha256" / digest.removeprefix("sha256:")).write_bytes(octets)
        return {"mediaType": media_type, "digest": digest, "size": len(octets)}

    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{vendor}.manifest.v1+json",
        "config": put(json.dumps(config).encode(), f"{vendor}.config.v1+json"),
        "layers": [put(gzip.compress(layer.getvalue()), f"{vendor}.layer.v1.tar+gzip")],
    }
    entry = put(json.dumps(manifest).encode(), f"{vendor}.manifest.v1+json")
    entry["annotations"] = {"org.opencontainers.image.ref.name": "1"}
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


def _digest(octets: bytes) -> str:
    return "sha256:" + hashlib.sha256(octets).hexdigest()
