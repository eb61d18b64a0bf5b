"""gateway users import FILE: users of another program, with the password hashes that it has made."""

import pathlib
import sys
from dataclasses import dataclass, field

import click
import msgspec

from gateway.accounts import (
    EmailTaken,
    KeycloakCredential,
    check_email,
    check_name,
    check_roles,
    read_foreign_hash,
    spelling_of_keycloak,
)
from gateway.cli import Command, settings_for
from gateway.cli.connection import run_with_gateway
from gateway.cli.output import Progress, json_option, print_json
from gateway.errors import CommandError, StoreUnavailable
from gateway.ownership import not_ours
from gateway.state import Gateway
from gateway.telemetry import USER_ADDED
from gateway.tokens import SizeBounds

SHOWN_PROBLEMS = 20
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
LINE = 'a line is {"email": "...", "password_hash": "...", "name": "...", "roles": ["..."], "is_active": true}'


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    email: str
    password_hash: str | KeycloakCredential
    name: str = ""
    roles: tuple[str, ...] = ()
    is_active: bool = True


@dataclass
class _Report:
    """What was done; *existing* are the addresses that were left alone."""

    imported: int = 0
    existing: list[str] = field(default_factory=list)
    rejected: list[dict[str, object]] = field(default_factory=list)


@click.command("import", cls=Command)
@click.argument("file", type=click.Path(dir_okay=False, readable=False, allow_dash=True, path_type=pathlib.Path))
@json_option
@click.pass_context
def import_users(ctx: click.Context, file: pathlib.Path, as_json: bool) -> None:
    """
    Add users with the password hashes of another program: one JSON object a line, `-` for standard input.

    Every line is checked first; with one that is wrong nothing is changed. Users who are there already are left alone
    and named, so that the same file may be imported again.
    """
    bounds = SizeBounds(settings_for(ctx).settings)  # a wrong one is told before a wrong line
    report = _Report()
    lines = _read(file, bounds, report)
    cut_off_by = ""
    if not report.rejected:
        try:
            run_with_gateway(ctx, lambda gateway: _add(gateway, lines, report))
        except KeyboardInterrupt:
            cut_off_by = "interrupted"
        except StoreUnavailable as error:
            cut_off_by = f"Redis does not serve ({type(error.__cause__).__name__}: {error.__cause__})"
    _print(report, as_json)
    if cut_off_by:
        raise CommandError(
            f"{cut_off_by}: {report.imported} of {len(lines)} users were imported; for the others import the same "
            "file again, which leaves alone who is there already"
        )
    if report.rejected:
        of = len(lines) + len(report.rejected)
        raise CommandError(f"nothing was changed: {len(report.rejected)} of {of} users cannot be imported as they are")
    if report.existing:
        raise CommandError(f"{len(report.existing)} users were left as they are: their addresses are there already")


def _read(file: pathlib.Path, bounds: SizeBounds, report: _Report) -> list[_Line]:
    """Give the users that can be imported, in the spellings that are stored, and report the lines that cannot."""
    try:
        content = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {not_ours(file) or error.strerror}") from error
    found: dict[str, tuple[int, _Line]] = {}
    for number, text in enumerate(content.removeprefix(BYTE_ORDER_MARK).splitlines(), start=1):
        if not text.strip():
            continue
        try:
            line = _checked(text)
            bounds.check(line.email, line.name, line.roles)
            if line.email in found:
                raise CommandError(f"{line.email} is on line {found[line.email][0]} too: keep one of them")
            found[line.email] = (number, line)
        except CommandError as error:
            report.rejected.append({"line": number, "problem": str(error)})
    return [line for _, line in found.values()]


def _checked(text: bytes) -> _Line:
    try:
        line = msgspec.json.decode(text, type=_Line)
    except msgspec.ValidationError as error:
        raise CommandError(f"{error}; {LINE}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise CommandError(f"not a JSON object in UTF-8 ({error}); {LINE}") from error
    given = line.password_hash
    password_hash = given if isinstance(given, str) else spelling_of_keycloak(given)
    read_foreign_hash(password_hash)
    return _Line(check_email(line.email), password_hash, check_name(line.name), check_roles(line.roles), line.is_active)


async def _add(gateway: Gateway, lines: list[_Line], report: _Report) -> None:
    new = []
    looked_up, imported = (Progress(f"{verb} {{}} of {len(lines)} users") for verb in ("looked for", "imported"))
    for line in lines:
        if await gateway.users.find(line.email):
            report.existing.append(line.email)
        else:
            new.append(line)
        looked_up.step()
    for number, line in enumerate(new, start=1):
        assert isinstance(line.password_hash, str)  # noqa: S101 - `_checked` has seen to it
        try:
            # Each write could wait for its confirmation, a second on some disks; the last one confirms them all.
            added = await gateway.users.add(
                line.email, line.name, line.roles, line.password_hash,
                is_active=line.is_active, durable=number == len(new),
            )  # fmt: skip
            report.imported += 1
            gateway.audit.tell(USER_ADDED, "imported", sub=added.user_id)
            await gateway.guessing.unlock(line.email, durable=False)  # nobody's failures are not the new user's
            imported.step()
        except EmailTaken:
            report.existing.append(line.email)


def _print(report: _Report, as_json: bool) -> None:
    if as_json:
        print_json(report)
    elif not report.rejected:
        click.echo(f"imported: {report.imported}")
        for email in report.existing:
            click.echo(f"there already: {email}")
    for problem in report.rejected[:SHOWN_PROBLEMS]:
        click.echo(f"gateway: line {problem['line']}: {problem['problem']}", err=True)
    if len(report.rejected) > SHOWN_PROBLEMS:
        click.echo(f"gateway: and {len(report.rejected) - SHOWN_PROBLEMS} more lines", err=True)
