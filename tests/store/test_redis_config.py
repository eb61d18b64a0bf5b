"""The files in config/redis: real servers come up on them, and the gateway has under them what it needs and no more."""

import contextlib
import json
import re
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import httpx2
import pytest
import redis
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError
from redis.retry import Retry

from gateway.cli import cli
from gateway.sessions.families import new_family_id
from gateway.state import Gateway
from gateway.store import fitness
from gateway.store.private import find_server
from tests.certificates import Certificates
from tests.cli.commands import here
from tests.configured import (
    CONFIG,
    PASSWORDS,
    ClusterNode,
    ConfiguredSentinel,
    ConfiguredServer,
    SentinelMember,
    factory,
)
from tests.harness import PASSWORD, GatewayProcess, free_port, in_gateway, wait_until
from tests.machines.clients import add_client, add_keyed_client

pytestmark = [pytest.mark.redis, pytest.mark.one_server]

KINDS = ("standalone", "sentinel", "cluster")
ONCE = Retry(NoBackoff(), 0)
ONLY_IN_A_CLUSTER = {"asking", "cluster|nodes", "cluster|slots", "command"}
CONFIRMATIONS = {"wait", "waitaof"}
# What nobody needs is tried by `gateway check`, to be able to say that it is allowed. The last is a key.
TRIED_BY_THE_CHECK = {"config", "lastsave", "randomkey", "acl", "not-gw:check"}
SETTINGS: dict[str, Any] = {
    "redis_key_prefix": "gw:",
    "login_limit": "10000/minute",
    "refresh_limit": "10000/minute",
    "account_throttle": "on",
}

REFUSED: list[tuple[str, ...]] = [
    ("FLUSHALL",),
    ("FLUSHDB",),
    ("KEYS", "*"),
    ("RANDOMKEY",),
    ("DBSIZE",),
    ("CONFIG", "GET", "dir"),
    ("CONFIG", "SET", "dir", "/tmp"),
    ("CONFIG", "REWRITE"),
    ("SCRIPT", "FLUSH"),
    ("SCRIPT", "KILL"),
    ("EVAL", "return 1", "0"),
    ("PUBLISH", "gw:channel", "x"),
    ("SUBSCRIBE", "gw:channel"),
    ("DEBUG", "SLEEP", "0"),
    ("MONITOR",),
    ("SHUTDOWN", "NOSAVE"),
    ("BGREWRITEAOF",),
    ("SAVE",),
    ("REPLICAOF", "NO", "ONE"),
    ("ACL", "LIST"),
    ("ACL", "SETUSER", "gateway", "+@all"),
    ("CLIENT", "LIST"),
    ("CLIENT", "KILL", "TYPE", "normal"),
    ("MODULE", "LIST"),
    ("SELECT", "1"),
    ("SWAPDB", "0", "1"),
    ("MULTI",),
    ("DUMP", "gw:keyring"),
    ("RESTORE", "gw:x", "0", "x"),
    ("RENAME", "gw:a", "gw:b"),
    ("SORT", "gw:a"),
    ("MIGRATE", "127.0.0.1", "1", "gw:a", "0", "1"),
    ("GET", "other:key"),
    ("SET", "other:key", "x"),
    ("DEL", "gw"),
    ("XREAD", "STREAMS", "other:stream", "0"),
    ("EXISTS", "gw:a", "other:key"),
]


def acl_users(path: Path) -> dict[str, list[str]]:
    """Give the rules of each user of an ACL file."""
    lines = [line.split() for line in path.read_text().splitlines()]
    assert all(words[0] == "user" for words in lines)
    return {words[1]: words[2:] for words in lines}


def allowed_commands(kind: str) -> set[str]:
    rules = acl_users(CONFIG / kind / "users.acl")["gateway"]
    return {rule[1:] for rule in rules if rule.startswith("+")}


@pytest.fixture
def configured(tmp_path: Path) -> Iterator[Callable[..., ConfiguredServer]]:
    """Give a factory of servers on the shipped files; they end with the test."""
    with factory(tmp_path) as make:
        yield make


def contents(server: ConfiguredServer) -> dict[bytes, Any]:
    """Give every key without a lifetime, with its value."""
    with server.client() as client:
        keys = [key for key in client.scan_iter() if client.ttl(key) == -1]
        return {key: client.hgetall(key) if client.type(key) == b"hash" else client.dump(key) for key in keys}


def use_every_endpoint(gateway: GatewayProcess, *, is_quiet: bool = True) -> None:
    """Log in, refresh, reuse a token, guess, change the password, end sessions, use a personal token."""
    user = gateway.add_user()
    with gateway.client() as client, gateway.client() as other:
        assert client.post("/auth/login", data={"username": user.email, "password": "wrong"}).status_code == 401
        body = gateway.login(user, client)
        first = client.cookies["refresh_token"]
        assert client.post("/auth/refresh").status_code == 200
        assert other.post("/auth/refresh", json={"refresh_token": first}).status_code == 200  # lost answer
        client.headers["Authorization"] = f"Bearer {body['access_token']}"
        for path in (
            *("/auth/me", "/auth/sessions", "/livez", "/readyz", "/.well-known/jwks.json"),
            *("/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"),
            *("/api/authz/auth-request", "/api/authz/forward-auth", "/api/authz/ext-authz/x"),
        ):
            assert client.get(path).status_code == 200, path
        sid = gateway.login(user, other, delivery="body") and client.get("/auth/sessions").json()["sessions"][0]["id"]
        assert client.delete(f"/auth/sessions/{sid}").status_code == 204
        personal = client.post("/auth/tokens", json={"name": "backup"}).json()
        bearer = {"Authorization": f"Bearer {personal['token']}"}
        assert other.get("/api/authz/auth-request", headers=bearer).status_code == 200
        assert len(client.get("/auth/tokens").json()["tokens"]) == 1
        assert client.delete(f"/auth/tokens/{personal['id']}").status_code == 204
        tokens = [gateway.login(user, other, delivery="body")["refresh_token"]]
        for _ in range(2):
            answer = other.post("/auth/refresh", json={"refresh_token": tokens[-1]})
            tokens.append(answer.json()["refresh_token"])
        assert "reused" in other.post("/auth/refresh", json={"refresh_token": tokens[0]}).text
        out = gateway.login(user, other, delivery="body")["refresh_token"]
        assert other.post("/auth/logout", json={"refresh_token": out}).status_code == 204
        new = {"current_password": user.password, "new_password": "quite another sentence"}
        assert client.post("/auth/change-password", json=new).status_code == 204
        assert client.post("/auth/logout-all").status_code == 200
        statuses = [
            other.post("/auth/login", json={"username": user.email, "password": "wrong"}).status_code for _ in range(7)
        ]
        assert statuses[-1] == 429
        use_oauth(gateway, other)
    if is_quiet:
        assert "redis does not serve" not in gateway.log_text(), gateway.log_text()


def use_oauth(gateway: GatewayProcess, client: httpx2.Client) -> None:
    """Get a token by a secret, ask about it and give it back; authenticate by a key."""
    service = add_client(gateway.env)
    token = service.token(client)
    for path in ("introspect", "revoke"):
        assert client.post(f"/oauth/{path}", data={"token": token}, auth=service.auth).status_code == 200
    keyed = add_keyed_client(gateway.env)
    assert client.post("/oauth/token", data=keyed.form(gateway.url)).status_code == 200


def use_every_command(env: dict[str, str], tmp_path: Path) -> None:
    """Run every command of `gateway` that asks Redis, and see that each is done."""
    ann, file = "ann@example.com", tmp_path / "users.jsonl"
    password_hash = "$2b$04$" + "abcdefghijklmnopqrstuu" + "a" * 31
    file.write_text(json.dumps({"email": "moved@example.com", "password_hash": password_hash}))
    pem = tmp_path / "key.pem"
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = tmp_path / "public.pem"
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    commands: list[tuple[str, ...]] = [
        ("keys", "list"),
        ("keys", "import", str(pem)),
        ("keys", "rotate", "--force"),
        ("keys", "export"),
        ("users", "add", ann, "--password-stdin"),
        ("users", "reset", ann),
        ("users", "invite", "new@example.com"),
        ("users", "import", str(file)),
        ("users", "list"),
        ("users", "show", ann),
        ("users", "disable", ann),
        ("users", "enable", ann),
        ("users", "unlock", ann),
        ("users", "roles", ann, "staff"),
        ("users", "factors", ann),
        ("users", "factors", ann, "--reset"),
        ("clients", "add", "By command", "--role", "staff"),
        ("clients", "list"),
        ("clients", "new-secret", "CLIENT"),
        ("clients", "new-secret", "CLIENT", "--revoke-old"),
        ("clients", "remove", "CLIENT"),
        ("clients", "add", "By command", "--public-key", str(public)),
        ("clients", "set-key", "CLIENT", str(public)),
        ("clients", "remove", "CLIENT"),
        ("audit",),
        ("audit", "--since", "1h"),
        ("tokens", "create", ann, "--name", "backup"),
        ("tokens", "list", ann),
        ("tokens", "revoke", ann, "TOKEN"),
        ("sessions", "list", ann),
        ("sessions", "revoke", ann, "SID"),
        ("sessions", "revoke", ann, "--all"),
        ("users", "set-password", ann, "--generate"),
        ("users", "remove", ann),
        ("config", "show"),
        ("healthcheck",),
    ]
    for command in commands:
        if "SID" in command:
            found = here("users", "show", ann, "--json", env=env).document
            sid = open_session(env, found["id"])
            command = tuple(sid if word == "SID" else word for word in command)
        if "CLIENT" in command:
            listed = here("clients", "list", "--json", env=env).document["clients"]
            (found,) = [client for client in listed if client["name"] == "By command"]
            command = tuple(found["client_id"] if word == "CLIENT" else word for word in command)
        if "TOKEN" in command:
            [token] = here("tokens", "list", ann, "--json", env=env).document["tokens"]
            command = (*command[:-1], token["id"])
        outcome = here(*command, env=env, stdin=PASSWORD)
        assert outcome.status == 0, (command, outcome)
    names = {
        command[:2] if command[0] in ("users", "sessions", "tokens", "clients", "keys", "config") else command[:1]
        for command in commands
    }
    # What the doctor does in Redis is what `users add`, `sessions list` and `users remove` do.
    assert names == every_command() - {("serve",), ("check",), ("doctor",)}


def open_session(env: dict[str, str], user_id: str) -> str:
    """Open a session as a login does, and give its id."""

    async def log_in(gateway: Gateway) -> str:
        family_id = new_family_id()
        await gateway.families.open(user_id, 1, family_id, "127.0.0.1", "test")
        return family_id

    return in_gateway(env, log_in)


def every_command() -> set[tuple[str, ...]]:
    context = click.Context(cli)
    found: set[tuple[str, ...]] = set()
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        children = command.commands if isinstance(command, click.Group) else {}
        found |= {(name, child) for child in children} if children else {(name,)}
    return found


def test_the_gateway_has_all_it_needs_and_nothing_is_refused_to_it(
    configured: Callable[..., ConfiguredServer], make_gateway: Callable[..., GatewayProcess], tmp_path: Path
) -> None:
    """Every endpoint and every command on the shipped files, and the list of the refusals of Redis stays empty."""
    server = configured()
    gateway = make_gateway(redis_url=server.url, **SETTINGS)
    use_every_endpoint(gateway)
    use_every_command(gateway.env, tmp_path)
    assert server.denials() == []
    assert here("check", env=gateway.env).status == 0
    assert {denied.partition("|")[0] for _, denied, _ in server.denials()} == TRIED_BY_THE_CHECK
    assert gateway.stop() == 0
    kept = contents(server)
    server.stop()
    server.start()
    assert len(kept) > 5
    assert contents(server) == kept
    gateway.start()
    use_every_endpoint(gateway)
    assert server.denials() == []


def test_every_command_that_is_allowed_is_one_that_the_gateway_uses(
    configured: Callable[..., ConfiguredServer],
    make_gateway: Callable[..., GatewayProcess],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Counted by Redis itself; what `gateway check` merely tries does not count. Shows ASVS 13.2.2."""
    server = configured()
    gateway = make_gateway(redis_url=server.url, **SETTINGS)
    monkeypatch.setattr(fitness, "NEEDED", ())
    server.admin("SCRIPT", "FLUSH")
    server.admin("CONFIG", "RESETSTAT")
    use_every_endpoint(gateway)
    use_every_command(gateway.env, tmp_path)
    seen, allowed = server.commands_seen(), allowed_commands("standalone")
    print(f"{len(allowed)} commands allowed, {len(allowed & seen)} of them seen; not seen: {sorted(allowed - seen)}")
    assert allowed - seen <= CONFIRMATIONS


def test_the_check_asks_for_exactly_the_commands_that_are_allowed() -> None:
    needed = {command[0].lower().replace(" ", "|") for command in fitness.NEEDED}
    assert allowed_commands("standalone") == needed
    assert allowed_commands("sentinel") == needed
    assert allowed_commands("cluster") == needed | ONLY_IN_A_CLUSTER


def test_what_the_gateway_does_not_need_is_refused(configured: Callable[..., ConfiguredServer]) -> None:
    """Shows ASVS 13.2.2."""
    server = configured()
    for command in REFUSED:
        # Redis 7 says of DEBUG that nobody may, before it looks who asks.
        with server.client("gateway") as client, pytest.raises(redis.ResponseError, match=r"permission|not allowed"):
            client.execute_command(*command)
    with server.client("gateway") as client:
        sha1 = client.script_load("return redis.call('SET', KEYS[1], ARGV[1])")
        assert client.evalsha(sha1, 1, "gw:probe", "x") == b"OK"
        for script in ("'SET', 'other:key', 'x'", "'FLUSHALL'", "'CONFIG', 'GET', 'dir'", "'PUBLISH', 'gw:x', 'x'"):
            sha1 = client.script_load(f"return redis.call({script})")
            with pytest.raises(redis.ResponseError, match=r"(?i)acl failure|permission|user executing|not allowed"):
                client.evalsha(sha1, 0)
    assert server.admin("EXISTS", "other:key") == 0
    assert server.admin("EXISTS", "gw:probe") == 1


def test_nobody_gets_in_without_a_user_and_a_password(configured: Callable[..., ConfiguredServer]) -> None:
    """Shows ASVS 13.2.1, ASVS 13.2.3."""
    server = configured()
    with redis.Redis(port=server.port, retry=ONCE) as anonymous, pytest.raises(redis.AuthenticationError):
        anonymous.ping()
    with redis.Redis(port=server.port, password="", retry=ONCE) as nobody, pytest.raises(redis.AuthenticationError):
        nobody.ping()


@pytest.mark.parametrize("path", sorted(CONFIG.rglob("*.acl")), ids=lambda path: str(path.relative_to(CONFIG)))
def test_no_password_is_in_the_files(path: Path) -> None:
    """Shows ASVS 13.3.1."""
    for user, rules in acl_users(path).items():
        secret = [rule for rule in rules if rule[0] in "#>"]
        assert secret == ([f"#{user.upper()}_PASSWORD_SHA256"] if user != "default" else [])
    for configuration in path.parent.glob("*.conf"):
        shown = re.findall(
            r"^(?:masterauth|sentinel (?:auth|sentinel)-pass\b.*) (\S+)$", configuration.read_text(), re.M
        )
        assert all(word.endswith("_PASSWORD") for word in shown)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_was_not_filled_in_does_not_start(kind: str, tmp_path: Path) -> None:
    configuration = tmp_path / "redis.conf"
    configuration.write_text(f"port 0\ndir {tmp_path}\naclfile {CONFIG / kind / 'users.acl'}\n")
    started = subprocess.run([find_server()[0], str(configuration)], capture_output=True, timeout=20)
    assert started.returncode != 0


def make_trio(
    configured: Callable[..., ConfiguredServer], certificates: Certificates | None = None
) -> list[ConfiguredServer]:
    """Start a master and two replicas of it, and wait until these have what it has."""
    master = configured(SentinelMember, certificates=certificates)
    line = f"replicaof 127.0.0.1 {master.port}"
    replicas = [configured(SentinelMember, line, certificates=certificates) for _ in range(2)]

    def in_sync() -> bool:
        with master.client() as client:
            return str(client.info("replication")).count("'online'") == 2

    wait_until(in_sync, 30, "the replicas")
    return [master, *replicas]


@contextlib.contextmanager
def watched(trio: list[ConfiguredServer], directory: Path) -> Iterator[list[ConfiguredSentinel]]:
    """Give three Sentinels who know each other and the trio; they end with the block."""
    sentinels = [
        ConfiguredSentinel(directory / f"sentinel-{number}", trio[0].port, trio[0].certificates) for number in range(3)
    ]
    try:
        for sentinel in sentinels:
            sentinel.start()
        wait_until(lambda: all(sentinel.sees(2, 3) for sentinel in sentinels), 30, "the Sentinels")
        yield sentinels
    finally:
        for sentinel in sentinels:
            sentinel.stop()


def url_of_sentinels(sentinels: list[ConfiguredSentinel]) -> str:
    hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in sentinels)
    return sentinels[0].url_of(f"gateway:{PASSWORDS['GATEWAY']}@{hosts}/sessions/0", "+sentinel")


class TestSentinel:
    """Three servers and three Sentinels on the shipped files."""

    @pytest.fixture
    def trio(self, configured: Callable[..., ConfiguredServer]) -> list[ConfiguredServer]:
        """Three servers, the first of them the master."""
        return make_trio(configured)

    @pytest.fixture
    def sentinels(self, trio: list[ConfiguredServer], tmp_path: Path) -> Iterator[list[ConfiguredSentinel]]:
        """Three of them, who know each other."""
        with watched(trio, tmp_path) as sentinels:
            yield sentinels

    def test_the_gateway_serves_and_a_failover_ends_no_session(
        self,
        trio: list[ConfiguredServer],
        sentinels: list[ConfiguredSentinel],
        make_gateway: Callable[..., GatewayProcess],
    ) -> None:
        gateway = make_gateway(redis_url=url_of_sentinels(sentinels), **SETTINGS)
        user = gateway.add_user()
        use_every_endpoint(gateway)
        with gateway.client() as client:
            tokens = gateway.login(user, client, delivery="body")
            ended = gateway.login(user, client, delivery="body")
            assert client.post("/auth/logout", json={"refresh_token": ended["refresh_token"]}).status_code == 204
            trio[0].kill()

            def refreshes() -> bool:
                answer = client.post("/auth/refresh", json={"refresh_token": tokens["refresh_token"]})
                assert answer.status_code in (200, 503), answer.text
                return answer.status_code == 200

            seconds = wait_until(refreshes, 30, "a new master")
            print(f"refreshed {seconds:.1f} s after the master was killed")
            gone = client.post("/auth/refresh", json={"refresh_token": ended["refresh_token"]})
            assert gone.status_code == 401
            use_every_endpoint(gateway, is_quiet=False)
        trio[0].start()

        def is_replica() -> bool:
            with contextlib.suppress(redis.ConnectionError):  # Sentinel ends every connection of a server that it turns
                return bool(trio[0].admin("ROLE")[0] == b"slave")
            return False

        wait_until(is_replica, 30, "the old master to be a replica")
        wait_until(lambda: all(sentinel.sees(2, 3) for sentinel in sentinels), 30, "the Sentinels to agree")
        for server in (*trio, *sentinels):
            assert server.denials() == [], server.directory

    def test_who_has_no_password_may_ask_a_sentinel_for_the_master_alone(
        self, sentinels: list[ConfiguredSentinel]
    ) -> None:
        with redis.Redis(port=sentinels[0].port) as anonymous:
            assert anonymous.execute_command("SENTINEL", "MASTERS")
            for command in ("SENTINEL FAILOVER sessions", "SENTINEL REMOVE sessions", "SENTINEL SET sessions quorum 1",
                            "SENTINEL REPLICAS sessions", "SHUTDOWN", "CLIENT LIST", "ACL LIST"):  # fmt: skip
                with pytest.raises(NoPermissionError):
                    anonymous.execute_command(*command.split())


def gather(nodes: list[ConfiguredServer]) -> list[ConfiguredServer]:
    """Make a cluster of nodes, each a master with its share of the slots, and wait until all of them say it works."""
    for number, node in enumerate(nodes):
        first, last = 16384 * number // len(nodes), 16384 * (number + 1) // len(nodes) - 1
        node.admin("CLUSTER", "ADDSLOTSRANGE", str(first), str(last))
        if number:
            node.admin("CLUSTER", "MEET", "127.0.0.1", str(nodes[0].port), str(bus_port_of(nodes[0])))

    def is_whole(node: ConfiguredServer) -> bool:
        facts = node.admin("CLUSTER", "INFO")
        return b"cluster_state:ok" in facts and b"cluster_size:%d" % len(nodes) in facts

    wait_until(lambda: all(is_whole(node) for node in nodes), 30, "the cluster")
    return nodes


def bus_port_of(node: ConfiguredServer) -> int:
    found = re.search(r"^cluster-port (\d+)$", (node.directory / "redis.conf").read_text(), re.MULTILINE)
    assert found
    return int(found[1])


def url_of_cluster(nodes: list[ConfiguredServer]) -> str:
    hosts = ",".join(f"127.0.0.1:{node.port}" for node in nodes)
    return nodes[0].url_of(f"gateway:{PASSWORDS['GATEWAY']}@{hosts}/", "+cluster")


def test_a_cluster_on_the_files_serves_the_gateway(
    configured: Callable[..., ConfiguredServer], make_gateway: Callable[..., GatewayProcess], tmp_path: Path
) -> None:
    """Three masters; no node refuses the gateway anything."""
    nodes = gather([configured(ClusterNode, f"cluster-port {free_port()}") for _ in range(3)])
    gateway = make_gateway(redis_url=url_of_cluster(nodes), **SETTINGS)
    use_every_endpoint(gateway)
    use_every_command(gateway.env, tmp_path)
    for node in nodes:
        assert node.denials() == []
    seen = set().union(*(node.commands_seen() for node in nodes))
    assert ONLY_IN_A_CLUSTER - seen <= {"asking"}  # that one is for slots on the move
    for command in (("FLUSHALL",), ("CLUSTER", "RESET"), ("CLUSTER", "FORGET", "x"), ("READONLY",), ("KEYS", "*")):
        with nodes[0].client("gateway") as client, pytest.raises(NoPermissionError):
            client.execute_command(*command)


# A connection by TLS that is given up while it is being made is closed by asyncio half a minute later.
@pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")
class TestTls:
    """The files with the marks of the lines of TLS taken away: nothing is spoken without it."""

    def serves(self, gateway: GatewayProcess, servers: list[ConfiguredServer]) -> None:
        """See that a gateway serves, that its check is content, and that nobody was refused what it needs."""
        use_every_endpoint(gateway)
        for server in servers:
            assert server.denials() == [], server.directory
            with redis.Redis(port=server.port, retry=ONCE) as plain, pytest.raises(redis.ConnectionError):
                plain.ping()
        outcome = here("check", env=gateway.env)
        assert (outcome.status, outcome.err) == (0, ""), outcome

    def test_one_server(
        self,
        configured: Callable[..., ConfiguredServer],
        make_gateway: Callable[..., GatewayProcess],
        redis_certificates: Certificates,
    ) -> None:
        server = configured(certificates=redis_certificates)
        self.serves(make_gateway(redis_url=server.url, **SETTINGS), [server])

    def test_sentinel_with_a_password_and_a_failover(
        self,
        configured: Callable[..., ConfiguredServer],
        make_gateway: Callable[..., GatewayProcess],
        redis_certificates: Certificates,
        tmp_path: Path,
    ) -> None:
        trio = make_trio(configured, redis_certificates)
        with watched(trio, tmp_path) as sentinels:
            for sentinel in sentinels:  # what sentinel.conf says about a password
                rules = ("resetkeys", "resetchannels", "-@all", "+ping", "+sentinel|masters")
                sentinel.admin("ACL", "SETUSER", "gateway", "on", f">{PASSWORDS['GATEWAY']}", *rules)
                sentinel.admin("ACL", "SETUSER", "default", "off")
            url = f"{url_of_sentinels(sentinels)}&sentinel_username=gateway&sentinel_password={PASSWORDS['GATEWAY']}"
            gateway = make_gateway(redis_url=url, **SETTINGS)
            self.serves(gateway, [*trio, *sentinels])
            user = gateway.add_user()
            with gateway.client() as client:
                trio[0].kill()
                credentials = {"username": user.email, "password": user.password}
                seconds = wait_until(
                    lambda: client.post("/auth/login", data=credentials).is_success, 30, "a new master"
                )
                print(f"logged in {seconds:.1f} s after the master was killed")

    def test_a_cluster(
        self,
        configured: Callable[..., ConfiguredServer],
        make_gateway: Callable[..., GatewayProcess],
        redis_certificates: Certificates,
    ) -> None:
        """Nobody gets onto the bus without a certificate."""
        nodes = [
            configured(ClusterNode, f"cluster-port {free_port()}", certificates=redis_certificates) for _ in range(3)
        ]
        gather(nodes)
        self.serves(make_gateway(redis_url=url_of_cluster(nodes), **SETTINGS), nodes)
        context = redis_certificates.client_context()
        with (
            socket.create_connection(("127.0.0.1", bus_port_of(nodes[0])), timeout=5) as plain,
            pytest.raises(ssl.SSLError, match=r"(?i)certificate required"),
            context.wrap_socket(plain, server_hostname="127.0.0.1") as bus,
        ):
            bus.recv(1)
