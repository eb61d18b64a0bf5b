"""The clients of the campaign, in a process of their own: `python -m tests.faults.load PLAN`, orders on stdin."""

import asyncio
import collections
import os
import random
import sys
import time
import traceback
from pathlib import Path

import msgspec

from tests.families.journal import refresh_request, request
from tests.faults.asking import Asker
from tests.faults.entries import BROWSED_HOST, Known, Order, Plan

AGAIN_SECONDS = (0.3, 0.7)
KNOWN_EVERYWHERE_SECONDS = 1.0
AUTHZ_LINES = 4
PAUSED_WITHIN_SECONDS = 20.0
NAVIGATION = (
    *("Accept: text/html", "Sec-Fetch-Mode: navigate", "X-Forwarded-Method: GET", "X-Forwarded-Proto: http"),
    *(f"X-Forwarded-Host: {BROWSED_HOST}", "X-Forwarded-Uri: /page"),
)


class Clients:
    """All of them. Each writes into one journal, and knows nothing of the faults."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.order = Order("set")
        self.stock: collections.deque[Known] = collections.deque()
        self.ended: list[Known] = []
        self.runs = asyncio.Event()
        self.runs.set()
        self.asker = Asker(plan.journal)
        self.ask = self.asker.ask
        self._tasks: set[asyncio.Task[None]] = set()
        self._leaving = 0

    def choose(self) -> int:
        """Choose a gateway."""
        ports = [port for port in self.plan.ports if port not in self.order.avoided]
        return random.choice(ports)

    async def refresh(self, client: Known, what: str = "refresh") -> bool:
        """Refresh once, and tell whether there is a new token."""
        sent, port = client.refresh_token, self.choose()
        if random.random() < self.order.hang_up:
            await self.asker.hang_up(client.session_id, port, sent)
        count = self.order.twins if random.random() < self.order.twin_share else 1
        ports = [port, *(self.choose() for _ in range(count - 1))]
        octets = refresh_request(sent)
        answers = await asyncio.gather(*[self.ask(what, client.session_id, each, octets, sent) for each in ports])
        for asked, answer in zip(ports, answers, strict=True):
            if answer is not None and answer.status == 200:
                client.refresh_token = answer.document["refresh_token"]
                client.access_token, client.minted_at = answer.document["access_token"], asked
        return client.refresh_token != sent

    async def refresh_at_last(self, client: Known) -> None:
        """Refresh, and again soon as long as nobody serves it."""
        while True:
            if await self.refresh(client):
                return
            await asyncio.sleep(random.uniform(*AGAIN_SECONDS))

    async def authz(self, client: Known, port: int, what: str = "authz") -> None:
        """Ask for one subrequest."""
        octets = request("GET", "/api/authz/auth-request", access_token=client.access_token)
        await self.ask(what, client.session_id, port, octets, str(client.minted_at))

    async def browse(self, client: Known, port: int, what: str = "browser") -> None:
        """Ask for one navigation of its browser."""
        octets = request("GET", "/api/authz/forward-auth", *NAVIGATION, f"Cookie: gateway_session={client.cookie}")
        await self.ask(what, client.session_id, port, octets)

    async def use(self, client: Known) -> None:
        """Be a user: refresh every now and then, and again soon when nobody served it."""
        mean = self.plan.seconds_between_refreshes
        while True:
            await asyncio.sleep(random.uniform(0.5, 1.5) * mean)
            await self.runs.wait()
            await self.refresh_at_last(client)

    async def be_a_proxy(self, port: int) -> None:
        """Ask for subrequests of any user at a steady pace."""
        pause = AUTHZ_LINES * len(self.plan.ports) / self.plan.authz_per_second
        await asyncio.sleep(random.uniform(0, pause))
        while True:
            begun = time.monotonic()
            await self.runs.wait()
            if port not in self.order.avoided:
                asking = random.choice((self.authz, self.browse))
                await asking(random.choice(self.plan.users), port)
            await asyncio.sleep(max(0.001, begun + pause - time.monotonic()))

    async def log_in(self, pause: float) -> None:
        """Log in again and again, each time as another user."""
        await asyncio.sleep(random.uniform(0, pause))
        while True:
            await self.runs.wait()
            email = random.choice(self.plan.logins)
            octets = request("POST", "/auth/login", username=email, password=self.plan.password, delivery="body")
            await self.ask("login", email, self.choose(), octets)
            await asyncio.sleep(pause)

    async def leave(self) -> None:
        """Log one session of the stock out after another, until that is answered with 204."""
        while True:
            await asyncio.sleep(random.uniform(0.5, 1.5) / self.plan.logouts_per_second)
            await self.runs.wait()
            if self.stock:
                self._start(self.leave_once(self.stock.popleft()))

    async def leave_once(self, client: Known) -> None:
        """Log out, and see after a second that it is over everywhere."""
        self._leaving += 1
        answer = None
        while answer is None or answer.status != 204:
            octets = request("POST", "/auth/logout", refresh_token=client.refresh_token)
            answer = await self.ask("logout", client.session_id, self.choose(), octets, client.refresh_token)
            if answer is None or answer.status != 204:
                await asyncio.sleep(random.uniform(*AGAIN_SECONDS))
        self.ended.append(client)
        self._leaving -= 1
        await asyncio.sleep(KNOWN_EVERYWHERE_SECONDS)
        await self.check(client, self.plan.ports)

    async def pause(self) -> None:
        """Let nobody ask for anything more, and wait until all who have asked are answered."""
        self.runs.clear()
        async with asyncio.timeout(PAUSED_WITHIN_SECONDS):
            while True:
                await asyncio.sleep(0.05)
                if not self.asker.under_way:
                    return

    async def drain(self) -> None:
        """Wait until every session of the stock has been ended."""
        while True:
            if not self.stock and not self._leaving:
                return
            await asyncio.sleep(0.01)

    async def check(self, client: Known, ports: list[int]) -> None:
        """Ask for a session that has ended, in all three ways, at each of these gateways."""
        octets = refresh_request(client.refresh_token)
        for port in ports:
            if port not in self.order.avoided:
                await self.authz(client, port, "ended authz")
            if port not in self.order.avoided:
                await self.browse(client, port, "ended browser")
            if port not in self.order.avoided:
                await self.ask("ended refresh", client.session_id, port, octets, client.refresh_token)

    async def be_robbed(self, client: Known) -> None:
        """Rotate twice, then let a thief come with the first token: his 401 ends the family."""
        stolen = client.refresh_token
        for _ in range(2):
            await self.refresh_at_last(client)
        await self.ask("reuse", client.session_id, self.choose(), refresh_request(stolen), stolen)
        self.ended.append(client)

    async def come_late(self, client: Known, seconds: float) -> None:
        """Send a used token once more, so many seconds after it was used."""
        sent = client.refresh_token
        await self.refresh_at_last(client)
        await asyncio.sleep(seconds)
        what = "refresh" if seconds < 60 else "reuse"
        await self.ask(what, client.session_id, self.choose(), refresh_request(sent), sent)
        if what == "reuse":
            self.ended.append(client)

    def _start(self, work: "collections.abc.Coroutine[object, object, None]") -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._leave)

    def _leave(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            traceback.print_exception(task.exception())
            os._exit(1)  # a client that has ended would be missed by nobody

    async def obey(self, order: Order) -> None:
        """Do what is ordered."""
        if order.what == "set":
            self.order = order
        elif order.what == "stock":
            for client in order.sessions:
                await self.refresh_at_last(client)
                self.stock.append(client)
        elif order.what == "drain":
            await self.drain()
        elif order.what == "reuse":
            await asyncio.gather(*map(self.be_robbed, order.sessions))
        elif order.what == "late":
            pairs = zip(order.sessions, order.late_seconds, strict=True)
            await asyncio.gather(*[self.come_late(client, seconds) for client, seconds in pairs])
        elif order.what == "check":
            for client in self.ended:
                await self.check(client, order.ports)
        elif order.what == "forget":
            self.ended.clear()
            self.stock.clear()
        elif order.what == "pause":
            await self.pause()
        elif order.what == "renew":
            await self.pause()
            await asyncio.gather(*map(self.refresh_at_last, self.plan.users))
            self.runs.set()
        elif order.what == "go_on":
            self.runs.set()

    async def run(self) -> None:
        """Let everybody do what they do until the order to end."""
        await asyncio.gather(*map(self.refresh, self.plan.users))
        for user in self.plan.users:
            self._start(self.use(user))
        for port in self.plan.ports * AUTHZ_LINES:
            self._start(self.be_a_proxy(port))
        for _ in range(AUTHZ_LINES):
            self._start(self.log_in(AUTHZ_LINES / self.plan.logins_per_second))
        self._start(self.leave())
        orders = asyncio.StreamReader(limit=1 << 24)
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
        decoder = msgspec.json.Decoder(Order)
        print("running", flush=True)
        while line := await orders.readline():
            order = decoder.decode(line)
            if order.what == "end":
                break
            await self.obey(order)
            self.asker.flush()
            print(order.what, flush=True)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.asker.close()


if __name__ == "__main__":
    asyncio.run(Clients(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Plan)).run())
