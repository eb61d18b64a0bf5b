"""Honest users, who log in, refresh and ask through a proxy, and look whether each answer is their own."""

import asyncio
import base64
import contextlib
import json
import secrets
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.certificates import SITE
from tests.harness import TestUser

ANSWER_SECONDS = 10.0
PAUSE_SECONDS = 0.02
REFRESH_EVERY = 5
LOGIN_EVERY = 40
TOLD_TO_WAIT_SECONDS = 3.0  # a login that finds no room is told 2 to 4 s


@dataclass
class Notes:
    """What honest users saw: how often they asked what, how long answers took, and what was not theirs."""

    asked: Counter[str] = field(default_factory=Counter)
    unserved: list[str] = field(default_factory=list)
    of_others: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    tried_again: int = 0
    told_to_wait: int = 0


class HonestUser:
    """One user with one connection at a time to a proxy."""

    def __init__(self, user: TestUser, port: int, notes: Notes) -> None:
        self._user, self._port, self.notes = user, port, notes
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._access_token = self._refresh_token = ""

    async def live(self, until: asyncio.Event) -> None:
        """Go on until told to stop."""
        turn = 0
        while not until.is_set():
            if turn % LOGIN_EVERY == 0:
                await self._log_in()
            elif turn % REFRESH_EVERY == 0:
                await self._refresh()
            await self._ask_application()
            await self._ask_who()
            turn += 1
            await asyncio.sleep(PAUSE_SECONDS)
        self._hang_up()

    async def _log_in(self) -> None:
        body = {"username": self._user.email, "password": self._user.password, "delivery": "body"}
        if answer := await self._asked("login", "POST", "/auth/login", body):
            self._is_own("login", answer["user"]["id"])
            self._access_token, self._refresh_token = answer["access_token"], answer["refresh_token"]

    async def _refresh(self) -> None:
        if answer := await self._asked("refresh", "POST", "/auth/refresh", {"refresh_token": self._refresh_token}):
            self._is_own("refresh", _subject(answer["access_token"]))
            self._access_token, self._refresh_token = answer["access_token"], answer["refresh_token"]

    async def _ask_application(self) -> None:
        target = f"/{secrets.token_hex(8)}"
        if answer := await self._asked("application", "GET", target):
            told = [value for name, value in answer["headers"] if name.lower() == "remote-user"]
            if answer["target"] != target or told != [self._user.email]:
                self.notes.of_others.append(f"{self._user.email} asked for {target} and got {answer}")

    async def _ask_who(self) -> None:
        if answer := await self._asked("me", "GET", f"/auth/me?nonce={secrets.token_hex(8)}"):
            self._is_own("me", answer.get("id"))

    def _is_own(self, what: str, subject: str | None) -> None:
        if subject != self._user.user_id:
            self.notes.of_others.append(f"{self._user.user_id} asked {what} and got {subject}")

    async def _asked(
        self, what: str, method: str, target: str, body: Any = None, tries_left: int = 2
    ) -> dict[str, Any] | None:
        content = json.dumps(body).encode() if body else b""
        head = f"{method} {target} HTTP/1.1\r\nHost: {SITE}\r\nContent-Type: application/json\r\n"
        head += f"Content-Length: {len(content)}\r\n" if body else f"Authorization: Bearer {self._access_token}\r\n"
        begun = time.monotonic()
        try:
            status, answer = await asyncio.wait_for(self._exchange(head.encode() + b"\r\n" + content), ANSWER_SECONDS)
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            self._hang_up()
            self.notes.unserved.append(f"{what}: {error!r}")
            return None
        if status == 503 and b":overloaded" in answer and tries_left:
            # What strangers' logins take of the cores may be told, and whoever comes again as told is served.
            self.notes.told_to_wait += 1
            await asyncio.sleep(TOLD_TO_WAIT_SECONDS)
            return await self._asked(what, method, target, body, tries_left - 1)
        self.notes.seconds.append(time.monotonic() - begun)
        self.notes.asked[what] += 1
        if status != 200:
            self.notes.unserved.append(f"{what}: {status} {answer[:200]!r}")
            return None
        result: dict[str, Any] = json.loads(answer)
        return result

    async def _exchange(self, request: bytes) -> tuple[int, bytes]:
        """Send it, on the open connection or on a new one where the proxy has closed that meanwhile."""
        if self._writer is not None and self._reader is not None and not self._reader.at_eof():
            try:
                return await self._sent(request)
            except (ConnectionError, asyncio.IncompleteReadError) as error:
                if isinstance(error, asyncio.IncompleteReadError) and error.partial:
                    raise
                self.notes.tried_again += 1
        self._hang_up()
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return await self._sent(request)

    async def _sent(self, request: bytes) -> tuple[int, bytes]:
        assert self._reader is not None
        assert self._writer is not None
        self._writer.write(request)
        await self._writer.drain()
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
        if fields.get(b"transfer-encoding") == b"chunked":
            body = b""
            while size := int(await self._reader.readuntil(b"\r\n"), 16):
                body += (await self._reader.readexactly(size + 2))[:-2]
            await self._reader.readuntil(b"\r\n")
        else:
            body = await self._reader.readexactly(int(fields[b"content-length"]))
        if fields.get(b"connection") == b"close":
            self._hang_up()
        return int(head.split(b" ")[1]), body

    def _hang_up(self) -> None:
        if self._writer is not None:
            with contextlib.suppress(OSError):
                self._writer.close()
        self._reader = self._writer = None


def _subject(access_token: str) -> str:
    payload = access_token.split(".")[1]
    return str(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["sub"])
