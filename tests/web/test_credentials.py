"""
Endpoint by credential: every route of the gateway, and which of all that the gateway gives out opens it.

What is no login of a person opens nothing that is about a person: neither what scripts hold, nor what services hold,
nor what was signed for another purpose.
"""

import base64
from collections.abc import Callable, Iterator

import httpx2
import jwt
import pytest
from starlette.routing import Route

from gateway.state import Gateway
from gateway.web.routes import ROUTES
from tests.harness import GatewayProcess, in_gateway
from tests.web.asking import client_of, log_in
from tests.web.personal_tokens import AUTHZ, as_basic, as_bearer, make_token
from tests.web.test_browser_sessions import cookie_of, sign_in

pytestmark = pytest.mark.redis
OTHER_AUDIENCE = "https://wiki.example.test"

CREDENTIALS = (
    "nothing",
    "access token",
    "access token as a cookie",
    "browser session",
    "refresh token as a cookie",
    "refresh token as Bearer",
    "personal token as Bearer",
    "personal token as Basic",
    "personal token as a cookie",
    "token= of a session, for us",
    "token= of a session, for an application",
    "token= of a personal token, for us",
    "access token of a machine client",
    "secret of a machine client",
    "status list",
)
ACCESS_TOKEN = {"access token", "access token as a cookie", "token= of a session, for us"}
PERSON = ACCESS_TOKEN | {"browser session"}
BROWSER = {"browser session"}
PERSONAL_TOKEN = {"personal token as Bearer", "personal token as Basic"}
MACHINE = {"access token of a machine client", "token= of a personal token, for us"}
CLIENT = {"secret of a machine client"}
REFRESH = {"refresh token as a cookie"}
EVERYBODY = set(CREDENTIALS)

# Who gets in, by method and path; a route that is not here fails the test of the table.
OPENED_BY: dict[str, set[str]] = {
    "GET /api/authz/auth-request": PERSON | PERSONAL_TOKEN | MACHINE,
    "GET /api/authz/forward-auth": PERSON | PERSONAL_TOKEN | MACHINE,
    "GET /api/authz/ext-authz": PERSON | PERSONAL_TOKEN | MACHINE,
    "GET /api/authz/ext-authz/{path}": PERSON | PERSONAL_TOKEN | MACHINE,
    "GET /auth/me": PERSON | PERSONAL_TOKEN,
    "POST /auth/logout-all": PERSON,
    "POST /auth/change-password": PERSON,
    "GET /auth/sessions": PERSON,
    "DELETE /auth/sessions/{id}": PERSON,
    "GET /auth/factors": PERSON,
    "POST /auth/factors/totp": PERSON,
    "POST /auth/factors/totp/confirm": PERSON,
    "POST /auth/factors/passkeys/options": PERSON,
    "POST /auth/factors/passkeys": PERSON,
    "POST /auth/factors/recovery": PERSON,
    "DELETE /auth/factors/{id}": PERSON,
    "GET /auth/tokens": PERSON,
    "POST /auth/tokens": PERSON,
    "DELETE /auth/tokens/{id}": PERSON,
    "POST /auth/refresh": REFRESH,
    "POST /auth/logout": REFRESH | BROWSER,
    "GET /auth/login": BROWSER,
    "GET /auth/account": BROWSER,
    "POST /auth/account/password": BROWSER,
    "POST /auth/account/sessions/end-others": BROWSER,
    "POST /auth/account/sessions/{id}/end": BROWSER,
    "GET /auth/account/factors/app": BROWSER,
    "POST /auth/account/factors/app": BROWSER,
    "GET /auth/account/factors/passkey": BROWSER,
    "POST /auth/account/factors/passkey": BROWSER,
    "GET /auth/account/factors/recovery": BROWSER,
    "POST /auth/account/factors/recovery": BROWSER,
    "POST /auth/account/factors/recovery/file": BROWSER,
    "GET /auth/account/factors/{id}": BROWSER,
    "POST /auth/account/factors/{id}/name": BROWSER,
    "POST /auth/account/factors/{id}/remove": BROWSER,
    "POST /oauth/token": CLIENT,
    "POST /oauth/introspect": CLIENT,
    "POST /oauth/revoke": CLIENT,
    "GET /status/lists": EVERYBODY,
    "GET /status/{number}": EVERYBODY,
    "GET /auth/account/tokens": BROWSER,
    "POST /auth/account/tokens": BROWSER,
    "POST /auth/account/tokens/{id}/revoke": BROWSER,
    "GET /": EVERYBODY,
    "GET /auth/logout": EVERYBODY,
    "POST /auth/login": EVERYBODY,
    "POST /auth/login/passkey": EVERYBODY,
    "GET /auth/welcome": EVERYBODY,
    "POST /auth/welcome": EVERYBODY,
    "GET /auth/static/{name}": EVERYBODY,
    "GET /.well-known/change-password": EVERYBODY,
    "GET /.well-known/jwks.json": EVERYBODY,
    "GET /.well-known/oauth-authorization-server": EVERYBODY,
    "GET /.well-known/openid-configuration": EVERYBODY,
    "GET /livez": EVERYBODY,
    "GET /readyz": EVERYBODY,
    "GET /openapi.json": EVERYBODY,
}
OAUTH_FORM = {"grant_type": "client_credentials", "token": "x"}
ENDS_SESSIONS = ("POST /auth/logout-all", "POST /auth/logout", "POST /auth/account/sessions/end-others")
Headers = dict[str, str]


def endpoints() -> Iterator[str]:
    """Give every method of every route, but HEAD, which is as GET."""
    for route in ROUTES:
        assert isinstance(route, Route)
        path = route.path.replace(":factor", "").replace(":any", "")
        for method in sorted((route.methods or {"GET"}) - {"HEAD"}):
            yield f"{method} {path}"


@pytest.fixture(scope="module")
def ours(gateway_with: Callable[..., GatewayProcess]) -> GatewayProcess:
    """Give a gateway that makes tokens for one application."""
    return gateway_with(audiences=OTHER_AUDIENCE)


@pytest.fixture(scope="module")
def signed_elsewhere(ours: GatewayProcess) -> dict[str, str]:
    """Give what is not of a user: a token of a machine client and its secret, and a status list by our key."""

    async def work(parts: Gateway) -> dict[str, str]:
        await parts.keyring.open()
        service, secret = await parts.clients.add("Service", ("staff",), (ours.url,))
        client_id, now, key = service.client_id, parts.clock(), parts.keyring.signing_key
        minted = await parts.access_tokens.mint(
            subject=client_id,
            family_id="",
            auth_time=0,
            roles=("staff",),
            email="",
            name="",
            now=now,
            session_seconds_left=3600,
        )
        claims = jwt.decode(minted, options={"verify_signature": False})
        claims |= {"sub": f"{ours.url}/status/1", "status_list": {"bits": 1, "lst": "eNrbuRgAAhcBXQ"}}
        listed = jwt.encode(claims, key.private_key, "RS256", headers={"kid": key.kid, "typ": "statuslist+jwt"})
        shown = base64.b64encode(f"{client_id}:{secret}".encode()).decode()
        return {
            "access token of a machine client": f"Bearer {minted}",
            "secret of a machine client": f"Basic {shown}",
            "status list": f"Bearer {listed}",
        }

    return in_gateway(ours.env, work)


def hand_out(ours: GatewayProcess, client: httpx2.Client, signed_elsewhere: dict[str, str]) -> dict[str, Headers]:
    """Give the headers that carry each of the credentials, all of one new user."""
    session = log_in(ours, client)
    token = make_token(session)["token"]
    browser = cookie_of(sign_in(client, session.user))

    def for_application(headers: Headers, audience: str) -> Headers:
        answer = client.get(f"{AUTHZ}?token={audience}", headers=headers)
        return as_bearer(answer.headers["remote-access-token"])

    return {
        "nothing": {},
        "access token": session.bearer,
        "access token as a cookie": {"Cookie": f"access_token={session.access_token}"},
        "browser session": browser,
        "refresh token as a cookie": {"Cookie": f"refresh_token={session.refresh_token}"},
        "refresh token as Bearer": as_bearer(session.refresh_token),
        "personal token as Bearer": as_bearer(token),
        "personal token as Basic": as_basic(token),
        "personal token as a cookie": {"Cookie": f"access_token={token}"},
        "token= of a session, for us": for_application(browser, ours.url),
        "token= of a session, for an application": for_application(browser, OTHER_AUDIENCE),
        "token= of a personal token, for us": for_application(as_bearer(token), ours.url),
        **{name: {"Authorization": text} for name, text in signed_elsewhere.items()},
    }


@pytest.fixture(scope="module")
def handed_out(ours: GatewayProcess, signed_elsewhere: dict[str, str]) -> dict[str, Headers]:
    """Give the credentials of a user whom no test takes anything away from."""
    with client_of(ours) as client:
        return hand_out(ours, client, signed_elsewhere)


def test_the_table_has_every_endpoint_and_no_other() -> None:
    """Say who gets in when this fails. Shows ASVS 6.3.4."""
    assert sorted(OPENED_BY) == sorted(endpoints())


@pytest.mark.parametrize("endpoint", OPENED_BY)
def test_an_endpoint_opens_to_who_may_enter_and_to_nobody_else(
    endpoint: str, ours: GatewayProcess, signed_elsewhere: dict[str, str], handed_out: dict[str, Headers]
) -> None:
    """Shows ASVS 6.3.4, ASVS 8.2.1, ASVS 8.3.1, ASVS 9.2.2, RFC 8725 3.12."""
    method, path = endpoint.split(" ")
    path = path.replace("{id}", "fac_unknown" if "factors" in path else "unknown").replace("{path}", "a")
    path = path.replace("{name}", "unknown").replace("{number}", "1")
    form = OAUTH_FORM if path.startswith("/oauth/") else None
    assert handed_out.keys() == set(CREDENTIALS)
    answers = {}
    with client_of(ours) as client:
        for name in CREDENTIALS:
            headers = (hand_out(ours, client, signed_elsewhere) if endpoint in ENDS_SESSIONS else handed_out)[name]
            answers[name] = client.request(method, path, headers=headers, data=form)
    expected = OPENED_BY[endpoint]
    if expected == EVERYBODY:
        assert len({answer.status_code for answer in answers.values()}) == 1
        return
    opened = {name for name, answer in answers.items() if has_opened(endpoint, answer)}
    assert opened == expected, {name: answers[name].status_code for name in opened ^ expected}


def has_opened(endpoint: str, answer: httpx2.Response) -> bool:
    """Tell whether who asked was taken for somebody; what was asked for may be wrong all the same."""
    if endpoint == "GET /auth/login":
        return answer.status_code == 303
    leads_to_login = answer.status_code == 303 and "/auth/login" in answer.headers["Location"]
    assert answer.status_code < 500
    return answer.status_code != 401 and not leads_to_login
