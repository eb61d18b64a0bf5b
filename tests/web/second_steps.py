"""What the tests of second factors over HTTP share: an authenticator app, passkeys of a gateway, and both steps."""

import base64
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx2

from gateway.accounts.factors.totp import STEP_SECONDS, hotp, step_at
from gateway.state import Gateway
from tests.authenticators import Authenticator
from tests.harness import GatewayProcess, TestUser, in_gateway
from tests.web.asking import Session, log_in, problem_of

LAST_SECONDS_OF_STEP = 3


@dataclass
class App:
    """An authenticator app: it shows each code once, the oldest first that a gateway still takes."""

    secret: bytes
    shown: set[int] = field(default_factory=set)

    @classmethod
    def of(cls, answer: httpx2.Response) -> "App":
        """Give the app that has read the answer of POST /auth/factors/totp."""
        assert answer.status_code == 200, answer.text
        secret: str = answer.json()["secret"]
        return cls(base64.b32decode(secret))

    def code(self) -> str:
        """Give a code that was not shown before; the gateway has some seconds to take it."""
        while True:
            now = time.time()  # noqa: TID251 - gateways of tests have the machine's clock
            step = step_at(int(now))
            fresh = [one for one in (step - 1, step, step + 1) if one > max(self.shown, default=0)]
            if fresh and now % STEP_SECONDS < STEP_SECONDS - LAST_SECONDS_OF_STEP:
                self.shown.add(fresh[0])
                return hotp(self.secret, fresh[0])
            time.sleep(0.2)

    def last_code(self) -> str:
        """Give the code that was shown last."""
        return hotp(self.secret, max(self.shown))

    def wrong_code(self) -> str:
        """Give a code that is none of now."""
        step = step_at(int(time.time()))  # noqa: TID251 - likewise
        near = {hotp(self.secret, step + skew) for skew in range(-3, 4)}
        return next(code for code in (f"{number:06}" for number in range(10)) if code not in near)


def passkey_of(gateway: GatewayProcess, **bent: Any) -> Authenticator:
    """Give an authenticator for a gateway whose issuer is where it is served."""
    return Authenticator(rp_id=urlsplit(gateway.url).hostname or "", origin=gateway.url, **bent)


def with_totp(session: Session) -> App:
    """Let the user of a session set up an app."""
    new = session.client.post("/auth/factors/totp", headers=session.bearer)
    app = App.of(new)
    answer = session.client.post(
        "/auth/factors/totp/confirm", headers=session.bearer, json={"id": new.json()["id"], "code": app.code()}
    )
    assert answer.status_code == 200, answer.text
    return app


def with_passkey(session: Session, **bent: Any) -> Authenticator:
    """Let the user of a session set up a passkey."""
    device = passkey_of(session.gateway, **bent)
    options = session.client.post("/auth/factors/passkeys/options", headers=session.bearer)
    assert options.status_code == 200, options.text
    answer = session.client.post(
        "/auth/factors/passkeys",
        headers=session.bearer,
        json={"credential": device.create(options.json()["publicKey"])},
    )
    assert answer.status_code == 200, answer.text
    return device


def recovery_codes(session: Session) -> list[str]:
    """Let the user of a session, who has a factor and has logged in with it, make recovery codes."""
    answer = session.client.post("/auth/factors/recovery", headers=session.bearer)
    assert answer.status_code == 200, answer.text
    codes: list[str] = answer.json()["codes"]
    return codes


def first_step(client: httpx2.Client, user: TestUser, **members: Any) -> dict[str, Any]:
    """Log in with the password and give what is asked for then. Fails unless something is."""
    body = {"username": user.email, "password": user.password, "delivery": "body", **members}
    return problem_of(client.post("/auth/login", json=body), 401, "second-factor-required")


def second_step(client: httpx2.Client, pending: str, **factor: Any) -> httpx2.Response:
    """Complete a login."""
    return client.post("/auth/login", json={"pending": pending, **factor})


def log_in_with(gateway: GatewayProcess, client: httpx2.Client, user: TestUser, **factor: Any) -> Session:
    """Log in with the password and a code."""
    pending = first_step(client, user)["pending"]
    return session_of(gateway, client, user, second_step(client, pending, **factor))


def session_of(gateway: GatewayProcess, client: httpx2.Client, user: TestUser, answer: httpx2.Response) -> Session:
    """Give the session that an answer with both tokens in its body has opened."""
    assert answer.status_code == 200, answer.text
    return Session(user, answer.json()["access_token"], answer.json()["refresh_token"], gateway, client)


def new_user_with_totp(gateway: GatewayProcess, client: httpx2.Client) -> tuple[Session, App]:
    """Give the session by password alone in which a new user has set up an app, and this."""
    session = log_in(gateway, client)
    return session, with_totp(session)


def enrol_by_pending(client: httpx2.Client, pending: str) -> tuple[App, httpx2.Response]:
    """Set up a first app in place of a login, and give the answer of the last call."""
    new = client.post("/auth/factors/totp", json={"pending": pending})
    app = App.of(new)
    confirmed = {"pending": pending, "id": new.json()["id"], "code": app.code()}
    return app, client.post("/auth/factors/totp/confirm", json=confirmed)


def bearer_of_login(session: Session, *, seconds_ago: int, amr: tuple[str, ...]) -> dict[str, str]:
    """Give the header with an access token of this session as one has it whose login was then, and made so."""

    async def work(parts: Gateway) -> str:
        await parts.keyring.open()
        now = parts.clock()
        return await parts.access_tokens.mint(
            subject=session.user.user_id,
            family_id=session.sid,
            auth_time=now - seconds_ago,
            roles=(),
            email=session.user.email,
            name="",
            now=now,
            session_seconds_left=3600,
            amr=amr,
        )

    return {"Authorization": f"Bearer {in_gateway(session.gateway.env, work)}"}
