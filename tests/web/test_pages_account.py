"""The pages of the account and of the logout, and the ways that lead there, over HTTP."""

from collections.abc import Callable
from urllib.parse import quote

import pytest

from tests.harness import PASSWORD, GatewayProcess, TestUser, run_command, wait_until
from tests.web.asking import problem_of, set_cookies
from tests.web.browsing import ACCEPT, Browser, browser_of, page_of

pytestmark = pytest.mark.redis
Make = Callable[..., GatewayProcess]
NAME = "gateway_session"
NEW = "quite another sentence"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Safari/604.1"
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def user(gateway: GatewayProcess) -> TestUser:
    """Give a user of its own."""
    return gateway.add_user(roles=("staff", "ops"))


@pytest.fixture
def browser(gateway: GatewayProcess, user: TestUser) -> Browser:
    """Give a browser in which that user is signed in."""
    browser = browser_of(gateway)
    browser.sign_in(user)
    return browser


@pytest.fixture
def telephone(gateway: GatewayProcess, user: TestUser) -> Browser:
    """Give another one, on a telephone."""
    telephone = browser_of(gateway, User_Agent=IPHONE)
    telephone.sign_in(user)
    return telephone


@pytest.mark.parametrize(("path", "location"), [("/", ""), ("/.well-known/change-password", "#password")])
def test_the_short_ways_lead_to_the_account(browser: Browser, path: str, location: str) -> None:
    answer = browser.get(path)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/auth/account" + location)
    assert "password" in page_of(browser.get("/auth/account")).ids


def test_who_is_not_signed_in_is_led_to_the_login_and_back(gateway: GatewayProcess, user: TestUser) -> None:
    browser = browser_of(gateway)
    answer = browser.get("/auth/account")
    account = f"{gateway.url}/auth/account"
    assert answer.status_code == 303
    assert answer.headers["Location"] == "/auth/login?rd=" + quote(account, safe="")
    assert browser.sign_in(user, rd=account).headers["Location"] == account


@pytest.mark.parametrize("path", ["sessions/x/end", "sessions/end-others", "password"])
def test_its_forms_lead_there_too_and_change_nothing(gateway: GatewayProcess, path: str) -> None:
    answer = browser_of(gateway).post(f"/auth/account/{path}", current_password="x", new_password="y")
    assert answer.status_code == 303
    assert answer.headers["Location"].startswith("/auth/login?rd=")


def test_an_access_token_opens_no_page(gateway: GatewayProcess, user: TestUser) -> None:
    with gateway.client() as client:
        token = gateway.login(user, client)["access_token"]
    answer = browser_of(gateway).get("/auth/account", Authorization=f"Bearer {token}", Cookie=f"access_token={token}")
    assert answer.status_code == 303


def test_it_shows_who_i_am_and_where_i_am_signed_in(browser: Browser, telephone: Browser, user: TestUser) -> None:
    page = page_of(telephone.get("/auth/account"))
    for text in ("Ann Example", user.email, "staff", "ops", "127.0.0.1", "last used just now"):
        assert text in page.text
    assert page.text.index("Safari · iPhone This device") < page.text.index("python-httpx2")
    ends = [action for action in page.forms if action.endswith("/end")]
    assert len(ends) == 1


def test_the_page_changes_nothing(browser: Browser, telephone: Browser) -> None:
    for path in ("/auth/account", "/auth/logout", "/auth/account?done=others-ended"):
        page_of(browser.get(path))
    assert browser.is_signed_in()
    assert telephone.is_signed_in()


def test_another_session_is_ended_at_once(browser: Browser, telephone: Browser) -> None:
    [action] = [action for action in page_of(browser.get("/auth/account")).forms if action.endswith("/end")]
    answer = browser.post(action)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/auth/account?done=session-ended")
    assert not telephone.is_signed_in()
    assert browser.is_signed_in()
    page = page_of(browser.get(answer.headers["Location"]))
    assert "The session has ended." in page.text
    assert "iPhone" not in page.text
    assert browser.post(action).status_code == 303  # it has ended already


def test_all_others_are_ended_at_once(browser: Browser, telephone: Browser, user: TestUser) -> None:
    """Shows ASVS 7.4.3."""
    third = browser_of(browser.gateway)
    third.sign_in(user)
    answer = browser.post("/auth/account/sessions/end-others")
    assert answer.headers["Location"] == "/auth/account?done=others-ended"
    assert not telephone.is_signed_in()
    assert not third.is_signed_in()
    page = page_of(browser.get(answer.headers["Location"]))
    assert "All other sessions have ended." in page.text
    assert list(page.forms) == ["/auth/logout", "/auth/account/password"]


def test_nobody_ends_the_session_of_another_user(browser: Browser, gateway: GatewayProcess) -> None:
    with gateway.client() as client:
        login = gateway.login(gateway.add_user(), client)
        bearer = {"Authorization": f"Bearer {login['access_token']}"}
        [row] = client.get("/auth/sessions", headers=bearer).json()["sessions"]
        assert browser.post(f"/auth/account/sessions/{row['id']}/end").status_code == 303
        assert client.get("/auth/me", headers=bearer).status_code == 200


@pytest.mark.parametrize("done", [HOSTILE, "password", "", "done"])
def test_a_note_is_one_of_ours_or_none(browser: Browser, done: str) -> None:
    answer = browser.get(f"/auth/account?done={quote(done)}")
    assert 'role="status"' not in answer.text
    assert HOSTILE not in answer.text


def test_a_changed_password_ends_the_other_sessions(browser: Browser, telephone: Browser, user: TestUser) -> None:
    """Shows RFC 9700 4.14.2d."""
    answer = browser.post("/auth/account/password", username=user.email, current_password=PASSWORD, new_password=NEW)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/auth/account?done=password-changed")
    assert "Your password has been changed" in page_of(browser.get(answer.headers["Location"])).text
    assert not telephone.is_signed_in()
    assert telephone.post("/auth/login", username=user.email, password=PASSWORD).status_code == 401
    assert telephone.post("/auth/login", username=user.email, password=NEW).status_code == 303


@pytest.mark.parametrize(
    ("new", "reasons"),
    [
        ("password", ["too short: it needs at least 15 characters", "one of the most used"]),
        (PASSWORD, ["the old one"]),
        ("x" * 1025, ["too long"]),
        ("{email} and more", ["contains your e-mail address"]),
    ],
    ids=str,
)
def test_what_is_wrong_with_a_new_password_is_told_in_words(
    browser: Browser, user: TestUser, new: str, reasons: list[str]
) -> None:
    new = new.format(email=user.email)
    answer = browser.post("/auth/account/password", current_password=PASSWORD, new_password=new)
    page = page_of(answer, 422)
    for reason in reasons:
        assert reason in page.text
    assert page.ids["alert"]["role"] == "alert"
    assert "alert" in str(page.ids["new_password"]["aria-describedby"])
    assert page.forms["/auth/account/password"]["new_password"] == ""
    assert PASSWORD not in answer.text
    assert browser.is_signed_in()


def test_a_wrong_current_password_is_told_and_changes_nothing(browser: Browser, telephone: Browser) -> None:
    answer = browser.post("/auth/account/password", current_password="not mine at all", new_password=NEW)
    page = page_of(answer, 403)
    assert "The current password is wrong." in page.text
    assert "E-mail address or password" not in page.text
    assert "not mine at all" not in answer.text
    assert NEW not in answer.text
    assert telephone.is_signed_in()


def test_empty_fields_are_told(browser: Browser) -> None:
    page = page_of(browser.post("/auth/account/password", current_password=PASSWORD, new_password=""), 422)
    assert "Please fill in both fields." in page.text


def test_guessing_is_limited_on_the_page_too(make_gateway: Make) -> None:
    gateway = make_gateway(login_limit="2/hour")
    user, browser = gateway.add_user(), browser_of(gateway)
    browser.sign_in(user)
    for _ in range(2):
        browser.post("/auth/account/password", current_password="wrong", new_password=NEW)
    answer = browser.post("/auth/account/password", current_password="wrong", new_password=NEW)
    assert "Too many attempts" in page_of(answer, 429).text
    assert int(answer.headers["Retry-After"]) > 60
    assert "RateLimit-Policy" in answer.headers


@pytest.mark.parametrize(
    "path", ["account/sessions/x/end", "account/sessions/end-others", "account/password", "logout"]
)
@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}], ids=str)
def test_a_form_from_another_site_is_refused_with_a_page(
    browser: Browser, telephone: Browser, path: str, headers: dict[str, str]
) -> None:
    """Shows ASVS 10.6.2."""
    answer = browser.post(f"/auth/{path}", headers, current_password=PASSWORD, new_password=NEW)
    assert "another site" in page_of(answer, 403).text
    assert not set_cookies(answer)
    assert browser.is_signed_in()
    assert telephone.is_signed_in()


def test_a_user_who_was_disabled_is_led_to_the_login_with_his_cookie_taken_back(
    gateway: GatewayProcess, user: TestUser, browser: Browser
) -> None:
    assert run_command("users", "disable", user.email, env=gateway.env).returncode == 0
    wait_until(lambda: browser.get("/auth/account").status_code == 303, 3)
    assert NAME not in browser.cookies
    page_of(browser.get("/auth/login"))


def test_names_and_devices_are_never_markup(gateway: GatewayProcess) -> None:
    """Shows ASVS 1.2.1."""
    user = gateway.add_user(name=HOSTILE)
    other = browser_of(gateway, User_Agent=HOSTILE.replace(" ", "/"))
    other.sign_in(user)
    browser = browser_of(gateway)
    browser.sign_in(user)
    answer = browser.get("/auth/account")
    page = page_of(answer)
    assert "<img" not in answer.text
    assert HOSTILE in page.text
    assert "<img/src" in page.text


# ------------------------------------------------------------------------------------------------------------- logout


def test_the_logout_is_a_button(browser: Browser, user: TestUser) -> None:
    page = page_of(browser.get("/auth/logout"))
    assert user.email in page.text
    assert page.forms == {"/auth/logout": {}}


def test_it_ends_the_session_and_takes_the_cookies_back(browser: Browser) -> None:
    """Shows ASVS 14.3.1."""
    before = dict(browser.cookies)
    answer = browser.post("/auth/logout")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/auth/login")
    assert answer.headers["Clear-Site-Data"] == '"cache"'
    cookies = set_cookies(answer)
    assert set(cookies) == {NAME, "refresh_token"}
    assert all((cookie["value"], cookie["Max-Age"]) == ("", "0") for cookie in cookies.values())
    browser.cookies = before
    assert not browser.is_signed_in()
    assert browser.get("/auth/account").status_code == 303


def test_it_ends_the_session_of_a_refresh_cookie_too(gateway: GatewayProcess, user: TestUser) -> None:
    browser = browser_of(gateway)
    with gateway.client() as client:
        login = gateway.login(user, client, delivery="body")
        browser.cookies["refresh_token"] = login["refresh_token"]
        assert browser.post("/auth/logout").status_code == 303
        bearer = {"Authorization": f"Bearer {login['access_token']}"}
        assert client.get("/api/authz/auth-request", headers=bearer).status_code == 401


def test_without_a_session_it_works_too(gateway: GatewayProcess) -> None:
    browser = browser_of(gateway)
    page = page_of(browser.get("/auth/logout"))
    assert "/auth/logout" in page.forms
    assert browser.post("/auth/logout").headers["Location"] == "/auth/login"
    browser.cookies[NAME] = "forged"
    assert browser.post("/auth/logout").status_code == 303


def test_a_logout_that_asks_for_no_page_is_the_apis(gateway: GatewayProcess) -> None:
    browser = browser_of(gateway)
    problem_of(browser.raw("POST", "/auth/logout", {"Accept": "*/*"}), 401, "refresh-token-missing")
    problem_of(browser.raw("POST", "/auth/logout", {"Accept": ACCEPT}, json={}), 401, "refresh-token-missing")


@pytest.mark.parametrize(
    ("rd", "location"), [("/x", ""), ("/auth/login", "/auth/login"), ("//evil.example", "/auth/login")]
)
def test_it_leads_to_a_safe_address_or_to_the_login(browser: Browser, rd: str, location: str) -> None:
    rd = rd if rd.startswith("//") else browser.gateway.url + rd
    page = page_of(browser.get("/auth/logout?rd=" + quote(rd, safe="")))
    assert page.forms["/auth/logout"] == ({} if location else {"rd": rd})
    assert browser.post("/auth/logout", rd=rd).headers["Location"] == (location or rd)
