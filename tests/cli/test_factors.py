"""gateway users factors: who has which, and taking them away from who has lost them."""

import base64

import pytest

from gateway.accounts import PendingLogin
from gateway.accounts.factors.totp import hotp, step_at
from gateway.sessions import new_family_id
from gateway.state import Gateway
from tests.cli.commands import here, in_process
from tests.harness import TestUser, add_user, in_gateway

pytestmark = pytest.mark.redis

OLD_SECRET, NEW_SECRET = "an old secret of enough characters", "a new secret of enough characters!"


def set_up(env: dict[str, str], user: TestUser, *, name: str = "My phone") -> str:
    """Give a user an app, recovery codes and a session; give the id of the app."""

    async def work(gateway: Gateway) -> str:
        found = await gateway.users.get(user.user_id)
        assert found is not None
        new = await gateway.factors.begin_totp(found)
        code = hotp(base64.b32decode(new.secret), step_at(gateway.clock()))
        await gateway.factors.confirm_totp(user.user_id, new.factor_id, code, name)
        await gateway.factors.make_recovery_codes(user.user_id)
        await gateway.families.open(user.user_id, 1, new_family_id(), "192.0.2.7", "curl")
        return new.factor_id

    return in_gateway(env, work)


def test_the_factors_of_a_user_are_listed(gateway_env: dict[str, str]) -> None:
    user = add_user(gateway_env)
    assert here("users", "factors", user.email, "--json", env=gateway_env).document == {"factors": []}
    factor_id = set_up(gateway_env, user)
    [app, codes] = here("users", "factors", user.email, "--json", env=gateway_env).document["factors"]
    assert (app["id"], app["kind"], app["name"], app["last_used_at"]) == (factor_id, "totp", "My phone", None)
    assert (codes["kind"], codes["left"]) == ("recovery", 10)
    table = here("users", "factors", user.email, env=gateway_env).out
    assert table.splitlines()[0].split() == ["ID", "KIND", "NAME", "CREATED", "LAST", "USED", "LEFT"]
    assert "My phone" in table


def test_recovery_codes_that_are_all_used_are_listed_as_none_left(gateway_env: dict[str, str]) -> None:
    user = add_user(gateway_env)
    set_up(gateway_env, user)

    async def work(gateway: Gateway) -> None:
        logins = gateway.factors.logins
        for code in await gateway.factors.make_recovery_codes(user.user_id):
            asked = await logins.ask(PendingLogin(purpose="factor", user_id=user.user_id, password_version=1))
            await logins.prove_recovery(asked.pending, code)

    in_gateway(gateway_env, work)
    [_, codes] = here("users", "factors", user.email, env=gateway_env).out.splitlines()[1:]
    assert codes.split()[-1] == "0"


def test_a_reset_takes_them_away_and_ends_all_sessions(gateway_env: dict[str, str]) -> None:
    """Shows ASVS 6.5.6."""
    user = add_user(gateway_env)
    set_up(gateway_env, user)
    outcome = in_process("users", "factors", user.email, "--reset", env=gateway_env)
    assert outcome.out == "factors removed: 2; sessions ended: 1\n"
    [told] = outcome.events
    assert (told["event"], told["reason"], told["sub"]) == ("factor_removed", "reset", user.user_id)
    assert here("users", "factors", user.email, "--json", env=gateway_env).document == {"factors": []}
    assert here("sessions", "list", user.email, "--json", env=gateway_env).document == {"sessions": []}


def test_factors_that_need_a_previous_secret_are_counted(gateway_env: dict[str, str]) -> None:
    old = gateway_env | {"GATEWAY_SECRET": OLD_SECRET}
    set_up(old, add_user(old))
    here("keys", "list", env=old)
    both = gateway_env | {"GATEWAY_SECRET": NEW_SECRET, "GATEWAY_PREVIOUS_SECRETS": OLD_SECRET}

    def warnings(env: dict[str, str]) -> list[str]:
        found: list[str] = here("check", "--json", env=env).document["warnings"]
        return [text for text in found if "second factors" in text]

    assert warnings(old) == []
    [told] = warnings(both)
    assert told.startswith("2 second factors are sealed under a previous secret")
