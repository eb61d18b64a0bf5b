"""gateway clients ...: services that get access tokens for themselves."""

import pathlib

import click

from gateway.accounts import check_name, check_roles
from gateway.cli import Group
from gateway.cli.connection import run_with_gateway
from gateway.cli.output import Progress, json_option, print_json, print_table
from gateway.clock import rfc3339
from gateway.errors import CommandError
from gateway.machines import Client, read_client_keys
from gateway.ownership import not_ours
from gateway.settings import Settings
from gateway.state import Gateway
from gateway.telemetry import CLIENT_ADDED, CLIENT_CHANGED, CLIENT_REMOVED
from gateway.tokens import SizeBounds

CLIENT_ID_CHARACTERS = 26


@click.group(cls=Group)
def clients() -> None:
    """Add, list, change and remove machine clients, which get access tokens at /oauth/token."""


file_type = click.Path(dir_okay=False, readable=False, path_type=pathlib.Path)


@clients.command()
@click.argument("name")
@click.option("--role", "roles", multiple=True, help="A role; may be repeated.")
@click.option("--audience", "audiences", multiple=True, help="For which it gets tokens; may be repeated.")
@click.option("--public-key", type=file_type, metavar="FILE", help="PEM, JWK or JWKS, instead of a secret.")
@json_option
@click.pass_context
def add(
    ctx: click.Context,
    name: str,
    roles: tuple[str, ...],
    audiences: tuple[str, ...],
    public_key: pathlib.Path | None,
    as_json: bool,
) -> None:
    """Add a client and print its id and, once, its secret."""
    checked_name, checked_roles = check_name(name), check_roles(roles)
    if not checked_name:
        raise CommandError("a client has a name: say what it is")
    jwks = _read_keys(public_key) if public_key is not None else ""

    async def work(gateway: Gateway) -> tuple[Client, str]:
        settings = gateway.settings
        SizeBounds(settings).check("", "", checked_roles)
        added = await gateway.clients.add(checked_name, checked_roles, _checked_audiences(audiences, settings), jwks)
        gateway.audit.tell(CLIENT_ADDED, sub=added[0].client_id)
        return added

    client, secret = run_with_gateway(ctx, work)
    _print_secret(client.client_id, secret, as_json)


@clients.command("list")
@json_option
@click.pass_context
def list_clients(ctx: click.Context, as_json: bool) -> None:
    """List all clients by name."""

    async def work(gateway: Gateway) -> list[Client]:
        progress, found = Progress("read {} clients"), []
        async for client in gateway.clients.all():
            progress.step()
            if not client.cut_off:
                found.append(client)
        return sorted(found, key=lambda client: (client.name, client.client_id))

    rows = [
        {
            "client_id": client.client_id,
            "name": client.name,
            "roles": client.roles,
            "audiences": client.audiences,
            "secrets": client.secret_count,
            "keys": [key.kid for key in client.keys],
            "created_at": rfc3339(client.created_at),
        }
        for client in run_with_gateway(ctx, work)
    ]
    if as_json:
        print_json({"clients": rows})
    else:
        print_table(("ID", "NAME", "ROLES", "AUDIENCES", "SHOWS", "CREATED"), [_row(row) for row in rows])


# No client id begins like an option, but what is given instead of one may.
@clients.command("new-secret")
@click.argument("client_id")
@click.option("--revoke-old", is_flag=True, help="Make no new secret: end the one before the newest.")
@json_option
@click.pass_context
def new_secret(ctx: click.Context, client_id: str, revoke_old: bool, as_json: bool) -> None:
    """Give a client a second secret and print it, once. The one before works until the next, or --revoke-old."""

    async def work(gateway: Gateway) -> str:
        if not revoke_old:
            secret = await gateway.clients.renew_secret(client_id)
            gateway.audit.tell(CLIENT_CHANGED, "secret", sub=client_id)
            return secret
        if not await gateway.clients.end_old_secret(client_id):
            raise CommandError(f"{client_id} has one secret alone: see `gateway clients list`")
        gateway.audit.tell(CLIENT_CHANGED, "secret-ended", sub=client_id)
        return ""

    secret = run_with_gateway(ctx, work)
    if revoke_old:
        click.echo("the old secret is no good any more")
    else:
        _print_secret(client_id, secret, as_json)


@clients.command("set-key")
@click.argument("client_id")
@click.argument("file", type=file_type)
@click.pass_context
def set_key(ctx: click.Context, client_id: str, file: pathlib.Path) -> None:
    """Let the public keys of a file (PEM, JWK or JWKS) take the place of a client's."""
    jwks = _read_keys(file)

    async def work(gateway: Gateway) -> None:
        await gateway.clients.set_keys(client_id, jwks)
        gateway.audit.tell(CLIENT_CHANGED, "keys", sub=client_id)

    run_with_gateway(ctx, work)
    click.echo("keys replaced")


@clients.command()
@click.argument("client_id")
@click.pass_context
def remove(ctx: click.Context, client_id: str) -> None:
    """Remove a client; every access token that was issued to it is refused at once."""

    async def work(gateway: Gateway) -> None:
        await gateway.remove_client(client_id, lambda: gateway.audit.tell(CLIENT_REMOVED, sub=client_id))

    run_with_gateway(ctx, work)
    click.echo("removed")


def _read_keys(file: pathlib.Path) -> str:
    try:
        octets = file.read_bytes()
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {not_ours(file) or error.strerror}") from error
    return read_client_keys(octets)


def _checked_audiences(audiences: tuple[str, ...], settings: Settings) -> tuple[str, ...]:
    """Give the audiences without repetitions, or without any that of logins."""
    there_are = (settings.audience, *settings.audiences)
    for audience in audiences:
        if audience not in there_are:
            raise CommandError(
                f"{audience!r} is no audience here: put it into the setting audiences, or take one of "
                f"{', '.join(there_are)}"
            )
    return tuple(dict.fromkeys(audiences)) or (settings.audience,)


def _print_secret(client_id: str, secret: str, as_json: bool) -> None:
    if as_json:
        print_json({"client_id": client_id} | ({"client_secret": secret} if secret else {}))
        return
    click.echo(f"client_id: {client_id}")
    if secret:
        click.echo(f"client_secret: {secret}")


def _row(row: dict[str, object]) -> tuple[str, ...]:
    keys, secrets = row["keys"], row["secrets"]
    assert isinstance(keys, list)  # noqa: S101 - as they are made above
    shows = f"keys: {len(keys)}" if keys else f"secrets: {secrets}"
    roles, audiences = (",".join(map(str, row[name])) for name in ("roles", "audiences"))  # type: ignore[call-overload]
    return (str(row["client_id"]), str(row["name"]), roles, audiences, shows, str(row["created_at"]))
