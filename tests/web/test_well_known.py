import base64
import hashlib
import json
import re
from collections.abc import Callable
from typing import Any

import httpx2
import jwt
import pytest
from joserfc import jwk as joserfc_jwk
from joserfc import jwt as joserfc_jwt

from tests.harness import GatewayProcess
from tests.web.asking import HTTPS_ISSUER, METADATA_PATHS, Session, client_of, comparable, log_in

JWKS = "/.well-known/jwks.json"
PUBLIC_MEMBERS = {
    "RS256": {"n", "e"},
    "PS256": {"n", "e"},
    "ES256": {"crv", "x", "y"},
    "Ed25519": {"crv", "x"},
    "EdDSA": {"crv", "x"},
}
KINDS = {"RS256": "RSA", "PS256": "RSA", "ES256": "EC", "Ed25519": "OKP", "EdDSA": "OKP"}


def keys_of(client: httpx2.Client) -> list[dict[str, Any]]:
    body = client.get(JWKS).json()
    assert body.keys() == {"keys"}
    keys: list[dict[str, Any]] = body["keys"]
    return keys


def test_the_jwks_is_json_that_everybody_may_keep_for_five_minutes(client: httpx2.Client) -> None:
    answer = client.get(JWKS)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] in ("application/json", "application/jwk-set+json")
    assert answer.headers["Cache-Control"] == "public, max-age=300"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert re.fullmatch(r'"[!#-~]+"', answer.headers["ETag"]), "a strong validator (RFC 9110 section 8.8.3)"
    assert "Set-Cookie" not in answer.headers
    assert "Vary" not in answer.headers


@pytest.mark.parametrize("algorithm", KINDS)
def test_every_key_has_its_public_members_and_never_a_private_one(
    algorithm: str, gateway_with: Callable[..., GatewayProcess]
) -> None:
    with client_of(gateway_with(signing_algorithm=algorithm)) as client:
        keys = keys_of(client)
        assert len(keys) == 2, "the current key and the next one"
        for key in keys:
            assert key.keys() == {"kty", "use", "alg", "kid"} | PUBLIC_MEMBERS[algorithm]
            assert (key["kty"], key["use"], key["alg"]) == (KINDS[algorithm], "sig", algorithm)


@pytest.mark.parametrize("algorithm", KINDS)
def test_a_kid_is_the_thumbprint_of_its_key(algorithm: str, gateway_with: Callable[..., GatewayProcess]) -> None:
    """RFC 7638 section 3."""
    with client_of(gateway_with(signing_algorithm=algorithm)) as client:
        for key in keys_of(client):
            required = {name: key[name] for name in sorted(PUBLIC_MEMBERS[algorithm] | {"kty"})}
            digest = hashlib.sha256(json.dumps(required, separators=(",", ":")).encode()).digest()
            assert key["kid"] == base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


@pytest.mark.parametrize("algorithm", KINDS)
def test_the_first_key_verifies_what_is_signed_now(algorithm: str, gateway_with: Callable[..., GatewayProcess]) -> None:
    gateway = gateway_with(signing_algorithm=algorithm)
    with client_of(gateway) as client:
        token = log_in(gateway, client).access_token
        current = keys_of(client)[0]
    assert jwt.get_unverified_header(token) == {"alg": algorithm, "typ": "at+jwt", "kid": current["kid"]}
    if algorithm == "Ed25519":  # which PyJWT does not know yet
        joserfc_jwt.decode(token, joserfc_jwk.import_key(current), algorithms=[algorithm])
    else:
        jwt.decode(token, jwt.PyJWK(current), algorithms=[algorithm], audience=gateway.url, issuer=gateway.url)


@pytest.mark.parametrize(
    "known",
    [
        ["{}"],
        ["W/{}"],
        ['"other", {}'],
        ['"other",{},"another"'],
        ['W/"other", W/{}'],
        ['"other"', "{}"],
        ["*"],
        [",, {} ,"],
    ],
    ids=str,
)
def test_who_has_the_jwks_already_gets_a_304(known: list[str], client: httpx2.Client) -> None:
    """RFC 9110 section 13.1.2: the comparison is the weak one."""
    full = client.get(JWKS)
    headers = [("If-None-Match", value.format(full.headers["ETag"])) for value in known]
    answer = client.get(JWKS, headers=headers)
    assert answer.status_code == 304
    assert answer.content == b""
    for name in ("ETag", "Cache-Control", "Access-Control-Allow-Origin"):
        assert answer.headers[name] == full.headers[name]


@pytest.mark.parametrize("known", ["", '"other"', 'W/"other"', "{bare}", '"{bare}x"', '"x{bare}"', '"*"'])
def test_who_has_another_jwks_gets_this_one(known: str, client: httpx2.Client) -> None:
    full = client.get(JWKS)
    asked = {"If-None-Match": known.replace("{bare}", full.headers["ETag"].strip('"'))}
    assert comparable(client.get(JWKS, headers=asked)) == comparable(full)


def test_head_of_the_jwks_is_as_get_and_knows_304(client: httpx2.Client) -> None:
    full, head = client.get(JWKS), client.head(JWKS)
    assert head.content == b""
    assert comparable(head)[:2] == comparable(full)[:2]
    assert client.head(JWKS, headers={"If-None-Match": full.headers["ETag"]}).status_code == 304


def test_the_jwks_is_the_same_for_everybody_and_every_time(standing: Session) -> None:
    plain = comparable(standing.client.get(JWKS))
    assert comparable(standing.client.get(JWKS)) == plain
    assert comparable(standing.client.get(JWKS, headers=standing.bearer | {"Origin": "https://a.example"})) == plain
    assert comparable(standing.client.get(JWKS, params={"kid": "x", "access_token": "x"})) == plain


def test_two_gateways_publish_the_same_jwks(make_gateway: Callable[..., GatewayProcess]) -> None:
    bodies = []
    for gateway in (make_gateway(), make_gateway()):
        with client_of(gateway) as client:
            answer = client.get(JWKS)
            bodies.append((answer.headers["ETag"], answer.content))
    assert bodies[0] == bodies[1]


@pytest.mark.parametrize("path", METADATA_PATHS)
def test_the_metadata_says_what_there_is_and_what_clients_insist_on_and_nothing_more(
    path: str, gateway: GatewayProcess, client: httpx2.Client
) -> None:
    """Shows ASVS 10.4.4, RFC 9700 2.4, RFC 9700 2.6a."""
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "public, max-age=300"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    methods = ["client_secret_basic", "client_secret_post", "private_key_jwt"]
    algorithms = ["RS256", "PS256", "ES256", "Ed25519", "EdDSA"]
    endpoints = {"token": "token", "introspection": "introspect", "revocation": "revoke"}
    assert answer.json() == {
        "issuer": gateway.url,
        "jwks_uri": f"{gateway.url}{JWKS}",
        **{f"{name}_endpoint": f"{gateway.url}/oauth/{path}" for name, path in endpoints.items()},
        **{f"{name}_endpoint_auth_methods_supported": methods for name in endpoints},
        **{f"{name}_endpoint_auth_signing_alg_values_supported": algorithms for name in endpoints},
        "grant_types_supported": ["client_credentials"],
        "response_types_supported": [],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "status_list_aggregation_endpoint": f"{gateway.url}/status/lists",
    }
    assert client.get(answer.json()["jwks_uri"]).status_code == 200


@pytest.mark.parametrize("issuer", [HTTPS_ISSUER, "https://Example.test:443", "http://localhost:1234"])
def test_the_issuer_is_byte_for_byte_that_of_the_settings_and_of_the_tokens(
    issuer: str, gateway_with: Callable[..., GatewayProcess]
) -> None:
    gateway = gateway_with(issuer=issuer)
    with client_of(gateway) as client:
        assert {client.get(path).json()["issuer"] for path in METADATA_PATHS} == {issuer}
        claims = jwt.decode(log_in(gateway, client).access_token, options={"verify_signature": False})
        assert claims["iss"] == issuer
        assert claims["aud"] == issuer
