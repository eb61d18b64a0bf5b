"""An offer to upgrade is not taken: Java's HTTP client makes one with every request to a server without TLS."""

import json

import httpx2
import pytest

from tests.harness import GatewayProcess

pytestmark = pytest.mark.redis
OFFERS = {
    "of Java": {
        "Connection": "Upgrade, HTTP2-Settings",
        "Upgrade": "h2c",
        "HTTP2-Settings": "AAEAAEAAAAIAAAAAAAMAAAAA",
    },
    "of a socket": {"Connection": "Upgrade", "Upgrade": "websocket"},
}


@pytest.mark.parametrize("offer", OFFERS)
@pytest.mark.parametrize("is_chunked", [False, True], ids=["by length", "in chunks"])
def test_a_request_with_a_body_is_answered_as_without_the_offer(
    gateway: GatewayProcess, client: httpx2.Client, offer: str, is_chunked: bool
) -> None:
    """RFC 9110 section 7.8."""
    user = gateway.add_user()
    body = json.dumps({"username": user.email, "password": user.password, "delivery": "body"}).encode()
    headers = OFFERS[offer] | {"Content-Type": "application/json"}
    content = iter([body[:10], body[10:]]) if is_chunked else body
    for answer in (
        client.post("/auth/login", content=content, headers=headers),
        client.post("/auth/login", content=b"{}", headers=headers),
    ):
        assert answer.headers["Connection"] == "close"
        assert "Upgrade" not in answer.headers
        assert answer.status_code == (200 if b"access_token" in answer.content else 400)
    assert client.get("/livez").status_code == 200
