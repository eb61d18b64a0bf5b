"""The parameters of a request to /oauth/*: a form in the body, each once (RFC 6749 sections 3.1 and 3.2)."""

from typing import NamedTuple
from urllib.parse import parse_qsl

from gateway.errors import InvalidOAuthRequest, InvalidTarget
from gateway.state import GatewayRequest
from gateway.web.http import SecretBody

MAX_PARAMETERS = 50
FORM = "application/x-www-form-urlencoded"
NEVER_IN_QUERY = frozenset(
    {"grant_type", "client_id", "client_secret", "client_assertion", "client_assertion_type", "token", "access_token"}
)


class Parameters(SecretBody, frozen=True):
    """What was sent, without what is empty; `resource`, which may come more than once, by itself."""

    values: dict[str, str]
    resources: tuple[str, ...]

    def get(self, name: str) -> str | None:
        """Give a parameter; None where it was not sent, or is empty."""
        return self.values.get(name)

    def require(self, name: str) -> str:
        """
        Give a parameter.

        Raises:
            InvalidOAuthRequest: It was not sent, or is empty.
        """
        value = self.values.get(name)
        if value is None:
            raise InvalidOAuthRequest(f"The parameter {name} is missing", "parameter-missing")
        return value


class _Pair(NamedTuple):
    name: str
    value: str


async def read_parameters(request: GatewayRequest) -> Parameters:
    """
    Read the form. What nobody here knows is ignored, and so is what is empty.

    Raises:
        InvalidOAuthRequest: The body is of another type, or cannot be read; a parameter comes twice, or is in the
            query, where logs keep it.
    """
    if not NEVER_IN_QUERY.isdisjoint(request.query_params):
        raise InvalidOAuthRequest("Parameters belong in the body, not in the query", "parameter-in-query")
    body = await request.body()
    if not body:
        return Parameters({}, ())
    media_type = request.headers.get("content-type", "").partition(";")[0].strip(" \t").lower()
    if media_type != FORM:
        raise InvalidOAuthRequest(f"The body has another type than {FORM}", "body-unreadable")
    pairs = [pair for pair in _read_form(body) if pair.value]
    resources = tuple(pair.value for pair in pairs if pair.name == "resource")
    others = [pair for pair in pairs if pair.name != "resource"]
    values = dict(others)
    if len(values) != len(others):
        raise InvalidOAuthRequest("A parameter comes twice", "parameter-repeated")
    return Parameters(values, resources)


def _read_form(body: bytes) -> list[_Pair]:
    try:
        pairs = parse_qsl(
            body.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS, separator="&"
        )
    except ValueError as error:
        raise InvalidOAuthRequest("The body is not an urlencoded form in UTF-8", "body-unreadable") from error
    return [_Pair(*pair) for pair in pairs]


def the_one_audience(parameters: Parameters) -> str | None:
    """
    Give what `audience` or `resource` (RFC 8707) asks for; None without either.

    Raises:
        InvalidTarget: They ask for more than one, or `resource` is not an absolute URI without fragment.
    """
    for resource in parameters.resources:
        scheme, colon, rest = resource.partition(":")
        is_absolute = scheme.isascii() and scheme[:1].isalpha() and colon and rest
        if not is_absolute or "#" in resource:
            raise InvalidTarget("resource is an absolute URI without a fragment", "resource-malformed")
    asked = {*parameters.resources, *([audience] if (audience := parameters.get("audience")) else ())}
    if len(asked) > 1:
        raise InvalidTarget("A token is for one audience", "audience-ambiguous")
    return asked.pop() if asked else None
