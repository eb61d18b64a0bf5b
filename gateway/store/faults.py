"""What the errors of Redis mean for the gateway: the one table, and log lines that do not flood the log."""

import logging
import re
from collections.abc import Callable
from typing import NamedTuple

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MaxConnectionsError, RedisClusterException, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

LOG_INTERVAL_SECONDS = 5.0
# What uvloop and redis-py say when a connection ends at the very moment in which something is written to it.
TORN_CONNECTION = (RuntimeError, AttributeError)
# redis-py tells of a cluster without a node that answers by an error that is no RedisError.
REDIS_FAILURES = (RedisError, RedisClusterException, OSError, *TORN_CONNECTION)

# These do not pass by themselves: somebody has to do something.
_MENDS = {
    "WRONGTYPE": "a key of ours holds something else: give the gateway a redis_key_prefix or a database of its own",
    "NOPERM": "the user in redis_url may not do this: ACL LOG tells what, ACL SETUSER allows it",
    "NOAUTH": "Redis wants a password: put it into redis_url",
    "WRONGPASS": "Redis does not take the user and the password in redis_url: mend them",
    "MOVED": "the server is part of a cluster: write redis_url as redis+cluster://host:port",
    "CROSSSLOT": "the server is part of a cluster: write redis_url as redis+cluster://host:port",
}
_ELSEWHERE = ("READONLY", "MOVED", "ASK", "UNBLOCKED")
_PASSING = (
    *("LOADING", "BUSY", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN", "MISCONF", "OOM", "NOREPLICAS", "NOSCRIPT"),
    *("MAXCLIENTS", "UNCONFIRMED"),
)
_OF_EVERYBODY = ("TIMEOUT", "CONNECTION", "MAXCLIENTS", "LOADING", "BUSY", "MASTERDOWN")
_CODE = re.compile(rf"\b({'|'.join((*_MENDS, *_ELSEWHERE, *_PASSING))})\b")
# What has no code of its own, or hides it, by words of its text.
_WORDS = {
    "max number of clients reached": "MAXCLIENTS",
    "previous master is now a slave": "READONLY",
    "Authentication required": "NOAUTH",
    "invalid password": "WRONGPASS",
    "invalid username-password": "WRONGPASS",
    "ACL failure in script": "NOPERM",
    "executing the script can't": "NOPERM",
    "against a key holding the wrong kind": "WRONGTYPE",
}

logger = logging.getLogger("gateway.store")


class Fault(NamedTuple):
    """
    What an error means.

    Args:
        code: Redis's own word where there is one; TIMEOUT, CONNECTION, BUSYPOOL or ERROR else.
        mend: What somebody has to do; empty where it passes by itself.
    """

    code: str
    mend: str = ""

    @property
    def is_of_everybody(self) -> bool:
        """Tell whether the server serves nobody now: it was not heard, or said so."""
        return self.code in _OF_EVERYBODY

    @property
    def is_elsewhere(self) -> bool:
        """Tell whether another server has taken over, so that the address should be looked up again."""
        return self.code in _ELSEWHERE


def fault_of(error: BaseException) -> Fault:
    """Give what an error of `REDIS_FAILURES` means."""
    code = _code_of(error)
    return Fault(code, _MENDS.get(code, ""))


def _code_of(error: BaseException) -> str:
    text = str(error)
    for words, code in _WORDS.items():
        if words in text:
            return code
    # redis-py takes the code off the text of some errors, and a script puts it anywhere.
    if found := _CODE.search(f"{getattr(error, 'status_code', None) or ''} {text}"):
        return found[1]
    if isinstance(error, MaxConnectionsError):
        return "BUSYPOOL"
    if isinstance(error, RedisTimeoutError | TimeoutError):
        return "TIMEOUT"
    broken = (RedisConnectionError, RedisClusterException, OSError, *TORN_CONNECTION)
    return "CONNECTION" if isinstance(error, broken) else "ERROR"


class FaultLog:
    """Logs faults: the first of a kind at once, then one line every `LOG_INTERVAL_SECONDS` with their number."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._quiet_until: dict[str, float] = {}
        self._unsaid: dict[str, int] = {}

    def tell(self, call: str, error: BaseException) -> None:
        """Log that *call* has failed by *error*: as an error with its mend if somebody has to do something."""
        fault, now = fault_of(error), self._monotonic()
        count = self._unsaid.get(fault.code, 0) + 1
        if now < self._quiet_until.get(fault.code, now):
            self._unsaid[fault.code] = count
            return
        self._quiet_until[fault.code], self._unsaid[fault.code] = now + LOG_INTERVAL_SECONDS, 0
        cause = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        fields: dict[str, object] = {"call": call, "code": fault.code, "cause": cause}
        fields |= ({"count": count} if count > 1 else {}) | ({"mend": fault.mend} if fault.mend else {})
        logger.log(logging.ERROR if fault.mend else logging.WARNING, "redis does not serve", extra={"fields": fields})
