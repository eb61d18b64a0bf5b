"""Fixtures of the tests of /oauth/*: a gateway with more than one audience, asked by machine clients."""

from collections.abc import Callable, Iterator

import httpx2
import pytest

from tests.harness import GatewayProcess
from tests.machines.clients import Service, add_client
from tests.web.asking import client_of
from tests.web.oauth.audiences import API, OTHER


@pytest.fixture(scope="module")
def asked(gateway_with: Callable[..., GatewayProcess]) -> GatewayProcess:
    """Give a gateway with three audiences."""
    return gateway_with(audiences=f"{API},{OTHER}")


@pytest.fixture(scope="module")
def client(asked: GatewayProcess) -> Iterator[httpx2.Client]:
    """Give an HTTP client of it."""
    with client_of(asked) as opened:
        yield opened


@pytest.fixture(scope="module")
def service(asked: GatewayProcess) -> Service:
    """Give a client with two roles and two audiences, the gateway's own among them."""
    return add_client(asked.env, audiences=(API, asked.url))
