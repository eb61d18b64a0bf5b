"""The whole walk, in its order: without a session, with one, as a script, as a forger, around the proxy."""

from collections.abc import Coroutine
from typing import Any

from gateway.cli.doctor.asking import Answer, Asker, NoAnswer, Place
from gateway.cli.doctor.browser import examine_visit, examine_way_to_login, navigation_with, unprotected
from gateway.cli.doctor.cookie_rules import cookie_findings
from gateway.cli.doctor.findings import PROXY, Finding
from gateway.cli.doctor.forger import examine_application, examine_connection, examine_headers
from gateway.cli.doctor.login import log_in
from gateway.cli.doctor.person import Person, temporary_person
from gateway.cli.doctor.proxy_lines import SEE
from gateway.cli.doctor.script import examine_fetch, examine_upload, examine_websocket
from gateway.cli.doctor.walk import NAVIGATION, Session, Walk, is_let_through
from gateway.errors import CommandError
from gateway.state import Gateway


async def examine(
    gateway: Gateway, place: Place, roles: tuple[str, ...], application: Place | None, *, insecure: bool
) -> list[Finding]:
    """
    Walk to a URL and give what is wrong.

    Args:
        roles: Of the person whom the doctor plays.
        application: Address of the application itself, which should not answer.
        insecure: Take any certificate.

    Raises:
        CommandError: Nothing answers there.
    """
    walk = Walk(Asker(insecure=insecure), place, gateway.settings)
    try:
        stranger = await walk.ask(NAVIGATION, place=walk.probe)
    except NoAnswer as error:
        raise CommandError(f"{place} cannot be reached: {error}") from error
    if (open_to_all := unprotected(walk, stranger)) is not None:
        found = [open_to_all]
    else:
        async with temporary_person(gateway, roles) as person:
            session, found = await log_in(gateway, walk, person)
            found += await _without_session(walk, stranger, session)
            found += await _with_session(gateway, walk, session, person)
    if application is not None:
        found += await examine_application(Asker(insecure=True), place, application)
    return found


async def _without_session(walk: Walk, stranger: Answer, session: Session) -> list[Finding]:
    return [
        *await _heard(examine_way_to_login(walk, stranger, session), walk),
        *cookie_findings(walk.place, walk.settings),
        *await _heard(examine_fetch(walk), walk),
    ]


async def _with_session(gateway: Gateway, walk: Walk, session: Session, person: Person) -> list[Finding]:
    try:
        visit = await walk.ask(navigation_with(session), place=walk.probe)
    except NoAnswer as error:
        return [_unheard(error, walk)]
    is_alive = any(one.family_id == session.family_id for one in await gateway.families.list(session.user_id))
    found = await examine_visit(walk, visit, session, is_alive=is_alive)
    if not is_let_through(visit, walk):
        return found
    for look in (
        examine_headers(walk, session),
        examine_connection(walk, session, person, visit),
        examine_websocket(walk, session),
        examine_upload(walk, session),
    ):
        found += await _heard(look, walk)
    return found


async def _heard(look: Coroutine[Any, Any, list[Finding]], walk: Walk) -> list[Finding]:
    try:
        return await look
    except NoAnswer as error:
        return [_unheard(error, walk)]


def _unheard(error: NoAnswer, walk: Walk) -> Finding:
    seen = f"{walk.place} answered before, and then did not: {error}"
    return Finding("no-answer", seen, "the proxy or the application hangs, or breaks off", PROXY, f"see {SEE}")
