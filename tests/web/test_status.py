"""Status lists: who asks nobody but for them knows of an ended session in seconds, Redis up or down."""

import base64
import re
import zlib
from collections.abc import Callable
from typing import Any

import httpx2
import jwt
import pytest

from gateway.clock import system_clock
from tests.harness import GatewayProcess, RedisServer, wait_until
from tests.web.asking import Session, client_of, log_in, problem_of
from tests.web.test_endings import lose_sessions
from tests.web.test_quick_answers import Answers, connect, request

# The signature is that old at most when something newer is known, and it is heard within a second.
OUT_AFTER_SECONDS = 5 + 1


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
    wait_until(lambda: is_ended(client, statuses[0]), seconds=OUT_AFTER_SECONDS)
    assert not is_ended(client, statuses[1])


def end(session: Session) -> None:
    assert session.client.delete(f"/auth/sessions/{session.sid}", headers=session.bearer).status_code == 204


def test_a_session_that_ends_elsewhere_is_in_the_list_of_every_gateway(
    make_gateway: Callable[..., GatewayProcess],
) -> None:
    """Both give lists of one address, as behind one proxy."""
    one = make_gateway()
    other = make_gateway(issuer=one.url)
    with client_of(one) as client, client_of(other) as second:
        session = log_in(one, client)
        status = status_of(session.access_token)
        path = status["uri"].removeprefix(one.url)
        seen = [second.get(path).text for _ in range(2)]
        assert seen[0] == seen[1]
        end(session)

        def is_out() -> bool:
            claims = read(second, second.get(path))
            return bool(bits(claims)[status["idx"] >> 3] >> (status["idx"] & 7) & 1)

        print(f"out at the other gateway after {wait_until(is_out, seconds=OUT_AFTER_SECONDS):.1f} s")


def test_who_has_a_list_already_gets_304(gateway: GatewayProcess, client: httpx2.Client) -> None:
    uri = status_of(log_in(gateway, client).access_token)["uri"]
    for _ in range(3):  # another one may be signed in between
        etag = client.get(uri).headers["ETag"]
        answer = client.get(uri, headers={"If-None-Match": f'"x", {etag}'})
        if answer.status_code == 304:
            break
    assert answer.status_code == 304
    assert answer.content == b""
    assert answer.headers["ETag"] == etag
    assert answer.headers["Cache-Control"].startswith("public, max-age=")
    assert client.get(uri, headers={"If-None-Match": '"x"'}).status_code == 200


def test_head_is_as_get(gateway: GatewayProcess, client: httpx2.Client) -> None:
    uri = status_of(log_in(gateway, client).access_token)["uri"]
    answer = client.head(uri)
    assert answer.status_code == 200
    assert answer.content == b""
    assert int(answer.headers["Content-Length"]) > 300


def test_a_list_that_is_signed_is_a_quick_answer_and_says_the_same(gateway: GatewayProcess) -> None:
    """A request that wants its connection closed goes the ordinary way."""
    with client_of(gateway) as client:
        path = status_of(log_in(gateway, client).access_token)["uri"].removeprefix(gateway.url)
        client.get(path)
    said = []
    for lines in ((), ("Connection: close",)):
        with connect(gateway) as connection:
            connection.sendall(request(path, "none", *lines))
            status, headers, body = Answers(connection).next()
            assert ("x-request-id" in headers) is bool(lines)  # else both went the same way
            assert status == 200
            said.append({name: headers[name] for name in ("content-type", "access-control-allow-origin")})
            assert body.count(b".") == 2
    assert said[0] == said[1]


@pytest.mark.parametrize(
    "number",
    ["1", "0", "x", "9" * 22, "1" * 22, "%31", "1790000000000000000000", "-1", "lists2", "\u0661" * 22, "1" * 4000],
)
def test_a_list_that_no_gateway_began_is_not_there(number: str, client: httpx2.Client) -> None:
    """So nobody makes a gateway sign what never was."""
    assert client.get(f"/status/{number}").status_code == 404


@pytest.mark.parametrize(
    "change", [lambda number: number + 1, lambda number: number - 1, lambda number: number ^ 1 << 40]
)
def test_nor_is_a_neighbour_of_one_that_is(
    change: Callable[[int], int], gateway: GatewayProcess, client: httpx2.Client
) -> None:
    uri, _, number = status_of(log_in(gateway, client).access_token)["uri"].rpartition("/")
    assert client.get(f"{uri}/{change(int(number))}").status_code == 404
    assert client.get(f"{uri}/0{number}").status_code == 404
    assert client.get(f"{uri}/{number}/").status_code == 404


def test_nothing_is_known_of_the_past(gateway: GatewayProcess, client: httpx2.Client) -> None:
    """Section 8.4 of the draft; another query is nobody's and ignored."""
    uri = status_of(log_in(gateway, client).access_token)["uri"]
    answer = client.get(uri, params={"time": "1790000000"})
    assert answer.status_code == 501
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert client.get(uri, params={"x": "1"}).status_code == 200


def test_the_lists_that_there_are_can_be_asked_for(gateway: GatewayProcess, client: httpx2.Client) -> None:
    uri = status_of(log_in(gateway, client).access_token)["uri"]
    metadata = client.get("/.well-known/oauth-authorization-server").json()
    answer = client.get(metadata["status_list_aggregation_endpoint"])
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.json().keys() == {"status_lists"}
    assert uri in answer.json()["status_lists"]


@pytest.mark.parametrize("path", ["/status/1790000000000000000000", "/status/lists"])
def test_scripts_of_every_origin_may_read_them(path: str, client: httpx2.Client) -> None:
    asked = {"Origin": "https://a.example", "Access-Control-Request-Method": "GET"}
    answer = client.options(path, headers=asked | {"Access-Control-Request-Headers": "accept"})
    assert answer.status_code == 204
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Credentials" not in answer.headers


def test_a_list_is_never_an_access_token(gateway: GatewayProcess, client: httpx2.Client) -> None:
    token = client.get(status_of(log_in(gateway, client).access_token)["uri"]).text
    for path in ("/api/authz/auth-request", "/auth/me"):
        assert client.get(path, headers={"Authorization": f"Bearer {token}"}).status_code == 401


def test_off_there_are_none_and_sessions_of_before_go_on_without(make_gateway: Callable[..., GatewayProcess]) -> None:
    off = make_gateway(status_list="off")
    with client_of(off) as client:
        session = log_in(off, client)
        assert "status" not in jwt.decode(session.access_token, options={"verify_signature": False})
        assert client.get("/status/lists").status_code == 404
        assert "status_list_aggregation_endpoint" not in client.get("/.well-known/openid-configuration").json()
    on = make_gateway()
    with client_of(on) as client:
        again = client.post("/auth/refresh", json={"refresh_token": session.refresh_token}).json()["access_token"]
        assert "status" not in jwt.decode(again, options={"verify_signature": False})
        status = status_of(log_in(on, client).access_token)
        assert client.get(status["uri"]).status_code == 200
        assert client.get(f"{off.url}{status['uri'].removeprefix(on.url)}").status_code == 404


def test_lists_are_signed_while_redis_is_away(
    own_redis: Callable[..., RedisServer], make_gateway: Callable[..., GatewayProcess]
) -> None:
    """From memory: what was ended before stays ended, and the list is a fresh one."""
    redis = own_redis()
    gateway = make_gateway(redis_url=redis.url)
    with client_of(gateway) as client:
        session = log_in(gateway, client)
        status = status_of(session.access_token)
        first = read(client, client.get(status["uri"]))
        end(session)
        redis.kill()
        wait_until(lambda: is_ended(client, status), seconds=OUT_AFTER_SECONDS)
        wait_until(lambda: read(client, client.get(status["uri"]))["iat"] >= first["iat"] + 10, seconds=20)
        assert is_ended(client, status)


def test_a_gateway_that_has_not_heard_for_too_long_gives_no_list(
    own_redis: Callable[..., RedisServer], make_gateway: Callable[..., GatewayProcess]
) -> None:
    """It takes no token then either, and verifiers decide for themselves."""
    redis = own_redis()
    gateway = make_gateway(redis_url=redis.url, revocation_max_lag_seconds=1)
    with client_of(gateway) as client:
        uri = status_of(log_in(gateway, client).access_token)["uri"]
        assert client.get(uri).status_code == 200
        redis.kill()
        wait_until(lambda: client.get(uri).status_code == 503)
        problem_of(client.get(uri), 503, "store-unavailable")
        redis.start()
        wait_until(lambda: client.get(uri).status_code == 200)


def test_who_ends_all_his_sessions_is_in_the_list_though_redis_has_lost_his_own(
    gateway: GatewayProcess, client: httpx2.Client
) -> None:
    """What ends all of them names no session that Redis does not have, but this one is known."""
    session = log_in(gateway, client)
    lose_sessions(session)
    assert client.post("/auth/logout-all", headers=session.bearer).status_code == 200
    wait_until(lambda: is_ended(client, status_of(session.access_token)), seconds=OUT_AFTER_SECONDS)
