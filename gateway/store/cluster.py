"""
A client of a Redis Cluster that sends commands together, to the node that serves their key, wherever that is now.

One file: who serves what, and what is sent there, is one state.
"""

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from redis.asyncio import RedisCluster
from redis.asyncio.cluster import ClusterNode, PipelineCommand
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.cluster import PRIMARY, REPLICA, get_node_name
from redis.exceptions import AskError, MovedError, SlotNotCoveredError, TryAgainError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.utils import str_if_bytes

from gateway.store.confirmations import Command, Confirmations
from gateway.store.faults import REDIS_FAILURES, TORN_CONNECTION
from gateway.store.turns import Turns

MAX_REDIRECTIONS = 16
TRY_AGAIN_SECONDS = 0.02
UNHEARD = (RedisConnectionError, RedisTimeoutError, OSError, *TORN_CONNECTION)


@dataclass
class Suspicion:
    """What the clients of one cluster share: the node that was not heard last, and how often there was one."""

    node: str = ""
    number: int = 0

    def fall_on(self, node: str) -> None:
        """Let every client ask the cluster who serves what before it sends again."""
        self.node, self.number = node, self.number + 1


class ClusterClient(RedisCluster):
    """
    One that sends nothing again after a timeout, and knows how to send commands together.

    redis-py's own way sends ASKING and the command that it is for over different connections, knows no node that has no
    slots yet, and needs one certain node to start with, which may be the one that is away.

    Args:
        in_turns: Whether what belongs to one turn of the event loop is sent to a node together.
        options: Those of redis-py.
    """

    ERRORS_ALLOW_RETRY = tuple(  # type: ignore[assignment]
        kind for kind in RedisCluster.ERRORS_ALLOW_RETRY if kind is not RedisTimeoutError
    )

    def __init__(self, *, in_turns: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self._in_turns = in_turns
        self._turns: dict[str, Turns] = {}
        self.suspicion = Suspicion()
        self._looking_up = asyncio.Lock()
        self._looked_up_at_number = -1
        self._learnt: list[_Server] = []
        self._addresses: dict[tuple[bytes, bytes], tuple[str, int]] = {}
        self._slots: dict[int, list[ClusterNode]] = {}

    @property
    def all_turns(self) -> list[Turns]:
        """What goes to each node."""
        return list(self._turns.values())

    def node_name(self, key: str) -> str:
        """Give the address of the node that serves a key, as far as is known now; empty when nothing is."""
        nodes = self.nodes_manager.slots_cache.get(self.keyslot(key))
        return nodes[0].name if nodes else ""

    async def aclose(self) -> None:
        """Close every connection, those too that were opened without redis-py's own initialisation."""
        self._initialize = False
        for turns in self._turns.values():
            await turns.close()
        await super().aclose()

    async def send_together(
        self, key: str, before: Sequence[Command], command: Command, confirmations: Confirmations | None
    ) -> list[Any]:
        """Give the replies of the node that serves *key*; the errors among them are not raised."""
        asked: ClusterNode | None = None
        breaks_left = self.retry.get_retries()
        for _ in range(MAX_REDIRECTIONS):
            await self._look_up()
            node = asked or self._owner_of(key)
            words = [*before, *([("ASKING",)] if asked else []), command]
            replies = await self._exchange(node, words, confirmations)
            if asked:
                del replies[len(before) : len(before) + 1]
            asked = None
            failure = next((reply for reply in replies if isinstance(reply, Exception)), None)
            if isinstance(failure, MovedError):
                self._learnt = []
                self.nodes_manager.slots_cache.setdefault(failure.slot_id, [])  # none, if it was learnt anew meanwhile
                await self.nodes_manager.move_slot(failure)
            elif isinstance(failure, AskError):
                asked = self._node_at(failure.host, failure.port)
            elif isinstance(failure, TryAgainError):
                await asyncio.sleep(TRY_AGAIN_SECONDS)
            elif isinstance(failure, RedisConnectionError) and breaks_left > 0:
                breaks_left -= 1
            else:
                break
        return replies

    async def _exchange(
        self, node: ClusterNode, commands: Sequence[Command], confirmations: Confirmations | None = None
    ) -> list[Any]:
        if confirmations is not None:
            if not confirmations.is_known(node.name):
                [facts] = await self._exchange(node, [("INFO",)])
                if isinstance(facts, Exception):
                    return [facts]
                confirmations.learn(node.name, facts)
            commands = [*commands, *confirmations.commands(node.name)]
        try:
            replies = await (self._send_in_turn(node, commands) if self._in_turns else _send(node, commands))
        except asyncio.CancelledError:  # the deadline has come
            self.suspicion.fall_on(node.name)
            raise
        is_unheard = any(isinstance(reply, RedisConnectionError | RedisTimeoutError | OSError) for reply in replies)
        if is_unheard:
            self.suspicion.fall_on(node.name)
        if self.nodes_manager.nodes_cache.get(node.name) is not node:  # it may have left meanwhile
            await self._leave(node)
        elif is_unheard:
            await _drop_connections(node)  # a line that broke has ended by itself
        return replies

    async def _send_in_turn(self, node: ClusterNode, commands: Sequence[Command]) -> list[Any]:
        turns = self._turns.get(node.name)
        if turns is None:
            turns = self._turns[node.name] = Turns(partial(_make_connection, node), node.response_callbacks)
        try:
            return await turns.exchange(*commands)
        except UNHEARD as error:
            return [_as_unheard(error)] * len(commands)

    async def _leave(self, node: ClusterNode) -> None:
        if node.name in self._turns:
            self._turns[node.name].renew()
        await _drop_connections(node)

    def _owner_of(self, key: str) -> ClusterNode:
        try:
            return self.nodes_manager.get_node_from_slot(self.keyslot(key))
        except (KeyError, SlotNotCoveredError) as error:
            self.suspicion.fall_on("")
            raise SlotNotCoveredError(f"no node serves the slot of {key}") from error

    def _node_at(self, host: str, port: int) -> ClusterNode:
        node = self.get_node(host, port)
        if node is None:
            node = ClusterNode(host, port, **self.nodes_manager.connection_kwargs)
            self.nodes_manager.nodes_cache[node.name] = node  # closed with the others
        return node

    async def _look_up(self) -> None:
        """
        Ask the cluster who serves what: at first, and after a node was not heard.

        What has not changed is not learnt again, and addresses (CLUSTER SLOTS) only of masters that are new: reading
        them takes 80 us for each range of slots, and nobody is served meanwhile.
        """
        async with self._looking_up:
            number = self.suspicion.number
            if self._looked_up_at_number == number:
                return
            known = (self.nodes_manager.startup_nodes | self.nodes_manager.nodes_cache).values()
            nodes = sorted(known, key=lambda node: (node.name == self.suspicion.node, secrets.randbits(32)))
            for node in nodes:
                try:
                    await self._learn_from(node)
                    break
                except REDIS_FAILURES:
                    if node is nodes[-1]:
                        raise
            self._looked_up_at_number = number

    async def _learn_from(self, node: ClusterNode) -> None:
        manager = self.nodes_manager
        [told] = await _ask(node, ("CLUSTER", "NODES"))
        servers = _read_servers(told)
        if servers == self._learnt and manager.slots_cache is self._slots:
            return
        if not {server.name for server in servers if server.slots} <= self._addresses.keys():
            told, ranges = await _ask(node, ("CLUSTER", "NODES"), ("CLUSTER", "SLOTS"))
            servers = _read_servers(told)
            addresses = {
                server_id: (str_if_bytes(host) or node.host, port)
                for _, _, *of_range in ranges
                for host, port, server_id, *_ in of_range
            }
            self._addresses |= {server.name: addresses[server.id] for server in servers if server.id in addresses}
        kinds: dict[tuple[str, int], str] = {}
        slots: dict[int, list[ClusterNode]] = {}
        known = [server for server in servers if server.name in self._addresses]
        for master in (server for server in known if server.slots):
            address = self._addresses[master.name]
            replicas = [self._addresses[one.name] for one in known if one.master_id == master.id and one.is_there]
            kinds |= {address: PRIMARY} | dict.fromkeys(replicas, REPLICA)
            nodes = [self._node_at(*each) for each in (address, *replicas)]
            for words in master.slots:
                first, _, last = words.partition(b"-")
                slots |= dict.fromkeys(range(int(first), int(last or first) + 1), nodes)
        self._learnt, self._slots = servers, slots
        manager.slots_cache = slots
        for address, kind in kinds.items():
            self._node_at(*address).server_type = kind
        for name in manager.nodes_cache.keys() - {get_node_name(*address) for address in kinds}:
            await asyncio.shield(self._leave(manager.nodes_cache.pop(name)))
        self._turns = {name: turns for name, turns in self._turns.items() if name in manager.nodes_cache or turns.lines}


class _Server(NamedTuple):
    """What every node says of one (a line of CLUSTER NODES), as long as nothing changes."""

    id: bytes
    address: bytes
    flags: bytes
    master_id: bytes
    slots: tuple[bytes, ...]

    @property
    def name(self) -> tuple[bytes, bytes]:
        """Give what it is, and where."""
        return self.id, self.address

    @property
    def is_there(self) -> bool:
        """Tell whether the others hear it."""
        return not {b"fail", b"handshake", b"noaddr"} & set(self.flags.split(b","))


def _read_servers(nodes: bytes) -> list[_Server]:
    servers = []
    for line in nodes.splitlines():
        server_id, address, flags, master_id, *rest = line.replace(b"myself,", b"").replace(b",fail?", b"").split()
        slots = tuple(words for words in rest[4:] if not words.startswith(b"["))  # those on the move are its own still
        servers.append(_Server(server_id, address, flags, master_id, slots))
    return sorted(servers)


async def _ask(node: ClusterNode, *commands: Command) -> list[Any]:
    """Give the replies; asks once more when the connection breaks, which may have been broken for long."""
    for is_last in (False, True):
        replies = await _send(node, commands)
        failure = next((reply for reply in replies if isinstance(reply, Exception)), None)
        if failure is None:
            break
        if is_last or not isinstance(failure, RedisConnectionError):
            raise failure
        await _drop_connections(node)
    return replies


def _make_connection(node: ClusterNode) -> AbstractConnection:
    # It is tried again where it is known which node that should be.
    once = Retry(NoBackoff(), 0, supported_errors=(RedisConnectionError,))
    return node.connection_class(**node.connection_kwargs | {"retry": once})


async def _send(node: ClusterNode, commands: Sequence[Command]) -> list[Any]:
    """Give the replies, errors too; when nothing was heard, or no more, that is an error among them."""
    batch = [PipelineCommand(number, *words) for number, words in enumerate(commands)]
    try:
        await node.execute_pipeline(batch)
    except UNHEARD as error:
        return [_as_unheard(error)] * len(commands)
    return [part.result for part in batch]


def _as_unheard(error: Exception) -> Exception:
    return RedisConnectionError(str(error)) if isinstance(error, TORN_CONNECTION) else error


async def _drop_connections(node: ClusterNode) -> None:
    node.update_active_connections_for_reconnect()
    await node.disconnect_free_connections()
