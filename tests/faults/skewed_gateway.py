"""A gateway whose clock is wrong: `python -m tests.faults.skewed_gateway SECONDS`, with the environment of another."""

import os
import sys

import uvicorn

from gateway import logs
from gateway.app import build_app
from gateway.cli.serve import DRAIN_SECONDS, KEEP_ALIVE_SECONDS
from gateway.clock import system_clock
from gateway.connections import BoundedProtocol
from tests.harness import settings_of

if __name__ == "__main__":
    ahead_seconds = int(sys.argv[1])
    settings = settings_of(os.environ)  # noqa: TID251 - given by the test that starts it
    logs.configure(settings.log_format)
    uvicorn.run(
        build_app(settings, lambda: system_clock() + ahead_seconds),
        host=settings.host,
        port=settings.port,
        http=BoundedProtocol,
        loop="uvloop",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
