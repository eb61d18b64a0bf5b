import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.harness import GatewayProcess
from tests.web.asking import MAX_BODY_BYTES, METHODS, Session, first_status, parse_raw, problem_of

FORM = "application/x-www-form-urlencoded"
GOOD: dict[str, dict[str, str]] = {
    "/auth/login": {"username": "nobody@example.com", "password": "wrong"},
    "/auth/refresh": {"refresh_token": "forged"},
    "/auth/logout": {"refresh_token": "forged"},
    "/auth/change-password": {"current_password": "wrong", "new_password": "quite another sentence"},
}
ANSWERS = {"/auth/login": 401, "/auth/refresh": 401, "/auth/logout": 204, "/auth/change-password": 403}
TAKES_FORM = ("/auth/login", "/auth/refresh", "/auth/logout")


def post(session: Session, path: str, content: bytes, content_type: str | None = "application/json") -> Any:
    headers = session.bearer | ({"Content-Type": content_type} if content_type else {})
    return session.client.post(path, content=content, headers=headers)


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8",
        "APPLICATION/JSON",
        "application/json ; x=y",
    ],
)
@pytest.mark.parametrize("path", GOOD)
def test_json_is_taken_however_its_type_is_spelt(path: str, content_type: str, standing: Session) -> None:
    answer = post(standing, path, json.dumps(GOOD[path]).encode(), content_type)
    assert answer.status_code == ANSWERS[path]


@pytest.mark.parametrize("content_type", [FORM, f"{FORM}; charset=utf-8", FORM.upper()])
@pytest.mark.parametrize("path", TAKES_FORM)
def test_a_form_is_taken_however_its_type_is_spelt(path: str, content_type: str, standing: Session) -> None:
    content = "&".join(f"{name}={value}" for name, value in GOOD[path].items()).encode()
    assert post(standing, path, content, content_type).status_code == ANSWERS[path]


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "text/plain",
        "text/json",
        "application/octet-stream",
        "multipart/form-data; boundary=b",
        "application/problem+json",
        "application/jsonp",
        "application/xml",
        "json",
        "*/*",
        "text/plain, application/json",
    ],
)
@pytest.mark.parametrize("path", GOOD)
def test_any_other_type_is_unsupported(path: str, content_type: str | None, standing: Session) -> None:
    """T12: and there is no multipart to be had."""
    answer = post(standing, path, json.dumps(GOOD[path]).encode(), content_type)
    problem_of(answer, 415, "unsupported-media-type")


def malformed_json(members: dict[str, str]) -> Iterator[tuple[str, bytes]]:
    good = json.dumps(members)
    name, value = next(iter(members.items()))
    inner = good[1:-1]
    yield "empty text", b" "
    yield "cut", good[:-1].encode()
    yield "trailing text", good.encode() + b"x"
    yield "two documents", good.encode() * 2
    yield "single quotes", good.replace('"', "'").encode()
    yield "trailing comma", f"{{{inner},}}".encode()
    yield "comment", b"/* */" + good.encode()
    yield "byte order mark", b"\xef\xbb\xbf" + good.encode()
    yield "UTF-16", good.encode("utf-16")
    yield "UTF-16 without mark", good.encode("utf-16-le")
    yield "UTF-32", good.encode("utf-32-be")
    yield "Latin-1", good.replace(value, value + "\u00e9").encode("latin-1")
    yield "cut UTF-8", good.replace(value, "XX").encode().replace(b"XX", b"\xe2\x82")
    yield "over-long UTF-8", good.replace(value, "XX").encode().replace(b"XX", b"\xc0\x80")
    yield "surrogate in UTF-8", good.replace(value, "XX").encode().replace(b"XX", b"\xed\xa0\x80")
    yield "lone surrogate", good.replace(value, "\\ud800").encode()
    yield "lone low surrogate", good.replace(value, "\\udc00").encode()
    yield "lone surrogate in a name", f'{{{inner},"\\ud800":1}}'.encode()
    yield "raw control character", good.replace(value, "a\x01b").encode()
    yield "raw line feed", good.replace(value, "a\nb").encode()
    yield "NUL", good.encode() + b"\0"
    yield "duplicate member", f'{{{inner},"{name}":"{value}"}}'.encode()
    yield "duplicate member, escaped", f'{{{inner},"\\u{ord(name[0]):04x}{name[1:]}":"{value}"}}'.encode()
    yield "duplicate in an unknown member", f'{{{inner},"x":{{"a":1,"a":1}}}}'.encode()
    yield "unknown member", f'{{{inner},"x":1}}'.encode()
    yield "member in another case", good.replace(name, name.upper()).encode()
    yield "__proto__", f'{{{inner},"__proto__":{{}}}}'.encode()
    yield "NaN", good.replace(f'"{value}"', "NaN").encode()
    yield "Infinity in an unknown member", f'{{{inner},"x":-Infinity}}'.encode()
    yield "a huge number", good.replace(f'"{value}"', "9" * 5000).encode()
    yield "a number out of range", good.replace(f'"{value}"', "1e999").encode()
    yield "deep nesting", b"[" * 10_000
    yield "deep nesting, closed", b"[" * 5000 + b"]" * 5000
    yield "deep nesting of objects", b'{"a":' * 3000
    yield "an array", f"[{good}]".encode()
    yield "null", b"null"
    yield "a text", json.dumps(good).encode()
    yield "a number", b"1"
    yield "true", b"true"
    for wrong in ("1", "1.5", "true", "{}", "[]", f'["{value}"]', f'{{"a":"{value}"}}'):
        yield f"{name} is {wrong[:3]}", good.replace(f'"{value}"', wrong, 1).encode()


MALFORMED_JSON = [
    pytest.param(path, body, id=f"{path} {name}") for path in GOOD for name, body in malformed_json(GOOD[path])
]


@pytest.mark.parametrize(("path", "body"), MALFORMED_JSON)
def test_what_is_not_exactly_the_json_of_the_contract_is_malformed(path: str, body: bytes, standing: Session) -> None:
    """T12. Shows ASVS 1.5.3, ASVS 2.2.1, ASVS 2.2.2, ASVS 15.3.3, ASVS 15.3.5, ASVS 15.3.7."""
    problem_of(post(standing, path, body), 400, "malformed-request")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/auth/login", b"{}"),
        ("/auth/login", b'{"username":"a"}'),
        ("/auth/login", b'{"password":"a"}'),
        ("/auth/login", b'{"username":null,"password":"a"}'),
        ("/auth/login", b""),
        ("/auth/change-password", b"{}"),
        ("/auth/change-password", b'{"current_password":"a"}'),
        ("/auth/change-password", b'{"new_password":"a"}'),
        ("/auth/change-password", b""),
    ],
)
def test_a_missing_member_is_malformed(path: str, body: bytes, standing: Session) -> None:
    problem_of(post(standing, path, body), 400, "malformed-request")


@pytest.mark.parametrize("path", TAKES_FORM)
@pytest.mark.parametrize(
    "change",
    [
        b"&x",
        b"&x=1",
        b"&=1",
        b"&%00=1",
        b"&\xff=1",
        b"\xff",
        b"%ff",
        b"%ed%a0%80",
        b"%c0%80",
        b"&x=1" * 1000,
        b"&" + b"&".join(b"f%d=1" % number for number in range(1000)),
    ],
    ids=lambda change: repr(change[:20]),
)
def test_what_is_not_exactly_the_form_of_the_contract_is_malformed(path: str, change: bytes, standing: Session) -> None:
    """T12: a thousand fields among it. Shows ASVS 2.2.1, ASVS 15.3.7."""
    good = "&".join(f"{name}={value}" for name, value in GOOD[path].items()).encode()
    problem_of(post(standing, path, good + change, FORM), 400, "malformed-request")


@pytest.mark.parametrize("path", TAKES_FORM)
def test_empty_pairs_of_a_form_are_skipped(path: str, standing: Session) -> None:
    """As the URL standard has it; they are no fields, so that there may be more than twenty."""
    fields = [f"{name}={value}" for name, value in GOOD[path].items()]
    for content in (
        "&" + "&".join(fields),
        "&".join(fields) + "&",
        "&&".join(fields) + "&&",
        "&" * 50 + "&".join(fields),
    ):
        assert post(standing, path, content.encode(), FORM).status_code == ANSWERS[path]


def test_a_form_of_empty_pairs_alone_lacks_its_fields(standing: Session) -> None:
    problem_of(post(standing, "/auth/login", b"&&", FORM), 400, "malformed-request")
    problem_of(post(standing, "/auth/refresh", b"&", FORM), 401, "refresh-token-missing")


@pytest.mark.parametrize("path", TAKES_FORM)
def test_a_field_twice_is_malformed(path: str, standing: Session) -> None:
    """Shows ASVS 15.3.7."""
    for name in GOOD[path]:
        good = "&".join(f"{name}={value}" for name, value in GOOD[path].items())
        twice = f"{good}&{name}={GOOD[path][name]}".encode()
        problem_of(post(standing, path, twice, FORM), 400, "malformed-request")


def test_an_ignored_field_twice_is_malformed_too(standing: Session) -> None:
    body = b"username=a&password=b&scope=c&scope=d"
    problem_of(post(standing, "/auth/login", body, FORM), 400, "malformed-request")


def test_what_is_malformed_tells_which_member_but_not_what_it_held(standing: Session) -> None:
    body = json.dumps({"username": "a", "password": ["top secret"]}).encode()
    answer = post(standing, "/auth/login", body)
    assert "password" in problem_of(answer, 400, "malformed-request")["detail"]
    assert "top secret" not in answer.text


# ------------------------------------------------------------------------------------------------------------ too large

CAPPED = [(min(methods), path) for path, methods in METHODS.items() if not path.startswith("/api/")]


@pytest.mark.parametrize(("method", "path"), CAPPED)
def test_a_body_that_is_declared_too_large_is_refused_before_it_comes(
    method: str, path: str, gateway: GatewayProcess
) -> None:
    """T12: also by what ignores bodies."""
    request = f"{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {MAX_BODY_BYTES + 1}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", gateway.port)) as connection:
        connection.sendall(request.encode())
        assert first_status(connection) == 413


@pytest.mark.parametrize(("method", "path"), CAPPED)
def test_a_chunked_body_is_refused_as_soon_as_it_is_too_large(method: str, path: str, gateway: GatewayProcess) -> None:
    """T12: and never waited for to the end."""
    request = f"{method} {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    with socket.create_connection(("127.0.0.1", gateway.port)) as connection:
        connection.sendall(request.encode())
        for _ in range(17):
            connection.sendall(b"400\r\n" + b" " * 1024 + b"\r\n")
        assert first_status(connection) == 413


@pytest.mark.parametrize("chunked", [False, True], ids=["declared", "chunked"])
@pytest.mark.parametrize("path", GOOD)
def test_a_body_of_exactly_16_kib_is_read(path: str, chunked: bool, standing: Session) -> None:
    body = json.dumps(GOOD[path]).encode().ljust(MAX_BODY_BYTES)
    answer = standing.client.post(
        path,
        content=iter([body[:1000], body[1000:]]) if chunked else body,
        headers=standing.bearer | {"Content-Type": "application/json"},
    )
    assert answer.status_code == ANSWERS[path]


@pytest.mark.parametrize("size", [MAX_BODY_BYTES + 1, 1_000_000, 20_000_000])
def test_a_client_that_sends_all_before_it_listens_still_gets_the_413(size: int, gateway: GatewayProcess) -> None:
    for _ in range(3):
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
        connection.request("POST", "/auth/login", b" " * size, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        assert answer.status == 413
        assert json.loads(answer.read())["type"] == "urn:token-gateway:problem:payload-too-large"
        connection.close()


def test_a_413_asks_for_no_body_and_says_that_the_connection_closes(gateway: GatewayProcess) -> None:
    request = b"POST /auth/login HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\nExpect: 100-continue\r\n\r\n"
    with socket.create_connection(("127.0.0.1", gateway.port)) as connection:
        connection.sendall(request)
        octets = b""
        while not octets.endswith(b"}"):
            octets += connection.recv(65536)
    answer = parse_raw(octets)
    assert answer.status == 413
    assert answer.values("Connection") == ["close"]


def test_a_body_that_does_not_come_is_no_answer_and_no_harm(gateway: GatewayProcess, standing: Session) -> None:
    with socket.create_connection(("127.0.0.1", gateway.port)) as connection:
        connection.sendall(b"POST /auth/login HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{")
    assert standing.is_alive()
    assert "a request failed" not in gateway.log_text()
