"""Personal tokens on the account: listed, made, shown once and revoked, and only by who has just logged in."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from gateway.state import Gateway
from tests.families.records import Records
from tests.harness import GatewayProcess, RedisServer, TestUser, in_gateway, run_command, wait_until
from tests.web.asking import client_of, problem_of
from tests.web.browsing import Browser, Page, browser_of, page_of
from tests.web.factor_pages import Person, new_person
from tests.web.personal_tokens import as_bearer, status_with

pytestmark = pytest.mark.redis
ACCOUNT = "/auth/account"
TOKENS = "/auth/account/tokens"
HOSTILE = "<img src=x onerror=alert(1)>"
MAX_TOKENS = 100


@pytest.fixture
def user(gateway: GatewayProcess) -> TestUser:
    """Give a user with two roles."""
    return gateway.add_user(roles=("staff", "ops"))


@pytest.fixture
def browser(gateway: GatewayProcess, user: TestUser) -> Browser:
    """Give the browser in which that user has just signed in."""
    browser = browser_of(gateway)
    browser.sign_in(user)
    return browser


def make(browser: Browser, name: str = "backup", days: str = "90", **fields: str | list[str]) -> str:
    """Make a token by the form, and give it."""
    page = page_of(browser.post(TOKENS, name=name, days=days, **fields))
    return str(page.ids["token"]["value"])


def section_of(browser: Browser) -> str:
    """Give what the account says of the tokens."""
    return page_of(browser.get(ACCOUNT)).text.partition("Personal tokens ")[2].partition("Change password")[0]


def way_to_revoke(browser: Browser) -> str:
    """Give where the only button to revoke one leads."""
    [action] = [action for action in page_of(browser.get(ACCOUNT)).forms if action.endswith("/revoke")]
    return action


def roles_with(gateway: GatewayProcess, token: str) -> list[str]:
    """Give the roles that a script with a token has."""
    with client_of(gateway) as client:
        roles: list[str] = client.get("/auth/me", headers=as_bearer(token)).json()["roles"]
        return roles


def ticked(page: Page) -> list[str]:
    """Give the roles that are ticked in the form."""
    boxes = [attributes for tag, attributes in page.tags if tag == "input" and attributes.get("name") == "roles"]
    return [str(box["value"]) for box in boxes if "checked" in box]


# ------------------------------------------------------------------------------------------------------------- making


def test_a_token_that_was_made_on_the_page_opens_what_its_owner_may_open(
    browser: Browser, gateway: GatewayProcess
) -> None:
    token = make(browser)
    with client_of(gateway) as client:
        assert status_with(client, token, "role=ops") == 200


def test_the_form_has_a_name_ninety_days_and_the_roles_of_its_owner(browser: Browser) -> None:
    page = page_of(browser.get(TOKENS))
    assert (page.ids["days"]["value"], page.ids["days"]["max"]) == ("90", "365")
    assert page.ids["name"]["value"] == ""
    assert [attributes["value"] for _, attributes in page.tags if attributes.get("name") == "roles"] == ["staff", "ops"]
    assert ticked(page) == []
    assert TOKENS in page_of(browser.get(ACCOUNT)).links


def test_who_has_no_roles_is_not_asked_for_any(gateway: GatewayProcess) -> None:
    browser = browser_of(gateway)
    browser.sign_in(gateway.add_user(roles=()))
    assert "Only with these roles" not in page_of(browser.get(TOKENS)).text
    assert make(browser)


def test_it_has_the_roles_that_were_ticked_and_no_others(browser: Browser, gateway: GatewayProcess) -> None:
    assert roles_with(gateway, make(browser, roles="ops")) == ["ops"]


def test_several_may_be_ticked_as_many_as_anybody_has(gateway: GatewayProcess) -> None:
    roles = [f"r{number}" for number in range(50)]
    browser = browser_of(gateway)
    browser.sign_in(gateway.add_user(roles=tuple(roles)))
    assert roles_with(gateway, make(browser, roles=roles)) == roles


def test_without_a_tick_it_has_all_of_them(browser: Browser, gateway: GatewayProcess) -> None:
    assert roles_with(gateway, make(browser)) == ["staff", "ops"]
    assert "all your roles" in section_of(browser)


def test_it_is_good_for_as_many_days_as_was_said(browser: Browser, gateway: GatewayProcess) -> None:
    make(browser, days="1")
    with client_of(gateway) as client:
        answer = client.get("/auth/tokens", headers={"Cookie": f"gateway_session={browser.cookies['gateway_session']}"})
    [told] = answer.json()["tokens"]
    made, ends = (datetime.fromisoformat(told[name]) for name in ("created_at", "expires_at"))
    assert ends - made == timedelta(days=1)


def test_it_is_shown_in_a_field_that_is_easily_copied_and_not_changed(browser: Browser) -> None:
    answer = browser.post(TOKENS, name="backup", days="90")
    page = page_of(answer)
    field = page.ids["token"]
    assert str(field["value"]).startswith("gwp_")
    assert len(str(field["value"])) == 96
    assert "readonly" in field
    assert field["autocomplete"] == "off"
    assert "name" not in field


def test_it_is_shown_once(browser: Browser) -> None:
    token = make(browser)
    for path in (TOKENS, ACCOUNT):
        assert token not in browser.get(path).text
    assert token not in str(browser.cookies)


def test_a_name_is_no_markup(browser: Browser) -> None:
    for answer in (browser.post(TOKENS, name=HOSTILE, days="90"), browser.get(ACCOUNT)):
        assert HOSTILE in page_of(answer).text
        assert HOSTILE not in answer.text


def test_a_second_browser_is_told_that_one_was_made(browser: Browser, user: TestUser, gateway: GatewayProcess) -> None:
    make(browser)
    assert "A personal token was made" not in page_of(browser.get(ACCOUNT)).text
    other = browser_of(gateway)
    other.sign_in(user)
    assert "A personal token was made" in page_of(other.get(ACCOUNT)).text


# ---------------------------------------------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize(
    ("name", "days", "told"),
    [
        ("", "30", "Please give the token a name."),
        ("  ", "30", "Please give the token a name."),
        ("x" * 61, "30", "A name has at most 60 characters"),
        ("a\u202eb", "30", "A name has at most 60 characters"),
        ("backup", "0", "at least one day"),
        ("backup", "366", "at least one day"),
        ("backup", "", "at least one day"),
        ("backup", "-1", "at least one day"),
        ("backup", "1.5", "at least one day"),
        ("backup", "\u0663", "at least one day"),
        ("backup", "9" * 5000, "at least one day"),
    ],
)
def test_what_is_wrong_is_told_and_what_was_typed_is_kept(browser: Browser, name: str, days: str, told: str) -> None:
    page = page_of(browser.post(TOKENS, name=name, days=days, roles="ops"), 400)
    assert told in page.text
    assert page.ids["alert"]["role"] == "alert"
    assert (page.ids["name"]["value"], page.ids["days"]["value"]) == (name, days)
    assert ticked(page) == ["ops"]
    wrong = "days" if "day" in told else "name"
    assert [field for field in ("name", "days") if "aria-invalid" in page.ids[field]] == [wrong]
    assert "not used yet" not in section_of(browser)


@pytest.mark.parametrize("role", ["admin", "ops,admin", "staff\n"])
def test_a_role_that_is_not_the_owners_is_not_given(browser: Browser, role: str) -> None:
    page = page_of(browser.post(TOKENS, name="backup", days="30", roles=["ops", role]), 400)
    assert "You no longer have one of the chosen roles." in page.text
    assert page.ids["name"]["value"] == "backup"
    assert ticked(page) == ["ops"]
    assert "not used yet" not in section_of(browser)


@pytest.mark.parametrize(
    "fields", [{"name": ["backup", "backup"]}, {"name": "backup", "days": ["1", "365"]}, {"roles": ["ops"] * 71}]
)
def test_fields_that_come_too_often_are_no_form(browser: Browser, fields: dict[str, str | list[str]]) -> None:
    assert "could not be understood" in page_of(browser.post(TOKENS, **fields), 400).text
    assert "not used yet" not in section_of(browser)


def test_nor_is_one_that_was_taken_away_meanwhile(browser: Browser, user: TestUser, gateway: GatewayProcess) -> None:
    page_of(browser.get(TOKENS))
    run_command("users", "roles", user.email, "staff", env=gateway.env).check_returncode()
    assert "You no longer have" in page_of(browser.post(TOKENS, name="backup", days="30", roles="ops"), 400).text


def test_more_than_there_may_be_are_refused(browser: Browser, user: TestUser, gateway: GatewayProcess) -> None:
    async def make_as_many_as_there_may_be(parts: Gateway) -> None:
        for _ in range(MAX_TOKENS):
            await parts.personal_tokens.create(user.user_id, "one of many", None)

    in_gateway(gateway.env, make_as_many_as_there_may_be)
    page = page_of(browser.post(TOKENS, name="one too many", days="7"), 400)
    assert "You have as many of these as there may be." in page.text
    assert (page.ids["name"]["value"], page.ids["days"]["value"]) == ("one too many", "7")


def test_too_many_in_a_row_have_to_wait(gateway_with: Callable[..., GatewayProcess]) -> None:
    gateway = gateway_with(login_limit="2/minute")
    browser = browser_of(gateway)
    browser.sign_in(gateway.add_user())
    for name in ("one", "two"):
        make(browser, name)
    page = page_of(browser.post(TOKENS, name="three", days="7"), 429)
    assert "Too many attempts." in page.text
    assert (page.ids["name"]["value"], page.ids["days"]["value"]) == ("three", "7")


# ----------------------------------------------------------------------------------------------- listed and revoked


def test_the_account_lists_them_with_name_roles_and_times(browser: Browser, gateway: GatewayProcess) -> None:
    assert "made on" not in section_of(browser)
    token = make(browser, "backup at home", roles=["staff", "ops"])
    text = section_of(browser)
    assert "backup at home staff, ops · not used yet made on" in text
    assert "good until" in text
    with client_of(gateway) as client:
        assert status_with(client, token) == 200
    assert "staff, ops · last used just now" in section_of(browser)


def test_the_newest_comes_first(browser: Browser) -> None:
    for name in ("first", "second"):
        make(browser, name)
    text = section_of(browser)
    assert text.index("second") < text.index("first")


def test_one_is_revoked_by_a_button(browser: Browser, gateway: GatewayProcess) -> None:
    token = make(browser)
    path = way_to_revoke(browser)
    with client_of(gateway) as client:
        assert status_with(client, token) == 200
        answer = browser.post(path)
        assert (answer.status_code, answer.headers["Location"]) == (303, f"{ACCOUNT}?done=token-revoked")
        assert status_with(client, token) == 401
    text = page_of(browser.get(answer.headers["Location"])).text
    assert "The token has been revoked." in text
    assert "not used yet" not in section_of(browser)
    assert browser.post(path).headers["Location"] == ACCOUNT


def test_nobody_revokes_the_token_of_another_user(browser: Browser, gateway: GatewayProcess) -> None:
    token = make(browser)
    other = browser_of(gateway)
    other.sign_in(gateway.add_user())
    assert other.post(way_to_revoke(browser)).headers["Location"] == ACCOUNT
    with client_of(gateway) as client:
        assert status_with(client, token) == 200
    assert "backup" in section_of(browser)


# --------------------------------------------------------------------------------------------------- by a young login


PATHS = (TOKENS, f"{TOKENS}/pat_{'x' * 22}/revoke")


@pytest.mark.parametrize("path", PATHS)
def test_who_is_not_signed_in_is_led_to_the_login(path: str, gateway: GatewayProcess) -> None:
    browser = browser_of(gateway)
    for answer in [browser.post(path)] + ([browser.get(path)] if path == TOKENS else []):
        assert (answer.status_code, urlsplit(answer.headers["Location"]).path) == (303, "/auth/login")


@pytest.mark.parametrize("path", PATHS)
def test_another_site_changes_nothing(path: str, browser: Browser) -> None:
    page_of(browser.post(path, {"Sec-Fetch-Site": "cross-site"}, name="backup", days="90"), 403)
    assert "backup" not in section_of(browser)


def test_an_old_login_has_to_be_made_again(
    gateway: GatewayProcess, user: TestUser, browser: Browser, redis_server: RedisServer
) -> None:
    token = make(browser)
    revoke = way_to_revoke(browser)
    old = browser_of(gateway)
    old.sign_in(user)
    records = Records(redis_server, "shared:")
    for family_id, record in records.of(user.user_id).items():
        older = replace(record, created_ms=record.created_ms - 601_000)
        records.client.hset(records.key(user.user_id), family_id, older.pack())
    records.close()
    for answer, to, back in (
        (old.get(TOKENS), "token", TOKENS),
        (old.post(TOKENS, name="another", days="90"), "token", TOKENS),
    ):
        rd = f"{gateway.url}{ACCOUNT}?to={to}"
        assert answer.headers["Location"] == f"/auth/login?rd={quote(rd, safe='')}&max_auth_age=600"
        assert old.get(f"{ACCOUNT}?to={to}").headers["Location"] == back
    assert "another" not in section_of(old)
    with client_of(gateway) as client:
        assert status_with(client, token) == 200
        assert old.post(revoke).headers["Location"] == f"{ACCOUNT}?done=token-revoked"
        wait_until(lambda: status_with(client, token) == 401, 2)


def test_a_password_alone_is_not_enough_where_there_is_a_factor(gateway: GatewayProcess) -> None:
    person: Person = new_person(gateway)
    browser = person.browser  # it was signed in by the password, before there was one
    for answer in (browser.get(TOKENS), browser.post(TOKENS, name="backup", days="90")):
        assert parse_qs(urlsplit(answer.headers["Location"]).query)["amr"] == ["mfa"]
    strong = browser_of(gateway)
    person.sign_in(strong)
    assert make(strong)


# ------------------------------------------------------------------------------------------------------- who may know


def test_no_log_has_the_token_and_the_audit_who_made_it(browser: Browser, gateway: GatewayProcess) -> None:
    since = gateway.log_size()
    token = make(browser)
    browser.post(way_to_revoke(browser))
    log = gateway.log_path.read_bytes()[since:].decode()
    assert token.removeprefix("gwp_")[-64:] not in log
    assert [name for name in ("token_created", "token_revoked") if name in log] == ["token_created", "token_revoked"]


@pytest.mark.parametrize("path", PATHS)
def test_without_the_portal_there_are_no_pages_of_them(path: str, gateway_with: Callable[..., GatewayProcess]) -> None:
    browser = browser_of(gateway_with(portal="off"))
    problem_of(browser.post(path), 404, "not-found")
    if path == TOKENS:
        problem_of(browser.get(path), 404, "not-found")
