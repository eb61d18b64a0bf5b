"""
How long a token is taken at most after its session was ended, by who verifies it, as the settings have it.

docs/revocation.md says where each second comes from; tests/tokens/test_revocation_latencies.py measures each.
"""

import msgspec

from gateway.settings import Settings
from gateway.tokens.application_tokens import MINUTE_SECONDS
from gateway.tokens.status_lists import CACHED_SECONDS, LIFE_SECONDS, TTL_SECONDS

HEARD_WITHIN_SECONDS = 1
SEEN_WITHIN_SECONDS = 3600


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """
    The worst case of one way to verify, in seconds after the answer to the request that ended the session.

    Attributes:
        way: Who verifies, and how.
        seconds: While gateways hear of revocations and can be reached.
        redis_away_seconds: While the gateway that is asked, or whose list is read, cannot hear of revocations.
        gateway_away_seconds: While who verifies can reach no gateway.
        because: What `seconds` is the sum of.
    """

    way: str
    seconds: int
    redis_away_seconds: int
    gateway_away_seconds: int
    because: str


def latencies_of(settings: Settings) -> tuple[Latency, ...]:
    """Give the worst case of each way, the shortest first; that with a status list only where there are lists."""
    life_seconds, most_lag_seconds = settings.access_token_ttl_seconds, settings.revocation_max_lag_seconds
    heard, stays = HEARD_WITHIN_SECONDS, most_lag_seconds or SEEN_WITHIN_SECONDS
    of_application = 2 * MINUTE_SECONDS
    ways = [
        Latency(
            way="subrequest",
            seconds=heard,
            redis_away_seconds=stays,
            gateway_away_seconds=0,
            because=f"{heard} until every gateway has heard",
        ),
        Latency(
            way="introspection",
            seconds=heard,
            redis_away_seconds=0,
            gateway_away_seconds=0,
            because=f"{heard} until every gateway has heard",
        ),
    ]
    if settings.status_list == "on":
        listed = heard + CACHED_SECONDS + TTL_SECONDS
        unheard = most_lag_seconds + LIFE_SECONDS if most_lag_seconds else life_seconds
        ways.append(
            Latency(
                way="offline with the status list",
                seconds=min(listed, life_seconds),
                redis_away_seconds=min(unheard, life_seconds),
                gateway_away_seconds=min(heard + LIFE_SECONDS, life_seconds),
                because=f"{heard} until every gateway has heard, {CACHED_SECONDS} in caches, {TTL_SECONDS} of ttl",
            )
        )
    ways += [
        Latency(
            way="offline behind token=",
            seconds=heard + of_application,
            redis_away_seconds=stays + of_application,
            gateway_away_seconds=of_application,
            because=f"{heard} until every gateway has heard, {of_application} that the last token lives",
        ),
        Latency(
            way="offline",
            seconds=life_seconds,
            redis_away_seconds=life_seconds,
            gateway_away_seconds=life_seconds,
            because="access_token_ttl_seconds",
        ),
    ]
    return tuple(ways)
