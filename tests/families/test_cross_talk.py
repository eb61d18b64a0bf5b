"""Many users at once, hanging up and waiting for a slow Redis: nobody gets what is another's (I5, F14, T23)."""

import asyncio
import random
from collections.abc import Callable

from tests.families.conftest import Tally
from tests.families.journal import Answer, Connection, Journal, claims_of, refresh_request, request
from tests.families.proxy import Proxy
from tests.families.test_lost_answers import lose_answer
from tests.harness import GatewayProcess, RedisServer

USERS = 50
ABORTED = 0.1
DELAYED = 0.2
LONGEST_DELAY_SECONDS = 0.05
SETTLED_SECONDS = 0.3


async def test_no_answer_is_somebody_elses(
    own_redis: Callable[..., RedisServer],
    make_proxy: Callable[[RedisServer], Proxy],
    make_gateway: Callable[..., GatewayProcess],
    open_journals: Callable[..., list[Journal]],
    size: Callable[[int, int], int],
    tally: Tally,
    chance: random.Random,
) -> None:
    server = own_redis()
    proxy = make_proxy(server)
    proxy.delay_seconds = lambda: random.uniform(0, LONGEST_DELAY_SECONDS) if random.random() < DELAYED else 0.0
    direct = await asyncio.to_thread(make_gateway, redis_url=server.url)
    slow = await asyncio.to_thread(make_gateway, redis_url=proxy.url, issuer=direct.url)
    journals = await asyncio.to_thread(open_journals, direct, USERS)

    async def one_user(journal: Journal, requests: int) -> None:
        dice = random.Random(chance.randrange(2**32))
        connections = {gateway.port: await Connection.open(gateway.port) for gateway in (direct, slow)}
        tally.violations += await journal.refresh(direct)
        for _ in range(requests):
            port = dice.choice(list(connections))
            presented = journal.refresh_token
            what = dice.choice(("refresh", "refresh", "me", "sessions", "authz"))
            octets = {
                "refresh": refresh_request(presented),
                "me": request("GET", "/auth/me", access_token=journal.access_token),
                "sessions": request("GET", "/auth/sessions", access_token=journal.access_token),
                "authz": request("GET", "/api/authz/auth-request", access_token=journal.access_token),
            }[what]
            tally.add(requests=1)
            if dice.random() < ABORTED:
                await lose_answer(connections[port], octets, dice)
                connections[port] = await Connection.open(port)
                # What was left behind is over before its token is a grandparent.
                await asyncio.sleep(SETTLED_SECONDS)
                tally.add(aborted=1)
                continue
            answer = await connections[port].ask(octets)
            tally.violations += wrong_in(what, answer, journal, presented)
            tally.add(answers=1)
        for connection in connections.values():
            await connection.close()

    await asyncio.gather(*[one_user(journal, size(4000, 100_000) // USERS) for journal in journals])
    answers_503 = sum(journal.answers_503 for journal in journals)
    tally.add(answers_503=answers_503)
    tally.expect(answers_503 * 100 <= tally.counts["answers"], f"{answers_503} times 503, though Redis was there")
    tally.close()


def wrong_in(what: str, answer: Answer, journal: Journal, presented: str) -> list[str]:
    """Give what is wrong with an answer: that it is not a success, or somebody else's."""
    if what == "refresh":
        return journal.take(presented, answer)
    if answer.status == 503:
        journal.answers_503 += 1
        return []
    if answer.status != 200:
        return [f"{what}: {answer}"]
    if what == "me":
        theirs = answer.document["id"] != journal.user_id or answer.document["email"] != journal.email
    elif what == "sessions":
        theirs = [row["id"] for row in answer.document["sessions"]] != [journal.session_id]
    else:
        theirs = answer.headers["remote-user"] != journal.email or answer.headers["remote-sub"] != journal.user_id
    own = claims_of(journal.access_token)["sub"] == journal.user_id
    return [f"{what}: somebody else's: {answer}"] if theirs or not own else []
