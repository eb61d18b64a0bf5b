"""Status lists: who asks nobody but for them knows of an ended session in seconds, Redis up or down."""

import base64
import re
import zlib
from typing import Any

import httpx2
import jwt

from gateway.clock import system_clock
from tests.harness import GatewayProcess, wait_until
from tests.web.asking import log_in

HEARD_SECONDS = 2.0


def status_of(access_token: str) -> dict[str, Any]:
    claims = jwt.decode(access_token, options={"verify_signature": False})
    said: dict[str, Any] = claims["status"]["status_list"]
    return said


def read(client: httpx2.Client, answer: httpx2.Response) -> dict[str, Any]:
    """Verify a list as anybody would who has the JWKS, and give its claims."""
    kid = jwt.get_unverified_header(answer.text)["kid"]
    keys = {key["kid"]: key for key in client.get("/.well-known/jwks.json").json()["keys"]}
    claims: dict[str, Any] = jwt.decode(answer.text, jwt.PyJWK(keys[kid]), algorithms=[keys[kid]["alg"]])
    return claims


def bits(claims: dict[str, Any]) -> bytes:
    lst = claims["status_list"]["lst"]
    octets = zlib.decompress(base64.urlsafe_b64decode(lst + "=" * (-len(lst) % 4)))
    assert len(octets) == 2**20 // 8
    return octets


def is_ended(client: httpx2.Client, status: dict[str, Any]) -> bool:
    answer = client.get(status["uri"])
    assert answer.status_code == 200
    return bool(bits(read(client, answer))[status["idx"] >> 3] >> (status["idx"] & 7) & 1)


def test_every_token_of_a_session_says_where_its_status_is(gateway: GatewayProcess, client: httpx2.Client) -> None:
    """The index stays with the session: a list tells of no token by itself."""
    session = log_in(gateway, client)
    status = status_of(session.access_token)
    assert status.keys() == {"idx", "uri"}
    assert re.fullmatch(re.escape(gateway.url) + "/status/[0-9]{22}", status["uri"])
    again = session.refresh()
    assert status_of(again.json()["access_token"]) == status


def test_a_list_is_what_the_draft_wants(gateway: GatewayProcess, client: httpx2.Client) -> None:
    status = status_of(log_in(gateway, client).access_token)
    answer = client.get(status["uri"], headers={"Accept": "application/statuslist+jwt", "Origin": "https://a.example"})
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/statuslist+jwt"
    assert re.fullmatch(r"public, max-age=[1-5], stale-if-error=45", answer.headers["Cache-Control"])
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert re.fullmatch(r'"[!#-~]+"', answer.headers["ETag"])
    header, claims = jwt.get_unverified_header(answer.text), read(client, answer)
    assert header.keys() == {"alg", "typ", "kid"}
    assert header["typ"] == "statuslist+jwt"
    assert claims.keys() == {"sub", "iat", "exp", "ttl", "status_list"}
    assert (claims["sub"], claims["ttl"], claims["exp"] - claims["iat"]) == (status["uri"], 10, 60)
    assert abs(claims["iat"] - system_clock()) < 12
    assert claims["status_list"].keys() == {"bits", "lst"}
    assert claims["status_list"]["bits"] == 1
    assert "=" not in claims["status_list"]["lst"]


def test_an_ended_session_is_in_the_list_and_a_living_one_is_not(
    gateway: GatewayProcess, client: httpx2.Client
) -> None:
    ended, living = log_in(gateway, client), log_in(gateway, client)
    statuses = status_of(ended.access_token), status_of(living.access_token)
    assert [is_ended(client, status) for status in statuses] == [False, False]
    assert client.delete(f"/auth/sessions/{ended.sid}", headers=ended.bearer).status_code == 204
    wait_until(lambda: is_ended(client, statuses[0]), seconds=5 + HEARD_SECONDS)
    assert not is_ended(client, statuses[1])
