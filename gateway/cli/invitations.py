"""gateway users invite and reset: print a link with which a person sets a password."""

import click

from gateway.accounts import EmailTaken, UnknownUser, User, check_email, check_name, check_roles
from gateway.cli import Command, settings_for
from gateway.cli.connection import run_with_gateway
from gateway.cli.output import json_option, print_json
from gateway.clock import rfc3339
from gateway.errors import CommandError
from gateway.settings import Settings
from gateway.state import Gateway
from gateway.store import serving_address
from gateway.telemetry import USER_INVITED


@click.command(cls=Command)
@click.argument("email")
@click.option("--name", default="", help="Name to show.")
@click.option("--role", "roles", multiple=True, help="A role; may be repeated.")
@json_option
@click.pass_context
def invite(ctx: click.Context, email: str, name: str, roles: tuple[str, ...], as_json: bool) -> None:
    """
    Add a user without a password, and print a link to set one.

    The link is good once, for 24 hours; who has it can set the password, so send it to that person alone.
    """
    address = check_email(email)
    check_name(name)
    check_roles(roles)
    issuer = _issuer_with_portal(ctx, f"gateway users add {address}")

    async def work(gateway: Gateway) -> tuple[User, str, int]:
        try:
            user = await gateway.users.add(address, name, roles, password_hash="")
        except EmailTaken as error:
            raise EmailTaken(
                f"{address} is there already: `gateway users reset {address}` prints a link for this user"
            ) from error
        gateway.audit.tell(USER_INVITED, sub=user.user_id)
        await gateway.guessing.unlock(address)  # nobody's failures are not the new user's
        return user, *await _new_code(gateway, user)

    _print_link(issuer, *run_with_gateway(ctx, work), as_json=as_json)


@click.command(cls=Command)
@click.argument("email")
@json_option
@click.pass_context
def reset(ctx: click.Context, email: str, as_json: bool) -> None:
    """
    Print a link with which a user sets a new password.

    The link is good once, for 24 hours. Until it is used the old password and all sessions live on; to end them at once
    take `gateway users set-password`, or `gateway sessions revoke EMAIL --all`.
    """
    issuer = _issuer_with_portal(ctx, f"gateway users set-password {email}")

    async def work(gateway: Gateway) -> tuple[User, str, int]:
        user = await gateway.users.find(email)
        if user is None:
            raise UnknownUser(
                f"there is no user {email}: see `gateway users list`, or `gateway users invite {email}` for a new one"
            )
        if not user.is_active:
            raise CommandError(f"{user.email} is disabled, and no link would work: `gateway users enable {user.email}`")
        new = await _new_code(gateway, user)
        gateway.audit.tell(USER_INVITED, "reset", sub=user.user_id)
        return user, *new

    _print_link(issuer, *run_with_gateway(ctx, work), as_json=as_json)


async def _new_code(gateway: Gateway, user: User) -> tuple[str, int]:
    """Give a code, and until when it is good at least."""
    good_until = gateway.clock() + gateway.invitations.ttl_seconds
    return await gateway.invitations.make(user), good_until


def _issuer_with_portal(ctx: click.Context, instead: str) -> str:
    """
    Give the issuer, under which the page is that the link leads to.

    Raises:
        CommandError: `portal` is off: there is no such page.
    """
    loaded = settings_for(ctx)
    settings = loaded.settings
    if settings.portal == "off":
        raise CommandError(f"portal is off, and a link would lead nowhere: set portal = on, or take `{instead}`")
    if settings.redis_url is None and loaded.origins["issuer"] == "default":
        # A server that was started with --port knows its address; this command, from the settings alone, does not.
        host, port = serving_address(settings.data_dir) or (settings.host, settings.port)
        return Settings(host=host, port=port).issuer
    return settings.issuer


def _print_link(issuer: str, user: User, code: str, good_until: int, *, as_json: bool) -> None:
    link, until = f"{issuer}/auth/welcome?code={code}", rfc3339(good_until)
    if as_json:
        print_json({"id": user.user_id, "email": user.email, "link": link, "expires_at": until})
        return
    click.echo(f"id: {user.user_id}\nlink: {link}\ngood until: {until}")
