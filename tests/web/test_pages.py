"""What all pages have in common: headers, languages, files, templates, and what is there without the portal."""

import base64
import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.requests import Request

from gateway.errors import StartupError
from gateway.settings import Settings
from gateway.state import GatewayRequest
from gateway.web.html.answering import small_page
from gateway.web.html.languages import LANGUAGES, preferred_language, read_texts
from gateway.web.html.qr_code import qr_svg
from gateway.web.html.rendering import OURS, Html, content_policy
from tests.harness import GatewayProcess, run_command
from tests.web.asking import HTTPS_ISSUER, problem_of, send_raw
from tests.web.browsing import Browser, Page, browser_of, page_of, policy_of

pytestmark = pytest.mark.redis
Make = Callable[..., GatewayProcess]
PATHS = ("/auth/login", "/auth/logout", "/auth/account")
PLACEHOLDER = re.compile(r"\{(\w*)\}")
TEXTS = read_texts(OURS / "languages")
HOSTILE = '"><script>alert(1)</script>'


@pytest.fixture
def visit(gateway: GatewayProcess) -> Callable[[str], Browser]:
    """Give a browser that gets a page at a path: the account is for who is signed in, the login for who is not."""

    def make(path: str) -> Browser:
        browser = browser_of(gateway)
        if path != "/auth/login":
            browser.sign_in(gateway.add_user())
        return browser

    return make


Visit = Callable[[str], Browser]


@pytest.mark.parametrize("path", PATHS)
def test_a_page_lets_the_browser_do_nothing_but_what_it_needs(path: str, visit: Visit) -> None:
    """Shows ASVS 3.4.3, ASVS 3.4.5, ASVS 3.4.6, ASVS 3.4.8, RFC 9700 4.16, RFC 9700 4.2.4."""
    answer = visit(path).get(path)
    page_of(answer)
    assert policy_of(answer) == {
        "default-src": ["'none'"],
        "style-src": ["'self'"],
        "script-src": ["'self'"],
        "connect-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "form-action": ["'self'", "https://127.0.0.1:*", "http://127.0.0.1:*"],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'none'"],
    }
    assert answer.headers.get_list("Referrer-Policy") == ["same-origin"]
    assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert {name.strip() for name in answer.headers["Vary"].split(",")} == {"Accept-Language", "Cookie", "Origin"}
    assert "X-Request-Id" in answer.headers
    assert "Server" not in answer.headers


def test_forms_may_lead_to_every_host_that_a_login_may_lead_to() -> None:
    def led_to(**settings: str | tuple[str, ...]) -> str:
        policy = content_policy(Settings(**settings))  # type: ignore[arg-type]
        return policy.partition("form-action ")[2].partition(";")[0]

    assert led_to(issuer=HTTPS_ISSUER) == "'self' https://auth.example.test:*"
    assert led_to(issuer=HTTPS_ISSUER, cookie_domain="example.test") == (
        "'self' https://auth.example.test:* https://example.test:* https://*.example.test:*"
    )
    hosts = ("app.example.com", "*.apps.example.com")
    assert led_to(issuer=HTTPS_ISSUER, return_hosts=hosts) == (
        "'self' https://app.example.com:* https://*.apps.example.com:*"
    )
    assert led_to(issuer="http://localhost") == "'self' https://localhost:* http://localhost:*"
    assert led_to(issuer="http://[::1]:8000") == "'self'"


@pytest.mark.parametrize("path", PATHS)
def test_a_page_is_small_and_asks_no_other_host(path: str, visit: Visit) -> None:
    answer = visit(path).get(path)
    page = page_of(answer)
    assert len(answer.content) <= 8192
    loaded = [attributes.get("src") or attributes.get("href") for tag, attributes in page.tags if tag != "a"]
    assert all(str(address).startswith("/auth/static/") for address in loaded if address)
    assert not [attributes for _, attributes in page.tags if attributes.keys() & {"style", "onclick", "onload"}]


@pytest.mark.parametrize("path", ["/", "/auth/account", "/auth/login", "/.well-known/change-password"])
def test_an_address_does_not_come_from_the_request(path: str, gateway: GatewayProcess) -> None:
    """T10, T27."""
    answer = send_raw(gateway, f"GET {path}", "Host: evil.example", "X-Forwarded-Host: evil.example")
    assert b"evil" not in answer.body
    assert "evil" not in str(answer.headers)


# ---------------------------------------------------------------------------------------------------------- languages


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_all_texts_with_the_same_placeholders(language: str) -> None:
    texts = TEXTS[language]
    assert list(texts) == list(TEXTS["en"])
    for key, text in texts.items():
        assert text.strip() == text != ""
        assert sorted(PLACEHOLDER.findall(text)) == sorted(PLACEHOLDER.findall(TEXTS["en"][key])), key
    assert len(texts["months"].split(" ")) == 12


def test_every_text_is_used() -> None:
    sources = "".join(path.read_text() for path in (OURS / "templates").glob("*.html"))
    sources += "".join(path.read_text() for path in (OURS.parent / "pages").glob("*.py"))
    built = (
        "problem_",
        "reason_",
        "done_",
        "ago_",
        "loop_",
        "login_too_",
        "kind_",
        "changed_",
        "language",
        "direction",
    )
    unused = [key for key in TEXTS["en"] if f"'{key}'" not in sources and f'"{key}"' not in sources]
    assert not [key for key in unused if not key.startswith(built)]


@pytest.mark.parametrize(
    ("accept_language", "language"),
    [
        ("", "en"),
        ("de", "de"),
        ("de-AT, en;q=0.5", "de"),
        ("en;q=0.4, fr;q=0.9", "fr"),
        ("FR-ca;Q=0.8, es ; q=0.9", "es"),
        ("it, pt;q=0.9, es;q=0.1", "es"),
        ("it", "en"),
        ("*", "en"),
        ("de;q=0, *", "en"),
        ("de;q=0", "en"),
        ("de;q=0.0, fr;q=0.001", "fr"),
        ("fr, de", "fr"),
        ("de;q=2, fr", "fr"),
        (",, ;q=1, de", "de"),
        ("x" * 5000, "en"),
        ("," * 5000 + "de", "en"),
    ],
)
def test_the_language_is_the_one_that_the_browser_likes_best(accept_language: str, language: str) -> None:
    """RFC 9110 section 12.5.4."""
    assert preferred_language(accept_language) == language


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("path", PATHS)
def test_a_page_is_in_the_language_that_was_asked_for(path: str, language: str, visit: Visit) -> None:
    browser = visit(path)
    by_header = page_of(browser.get(path, Accept_Language=f"{language}-XX, it;q=0.3"))
    by_hand = page_of(browser.get(f"{path}?lang={language}", Accept_Language="it"))
    assert by_header.language == by_hand.language == language
    assert by_header.text == by_hand.text
    assert all(f"lang={language}" in action for action in by_hand.forms)
    assert not any("lang=" in action for action in by_header.forms)


def test_a_language_chosen_by_hand_stays(gateway: GatewayProcess) -> None:
    user, browser = gateway.add_user(), browser_of(gateway)
    assert browser.get("/?lang=de").headers["Location"] == "/auth/account?lang=de"
    assert "lang=de&rd=" in browser.get("/auth/account?lang=de").headers["Location"]
    answer = browser.post("/auth/login?lang=de", username=user.email, password="falsch")
    assert "ist falsch" in page_of(answer, 401).text
    answer = browser.post("/auth/login?lang=de", username=user.email, password=user.password)
    assert answer.headers["Location"] == "/auth/account?lang=de"
    assert browser.get("/.well-known/change-password?lang=de").headers["Location"].endswith("?lang=de#password")


def test_a_language_that_there_is_not_is_no_language(gateway: GatewayProcess) -> None:
    for name in ("xx", "../de", HOSTILE):
        answer = browser_of(gateway).get(f"/auth/login?lang={name}", Accept_Language="fr")
        assert page_of(answer).language == "fr"
        assert name not in answer.text.replace("/auth/static", "")


# -------------------------------------------------------------------------------------------------------------- files


def test_the_files_are_kept_for_good_and_change_their_name_with_themselves(gateway: GatewayProcess) -> None:
    browser = browser_of(gateway)
    page = page_of(browser.get("/auth/login"))
    files = [str(attributes.get("href") or attributes.get("src")) for tag, attributes in page.tags if tag != "a"]
    files = [path for path in files if path.startswith("/auth/static/")]
    kinds = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
    assert len(files) == 4
    for path in files:
        answer = browser.get(path)
        stem, digest, kind = path.rpartition("/")[2].split(".")
        assert answer.headers.get_list("Cache-Control") == ["public, max-age=31536000, immutable"]
        assert answer.headers["Content-Type"] == kinds[kind]
        assert answer.headers.get_list("X-Content-Type-Options") == ["nosniff"]
        assert hashlib.sha256(answer.content).hexdigest().startswith(digest)
        assert "Set-Cookie" not in answer.headers
        problem_of(browser.get(f"/auth/static/{stem}.000000000000.{kind}"), 404, "not-found")
    assert len(browser.get(files[1]).content) <= 6000


@pytest.mark.parametrize("name", ["style.css", "..%2frendering.py", "%2e%2e", "login.html", "en.toml", "x" * 500])
def test_nothing_else_is_a_file(name: str, gateway: GatewayProcess) -> None:
    problem_of(browser_of(gateway).get(f"/auth/static/{name}"), 404, "not-found")


def test_templates_and_files_of_the_operator_take_the_place_of_ours(make_gateway: Make, tmp_path: Path) -> None:
    (tmp_path / "brand.html").write_text("<p>Welcome to {{ portal_name }}</p>")
    (tmp_path / "style.css").write_text("body { color: rebeccapurple }")
    (tmp_path / "logo.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    browser = browser_of(make_gateway(templates_dir=str(tmp_path), portal_name="Ann & Sons"))
    page = page_of(browser.get("/auth/login"))
    assert "Welcome to Ann & Sons" in page.text
    assert page.title == "Sign in · Ann & Sons"
    style, _ = [attributes["href"] for _, attributes in page.tags if attributes.get("rel") == "stylesheet"]
    assert browser.get(str(style)).text == "body { color: rebeccapurple }"
    assert Html(Settings(templates_dir=str(tmp_path))).file(f"logo.{hash_of(tmp_path / 'logo.svg')}.svg")


def hash_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


@pytest.mark.parametrize(
    ("text", "told"), [("{% if %}", "line 1"), ("\n{{ t('x'", "line 2"), (b"\xff\xfe", "login.html")], ids=str
)
def test_a_template_that_is_no_good_stops_the_start(text: str | bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / "login.html").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(StartupError, match=told):
        Html(Settings(templates_dir=str(tmp_path)))


def test_a_directory_of_templates_may_begin_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "logo.svg").write_text("<svg/>")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Html(Settings(templates_dir="~/own")).file(f"logo.{hash_of(tmp_path / 'own' / 'logo.svg')}.svg")


def test_a_directory_of_templates_that_is_not_there_stops_the_start(
    gateway_env: dict[str, str], tmp_path: Path
) -> None:
    answer = run_command("serve", env=gateway_env | {"GATEWAY_TEMPLATES_DIR": str(tmp_path / "none")})
    assert answer.returncode == 3
    assert "templates_dir" in answer.stderr.splitlines()[-1]
    assert "Traceback" not in answer.stderr


def test_a_qr_code_is_a_path_and_nothing_of_its_text() -> None:
    svg = qr_svg("otpauth://totp/" + HOSTILE * 10)
    assert re.fullmatch(
        r'<svg aria-hidden="true" viewBox="[0-9 ]+" class="qr"><path stroke="#000" d="[MmHh0-9. -]+"/></svg>', svg
    )


# -------------------------------------------------------------------------------------------------------- small pages


def asking(**headers: str) -> GatewayRequest:
    fields = [(name.replace("_", "-").lower().encode(), value.encode()) for name, value in headers.items()]
    state = {"renderer": Html(Settings(issuer=HTTPS_ISSUER, portal_name="Example"))}
    return Request({"type": "http", "headers": fields, "query_string": b"", "state": state})


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    ("template", "status", "values"),
    [
        ("forbidden", 403, {"email": HOSTILE, "rd": "https://app.example.test/?a=1&b=" + "x"}),
        ("sign_in_elsewhere", 401, {}),
    ],
)
def test_a_page_on_the_host_of_an_application_holds_all_that_it_needs(
    language: str, template: str, status: int, values: dict[str, str]
) -> None:
    answer = small_page(asking(Accept_Language=language), template, status, **values)
    html = bytes(answer.body).decode()
    page = Page(html)
    assert answer.status_code == status
    assert answer.headers["Content-Language"] == page.language == language
    assert len(html) <= 8192
    assert "<script" not in html
    assert not page.forms
    assert all(link.startswith(HTTPS_ISSUER + "/auth/") for link in page.links)
    style = html.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in answer.headers["Content-Security-Policy"]
    assert "script-src" not in answer.headers["Content-Security-Policy"]
    if template == "forbidden":
        assert HOSTILE in page.text
        assert HTTPS_ISSUER + "/auth/logout?rd=https%3A//app.example.test/%3Fa%3D1%26b%3Dx" in page.links
    else:
        [link] = [attributes for tag, attributes in page.tags if tag == "a"]
        assert (link["target"], link["rel"]) == ("_blank", "noopener")


# ------------------------------------------------------------------------------------------------- without the portal


@pytest.mark.parametrize(
    "path", ["/", "/auth/account", "/auth/welcome", "/auth/static/style.css", "/.well-known/change-password"]
)
def test_without_the_portal_there_are_no_pages(path: str, gateway_with: Make) -> None:
    problem_of(browser_of(gateway_with(portal="off")).get(path), 404, "not-found")


@pytest.mark.parametrize("path", ["/auth/login", "/auth/logout"])
def test_without_the_portal_only_the_api_logs_in_and_out(path: str, gateway_with: Make) -> None:
    gateway = gateway_with(portal="off")
    browser = browser_of(gateway)
    answer = browser.get(path)
    problem_of(answer, 405, "method-not-allowed")
    assert answer.headers["Allow"] == "POST"
    user = gateway.add_user()
    answer = browser.post("/auth/login", username=user.email, password=user.password)
    assert answer.json()["token_type"] == "Bearer"
    assert browser.post("/auth/logout").status_code == 204
