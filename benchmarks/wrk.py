"""Load by wrk, on the core of the load."""

import json
import resource
import signal
import statistics
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measuring import FOLDER, Row, median_ratio
from benchmarks.processes import TICKS_PER_SECOND, cpu_seconds, load_cores, need, pinned

CONNECTIONS = 16


@dataclass(frozen=True)
class Sample:
    """What one round of load came to. CPU is that of the server under test; the load's own is a share of a core."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    refused: int
    cpu_seconds: float
    bytes_per_request: float = 0.0
    load_core_share: float = 0.0

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds

    @property
    def cpu_us(self) -> float:
        """Microseconds of CPU for each request; of so few that nothing was counted, a tick for all of them."""
        return max(self.cpu_seconds, 1 / TICKS_PER_SECOND) / self.requests * 1e6


def press(
    url: str,
    seconds: float,
    *pids: int,
    requests: Path | None = None,
    refusals: bool = False,
    connections: int = CONNECTIONS,
    cores: set[int] | None = None,
    threads: int = 1,
) -> Sample:
    """
    Ask over and over for a while on connections that are kept, and give what came of it.

    Args:
        pids: The processes whose CPU is counted.
        requests: A file for wrk.lua; without it each request is a GET of *url*.
        refusals: Whether some of the answers may be 4xx.
        cores: Where wrk runs; beside the server under test unless told otherwise.
        threads: Of wrk.
    """
    command = [need("wrk", "wrk"), f"-t{threads}", f"-c{connections}", f"-d{max(1, round(seconds))}s"]
    command += ["--timeout", "10s", "-s", str(FOLDER / "wrk.lua"), url, *(["--", str(requests)] if requests else [])]
    before, load_before = sum(cpu_seconds(pid) for pid in pids), resource.getrusage(resource.RUSAGE_CHILDREN)
    with pinned(cores or load_cores()), subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as wrk:
        if seconds < 1:  # it takes whole seconds alone, and ends in order when interrupted
            time.sleep(seconds)
            wrk.send_signal(signal.SIGINT)
        output = wrk.communicate()[0]
    used = sum(cpu_seconds(pid) for pid in pids) - before
    told = json.loads(output.splitlines()[-1])
    assert told.pop("broken") == 0, output
    load = resource.getrusage(resource.RUSAGE_CHILDREN)
    load_seconds = load.ru_utime + load.ru_stime - load_before.ru_utime - load_before.ru_stime
    sample = Sample(cpu_seconds=used, load_core_share=load_seconds / told["seconds"], **told)
    if sample.requests == 0 and seconds < 1:  # a machine that is busy with other things
        return press(
            url,
            2.0,
            *pids,
            requests=requests,
            refusals=refusals,
            connections=connections,
            cores=cores,
            threads=threads,
        )
    assert sample.requests > 0, output
    assert refusals or sample.refused == 0, output
    return sample


def compared(number: str, name: str, firsts: list[Sample], seconds: list[Sample], target: float, **more: float) -> Row:
    """Give the row of a path against its ceiling, by the rates of rounds in turn."""

    def median(samples: list[Sample], figure: str) -> float:
        return float(statistics.median(getattr(sample, figure) for sample in samples))

    return Row(
        number,
        name,
        measured=f"{median(firsts, 'rate'):,.0f} requests/s",
        ceiling=f"{median(seconds, 'rate'):,.0f} requests/s",
        ratio=median_ratio([sample.rate for sample in firsts], [sample.rate for sample in seconds]),
        target=target,
        details={
            "p50_ms": [median(firsts, "p50_ms"), median(seconds, "p50_ms")],
            "p99_ms": [median(firsts, "p99_ms"), median(seconds, "p99_ms")],
            "cpu_seconds": [sum(sample.cpu_seconds for sample in samples) for samples in (firsts, seconds)],
            "cpu_us_per_request": [median(firsts, "cpu_us"), median(seconds, "cpu_us")],
            "wrk_core_share": [median(firsts, "load_core_share"), median(seconds, "load_core_share")],
            **more,
            "ratios": [a.rate / b.rate for a, b in zip(firsts, seconds, strict=True)],
        },
    )
