"""Redis comes back with less than it had: an older copy of its files, or after a kill (I1, I2, F1, F2, F9, T20)."""

import asyncio
import random
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.families.conftest import Tally
from tests.families.journal import Answer, Journal, ask_once, generation_of, refresh_request, request
from tests.families.records import Records
from tests.harness import GatewayProcess, RedisServer

CLIENTS = 40
MOST_ROTATIONS_LOST = 100
SESSIONS_PER_KILL = 50
ON_DISK_WHEN_ANSWERED = ("--appendfsync", "always")


async def test_after_a_rollback_the_newest_token_works_and_the_revoked_stay_dead(
    own_redis: Callable[..., RedisServer],
    two_gateways: Callable[..., tuple[GatewayProcess, GatewayProcess]],
    make_gateway: Callable[..., GatewayProcess],
    open_journals: Callable[..., list[Journal]],
    tmp_path: Path,
    tally: Tally,
    chance: random.Random,
    size: Callable[[int, int], int],
) -> None:
    server = own_redis(*ON_DISK_WHEN_ANSWERED)
    gateways = await asyncio.to_thread(two_gateways, redis_url=server.url)
    journals = await asyncio.to_thread(open_journals, gateways[0], size(CLIENTS, 5 * CLIENTS))
    for journal in journals:
        tally.violations += await journal.refresh(chance.choice(gateways))
    revoked_before, revoked_after, *others = [journals[start::5] for start in range(5)]
    going_on, robbed, robbed_late = others

    for journal in revoked_before:
        tally.expect((await log_out(gateways[0], journal)).status == 204, "a logout was refused")
    server.kill()
    shutil.copytree(server.directory, tmp_path / "copy")
    await asyncio.to_thread(server.start)

    losses = {}
    for journal in (*going_on, *robbed, *robbed_late):
        least = 0 if journal in going_on else 3
        lost = (
            MOST_ROTATIONS_LOST if journal in (going_on[0], robbed[0]) else chance.randint(least, MOST_ROTATIONS_LOST)
        )
        losses[journal.session_id] = lost
        tally.add(sessions=1, rotations_lost=lost)

    async def use(journal: Journal) -> None:
        for _ in range(losses[journal.session_id]):
            tally.violations += await journal.refresh(chance.choice(gateways))

    await asyncio.gather(*[use(journal) for journal in (*going_on, *robbed, *robbed_late)])
    for journal in revoked_after:
        tally.expect((await log_out(gateways[0], journal)).status == 204, "a logout was refused")
    for gateway in gateways:
        for journal in (*revoked_before, *revoked_after):
            for _ in range(100):
                if not await is_allowed(gateway, journal):
                    break
                await asyncio.sleep(0.01)

    server.kill()
    shutil.rmtree(server.directory)
    shutil.copytree(tmp_path / "copy", server.directory)
    await asyncio.to_thread(server.start)
    for gateway in gateways:
        gateway.wait_until_ready()
    newcomer = await asyncio.to_thread(make_gateway, redis_url=server.url, issuer=gateways[0].url)

    for journal in going_on:
        newest = journal.refresh_token
        wrong = await journal.refresh(chance.choice(gateways))
        wrong += await journal.refresh(chance.choice(gateways), newest)  # and again: its answer was lost
        wrong += await journal.refresh(chance.choice(gateways))
        tally.violations += wrong
        tally.expect(generation_of(journal.refresh_token) == generation_of(newest) + 2, "a rotation too many")
        tally.add(logouts=len(wrong))

    # A thief with an old token, after the client: reuse. Before the client: he is found out by his second use at last.
    for journal in robbed:
        stolen = chance.choice(list(journal.successors)[1:-1])
        tally.violations += await journal.refresh(chance.choice(gateways))
        await expect_end(tally, gateways, journal, stolen)
    for journal in robbed_late:
        stolen = chance.choice(list(journal.successors)[1:-2])
        thief = Journal(journal.user_id, journal.email, journal.session_id, stolen, successors=journal.successors)
        tally.violations += await thief.refresh(chance.choice(gateways))
        tally.violations += await journal.refresh(chance.choice(gateways))
        await expect_end(tally, gateways, journal, thief.refresh_token)

    for gateway in (*gateways, newcomer):
        for journal in revoked_before:
            answer = await ask_once(gateway, refresh_request(journal.refresh_token))
            tally.expect(answer.status == 401, "a session that was revoked before the copy is back (I2)")
            tally.expect(not await is_allowed(gateway, journal), "its access token is good again (I2)")
    # Redis has lost these revocations: a gateway that was told of them still knows, one that started later does not.
    middle = len(revoked_after) // 2
    for number, journal in enumerate(revoked_after):
        for gateway in gateways:
            tally.expect(
                not await is_allowed(gateway, journal), "a gateway that knew of a revocation has forgotten it (I2)"
            )
        answer = await ask_once(
            newcomer if number < middle else chance.choice(gateways), refresh_request(journal.refresh_token)
        )
        if number >= middle:
            tally.expect(answer.status == 401, "a gateway that knew of a revocation has forgotten it (I2)")
        elif answer.status == 200:
            tally.add(back_at_a_newcomer=1)
            journal.take(journal.refresh_token, answer)
            for gateway in gateways:
                tally.expect(not await is_allowed(gateway, journal), "it works again where its end was known (I2)")
        tally.add(revoked_after_the_copy=1)
    tally.add(revoked_before_the_copy=len(revoked_before))
    tally.close()


async def test_what_was_revoked_stays_so_when_redis_and_all_gateways_are_killed(
    own_redis: Callable[..., RedisServer],
    two_gateways: Callable[..., tuple[GatewayProcess, GatewayProcess]],
    open_journals: Callable[..., list[Journal]],
    tally: Tally,
    chance: random.Random,
    size: Callable[[int, int], int],
) -> None:
    server = own_redis(*ON_DISK_WHEN_ANSWERED)
    gateways = await asyncio.to_thread(two_gateways, redis_url=server.url)
    rounds = size(3, 20)
    journals = await asyncio.to_thread(open_journals, gateways[0], rounds * SESSIONS_PER_KILL)
    records = Records(server, gateways[0].env["GATEWAY_REDIS_KEY_PREFIX"])
    for start in range(0, len(journals), SESSIONS_PER_KILL):
        ended = journals[start : start + SESSIONS_PER_KILL]
        for journal in ended:
            tally.violations += await journal.refresh(chance.choice(gateways))
        answers = await asyncio.gather(*[log_out(chance.choice(gateways), journal) for journal in ended])
        tally.expect({answer.status for answer in answers} == {204}, "a logout was refused")
        for process in (server, *gateways):
            process.kill()
        await asyncio.to_thread(server.start)
        for gateway in gateways:
            gateway.start(wait=False)
        for gateway in gateways:
            await asyncio.to_thread(gateway.wait_until_ready)
        for journal in ended:
            answer = await ask_once(chance.choice(gateways), refresh_request(journal.refresh_token))
            tally.expect(answer.status == 401, "a revoked session is back (I2)")
            tally.expect(not await is_allowed(chance.choice(gateways), journal), "its access token is good again (I2)")
            tally.expect(records.of(journal.user_id) == {}, "a revoked session is stored (I2)")
        tally.add(kills=3, revoked=len(ended))
    records.close()
    tally.close()


async def log_out(gateway: GatewayProcess, journal: Journal) -> Answer:
    """End a client's session."""
    return await ask_once(gateway, request("POST", "/auth/logout", refresh_token=journal.refresh_token))


async def is_allowed(gateway: GatewayProcess, journal: Journal) -> bool:
    """Tell whether a gateway's subrequest lets a client in."""
    asking = request("GET", "/api/authz/auth-request", access_token=journal.access_token)
    status = (await ask_once(gateway, asking)).status
    assert status in (200, 401), status
    return status == 200


async def expect_end(
    tally: Tally, gateways: tuple[GatewayProcess, GatewayProcess], journal: Journal, stolen: str
) -> None:
    """Present an old token, and see that this is the end of its family, for the client too."""
    answer = await ask_once(gateways[0], refresh_request(stolen))
    tally.expect((answer.status, answer.slug) == (401, "refresh-token-reused"), f"an old token: {answer}")
    after = await ask_once(gateways[1], refresh_request(journal.refresh_token))
    tally.expect((after.status, after.slug) == (401, "refresh-token-invalid"), f"the family lives on: {after}")
    tally.expect(not await is_allowed(gateways[0], journal), "an access token of the family is still good")
    tally.add(reuses=1)
