"""Fixtures: a Valkey, which can be asked whether the disk has a write."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.deployments import valkey_binary
from tests.harness import RedisServer


@pytest.fixture
def own_valkey(
    own_redis: Callable[..., RedisServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., RedisServer]:
    """Give a factory of Valkey servers that end with the test."""
    (tmp_path / "valkey-server").symlink_to(valkey_binary())
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    return own_redis
