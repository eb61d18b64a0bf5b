"""A gateway whose clock is wrong: `python -m tests.faults.skewed_gateway SECONDS`, with the environment of another."""

import os
import sys

import uvicorn

from gateway.app import build_app
from gateway.cli.serve import server_config
from gateway.clock import system_clock
from gateway.telemetry import logs
from tests.harness import settings_of

if __name__ == "__main__":
    ahead_seconds = int(sys.argv[1])
    settings = settings_of(os.environ)  # noqa: TID251 - given by the test that starts it
    logs.configure(settings.log_format)
    app = build_app(settings, lambda: system_clock() + ahead_seconds)
    uvicorn.Server(
        server_config(app, keep_alive_seconds=settings.keep_alive_seconds, host=settings.host, port=settings.port)
    ).run()
