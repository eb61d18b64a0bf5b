"""The login page and its form, over HTTP."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest

from gateway.cores import usable_cores
from tests.harness import GatewayProcess, RedisServer, wait_until
from tests.web.asking import CHALLENGE, HTTPS_ISSUER, problem_of, set_cookies
from tests.web.browsing import ACCEPT, Browser, Page, browser_of, page_of

pytestmark = pytest.mark.redis
Make = Callable[..., GatewayProcess]
NAME = "gateway_session"
APP = "https://app.example.test/deep?a=1&b=2"
HOSTILE = "\"'><script>alert(1)</script>"


@pytest.fixture
def browser(gateway: GatewayProcess) -> Browser:
    """Give a browser in front of the ordinary gateway."""
    return browser_of(gateway)


@pytest.fixture
def shop(gateway_with: Make) -> Browser:
    """Give a browser in front of a gateway that may lead to an application."""
    return browser_of(gateway_with(return_hosts="127.0.0.1,app.example.test,*.apps.example.test"))


def reason_of(page: Page) -> str:
    """Give what the alert says. Fails unless there is one that gets the focus."""
    alert = page.ids["alert"]
    assert alert["role"] == "alert"
    assert alert["tabindex"] == "-1"
    assert "autofocus" in alert
    assert page.title.startswith("Error: ")
    assert [attributes for _, attributes in page.tags if "autofocus" in attributes] == [alert]
    return page.html.partition('id="alert">')[2].partition("</div>")[0].replace("<p>", "").replace("</p>", "").strip()


def test_the_page_has_a_form_that_password_managers_know(browser: Browser) -> None:
    """Shows ASVS 6.2.6, ASVS 6.2.7, NIST 3.1.1.2-pm."""
    page = page_of(browser.get("/auth/login"))
    assert page.forms == {"/auth/login": {"username": "", "password": "", "remember": "on"}}
    username, password = page.ids["username"], page.ids["password"]
    assert (username["autocomplete"], username["inputmode"]) == ("username", "email")
    assert (username["autocapitalize"], username["spellcheck"]) == ("none", "false")
    assert (password["type"], password["autocomplete"]) == ("password", "current-password")
    assert {attributes.get("for") for tag, attributes in page.tags if tag == "label"} >= {"username", "password"}


def test_head_has_no_body(browser: Browser) -> None:
    answer = browser.raw("HEAD", "/auth/login", {"Accept": ACCEPT})
    assert answer.status_code == 200
    assert answer.content == b""
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"


def test_a_right_password_leads_to_the_account_with_a_session(browser: Browser) -> None:
    """Shows RFC 9700 4.12."""
    user = browser.gateway.add_user()
    answer = browser.sign_in(user)
    assert answer.headers["Location"] == "/auth/account"
    session = set_cookies(answer)[NAME]
    assert session.items() >= {"Path": "/", "HttpOnly": "", "SameSite": "Lax"}.items()
    assert "Max-Age" not in session
    assert browser.is_signed_in()


def test_it_leads_to_where_it_was_asked_from(shop: Browser) -> None:
    user = shop.gateway.add_user()
    page = page_of(shop.get("/auth/login?rd=" + quote(APP, safe="")))
    assert page.forms["/auth/login"]["rd"] == APP
    assert "app.example.test" in page.text
    assert shop.sign_in(user, rd=APP).headers["Location"] == APP


@pytest.mark.parametrize(
    "rd", ["https://evil.example/", "//evil.example", "javascript:alert(1)", "/auth/logout", HOSTILE, "x" * 3000]
)
def test_an_address_that_a_login_may_not_lead_to_is_dropped_without_a_word(shop: Browser, rd: str) -> None:
    answer = shop.get("/auth/login?rd=" + quote(rd, safe=""))
    assert "rd" not in page_of(answer).forms["/auth/login"]
    assert rd not in answer.text
    user = shop.gateway.add_user()
    assert shop.sign_in(user, rd=rd).headers["Location"] == "/auth/account"
    assert shop.get("/auth/login?rd=" + quote(rd, safe="")).headers["Location"] == "/auth/account"


def test_a_wrong_password_shows_the_page_again_with_the_reason(shop: Browser) -> None:
    user = shop.gateway.add_user()
    answer = shop.post("/auth/login", username=user.email, password="wrong secret words", rd=APP, remember="on")
    page = page_of(answer, 401)
    assert reason_of(page) == "E-mail address or password is wrong."
    assert page.forms["/auth/login"] == {"rd": APP, "username": user.email, "password": "", "remember": "on"}
    assert "wrong secret words" not in answer.text
    assert answer.headers["WWW-Authenticate"] == CHALLENGE
    assert not set_cookies(answer)
    remember = next(attributes for _, attributes in page.tags if attributes.get("name") == "remember")
    assert "checked" in remember


@pytest.mark.parametrize("fields", [{}, {"username": "ann@example.com"}, {"password": "x"}, {"username": " "}], ids=str)
def test_an_empty_field_is_told_and_no_attempt(gateway_with: Make, fields: dict[str, str]) -> None:
    browser = browser_of(gateway_with(login_limit="1/hour"))
    for _ in range(3):
        page = page_of(browser.post("/auth/login", **fields), 422)
        assert reason_of(page) == "Please fill in both fields."
        assert page.forms["/auth/login"]["username"] == fields.get("username", "")


def test_a_form_from_another_site_is_refused_on_the_page_and_not_shown_again(browser: Browser) -> None:
    user = browser.gateway.add_user()
    fields = {"username": user.email, "password": user.password, "rd": "http://127.0.0.1/"}
    answer = browser.post("/auth/login", {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}, **fields)
    page = page_of(answer, 403)
    assert "another site" in reason_of(page)
    assert page.forms["/auth/login"] == {"username": "", "password": "", "remember": "on"}
    assert not set_cookies(answer)


def test_the_limit_is_told_on_the_page_with_the_headers_of_the_api(make_gateway: Make) -> None:
    browser = browser_of(make_gateway(login_limit="1/hour"))
    user = browser.gateway.add_user()
    first = browser.sign_in(user)
    assert first.headers["RateLimit-Policy"] == '"login";q=1;w=3600'
    answer = browser.post("/auth/login", username=user.email, password="wrong")
    assert int(answer.headers["Retry-After"]) > 3000
    assert answer.headers["RateLimit-Policy"] == '"login";q=1;w=3600'
    assert answer.headers["RateLimit"].startswith('"login";r=0;t=')
    page = page_of(answer, 429)
    assert reason_of(page) == "Too many attempts. Please try again in 60 min."
    assert page.forms["/auth/login"]["username"] == user.email


def test_a_crowd_is_told_on_the_page(make_gateway: Make) -> None:
    gateway = make_gateway(bcrypt_cost=15)
    form = {"username": "nobody@example.com", "password": "wrong"}
    with ThreadPoolExecutor() as crowd:
        waiting = [crowd.submit(browser_of(gateway).post, "/auth/login", **form) for _ in range(2 * usable_cores() + 4)]
        wait_until(lambda: any(answer.done() for answer in waiting), 10)
        answer = browser_of(gateway).post("/auth/login", **form)
        gateway.kill()
        for late in waiting:
            late.exception()
    page = page_of(answer, 503)
    assert reason_of(page) == "Too many people are signing in right now. Please try again in a moment."
    assert page.forms["/auth/login"]["username"] == "nobody@example.com"
    assert int(answer.headers["Retry-After"]) >= 1


def test_while_redis_is_away_the_page_says_so(make_gateway: Make, own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    gateway = make_gateway(redis_url=server.url, session_check_seconds=1)
    user, browser, fresh = gateway.add_user(), browser_of(gateway), browser_of(gateway)
    browser.sign_in(user)
    server.kill()
    answer = fresh.post("/auth/login", username=user.email, password=user.password)
    assert "not your fault" in reason_of(page_of(answer, 503))
    assert int(answer.headers["Retry-After"]) >= 1
    unseen = browser.get("/auth/login")
    assert int(unseen.headers["Retry-After"]) >= 1
    assert "not your fault" in reason_of(page_of(unseen, 503))
    assert "not your fault" in reason_of(page_of(browser.get("/auth/account"), 503))
    assert "not your fault" in reason_of(page_of(browser.post("/auth/logout"), 503))
    page_of(fresh.get("/auth/login"))
    page_of(browser.get("/auth/logout"))
    server.start()
    wait_until(lambda: browser.get("/auth/account").status_code == 200, 5)


def test_one_that_is_remembered_lasts_as_a_session_does_and_another_as_the_browser(make_gateway: Make) -> None:
    gateway = make_gateway(
        refresh_absolute_ttl_seconds=5000, refresh_idle_ttl_seconds=4000, browser_session_ttl_seconds=60
    )
    user = gateway.add_user()
    remembered, other = browser_of(gateway), browser_of(gateway)
    assert set_cookies(remembered.sign_in(user, remember="on"))[NAME]["Max-Age"] == "5000"
    assert "Max-Age" not in set_cookies(other.sign_in(user))[NAME]
    with gateway.client() as client:
        login = gateway.login(user, client)
        bearer = {"Authorization": f"Bearer {login['access_token']}"}
        rows = client.get("/auth/sessions", headers=bearer).json()["sessions"]
    lives = sorted(int(row["expires_at"][14:16]) * 60 + int(row["expires_at"][17:19]) for row in rows)
    assert len(lives) == 3
    assert len({row["expires_at"][:16] for row in rows}) >= 2


def test_a_device_is_known_again(make_gateway: Make) -> None:
    gateway = make_gateway(account_throttle="on")
    browser = browser_of(gateway)
    known = set_cookies(browser.sign_in(gateway.add_user()))["known_device"]
    assert known["Path"] == "/auth/login"
    assert int(known["Max-Age"]) > 30_000_000


def test_fields_of_others_are_ignored(browser: Browser) -> None:
    browser.sign_in(browser.gateway.add_user(), grant_type="password", totp="", extra="x")


def test_the_session_that_the_browser_brought_along_ends_with_a_new_login(browser: Browser) -> None:
    user = browser.gateway.add_user()
    browser.sign_in(user)
    before = dict(browser.cookies)
    browser.sign_in(user)
    assert browser.is_signed_in()
    assert not Browser(browser.gateway, before).is_signed_in()


def test_logins_by_the_page_are_told_in_the_audit(make_gateway: Make) -> None:
    gateway = make_gateway()
    user, browser = gateway.add_user(), browser_of(gateway)
    browser.post("/auth/login", username=user.email, password="wrong")
    browser.sign_in(user)
    browser.post("/auth/logout")
    told = [line["event"] for line in gateway.log_lines() if "event" in line]
    assert told == ["key_rotated", "login_failed", "login_succeeded", "logout"]


def test_a_form_that_asks_for_no_page_gets_the_json_of_the_api(browser: Browser) -> None:
    user = browser.gateway.add_user()
    fields = {"username": user.email, "password": user.password}
    for accept in ("application/json", "*/*", "text/plain", "text/html-not"):
        answer = browser.post("/auth/login", {"Accept": accept}, **fields)
        assert answer.status_code == 200
        assert answer.json()["token_type"] == "Bearer"
    answer = browser.raw("POST", "/auth/login", {"Accept": "text/html"}, json=fields)
    assert answer.json()["token_type"] == "Bearer"


def test_a_json_body_that_is_called_a_form_is_told_on_the_page(browser: Browser) -> None:
    headers = {"Accept": ACCEPT, "Content-Type": "application/x-www-form-urlencoded"}
    answer = browser.raw("POST", "/auth/login", headers, content=b'{"username": "a"}\xff')
    assert "could not be understood" in reason_of(page_of(answer, 400))


# ------------------------------------------------------------------------------------------------------------- led on


def test_somebody_who_is_signed_in_is_led_on_at_once(shop: Browser) -> None:
    shop.sign_in(shop.gateway.add_user())
    answer = shop.get("/auth/login?rd=" + quote(APP, safe=""))
    assert (answer.status_code, answer.headers["Location"], answer.content) == (303, APP, b"")
    assert shop.raw("HEAD", "/auth/login", {"Cookie": f"{NAME}={shop.cookies[NAME]}"}).status_code == 303


def test_a_login_that_is_too_old_is_asked_for_again_with_the_reason(shop: Browser) -> None:
    user = shop.gateway.add_user()
    shop.sign_in(user)
    path = "/auth/login?max_auth_age={}&rd=" + quote(APP, safe="")
    assert shop.get(path.format(3600)).status_code == 303
    session = {NAME: shop.cookies[NAME]}
    wait_until(lambda: Browser(shop.gateway, dict(session)).get(path.format(0)).status_code == 200, 3)
    page = page_of(shop.get(path.format(0)))
    assert "recent sign-in" in page.text
    assert page.forms["/auth/login"]["username"] == user.email
    assert page.forms["/auth/login"]["rd"] == APP
    assert "autofocus" in page.ids["password"]


@pytest.mark.parametrize(
    ("query", "status"),
    [("amr=pwd", 303), ("amr=mfa,pwd", 303), ("amr=mfa", 200), ("amr=pwd&amr=mfa,pop", 200), ("amr=", 303)],
)
def test_a_login_of_a_weaker_kind_is_asked_for_again(shop: Browser, query: str, status: int) -> None:
    shop.sign_in(shop.gateway.add_user())
    answer = shop.get(f"/auth/login?{query}")
    assert answer.status_code == status
    if status == 200:
        assert "stronger way" in page_of(answer).text


@pytest.mark.parametrize("query", ["max_auth_age=x", "max_auth_age=-1", "max_auth_age=", "max_auth_age=99999999999"])
def test_what_cannot_be_read_in_the_query_asks_for_nothing(shop: Browser, query: str) -> None:
    shop.sign_in(shop.gateway.add_user())
    assert shop.get(f"/auth/login?{query}").status_code == 303


def test_a_session_that_has_ended_gets_the_form(browser: Browser) -> None:
    browser.sign_in(browser.gateway.add_user())
    kept = dict(browser.cookies)
    browser.post("/auth/logout")
    browser.cookies = kept
    page_of(browser.get("/auth/login"))


def test_the_sixth_time_within_a_minute_is_a_page_that_explains_the_loop(shop: Browser) -> None:
    shop.sign_in(shop.gateway.add_user())
    path = "/auth/login?rd=" + quote(APP, safe="")
    for count in range(1, 6):
        answer = shop.get(path)
        assert answer.status_code == 303
        hops = set_cookies(answer)["login_hops"]
        assert hops["value"].startswith(f"{count}.")
        assert {name: hops[name] for name in hops if name != "value"} == {
            "Path": "/auth/login",
            "Max-Age": "60",
            "HttpOnly": "",
            "SameSite": "Lax",
        }
    page = page_of(shop.get(path))
    assert "app.example.test keeps sending you here" in page.text
    assert page.text.index("Domain:") < page.text.index("What else") < page.text.index("Proxy:")
    assert "cookie_domain" in page.text
    assert APP in page.links
    assert shop.get("/auth/login").status_code == 303  # another address is another count


def test_on_the_own_host_a_loop_is_the_proxys(shop: Browser) -> None:
    shop.sign_in(shop.gateway.add_user())
    rd = quote(f"{shop.gateway.url}/app", safe="")
    for _ in range(5):
        shop.get(f"/auth/login?rd={rd}")
    page = page_of(shop.get(f"/auth/login?rd={rd}"))
    assert page.text.index("Proxy:") < page.text.index("What else") < page.text.index("Domain:")


@pytest.mark.parametrize("value", ["5", "99.x.1", "5.0123456789abcdef.1", "a" * 4000, "5.0123456789abcdef.99999999999"])
def test_a_count_that_is_none_of_ours_or_is_over_begins_anew(shop: Browser, value: str) -> None:
    shop.sign_in(shop.gateway.add_user())
    shop.cookies["login_hops"] = value
    answer = shop.get("/auth/login")
    assert answer.status_code == 303
    assert set_cookies(answer)["login_hops"]["value"].startswith("1.")


def test_a_cookie_that_was_sent_twice_is_explained(browser: Browser) -> None:
    browser.sign_in(browser.gateway.add_user())
    value = browser.cookies[NAME]
    twice = {"Accept": ACCEPT, "Cookie": f"{NAME}={value}; {NAME}=another"}
    for path in ("/auth/login", "/auth/account"):
        page = page_of(browser.raw("GET", path, twice), 400)
        assert "Two cookies of one name" in page.text
        assert page.forms == {"/auth/logout": {}}
    form = {"username": "a@example.com", "password": "x"}
    assert "Two cookies" in page_of(browser.raw("POST", "/auth/login", twice, data=form), 400).text
    problem_of(browser.raw("POST", "/auth/login", twice, json=form), 400, "malformed-request")
    assert browser.raw("POST", "/auth/logout", twice, data={"rd": ""}).status_code == 303


def test_under_https_the_cookies_have_the_names_that_browsers_guard(gateway_with: Make) -> None:
    gateway = gateway_with(issuer=HTTPS_ISSUER, cookie_domain="example.test")
    browser = browser_of(gateway)
    cookies = set_cookies(browser.sign_in(gateway.add_user()))
    assert cookies["__Secure-gateway_session"]["Domain"] == "example.test"
    hops = set_cookies(browser.get("/auth/login"))["__Secure-login_hops"]
    assert "Secure" in hops
    assert "Domain" not in hops


def test_what_people_type_is_never_markup(browser: Browser) -> None:
    """Shows ASVS 1.2.1."""
    answer = browser.post("/auth/login", {"User-Agent": HOSTILE}, username=HOSTILE, password=HOSTILE, rd=HOSTILE)
    page = page_of(answer, 401)
    assert page.forms["/auth/login"]["username"] == HOSTILE
    assert "<script>alert" not in answer.text
    assert answer.text.count("&lt;script&gt;alert") == 1
