"""The pages between a password and a session: a second factor, a passkey alone, the first factor of all."""

from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.harness import GatewayProcess, run_command
from tests.web.asking import set_cookies
from tests.web.browsing import Browser, browser_of, page_of
from tests.web.factor_pages import (
    NAMED,
    RECOVERY,
    Person,
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
GatewayWith = Callable[..., GatewayProcess]
NAME = "gateway_session"
HOSTILE = '"><script>alert(1)</script>'


@pytest.fixture
def person(gateway: GatewayProcess) -> Person:
    """Give somebody with an app."""
    return new_person(gateway)


@pytest.fixture
def browser(gateway: GatewayProcess) -> Browser:
    """Give another browser, in which nobody is signed in."""
    return browser_of(gateway)


@pytest.fixture
def named(gateway_with: GatewayWith) -> GatewayProcess:
    """Give a gateway that has passkeys, and lets nobody guess."""
    return gateway_with(issuer=NAMED, account_throttle="on")


@pytest.fixture
def strict(gateway_with: GatewayWith) -> GatewayProcess:
    """Give a gateway that asks everybody for a second factor."""
    return gateway_with(issuer=NAMED, second_factor="required")


# ------------------------------------------------------------------------------------------------------------ the page


def test_a_right_password_is_asked_for_a_code_and_opens_nothing(person: Person, browser: Browser) -> None:
    page = person.first_step(browser)
    assert NAME not in browser.cookies
    assert person.user.email in page.text
    assert page.ids["totp"]["inputmode"] == "numeric"
    assert page.ids["totp"]["autocomplete"] == "one-time-code"
    assert "recovery" in page.ids
    pending = fields_of(page, "totp")["pending"]
    assert len(pending) > 40
    assert not any(pending in address for address in [*page.links, *page.forms])


def test_what_is_pending_comes_into_no_log(person: Person, browser: Browser, gateway: GatewayProcess) -> None:
    pending = fields_of(person.first_step(browser), "totp")["pending"]
    browser.post("/auth/login", pending=pending, totp="000000")
    browser.post("/auth/login", pending=pending, totp=person.app.code())
    assert pending not in gateway.log_text()


def test_the_code_leads_on_to_where_the_login_was_to_lead(
    person: Person, browser: Browser, gateway: GatewayProcess
) -> None:
    deep = f"{gateway.url}/livez?a=1"
    form = fields_of(person.first_step(browser, rd=deep, remember="on"), "totp")
    answer = browser.post("/auth/login", **form | {"totp": person.app.code()})
    assert (answer.status_code, answer.headers["Location"]) == (303, deep)
    assert int(set_cookies(answer)[NAME]["Max-Age"]) > 0
    assert browser.is_signed_in()


def test_without_being_remembered_the_session_ends_with_the_browser(person: Person, browser: Browser) -> None:
    form = fields_of(person.first_step(browser), "totp")
    answer = browser.post("/auth/login", **form | {"totp": person.app.code(), "remember": "on"})
    assert "Max-Age" not in set_cookies(answer)[NAME]
    assert answer.headers["Location"] == "/auth/account"


def test_it_leads_to_no_other_host(person: Person, browser: Browser) -> None:
    form = fields_of(person.first_step(browser, rd="https://evil.example/"), "totp")
    assert "rd" not in form
    answer = browser.post("/auth/login", **form | {"totp": person.app.code(), "rd": "https://evil.example/"})
    assert answer.headers["Location"] == "/auth/account"


def test_a_wrong_code_is_told_and_the_next_one_still_counts(person: Person, browser: Browser) -> None:
    pending = fields_of(person.first_step(browser), "totp")["pending"]
    page = page_of(browser.post("/auth/login", pending=pending, totp=person.app.wrong_code()), 401)
    assert page.title.startswith("Error: ")
    assert page.ids["alert"]["role"] == "alert"
    assert page.ids["totp"]["aria-invalid"] == "true"
    assert page.ids["totp"]["aria-describedby"] == "alert"
    assert fields_of(page, "totp")["pending"] == pending
    assert browser.post("/auth/login", pending=pending, totp=person.app.code()).status_code == 303


def test_a_code_counts_once(person: Person, browser: Browser) -> None:
    person.sign_in(browser)
    other = browser_of(browser.gateway)
    pending = fields_of(person.first_step(other), "totp")["pending"]
    page_of(other.post("/auth/login", pending=pending, totp=person.app.last_code()), 401)
    assert NAME not in other.cookies


def test_a_login_that_is_over_leads_back_to_its_beginning(
    person: Person, browser: Browser, gateway: GatewayProcess
) -> None:
    deep = f"{gateway.url}/livez"
    pending = fields_of(person.first_step(browser), "totp")["pending"]
    assert browser.post("/auth/login", pending=pending, totp=person.app.code()).status_code == 303
    for text in (pending, "x", HOSTILE):
        answer = browser.post("/auth/login", pending=text, totp="123456", rd=deep)
        page = page_of(answer, 401)
        assert "begin again" in page.text
        assert "/auth/login?rd=" + deep.replace(":", "%3A").replace("/", "%2F") in page.links
        assert HOSTILE not in answer.text


def test_a_recovery_code_is_taken_once(person: Person, browser: Browser) -> None:
    pending = fields_of(person.first_step(browser), "recovery")["pending"]
    answer = browser.post("/auth/login", pending=pending, recovery="AAAAA-AAAAA")
    page = page_of(answer, 401)
    assert "recovery code is wrong" in page.text
    assert [attributes for tag, attributes in page.tags if tag == "details"] == [{"open": None}]
    assert browser.post("/auth/login", pending=pending, recovery=person.codes[0].lower()).status_code == 303
    assert "9 of 10 left" in page_of(browser.get("/auth/account")).text
    pending = fields_of(person.first_step(browser), "recovery")["pending"]
    page_of(browser.post("/auth/login", pending=pending, recovery=person.codes[0]), 401)


def test_the_language_changes_and_the_login_goes_on(person: Person, browser: Browser) -> None:
    pending = fields_of(person.first_step(browser), "totp")["pending"]
    page = page_of(browser.post("/auth/login?lang=de", pending=pending))
    assert page.language == "de"
    assert fields_of(page, "totp")["pending"] == pending
    answer = browser.post("/auth/login?lang=de", pending=pending, totp=person.app.code())
    assert answer.headers["Location"] == "/auth/account?lang=de"


def test_another_site_cannot_go_on_with_it(person: Person, browser: Browser) -> None:
    pending = fields_of(person.first_step(browser), "totp")["pending"]
    code, cross = person.app.code(), {"Sec-Fetch-Site": "cross-site"}
    answer = browser.post("/auth/login", cross, pending=pending, totp=code)
    page_of(answer, 403)
    assert pending not in answer.text
    assert browser.post("/auth/login", pending=pending, totp=code).status_code == 303


def test_a_new_password_ends_it(person: Person, browser: Browser, gateway: GatewayProcess) -> None:
    pending = fields_of(person.first_step(browser), "totp")["pending"]
    words = ("users", "set-password", person.user.email, "--password-stdin")
    run_command(*words, env=gateway.env, stdin="quite another sentence").check_returncode()
    page = page_of(browser.post("/auth/login", pending=pending, totp=person.app.code()), 401)
    assert "begin again" in page.text


def test_too_many_wrong_codes_have_to_wait_and_lose_nothing(named: GatewayProcess) -> None:
    person, browser = new_person(named), browser_of(named)
    pending = fields_of(person.first_step(browser), "totp")["pending"]
    for _ in range(5):
        page_of(browser.post("/auth/login", pending=pending, totp=person.app.wrong_code()), 401)
    answer = browser.post("/auth/login", pending=pending, totp=person.app.code())
    page = page_of(answer, 429)
    assert "Too many attempts" in page.text
    assert int(answer.headers["Retry-After"]) > 0
    assert fields_of(page, "totp")["pending"] == pending


def test_the_link_of_a_reset_asks_for_the_factor_too(person: Person, browser: Browser, gateway: GatewayProcess) -> None:
    printed = run_command("users", "reset", person.user.email, env=gateway.env).stdout
    code = printed.partition("code=")[2].split()[0]
    page = page_of(browser.post("/auth/welcome", code=code, password="quite another sentence"))
    assert NAME not in browser.cookies
    pending = fields_of(page, "totp")["pending"]
    assert browser.post("/auth/login", pending=pending, totp=person.app.code()).status_code == 303
    assert browser.is_signed_in()


# ------------------------------------------------------------------------------------------------------------ passkeys


def test_a_passkey_completes_a_login(named: GatewayProcess) -> None:
    person, device, browser = new_person(named), passkey(), browser_of(named)
    person.sign_in(person.browser)
    page = page_of(person.browser.get("/auth/account/factors/passkey"))
    said = answer_of(device.create(options_of(page)))
    assert person.browser.post("/auth/account/factors/passkey", credential=said, name="Key").status_code == 303
    page = person.first_step(browser)
    form = fields_of(page, "passkey")
    said = answer_of(device.get(options_of(page)))
    wrong = answer_of(device.get(options_of(page), challenge="x" * 43))
    assert (
        "This passkey was not accepted" in page_of(browser.post("/auth/login", **form | {"passkey": wrong}), 401).text
    )
    assert browser.post("/auth/login", **form | {"passkey": said}).status_code == 303
    assert browser.is_signed_in()


def test_a_passkey_alone_is_a_login(named: GatewayProcess) -> None:
    user, device, browser, deep = named.add_user(), passkey(), browser_of(named), f"{NAMED}/livez"
    browser.sign_in(user)
    page = page_of(browser.get("/auth/account/factors/passkey"))
    codes_of(
        page_of(browser.post("/auth/account/factors/passkey", credential=answer_of(device.create(options_of(page)))))
    )

    browser = browser_of(named)
    page = page_of(browser.get(f"/auth/login?rd={deep}"))
    assert page.ids["username"]["autocomplete"] == "username webauthn"
    form = fields_of(page, "passkey")
    offer = browser.raw("POST", "/auth/login/passkey", {"Sec-Fetch-Site": "same-origin"}).json()
    said = answer_of(device.get(offer["publicKey"]))
    answer = browser.post("/auth/login", **form | {"pending": offer["pending"], "passkey": said, "remember": "on"})
    assert (answer.status_code, answer.headers["Location"]) == (303, deep)
    assert int(set_cookies(answer)[NAME]["Max-Age"]) > 0
    again = browser.post("/auth/login", pending=offer["pending"], passkey=said)
    assert "begin again" in page_of(again, 401).text


def test_a_passkey_that_nobody_has_leads_back_to_the_login(named: GatewayProcess) -> None:
    browser, device = browser_of(named), passkey()
    device.user_handle = "A" * 22
    offer = browser.raw("POST", "/auth/login/passkey", {"Sec-Fetch-Site": "same-origin"}).json()
    said = answer_of(device.get(offer["publicKey"]))
    page = page_of(browser.post("/auth/login", pending=offer["pending"], passkey=said), 401)
    assert "This passkey was not accepted" in page.text
    assert "username" in page.ids
    for text in ("{}", "[" * 5000, "x", HOSTILE):
        page_of(browser.post("/auth/login", pending=offer["pending"], passkey=text), 400)


def test_where_there_can_be_none_nothing_is_said_of_them(person: Person, browser: Browser) -> None:
    page = page_of(browser.get("/auth/login"))
    assert page.ids["username"]["autocomplete"] == "username"
    assert "passkey" not in page.html
    assert "Passkey" not in page_of(person.browser.get("/auth/account")).text.replace("or a passkey alone", "")


# ------------------------------------------------------------------------------------------------ the first of them all


def test_who_has_to_have_a_factor_sets_one_up_at_the_login(strict: GatewayProcess) -> None:
    user, browser, deep = strict.add_user(), browser_of(strict), f"{NAMED}/livez"
    page = page_of(browser.post("/auth/login", username=user.email, password=user.password, rd=deep))
    assert NAME not in browser.cookies
    secret, app = secret_of(page), app_of(page)
    form = fields_of(page, "code")
    page = page_of(browser.post("/auth/login", **form | {"code": app.wrong_code()}), 401)
    assert secret_of(page) == secret
    assert NAME not in browser.cookies
    answer = browser.post("/auth/login", **fields_of(page, "code") | {"code": app.code()})
    assert answer.status_code == 303
    way = urlsplit(answer.headers["Location"])
    assert way.path == RECOVERY
    assert parse_qs(way.query)["rd"] == [deep]
    page = page_of(browser.get(answer.headers["Location"]))
    assert "The authenticator app has been added." in page.text
    assert deep in page.links
    page = page_of(browser.post(RECOVERY, rd=deep))
    assert len(codes_of(page)) == 10
    assert deep in page.links


def test_or_a_passkey(strict: GatewayProcess) -> None:
    user, browser, device = strict.add_user(), browser_of(strict), passkey()
    page = page_of(browser.post("/auth/login", username=user.email, password=user.password))
    form = fields_of(page, "credential")
    wrong = answer_of(device.create(options_of(page), challenge="x" * 43))
    page = page_of(browser.post("/auth/login", **form | {"credential": wrong}), 401)
    said = answer_of(device.create(options_of(page)))
    answer = browser.post("/auth/login", **fields_of(page, "credential") | {"credential": said})
    assert answer.headers["Location"].startswith(RECOVERY)
    assert browser.is_signed_in()


def test_who_was_invited_sets_one_up_too(strict: GatewayProcess) -> None:
    printed = run_command("users", "invite", "invited@example.com", env=strict.env).stdout
    code, browser = printed.partition("code=")[2].split()[0], browser_of(strict)
    page = page_of(browser.post("/auth/welcome", code=code, password="quite another sentence"))
    assert NAME not in browser.cookies
    answer = browser.post("/auth/login", **fields_of(page, "code") | {"code": app_of(page).code()})
    assert answer.headers["Location"].startswith(RECOVERY)
