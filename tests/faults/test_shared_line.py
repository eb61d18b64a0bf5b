"""
A connection to Redis that 200 callers share, and a relay that changes what comes over it, at every byte.

`make faults` goes through every byte of the replies, tests/store/test_turns.py through some.
"""

import pytest

from gateway.store.store import Store
from tests.faults.scenes import Size
from tests.harness import RedisServer
from tests.store.shared_line import (
    BY_A_RELAY,
    BY_THE_NETWORK,
    CALLERS,
    Relay,
    Told,
    fill,
    reply_bytes,
    round_of_callers,
)

pytestmark = [pytest.mark.redis, pytest.mark.one_server("it is what happens on one connection")]

# Each takes half a second, in which nobody is answered.
SILENCES_APART_BYTES = 100


@pytest.mark.parametrize("what", [*BY_THE_NETWORK, *BY_A_RELAY])
async def test_nobody_gets_anothers_answer_at_any_byte(server: RedisServer, size: Size, what: str) -> None:
    callers = size.of(20, CALLERS)
    is_echoed = what in BY_A_RELAY
    async with Relay().before(server) as relay:
        store, told = Store(f"redis://127.0.0.1:{relay.port}/0", "shared:"), Told()
        await fill(store, callers)
        await round_of_callers(store, Told(), callers, is_echoed=is_echoed)
        length, rounds = reply_bytes(callers, is_echoed=is_echoed), 0
        for at in range(0, length, SILENCES_APART_BYTES if what == "silenced" else size.of(10, 1)):
            relay.arm((BY_THE_NETWORK | BY_A_RELAY)[what], at)
            await round_of_callers(store, told, callers, is_echoed=is_echoed)
            rounds += 1
        relay.disarm()
        print(
            f"\n{what}: {rounds} rounds of {callers} callers, {relay.struck} strikes within {length} bytes, "
            f"{told.answered} answered, {dict(told.refused)} refused, slowest {told.slowest_seconds:.2f} s, "
            f"{len(told.violations)} violations"
        )
        assert relay.struck > rounds / 2
        assert not told.violations, told.violations[:5]
        await store.close()
