"""Many requests with one token at the same time, over two gateways (I3, F15, T19)."""

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest

from tests.families.conftest import Tally
from tests.families.journal import (
    Answer,
    Journal,
    ask_once,
    generation_of,
    open_connections,
    refresh_request,
)
from tests.families.records import Records
from tests.harness import GatewayProcess, RedisServer

PARALLEL = 64
# What goes wrong in one round in ten is found by 60 of them but for one run in 500.
ROUNDS, ROUNDS_OF_A_SOAK = 60, 200


@pytest.fixture
def stored_generation(redis_server: RedisServer) -> Callable[[GatewayProcess, Journal], int | None]:
    """Give a function that reads the generation which Redis has for a client's session; None for no session."""

    def read(gateway: GatewayProcess, journal: Journal) -> int | None:
        records = Records(redis_server, gateway.env["GATEWAY_REDIS_KEY_PREFIX"])
        try:
            record = records.of(journal.user_id).get(journal.session_id)
        finally:
            records.close()
        return None if record is None else record.generation

    return read


async def test_a_token_refreshed_64_times_at_once_over_two_gateways_gets_one_successor(
    two_gateways: Callable[..., tuple[GatewayProcess, GatewayProcess]],
    open_journals: Callable[..., list[Journal]],
    stored_generation: Callable[[GatewayProcess, Journal], int | None],
    size: Callable[[int, int], int],
    tally: Tally,
) -> None:
    """Shows ASVS 15.4.2, ASVS 10.4.5, RFC 9700 2.2.2."""
    rounds = size(ROUNDS, ROUNDS_OF_A_SOAK)
    gateways = await asyncio.to_thread(two_gateways)
    (journal,) = await asyncio.to_thread(open_journals, gateways[0], 1)
    connections = await open_connections(gateways, PARALLEL // 2)
    for round_number in range(rounds):
        presented = journal.refresh_token
        answers = await asyncio.gather(*[connection.ask(refresh_request(presented)) for connection in connections])
        for answer in answers:
            # On a machine that is starved of processors Redis may seem away; a client then asks again, as here.
            while answer.status == 503 and tally.counts["answered_503"] < PARALLEL * rounds // 10:
                tally.add(answered_503=1)
                await asyncio.sleep(0.1)
                answer = await ask_once(gateways[0], refresh_request(presented))
            tally.violations += journal.take(presented, answer)
        tally.expect(generation_of(journal.refresh_token) == round_number + 1, f"round {round_number}: skipped")
        tally.add(rounds=1, requests=len(answers))
    tally.add(answers_503=journal.answers_503)
    tally.expect(
        stored_generation(gateways[0], journal) == rounds, "the stored generation moved more than once a round"
    )
    for connection in connections:
        await connection.close()
    tally.close()


async def test_without_a_window_64_at_once_give_one_successor_and_end_the_family(
    two_gateways: Callable[..., tuple[GatewayProcess, GatewayProcess]],
    open_journals: Callable[..., list[Journal]],
    stored_generation: Callable[[GatewayProcess, Journal], int | None],
    size: Callable[[int, int], int],
    tally: Tally,
) -> None:
    rounds = size(ROUNDS, ROUNDS_OF_A_SOAK)
    gateways = await asyncio.to_thread(two_gateways, refresh_replay_window_seconds=0)
    journals = await asyncio.to_thread(open_journals, gateways[0], rounds)
    connections = await open_connections(gateways, PARALLEL // 2)
    for journal in journals:
        presented = journal.refresh_token
        answers = await asyncio.gather(*[connection.ask(refresh_request(presented)) for connection in connections])
        verdicts = Counter(_verdict(answer) for answer in answers)
        unheard = verdicts.pop(
            "store-unavailable", 0
        )  # on a busy machine; each of the three verdicts may be among them
        heard_once = all(verdicts[once] + unheard >= 1 >= verdicts[once] for once in ("200", "refresh-token-reused"))
        others = set(verdicts) - {"200", "refresh-token-reused", "refresh-token-invalid"}
        tally.expect(heard_once and not others, f"{journal.session_id}: {verdicts}")
        tally.add(answers_503=unheard)
        for answer in answers:
            if answer.status == 200:
                tally.violations += journal.take(presented, answer)
        after = await ask_once(gateways[1], refresh_request(journal.refresh_token))
        tally.expect(_verdict(after) == "refresh-token-invalid", f"{journal.session_id}: it lives on: {after}")
        tally.expect(
            stored_generation(gateways[0], journal) is None, f"{journal.session_id}: its record is still there"
        )
        tally.add(rounds=1, requests=len(answers) + 1)
    for connection in connections:
        await connection.close()
    audits = [
        line for gateway in gateways for line in gateway.log_lines() if line.get("event") == "refresh_token_reused"
    ]
    unheard = tally.counts["answers_503"]
    tally.expect(rounds - unheard <= len(audits) <= rounds, f"{len(audits)} security events: one for each family")
    tally.close()


def _verdict(answer: Answer) -> str:
    return "200" if answer.status == 200 else answer.slug
