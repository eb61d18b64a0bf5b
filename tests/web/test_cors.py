from collections.abc import Callable, Iterator

import httpx2
import pytest

from tests.harness import GatewayProcess
from tests.web.asking import APP_ORIGIN, CASES, METADATA_PATHS, METHODS, Case, Session, client_of, in_latin_1, log_in

SECOND_ORIGIN = "http://localhost:3000"
STRANGERS = (
    "https://evil.example",
    "null",
    "https://app.example.test.evil.example",
    "https://sub.app.example.test",
    "http://app.example.test",
    "https://app.example.test:8443",
    "https://app.example.test/",
    "HTTPS://APP.EXAMPLE.TEST",
    "*",
    "",
)
AUTH_CASES = [case for case in CASES if case.path.startswith("/auth/")]
AUTH_PATHS = [path for path in METHODS if path.startswith("/auth/")]


@pytest.fixture
def shop(gateway_with: Callable[..., GatewayProcess]) -> Iterator[Session]:
    """Give a session of a gateway that two foreign origins may call."""
    gateway = gateway_with(allowed_origins=f"{APP_ORIGIN},{SECOND_ORIGIN}", login_limit="10000/second")
    with client_of(gateway) as client:
        yield log_in(gateway, client)


def cors_headers(answer: httpx2.Response) -> set[str]:
    return {name for name in answer.headers if name.startswith("access-control-")}


@pytest.mark.parametrize("case", AUTH_CASES, ids=str)
def test_an_allowed_origin_may_read_every_answer_errors_included(case: Case, shop: Session) -> None:
    answer = case.ask(shop, Origin=APP_ORIGIN) if case.slug != "cross-site-request" else case.ask(shop)
    if case.slug != "cross-site-request":
        assert answer.status_code == case.status
        assert answer.headers.get_list("Access-Control-Allow-Origin") == [APP_ORIGIN]
        assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    assert "Origin" in answer.headers["Vary"]


@pytest.mark.parametrize("origin", STRANGERS)
@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
def test_any_other_origin_may_read_nothing(method: str, origin: str, shop: Session) -> None:
    """Shows ASVS 3.4.2."""
    headers = shop.bearer | {"Origin": origin, "Access-Control-Request-Method": "GET"}
    answer = shop.client.request(method, "/auth/me", headers=headers)
    assert not cors_headers(answer)
    assert "Origin" in answer.headers["Vary"]


@pytest.mark.parametrize("case", AUTH_CASES, ids=str)
def test_no_answer_under_auth_has_a_wildcard(case: Case, shop: Session) -> None:
    """Shows ASVS 3.4.2."""
    answer = case.ask(shop, Origin="https://evil.example")
    assert not cors_headers(answer)


@pytest.mark.parametrize("origin", [APP_ORIGIN, SECOND_ORIGIN])
@pytest.mark.parametrize("path", AUTH_PATHS)
def test_a_preflight_of_an_allowed_origin_allows_what_the_endpoints_take(path: str, origin: str, shop: Session) -> None:
    method = max(METHODS[path] - {"HEAD"})
    answer = shop.client.options(
        path.format(sid=shop.sid),
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": "authorization,content-type",
            "Sec-Fetch-Site": "cross-site",
        },
    )
    assert answer.status_code == 204
    assert answer.content == b""
    assert answer.headers["Access-Control-Allow-Origin"] == origin
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    assert method in answer.headers["Access-Control-Allow-Methods"].split(", ")
    allowed = {name.lower() for name in answer.headers["Access-Control-Allow-Headers"].split(", ")}
    assert allowed >= {"authorization", "content-type"}
    assert "*" not in "".join(answer.headers[name] for name in cors_headers(answer))
    assert answer.headers["Cache-Control"] == "no-store"
    assert shop.is_alive()


ASKED = (
    "x-requested-with",
    "traceparent,baggage,sentry-trace",
    "authorization, x-csrf-token ,if-match",
    "X_Odd!#$%&'*+.^`|~9",
)


def names_in(asked: str) -> list[str]:
    return [name.strip() for name in asked.split(",") if name]


def allowed_headers(answer: httpx2.Response) -> list[str]:
    return answer.headers["Access-Control-Allow-Headers"].split(", ")


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("path", ["/auth/login", "/auth/me"])
def test_a_preflight_of_an_allowed_origin_is_allowed_whatever_headers_it_asks_for(
    path: str, asked: str, shop: Session
) -> None:
    headers = {"Origin": APP_ORIGIN, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": asked}
    answer = shop.client.options(path, headers=headers)
    assert answer.status_code == 204
    assert allowed_headers(answer) == names_in(asked)
    assert {"Origin", "Access-Control-Request-Headers"} <= set(answer.headers["Vary"].split(", "))


def test_of_a_preflight_what_is_no_name_of_a_header_does_not_come_back(shop: Session) -> None:
    for asked in ("", "*,\xe9", "x y", "a;b", '"quoted"', ",", "a,"):
        headers = {b"Origin": APP_ORIGIN.encode(), b"Access-Control-Request-Method": b"GET"}
        sent = headers | in_latin_1("Access-Control-Request-Headers", asked)
        answer = shop.client.options("/auth/me", headers=sent)
        assert set(allowed_headers(answer)) <= {"Authorization", "Content-Type", "*", "a"}


@pytest.mark.parametrize("asked", ["", *ASKED])
@pytest.mark.parametrize("path", ["/.well-known/jwks.json", *METADATA_PATHS, "/openapi.json"])
def test_a_preflight_of_a_public_document_is_for_every_origin(path: str, asked: str, shop: Session) -> None:
    """A page that sends a header of its own with the request for the keys asks first."""
    for origin in (APP_ORIGIN, "https://evil.example", "null"):
        headers = {"Origin": origin, "Access-Control-Request-Method": "GET"}
        answer = shop.client.options(
            path, headers=headers | ({"Access-Control-Request-Headers": asked} if asked else {})
        )
        assert (answer.status_code, answer.content) == (204, b"")
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert "GET" in answer.headers["Access-Control-Allow-Methods"]
        assert allowed_headers(answer) == (names_in(asked) or ["Authorization", "Content-Type"])
        assert "Access-Control-Allow-Credentials" not in answer.headers


def test_an_allowed_origin_may_see_when_to_try_again(shop: Session) -> None:
    answer = shop.client.post("/auth/login", json={}, headers={"Origin": APP_ORIGIN})
    exposed = {name.lower() for name in answer.headers["Access-Control-Expose-Headers"].split(", ")}
    assert exposed >= {"retry-after", "ratelimit", "ratelimit-policy"}


def test_a_429_can_be_read_by_an_allowed_origin(gateway_with: Callable[..., GatewayProcess]) -> None:
    gateway = gateway_with(allowed_origins=APP_ORIGIN, login_limit="1/day")
    with client_of(gateway) as client:
        body = {"username": "nobody@example.com", "password": "wrong"}
        answers = [client.post("/auth/login", json=body, headers={"Origin": APP_ORIGIN}) for _ in range(2)]
        assert answers[-1].status_code == 429
        assert answers[-1].headers["Access-Control-Allow-Origin"] == APP_ORIGIN


def test_without_allowed_origins_no_origin_is_answered(standing: Session) -> None:
    for origin in (standing.gateway.url, APP_ORIGIN, "null"):
        answer = standing.client.get("/auth/me", headers=standing.bearer | {"Origin": origin})
        assert answer.status_code == 200
        assert not cors_headers(answer)


def test_the_public_documents_are_for_every_origin_but_without_credentials(shop: Session) -> None:
    """Shows ASVS 3.4.2."""
    for path in ("/.well-known/jwks.json", "/.well-known/oauth-authorization-server", "/openapi.json"):
        for origin in (APP_ORIGIN, "https://evil.example"):
            answer = shop.client.get(path, headers={"Origin": origin})
            assert answer.headers["Access-Control-Allow-Origin"] == "*"
            assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/api/authz/auth-request", "/nothing"])
def test_nothing_else_has_cors(path: str, shop: Session) -> None:
    assert not cors_headers(shop.client.get(path, headers={"Origin": APP_ORIGIN}))
