"""Machine clients while Redis is away: who they are cannot be told, and what they have is good."""

import time
from collections.abc import Callable

import pytest

from tests.harness import GatewayProcess, RedisServer, wait_until
from tests.machines.clients import GRANT, add_client, add_keyed_client
from tests.web.asking import METADATA_PATHS, client_of

pytestmark = pytest.mark.redis


def test_nobody_authenticates_without_redis_and_everybody_does_when_it_is_back(
    make_gateway: Callable[..., GatewayProcess], own_redis: Callable[..., RedisServer]
) -> None:
    server = own_redis()
    gateway = make_gateway(redis_url=server.url, refresh_limit="1000/minute")
    service, keyed = add_client(gateway.env), add_keyed_client(gateway.env)
    with client_of(gateway) as client:
        token = service.token(client)
        form = GRANT | {"token": token}
        server.kill()
        for path in ("token", "introspect", "revoke"):
            for shown in ({"auth": service.auth, "data": form}, {"data": form | keyed.form(gateway.url)}):
                begun = time.monotonic()
                answer = client.post(f"/oauth/{path}", **shown)
                assert time.monotonic() - begun < 2
                assert answer.status_code == 503
                assert answer.headers["Content-Type"] == "application/problem+json"
                assert answer.json()["type"].endswith("store-unavailable")
                assert answer.headers["Retry-After"]
        assert client.post("/oauth/token", data=GRANT).status_code == 401, "who shows nothing needs no look"
        assert client.post("/oauth/token", data={"x": "y"}, auth=service.auth).status_code == 400
        headers = {"Authorization": f"Bearer {token}"}
        assert client.get("/api/authz/auth-request", headers=headers).status_code == 200
        for path in METADATA_PATHS:
            assert client.get(path).json()["token_endpoint"] == f"{gateway.url}/oauth/token"
        server.start()
        seconds = wait_until(lambda: client.post("/oauth/token", data=GRANT, auth=service.auth).status_code == 200, 5)
        print(f"served {seconds:.2f} s after Redis answered")
        for path in ("introspect", "token", "revoke"):
            assert client.post(f"/oauth/{path}", data=form, auth=service.auth).status_code == 200
            assert client.post(f"/oauth/{path}", data={"token": "x"} | keyed.form(gateway.url)).status_code == 200
