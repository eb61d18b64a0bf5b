"""
Many logins at once, from a process of their own: `python tests/login_flood.py PORT CLIENTS SECONDS ADDRESS`.

Each client keeps a connection and logs in over and over, with a wrong password and another e-mail address each time;
who is refused for now waits as long as `Retry-After` says. Prints how many answers of each status there were.
"""

import asyncio
import json
import os
import sys
from collections import Counter

SPREAD_PER_SECOND = 200
BODY = '{"username": "nobody-%d-%d@example.com", "password": "not the password"}'


async def log_in_over_and_over(number: int, port: int, address: str, ends: float, answers: Counter[str]) -> None:
    loop = asyncio.get_running_loop()
    await asyncio.sleep(number / SPREAD_PER_SECOND)  # else all would come again at the same moment, for ever
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    attempt = 0
    while loop.time() < ends:
        attempt += 1
        body = BODY % (number, attempt)
        head = f"POST /auth/login HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {address}\r\n"
        writer.write(f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        try:
            answer = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            await reader.readexactly(int(answer.partition("content-length: ")[2].partition("\r")[0]))
        except (OSError, asyncio.IncompleteReadError):
            answers["no answer"] += 1
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            continue
        answers[answer.split(" ", 2)[1]] += 1
        await asyncio.sleep(int(answer.partition("retry-after: ")[2].partition("\r")[0] or 0))
    writer.close()


async def main() -> None:
    port, clients, seconds, address = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
    os.nice(5)  # the load is not what is measured
    answers: Counter[str] = Counter()
    ends = asyncio.get_running_loop().time() + seconds
    await asyncio.gather(*(log_in_over_and_over(n, port, address, ends, answers) for n in range(clients)))
    print(json.dumps(answers))


if __name__ == "__main__":
    asyncio.run(main())
