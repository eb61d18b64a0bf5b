"""POST /oauth/token over HTTP: what RFC 6749 sections 2.3, 4.4 and 5, RFC 7523, 10070 and 8707 ask for."""

import base64
import secrets
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote_plus

import httpx2
import jwt
import pytest

from tests.harness import GatewayProcess
from tests.machines.clients import (
    GRANT,
    JWT_BEARER,
    KeyedService,
    Service,
    add_client,
    add_keyed_client,
)
from tests.web.asking import client_of
from tests.web.oauth.audiences import API, OTHER

BASIC = 'Basic realm="token-gateway", charset="UTF-8"'
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def keyed(asked: GatewayProcess) -> KeyedService:
    """Give a client with a key."""
    return add_keyed_client(asked.env)


def claims_of(answer: httpx2.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    claims: dict[str, Any] = jwt.decode(answer.json()["access_token"], options={"verify_signature": False})
    return claims


def basic(client_id: str, secret: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()}


def refusal(answer: httpx2.Response) -> str:
    """Give the error of an answer that is as RFC 6749 section 5.2 has it."""
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Pragma"] == "no-cache"
    assert "X-Request-Id" in answer.headers
    body = answer.json()
    assert body.keys() == {"error", "error_description"}
    assert all(character in " !" or "#" <= character <= "~" for character in body["error_description"])
    assert "\\" not in body["error_description"]
    assert answer.status_code == (401 if body["error"] == "invalid_client" else 400)
    code: str = body["error"]
    return code


def test_a_client_gets_a_token_that_the_public_keys_verify(
    asked: GatewayProcess, client: httpx2.Client, service: Service
) -> None:
    answer = client.post("/oauth/token", data=GRANT, auth=service.auth)
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Pragma"] == "no-cache"
    assert "Set-Cookie" not in answer.headers
    assert answer.json().keys() == {"access_token", "token_type", "expires_in"}
    assert (answer.json()["token_type"], answer.json()["expires_in"]) == ("Bearer", 600)
    key = jwt.PyJWK(client.get("/.well-known/jwks.json").json()["keys"][0])
    claims = jwt.decode(answer.json()["access_token"], key, algorithms=["RS256"], audience=API, issuer=asked.url)
    assert claims == {
        "iss": asked.url,
        "sub": service.client_id,
        "client_id": service.client_id,
        "aud": API,
        "roles": ["reader", "writer"],
        "iat": claims["iat"],
        "exp": claims["iat"] + 600,
        "jti": claims["jti"],
    }
    assert jwt.get_unverified_header(answer.json()["access_token"])["typ"] == "at+jwt"


@pytest.mark.parametrize(
    "encode",
    [str, quote_plus, lambda text: "".join(f"%{ord(letter):02X}" for letter in text)],
    ids=["raw", "form", "all"],
)
def test_basic_has_id_and_secret_urlencoded_or_not(
    encode: Callable[[str], str], client: httpx2.Client, service: Service
) -> None:
    """RFC 6749 section 2.3.1; many clients leave it out, and some encode the unreserved too."""
    headers = basic(encode(service.client_id), encode(service.secret))
    claims_of(client.post("/oauth/token", data=GRANT, headers=headers))


def test_the_scheme_of_basic_has_no_case(client: httpx2.Client, service: Service) -> None:
    headers = {"Authorization": basic(*service.auth)["Authorization"].replace("Basic", "bAsIc")}
    claims_of(client.post("/oauth/token", data=GRANT, headers=headers))


def test_a_client_authenticates_in_the_form(client: httpx2.Client, service: Service) -> None:
    claims_of(client.post("/oauth/token", data=GRANT | service.form))


def test_the_id_may_come_along_with_basic_and_with_an_assertion(
    asked: GatewayProcess, client: httpx2.Client, service: Service, keyed: KeyedService
) -> None:
    named = GRANT | {"client_id": service.client_id}
    claims_of(client.post("/oauth/token", data=named, auth=service.auth))
    claims_of(client.post("/oauth/token", data=keyed.form(asked.url) | {"client_id": keyed.client_id}))


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "Ed25519", "EdDSA"])
def test_a_client_authenticates_by_a_key_of_every_kind(
    algorithm: str, asked: GatewayProcess, client: httpx2.Client
) -> None:
    keyed = add_keyed_client(asked.env, algorithm, {"kid": "the first", "alg": algorithm})
    form = keyed.form(asked.url, header={"kid": "the first"})
    assert claims_of(client.post("/oauth/token", data=form))["sub"] == keyed.client_id


def test_an_assertion_is_good_once(asked: GatewayProcess, client: httpx2.Client, keyed: KeyedService) -> None:
    """Shows ASVS 10.4.16."""
    form = keyed.form(asked.url)
    claims_of(client.post("/oauth/token", data=form))
    for path in ("token", "introspect", "revoke"):
        assert refusal(client.post(f"/oauth/{path}", data=form | {"token": "x"})) == "invalid_client"
    jti = secrets.token_hex(8)
    claims_of(client.post("/oauth/token", data=keyed.form(asked.url, jti=jti)))
    assert refusal(client.post("/oauth/token", data=keyed.form(asked.url, jti=jti))) == "invalid_client"


def test_a_jti_is_the_clients_own(asked: GatewayProcess, client: httpx2.Client, keyed: KeyedService) -> None:
    """Else one client could use up those of another."""
    jti, other = secrets.token_hex(8), add_keyed_client(asked.env)
    for one in (keyed, other):
        claims_of(client.post("/oauth/token", data=one.form(asked.url, jti=jti)))


def test_an_assertion_that_is_refused_uses_nothing_up(
    asked: GatewayProcess, client: httpx2.Client, keyed: KeyedService
) -> None:
    jti = secrets.token_hex(8)
    assert refusal(client.post("/oauth/token", data=keyed.form("https://x.example", jti=jti))) == "invalid_client"
    claims_of(client.post("/oauth/token", data=keyed.form(asked.url, jti=jti)))


@pytest.mark.parametrize("aud", ["{}/oauth/token", "{}/", ["{}"], ["{}", "{}/oauth/token"], ""])
def test_an_assertion_is_for_the_issuer_alone(
    aud: Any, asked: GatewayProcess, client: httpx2.Client, keyed: KeyedService
) -> None:
    """RFC 10070 section 4."""
    filled = [one.format(asked.url) for one in aud] if isinstance(aud, list) else aud.format(asked.url)
    assert refusal(client.post("/oauth/token", data=keyed.form(asked.url, aud=filled))) == "invalid_client"


def test_without_an_audience_it_is_the_clients_first(client: httpx2.Client, service: Service) -> None:
    assert claims_of(client.post("/oauth/token", data=GRANT, auth=service.auth))["aud"] == API


@pytest.mark.parametrize("name", ["audience", "resource"])
def test_a_client_asks_for_one_of_its_audiences(
    name: str, asked: GatewayProcess, client: httpx2.Client, service: Service
) -> None:
    for audience in (API, asked.url):
        answer = client.post("/oauth/token", data=GRANT | {name: audience}, auth=service.auth)
        assert claims_of(answer)["aud"] == audience


@pytest.mark.parametrize(
    "pairs",
    [
        [("audience", OTHER)],
        [("resource", OTHER)],
        [("audience", API + "/")],
        [("audience", API.upper())],
        [("resource", API), ("resource", "http://127.0.0.1")],
        [("audience", API), ("resource", OTHER)],
        [("resource", API + "#fragment")],
        [("resource", "/relative")],
        [("resource", "api")],
    ],
    ids=str,
)
def test_another_audience_or_several_are_no_target(
    pairs: list[tuple[str, str]], client: httpx2.Client, service: Service
) -> None:
    """RFC 8707 section 2. Shows ASVS 9.2.4, RFC 9700 2.3."""
    body = "&".join(f"{name}={quote_plus(value)}" for name, value in [*GRANT.items(), *pairs])
    answer = client.post("/oauth/token", content=body, headers=FORM, auth=service.auth)
    assert refusal(answer) == "invalid_target"


def test_one_target_may_be_named_twice(client: httpx2.Client, service: Service) -> None:
    both = GRANT | {"audience": API, "resource": API}
    assert claims_of(client.post("/oauth/token", data=both, auth=service.auth))["aud"] == API


def test_an_audience_that_left_the_settings_is_none_of_the_clients(
    make_gateway: Callable[..., GatewayProcess],
) -> None:
    before, after = make_gateway(audiences=API, start=False), make_gateway()
    service = add_client(before.env, audiences=(API,))
    with client_of(after) as client:
        for form in (GRANT, GRANT | {"audience": API}, GRANT | {"audience": after.url}):
            assert refusal(client.post("/oauth/token", data=form, auth=service.auth)) == "invalid_target"


@pytest.mark.parametrize(("scope", "roles"), [("reader", ["reader"]), ("writer reader", ["reader", "writer"])])
def test_scope_leaves_the_token_these_roles_alone(
    scope: str, roles: list[str], client: httpx2.Client, service: Service
) -> None:
    """Shows ASVS 10.3.2, RFC 9700 2.3."""
    answer = client.post("/oauth/token", data=GRANT | {"scope": scope}, auth=service.auth)
    assert claims_of(answer)["roles"] == roles
    assert "scope" not in answer.json()


@pytest.mark.parametrize("scope", ["admin", "reader admin", "reader,writer", "READER", "reader  writer", " "])
def test_a_scope_that_is_no_role_of_the_client_is_none(scope: str, client: httpx2.Client, service: Service) -> None:
    """Shows ASVS 10.4.11."""
    answer = client.post("/oauth/token", data=GRANT | {"scope": scope}, auth=service.auth)
    assert refusal(answer) == "invalid_scope"


REQUESTS: list[tuple[str, str, str]] = [
    ("grant_type={grant}&client_id={id}", "", "invalid_client"),
    ("grant_type={grant}", "", "invalid_client"),
    ("grant_type={grant}&client_id={id}&client_secret=wrong", "", "invalid_client"),
    ("grant_type={grant}&client_id={nobody}&client_secret={secret}", "", "invalid_client"),
    ("grant_type={grant}&client_secret={secret}", "", "invalid_request"),
    ("grant_type={grant}", "Basic {wrong}", "invalid_client"),
    ("grant_type={grant}", "Basic !", "invalid_client"),
    ("grant_type={grant}", "Basic", "invalid_client"),
    ("grant_type={grant}", "Basic Og==", "invalid_client"),
    ("grant_type={grant}", "Basic /////w==", "invalid_client"),
    ("grant_type={grant}", "Bearer {secret}", "invalid_client"),
    ("grant_type={grant}&client_id={id}&client_secret={secret}", "Basic {right}", "invalid_request"),
    ("grant_type={grant}&client_id={nobody}", "Basic {right}", "invalid_request"),
    ("", "Basic {right}", "invalid_request"),
    ("grant_type=", "Basic {right}", "invalid_request"),
    ("grant_type={grant}&grant_type={grant}", "Basic {right}", "invalid_request"),
    ("grant_type={grant}&x=1&x=2", "Basic {right}", "invalid_request"),
    ("grant_type={grant}&scope=reader&scope=writer", "Basic {right}", "invalid_request"),
    ("grant_type={grant}&audience=a&audience=b", "Basic {right}", "invalid_request"),
    ("grant_type=password&username=a&password=b", "Basic {right}", "unsupported_grant_type"),
    ("grant_type=authorization_code&code=x", "Basic {right}", "unsupported_grant_type"),
    ("grant_type=refresh_token&refresh_token=x", "Basic {right}", "unsupported_grant_type"),
    ("grant_type=CLIENT_CREDENTIALS", "Basic {right}", "unsupported_grant_type"),
    ("grant_type={grant}&client_assertion=x", "", "invalid_request"),
    ("grant_type={grant}&client_assertion_type={jwt}", "", "invalid_request"),
    ("grant_type={grant}&client_assertion_type=x&client_assertion=x", "", "invalid_client"),
    ("grant_type={grant}&client_assertion_type={jwt}&client_assertion=x", "", "invalid_client"),
    ("grant_type={grant}&client_assertion_type={jwt}&client_assertion=x", "Basic {right}", "invalid_request"),
    ("grant_type={grant}&%ff=1", "Basic {right}", "invalid_request"),
    ("&".join(f"a{number}=1" for number in range(51)), "Basic {right}", "invalid_request"),
]


@pytest.mark.parametrize(
    ("body", "authorization", "code"), REQUESTS, ids=[f"{one[0][:60]} {one[1]}" for one in REQUESTS]
)
def test_a_bad_request_is_refused_in_the_words_of_the_rfc(
    body: str, authorization: str, code: str, client: httpx2.Client, service: Service
) -> None:
    """Shows ASVS 10.4.4, RFC 9700 2.4."""
    words = {
        "grant": "client_credentials",
        "id": service.client_id,
        "secret": service.secret,
        "nobody": "cli_" + "x" * 22,
        "jwt": quote_plus(JWT_BEARER),
        "right": basic(*service.auth)["Authorization"].removeprefix("Basic "),
        "wrong": basic(service.client_id, service.secret[:-1])["Authorization"].removeprefix("Basic "),
    }
    headers = FORM | ({"Authorization": authorization.format(**words)} if authorization else {})
    answer = client.post("/oauth/token", content=body.format(**words), headers=headers)
    assert refusal(answer) == code
    assert service.secret not in answer.text


def test_basic_is_told_to_who_tried_it_or_nothing(client: httpx2.Client, service: Service) -> None:
    """RFC 6749 section 5.2. Some clients read no body when there is a challenge."""
    wrong = service.form | {"client_secret": "wrong"}
    assert client.post("/oauth/token", data=GRANT, auth=("x", "y")).headers["WWW-Authenticate"] == BASIC
    assert client.post("/oauth/token", data=GRANT).headers["WWW-Authenticate"] == BASIC
    assert "WWW-Authenticate" not in client.post("/oauth/token", data=GRANT | wrong).headers
    assertion = {"client_assertion_type": JWT_BEARER, "client_assertion": "x"}
    assert "WWW-Authenticate" not in client.post("/oauth/token", data=GRANT | assertion).headers


def test_an_unknown_client_and_a_wrong_secret_get_one_answer(client: httpx2.Client, service: Service) -> None:
    """Shows ASVS 10.4.10."""
    answers = {
        client.post("/oauth/token", data=GRANT, auth=auth).content
        for auth in [(service.client_id, "wrong"), ("cli_" + "x" * 22, "wrong"), ("x\ny", "wrong"), ("ü", "wrong")]
    }
    assert len(answers) == 1


def test_two_headers_of_authorization_are_refused(client: httpx2.Client, service: Service) -> None:
    header = basic(*service.auth)["Authorization"]
    answer = client.post("/oauth/token", data=GRANT, headers=[("Authorization", header), ("Authorization", header)])
    assert refusal(answer) == "invalid_request"


def test_empty_and_unknown_parameters_are_as_none(client: httpx2.Client, service: Service) -> None:
    """RFC 6749 section 3.2."""
    body = (
        "grant_type=client_credentials&scope=&audience=&resource=&client_id=&client_secret=&foo=bar&client_assertion="
    )
    answer = client.post("/oauth/token", content=body, headers=FORM, auth=service.auth)
    assert claims_of(answer)["roles"] == ["reader", "writer"]


@pytest.mark.parametrize(
    "kind", ["application/x-www-form-urlencoded; charset=UTF-8", "APPLICATION/X-WWW-FORM-URLENCODED"]
)
def test_a_form_may_name_its_charset(kind: str, client: httpx2.Client, service: Service) -> None:
    body = "grant_type=client_credentials"
    claims_of(client.post("/oauth/token", content=body, headers={"Content-Type": kind}, auth=service.auth))


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=x", "text/plain", None])
def test_another_body_is_no_request(kind: str | None, client: httpx2.Client, service: Service) -> None:
    headers = {"Content-Type": kind} if kind else {}
    body = '{"grant_type":"client_credentials"}'
    assert refusal(client.post("/oauth/token", content=body, headers=headers, auth=service.auth)) == "invalid_request"


@pytest.mark.parametrize("name", ["client_secret", "client_id", "grant_type", "token", "client_assertion"])
def test_parameters_do_not_belong_in_the_query(name: str, client: httpx2.Client, service: Service) -> None:
    answer = client.post("/oauth/token", params={name: "x"}, data=GRANT, auth=service.auth)
    assert refusal(answer) == "invalid_request"


def test_a_body_that_is_too_large_is_a_problem(client: httpx2.Client, service: Service) -> None:
    answer = client.post("/oauth/token", data=GRANT | {"x": "x" * 16_384}, auth=service.auth)
    assert answer.status_code == 413
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_the_token_passes_the_subrequest_and_is_told_as_the_clients(
    asked: GatewayProcess, client: httpx2.Client, service: Service
) -> None:
    token = service.token(client, audience=asked.url)
    answer = client.get("/api/authz/auth-request?role=reader", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200
    assert answer.headers["Remote-User"] == answer.headers["Remote-Sub"] == service.client_id
    assert answer.headers["Remote-Groups"] == "reader,writer"
    assert answer.headers["Remote-Email"] == answer.headers["Remote-Name"] == ""
    other = client.get(
        "/api/authz/auth-request", headers={"Authorization": f"Bearer {service.token(client, audience=API)}"}
    )
    assert other.status_code == 401


def test_an_application_behind_the_proxy_gets_a_token_of_the_client(
    asked: GatewayProcess, client: httpx2.Client, service: Service
) -> None:
    token = service.token(client, audience=asked.url)
    answer = client.get(f"/api/authz/auth-request?token={API}", headers={"Authorization": f"Bearer {token}"})
    claims = jwt.decode(answer.headers["Remote-Access-Token"], options={"verify_signature": False})
    assert (claims["sub"], claims["client_id"], claims["aud"]) == (service.client_id, service.client_id, API)
    assert "sid" not in claims


def test_addresses_and_clients_have_a_limit_each(make_gateway: Callable[..., GatewayProcess]) -> None:
    gateway = make_gateway(refresh_limit="5/hour", trusted_proxies="127.0.0.1")
    one, other = add_client(gateway.env), add_client(gateway.env)
    with client_of(gateway) as client:

        def ask(address: str, **options: Any) -> httpx2.Response:
            return client.post("/oauth/token", headers={"X-Forwarded-For": address}, data=GRANT, **options)

        for left in range(4, -1, -1):
            answer = ask("192.0.2.1", auth=one.auth)
            assert answer.headers["RateLimit"].startswith(f'"oauth";r={left};')
        refused = ask("192.0.2.1", auth=other.auth)
        assert refused.status_code == 429
        assert refused.headers["Content-Type"] == "application/problem+json"
        assert int(refused.headers["Retry-After"]) > 0
        assert refused.headers["RateLimit-Policy"] == '"oauth";q=5;w=3600'
        refused = ask("192.0.2.2", auth=one.auth)
        assert refused.status_code == 429
        assert refused.headers["RateLimit-Policy"] == '"oauth-client";q=5;w=3600'
        assert ask("192.0.2.2", auth=other.auth).status_code == 200


def test_failures_at_all_three_endpoints_count_against_the_address(make_gateway: Callable[..., GatewayProcess]) -> None:
    gateway = make_gateway(refresh_limit="4/hour")
    service = add_client(gateway.env)
    with client_of(gateway) as client:
        form = GRANT | {"token": "x"}
        statuses = [
            client.post(f"/oauth/{path}", data=form, auth=(service.client_id, "wrong")).status_code
            for path in ("token", "introspect", "revoke", "introspect", "introspect", "revoke", "token")
        ]
        assert statuses == [401, 401, 401, 401, 429, 429, 429]
        for path in ("introspect", "revoke"):
            assert client.post(f"/oauth/{path}", data=form, auth=service.auth).status_code == 200, (
                "who is known goes on"
            )


def test_a_stranger_who_knows_the_id_does_not_use_up_the_clients_limit(
    make_gateway: Callable[..., GatewayProcess],
) -> None:
    gateway = make_gateway(refresh_limit="3/hour", trusted_proxies="127.0.0.1")
    service = add_client(gateway.env)
    with client_of(gateway) as client:
        for number in range(4):
            headers = {"X-Forwarded-For": f"192.0.2.{number}"}
            answer = client.post("/oauth/token", headers=headers, data=GRANT, auth=(service.client_id, "wrong"))
            assert answer.status_code == 401
        headers = {"X-Forwarded-For": "192.0.2.9"}
        assert client.post("/oauth/token", headers=headers, data=GRANT, auth=service.auth).status_code == 200


def test_an_expired_assertion_is_refused(asked: GatewayProcess, client: httpx2.Client, keyed: KeyedService) -> None:
    past = int(time.time()) - 1  # noqa: TID251 - the gateway has this clock
    assert refusal(client.post("/oauth/token", data=keyed.form(asked.url, exp=past))) == "invalid_client"
