"""What is read out of a `redis_url`."""

import pytest

from gateway.store.url import read_url, without_credentials


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("redis://a", ("redis", None, None, [("a", 6379)], "", "")),
        ("rediss://u:p%40%2F@[::1]:7/3?db=1", ("rediss", "u", "p@/", [("::1", 7)], "/3", "db=1")),
        ("unix://:p@/run/a@b.sock?db=2", ("unix", None, "p", [], "/run/a@b.sock", "db=2")),
        (
            "rediss+sentinel://u:p@a@s1:1,[fe80::1]:2/main/3?sentinel_password=x@y:z/?",
            ("rediss+sentinel", "u", "p@a", [("s1", 1), ("fe80::1", 2)], "/main/3", "sentinel_password=x@y:z/?"),
        ),
        ("redis+cluster://n1:1,n2:2?a=b@c", ("redis+cluster", None, None, [("n1", 1), ("n2", 2)], "", "a=b@c")),
    ],
)
def test_every_part_is_found_and_decoded(url: str, parts: tuple[object, ...]) -> None:
    assert tuple(read_url(url)) == parts


@pytest.mark.parametrize("scheme", ["redis", "redis+sentinel", "redis+cluster", "unix"])
def test_what_begins_with_rediss_is_tls_and_nothing_else(scheme: str) -> None:
    assert not read_url(f"{scheme}://rediss:rediss@rediss:1/rediss").is_tls
    if scheme != "unix":
        assert read_url(f"{scheme.replace('redis', 'rediss')}://a:1/b").is_tls


def test_options_have_the_types_that_redis_py_gives_them_and_the_user_before_the_hosts_counts() -> None:
    url = "rediss+sentinel://u:p@a:1/main?ssl_check_hostname=no&socket_timeout=2&username=x&sentinel_password=s%26t"
    assert read_url(url).options() == {
        "ssl_check_hostname": False,
        "socket_timeout": 2.0,
        "sentinel_password": "s&t",
        "username": "u",
        "password": "p",
    }


@pytest.mark.parametrize(
    ("url", "anonymous"),
    [
        ("redis://u:p@a:1/0", "redis://a:1/0"),
        ("rediss+cluster://u:p@q@a:1,b:2?ssl_ca_certs=/a@b", "rediss+cluster://a:1,b:2?ssl_ca_certs=/a@b"),
        ("rediss+cluster://a:1?ssl_ca_certs=/a@b", "rediss+cluster://a:1?ssl_ca_certs=/a@b"),
        ("redis+sentinel://:p@a:1/m?sentinel_password=x", "redis+sentinel://a:1/m?sentinel_password=x"),
    ],
)
def test_a_url_is_made_anonymous_and_nothing_else_of_it_changes(url: str, anonymous: str) -> None:
    assert without_credentials(url) == anonymous
    assert not read_url(anonymous).has_credentials
