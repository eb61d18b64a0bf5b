"""Quotas per client address, counted in Redis on Redis's clock by GCRA, and so shared by all gateways."""

import math
from dataclasses import dataclass

from gateway.errors import RateLimited
from gateway.settings import Quota
from gateway.store import Script, Store

MICROSECONDS = 1_000_000


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
        self._take = Script.load("gcra_take")

    async def take(self, limit: str, address_key: str) -> RateState | None:
        """
        Count one attempt from an address.

        Args:
            limit: Name of the limit, such as `login`.
            address_key: The address as it is counted: IPv4 whole, IPv6 by its /64.

        Returns:
            What is left of the quota; None when the limit is off.

        Raises:
            RateLimited: The quota is used up; this attempt was not counted.
        """
        quota = self._quotas.get(limit)
        if quota is None:
            return None
        allowed, left, retry_us, reset_us = await self._store.run(
            self._take,
            [self._store.key(f"rate:{limit}:{address_key}")],
            quota.window_seconds * MICROSECONDS // quota.count,
            quota.count,
        )
        policy = f'"{limit}";q={quota.count};w={quota.window_seconds}'
        state = f'"{limit}";r={left};t={math.ceil(reset_us / MICROSECONDS)}'
        if not allowed:
            raise RateLimited(max(1, math.ceil(retry_us / MICROSECONDS)), policy, state)
        return RateState(policy, state)
