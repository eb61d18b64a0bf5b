"""
The ceiling: a bare ASGI application on stock uvicorn, httptools and uvloop, in one process.

`python benchmarks/bare.py PORT [BODY_FILE]` answers everything with 204, or with 200 and the JSON of the file.
"""

import sys
from pathlib import Path
from typing import Any

import uvicorn


def application(body: bytes | None) -> Any:
    start: dict[str, Any] = {"type": "http.response.start", "status": 204, "headers": []}
    if body is not None:
        length = str(len(body)).encode()
        start |= {"status": 200, "headers": [(b"content-type", b"application/json"), (b"content-length", length)]}
    rest = {"type": "http.response.body", "body": body or b""}

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        await send(start)
        await send(rest)

    return answer


if __name__ == "__main__":
    uvicorn.run(
        application(Path(sys.argv[2]).read_bytes() if len(sys.argv) > 2 else None),
        port=int(sys.argv[1]),
        http="httptools",
        loop="uvloop",
        lifespan="off",
        access_log=False,
        log_level="warning",
    )
