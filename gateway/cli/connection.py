"""How a command reaches Redis: the server that `redis_url` names, or the private one, running already or not."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import click
import msgspec

from gateway import telemetry
from gateway.app import open_gateway
from gateway.cli import settings_for
from gateway.settings import Settings
from gateway.state import Gateway
from gateway.store import PrivateRedis, check_server, open_private_redis, private_secret


@contextmanager
def with_redis(settings: Settings, *, for_serving: bool) -> Iterator[tuple[Settings, PrivateRedis | None]]:
    """
    Give settings that name a running Redis and a secret, and the private Redis where that is the one.

    Raises:
        StartupError: The private Redis or its data directory cannot be used.
    """
    if settings.redis_url is not None:
        yield settings, None
        return
    secret = settings.secret or private_secret(settings.data_dir)
    with open_private_redis(
        settings.data_dir, for_serving=for_serving, listen=(settings.host, settings.port) if for_serving else None
    ) as private:
        yield msgspec.structs.replace(settings, redis_url=private.url, secret=secret), private


@asynccontextmanager
async def checked_gateway(settings: Settings) -> AsyncIterator[tuple[Gateway, list[str]]]:
    """
    Give a gateway whose Redis has been found fit, with warnings, and whose keys, if there are any yet, are open.

    Raises:
        StartupError: It is not, or they are sealed under another secret. A password hashed under that one would be
            of no use to the gateways.
    """
    async with open_gateway(settings) as gateway:
        warnings = await check_server(gateway.store, gateway.clock)
        if await gateway.store.execute("EXISTS", gateway.store.key("keyring")):
            await gateway.keyring.open()
        yield gateway, warnings


def run_with_gateway(
    ctx: click.Context, work: Callable[[Gateway], Coroutine[Any, Any, Any]], *, tells_events: bool = True
) -> Any:
    """Run *work* with a gateway on the configured Redis, and give its result; else as `run_with_checked_gateway`."""
    return run_with_checked_gateway(ctx, lambda gateway, _: work(gateway), tells_events=tells_events)


def run_with_checked_gateway(
    ctx: click.Context,
    work: Callable[[Gateway, list[str]], Coroutine[Any, Any, Any]],
    *,
    tells_events: bool = True,
) -> Any:
    """
    Run *work* with a gateway on the configured Redis and the warnings about that, and give its result.

    Args:
        tells_events: Whether security events go to stderr; they are kept in Redis either way.

    Raises:
        KeyboardInterrupt: INT or TERM came first.
    """
    settings = settings_for(ctx).settings
    telemetry.configure_for_commands(settings.log_format, settings.log_level, tells_events=tells_events)

    async def run(ready: Settings) -> Any:
        async with checked_gateway(ready) as (gateway, warnings):
            return await work(gateway, warnings)

    with with_redis(settings, for_serving=False) as (ready, _):
        try:
            return asyncio.run(_until_told_to_end(run(ready)))
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None


async def _until_told_to_end(work: Coroutine[Any, Any, Any]) -> Any:
    """Do *work*; TERM is as Ctrl-C then, so that what was done is told and the private Redis is closed."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - this is one
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await work
