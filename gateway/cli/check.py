"""gateway check and gateway healthcheck: what is wrong, and how to mend it."""

import http.client

import click
import msgspec

from gateway.cli import settings_for
from gateway.cli.connection import run_with_gateway
from gateway.cli.output import json_option, print_json
from gateway.derived_keys import DerivedKeys
from gateway.errors import CommandError
from gateway.settings import Settings
from gateway.state import Gateway
from gateway.store import check_server

HEALTHCHECK_TIMEOUT_SECONDS = 3
ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what is listened on, not a new listener


@click.command()
@json_option
@click.pass_context
def check(ctx: click.Context, as_json: bool) -> None:
    """Check settings, Redis and keys; exit 3 when `gateway serve` could not start."""
    settings = settings_for(ctx).settings
    redis, has_keys, warnings = run_with_gateway(ctx, _inspect)
    warnings = [*doubtful_settings(settings), *warnings]
    if as_json:
        print_json({"ok": True, "redis": redis, "warnings": warnings})
        return
    keys = "ok" if has_keys else "none yet: the first `gateway serve` makes them"
    click.echo(f"settings  ok\nredis     ok: {redis}\nkeys      {keys}")
    for warning in warnings:
        click.echo(f"warning   {warning}")


@click.command()
@click.pass_context
def healthcheck(ctx: click.Context) -> None:
    """Ask the local server whether it is ready: exit 0 or 1."""
    settings = settings_for(ctx).settings
    asked = f"{settings.host} port {settings.port}"
    connection = http.client.HTTPConnection(
        ANY_ADDRESS.get(settings.host, settings.host), settings.port, timeout=HEALTHCHECK_TIMEOUT_SECONDS
    )
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        status, body = answer.status, answer.read()
    except (OSError, UnicodeError, http.client.HTTPException) as error:
        raise CommandError(f"no answer from {asked} ({error}): is `gateway serve` running?") from error
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


async def _inspect(gateway: Gateway) -> tuple[str, bool, list[str]]:
    facts = await gateway.store.server_facts()
    warnings = [*await check_server(gateway.store), *await _behind(gateway)]
    name = "Valkey " + str(facts["valkey_version"]) if "valkey_version" in facts else "Redis " + facts["redis_version"]
    return name, gateway.keyring.is_open, warnings


async def _behind(gateway: Gateway) -> list[str]:
    """Count the passwords that still need a previous secret, so that nobody drops it too early."""
    assert gateway.settings.secret is not None  # noqa: S101 - the commands fill it in
    current = f"p1${DerivedKeys.of(gateway.settings.secret).key_id}$"
    behind = 0
    async for user in gateway.users.all():
        behind += user.password_hash.startswith("p1$") and not user.password_hash.startswith(current)
    if not behind:
        return []
    return [f"{behind} users have a password under a previous secret: keep it in previous_secrets until they log in"]


def doubtful_settings(settings: Settings) -> list[str]:
    """Give warnings about settings that are allowed, but hardly meant."""
    warnings = []
    if settings.insecure_test_settings:
        warnings.append("insecure_test_settings is on: for tests only")
    if settings.host not in ("127.0.0.1", "::1", "localhost") and not settings.is_https:
        warnings.append(f"host {settings.host} is open to others, but the issuer is http: put TLS in front (issuer)")
    return warnings
