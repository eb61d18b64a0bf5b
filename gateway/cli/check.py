"""gateway check and gateway healthcheck: what is wrong, and how to mend it."""

import http.client
import sys

import click

from gateway.cli import settings_for
from gateway.cli.connection import run_with_gateway
from gateway.cli.output import json_option, print_json
from gateway.derived_keys import DerivedKeys
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
    redis, warnings = run_with_gateway(ctx, _inspect)
    warnings = [*doubtful_settings(settings), *warnings]
    if as_json:
        print_json({"ok": True, "redis": redis, "warnings": warnings})
        return
    click.echo(f"settings  ok\nredis     ok: {redis}\nkeys      ok")
    for warning in warnings:
        click.echo(f"warning   {warning}")


@click.command()
@click.pass_context
def healthcheck(ctx: click.Context) -> None:
    """Ask the local server whether it is ready: exit 0 or 1."""
    settings = settings_for(ctx).settings
    connection = http.client.HTTPConnection(
        ANY_ADDRESS.get(settings.host, settings.host), settings.port, timeout=HEALTHCHECK_TIMEOUT_SECONDS
    )
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        ready, told = answer.status == 200, answer.read().decode(errors="replace").strip()
    except (OSError, http.client.HTTPException) as error:
        ready, told = False, f"no answer from {settings.host}:{settings.port} ({error})"
    finally:
        connection.close()
    click.echo(told, err=not ready)
    sys.exit(0 if ready else 1)


async def _inspect(gateway: Gateway) -> tuple[str, list[str]]:
    facts = await gateway.store.server_facts()
    warnings = await check_server(gateway.store)
    await gateway.keyring.open()
    warnings += await _behind(gateway)
    name = "Valkey " + str(facts["valkey_version"]) if "valkey_version" in facts else "Redis " + facts["redis_version"]
    return name, warnings


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
