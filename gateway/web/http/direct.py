"""The direct way: a handler's answer in its envelope, given to the protocol whole, with no frame around the handler."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from gateway.errors import GatewayError
from gateway.state import DirectAnswer, GatewayRequest, State
from gateway.store import request_budget
from gateway.web.http.envelope import CORS_PREFIX, enveloped, lines_of, note_answer, note_failure, origin_of, with_cors
from gateway.web.http.problems import answer_error, problem_response


class WholeRequest(Request[State]):
    """A request whose body is at hand."""

    def __init__(self, scope: Scope, whole_body: bytes) -> None:
        super().__init__(scope)
        self._whole_body = whole_body

    async def body(self) -> bytes:
        """Give the body."""
        return self._whole_body


def directly(handler: Callable[[GatewayRequest], Awaitable[Response]]) -> DirectAnswer:
    """
    Let a handler answer directly what it answers within the middleware: by the same envelope, counting, log and errors.

    Its answers are whole, no streams and no files; its errors those of `gateway.errors`, all others being a 500.
    """

    async def answer(scope: Scope, body: bytes, begun: float) -> tuple[int, bytes]:
        try:
            with request_budget():
                response = await _answered(handler, WholeRequest(scope, body))
            headers = response.raw_headers
            if scope["path"].startswith(CORS_PREFIX):
                headers = with_cors(headers, origin_of(scope), scope["state"]["gateway"].settings.allowed_origins)
        except Exception:
            response = problem_response(note_failure(scope, is_answered=False))
            headers = response.raw_headers
        lines = lines_of(enveloped(headers, scope), response.body)
        note_answer(scope, response.status_code, begun)
        return response.status_code, lines

    return answer


async def _answered(handler: Callable[[GatewayRequest], Awaitable[Response]], request: GatewayRequest) -> Response:
    try:
        return await handler(request)
    except GatewayError as error:
        return answer_error(request, error)
