"""A session for the person whom the doctor plays: by the login, as browsers do it, or else in Redis itself."""

import msgspec

from gateway.cli.doctor.asking import Answer, Headers, NoAnswer, Place
from gateway.cli.doctor.findings import COMMAND, GATEWAY, PROXY, Finding
from gateway.cli.doctor.person import Person
from gateway.cli.doctor.proxy_lines import line_for, proxy_of
from gateway.cli.doctor.walk import USER_AGENT, Session, Walk, told
from gateway.sessions import new_family_id
from gateway.state import Gateway
from gateway.web import session_cookie_name

FAULT = "login-away"
INSTEAD = "nobody can log in there; for what follows a session was opened in Redis itself"


class _Problem(msgspec.Struct):
    type: str


async def log_in(gateway: Gateway, walk: Walk, person: Person) -> tuple[Session, list[Finding]]:
    """Give a session, and what is wrong with the login."""
    place = Place.parse(f"{gateway.settings.issuer_origin}/auth/login")
    headers: Headers = [
        USER_AGENT,
        ("Accept", "application/json"),
        ("Content-Type", "application/json"),
        ("Origin", place.origin),
        ("Sec-Fetch-Site", "same-origin"),
        ("Sec-Fetch-Mode", "cors"),
    ]
    body = msgspec.json.encode({"username": person.email, "password": person.password, "delivery": "session"})
    try:
        # Not one of the walk's answers: the proxy in front of the login may be another one.
        answer = await walk.asker.ask(place, headers, method="POST", body=body)
    except NoAnswer as error:
        line = f'issuer = "{gateway.settings.issuer}"  (the URL under which browsers reach the gateway)'
        return await _open(gateway, person), [Finding(FAULT, f"POST {place}: {error}", INSTEAD, GATEWAY, line)]
    session = await _session_in(answer, gateway, person)
    if session is not None:
        return session, []
    return await _open(gateway, person), _judge(answer, place)


async def _session_in(answer: Answer, gateway: Gateway, person: Person) -> Session | None:
    name = session_cookie_name(gateway.settings)
    values = [text.partition(";")[0] for text in answer.values("set-cookie") if text.startswith(f"{name}=")]
    cookie = values[0].removeprefix(f"{name}=") if values else ""
    said = gateway.presences.parse(cookie)
    if answer.status != 200 or said is None or said.user_id != person.user_id:
        return None
    families = await gateway.families.list(person.user_id)
    address = next((family.address for family in families if family.family_id == said.sid), "")
    return Session(person.user_id, said.sid, name, cookie, address)


async def _open(gateway: Gateway, person: Person) -> Session:
    opened = await gateway.families.open(person.user_id, person.password_version, new_family_id(), "", "gateway doctor")
    cookie = gateway.families.cookie_of(person.user_id, opened)
    return Session(person.user_id, opened.family_id, session_cookie_name(gateway.settings), cookie)


def _judge(answer: Answer, place: Place) -> list[Finding]:
    """Say why a login gave no session."""
    seen = f"POST {place} with a right password answers {told(answer)}"
    match answer.status, _slug(answer):
        case 401, "second-factor-required":
            return []
        case 401, "invalid-credentials":
            return [
                Finding(
                    "other-gateway",
                    seen,
                    "the gateway there does not know the user that was just added: it has another Redis, or other keys",
                    GATEWAY,
                    "redis_url and redis_key_prefix: the same for this command and for the `gateway serve` there",
                )
            ]
        case 429, _:
            seen += f" (Retry-After: {answer.first('retry-after')})"
            meaning = "too many logins from this address: how it takes the proxy is not known this time"
            return [Finding("rate-limited", seen, meaning, COMMAND, "the same once more, later")]
        case 200, _ if answer.values("set-cookie"):
            meaning = "the cookie it gave is none of ours: the gateway there has another secret, or another issuer"
            line = "secret, issuer and cookie_domain: the same for this command and for the `gateway serve` there"
            return [Finding("other-gateway", seen, meaning, GATEWAY, line)]
        case 200, _:
            seen += ", and no cookie of ours comes along"
    return [Finding(FAULT, seen, INSTEAD, PROXY, line_for(FAULT, proxy_of(answer)))]


def _slug(answer: Answer) -> str:
    """Give the last part of a problem's type; nothing where it is not the gateway that answers."""
    try:
        return msgspec.json.decode(answer.body, type=_Problem).type.rpartition(":")[2]
    except msgspec.MsgspecError:
        return ""
