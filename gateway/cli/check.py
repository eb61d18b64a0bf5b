"""gateway check and gateway healthcheck: what is wrong, and how to mend it."""

import functools
import http.client
from collections import Counter

import click
import msgspec

from gateway.cli import settings_for
from gateway.cli.connection import run_with_checked_gateway
from gateway.cli.doubtful_clients import doubtful_clients
from gateway.cli.output import Progress, json_option, print_json
from gateway.derived_keys import KeyChain
from gateway.errors import CommandError
from gateway.settings import Settings
from gateway.state import Gateway
from gateway.store import doubtful_url, examine_server, serving_address
from gateway.tokens import SizeBounds, latencies_of
from gateway.web import doubtful_file_limit

HEALTHCHECK_TIMEOUT_SECONDS = 3
MAX_NAMED = 20
ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what is listened on, not a new listener


@click.command()
@json_option
@click.pass_context
def check(ctx: click.Context, as_json: bool) -> None:
    """
    Check settings, Redis and keys, and tell what is wrong and how to mend it.

    Checked are: the settings, each by itself and together; whether Redis answers, keeps what it is given, lets the
    gateway do what it must and no more, has no known holes and a clock that agrees; whether the signing keys can be
    opened with `secret`; and which passwords, second factors and clients still need a previous secret. Nothing is
    changed. It tells, too, after how many seconds at the latest the tokens of an ended session are refused, by who
    verifies them.

    Exit status: 0 all is well, or there are warnings; 3 `gateway serve` could not start, and the line on stderr says
    why; 2 wrong usage.
    """
    settings = settings_for(ctx).settings
    is_private = settings.redis_url is None
    redis, has_keys, passwords, warnings = run_with_checked_gateway(ctx, functools.partial(_inspect, is_private))
    warnings = [*doubtful_settings(settings), *doubtful_file_limit(), *warnings]
    if as_json:
        latencies = latencies_of(settings)
        print_json({"ok": True, "redis": redis, "passwords": passwords, "latencies": latencies, "warnings": warnings})
        return
    keys = "ok" if has_keys else "none yet: the first `gateway serve` makes them"
    click.echo(f"settings  ok\nredis     ok: {redis}\nkeys      {keys}\nusers     {passwords.in_words()}")
    refused = "; ".join(f"{latency.way} {latency.seconds} s" for latency in latencies_of(settings))
    click.echo(f"ended     refused within: {refused}")
    for warning in warnings:
        click.echo(f"warning   {warning}")


@click.command()
@click.option("--host", help="Address to ask. [default: where the server listens]")
@click.option("--port", type=int, help="Port to ask. [default: where the server listens]")
@click.pass_context
def healthcheck(ctx: click.Context, host: str | None, port: int | None) -> None:
    """
    Ask the local server whether it is ready: exit 0 or 1, for containers.

    It asks /readyz where the gateway of this data_dir listens; with redis_url, where the settings say: there give
    --host and --port as `gateway serve` got them.
    """
    settings = settings_for(ctx, host=host, port=port).settings
    serves = serving_address(settings.data_dir) if settings.redis_url is None else None
    host, port = host or (serves or (settings.host,))[0], port or (serves or (0, settings.port))[1]
    asked = f"{host} port {port}"
    connection = http.client.HTTPConnection(ANY_ADDRESS.get(host, host), port, timeout=HEALTHCHECK_TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        status, body = answer.status, answer.read()
    except (OSError, UnicodeError, http.client.HTTPException) as error:
        raise CommandError(
            f"no answer from {asked} ({error}): is `gateway serve` running, and there? (--port)"
        ) from error
    finally:
        connection.close()
    if status != 200:
        raise CommandError(f"the server at {asked} is not ready ({_failing(body) or f'HTTP {status}'}): see its log")
    click.echo("ready")


class _NotReady(msgspec.Struct):
    failing: tuple[str, ...]


def _failing(problem: bytes) -> str:
    """The parts that fail, in words; nothing when it is not a gateway that has answered."""
    try:
        return ", ".join(msgspec.json.decode(problem, type=_NotReady).failing)
    except msgspec.MsgspecError:
        return ""


class _Passwords(msgspec.Struct):
    """What the passwords were hashed with: users by pepper id, hashes of other programs, and users without one yet."""

    current: str
    peppers: dict[str, int]
    foreign: int
    missing: int

    def in_words(self) -> str:
        under = [f"{count} under pepper {key_id}" for key_id, count in self.peppers.items() if key_id != self.current]
        foreign = [f"{self.foreign} from another program"] if self.foreign else []
        missing = [f"{self.missing} invited, without a password yet"] if self.missing else []
        others = [*under, *foreign, *missing]
        total = sum(self.peppers.values()) + self.foreign + self.missing
        return f"{total}" + (f", of them {', '.join(others)}" if others else "")


async def _inspect(is_private: bool, gateway: Gateway, warnings: list[str]) -> tuple[str, bool, _Passwords, list[str]]:
    facts = await gateway.store.server_facts()
    if not is_private:  # that one is ours, and nobody else speaks to it
        assert gateway.settings.redis_url is not None  # noqa: S101 - it is the operator's
        warnings = [*warnings, *await examine_server(gateway.store, gateway.settings.redis_url, facts)]
    passwords = await _count_passwords(gateway)
    warnings = [*warnings, *_behind(gateway.settings, passwords), *await _factors_behind(gateway)]
    warnings += await doubtful_clients(gateway, _keychain(gateway.settings), MAX_NAMED)
    warnings += await _too_large(gateway)
    name = "Valkey " + str(facts["valkey_version"]) if "valkey_version" in facts else "Redis " + facts["redis_version"]
    return name, gateway.keyring.is_open, passwords, warnings


async def _count_passwords(gateway: Gateway) -> _Passwords:
    peppers: Counter[str] = Counter()
    foreign = missing = 0
    progress = Progress("looked at {} users")
    async for user in gateway.users.all():
        progress.step()
        scheme, _, rest = user.password_hash.partition("$")
        if not user.has_password:
            missing += 1
        elif scheme == "p1":
            peppers[rest.partition("$")[0]] += 1
        else:
            foreign += 1
    return _Passwords(_keychain(gateway.settings).current.key_id, dict(peppers), foreign, missing)


async def _too_large(gateway: Gateway) -> list[str]:
    """Name the users of whom not all fits into a token and headers: made by an earlier version, or other settings."""
    keys = gateway.keyring.keys.keys if gateway.keyring.is_open else ()
    bounds = SizeBounds(gateway.settings, max((key.signature_bytes for key in keys), default=0))
    told = []
    async for user in gateway.users.all():
        if problem := bounds.problem(user.email, user.name, user.roles):
            told.append(f"{user.email} is served without name or e-mail address: {problem}")
    more = [f"and {len(told) - MAX_NAMED} more users likewise"] if len(told) > MAX_NAMED else []
    return sorted(told)[:MAX_NAMED] + more


def _behind(settings: Settings, passwords: _Passwords) -> list[str]:
    """Tell of passwords that still need a previous secret, so that nobody drops it too early, and of those without."""
    keychain = _keychain(settings)
    known = {keys.key_id for keys in keychain.previous} - {passwords.current}
    behind = sum(passwords.peppers.get(key_id, 0) for key_id in known)
    lost = sum(passwords.peppers.values()) - behind - passwords.peppers.get(passwords.current, 0)
    warnings = []
    if behind:
        warnings.append(
            f"{behind} users have a password under a previous secret: keep it in previous_secrets until they log in"
        )
    if lost:
        warnings.append(
            f"{lost} users have a password under a secret that is not set, and cannot log in: put it back into "
            "previous_secrets, or gateway users set-password"
        )
    if passwords.foreign:
        warnings.append(
            f"{passwords.foreign} users have the hash of another program, without pepper, until they log in "
            "(or gateway users set-password)"
        )
    return warnings


async def _factors_behind(gateway: Gateway) -> list[str]:
    """Tell of second factors that need a previous secret, or one that is gone."""
    keychain, behind, lost = _keychain(gateway.settings), 0, 0
    async for user in gateway.users.all():
        for key_id in await gateway.factors.secrets_of(user.user_id):
            behind += key_id != keychain.current.key_id and keychain.find(key_id) is not None
            lost += keychain.find(key_id) is None
    warnings = []
    if behind:
        warnings.append(
            f"{behind} second factors are sealed under a previous secret: keep it in previous_secrets until they have "
            "been used, and recovery codes made anew"
        )
    if lost:
        warnings.append(
            f"{lost} second factors are sealed under a secret that is not set, and log nobody in: put it back into "
            "previous_secrets, or gateway users factors EMAIL --reset"
        )
    return warnings


def _keychain(settings: Settings) -> KeyChain:
    assert settings.secret is not None  # noqa: S101 - the commands fill it in
    return KeyChain.of(settings.secret, settings.previous_secrets)


def doubtful_settings(settings: Settings) -> list[str]:
    """Give warnings about settings that are allowed, but hardly meant."""
    warnings = []
    if settings.insecure_test_settings:
        warnings.append("insecure_test_settings is on: for tests only")
    if settings.redis_url is not None:
        warnings += doubtful_url(settings.redis_url)
    if settings.host not in ("127.0.0.1", "::1", "localhost") and not settings.is_https:
        warnings.append(f"host {settings.host} is open to others, but the issuer is http: put TLS in front (issuer)")
    return warnings
