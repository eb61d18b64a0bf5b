"""What a session costs in Redis (contract section 10)."""

import secrets
from collections.abc import Iterator

import pytest

from gateway.accounts.users import Users
from gateway.clock import system_clock
from gateway.derived_keys import KeyChain
from gateway.sessions.families import MAX_DEVICE_BYTES, RefreshFamilies, new_family_id
from gateway.store.store import Store
from tests.families.conftest import Tally
from tests.families.records import Records
from tests.harness import SECRET, RedisServer

LONGEST_ADDRESS = "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"
MAX_BYTES_OF_ONE = 256


@pytest.fixture
def records(redis_server: RedisServer) -> Iterator[Records]:
    """Give the records under the contract's key prefix, which counts too."""
    opened = Records(redis_server, "gw:")
    yield opened
    opened.close()


async def test_one_session_takes_at_most_256_bytes(redis_server: RedisServer, records: Records, tally: Tally) -> None:
    store, keychain = Store(redis_server.url, "gw:"), KeyChain.of(SECRET, ())
    families = RefreshFamilies(
        store, keychain, idle_ttl_seconds=1000, absolute_ttl_seconds=2000, replay_window_seconds=60, max_per_user=50
    )
    email = f"{secrets.token_hex(6)}@example.com"
    user = await Users(store, system_clock).add(email, "Name", ("staff",), "no password")
    key = records.key(user.user_id)
    for sessions in range(1, 51):
        label = f"Firefox {sessions} on Linux".ljust(MAX_DEVICE_BYTES, "x")
        opened = await families.open(user.user_id, 1, new_family_id(), LONGEST_ADDRESS, label)
        await families.rotate(families.parse(opened.refresh_token))
        if sessions in (1, 10, 50):
            used = records.client.memory_usage(key, samples=0)
            tally.add(**{f"bytes_of_{sessions}": used})
            tally.expect(used <= MAX_BYTES_OF_ONE * sessions, f"{sessions} sessions take {used} bytes")
    listed = await families.list(user.user_id)
    tally.expect(
        {(family.address, family.device) for family in listed if family.device.startswith("Firefox 50")}
        == {(LONGEST_ADDRESS, "Firefox 50 on Linux".ljust(MAX_DEVICE_BYTES, "x"))},
        "an address or a label was cut",
    )
    compact = {b"listpack", b"ziplist"}  # the name before Redis 7
    tally.expect(records.client.object("encoding", key) in compact, "the hash is not in its compact encoding")
    await store.close()
    tally.close()
