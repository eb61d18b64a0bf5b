"""As a forger: headers by which the application takes a client for somebody else, and the way around the proxy."""

import http.client
import secrets
import ssl
from collections.abc import Callable

from gateway.cli.doctor.asking import Answer, Asker, NoAnswer, Place
from gateway.cli.doctor.browser import navigation_with
from gateway.cli.doctor.findings import APPLICATION, PROXY, Finding
from gateway.cli.doctor.person import Person
from gateway.cli.doctor.proxy_lines import line_for
from gateway.cli.doctor.walk import OLD_NAVIGATION, Session, Walk
from gateway.tokens import HEADER_NAMES

LOOPBACK = ("127.", "localhost", "[::1]")


def _every_other(name: str) -> str:
    return "".join(letter.upper() if place % 2 else letter.lower() for place, letter in enumerate(name))


SAME_NAME: dict[str, Callable[[str], list[str]]] = {
    "as it is": lambda name: [name],
    "in lower case": lambda name: [name.lower()],
    "in mixed case": lambda name: [_every_other(name)],
    "twice": lambda name: [name, name],
}
"""Spellings of one name (RFC 9110 section 5.1)."""
LIKE_NAMES: dict[str, Callable[[str], list[str]]] = {
    "with _ for -": lambda name: [name.replace("-", "_")],
    "with . for -": lambda name: [name.replace("-", ".")],
    "with _ for the first -": lambda name: [_every_other(name.replace("-", "_", 1))],
}
"""Names that applications behind CGI, WSGI and PHP take for the same."""


async def examine_headers(walk: Walk, session: Session) -> list[Finding]:
    """Send every identity header in every spelling, and see what the application shows of it."""
    names = [name for family in HEADER_NAMES.values() for name in family]
    found: list[Finding] = []
    forged: set[str] = set()
    for spelling, spell in (SAME_NAME | LIKE_NAMES).items():
        sent = [(name, spelt, secrets.token_hex(8)) for name in names for spelt in spell(name)]
        headers = [*navigation_with(session), *((spelt, f"forged-{mark}") for _, spelt, mark in sent)]
        try:
            answer = await walk.ask(headers)
        except NoAnswer:
            continue  # whoever sends this gets nowhere
        shown = {name: spelt for name, spelt, mark in sent if answer.count(mark)}
        if spelling in SAME_NAME:
            shown = {name: spelt for name, spelt in shown.items() if name not in forged}
            forged.update(shown)
        if shown:
            found.append(_forgeable(walk, spelling, shown))
    return found


def _forgeable(walk: Walk, spelling: str, shown: dict[str, str]) -> Finding:
    name, spelt = next(iter(shown.items()))
    fault = "forgeable" if spelling in SAME_NAME else "forgeable-spelling"
    line = line_for(fault, walk.proxy, name=name, lower=name.lower(), spelt=spelt)
    if fault == "forgeable" and len(shown) > 1:
        line += f"; likewise {', '.join(list(shown)[1:])}"
    return Finding(
        "forgeable-header",
        f"the application gets from a client, {spelling}: {', '.join(shown.values())}",
        "whoever is logged in can say to be somebody else",
        PROXY,
        line,
    )


async def examine_connection(walk: Walk, session: Session, person: Person, visit: Answer) -> list[Finding]:
    """Name our headers in `Connection`, so that careless proxies take them away (RFC 9110 section 7.6.1)."""
    names = HEADER_NAMES[walk.settings.identity_headers]
    answer = await walk.ask([*navigation_with(session), ("Connection", ", ".join(("close", *names)))], place=walk.probe)
    before, after = (sum(one.count(text) for text in (person.mark, person.user_id)) for one in (visit, answer))
    if answer.status != visit.status or after >= before:
        return []
    return [
        Finding(
            "headers-taken-away",
            f"with `Connection: {names[0]}, ...` of a client the application does not get who is there",
            "an application that takes a missing name for a guest, or asks for it elsewhere, can be cheated",
            PROXY,
            line_for("connection", walk.proxy),
        )
    ]


async def examine_application(asker: Asker, place: Place, address: Place) -> list[Finding]:
    """
    Go around the proxy.

    Args:
        asker: One that takes any certificate.
        place: The URL, whose `Host` is sent.
        address: Of the application itself.
    """
    try:
        status = str((await asker.ask(address, OLD_NAVIGATION, host=place.authority)).status)
    except NoAnswer as error:
        cause = error.__cause__
        if isinstance(cause, ConnectionError) or not isinstance(cause, ssl.SSLError | http.client.HTTPException):
            return []
        status = "something that is no HTTP"
    port = address.port
    if address.host.startswith(LOOPBACK):
        line = (
            f"nothing else than {address.authority} listened on (no 0.0.0.0:{port}); and no strangers on this machine"
        )
    else:
        line = f"listen on 127.0.0.1:{port} instead of {address.authority}, or a firewall that lets only the proxy in"
    meaning = "it can be reached around the proxy: whoever gets there is who he says to be"
    return [
        Finding("around-the-proxy", f"the application at {address.origin} answers {status}", meaning, APPLICATION, line)
    ]
