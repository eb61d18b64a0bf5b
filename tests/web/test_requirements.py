"""What a query asks for is read once, unless it is so long that no proxy's configuration has written it."""

import itertools
import string
import tracemalloc

from gateway.web.subrequest.requirements import MAX_REMEMBERED_QUERY_BYTES, read_requirements

ROLES = 3500  # nearly as long as a head may be
STRANGERS = 8
MAX_KEPT_BYTES = 1_000_000  # for all of them; the interpreter keeps some for later


def test_what_strangers_ask_at_length_takes_no_memory() -> None:
    """A query as long as a head may be takes 1 MB once it is read: nobody fills the memory with a hundred of them."""
    names = itertools.islice(itertools.product(string.ascii_lowercase, repeat=3), ROLES)
    long = "".join(f"&role={''.join(letters)}" for letters in names)
    read_requirements(f"nobody=0{long}".encode())
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(1, STRANGERS + 1):
            assert len(read_requirements(f"nobody={number}{long}".encode()).roles) == ROLES
        kept = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    print(f"{STRANGERS} queries of {len(long):,} bytes left {kept:,} bytes")
    assert kept < MAX_KEPT_BYTES


def test_a_long_query_is_read_as_a_short_one() -> None:
    short = b"role=staff,admin&max_auth_age=300&x="
    long = short + b"y" * MAX_REMEMBERED_QUERY_BYTES
    assert read_requirements(long) == read_requirements(short)
    assert read_requirements(short) is read_requirements(short)
