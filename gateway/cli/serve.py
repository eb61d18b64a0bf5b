"""gateway serve: bind, check everything that can be wrong, say where things are, and serve."""

import asyncio
import functools
import gc
import logging
import multiprocessing
import signal
import socket
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import click
import uvicorn
from starlette.types import ASGIApp
from uvicorn.config import STARTUP_FAILURE

from gateway import __version__, telemetry
from gateway.app import build_app
from gateway.cli import environ, json_is_chosen, settings_for
from gateway.cli.check import doubtful_settings
from gateway.cli.connection import checked_gateway, with_redis
from gateway.cli.core_dumps import forbid_core_dumps
from gateway.cli.service_manager import Server, ServiceManager, Supervisor
from gateway.cli.workers import Shares, WorkerLoop
from gateway.errors import StartupError
from gateway.orphans import ending_with
from gateway.settings import Settings
from gateway.store import PrivateRedis
from gateway.web import doubtful_file_limit, jwks_uri, raise_file_limit
from gateway.web.connections import BoundedProtocol

BACKLOG = 2048
DRAIN_SECONDS = 5
OBJECTS_BETWEEN_COLLECTIONS = 10_000
WORKER_ANSWERS_WITHIN_SECONDS = 15
"""For one that gets too little of a core; uvicorn would end it, and the next one too, after 5."""

logger = logging.getLogger("gateway")


@click.command()
@click.option("--host", help="Address to listen on. [default: 127.0.0.1]")
@click.option("--port", type=int, help="Port to listen on. [default: 8000]")
@click.option("--workers", type=int, help="Number of processes. [default: 1]")
@click.option("--config", metavar="FILE", help="TOML file with settings; also GATEWAY_CONFIG.")
@click.pass_context
def serve(ctx: click.Context, host: str | None, port: int | None, workers: int | None, config: str | None) -> None:
    """Serve HTTP until told to stop."""
    ctx.obj.logs_json = json_is_chosen(ctx, config)
    settings = settings_for(ctx, host=host, port=port, workers=workers, config=config).settings
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    listener = _listen(settings.host, settings.port, "--host or --port")
    metrics_listener = _listen_for_metrics(settings)
    telemetry.configure_for_commands(settings.log_format, settings.log_level)  # until it serves, errors are one line
    with with_redis(settings, for_serving=True) as (ready, private):
        with telemetry.events_held_back() as events:
            warnings, has_users = asyncio.run(_prepare(ready))
        ctx.obj.logs_json = telemetry.is_json(ready.log_format)
        telemetry.configure(ready.log_format, ready.log_level)
        telemetry.log_what_python_tells()
        facts = _facts(ready, listener, metrics_listener, private, has_users)
        is_block = not ctx.obj.logs_json and logger.isEnabledFor(logging.INFO)
        (_print_start if is_block else _log_start)(facts, warnings)
        telemetry.log_held_back(events)
        _run(ready, listener, _reports_to(metrics_listener))


def _listen(host: str, port: int, chosen_by: str) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except (OSError, UnicodeError) as error:  # no DNS name is spelt like that: UnicodeError
        cause = error.strerror if isinstance(error, OSError) else "no such host"
        raise StartupError(
            f"cannot listen on {host} port {port} ({cause}): stop what uses it, or take another {chosen_by}"
        ) from error
    return listener


def _listen_for_metrics(settings: Settings) -> socket.socket | None:
    address = settings.metrics_listener
    return None if address is None else _listen(*address, "metrics_address")


def _reports_to(listener: socket.socket | None) -> socket.socket | None:
    """Serve the metrics, and give where the workers send theirs; None for nowhere."""
    return None if listener is None else telemetry.serve_metrics(listener, __version__)


async def _prepare(settings: Settings) -> tuple[list[str], bool]:
    """Check Redis and open or make the keyring; give warnings, and whether there is any user."""
    async with checked_gateway(settings) as (gateway, doubts):
        await gateway.keyring.open()
        warnings = [*doubtful_settings(settings), *doubtful_file_limit(), *doubts]
        async for _ in gateway.users.all():
            return warnings, True
        return warnings, False


def _facts(
    settings: Settings,
    listener: socket.socket,
    metrics_listener: socket.socket | None,
    private: PrivateRedis | None,
    has_users: bool,
) -> dict[str, str | int]:
    """Give what is told at the start, by name, in its order."""
    facts: dict[str, str | int] = {
        "Listen": _url_of(listener),
        "Workers": settings.workers,
        "Redis": f"{private.engine}, private, from {private.origin}" if private else "as redis_url says",
    }
    if private:
        facts["Data"] = f"{settings.data_dir} (append-only file, on disk before an answer is given)"
    facts |= {"Issuer": settings.issuer, "JWKS": jwks_uri(settings)}
    if metrics_listener is not None:
        facts["Metrics"] = f"{_url_of(metrics_listener)}/metrics"
    if settings.portal == "on":
        facts["Pages"] = f"{settings.issuer_origin}/ (open it in a browser)"
    if not has_users:
        facts["Users"] = "none yet: gateway users add EMAIL --generate"
    if private:
        facts["Scale"] = "for several gateways set GATEWAY_REDIS_URL and GATEWAY_SECRET"
    return facts


def _url_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _print_start(facts: dict[str, str | int], warnings: list[str]) -> None:
    lines = [*facts.items(), *(("Warning", warning) for warning in warnings)]
    click.echo(f"token gateway {__version__}\n" + "\n".join(f"  {name:8} {text}" for name, text in lines), err=True)


def _log_start(facts: dict[str, str | int], warnings: list[str]) -> None:
    named = {"version": __version__, **{name.lower(): value for name, value in facts.items()}}
    logger.info("token gateway starts", extra={"fields": named})
    for warning in warnings:
        logger.warning("found at the start", extra={"fields": {"warning": warning}})


def server_config(
    app: ASGIApp | Callable[..., ASGIApp], *, keep_alive_seconds: int, loop: str = "uvloop", **options: Any
) -> uvicorn.Config:
    """Give the configuration of uvicorn: parser and loop named, and what it would tell or believe by itself off."""
    return uvicorn.Config(
        app,
        http=BoundedProtocol,
        loop=loop,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=keep_alive_seconds,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        timeout_worker_healthcheck=WORKER_ANSWERS_WITHIN_SECONDS,
        **options,
    )


def _run(settings: Settings, listener: socket.socket, reports: socket.socket | None) -> None:
    raise_file_limit()
    manager = ServiceManager.of(environ(), time.monotonic)
    build = functools.partial(_app_of_process, settings, reports)
    if settings.workers > 1:
        shares = Shares()
        config = server_config(
            functools.partial(build, shares),
            keep_alive_seconds=settings.keep_alive_seconds,
            loop="gateway.cli.workers:WorkerLoop",
            factory=True,
            workers=settings.workers,
        )
        supervisor = Supervisor(config, [listener], manager, shares)
        supervisor.run()
        if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes):
            raise StartupError("a worker did not start: the log says why")
        return
    config = server_config(build, keep_alive_seconds=settings.keep_alive_seconds, factory=True)
    server = Server(config, manager)
    server.run(sockets=[listener])
    if not server.started:
        raise StartupError("the server did not start: the log says why")


def _app_of_process(settings: Settings, reports: socket.socket | None, shares: Shares | None = None) -> ASGIApp:
    """Build the application in the process that serves it; a worker ends with the process that started it."""
    if isinstance(loop := asyncio.get_running_loop(), WorkerLoop):
        loop.shares = shares
    telemetry.configure(settings.log_format, settings.log_level)
    telemetry.log_what_python_tells()
    forbid_core_dumps()  # a worker is a program of its own, started anew
    parent = multiprocessing.parent_process()
    if parent is not None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all of us; the parent ends its workers by TERM
        if parent.pid is not None and (end_with_parent := ending_with(parent.pid)) is not None:
            end_with_parent()
    app = build_app(settings, reports=reports)
    # Requests leave hardly any circles: what is there now for good is not looked through for them, the rest seldom.
    gc.freeze()
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
    return app


def _leave(signal_number: int, frame: FrameType | None) -> None:
    """Leave by the ordinary way, so that the private Redis is closed, with exit status 0."""
    sys.exit(0)
