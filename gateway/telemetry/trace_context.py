"""W3C Trace Context: where a request belongs to a trace, its lines and events say to which."""

import re
from collections.abc import Iterable

HEADER = b"traceparent"
_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?", re.DOTALL)
_NO_TRACE, _NO_SPAN = b"0" * 32, b"0" * 16


def trace_of(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """
    Give `trace_id` and `span_id` (that of the caller) as `traceparent` names them (W3C Trace Context section 3.2).

    Of a version that is newer than 00 that is read which it has in common with it (section 3.2.4). Nothing where the
    header is not there, there twice, or no good. Whoever sends a request can name any trace.

    Args:
        headers: Of a request, names in lower case.
    """
    values = [value for name, value in headers if name == HEADER]
    match = _TRACEPARENT.fullmatch(values[0]) if len(values) == 1 else None
    if match is None:
        return {}
    version, trace_id, span_id, more = match.groups()
    if version == b"ff" or (version == b"00" and more is not None) or trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return {}
    return {"trace_id": trace_id.decode(), "span_id": span_id.decode()}
