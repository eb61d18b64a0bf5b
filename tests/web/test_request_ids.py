"""The request id of an answer that is a refusal says why it was refused; each denial of a subrequest is explained."""

import base64
import json
import secrets
import time
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from gateway.clock import system_clock
from gateway.derived_keys import KeyChain
from gateway.sessions import SessionCookie, new_family_id
from gateway.state import Gateway
from gateway.telemetry import Refusal, RequestIds
from gateway.web.subrequest.browsers import Endpoint
from tests.cli.commands import here
from tests.harness import SECRET, GatewayProcess, TestUser, in_gateway
from tests.web.asking import CASES, Answered, Case, Session, client_of, log_in, send_raw
from tests.web.test_browser_sessions import cookie_of, sign_in
from tests.web.test_led_to_the_login import ISSUER
from tests.web.test_led_to_the_login import ask as ask_as_proxy

pytestmark = pytest.mark.redis
AUTHZ = "/api/authz/auth-request"
REFUSALS = [case for case in CASES if case.slug]
KEYCHAIN = KeyChain.of(SECRET)
Denied = Callable[[Session], httpx2.Response]


def opened(request_id: str) -> Refusal:
    refusal = RequestIds(KEYCHAIN, system_clock).open(request_id)
    assert refusal is not None, request_id
    return refusal


def id_of(answer: httpx2.Response) -> str:
    text: str = answer.headers["X-Request-Id"]
    return text


def lines_of(gateway: GatewayProcess, request_id: str) -> list[dict[str, Any]]:
    return [line for line in gateway.log_lines() if line.get("request_id") == request_id]


@pytest.mark.parametrize("case", REFUSALS, ids=str)
def test_every_refusal_says_why_in_its_id(answered: Answered, case: Case) -> None:
    session, answer = answered(case)
    refusal = opened(id_of(answer))
    assert refusal.verdict.slug == case.slug
    assert abs(refusal.at - system_clock()) < 600
    template = case.path.partition("?")[0].replace("{sid}", "{id}").replace("/unknown", "/{id}")
    template = (
        template.replace("/some/path", "/{path}")
        .replace("/fac_unknown", "/{id}")
        .replace("/pat_unknown", "/{id}")
        .replace("/status/1", "/status/{number}")
    )
    assert refusal.endpoint in (template, "other")
    assert (refusal.endpoint == "other") is (case.status == 404 and not template.endswith("}"))
    if refusal.user_id:
        assert refusal.user_id == session.user.user_id
    # Some lines come after their answer, and some paths have none.
    lines = [line for line in lines_of(session.gateway, id_of(answer)) if line["logger"] == "gateway.access"]
    assert [line["problem"] for line in lines] in ([case.slug], [])


@pytest.mark.parametrize("case", [case for case in CASES if not case.slug], ids=str)
def test_an_answer_that_is_no_refusal_carries_nothing(answered: Answered, case: Case) -> None:
    _, answer = answered(case)
    request_id = answer.headers.get("X-Request-Id")
    assert request_id is None or len(request_id) == 16
    if case.path.startswith("/api/authz/") and case.method == "GET" and "ext-authz" not in case.path:
        assert request_id is None


def test_who_exists_cannot_be_told_from_the_id(gateway: GatewayProcess, client: httpx2.Client) -> None:
    emails = (gateway.add_user().email, "nobody@example.com")
    answers = [client.post("/auth/login", json={"username": email, "password": "x" * 20}) for email in emails]
    ids = [id_of(answer) for answer in answers]
    assert [opened(one).verdict.cause for one in ids] == ["wrong-password", "unknown-user"]
    assert len({len(one) for one in ids}) == 1


# ------------------------------------------------------------------------------------------------------- subrequests


def minted(gateway: GatewayProcess, user: TestUser, seconds_ago: int = 0, **settings: str) -> str:
    """Give an access token that the gateway's key has signed: some time ago, or under other settings."""

    async def work(parts: Gateway) -> str:
        await parts.keyring.open()
        now = parts.clock() - seconds_ago
        return await parts.access_tokens.mint(
            subject=user.user_id,
            family_id=new_family_id(),
            auth_time=now,
            roles=("staff",),
            email=user.email,
            name="",
            now=now,
            session_seconds_left=1000,
        )

    return in_gateway(gateway.env | {f"GATEWAY_{name.upper()}": value for name, value in settings.items()}, work)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def with_query(query: str) -> Denied:
    return lambda session: session.client.get(f"{AUTHZ}?{query}", headers=session.bearer)


def with_token(make: Callable[[Session], str]) -> Denied:
    return lambda session: session.client.get(AUTHZ, headers=bearer(make(session)))


def raw(target: str, *headers: str) -> Denied:
    def ask(session: Session) -> httpx2.Response:
        sent = [header.format(token=session.access_token) for header in headers]
        answer = send_raw(session.gateway, f"GET {target}", *sent)
        return httpx2.Response(answer.status, headers=answer.headers)

    return ask


def of_unknown_key(session: Session) -> str:
    header, rest = session.access_token.split(".", 1)
    members = json.loads(base64.urlsafe_b64decode(header + "==")) | {"kid": "another"}
    return f"{base64.urlsafe_b64encode(json.dumps(members).encode()).decode().rstrip('=')}.{rest}"


def after_logout(session: Session) -> httpx2.Response:
    assert session.client.post("/auth/logout", json={"refresh_token": session.refresh_token}).status_code == 204
    return session.client.get(AUTHZ, headers=session.bearer)


def browser(session: Session) -> dict[str, str]:
    return cookie_of(sign_in(session.client, session.user))


def after_logout_of_a_browser(session: Session) -> httpx2.Response:
    cookie = browser(session)
    assert session.client.post("/auth/logout", headers=cookie).status_code == 204
    return session.client.get(AUTHZ, headers=cookie)


def with_unknown_session(session: Session) -> httpx2.Response:
    cookie = SessionCookie(session.user.user_id, new_family_id(), system_clock()).format(KEYCHAIN.current)
    return session.client.get(AUTHZ, headers=cookie_of(cookie))


def with_a_disabled_user(session: Session) -> httpx2.Response:
    cookie = browser(session)

    async def disable_half(parts: Gateway) -> None:
        await parts.store.execute("HSET", parts.store.key(f"user:{{{session.user.user_id}}}"), "is_active", "0")

    in_gateway(session.gateway.env, disable_half)
    return session.client.get(AUTHZ, headers=cookie)


def with_a_broken_record(session: Session) -> httpx2.Response:
    cookie = browser(session)

    async def break_it(parts: Gateway) -> None:
        await parts.store.execute("HSET", parts.store.key(f"user:{{{session.user.user_id}}}"), "name", b"\xff")

    in_gateway(session.gateway.env, break_it)
    return session.client.get(AUTHZ, headers=cookie)


# Cause, how it comes about, whether the user is known, and what the mend names. "EMAIL" stands for the user's own.
DENIALS: list[tuple[str, Denied, bool, str]] = [
    ("role-missing", with_query("role=admin"), True, "gateway users roles EMAIL staff ROLE"),
    ("role-missing", with_query("role=staff&role=admin,boss"), True, "gateway users roles EMAIL staff ROLE"),
    ("audience-unknown", with_query("token=https://app.example.test"), True, "audiences"),
    ("requirement-unreadable", with_query("role="), True, "docs/proxies.md"),
    ("requirement-unreadable", with_query("max_auth_age=soon"), True, "docs/proxies.md"),
    ("fragment-in-url", raw(f"{AUTHZ}#role=admin", "Authorization: Bearer {token}"), True, "docs/proxies.md"),
    ("method-missing", with_query("amr=otp"), True, "amr="),
    ("", lambda session: session.client.get(AUTHZ), False, "cookie_domain"),
    ("expired_token", with_token(lambda s: minted(s.gateway, s.user, 2000)), True, "refresh"),
    ("not_yet_valid", with_token(lambda s: minted(s.gateway, s.user, -2000)), False, "NTP"),
    ("wrong_audience", with_token(lambda s: minted(s.gateway, s.user, audience="https://other")), False, "audience"),
    ("wrong_issuer", with_token(lambda s: minted(s.gateway, s.user, issuer="https://other.test")), False, "issuer"),
    ("untrusted_token", with_token(lambda s: s.access_token[:-8] + "A" * 8), False, "id_token"),
    ("unknown_key", with_token(of_unknown_key), False, "gateway keys list"),
    ("malformed_token", with_token(lambda s: "opaque"), False, "access_token"),
    ("revoked", after_logout, True, "gateway audit --user EMAIL"),
    ("session-revoked", after_logout_of_a_browser, True, "gateway audit --user EMAIL"),
    ("session-unknown", with_unknown_session, True, "log in again"),
    ("session-user_disabled", with_a_disabled_user, True, "gateway users enable EMAIL"),
    ("internal-error", with_a_broken_record, True, "traceback"),
    ("token-sent-twice", raw(AUTHZ, "Authorization: Bearer {token}", "Cookie: access_token={token}"), False, "proxy"),
    ("cookie-sent-twice", raw(AUTHZ, "Cookie: gateway_session=a; gateway_session=b"), False, "cookie_domain"),
    ("malformed-request", raw(AUTHZ, "Host: a", "Host: b"), False, "docs/proxies.md"),
]


@pytest.mark.parametrize(("cause", "deny", "is_known", "mend"), DENIALS, ids=[f"{d[0]}-{d[3]}" for d in DENIALS])
def test_a_denial_is_explained(session: Session, cause: str, deny: Denied, is_known: bool, mend: str) -> None:
    answer = deny(session)
    assert answer.status_code in (401, 403)
    told = here("audit", "--request", id_of(answer), "--json", env=session.gateway.env).document
    assert told["request_id"] == id_of(answer)
    assert (told["refused"]["status"], told["refused"]["cause"]) == (answer.status_code, cause)
    assert told["refused"]["endpoint"] == AUTHZ
    assert told["user_id"] == (session.user.user_id if is_known else None)
    assert mend.replace("EMAIL", session.user.email) in told["refused"]["mend"]
    access = [line for line in lines_of(session.gateway, id_of(answer)) if line["logger"] == "gateway.access"]
    assert [line.get("cause", "") for line in access] == [cause]
    in_words = here("audit", "--request", id_of(answer), env=session.gateway.env)
    assert (in_words.status, in_words.err) == (0, "")
    for text in (told["refused"]["why"], told["refused"]["mend"], str(answer.status_code), AUTHZ):
        assert text in in_words.out


def test_a_login_that_is_too_old_is_explained(session: Session) -> None:
    time.sleep(2.1)
    answer = session.client.get(f"{AUTHZ}?max_auth_age=0", headers=session.bearer)
    told = here("audit", "--request", id_of(answer), env=session.gateway.env).out
    assert "max_auth_age= larger" in told
    assert session.user.email in told


def test_the_log_has_the_traceback_under_the_id_of_a_denial(session: Session) -> None:
    answer = with_a_broken_record(session)
    lines = lines_of(session.gateway, id_of(answer))
    assert [("traceback" in line, line["logger"]) for line in lines] == [
        (True, "gateway.authz"),
        (False, "gateway.access"),
    ]


def test_the_line_of_a_403_says_which_requirement(session: Session) -> None:
    for query, requirement in (
        ("role=staff&role=boss,admin", "role=admin,boss"),
        ("token=https://app.example.test", "token=https://app.example.test"),
        ("amr=otp,hwk", "amr=otp,hwk"),
    ):
        [line] = lines_of(session.gateway, id_of(with_query(query)(session)))
        assert line["requirement"] == requirement


@pytest.mark.parametrize("endpoint", [Endpoint.FORWARD, Endpoint.ENVOY], ids=lambda endpoint: endpoint.value)
@pytest.mark.parametrize(("request_name", "query", "status"), [("navigation", "", 302), ("form post", "", 401)])
def test_a_browser_that_is_led_or_shown_a_page_has_such_an_id_too(
    gateway_with: Callable[..., GatewayProcess], endpoint: Endpoint, request_name: str, query: str, status: int
) -> None:
    gateway = gateway_with(issuer=ISSUER, cookie_domain="example.com", trusted_proxies="127.0.0.1")
    with client_of(gateway) as client:
        answer = ask_as_proxy(client, endpoint, request_name, query=query)
    assert answer.status_code == status
    refusal = opened(id_of(answer))
    assert refusal.verdict.slug == "access-token-missing"
    assert refusal.endpoint.startswith(f"/api/authz/{endpoint.value}")


def test_a_browser_that_may_not_see_a_page_has_such_an_id_too(gateway_with: Callable[..., GatewayProcess]) -> None:
    gateway = gateway_with(issuer=ISSUER, cookie_domain="example.com", trusted_proxies="127.0.0.1")
    with client_of(gateway) as client:
        session = log_in(gateway, client)
        answer = ask_as_proxy(client, Endpoint.FORWARD, "navigation", query="?role=admin", **session.bearer)
    assert answer.headers["content-type"].startswith("text/html")
    refusal = opened(id_of(answer))
    assert (refusal.verdict.cause, refusal.user_id) == ("role-missing", session.user.user_id)


def test_denials_without_redis_are_explained_without_redis(orphan: Session) -> None:
    env = orphan.gateway.env
    denied = orphan.client.get(f"{AUTHZ}?role=admin", headers=orphan.bearer)
    unseen = SessionCookie(orphan.user.user_id, new_family_id(), system_clock()).format(KEYCHAIN.current)
    away = orphan.client.get(AUTHZ, headers=cookie_of(unseen))
    assert (denied.status_code, away.status_code) == (403, 503)
    for answer, words in ((denied, "role="), (away, "Only Redis could say")):
        told = here("audit", "--request", id_of(answer), env=env)
        assert told.status == 0
        assert words in told.out
        assert orphan.user.user_id in told.out
        assert told.err.count("\n") == 1
        assert "neither events nor users could be looked up" in told.err


def test_a_login_that_has_to_wait_is_explained_each_time(gateway_with: Callable[..., GatewayProcess]) -> None:
    """The stream has one of a second alone; the ids need none."""
    gateway = gateway_with(login_limit="1/hour")
    with client_of(gateway) as client:
        body = {"username": "nobody@example.com", "password": secrets.token_hex(10)}
        answers = [client.post("/auth/login", json=body) for _ in range(4)]
    for answer in answers[1:]:
        told = here("audit", "--request", id_of(answer), env=gateway.env).out
        assert "login_limit" in told
        assert "429 rate-limited" in told


def test_what_is_refused_before_it_is_read_has_such_an_id_too(gateway: GatewayProcess) -> None:
    for line, slug in (("GET / HTTP/9.9\r\n", "malformed-request"), (f"GET /{'a' * 40_000}", "headers-too-large")):
        answer = send_raw(gateway, line)
        [request_id] = answer.values("X-Request-Id")
        assert opened(request_id).verdict.slug == slug
