"""Answers that never arrive: the client hangs up, or the gateway is killed (I1, I3, F13, F14)."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator

import pytest

from tests.families.conftest import Tally
from tests.families.journal import Answer, Connection, Journal, generation_of, refresh_request
from tests.families.records import Records
from tests.harness import GatewayProcess, RedisServer

CLIENTS = 125
AT_ONCE = 16
LONGEST_ANSWER_BYTES = 1500
CLIENTS_PER_KILL = 16
LONGEST_BATCH_SECONDS = 0.04


@pytest.fixture
def stored_generation(redis_server: RedisServer) -> Iterator[Callable[[GatewayProcess, Journal], int]]:
    """Give a function that reads the generation which Redis has for a client's session."""
    opened: list[Records] = []

    def read(gateway: GatewayProcess, journal: Journal) -> int:
        if not opened:
            opened.append(Records(redis_server, gateway.env["GATEWAY_REDIS_KEY_PREFIX"]))
        return opened[0].of(journal.user_id)[journal.session_id].generation

    yield read
    for records in opened:
        records.close()


async def test_a_client_that_hangs_up_at_any_moment_gets_its_token_by_asking_again(
    two_gateways: Callable[..., tuple[GatewayProcess, GatewayProcess]],
    open_journals: Callable[..., list[Journal]],
    stored_generation: Callable[[GatewayProcess, Journal], int],
    size: Callable[[int, int], int],
    tally: Tally,
    chance: random.Random,
) -> None:
    gateways = await asyncio.to_thread(two_gateways)
    journals = await asyncio.to_thread(open_journals, gateways[0], CLIENTS)

    async def lose_one(journal: Journal) -> None:
        presented = journal.refresh_token
        await lose_answer(await Connection.open(chance.choice(gateways).port), refresh_request(presented), chance)
        tally.add(rotated_unheard=stored_generation(gateways[0], journal) - generation_of(presented))
        wrong = await journal.refresh(chance.choice(gateways), presented)
        tally.violations += wrong
        tally.add(lost_answers=1, logouts=len(wrong))
        tally.expect(generation_of(journal.refresh_token) == generation_of(presented) + 1, "more than one rotation")

    # Each client in turn, so that what it has left behind is over when it uses its successor.
    for _ in range(size(500, 10_000) // CLIENTS):
        await at_most_at_once(AT_ONCE, lose_one, journals)
    tally.add(answers_503=sum(journal.answers_503 for journal in journals))
    tally.close()


async def test_a_gateway_killed_in_the_middle_of_a_refresh_costs_nobody_the_session(
    two_gateways: Callable[..., tuple[GatewayProcess, GatewayProcess]],
    open_journals: Callable[..., list[Journal]],
    stored_generation: Callable[[GatewayProcess, Journal], int],
    size: Callable[[int, int], int],
    tally: Tally,
    chance: random.Random,
) -> None:
    victim, other = await asyncio.to_thread(two_gateways)
    journals = await asyncio.to_thread(open_journals, victim, CLIENTS_PER_KILL)
    for _ in range(size(12, 1000)):
        presented = [journal.refresh_token for journal in journals]
        connections = [await Connection.open(victim.port) for _ in journals]
        asking = [
            asyncio.create_task(answer_or_none(connection, token))
            for connection, token in zip(connections, presented, strict=True)
        ]
        await asyncio.sleep(chance.uniform(0, LONGEST_BATCH_SECONDS))
        await asyncio.to_thread(victim.kill)
        answers = await asyncio.gather(*asking)
        for connection in connections:
            await connection.close()
        tally.add(kills=1)
        for journal, token, answer in zip(journals, presented, answers, strict=True):
            if answer is not None and answer.status == 200:
                tally.violations += journal.take(token, answer)
                tally.add(answered=1)
                continue
            tally.add(
                interrupted=1, rotated_unheard=stored_generation(other, journal) - generation_of(token), logouts=0
            )
            wrong = await journal.refresh(other, token)
            tally.violations += wrong
            tally.add(logouts=len(wrong))
            tally.expect(generation_of(journal.refresh_token) == generation_of(token) + 1, "more than one rotation")
        await asyncio.to_thread(victim.start)
        victim, other = other, victim
    tally.add(answers_503=sum(journal.answers_503 for journal in journals))
    tally.expect(tally.counts["rotated_unheard"] > 0, "no kill came after a rotation and before its answer")
    tally.close()


async def lose_answer(connection: Connection, octets: bytes, chance: random.Random) -> None:
    """Send a request and hang up: within it, some time after it, or within the answer."""
    moment = chance.choice(("within the request", "after a while", "within the answer"))
    connection.send(octets[: chance.randrange(len(octets))] if moment == "within the request" else octets)
    if moment == "within the answer":
        await connection.read_some(chance.randrange(1, LONGEST_ANSWER_BYTES))
    else:
        await asyncio.sleep(chance.uniform(0, 0.01))
    await connection.hang_up(reset=chance.random() < 0.5)


async def answer_or_none(connection: Connection, refresh_token: str) -> Answer | None:
    """Ask for a refresh; None when the gateway died before the answer was whole."""
    try:
        return await connection.ask(refresh_request(refresh_token))
    except (OSError, EOFError):
        return None


async def at_most_at_once(limit: int, work: Callable[[Journal], Awaitable[None]], journals: list[Journal]) -> None:
    """Do something for every client, for so many at once."""
    free = asyncio.Semaphore(limit)

    async def bounded(journal: Journal) -> None:
        async with free:
            await work(journal)

    await asyncio.gather(*[bounded(journal) for journal in journals])
