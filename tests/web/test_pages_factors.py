"""Second factors on the account: set up, named, taken away, and only by who has just logged in."""

from collections.abc import Callable
from dataclasses import replace
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from tests.families.records import Records
from tests.harness import GatewayProcess, RedisServer, TestUser, run_command
from tests.web.asking import problem_of
from tests.web.browsing import Browser, browser_of, page_of
from tests.web.factor_pages import (
    APP,
    NAMED,
    PASSKEY,
    RECOVERY,
    Person,
    add_app,
    answer_of,
    app_of,
    codes_of,
    fields_of,
    new_person,
    options_of,
    passkey,
    secret_of,
)

pytestmark = pytest.mark.redis
ACCOUNT = "/auth/account"
NEW = "quite another sentence"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Safari/604.1"
HOSTILE = "<img src=x onerror=alert(1)>"
PATHS = (APP, PASSKEY, RECOVERY, f"{RECOVERY}/file", f"{ACCOUNT}/factors/fac_x/name", f"{ACCOUNT}/factors/fac_x/remove")


@pytest.fixture
def user(gateway: GatewayProcess) -> TestUser:
    """Give a user who has a password alone."""
    return gateway.add_user()


@pytest.fixture
def browser(gateway: GatewayProcess, user: TestUser) -> Browser:
    """Give the browser in which that user is signed in."""
    browser = browser_of(gateway)
    browser.sign_in(user)
    return browser


@pytest.fixture
def person(gateway: GatewayProcess) -> Person:
    """Give somebody with an app, and the browser in which it was set up."""
    return new_person(gateway, name="My telephone")


@pytest.fixture
def strong(person: Person) -> Browser:
    """Give a browser in which that one has signed in with the app, and may change everything."""
    browser = browser_of(person.browser.gateway)
    person.sign_in(browser)
    return browser


def way_to(browser: Browser, kind: str) -> str:
    """Give the page of a factor by what its link says."""
    page = page_of(browser.get(ACCOUNT))
    labels = [
        (str(attributes["aria-label"]), str(attributes["href"]))
        for tag, attributes in page.tags
        if tag == "a" and attributes.get("aria-label")
    ]
    [path] = [path for label, path in labels if kind in label]
    return path


def test_who_has_none_is_told_what_it_is_good_for(browser: Browser) -> None:
    page = page_of(browser.get(ACCOUNT))
    assert "Your password alone protects this account." in page.text
    assert APP in page.links
    assert RECOVERY not in page.links


# ------------------------------------------------------------------------------------------------ an authenticator app


def test_an_app_is_given_the_secret_as_a_picture_and_in_words(browser: Browser, user: TestUser) -> None:
    answer = browser.get(APP)
    page = page_of(answer)
    assert secret_of(page)
    [picture] = [attributes for tag, attributes in page.tags if tag == "svg" and attributes.get("class") == "qr"]
    assert picture["viewbox"]
    assert page.ids["code"]["autocomplete"] == "one-time-code"
    assert len(answer.content) <= 10_240


def test_with_the_first_factor_come_recovery_codes(browser: Browser) -> None:
    _, answer = add_app(browser, name=HOSTILE)
    assert len(codes_of(page_of(answer))) == 10
    answer = browser.get(ACCOUNT)
    assert HOSTILE in page_of(answer).text
    assert HOSTILE not in answer.text
    assert "10 of 10 left" in page_of(answer).text


def test_a_wrong_code_keeps_the_secret_and_the_name(browser: Browser) -> None:
    page = page_of(browser.get(APP))
    app, form = app_of(page), fields_of(page, "code")
    again = page_of(browser.post(APP, id=form["id"], code=app.wrong_code(), name="My telephone"), 401)
    assert again.ids["alert"]["role"] == "alert"
    assert secret_of(again) == secret_of(page)
    assert fields_of(again, "name")["name"] == "My telephone"
    codes_of(page_of(browser.post(APP, id=form["id"], code=app.code())))


@pytest.mark.parametrize("name", ["x" * 61, "a\u202eb"])
def test_a_name_that_is_none_is_told(browser: Browser, name: str) -> None:
    page = page_of(browser.get(APP))
    answer = browser.post(APP, id=fields_of(page, "code")["id"], code=app_of(page).code(), name=name)
    assert "A name has at most 60 characters" in page_of(answer, 400).text


def test_what_is_not_being_set_up_is_begun_anew(browser: Browser) -> None:
    answer = browser.post(APP, id="fac_nothing", code="123456")
    assert (answer.status_code, answer.headers["Location"]) == (303, APP)


def test_more_than_there_may_be_are_refused(strong: Browser) -> None:
    for _ in range(2):
        add_app(strong)
    _, answer = add_app(strong)
    assert "You have as many of these as there may be." in page_of(answer, 400).text


# ------------------------------------------------------------------------------------------------------------ passkeys


def test_a_passkey_is_added_and_named(gateway_with: Callable[..., GatewayProcess]) -> None:
    gateway = gateway_with(issuer=NAMED, account_throttle="on")
    user, browser, device = gateway.add_user(), browser_of(gateway), passkey()
    browser.sign_in(user)
    page = page_of(browser.get(PASSKEY))
    options = options_of(page)
    assert options["rp"] == {"id": "localhost", "name": "localhost"}
    wrong = answer_of(device.create(options, origin="https://evil.example"))
    page = page_of(browser.post(PASSKEY, credential=wrong, name="Key"), 401)
    assert fields_of(page, "name")["name"] == "Key"
    said = answer_of(device.create(options_of(page)))
    codes_of(page_of(browser.post(PASSKEY, credential=said, name="Key")))
    assert "Key Passkey · not used yet" in page_of(browser.get(ACCOUNT)).text
    page_of(browser.post(PASSKEY, credential="x", name="Key"), 400)


def test_there_are_none_for_an_address(browser: Browser) -> None:
    assert PASSKEY not in page_of(browser.get(ACCOUNT)).links
    page_of(browser.get(PASSKEY), 404)


# ------------------------------------------------------------------------------------------------------ recovery codes


def test_new_recovery_codes_take_the_place_of_the_old_ones(strong: Browser, person: Person) -> None:
    page = page_of(strong.get(RECOVERY))
    assert "stop working" in page.text
    assert codes_of(page_of(strong.post(RECOVERY))) != person.codes
    other = browser_of(strong.gateway)
    pending = fields_of(person.first_step(other), "recovery")["pending"]
    page_of(other.post("/auth/login", pending=pending, recovery=person.codes[0]), 401)


def test_they_are_shown_once(strong: Browser) -> None:
    codes = codes_of(page_of(strong.post(RECOVERY)))
    for path in (RECOVERY, ACCOUNT):
        assert not any(code in strong.get(path).text for code in codes)


def test_they_are_saved_as_a_file_without_a_script(strong: Browser, person: Person) -> None:
    page = page_of(strong.post(RECOVERY))
    answer = strong.post(f"{RECOVERY}/file", codes=fields_of(page, "codes")["codes"])
    assert answer.headers["Content-Disposition"] == 'attachment; filename="recovery-codes.txt"'
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers.get_list("Cache-Control") == ["no-store"]
    assert person.user.email in answer.text
    assert answer.text.splitlines()[-10:] == codes_of(page)


@pytest.mark.parametrize("codes", ["", "<script>", "AAAAA-AAAAA", " ".join(["AAAAA-AAAAA"] * 11), "AAAAA-AAAAA\n" * 10])
def test_no_other_text_is(strong: Browser, codes: str) -> None:
    answer = strong.post(f"{RECOVERY}/file", codes=codes)
    page_of(answer, 400)


def test_who_has_no_factor_has_no_codes(browser: Browser) -> None:
    assert browser.get(RECOVERY).headers["Location"] == ACCOUNT
    page_of(browser.post(RECOVERY), 400)


# ------------------------------------------------------------------------------------------------- named and taken away


def test_a_factor_gets_another_name(strong: Browser) -> None:
    path = way_to(strong, "My telephone")
    assert fields_of(page_of(strong.get(path)), "name")["name"] == "My telephone"
    assert "at most 60" in page_of(strong.post(f"{path}/name", name="x" * 61), 400).text
    answer = strong.post(f"{path}/name", name="Old telephone")
    assert answer.headers["Location"] == f"{ACCOUNT}?done=factor-renamed"
    assert "Old telephone" in page_of(strong.get(answer.headers["Location"])).text


def test_before_the_last_one_goes_there_is_a_warning(strong: Browser, person: Person) -> None:
    path = way_to(strong, "My telephone")
    assert "This is your last one." in page_of(strong.get(path)).text
    add_app(strong, name="Another")
    assert "This is your last one." not in page_of(strong.get(path)).text
    assert "This is your last one." not in page_of(strong.get(way_to(strong, "Recovery codes"))).text


def test_with_the_last_one_the_recovery_codes_go(strong: Browser, person: Person) -> None:
    path = way_to(strong, "My telephone")
    answer = strong.post(f"{path}/remove")
    assert answer.headers["Location"] == f"{ACCOUNT}?done=factor-removed"
    page = page_of(strong.get(answer.headers["Location"]))
    assert "It has been removed." in page.text
    assert "Your password alone protects this account." in page.text
    assert strong.get(path).headers["Location"] == ACCOUNT
    assert strong.post(f"{path}/remove").headers["Location"] == ACCOUNT
    browser_of(strong.gateway).sign_in(person.user)


def test_nobody_touches_the_factor_of_another_user(strong: Browser, gateway: GatewayProcess) -> None:
    other = new_person(gateway)
    path = way_to(other.browser, "Authenticator app")
    assert strong.get(path).headers["Location"] == ACCOUNT
    strong.post(f"{path}/name", name="Mine")
    strong.post(f"{path}/remove")
    assert way_to(other.browser, "Authenticator app") == path


# ------------------------------------------------------------------------------------------------- changed elsewhere


def test_what_was_changed_in_another_session_is_told(user: TestUser, browser: Browser, gateway: GatewayProcess) -> None:
    """Shows ASVS 6.3.7."""
    telephone = browser_of(gateway, User_Agent=IPHONE)
    telephone.sign_in(user)
    add_app(telephone)
    text = page_of(browser.get(ACCOUNT)).text
    assert "An authenticator app was added" in text
    assert "New recovery codes were made" in text
    assert "from 127.0.0.1 (Safari · iPhone)" in text
    assert "If that was not you" in text
    assert "changed lately" not in page_of(telephone.get(ACCOUNT)).text


def test_so_is_a_password(user: TestUser, browser: Browser, gateway: GatewayProcess) -> None:
    """Shows ASVS 6.3.7."""
    browser.post(f"{ACCOUNT}/password", current_password=user.password, new_password=NEW)
    assert "changed lately" not in page_of(browser.get(ACCOUNT)).text
    other = browser_of(gateway)
    other.sign_in(replace(user, password=NEW))
    assert "Your password was changed" in page_of(other.get(ACCOUNT)).text


def test_and_what_a_command_has_done(person: Person, gateway: GatewayProcess) -> None:
    run_command("users", "factors", person.user.email, "--reset", env=gateway.env).check_returncode()
    words = ("users", "set-password", person.user.email, "--password-stdin")
    run_command(*words, env=gateway.env, stdin=NEW).check_returncode()
    browser = browser_of(gateway)
    browser.sign_in(replace(person.user, password=NEW))
    text = page_of(browser.get(ACCOUNT)).text
    assert "All second factors were removed" in text
    assert "Your password was changed" in text
    assert "by an administrator" in text


# --------------------------------------------------------------------------------------------------- by a young login


@pytest.mark.parametrize("path", PATHS)
def test_who_is_not_signed_in_is_led_to_the_login(path: str, gateway: GatewayProcess) -> None:
    browser = browser_of(gateway)
    answers = [browser.post(path)] + ([browser.get(path)] if path in (APP, PASSKEY, RECOVERY) else [])
    for answer in answers:
        assert (answer.status_code, urlsplit(answer.headers["Location"]).path) == (303, "/auth/login")


@pytest.mark.parametrize("path", PATHS)
def test_another_site_changes_nothing(path: str, strong: Browser) -> None:
    page_of(strong.post(path, {"Sec-Fetch-Site": "cross-site"}), 403)


def test_a_password_alone_is_not_enough_where_there_is_a_factor(person: Person, gateway: GatewayProcess) -> None:
    browser = person.browser  # it was signed in by the password, before there was one
    path = way_to(browser, "My telephone")
    for answer in (browser.get(APP), browser.post(APP, id="x", code="1"), browser.post(f"{path}/remove")):
        query = parse_qs(urlsplit(answer.headers["Location"]).query)
        assert answer.status_code == 303
        assert query["amr"] == ["mfa"]
        assert query["rd"][0].startswith(f"{gateway.url}{ACCOUNT}?to=")
    page = page_of(browser.get(browser.get(APP).headers["Location"]))
    assert "stronger way" in page.text
    pending = fields_of(person.first_step(browser, rd=fields_of(page, "rd")["rd"]), "totp")["pending"]
    answer = browser.post("/auth/login", pending=pending, totp=person.app.code(), rd=fields_of(page, "rd")["rd"])
    assert answer.headers["Location"] == f"{gateway.url}{ACCOUNT}?to=app"
    assert browser.get(f"{ACCOUNT}?to=app").headers["Location"] == APP
    assert page_of(browser.get(APP)).ids["code"]


def test_a_subrequest_that_asks_for_more_is_met_by_a_new_login_that_ends_the_old_session(
    person: Person, gateway: GatewayProcess
) -> None:
    asked, browser = "/api/authz/auth-request?amr=mfa", person.browser
    old, rd = Browser(gateway, dict(browser.cookies)), f"{gateway.url}{ACCOUNT}"
    problem_of(browser.get(asked), 401, "authentication-too-weak")
    page = page_of(browser.get(f"/auth/login?rd={quote(rd)}&amr=mfa"))
    pending = fields_of(person.first_step(browser, rd=fields_of(page, "rd")["rd"]), "totp")["pending"]
    assert old.is_signed_in()
    answer = browser.post("/auth/login", pending=pending, totp=person.app.code(), rd=rd)
    assert (answer.status_code, answer.headers["Location"]) == (303, rd)
    assert browser.get(asked).status_code == 200
    assert old.get(asked).status_code == 401
    assert not old.is_signed_in()


def test_an_old_login_has_to_be_made_again(gateway: GatewayProcess, user: TestUser, redis_server: RedisServer) -> None:
    browser = browser_of(gateway)
    browser.sign_in(user)
    records = Records(redis_server, "shared:")
    [(family_id, record)] = records.of(user.user_id).items()
    older = replace(record, created_ms=record.created_ms - 601_000)
    records.client.hset(records.key(user.user_id), family_id, older.pack())
    records.close()
    answer = browser.get(APP)
    back = quote(f"{gateway.url}{ACCOUNT}?to=app", safe="")
    assert answer.headers["Location"] == f"/auth/login?rd={back}&max_auth_age=600"
    assert "recent sign-in" in page_of(browser.get(answer.headers["Location"])).text


def test_the_account_leads_to_its_own_pages_alone(browser: Browser) -> None:
    for to in ("", "password", "../../evil", "fac_x", "https://evil.example"):
        page_of(browser.get(f"{ACCOUNT}?to={quote(to)}"))


def test_where_second_factors_are_off_nothing_is_said_of_them(gateway_with: Callable[..., GatewayProcess]) -> None:
    gateway = gateway_with(second_factor="off", issuer=NAMED)
    browser = browser_of(gateway)
    assert "passkey" not in browser.get("/auth/login").text
    browser.sign_in(gateway.add_user())
    assert "Second factors" not in page_of(browser.get(ACCOUNT)).text
    for path in (APP, PASSKEY, RECOVERY):
        page_of(browser.get(path), 404)


def test_a_path_that_there_is_not_is_not_found(strong: Browser) -> None:
    for path in (f"{ACCOUNT}/factors", f"{ACCOUNT}/factors/other"):
        problem_of(strong.get(path), 404, "not-found")
    assert strong.get(f"{ACCOUNT}/factors/fac_other").headers["Location"] == ACCOUNT


def test_every_page_for_who_is_signed_in_has_the_way_out(strong: Browser) -> None:
    """Shows ASVS 7.4.4."""
    answers = [strong.get(path) for path in (ACCOUNT, APP, RECOVERY, way_to(strong, "My telephone"))]
    answers += [strong.get(f"{ACCOUNT}/tokens"), strong.post(f"{ACCOUNT}/tokens", name="backup", days="1")]
    answers += [strong.post(RECOVERY)]
    for answer in answers:
        page = page_of(answer)
        assert "/auth/logout" in page.forms
        assert "Sign out" in page.text
