"""Load for one server at a time, and what it costs: requests, latencies, processor time, memory."""

import asyncio
import json
import math
import os
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop

HERE = Path(__file__).parent
CONNECTIONS = 8
UNAVAILABLE_SECONDS = 0.1  # until a request that was answered by 503 is sent again
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
MIB = 1024 * 1024


@dataclass
class Constant:
    """The same request again and again, by wrk; with *tokens* each time another one of them."""

    method: str
    path: str
    headers: dict[str, str]
    body: str = ""
    tokens: list[str] = field(default_factory=list)

    def run(self, port: int, seconds: float) -> dict[str, float]:
        """Load the server and give requests, seconds and latencies. Fails when any answer was not a 2xx."""
        with tempfile.NamedTemporaryFile("w") as file:
            file.write("\n".join(self.tokens))
            file.flush()
            command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{math.ceil(seconds)}s", "-s", str(HERE / "wrk.lua")]
            for name, value in self.headers.items():
                command += ["-H", f"{name}: {value}"]
            command += [f"http://127.0.0.1:{port}{self.path}", "--", self.method, self.body]
            command += [file.name] if self.tokens else []
            report = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        (result,) = [json.loads(line.removeprefix("RESULT ")) for line in report.splitlines() if "RESULT" in line]
        assert result["requests"] > 0, report
        assert result.pop("refused") + result.pop("broken") == 0, report
        return result


@dataclass
class Chains:
    """Refresh tokens, one for each connection: every request needs the token of the answer before it."""

    path: str
    headers: dict[str, str]
    body: Callable[[str], str]
    member: str
    tokens: list[str]
    access_tokens: list[str] = field(default_factory=list)

    def run(self, port: int, seconds: float) -> dict[str, float]:
        """Load the server and give requests, seconds and latencies. Fails when an answer is neither 200 nor 503."""
        head = f"POST {self.path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        latencies: list[float] = []
        unavailable = 0

        async def chain(number: int) -> None:
            nonlocal unavailable
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            while (begun := time.perf_counter()) < deadline:
                body = self.body(self.tokens[number])
                writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
                answer = await read_json(reader)
                if answer is None:
                    unavailable += 1
                    await asyncio.sleep(UNAVAILABLE_SECONDS)
                    continue
                latencies.append(time.perf_counter() - begun)
                self.tokens[number] = answer[self.member]
                self.access_tokens.append(answer.get("access_token", ""))
            writer.close()

        async def chains() -> None:
            await asyncio.gather(*(chain(number) for number in range(len(self.tokens))))

        begun = time.perf_counter()
        deadline = begun + seconds
        uvloop.run(chains())
        cuts = statistics.quantiles(latencies, n=100)
        took = time.perf_counter() - begun
        cuts_ms = {"p50_ms": cuts[49] * 1000, "p99_ms": cuts[98] * 1000}
        return {"requests": len(latencies), "seconds": took, "unavailable": unavailable} | cuts_ms


Work = Constant | Chains


async def read_json(reader: asyncio.StreamReader) -> dict[str, Any] | None:
    """Read one answer with a Content-Length; None when it is a 503. Fails unless it is that or a 200."""
    head = await reader.readuntil(b"\r\n\r\n")
    (length,) = [int(line[15:]) for line in head.split(b"\r\n") if line[:15].lower() == b"content-length:"]
    body = await reader.readexactly(length)
    if head.startswith(b"HTTP/1.1 503 "):
        return None
    assert head.startswith(b"HTTP/1.1 200 "), (head, body)
    answer: dict[str, Any] = json.loads(body)
    return answer


def measure(work: Work, port: int, servers: Iterable[int], redis: int, seconds: float) -> dict[str, float]:
    """
    Load a server for some seconds, after a short load that does not count.

    Args:
        servers: The process ids of the server; of Redis, *redis*.

    Returns:
        Requests a second, latencies in milliseconds, processor seconds for 1000 requests (of the server, and of
        Redis), memory in MiB, and how much of one processor all other programs of the machine took meanwhile.
    """
    work.run(port, min(1.0, seconds / 2))
    pids = list(servers)
    before = cpu_seconds(pids), cpu_seconds([redis]), own_cpu_seconds(), machine_cpu_seconds(), time.perf_counter()
    result = work.run(port, seconds)
    after = cpu_seconds(pids), cpu_seconds([redis]), own_cpu_seconds(), machine_cpu_seconds(), time.perf_counter()
    server, store, load, machine, elapsed = (end - begin for begin, end in zip(before, after, strict=True))
    return {
        "requests_per_second": result["requests"] / result["seconds"],
        "p50_ms": result["p50_ms"],
        "p99_ms": result["p99_ms"],
        "cpu_seconds_per_1000": 1000 * server / result["requests"],
        "redis_cpu_seconds_per_1000": 1000 * store / result["requests"],
        "unavailable": result.get("unavailable", 0),
        "rss_mib": rss_mib(pids),
        "others_cpu": max(0.0, (machine - server - store - load) / elapsed),
    }


def family_of(pid: int) -> list[int]:
    """Give the ids of a process and of all that descend from it."""
    children = Path(f"/proc/{pid}/task").glob("*/children")
    found = [int(child) for path in children for child in path.read_text().split()]
    return [pid, *(member for child in found for member in family_of(child))]


def cpu_seconds(pids: Iterable[int]) -> float:
    """Give the processor time that these processes have taken so far."""
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(of[11]) + int(of[12]) for of in fields) / TICKS_PER_SECOND


def own_cpu_seconds() -> float:
    """Give the processor time of this process and of the loads that it started and that have ended."""
    uses = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(use.ru_utime + use.ru_stime for use in uses)


def machine_cpu_seconds() -> float:
    """Give the processor time that all programs of this machine have taken so far: user, nice and system."""
    line = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    return sum(int(part) for part in line[1:4]) / TICKS_PER_SECOND


def rss_mib(pids: Iterable[int]) -> float:
    """Give the resident memory of these processes."""
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB
