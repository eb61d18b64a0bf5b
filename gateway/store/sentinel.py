"""A client of Sentinels that tells why none of them named the master."""

from typing import Any

from redis.asyncio import Sentinel
from redis.asyncio.sentinel import MasterNotFoundError
from redis.exceptions import AuthenticationError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError


class SentinelClient(Sentinel):
    """One that keeps each Sentinel's own words; redis-py has a page of its settings in their place."""

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        """
        Give host and port of the master, as the first Sentinel that knows it says.

        Raises:
            MasterNotFoundError: None of them does.
        """
        reasons = []
        for sentinel in list(self.sentinels):
            try:
                masters: Any = await sentinel.sentinel_masters()
            except (RedisConnectionError, RedisTimeoutError) as error:
                mend = ": mend sentinel_password in redis_url" if isinstance(error, AuthenticationError) else ""
                reason = f"{error}{mend}"
            else:
                state = masters.get(service_name)
                if state and self.check_master_state(state, service_name):
                    self.sentinels.remove(sentinel)
                    self.sentinels.insert(0, sentinel)  # who has answered is asked first
                    return state["ip"], state["port"]
                reason = "the master is down" if state else "it watches no such service"
            address = sentinel.connection_pool.connection_kwargs
            reasons.append(f"{address['host']}:{address['port']}: {reason}")
        raise MasterNotFoundError(f"no Sentinel has a master of {service_name}: {'; '.join(reasons)}")
