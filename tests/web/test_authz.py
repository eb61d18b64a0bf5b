import random
import re
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote, urlencode

import httpx2
import pytest

from gateway.state import Gateway
from tests.harness import PASSWORD, GatewayProcess, TestUser, in_gateway, wait_until
from tests.web.asking import (
    AUTHZ_PATHS,
    CHALLENGE,
    INVALID_TOKEN,
    Session,
    client_of,
    comparable,
    log_in,
    problem_of,
    send_raw,
)

FAMILIES = {
    "remote": ("Remote-User", "Remote-Groups", "Remote-Name", "Remote-Email", "Remote-Sub"),
    "x-auth-request": (
        "X-Auth-Request-User",
        "X-Auth-Request-Groups",
        "X-Auth-Request-Preferred-Username",
        "X-Auth-Request-Email",
        "X-Auth-Request-Subject",
    ),
    "x-forwarded": (
        "X-Forwarded-User",
        "X-Forwarded-Groups",
        "X-Forwarded-Preferred-Username",
        "X-Forwarded-Email",
        "X-Forwarded-Subject",
    ),
}
EVERY_IDENTITY_HEADER = {name.lower() for names in FAMILIES.values() for name in names}
WITH_QUERY = AUTHZ_PATHS[:2]
ENVOY = "/api/authz/ext-authz"


def identity(answer: httpx2.Response) -> dict[str, str]:
    """Give all identity headers of an answer, of whatever family."""
    found = [(name, value) for name, value in answer.headers.multi_items() if name in EVERY_IDENTITY_HEADER]
    assert len(dict(found)) == len(found), "an identity header is there twice"
    return dict(found)


def ask(session: Session, path: str = AUTHZ_PATHS[0]) -> httpx2.Response:
    return session.client.get(path, headers=session.bearer)


# ------------------------------------------------------------------------------------------------------------- allowed


@pytest.mark.parametrize("path", AUTHZ_PATHS)
def test_allowed_is_exactly_200_with_every_identity_header_no_body_and_no_cookie(path: str, standing: Session) -> None:
    answer = ask(standing, path)
    assert answer.status_code == 200
    assert answer.content == b""
    assert answer.headers["Content-Length"] == "0"
    assert "Content-Type" not in answer.headers
    assert "Set-Cookie" not in answer.headers
    assert identity(answer) == {
        "remote-user": standing.user.email,
        "remote-groups": "staff,ops",
        "remote-name": "Ann Example",
        "remote-email": standing.user.email,
        "remote-sub": standing.user.user_id,
    }


@pytest.mark.parametrize("setting", ["x-auth-request", "x-forwarded"])
def test_the_identity_headers_have_the_names_that_the_setting_says_and_no_others(
    setting: str, gateway_with: Callable[..., GatewayProcess]
) -> None:
    gateway = gateway_with(identity_headers=setting)
    with client_of(gateway) as client:
        session = log_in(gateway, client, gateway.add_user(name="Ben", roles=("a", "b")))
        user, groups, name, email, subject = (header.lower() for header in FAMILIES[setting])
        assert identity(ask(session)) == {
            user: session.user.email,
            groups: "a,b",
            name: "Ben",
            email: session.user.email,
            subject: session.user.user_id,
        }


def test_an_identity_header_is_there_and_empty_when_there_is_nothing_to_say(
    gateway: GatewayProcess, client: httpx2.Client
) -> None:
    """T7: a proxy that copies what it finds would let the client's own header through otherwise."""
    found = identity(ask(log_in(gateway, client, gateway.add_user(name="", roles=()))))
    assert found["remote-name"] == ""
    assert found["remote-groups"] == ""
    assert len(found) == 5


def test_without_an_email_in_the_token_the_user_is_the_subject(gateway_with: Callable[..., GatewayProcess]) -> None:
    gateway = gateway_with(access_token_claims="name")
    with client_of(gateway) as client:
        session = log_in(gateway, client)
        found = identity(ask(session))
        assert found["remote-user"] == found["remote-sub"] == session.user.user_id
        assert found["remote-email"] == ""
        assert found["remote-name"] == "Ann Example"


@pytest.mark.parametrize(
    ("name", "encoded"),
    [
        ("Zoë 100%", "Zo%C3%AB 100%25"),
        ("\u6f22", "%E6%BC%A2"),
        ("\U0001f600", "%F0%9F%98%80"),
        ('O\'Neil, "Jo" <jo@x> & co; a=b+c/d\\~', 'O\'Neil, "Jo" <jo@x> & co; a=b+c/d\\~'),
        ("%41", "%2541"),
    ],
)
def test_what_is_not_visible_ascii_or_a_space_is_percent_encoded_and_so_is_the_percent_sign(
    name: str, encoded: str, gateway: GatewayProcess, client: httpx2.Client
) -> None:
    """T9. Shows ASVS 1.2.1."""
    value = identity(ask(log_in(gateway, client, gateway.add_user(name=name))))["remote-name"]
    assert value == encoded
    assert unquote(value) == name


def test_an_address_that_is_not_ascii_is_encoded_in_both_of_its_headers(
    gateway: GatewayProcess, client: httpx2.Client
) -> None:
    email = f"zoë%{time.monotonic_ns()}@example.com"

    async def add(opened: Gateway) -> str:
        return (await opened.users.add(email, "", (), await opened.passwords.hash(PASSWORD))).user_id

    found = identity(ask(log_in(gateway, client, TestUser(in_gateway(gateway.env, add), email))))
    assert found["remote-user"] == found["remote-email"] == email.replace("%", "%25").replace("ë", "%C3%AB")


@pytest.mark.parametrize("field", ["name", "roles", "email"])
@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nX-Evil: 1", "a\x00b", "a\x7fb", "a\tb", "\u0085"])
def test_a_bad_value_that_got_into_the_store_splits_no_answer(
    field: str, value: str, gateway: GatewayProcess, client: httpx2.Client
) -> None:
    """T9. Shows ASVS 1.2.1."""
    user = gateway.add_user()
    session = log_in(gateway, client, user)

    async def spoil(opened: Gateway) -> None:
        await opened.store.execute("HSET", opened.store.key(f"user:{{{user.user_id}}}"), field, value)

    in_gateway(gateway.env, spoil)
    session.access_token = session.refresh().json()["access_token"]
    answer = ask(session)
    assert answer.status_code == 200
    assert "X-Evil" not in answer.headers
    header = {"name": "remote-name", "roles": "remote-groups", "email": "remote-email"}[field]
    assert re.fullmatch(r"[ -~]*", identity(answer)[header])
    assert unquote(identity(answer)[header]) == value


@pytest.mark.parametrize("path", AUTHZ_PATHS)
@pytest.mark.parametrize("token", ["good", "none", "bad"])
def test_head_is_as_get(token: str, path: str, standing: Session) -> None:
    headers = {"good": standing.bearer, "none": {}, "bad": {"Authorization": "Bearer bad"}}[token]
    got, head = (standing.client.request(method, path, headers=headers) for method in ("GET", "HEAD"))
    assert head.content == b""
    assert head.status_code == got.status_code
    assert identity(head) == identity(got)
    for name in ("WWW-Authenticate", "Cache-Control", "Content-Length", "Content-Type"):
        assert head.headers.get_list(name) == got.headers.get_list(name)


# -------------------------------------------------------------------------------------------------------- requirements


@pytest.mark.parametrize("path", WITH_QUERY)
@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("role=staff", 200),
        ("role=admin", 403),
        ("role=admin,staff", 200),
        ("role=admin%2Cstaff", 200),
        ("role=admin,root", 403),
        ("role=staff&role=ops", 200),
        ("role=staff&role=admin", 403),
        ("role=admin&role=staff", 403),
        ("role=admin,staff&role=ops,root", 200),
        ("role=", 403),
        ("role", 403),
        ("role=staff&role=", 403),
        ("role=staff,", 403),
        ("role=,staff", 403),
        ("role=Staff", 403),
        ("role=staff%20", 403),
        ("role=%20staff", 403),
        ("role=staff+ops", 403),
        ("role=staff%0a", 403),
        ("role=staff%00", 403),
        ("role=*", 403),
        ("role=sta%ff", 403),
        ("role=staff;role=ops", 403),
        ("role=-staff", 403),
        (f"role={'a' * 65}", 403),
        ("max_auth_age=3600", 200),
        ("max_auth_age=3600&role=staff", 200),
        ("max_auth_age=3600&role=admin", 403),
        ("max_auth_age=x", 403),
        ("max_auth_age=", 403),
        ("max_auth_age", 403),
        ("max_auth_age=-1", 403),
        ("max_auth_age=1.5", 403),
        ("max_auth_age=1e9", 403),
        ("max_auth_age=+60", 403),
        ("max_auth_age=60%0a", 403),
        ("max_auth_age=%EF%BC%96", 403),
        (f"max_auth_age={'9' * 5000}", 403),
        ("max_auth_age=3600&max_auth_age=x", 403),
        ("max_auth_age=3600&role=", 403),
        ("", 200),
        ("Role=admin", 200),
        ("roles=admin", 200),
        ("unknown=1&also", 200),
        ("q=role=admin", 200),
        ("role=staff&q=1&page=2", 200),
        ("role=staff&q=1&role=admin", 403),
        ("access_token=x", 200),
        ("token=y", 403),
        ("amr=pwd", 200),
        ("amr=", 403),
        ("amr=mfa", 401),
        ("&&&", 200),
        ("%ff%zz=%", 200),
    ],
)
def test_a_requirement_of_the_query_holds_or_is_a_403(query: str, status: int, path: str, standing: Session) -> None:
    """
    The user is of the roles staff and ops; whatever is added to a query can only make it stricter.

    Shows ASVS 10.3.2.
    """
    answer = ask(standing, f"{path}?{query}")
    assert answer.status_code == status
    if status == 403:
        problem_of(answer, 403, "insufficient-role")
        assert "WWW-Authenticate" not in answer.headers
        assert not identity(answer)


def test_max_auth_age_counts_from_the_password_and_no_refresh_helps(session: Session) -> None:
    """Shows ASVS 7.5.3, ASVS 10.3.4, NIST 5.1.2."""
    wait_until(lambda: ask(session, f"{WITH_QUERY[0]}?max_auth_age=0").status_code == 401, 2.5)
    session.access_token = session.refresh().json()["access_token"]
    for query in ("max_auth_age=0", "max_auth_age=3600&max_auth_age=0", "max_auth_age=0&max_auth_age=3600"):
        answer = ask(session, f"{WITH_QUERY[0]}?{query}")
        problem_of(answer, 401, "authentication-too-weak")
    assert ask(session, f"{WITH_QUERY[0]}?max_auth_age=3600").status_code == 200


@pytest.mark.parametrize("path", WITH_QUERY)
@pytest.mark.parametrize(
    ("query", "max_age"),
    [
        ("max_auth_age=1", 1),
        ("max_auth_age=0000000001", 1),
        ("max_auth_age=3600&max_auth_age=1", 1),
        ("max_auth_age=1&max_auth_age=0&role=staff", 0),
        ("page=2&max_auth_age=1&roles=admin", 1),
    ],
)
def test_a_login_that_is_too_old_is_told_from_a_token_that_is_no_good(
    query: str, max_age: int, path: str, standing: Session
) -> None:
    """
    RFC 9470: logging in again helps, refreshing does not; the strictest of several ages is the one to meet.

    Shows ASVS 10.3.4.
    """
    wait_until(lambda: ask(standing, f"{path}?max_auth_age=1").status_code == 401, 4)
    challenge = f'{CHALLENGE}, error="insufficient_user_authentication", max_age="{max_age}"'
    for method in ("GET", "HEAD"):
        answer = standing.client.request(method, f"{path}?{query}", headers=standing.bearer)
        assert answer.status_code == 401
        assert answer.headers.get_list("WWW-Authenticate") == [challenge]
        assert not identity(answer)
    body = problem_of(ask(standing, f"{path}?{query}"), 401, "authentication-too-weak")
    assert body.keys() == {"type", "title", "status", "detail"}
    no_good = standing.client.get(f"{path}?{query}", headers={"Authorization": f"Bearer {standing.access_token}x"})
    problem_of(no_good, 401, "access-token-invalid")
    assert no_good.headers["WWW-Authenticate"] == INVALID_TOKEN


@pytest.mark.parametrize("tail", ["#", "#role=admin", "?#", "?role=staff#", "?role=staff#&role=admin", "?a=1#b"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", WITH_QUERY)
def test_a_fragment_in_the_url_is_a_403(path: str, method: str, tail: str, standing: Session) -> None:
    """What follows it reaches nobody: a requirement may be among it."""
    bearer = f"Authorization: Bearer {standing.access_token}"
    answer = send_raw(standing.gateway, f"{method} {path}{tail}", bearer)
    assert answer.status == 403
    assert answer.values("Content-Type") == ["application/problem+json"]
    assert send_raw(standing.gateway, f"{method} {path}{tail}").status == 401


def test_a_fragment_behind_the_path_of_envoy_changes_nothing(standing: Session) -> None:
    bearer = f"Authorization: Bearer {standing.access_token}"
    assert send_raw(standing.gateway, f"GET {ENVOY}/path#part", bearer).status == 200


NEAR_MISSES = {
    "roles": "role",
    "Role": "role",
    "ROLE": "role",
    "role ": "role",
    "role[]": "role",
    "amp;role": "role",
    "rolle": "role",
    "user_role": "role",
    "max-auth-age": "max_auth_age",
    "maxAuthAge": "max_auth_age",
    "Max_Auth_Age": "max_auth_age",
    "max_auth_age ": "max_auth_age",
    "max_auth_ages": "max_auth_age",
    "max_age": "max_auth_age",
    "max.auth.age": "max_auth_age",
}


def test_a_login_that_was_young_enough_grows_too_old_though_it_is_remembered(session: Session) -> None:
    path = f"{WITH_QUERY[0]}?max_auth_age=2"
    assert ask(session, path).status_code == ask(session, path).status_code == 200
    wait_until(lambda: ask(session, path).status_code == 401, 4)


def test_a_parameter_that_is_nearly_a_requirement_is_ignored_and_told_in_the_log_once_a_minute(
    make_gateway: Callable[..., GatewayProcess],
) -> None:
    gateway = make_gateway()
    with client_of(gateway) as client:
        session = log_in(gateway, client)
        for path in WITH_QUERY:
            for name in NEAR_MISSES:
                query = urlencode({name: "admin", "role": "staff"})
                assert ask(session, f"{path}?{query}").status_code == 200
    told = near_misses(gateway)
    assert {line["parameter"]: line["nearest"] for line in told} == NEAR_MISSES
    assert (len(told), {line["level"] for line in told}) == (len(NEAR_MISSES), {"warning"})


def near_misses(gateway: GatewayProcess) -> list[dict[str, Any]]:
    return [line for line in gateway.log_lines() if "nearly a requirement" in line["message"]]


def test_a_parameter_that_is_like_no_requirement_and_a_right_one_are_not_told(
    make_gateway: Callable[..., GatewayProcess],
) -> None:
    gateway = make_gateway()
    with client_of(gateway) as client:
        session = log_in(gateway, client)
        names = "rd", "q", "page", "id", "code", "state", "csrf_token", "locale", "profile", "maximum", "age"
        query = urlencode(dict.fromkeys(names, "1") | {"role": "staff", "max_auth_age": "3600"})
        assert ask(session, f"{WITH_QUERY[0]}?{query}").status_code == 200
        assert ask(session, f"{ENVOY}/x?roles=admin").status_code == 200
    assert near_misses(gateway) == []


@pytest.mark.parametrize("query", ["role=staff", "role=", "max_auth_age=x"])
@pytest.mark.parametrize("path", WITH_QUERY)
def test_without_a_token_the_answer_is_a_401_whatever_is_required(query: str, path: str, client: httpx2.Client) -> None:
    problem_of(client.get(f"{path}?{query}"), 401, "access-token-missing")


@pytest.mark.parametrize("query", ["role=admin", "role=", "max_auth_age=0", "max_auth_age=x", "access_token=x"])
def test_envoy_appends_the_query_of_the_client_so_none_is_read(query: str, standing: Session) -> None:
    assert ask(standing, f"{ENVOY}/path?{query}").status_code == 200
    assert ask(standing, f"{ENVOY}?{query}").status_code == 200


# -------------------------------------------------------------------------------------------------------------- denied


@pytest.mark.parametrize("path", AUTHZ_PATHS)
def test_a_subrequest_without_a_token_is_a_401_without_an_error(path: str, client: httpx2.Client) -> None:
    answer = client.get(path)
    problem_of(answer, 401, "access-token-missing")
    assert answer.headers["WWW-Authenticate"] == CHALLENGE
    assert not identity(answer)
    assert "Set-Cookie" not in answer.headers


TOO_MUCH = {
    "two equal tokens": ["Authorization: Bearer {}", "Authorization: Bearer {}"],
    "a good token and a bad one": ["Authorization: Bearer {}", "Authorization: Bearer bad"],
    "a good token and a password": ["Authorization: Bearer {}", "Authorization: Basic dTpw"],
    "two tokens in one header": ["Authorization: Bearer {}, Bearer {}"],
    "a header and a cookie": ["Authorization: Bearer {}", "Cookie: access_token={}"],
    "a header and an empty cookie": ["Authorization: Bearer {}", "Cookie: access_token="],
    "a cookie twice": ["Cookie: access_token={}; access_token={}"],
    "a cookie twice, one bad": ["Cookie: access_token=bad; access_token={}"],
    "a cookie in two headers": ["Cookie: access_token={}", "Cookie: access_token={}"],
    "an empty bearer": ["Authorization: Bearer", "X-Token: {}"],
    "two hosts": ["Authorization: Bearer {}", "Host: a", "Host: b"],
    "a NUL in a header": ["Authorization: Bearer {}", "X: \x00"],
    "a token that is not ASCII": ["Authorization: Bearer {}\u00e9"],
}


@pytest.mark.parametrize("path", AUTHZ_PATHS)
@pytest.mark.parametrize("name", TOO_MUCH)
def test_what_cannot_be_understood_is_a_401_even_with_a_good_token(name: str, path: str, standing: Session) -> None:
    """T8: nginx makes a 500 of everything but 401 and 403."""
    headers = [header.replace("{}", standing.access_token) for header in TOO_MUCH[name]]
    answer = send_raw(standing.gateway, f"GET {path}", *headers)
    assert answer.status == 401
    assert answer.values("WWW-Authenticate") == [INVALID_TOKEN]
    assert answer.values("Content-Type") == ["application/problem+json"]
    assert answer.values("Cache-Control") == ["no-store"]


@pytest.mark.parametrize("path", AUTHZ_PATHS)
@pytest.mark.parametrize("more", [["X: " + "x" * 33_000], ["X: x"] * 200], ids=["33 kB", "200 fields"])
def test_a_head_that_is_too_large_is_a_403_and_not_a_bad_token(path: str, more: list[str], standing: Session) -> None:
    answer = send_raw(standing.gateway, f"GET {path}", f"Authorization: Bearer {standing.access_token}", *more)
    assert answer.status == 403
    assert answer.values("WWW-Authenticate") == []
    assert b"urn:token-gateway:problem:headers-too-large" in answer.body


@pytest.mark.parametrize("path", AUTHZ_PATHS)
def test_much_else_in_the_head_is_in_nobodys_way(path: str, standing: Session) -> None:
    """20 kB of other applications' cookies."""
    headers = [f"Authorization: Bearer {standing.access_token}", "Cookie: a=" + "x" * 20_000]
    assert send_raw(standing.gateway, f"GET {path}", *headers).status == 200


@pytest.mark.parametrize("path", AUTHZ_PATHS)
@pytest.mark.parametrize("query", [b"role=\xff", b"\xff\xfe", b"a=\x80&role=staff"])
def test_bytes_that_no_query_may_have_are_a_401(query: bytes, path: str, standing: Session) -> None:
    """T8."""
    request = b"GET " + path.encode() + b"?" + query
    assert send_raw(standing.gateway, request, f"Authorization: Bearer {standing.access_token}").status == 401


HARMLESS = {
    "a huge body that does not come": ["Content-Length: 50000000"],
    "a chunked body that does not come": ["Transfer-Encoding: chunked"],
    "a body that is waited for": ["Content-Length: 50000000", "Expect: 100-continue"],
    "a form": ["Content-Type: application/x-www-form-urlencoded", "Content-Length: 9"],
    "an upgrade to WebSocket": ["Upgrade: websocket", "Sec-WebSocket-Version: 13"],
    "an upgrade to HTTP/2": ["Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA"],
    "ninety headers": ["X: x"] * 90,
    "a large cookie of another name": ["Cookie: a=" + "x" * 8000],
    "a cookie that is none": ["Cookie: ;;; = ;a;=b;\u00e9=\u00ff"],
}


@pytest.mark.parametrize("path", AUTHZ_PATHS)
@pytest.mark.parametrize("name", HARMLESS)
def test_a_body_or_a_header_of_no_concern_changes_nothing(name: str, path: str, standing: Session) -> None:
    """T6, T12: no body is read, and none is waited for."""
    begun = time.monotonic()
    with_token = send_raw(
        standing.gateway, f"GET {path}", f"Authorization: Bearer {standing.access_token}", *HARMLESS[name]
    )
    without = send_raw(standing.gateway, f"GET {path}", *HARMLESS[name])
    assert (with_token.status, without.status) == (200, 401)
    assert time.monotonic() - begun < 2


TRAITS = {
    "User-Agent": "kube-probe/1.29",
    "Purpose": "prefetch",
    "X-Forwarded-For": "127.0.0.1",
    "X-Forwarded-Host": "internal",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Uri": "/livez",
    "X-Forwarded-Method": "OPTIONS",
    "X-Original-URL": "http://internal/livez",
    "X-Original-Method": "OPTIONS",
    "X-Original-Uri": "/auth/login",
    "X-Rewrite-URL": "/livez",
    "X-HTTP-Method-Override": "OPTIONS",
    "Host": "localhost",
    "Origin": "https://evil.example",
    "Sec-Fetch-Site": "cross-site",
    "Access-Control-Request-Method": "GET",
    "Remote-User": "admin@example.com",
    "Remote_User": "admin@example.com",
    "X-Auth-Request-User": "admin@example.com",
    "X-Forwarded-User": "admin@example.com",
    "X-Forwarded-Groups": "admin",
    "X-Authelia-URL": "https://evil.example",
    "Range": "bytes=0-0",
    "If-None-Match": "*",
    "Accept": "text/html",
    "X-Requested-With": "XMLHttpRequest",
}


@pytest.mark.parametrize("path", [*AUTHZ_PATHS, "/api/authz/auth-request?role=admin"])
@pytest.mark.parametrize("name", TRAITS)
def test_the_answer_depends_on_nothing_but_the_token(name: str, path: str, standing: Session) -> None:
    """T5, T7: no trait of a request grants access, and no header of the client comes back. Shows ASVS 8.3.1."""
    for headers in (standing.bearer, {}):
        usual = standing.client.get(path, headers=headers)
        assert comparable(standing.client.get(path, headers=headers | {name: TRAITS[name]})) == comparable(usual)


def test_the_page_of_a_foreign_site_gets_no_permission_to_read_an_answer(
    gateway_with: Callable[..., GatewayProcess],
) -> None:
    gateway = gateway_with(allowed_origins="https://app.example.test")
    with client_of(gateway) as client:
        answer = client.get(AUTHZ_PATHS[0], headers={"Origin": "https://app.example.test"})
        assert "Access-Control-Allow-Origin" not in answer.headers


ENVOY_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "QUERY", "PURGE")
ENVOY_PATHS = (
    "",
    "/",
    "//",
    "//a//b",
    "/a/",
    "/a%2fb",
    "/%0a",
    "/a%0d%0ab",
    "/%00",
    "/%ff",
    "/..",
    "/../../auth/login",
    "/./a",
    "/a;b=c",
    "/a?b=c?d",
    "/auth/login",
    "/api/authz/auth-request?role=admin",
    "/" + "a" * 8000,
)


@pytest.mark.parametrize("method", ENVOY_METHODS)
def test_envoy_may_ask_with_every_method(method: str, standing: Session) -> None:
    line = f"{method} {ENVOY}/some/path"
    assert send_raw(standing.gateway, line, f"Authorization: Bearer {standing.access_token}").status == 200
    assert send_raw(standing.gateway, line).status == 401


@pytest.mark.parametrize("path", ENVOY_PATHS)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_envoy_may_ask_about_every_path(method: str, path: str, standing: Session) -> None:
    line = f"{method} {ENVOY}{path}"
    allowed = send_raw(standing.gateway, line, f"Authorization: Bearer {standing.access_token}")
    assert allowed.status == 200
    assert allowed.body == b""
    assert ("remote-user", standing.user.email) in allowed.headers
    assert send_raw(standing.gateway, line).status == 401


@pytest.mark.parametrize("path", WITH_QUERY)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_only_a_method_that_the_endpoint_does_not_have_is_a_405(method: str, path: str, standing: Session) -> None:
    answer = standing.client.request(method, path, headers=standing.bearer)
    problem_of(answer, 405, "method-not-allowed")
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD"}


def test_no_cookie_and_no_cross_site_rule_is_needed_for_what_changes_nothing(standing: Session) -> None:
    headers = {"Cookie": f"access_token={standing.access_token}", "Sec-Fetch-Site": "cross-site", "Origin": "null"}
    for path in AUTHZ_PATHS:
        assert standing.client.get(path, headers=headers).status_code == 200
    assert standing.client.post(AUTHZ_PATHS[2], headers=headers).status_code == 200


def test_a_revoked_session_is_refused_at_once(session: Session) -> None:
    session.client.post("/auth/logout", json={"refresh_token": session.refresh_token})
    for path in AUTHZ_PATHS:
        problem_of(ask(session, path), 401, "access-token-invalid")


@pytest.mark.parametrize("path", AUTHZ_PATHS)
def test_redis_away_the_answers_are_the_same(path: str, orphan: Session) -> None:
    """F1, T8. Shows ASVS 16.5.2."""
    assert ask(orphan, path).status_code == 200
    problem_of(orphan.client.get(path), 401, "access-token-missing")
    problem_of(orphan.client.get(path, headers={"Authorization": "Bearer bad"}), 401, "access-token-invalid")
    if path in WITH_QUERY:
        problem_of(ask(orphan, f"{path}?role=admin"), 403, "insufficient-role")


def test_a_subrequest_is_never_rate_limited(gateway_with: Callable[..., GatewayProcess]) -> None:
    """T8."""
    gateway = gateway_with(login_limit="1/day", refresh_limit="1/day")
    with client_of(gateway) as client:
        session = log_in(gateway, client)
        assert client.post("/auth/login", json={"username": "a", "password": "b"}).status_code == 429
        assert {ask(session, path).status_code for path in AUTHZ_PATHS * 30} == {200}
        assert {client.get(path).status_code for path in AUTHZ_PATHS * 30} == {401}


def test_whatever_is_sent_without_a_good_token_gets_401_or_403(session: Session) -> None:
    """T6, T8: seeded, so that a failure comes again. Shows ASVS 16.5.3."""
    chance = random.Random(20261122)
    header, payload, signature = session.access_token.split(".")
    pieces = [
        b"", b" ", b"\t", b",", b";", b"=", b'"', b"\xff", b"%", b"Bearer", b"bearer ", b"Basic ", b"access_token=",
        b"__Secure-access_token=", b"refresh_token=", b"null", b"{}", b"x" * 3000, header.encode(), payload.encode(),
        signature.encode(), b".", session.refresh_token.encode(),
    ]  # fmt: skip
    names = [b"Authorization", b"Cookie", b"Host", b"X-Forwarded-For", b"Content-Length", b"Connection", b"Accept"]
    for _ in range(300):
        path = chance.choice(AUTHZ_PATHS).encode()
        query = b"".join(chance.choices([b"role=", b"staff", b"&", b"max_auth_age=", b"0", b"%", b"%fe", b"?"], k=4))
        lines = [
            chance.choice(names) + b": " + b"".join(chance.choices(pieces, k=chance.randrange(6)))
            for _ in range(chance.randrange(5))
        ]
        method = chance.choice([b"GET", b"HEAD"])
        answer = send_raw(session.gateway, method + b" " + path + b"?" + query, *lines)
        assert answer.status in (401, 403), (method, path, query, lines, answer)
