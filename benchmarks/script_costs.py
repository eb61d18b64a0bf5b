"""What each script costs Redis, by its own account (`INFO commandstats`), called alone and in pipelines."""

import hashlib
import secrets
from collections.abc import Callable

from benchmarks.filling import PREFIX, TAIL, Filler, email_of, factors_key, families_key, family_id_of, user_key
from gateway.limits.guessing import CLOSED_MEMORY_SECONDS, CLOSING_FAILURES, MEMORY_SECONDS_PER_FAILURE
from gateway.settings import Settings
from gateway.store.store import Script

GUESSES: tuple[int, ...] = (CLOSING_FAILURES, MEMORY_SECONDS_PER_FAILURE, CLOSED_MEMORY_SECONDS)
Call = tuple[list[str], list[str | int | bytes]]


def script_microseconds(filler: Filler, numbers: list[int]) -> dict[str, float]:
    """
    Call each script once for each of these users, whose sessions nobody has refreshed, and give its `usec_per_call`.

    Leaves the first session of each user there, and *numbers* entries in the stream of revocations.
    """
    settings = Settings()
    idle, absolute = settings.refresh_idle_ttl_seconds, settings.refresh_absolute_ttl_seconds
    second = {number: secrets.token_urlsafe(16) for number in numbers}

    def guess(number: int) -> list[str]:
        return [f"{PREFIX}guess:{{{hashlib.sha256(email_of(number).encode()).hexdigest()}}}"]

    opening: list[str | int | bytes] = [1, idle, absolute, settings.max_sessions_per_user, TAIL, 1, 0, ""]
    calls: dict[str, Callable[[int], Call]] = {
        "family_rotate": lambda n: ([families_key(n), user_key(n)], [family_id_of(n), 0, idle, 60, 1, 30]),
        "family_open": lambda n: ([families_key(n), user_key(n), factors_key(n)], [second[n], *opening]),
        "family_list": lambda n: ([families_key(n)], [idle]),
        "family_mark": lambda n: ([families_key(n), user_key(n)], ["", idle, 1, second[n]]),
        "family_revoke": lambda n: ([families_key(n), user_key(n)], [idle, second[n]]),
        "guess_take": lambda n: (guess(n), ["unknown", "a", *GUESSES, 5, 30, 3600]),
        "guess_settle": lambda n: (guess(n), ["unknown", "a", *GUESSES, "success"]),
        "gcra_take": lambda n: ([f"{PREFIX}rate:refresh:10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}"], [500_000, 120]),
        "revocation_announce": lambda n: ([f"{PREFIX}revocations"], [3_660_000, second[n]]),
    }
    found = {}
    for name, call in calls.items():
        script = Script.load("gateway." + ("limits" if name.startswith(("guess", "gcra")) else "sessions"), name)
        filler.client.script_load(script.text)
        filler.client.config_resetstat()
        for start in range(0, len(numbers), 500):
            pipeline = filler.client.pipeline(transaction=False)
            for number in numbers[start : start + 500]:
                keys, arguments = call(number)
                pipeline.evalsha(script.sha1, len(keys), *keys, *arguments)
            pipeline.execute()
        statistics = filler.client.info("commandstats")["cmdstat_evalsha"]
        assert statistics["failed_calls"] == 0, name
        found[name] = float(statistics["usec_per_call"])
    return found
