"""What fails half-way at /oauth/* because Redis does not answer: said, refused here, completed by the next attempt."""

from collections.abc import Callable, Iterator

import pytest

from gateway.state import Gateway
from tests.cli.commands import here
from tests.families.proxy import Fault, Proxy
from tests.harness import GatewayProcess, RedisServer, in_gateway, wait_until
from tests.machines.clients import GRANT, add_client, add_keyed_client
from tests.scripts import load_script
from tests.web.asking import client_of

pytestmark = pytest.mark.redis

ATTEMPTS = 3  # how often the store sends a command at most
ISSUER = "http://gateway.test"


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[Proxy]:
    """Give a proxy before the Redis of this test process."""
    made = Proxy(redis_server)
    yield made
    made.close()


@pytest.fixture
def behind(proxy: Proxy, make_gateway: Callable[..., GatewayProcess]) -> GatewayProcess:
    """Give a gateway that has Redis behind the proxy."""
    return make_gateway(redis_url=proxy.url, issuer=ISSUER)


@pytest.mark.parametrize("side", ["request", "reply"])
def test_a_revocation_that_was_answered_503_is_completed_when_it_is_sent_again(
    side: str, behind: GatewayProcess, make_gateway: Callable[..., GatewayProcess], proxy: Proxy
) -> None:
    other = make_gateway(issuer=ISSUER)
    service = add_client(behind.env)
    with client_of(behind) as client, client_of(other) as elsewhere:
        form = {"token": service.token(client)}

        def is_active(one: object) -> bool:
            answer = one.post("/oauth/introspect", data=form, auth=service.auth)  # type: ignore[attr-defined]
            return bool(answer.json()["active"])

        fault = Fault("request" if side == "request" else "reply")
        proxy.arm(load_script("revocation_announce").sha1.encode(), fault, ATTEMPTS)
        answer = client.post("/oauth/revoke", data=form, auth=service.auth)
        assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)
        proxy.disarm()
        assert not is_active(client)
        assert client.post("/oauth/revoke", data=form, auth=service.auth).status_code == 200
        wait_until(lambda: not is_active(elsewhere), 1.0)


def test_a_token_that_all_have_heard_of_is_not_announced_again(make_gateway: Callable[..., GatewayProcess]) -> None:
    """Else one client could fill the stream with one token."""
    gateway = make_gateway()
    service = add_client(gateway.env)
    with client_of(gateway) as client:
        form = {"token": service.token(client)}
        assert client.post("/oauth/revoke", data=form, auth=service.auth).status_code == 200
        for _ in range(50):
            assert client.post("/oauth/revoke", data=form, auth=service.auth).status_code == 200

    async def announced(parts: Gateway) -> int:
        entries = await parts.store.read_stream(parts.store.key("revocations"), "0-0", 100, wait=False)
        return len(entries)

    assert in_gateway(gateway.env, announced) <= 3


@pytest.mark.parametrize("side", ["request", "reply"])
def test_a_lost_answer_about_a_jti_costs_nothing_but_the_assertion(
    side: str, behind: GatewayProcess, proxy: Proxy
) -> None:
    """Once it is sent again by the store itself; when that is no use, the client signs another one."""
    keyed = add_keyed_client(behind.env)
    fault = Fault("request" if side == "request" else "reply")
    with client_of(behind) as client:
        client.post("/oauth/token", data=keyed.form(ISSUER))  # the script is known from here on
        proxy.arm(load_script("jti_take").sha1.encode(), fault, 1)
        assert client.post("/oauth/token", data=keyed.form(ISSUER)).status_code == 200
        proxy.arm(load_script("jti_take").sha1.encode(), fault, ATTEMPTS)
        assert client.post("/oauth/token", data=keyed.form(ISSUER)).status_code == 503
        proxy.disarm()
        assert client.post("/oauth/token", data=keyed.form(ISSUER)).status_code == 200


def test_a_removal_that_failed_half_way_is_completed_by_the_clients_next_attempt(
    behind: GatewayProcess, proxy: Proxy
) -> None:
    """Also where that attempt finds Redis away once more: it is refused all the same."""
    service = add_client(behind.env)
    with client_of(behind) as client:
        headers = {"Authorization": f"Bearer {service.token(client)}"}
        proxy.arm(load_script("revocation_announce").sha1.encode(), Fault("request"), ATTEMPTS)
        assert here("clients", "remove", service.client_id, env=behind.env).status == 1
        proxy.arm(load_script("revocation_announce").sha1.encode(), Fault("request"), ATTEMPTS)
        assert client.post("/oauth/token", data=GRANT, auth=service.auth).status_code == 401
        proxy.disarm()
        assert client.get("/api/authz/auth-request", headers=headers).status_code == 401, "here it is known"
        assert client.post("/oauth/token", data=GRANT, auth=service.auth).status_code == 401
        assert here("clients", "remove", service.client_id, env=behind.env).err.startswith(
            "gateway: there is no client"
        )
