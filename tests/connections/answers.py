"""The answers in what a server sent, read as strictly as a client can, and whether they are those of the requests."""

import hashlib
from dataclasses import dataclass

from tests.connections.reference import Reading, Request, Verdict

EARLY = b"/early"
QUICK = b"/quick"
REFUSALS = frozenset({400, 401, 403, 431, 501, 505})
# Between the server and its client alone: a server may take them away.
HOP_BY_HOP = frozenset({b"connection", b"upgrade"})


@dataclass
class Answer:
    """One final answer; interim ones (1xx) are left out."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes

    @property
    def closes(self) -> bool:
        """Whether it says that the connection ends."""
        return b"close" in self.headers.get(b"connection", b"").lower()

    @property
    def is_refusal(self) -> bool:
        """Whether the server itself gave it, and not the application."""
        return b"x-seen" not in self.headers


def parse_answers(received: bytes, methods: list[bytes]) -> tuple[list[Answer], bytes]:
    """Give the answers to requests with these *methods*, and the bytes that are no whole answer."""
    answers: list[Answer] = []
    while received:
        head, end, rest = received.partition(b"\r\n\r\n")
        if not end or not head.startswith(b"HTTP/1.1 "):
            return answers, received
        status_line, *lines = head.split(b"\r\n")
        status = int(status_line.split(b" ")[1])
        if status < 200:
            received = rest
            continue
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        method = methods[len(answers)] if len(answers) < len(methods) else b""
        has_body = status not in (204, 304) and (method != b"HEAD" or (b"x-seen" not in headers))
        length = int(headers[b"content-length"]) if has_body else 0
        if len(rest) < length:
            return answers, received
        answers.append(Answer(status, headers, rest[:length]))
        received = rest[length:]
    return answers, received


def digest(method: bytes, target: bytes, headers: list[tuple[bytes, bytes]], body: bytes) -> bytes:
    """Give what tells one request from all others."""
    pairs = [(name, value.strip(b" \t")) for name, value in headers if name not in HOP_BY_HOP]
    return hashlib.sha256(repr((method, target, pairs, body)).encode()).hexdigest()[:32].encode()


def expected_digest(request: Request) -> bytes:
    """Give the digest that the application makes of a request."""
    path = request.target.partition(b"?")[0]
    body = b"" if path in (EARLY, QUICK) else request.body
    return digest(request.method, request.target, request.fields, body)


def violations(reading: Reading, received: bytes, *, is_closed: bool) -> list[str]:
    """
    Tell what is wrong with the answers to a stream: nothing, if there is one for each request and it is its own.

    The first refusal is the last answer, and the connection is closed after it.
    """
    begun = [reading.begun] if reading.begun else []
    answers, rest = parse_answers(received, [request.method for request in [*reading.requests, *begun]])
    if rest:
        return [f"no answer: {rest[:200]!r}"]
    told = f"{len(reading.requests)} requests, {len(answers)} answers {[answer.status for answer in answers]}"
    left = list(answers)
    for number, request in enumerate(reading.requests):
        if not left:
            # Who only has to be refused may also be left without an answer, by a parser that waits for more.
            may_be_over = number > 0 and reading.requests[number - 1].is_last is None and is_closed
            if request.verdict is Verdict.REFUSED or may_be_over:
                return []
            return [f"request {number} has no answer ({told})"]
        answer = left.pop(0)
        if wrong := _wrong(request, answer):
            return [f"request {number}: {wrong} ({told})"]
        is_over = answer.is_refusal or request.is_last is True or request.is_refused_in_body or answer.closes
        if is_over:
            wrongs = [f"answers after the end of the connection ({told})"] if left else []
            if not is_closed:
                wrongs.append(f"the connection is open after request {number} ({told})")
            if not (answer.is_refusal or request.is_refused_in_body or request.is_last is not False):
                wrongs.append(f"the connection is closed after request {number} ({told})")
            return wrongs
    if left and reading.begun is not None:
        answer = left.pop(0)
        if not answer.is_refusal and reading.begun.target.partition(b"?")[0] not in (EARLY, QUICK):
            return [f"an answer before the request was there ({told})"]
    elif is_closed and reading.begun is None and not (reading.requests and reading.requests[-1].is_last is None):
        return [f"the connection is closed ({told})"]
    return [f"more answers than requests ({told})"] if left else []


def _wrong(request: Request, answer: Answer) -> str:
    if answer.is_refusal:
        if request.verdict is Verdict.ANSWERED:
            return f"{answer.status} for a good request"
        return "" if answer.status in REFUSALS and answer.closes else f"{answer.status} is no refusal that closes"
    is_early = request.target.partition(b"?")[0] in (EARLY, QUICK)
    if request.verdict is Verdict.REFUSED and not (request.is_refused_in_body and is_early):
        return f"answered, though {request.why}"
    # Of another form of the target, or one with a fragment, the application sees a part.
    if (
        request.target.startswith(b"/")
        and b"#" not in request.target
        and answer.headers[b"x-seen"] != expected_digest(request)
    ):
        return f"another request was answered: {answer.body[:2000]!r}"
    return ""
