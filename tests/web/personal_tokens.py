"""What the tests of personal tokens share: one made over HTTP, and the ways to send it."""

import base64
from typing import Any

import httpx2

from tests.web.asking import Session

AUTHZ = "/api/authz/auth-request"


def make_token(session: Session, name: str = "backup", **members: Any) -> dict[str, Any]:
    """Make a personal token of the user of a session, and give the answer."""
    answer = session.client.post("/auth/tokens", json={"name": name, **members}, headers=session.bearer)
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()
    return made


def as_bearer(token: str) -> dict[str, str]:
    """Give the header that carries it as a Bearer token."""
    return {"Authorization": f"Bearer {token}"}


def as_basic(token: str, name: str = "git") -> dict[str, str]:
    """Give the header that carries it as the password of anybody."""
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{token}".encode()).decode()}


def status_with(client: httpx2.Client, token: str, query: str = "") -> int:
    """Give the status of a subrequest with a personal token."""
    return client.get(f"{AUTHZ}?{query}" if query else AUTHZ, headers=as_bearer(token)).status_code
