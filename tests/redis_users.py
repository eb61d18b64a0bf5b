"""Users of a Redis server that a test has started: one with the rights of the shipped ACL, and nobody else."""

from gateway.store import fitness
from gateway.store.confirmations import WAITAOF_SINCE, version_of
from tests.harness import RedisServer

USER_PASSWORD = "a password of the gateway"
ALLOWED = [f"+{command[0].lower().replace(' ', '|')}" for command in fitness.NEEDED if command[0] != "WAITAOF"]


def with_user(server: RedisServer, *rules: str, name: str = "gateway") -> RedisServer:
    """Make a user with the rules of the shipped one and *rules*, and let the server's URL be that of this user."""
    with server.client() as client:
        newer = ["+waitaof"] if version_of(client.info("server")) >= WAITAOF_SINCE else []
        rules = ("reset", "on", f">{USER_PASSWORD}", "~gw:*", *ALLOWED, *newer, *rules)
        client.execute_command("ACL", "SETUSER", name, *rules)
    server.url = f"redis://{name}:{USER_PASSWORD.replace(' ', '%20')}@127.0.0.1:{server.port}/0"
    return server


def close_default(server: RedisServer) -> None:
    """Let nobody in without a password any more."""
    server.command("ACL", "SETUSER", "default", "resetpass", ">nobody knows it")
