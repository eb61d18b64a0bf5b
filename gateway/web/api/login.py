"""POST /auth/login: a password becomes a session."""

import contextlib
from collections.abc import Iterator

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from gateway.accounts import NOBODY, UnknownUser, User, UserChanged, normalise_email
from gateway.errors import InvalidCredentials, MalformedRequest, Overloaded, RefreshTokenInvalid
from gateway.limits import KNOWN_DEVICE_SECONDS
from gateway.sessions import Opened, new_family_id
from gateway.state import Gateway, GatewayRequest
from gateway.web.api.delivery import session_response, token_response
from gateway.web.api.wire import LoginRequest
from gateway.web.http import (
    KNOWN_DEVICE,
    REFRESH_TOKEN,
    Address,
    address_of,
    cookie_name,
    device_label,
    find_session,
    is_too_large,
    rate_key,
    rate_keys,
    read_body,
    read_cookie,
    refuse_cross_site,
    refuse_quickly,
    refuse_token_in_query,
    set_device_cookie,
    tell,
)

OAUTH_FORM_FIELDS = frozenset({"grant_type", "scope", "client_id", "client_secret"})


async def log_in(request: GatewayRequest) -> Response:
    """Compare the password, open a family, and hand out the first pair of tokens."""
    gateway = request.state["gateway"]
    address = _heard_address(request)
    refuse_token_in_query(request)
    earlier = list(_earlier_sessions(request))
    body = await read_body(request, LoginRequest, ignored_fields=OAUTH_FORM_FIELDS)
    if body.delivery not in ("cookie", "body", "session"):
        raise MalformedRequest("delivery is `cookie`, `body` or `session`")

    request.scope["gateway.email"] = normalise_email(body.username)

    rate = await gateway.rate_limiter.take("login", *rate_keys(address))
    try:
        user, opened, device_id = await _open_session(request, body, address)
    except InvalidCredentials as error:
        if "gateway.sub" not in request.scope:
            error.cause = "unknown-user"
        tell("login_failed", request, failed=True, reason=error.cause)
        raise
    await gateway.end_families(user.user_id, opened.unannounced)
    for session in earlier:
        await _end_earlier_session(gateway, *session)
    tell("login_succeeded", request, sub=user.user_id, sid=opened.family_id)

    device_token = gateway.guessing.remember_device(user.user_id, user.password_version, device_id)
    if body.delivery == "session":
        response = session_response(gateway, user, opened, remember=body.remember, rate=rate)
        if device_token is not None:
            set_device_cookie(response, gateway.settings, device_token, KNOWN_DEVICE_SECONDS)
        return response
    access_token = await gateway.access_tokens.mint(
        subject=user.user_id,
        family_id=opened.family_id,
        auth_time=opened.auth_time,
        roles=user.roles,
        email=user.email,
        name=user.name,
        now=gateway.clock(),
        session_seconds_left=opened.max_age_seconds,
    )
    as_cookie = body.delivery == "cookie"
    response = token_response(
        gateway,
        access_token,
        opened.refresh_token,
        max_age_seconds=opened.max_age_seconds,
        as_cookie=as_cookie,
        rate=rate,
        user=user,
        device_token=None if as_cookie else device_token,
    )
    if as_cookie and device_token is not None:
        set_device_cookie(response, gateway.settings, device_token, KNOWN_DEVICE_SECONDS)
    return response


def login_quickly(scope: Scope) -> tuple[int, bytes] | None:
    """Refuse who would wait too long (`gateway.state.QuickAnswer`): all that most requests of a flood cost."""
    request: GatewayRequest = Request(scope)
    if "origin" in request.headers or is_too_large(request.headers):
        return None
    try:
        _heard_address(request)
    except Overloaded as error:
        return refuse_quickly(scope, error)
    return None


def _heard_address(request: GatewayRequest) -> Address:
    """Give the address of who may log in from where he comes, and whose password can be looked at in time."""
    gateway = request.state["gateway"]
    refuse_cross_site(request.headers, gateway.settings)
    address = address_of(request, gateway.trusted_networks)
    gateway.passwords.refuse_when_full(rate_key(address))
    return address


async def _open_session(
    request: GatewayRequest, body: LoginRequest, address: Address
) -> tuple[User, Opened, str | None]:
    """Compare the password, if the attempt may be heard, and open a family; give the id of a known device, too."""
    gateway = request.state["gateway"]
    email = normalise_email(body.username)
    cookie = read_cookie(request.scope["headers"], cookie_name(gateway.settings, KNOWN_DEVICE))
    found = await gateway.users.find(email)
    if found is not None:
        request.scope["gateway.sub"] = found.user_id
    owner = (found.user_id, found.password_version) if found else (NOBODY, 0)
    device_id = gateway.guessing.device_of(*owner, body.device_token or cookie)
    async with gateway.guessing.login(email, device_id) as attempt:
        user = await _authenticate(gateway, found, body.password, rate_key(address))
        attempt.was_right = True
        label = device_label(request.headers.get("user-agent", ""))
        opened = await gateway.families.open(
            user.user_id,
            user.password_version,
            new_family_id(),
            str(address),
            label,
            most_seconds=_most_seconds(gateway, body),
        )
    return user, opened, attempt.device_id


def _most_seconds(gateway: Gateway, body: LoginRequest) -> int | None:
    """Give how long the session may live at most: one that ends with the browser has an end of its own."""
    is_short = body.delivery == "session" and not body.remember
    return gateway.settings.browser_session_ttl_seconds if is_short else None


async def _authenticate(gateway: Gateway, user: User | None, password: str, address_key: str) -> User:
    # An unknown or disabled user costs one bcrypt too, so timing does not tell who exists.
    await gateway.passwords.verify(password, user.password_hash if user else None, address_key)
    if user is None or not user.is_active:
        raise InvalidCredentials("user-disabled")
    if gateway.passwords.needs_renewal(user.password_hash):
        with contextlib.suppress(Overloaded, UserChanged, UnknownUser):
            renewed = await gateway.passwords.hash(password, address_key)
            await gateway.users.renew_hash(user.user_id, renewed, user.password_version)
    return user


def _earlier_sessions(request: GatewayRequest) -> Iterator[tuple[str, str]]:
    """Give user and family of the sessions whose cookies came along: the browser is about to overwrite them."""
    gateway, headers = request.state["gateway"], request.scope["headers"]
    refresh_token = read_cookie(headers, cookie_name(gateway.settings, REFRESH_TOKEN))
    if refresh_token is not None:
        with contextlib.suppress(RefreshTokenInvalid):
            token = gateway.families.parse(refresh_token)
            yield token.user_id, token.family_id
    if (session := find_session(headers, gateway)) is not None:
        yield session.user_id, session.family_id


async def _end_earlier_session(gateway: Gateway, user_id: str, family_id: str) -> None:
    if await gateway.families.exists(user_id, family_id):
        await gateway.end_families(user_id, (family_id,))
