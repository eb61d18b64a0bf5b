"""gateway keys ...: the signing keys."""

import pathlib

import click
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.cli import Group
from gateway.cli.connection import run_with_gateway
from gateway.cli.output import json_option, print_json, print_table
from gateway.clock import rfc3339
from gateway.errors import CommandError
from gateway.ownership import not_ours
from gateway.state import Gateway
from gateway.telemetry import KEY_IMPORTED, KEY_ROTATED
from gateway.tokens import Keys, SigningKey, load_private_key


@click.group(cls=Group)
def keys() -> None:
    """List, rotate, import and export signing keys."""


@keys.command("list")
@json_option
@click.pass_context
def list_keys(ctx: click.Context, as_json: bool) -> None:
    """List the keys of the keyring."""
    rows = [
        {
            "kid": key.kid,
            "state": key.state,
            "alg": key.algorithm,
            "published_at": _time(key.published_at),
            "signs_since": _time(key.signs_since),
            "leaves_at": _time(key.leaves_at),
        }
        for key in run_with_gateway(ctx, _open).keys
    ]
    if as_json:
        print_json({"keys": rows})
    else:
        headings = ("KID", "STATE", "ALG", "PUBLISHED", "SIGNS SINCE", "LEAVES")
        print_table(headings, [tuple(value or "-" for value in row.values()) for row in rows])


@keys.command()
@click.option("--force", is_flag=True, help="Even if clients may not know the next key yet.")
@click.option("--compromised", is_flag=True, help="Drop the current and the next key at once.")
@click.pass_context
def rotate(ctx: click.Context, force: bool, compromised: bool) -> None:
    """Let the next key sign, and publish a new next one."""
    if force and compromised:
        raise click.UsageError("take --force or --compromised, not both")

    async def work(gateway: Gateway) -> Keys:
        rotated = await gateway.keyring.rotate(force=force, compromised=compromised)
        reason = "compromised" if compromised else "forced" if force else "by-command"
        gateway.audit.tell(KEY_ROTATED, reason, kid=rotated.current.kid)
        return rotated

    rotated = run_with_gateway(ctx, work)
    click.echo(f"signing now: {rotated.current.kid}")
    if compromised:
        click.echo(
            "Tokens signed by the dropped keys are refused by every gateway within 5 seconds; sessions go on and get "
            "new tokens at their next refresh. Services that verify offline accept the old tokens until they read the "
            "JWKS again, and may refuse the new ones as long (minutes, for some clients a day). A restored keyring "
            "does not bring the dropped keys back; a restored backup of the whole Redis from before now may, when no "
            "gateway runs meanwhile: rotate again after it.",
            err=True,
        )


@keys.command("import")
@click.argument("file", type=click.Path(dir_okay=False, readable=False, path_type=pathlib.Path))
@click.pass_context
def import_key(ctx: click.Context, file: pathlib.Path) -> None:
    """Bring in a private key (PEM): it becomes the next key, or signs at once on an empty keyring."""
    try:
        private_key = load_private_key(file.read_bytes())
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {not_ours(file) or error.strerror}") from error

    async def work(gateway: Gateway) -> list[SigningKey]:
        keys = await gateway.keyring.add(private_key)
        added = [key for key in keys.keys if key.private_key.public_key() == private_key.public_key()]
        for key in added:
            gateway.audit.tell(KEY_IMPORTED, kid=key.kid)
        return added

    for key in run_with_gateway(ctx, work):
        click.echo(f"{key.state} key: {key.kid}")


@keys.command()
@click.option("--pem", is_flag=True, help="Public keys as PEM instead of a JWKS.")
@click.pass_context
def export(ctx: click.Context, pem: bool) -> None:
    """Print the public keys; never a private one."""
    opened = run_with_gateway(ctx, _open)
    if not pem:
        click.echo(opened.jwks.decode())
        return
    for key in opened.verification.values():
        click.echo(key.key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(), nl=False)


async def _open(gateway: Gateway) -> Keys:
    return await gateway.keyring.open()


def _time(seconds: int) -> str | None:
    return rfc3339(seconds) if seconds else None
