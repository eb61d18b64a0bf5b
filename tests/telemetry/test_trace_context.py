"""`traceparent` as W3C Trace Context section 3.2 has it, and nothing of what is no good."""

import pytest

from gateway.telemetry import trace_of

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
FOUND = {"trace_id": TRACE, "span_id": SPAN}


def headers(*values: str) -> list[tuple[bytes, bytes]]:
    return [(b"host", b"a.example"), *((b"traceparent", value.encode("latin-1")) for value in values)]


@pytest.mark.parametrize("flags", ["00", "01", "ff"])
def test_version_00_is_read_whatever_its_flags_are(flags: str) -> None:
    assert trace_of(headers(f"00-{TRACE}-{SPAN}-{flags}")) == FOUND


@pytest.mark.parametrize(
    "value", [f"01-{TRACE}-{SPAN}-01", f"cc-{TRACE}-{SPAN}-01-", f"fe-{TRACE}-{SPAN}-01-what else"]
)
def test_of_a_newer_version_is_read_what_it_has_in_common(value: str) -> None:
    assert trace_of(headers(value)) == FOUND


@pytest.mark.parametrize(
    "value",
    [
        "",
        "00",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01-",
        f"00-{TRACE}-{SPAN}-01-more",
        f"cc-{TRACE}-{SPAN}-01more",
        f"cc-{TRACE}-{SPAN}-01.more",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN.upper()}-01",
        f"0A-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-0A",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}g-{SPAN}-01",
        f"00-{TRACE[1:]}\u00e9-{SPAN}-01",
        f"00_{TRACE}_{SPAN}_01",
        f"00-{TRACE}-{SPAN}-01\n",
        f" 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01,00-{TRACE}-{SPAN}-01",
    ],
)
def test_anything_else_is_nothing(value: str) -> None:
    assert trace_of(headers(value)) == {}


def test_without_a_header_and_with_two_there_is_nothing() -> None:
    assert trace_of(headers()) == {}
    assert trace_of(headers(f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01")) == {}
