"""`gateway users factors`: what a user has, and all of it taken away."""

from tests.cli.commands import EMAIL, assert_refused, here, in_process
from tests.harness import GatewayProcess
from tests.web.asking import client_of, log_in, problem_of
from tests.web.second_steps import (
    first_step,
    log_in_with,
    new_user_with_totp,
    recovery_codes,
    second_step,
)


def test_the_list_tells_what_the_user_sees(gateway: GatewayProcess) -> None:
    with client_of(gateway) as client:
        session, app = new_user_with_totp(gateway, client)
        strong = log_in_with(gateway, client, session.user, totp=app.code())
        recovery_codes(strong)
        own = client.get("/auth/factors", headers=strong.bearer).json()["factors"]
    rows = here("users", "factors", session.user.email, "--json", env=gateway.env).document["factors"]
    assert rows == [row | {"is_usable": True} for row in own]
    table = here("users", "factors", f" {session.user.email.upper()}", env=gateway.env).out
    for text in (*(row["id"] for row in rows), "recovery (10 left)", "never", rows[0]["last_used_at"]):
        assert text in table


def test_a_reset_takes_all_factors_away_and_ends_all_sessions(gateway: GatewayProcess) -> None:
    with client_of(gateway) as client:
        session, app = new_user_with_totp(gateway, client)
        pending = first_step(client, session.user)["pending"]
        outcome = in_process("users", "factors", session.user.email, "--reset", env=gateway.env)
        assert (outcome.status, outcome.out) == (0, "factors removed: 1; sessions ended: 1\n")
        [told] = outcome.events
        assert (told["event"], told["reason"], told["sub"]) == (
            "factor_removed", "reset-by-command", session.user.user_id,
        )  # fmt: skip
        problem_of(second_step(client, pending, totp=app.code()), 401, "second-factor-invalid")
        assert log_in(gateway, client, session.user).is_alive()
        assert session.refresh().status_code == 401
    again = here("users", "factors", session.user.email, "--reset", "--json", env=gateway.env).document
    assert again == {"removed_factors": 0, "ended_sessions": 1}


def test_nobody_has_no_factors(gateway_env: dict[str, str]) -> None:
    assert_refused(here("users", "factors", EMAIL, env=gateway_env), 1, f"there is no user {EMAIL}")
