"""
Make the picture of the board (make board): docs/pictures/board.webp, from a real run of a few minutes.

A gateway of two workers, a Redis that is away for some seconds, a Prometheus that scrapes it all, `benchmarks/load.py`
as the honest users, and beside them people without tokens, with wrong passwords and with stolen tokens. It is drawn
from the queries, units and colours of config/grafana/gateway.json, and not by Grafana.
"""

import base64
import math
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx2

from tests.browser.conftest import open_chromium
from tests.conftest import quick_environment
from tests.harness import GatewayProcess, RedisServer, free_port
from tests.telemetry.drawing import Line, page
from tests.telemetry.life import live
from tests.telemetry.monitoring import ROOT, Panel, Prometheus, read_board, read_panels

PICTURE = ROOT / "docs/pictures/board.webp"
STEP_SECONDS = 2
NOTE = (
    "Drawn from the board's own queries, answered by a real Prometheus over four minutes of a real gateway with two "
    "workers; in the third of them Redis is away for twelve seconds, and in the fourth many log in at once."
)


def main() -> int:
    """Let it all run, draw the board and take its picture."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        server = RedisServer(directory / "redis").start()
        env = quick_environment(
            server.url,
            metrics_address=f"127.0.0.1:{free_port()}",
            bcrypt_cost=10,
            account_throttle="on",
            login_limit="120/minute",
            trusted_proxies="127.0.0.1",
        )
        gateway = GatewayProcess(env, directory / "gateway.log", ("--workers", "2")).start()
        prometheus = Prometheus(directory / "prometheus", [env["GATEWAY_METRICS_ADDRESS"]]).start()
        try:
            begun = time.time()  # noqa: TID251 - the times of Prometheus
            live(gateway, server, directory)
            ended = time.time()  # noqa: TID251
            if len(sys.argv) > 1:
                Path(sys.argv[1]).write_text(httpx2.get(f"http://{env['GATEWAY_METRICS_ADDRESS']}/metrics").text)
            draw(prometheus, begun, ended, directory / "board.html")
        finally:
            prometheus.stop()
            gateway.stop()
            server.stop()
    return 0


def draw(prometheus: Prometheus, begun: float, ended: float, file: Path) -> None:
    """Ask for all that the board shows, and take the picture of it."""
    panels = read_panels()
    found = {panel.described["id"]: lines_of(panel, prometheus, begun, ended) for panel in panels}
    title = read_board()["title"]
    file.write_text(page(title, NOTE, panels, found, ended - begun))
    with open_chromium() as chromium:
        chromium.get(file.as_uri())
        width, height = chromium.execute_script(
            "return [document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
        )
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        options: dict[str, Any] = {"format": "webp", "quality": 80, "captureBeyondViewport": True, "clip": clip}
        picture = chromium.execute_cdp_cmd("Page.captureScreenshot", options)
    PICTURE.write_bytes(base64.b64decode(picture["data"]))


def lines_of(panel: Panel, prometheus: Prometheus, begun: float, ended: float) -> list[Line]:
    """Give the lines of a panel: over the whole time, or as they are at its end."""
    lines = []
    steps = int((ended - begun) // STEP_SECONDS) + 1
    for expression, legend in panel.queries(range_seconds=int(ended - begun)):
        if panel.kind == "timeseries" or panel.described["options"].get("graphMode") == "area":
            series = prometheus.ranges(expression, begun, begun + (steps - 1) * STEP_SECONDS, STEP_SECONDS)
        else:
            series = [one | {"values": [one["value"]]} for one in prometheus.instant(expression)]
        for one in series:
            name = legend
            for label in re.findall(r"\{\{(\w+)\}\}", legend):
                name = name.replace(f"{{{{{label}}}}}", one["metric"].get(label, ""))
            lines.append(Line(name or "other", _on_the_grid(one["values"], begun, steps)))
    return lines


def _on_the_grid(values: list[tuple[float, str]], begun: float, steps: int) -> list[float | None]:
    if len(values) == 1:
        return [float(values[0][1])]
    found = {round((at - begun) / STEP_SECONDS): float(value) for at, value in values}
    return [value if value is not None and math.isfinite(value) else None for value in map(found.get, range(steps))]


if __name__ == "__main__":
    sys.exit(main())
