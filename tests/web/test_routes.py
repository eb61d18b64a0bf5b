import pytest

from tests.harness import GatewayProcess
from tests.web.asking import CASES, METHODS, Answered, Case, Session, comparable, problem_of, send_raw, set_cookies

EVERY_METHOD = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")
CACHEABLE = (
    "/.well-known/jwks.json",
    "/.well-known/oauth-authorization-server",
    "/.well-known/openid-configuration",
    "/openapi.json",
)


def is_allowed_subrequest(case: Case) -> bool:
    return case.path.startswith("/api/authz/") and case.status == 200


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_route_gives_every_one_of_its_answers_with_its_headers(case: Case, answered: Answered) -> None:
    """
    T34: no cache keeps a token or what it opened; and no answer tells what the server is made of.

    Shows ASVS 4.1.2, ASVS 13.4.6, ASVS 14.2.2, ASVS 14.3.2, RFC 9700 4.12.
    """
    _, answer = answered(case)
    assert answer.status_code == case.status, answer.text
    is_public = case.path in CACHEABLE and case.status < 400
    assert answer.headers.get_list("Cache-Control") == ["public, max-age=300" if is_public else "no-store"]
    assert "Server" not in answer.headers
    assert "X-Powered-By" not in answer.headers
    assert "Location" not in answer.headers


@pytest.mark.parametrize("case", [case for case in CASES if case.status not in (204, 304)], ids=str)
def test_no_body_is_ever_taken_for_a_page(case: Case, answered: Answered) -> None:
    """Shows ASVS 3.2.1, ASVS 4.1.1."""
    _, answer = answered(case)
    if answer.content:
        assert answer.headers["Content-Type"] in ("application/json", "application/problem+json")


@pytest.mark.parametrize("case", [case for case in CASES if not is_allowed_subrequest(case)], ids=str)
def test_every_answer_lets_a_browser_do_nothing_with_it(case: Case, answered: Answered) -> None:
    """
    But an allowed subrequest, which no browser gets to see.

    Shows ASVS 3.2.1, ASVS 3.4.3, ASVS 3.4.4, ASVS 3.4.5, ASVS 3.4.6, ASVS 3.5.8.
    """
    _, answer = answered(case)
    assert answer.headers.get_list("X-Content-Type-Options") == ["nosniff"]
    assert answer.headers.get_list("Referrer-Policy") == ["no-referrer"]
    assert answer.headers.get_list("Cross-Origin-Resource-Policy") == ["same-origin"]
    [policy] = answer.headers.get_list("Content-Security-Policy")
    assert policy.split("; ") == ["default-src 'none'", "base-uri 'none'", "frame-ancestors 'none'"]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_length_that_is_told_is_the_length_of_the_body(case: Case, answered: Answered) -> None:
    """Shows ASVS 4.2.2."""
    _, answer = answered(case)
    assert "Transfer-Encoding" not in answer.headers
    if case.method != "HEAD" and case.status not in (204, 304):
        assert answer.headers.get_list("Content-Length") == [str(len(answer.content))]


@pytest.mark.parametrize("case", [case for case in CASES if case.status == 204], ids=str)
def test_a_204_has_no_body(case: Case, answered: Answered) -> None:
    """Shows ASVS 4.2.2."""
    _, answer = answered(case)
    assert answer.content == b""
    assert "Content-Type" not in answer.headers


@pytest.mark.parametrize("path", ["/auth/me", "/auth/sessions", "/.well-known/jwks.json", *CACHEABLE[1:], "/livez"])
def test_head_has_the_headers_of_get_and_no_body(path: str, session: Session) -> None:
    got = session.client.get(path, headers=session.bearer)
    head = session.client.head(path, headers=session.bearer)
    assert head.content == b""
    assert comparable(head)[:2] == comparable(got)[:2]


@pytest.mark.parametrize(
    ("method", "path"),
    [(method, path) for path, methods in METHODS.items() for method in EVERY_METHOD if method not in methods],
)
def test_a_wrong_method_is_a_405_that_names_the_right_ones(method: str, path: str, gateway: GatewayProcess) -> None:
    """Shows ASVS 4.1.4, ASVS 13.4.4."""
    answer = send_raw(gateway, f"{method} {path}")
    assert answer.status == 405
    [allow] = answer.values("Allow")
    assert set(allow.split(", ")) == METHODS[path]
    assert answer.values("Content-Type") == ["application/problem+json"]


@pytest.mark.parametrize("path", METHODS)
def test_a_trailing_slash_is_another_path_and_never_a_redirect(path: str, session: Session) -> None:
    """T27: a redirect would be built from the Host header."""
    method = min(METHODS[path] - {"HEAD"})
    answer = session.client.request(method, path.format(sid=session.sid) + "/", headers=session.bearer)
    problem_of(answer, 404, "not-found")
    assert session.is_alive()


@pytest.mark.parametrize(
    "path",
    [
        "//auth/login",
        "/auth//login",
        "/auth/./login",
        "/x/../auth/login",
        "/AUTH/LOGIN",
        "/auth/login;a=b",
        "/auth/login%00",
        "/auth/login%20",
        "/auth/%256cogin",
        "/auth%252flogin",
        "/auth/login/..",
        "/auth/login.json",
        "/auth\\login",
    ],
)
def test_another_spelling_of_a_path_is_another_path(path: str, gateway: GatewayProcess) -> None:
    """T30. Shows ASVS 1.1.1."""
    assert send_raw(gateway, f"POST {path}", "Content-Length: 0").status == 404


@pytest.mark.parametrize(
    "headers",
    [
        ["Host: evil.example"],
        ["Host: evil.example/admin?"],
        ["Host:"],
        ["X-Forwarded-Host: evil.example", "X-Forwarded-Proto: https", "Forwarded: host=evil.example;proto=https"],
    ],
    ids=str,
)
@pytest.mark.parametrize("path", CACHEABLE)
def test_no_host_that_a_client_sends_gets_into_an_answer(
    path: str, headers: list[str], gateway: GatewayProcess
) -> None:
    """T10."""
    usual = send_raw(gateway, f"GET {path}")
    answer = send_raw(gateway, f"GET {path}", *headers)
    assert answer.status == usual.status == 200
    assert answer.body == usual.body


def test_an_absolute_request_target_is_answered_as_its_path_is(gateway: GatewayProcess) -> None:
    """T10."""
    target = "http://evil.example/.well-known/oauth-authorization-server"
    assert send_raw(gateway, f"GET {target}").body == send_raw(gateway, f"GET {CACHEABLE[1]}").body


@pytest.mark.parametrize("name", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"])
def test_no_header_overrides_the_method(name: str, session: Session) -> None:
    """Shows ASVS 3.5.3, ASVS 4.1.4."""
    answer = session.client.post("/auth/me", headers=session.bearer | {name: "GET"})
    problem_of(answer, 405, "method-not-allowed")


@pytest.mark.parametrize("method", ["POST", "DELETE", "GET"])
def test_no_get_or_foreign_method_logs_in(method: str, session: Session) -> None:
    """Shows ASVS 3.5.3, ASVS 7.6.2."""
    credentials = {"username": session.user.email, "password": session.user.password}
    if method == "POST":
        assert session.client.post("/auth/login", json=credentials).status_code == 200
    else:
        answer = session.client.request(method, "/auth/login", params=credentials)
        assert answer.status_code == (200 if method == "GET" else 405)
        assert not set_cookies(answer)
        assert session.user.password not in answer.text
