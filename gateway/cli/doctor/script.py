"""As a script in a page: fetch, a WebSocket and an upload."""

import base64
import re
import secrets

from gateway.cli.doctor.asking import Answer, Headers, NoAnswer
from gateway.cli.doctor.findings import PROXY, Finding
from gateway.cli.doctor.proxy_lines import line_for
from gateway.cli.doctor.walk import FETCH, NAVIGATION, USER_AGENT, Session, Walk, told

UPLOAD_BYTES = 2 * 1024 * 1024
UPGRADE = re.compile(rb"upgrade(?:\W|</?\w+>){1,12}websocket", re.IGNORECASE)
"""The header, however an application shows it."""


async def examine_fetch(walk: Walk) -> list[Finding]:
    """Ask as `fetch` does, without a session: a redirect would end in errors of CORS."""
    answer = await walk.ask(FETCH)
    location = answer.first("location")
    if answer.status == 401 and not location:
        return []
    seen = f"fetch of {walk.place} without a session answers {told(answer)}{' with a Location' if location else ''}"
    meaning = "scripts cannot follow to a login, and see a failure without a reason: they must get a bare 401"
    return [Finding("xhr", seen, meaning, PROXY, line_for("xhr", walk.proxy))]


async def examine_websocket(walk: Walk, session: Session) -> list[Finding]:
    """
    Offer a WebSocket (RFC 6455 section 4.1). An application that has none may answer anything that is no denial.

    An empty 403 is how servers such as uvicorn say that there is no WebSocket here; but Envoy says so about itself.
    """
    key = base64.b64encode(secrets.token_bytes(16)).decode()
    headers: Headers = [
        USER_AGENT,
        ("Origin", walk.place.origin),
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", key),
        ("Sec-Fetch-Mode", "websocket"),
        ("Sec-Fetch-Dest", "empty"),
        ("Sec-Fetch-Site", "same-origin"),
        session.header,
    ]
    try:
        answer = await walk.ask(headers)
    except NoAnswer as error:
        return [_websocket(walk, f"gets no answer: {error}")]
    if answer.count(key) and not UPGRADE.search(answer.body):
        return [_websocket(walk, "comes to the application without its Upgrade header")]
    is_applications = answer.status == 403 and not answer.body and walk.proxy != "Envoy"
    if answer.is_redirect or answer.status >= 500 or (answer.status in (401, 403) and not is_applications):
        return [_websocket(walk, f"gets {told(answer)}")]
    return []


def _websocket(walk: Walk, what: str) -> Finding:
    return Finding(
        "websocket",
        f"a WebSocket to {walk.place} with a good session {what}",
        "pages that are told news stay mute",
        PROXY,
        line_for("websocket", walk.proxy),
    )


async def examine_upload(walk: Walk, session: Session) -> list[Finding]:
    """Send a form of 2 MB. What the application says of it is its own matter, as long as it gets it."""
    try:
        answer = await _post(walk, session, UPLOAD_BYTES)
    except NoAnswer as error:
        return [_upload(walk, f"gets no answer: {error}")]
    is_refused = answer.is_redirect and "/auth/login" in answer.first("location")
    if answer.status in (401, 413) or answer.status >= 500 or is_refused:
        return [_upload(walk, f"gets {told(answer)}")]
    # A 403 may be the application's, which asks forms for a secret of its own: then it says so of a small one, too.
    if answer.status == 403 and (await _post(walk, session, 64)).status != 403:
        return [_upload(walk, "gets 403")]
    return []


async def _post(walk: Walk, session: Session, size: int) -> Answer:
    headers = [*NAVIGATION, ("Origin", walk.place.origin), ("Content-Type", "application/x-www-form-urlencoded")]
    return await walk.ask([*headers, session.header], method="POST", body=b"doctor=".ljust(size, b"a"))


def _upload(walk: Walk, what: str) -> Finding:
    return Finding(
        "upload",
        f"a POST of 2 MB to {walk.place} with a good session {what}",
        "larger forms and uploads do not get through",
        PROXY,
        line_for("upload", walk.proxy),
    )
