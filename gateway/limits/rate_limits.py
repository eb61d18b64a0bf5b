"""
Quotas per client address, counted in Redis on Redis's clock by GCRA, and so shared by all gateways.

How many addresses are tracked needs no cap of its own: a key lives no longer than its window, and only until its quota
is whole again, so Redis holds those who came within that time, about 100 bytes each; a /64, which one customer has
whole, is one of them. Keep windows short where strangers come from many networks: a quota for each day remembers a day.
"""

import math
from dataclasses import dataclass

from gateway.errors import RateLimited
from gateway.settings import Quota
from gateway.store import Script, Store

MICROSECONDS = 1_000_000
WIDER_NETWORK_FACTOR = 8


@dataclass(frozen=True)
class RateState:
    """What the answer says about a quota (draft-ietf-httpapi-ratelimit-headers): the two header values."""

    policy: str
    state: str


class RateLimiter:
    """
    Takes attempts from quotas.

    Args:
        quotas: Quota by the name of its limit; a limit that is missing or None is off.
    """

    def __init__(self, store: Store, quotas: dict[str, Quota | None]) -> None:
        self._store = store
        self._quotas = quotas
        self._take = Script.load(__package__, "gcra_take")

    async def take(self, limit: str, address_key: str, *wider_keys: str) -> RateState | None:
        """
        Count one attempt from an address.

        Args:
            limit: Name of the limit, such as `login`.
            address_key: The address as it is counted: IPv4 whole, IPv6 by its /64.
            wider_keys: Networks around it, each with 8 times the quota of what is within. They are counted after the
                narrower ones, so that who has used up his own quota does not use up his neighbours'.

        Returns:
            What is left of the address's own quota; None when the limit is off.

        Raises:
            RateLimited: A quota is used up; this attempt was not counted against it.
        """
        quota = self._quotas.get(limit)
        if quota is None:
            return None
        own = await self._take_one(limit, address_key, quota)
        for wider_key in wider_keys:
            quota = Quota(quota.count * WIDER_NETWORK_FACTOR, quota.window_seconds)
            await self._take_one(limit, wider_key, quota)
        return own

    async def _take_one(self, limit: str, address_key: str, quota: Quota) -> RateState:
        allowed, left, retry_us, reset_us = await self._store.run(
            self._take,
            [self._store.key(f"rate:{limit}:{address_key}")],
            max(1, quota.window_seconds * MICROSECONDS // quota.count),
            quota.count,
        )
        policy = f'"{limit}";q={quota.count};w={quota.window_seconds}'
        state = f'"{limit}";r={left};t={math.ceil(reset_us / MICROSECONDS)}'
        if not allowed:
            raise RateLimited(max(1, math.ceil(retry_us / MICROSECONDS)), policy, state)
        return RateState(policy, state)
