"""GET and POST /auth/welcome: who was invited, or has lost his password, sets one, and is signed in."""

from starlette.responses import Response

from gateway.accounts import User, check_new_password
from gateway.errors import InvitationSpent, PasswordRejected, RateLimited, Unavailable
from gateway.state import GatewayRequest
from gateway.telemetry import PASSWORD_CHANGED
from gateway.web.html import failure_page, page_response, see_other
from gateway.web.http import (
    SecretBody,
    Wanted,
    address_of,
    ask_for_more,
    finish_opening,
    open_family,
    rate_key,
    rate_keys,
    read_body,
    refuse_cross_site,
    set_session_cookie,
    tell,
)
from gateway.web.pages.second_step import ask_for_factor
from gateway.web.pages.visitor import ACCOUNT_PATH, for_people


class WelcomeForm(SecretBody, frozen=True):
    """Fields of the form."""

    code: str = ""
    password: str = ""


@for_people
async def show_welcome(request: GatewayRequest) -> Response:
    """Show the form to who has a good code; looking uses nothing up."""
    code = request.query_params.get("code", "")
    user = await request.state["gateway"].invitations.look(code)
    if user is None:
        return _spent(request)
    return page_response(request, "welcome", email=user.email, code=code, reason="", reasons=(), wait="")


@for_people
async def accept_invitation(request: GatewayRequest) -> Response:
    """Set the password, use the code up, and sign in; or show the form again with what is wrong."""
    gateway = request.state["gateway"]
    refuse_cross_site(request.headers, gateway.settings)
    address = address_of(request, gateway.trusted_networks)
    form = await read_body(request, WelcomeForm)
    user = await gateway.invitations.look(form.code)
    if user is None:
        return _spent(request)
    request.scope["gateway.sub"] = user.user_id
    values = {"email": user.email, "code": form.code}

    def told(changed: User) -> None:
        tell(PASSWORD_CHANGED, request, "invitation", sub=changed.user_id)

    try:
        await gateway.rate_limiter.take("login", *rate_keys(address))
        check_new_password(
            form.password,
            email=user.email,
            min_length=gateway.settings.password_min_length,
            service_names=gateway.service_names,
        )
        password_hash = await gateway.passwords.hash(form.password, rate_key(address))
        user = await gateway.accept_invitation(form.code, password_hash, told)
    except PasswordRejected as error:
        return await failure_page(request, error, "welcome", reasons=error.reasons, **values)
    except (RateLimited, Unavailable) as error:
        return await failure_page(request, error, "welcome", reasons=(), **values)

    wanted = Wanted("session")
    lacking = await ask_for_more(request, user, wanted)
    if lacking is not None:
        return await ask_for_factor(request, lacking, "", address)
    opened = await open_family(request, user, address, most_seconds=wanted.most_seconds(gateway.settings))
    await finish_opening(request, user, opened, [], "invitation")
    response = see_other(request, ACCOUNT_PATH)
    set_session_cookie(response, gateway.settings, gateway.families.cookie_of(user.user_id, opened), None)
    return response


def _spent(request: GatewayRequest) -> Response:
    request.scope["gateway.error"] = InvitationSpent()
    return page_response(request, "problem", 404, reason="problem_invitation_spent", wait="")
