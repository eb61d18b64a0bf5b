"""
The ceiling: a bare ASGI application on stock uvicorn, httptools and uvloop, in one process.

`python benchmarks/bare.py PORT [--body FILE] [--ask REDIS_URL WORD...]` answers everything with 204, or with 200 and
the JSON of the file; with `--ask` it first sends a command to Redis each time, by redis-py.
"""

import argparse
from pathlib import Path
from typing import Any

import uvicorn
from redis.asyncio import Redis


def application(body: bytes | None, asked: list[str]) -> Any:
    start: dict[str, Any] = {"type": "http.response.start", "status": 204, "headers": []}
    if body is not None:
        length = str(len(body)).encode()
        start |= {"status": 200, "headers": [(b"content-type", b"application/json"), (b"content-length", length)]}
    rest = {"type": "http.response.body", "body": body or b""}

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        await send(start)
        await send(rest)

    if not asked:
        return answer
    url, *words = asked
    redis: Any = Redis.from_url(url)  # its commands have no types

    async def ask_and_answer(scope: Any, receive: Any, send: Any) -> None:
        await redis.execute_command(*words)
        await answer(scope, receive, send)

    return ask_and_answer


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--body", type=Path)
    parser.add_argument("--ask", nargs="+", default=[])
    given = parser.parse_args()
    uvicorn.run(
        application(given.body.read_bytes() if given.body else None, given.ask),
        port=given.port,
        http="httptools",
        loop="uvloop",
        lifespan="off",
        access_log=False,
        log_level="warning",
    )
