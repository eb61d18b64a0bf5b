"""What is remembered of an allowed subrequest: for one caller, one query, and as long as it holds."""

import msgspec
import pytest

from gateway.tokens import IdentityHeaders
from gateway.tokens.identity_headers import MAX_REMEMBERED_QUERY_BYTES
from gateway.verifier import AccessClaims
from gateway.web.subrequest.requirements import check, holds_until, read_requirements

NOW = 1_790_000_010
MINUTE_END = 1_790_000_040
WHO = AccessClaims(
    iss="https://auth.example.com",
    sub="usr_a",
    aud="https://auth.example.com",
    client_id="first-party",
    iat=NOW,
    exp=NOW + 600,
    jti="j",
    sid="s",
    auth_time=NOW - 100,
    amr=("pwd",),
    roles=("staff",),
)


@pytest.fixture
def headers() -> IdentityHeaders:
    return IdentityHeaders("remote")


def test_lines_hold_from_their_first_second_until_before_their_last(headers: IdentityHeaders) -> None:
    headers.remember("s", b"role=staff", WHO, b"lines", NOW, NOW + 5)
    seen = [headers.remembered("s", b"role=staff", WHO, NOW + second) for second in (-1, 0, 4, 5)]
    assert seen == [None, b"lines", b"lines", None]


def test_they_are_of_this_caller_as_he_was_and_of_this_query(headers: IdentityHeaders) -> None:
    """Shows ASVS 14.2.2."""
    headers.remember("s", b"role=staff", WHO, b"lines", NOW, NOW + 5)
    without_roles = msgspec.structs.replace(WHO, roles=())
    assert headers.remembered("s", b"role=staff", without_roles, NOW) is None
    assert headers.remembered("s", b"role=admin", WHO, NOW) is None
    assert headers.remembered("t", b"role=staff", WHO, NOW) is None


def test_a_long_query_is_not_remembered(headers: IdentityHeaders) -> None:
    for length, lines in ((MAX_REMEMBERED_QUERY_BYTES, b"lines"), (MAX_REMEMBERED_QUERY_BYTES + 1, None)):
        query = b"x" * length
        headers.remember("s", query, WHO, b"lines", NOW, NOW + 5)
        assert headers.remembered("s", query, WHO, NOW) == lines


@pytest.mark.parametrize("query", [b"max_auth_age=100", b"max_auth_age=105", b"max_auth_age=3600", b"role=staff"])
def test_a_login_is_never_older_than_asked_while_its_lines_hold(query: bytes) -> None:
    asked = read_requirements(query)
    until = holds_until(asked, WHO, MINUTE_END)
    assert NOW < until <= MINUTE_END
    check(asked, WHO, until - 1, frozenset())
    assert until == min(MINUTE_END, WHO.auth_time + (asked.max_auth_age or 3600) + 1)
