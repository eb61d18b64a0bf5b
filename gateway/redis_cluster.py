"""A client of a Redis Cluster that sends commands together, to the node that serves their key, wherever that is now."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import RedisCluster
from redis.asyncio.cluster import ClusterNode, PipelineCommand
from redis.exceptions import AskError, MovedError, SlotNotCoveredError, TryAgainError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from gateway.confirmations import Command, Confirmations
from gateway.redis_errors import TORN_CONNECTION

MAX_REDIRECTIONS = 16
TRY_AGAIN_SECONDS = 0.02


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
    """

    ERRORS_ALLOW_RETRY = tuple(  # type: ignore[assignment]
        kind for kind in RedisCluster.ERRORS_ALLOW_RETRY if kind is not RedisTimeoutError
    )
    suspicion: Suspicion
    _looked_up_at_number = -1

    def node_name(self, key: str) -> str:
        """Give the address of the node that serves a key, as far as is known now; empty when nothing is."""
        nodes = self.nodes_manager.slots_cache.get(self.keyslot(key))
        return nodes[0].name if nodes else ""

    async def aclose(self) -> None:
        """Close every connection, those too that were opened without redis-py's own initialisation."""
        self._initialize = False
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
        batch = [PipelineCommand(number, *words) for number, words in enumerate(commands)]
        try:
            await node.execute_pipeline(batch)
        except (RedisConnectionError, RedisTimeoutError, OSError, *TORN_CONNECTION) as error:
            batch[0].result = RedisConnectionError(str(error)) if isinstance(error, TORN_CONNECTION) else error
        except asyncio.CancelledError:  # the deadline has come
            self.suspicion.fall_on(node.name)
            raise
        replies = [part.result for part in batch]
        if any(isinstance(reply, RedisConnectionError | RedisTimeoutError | OSError) for reply in replies):
            self.suspicion.fall_on(node.name)
            node.update_active_connections_for_reconnect()
            await node.disconnect_free_connections()
        return replies

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
        """Ask the cluster who serves what: at first, and after a node was not heard."""
        number = self.suspicion.number
        if self._looked_up_at_number != number:
            await self.nodes_manager.initialize(last_failed_node_name=self.suspicion.node)
            self._looked_up_at_number = number
