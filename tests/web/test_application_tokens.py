"""`token=AUDIENCE`: the application behind the proxy is given an access token of its own."""

import asyncio
import inspect
from collections.abc import Callable

import httpx2
import jwt
import pytest

from gateway.tokens import AccessTokenMinter, ApplicationTokens
from tests.harness import GatewayProcess
from tests.web.asking import client_of, log_in, problem_of
from tests.web.test_browser_sessions import cookie_of, sign_in

AUDIENCE = "https://wiki.example.test"
Gateway = Callable[..., GatewayProcess]
PATHS = ("/api/authz/auth-request", "/api/authz/forward-auth")


@pytest.fixture
def with_audience(gateway_with: Gateway) -> GatewayProcess:
    """Give a gateway that makes tokens for one application."""
    return gateway_with(audiences=AUDIENCE)


def verified(gateway: GatewayProcess, client: httpx2.Client, token: str, audience: str = AUDIENCE) -> dict[str, object]:
    """Verify a token as the application does, by the JWKS."""
    keys = jwt.PyJWKSet.from_dict(client.get("/.well-known/jwks.json").json())
    header = jwt.get_unverified_header(token)
    assert header["typ"] == "at+jwt"
    claims: dict[str, object] = jwt.decode(
        token, keys[header["kid"]], algorithms=["RS256"], audience=audience, issuer=gateway.url
    )
    return claims


@pytest.mark.redis
@pytest.mark.parametrize("path", PATHS)
def test_the_application_verifies_who_is_there(with_audience: GatewayProcess, path: str) -> None:
    gateway = with_audience
    with client_of(gateway) as client:
        user = gateway.add_user(roles=("staff", "ops"))
        session = cookie_of(sign_in(client, user))
        answers = [client.get(f"{path}?token={AUDIENCE}&role=ops", headers=session) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 200]
        token = answers[0].headers["remote-access-token"]
        claims = verified(gateway, client, token)
        assert claims["sub"] == user.user_id == answers[0].headers["remote-sub"]
        assert claims["email"] == user.email
        assert set(claims["roles"]) == {"staff", "ops"}  # type: ignore[call-overload]
        assert 60 <= claims["exp"] - claims["iat"] <= 120  # type: ignore[operator]
        assert len({answer.headers["remote-access-token"] for answer in answers}) <= 2, "a minute may have passed"
        assert all(answer.headers["remote-user"] == user.email for answer in answers)


@pytest.mark.redis
def test_it_is_made_for_who_comes_with_an_access_token_too(with_audience: GatewayProcess) -> None:
    with client_of(with_audience) as client:
        session = log_in(with_audience, client)
        answer = client.get(f"{PATHS[0]}?token={AUDIENCE}", headers=session.bearer)
        claims = verified(with_audience, client, answer.headers["remote-access-token"])
        assert (claims["sub"], claims["sid"]) == (session.user.user_id, session.sid)


@pytest.mark.redis
@pytest.mark.parametrize(
    ("family", "name"), [("x-auth-request", "x-auth-request-access-token"), ("x-forwarded", "x-forwarded-access-token")]
)
def test_its_header_is_of_the_family(gateway_with: Gateway, family: str, name: str) -> None:
    gateway = gateway_with(audiences=AUDIENCE, identity_headers=family)
    with client_of(gateway) as client:
        session = cookie_of(sign_in(client, gateway.add_user()))
        answer = client.get(f"{PATHS[0]}?token={AUDIENCE}", headers=session)
        assert verified(gateway, client, answer.headers[name])


@pytest.mark.redis
@pytest.mark.parametrize(
    "query", ["token=https://other.example.test", "token=", f"token={AUDIENCE}&token=x", f"token={AUDIENCE.upper()}"]
)
def test_an_audience_that_is_not_ours_is_refused(with_audience: GatewayProcess, query: str) -> None:
    """Shows ASVS 9.2.4, RFC 9700 2.3."""
    with client_of(with_audience) as client:
        session = cookie_of(sign_in(client, with_audience.add_user()))
        problem_of(client.get(f"{PATHS[0]}?{query}", headers=session), 403, "insufficient-role")


@pytest.mark.redis
def test_the_audience_of_logins_is_one_too_and_nobody_gets_one_unasked(with_audience: GatewayProcess) -> None:
    with client_of(with_audience) as client:
        session = cookie_of(sign_in(client, with_audience.add_user()))
        answer = client.get(f"{PATHS[0]}?token={with_audience.url}", headers=session)
        assert verified(with_audience, client, answer.headers["remote-access-token"], with_audience.url)
        assert "remote-access-token" not in client.get(PATHS[0], headers=session).headers
        envoy = client.get(f"/api/authz/ext-authz/x?token={AUDIENCE}", headers=session)
        assert (envoy.status_code, "remote-access-token" in envoy.headers) == (200, False)


class _Minter:
    """Counts what it is asked to sign; stands for the signing key alone."""

    def __init__(self) -> None:
        self.asked: list[dict[str, object]] = []

    async def mint(self, **claims: object) -> str:
        self.asked.append(claims)
        await asyncio.sleep(0)
        return f"token {len(self.asked)}"


class _Login:
    sub, sid, auth_time, amr, roles, email, name = "usr_x", "s", 1, ("pwd",), ("staff",), "a@example.com", "Ann"


def _parameters() -> set[str]:
    return set(inspect.signature(AccessTokenMinter.mint).parameters)


@pytest.mark.anyio
async def test_one_is_made_for_session_audience_and_minute_however_many_ask() -> None:
    minter = _Minter()
    tokens = ApplicationTokens(minter, (AUDIENCE,))  # type: ignore[arg-type]
    login = _Login()
    given = {*await asyncio.gather(*(tokens.make(login, AUDIENCE, 60, 9999) for _ in range(50)))}
    given |= {await tokens.make(login, AUDIENCE, second, 9999) for second in range(60, 120)}
    assert given == {"token 1"}
    assert minter.asked[0]["ttl_seconds"] == 120
    assert await tokens.make(login, AUDIENCE, 179, 9999) == "token 2"
    assert minter.asked[1]["ttl_seconds"] == 61
    assert (minter.asked[0].keys() - _parameters()) == set(), "the minter takes what it is asked with"
