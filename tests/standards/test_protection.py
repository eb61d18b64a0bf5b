"""The tables of docs/protection.md are those of the code, of the settings and of Redis."""

import ast
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.accounts import passwords
from gateway.derived_keys import DerivedKeys
from gateway.limits import guessing
from gateway.settings import Settings, load_settings
from gateway.state import Gateway
from gateway.telemetry import EVENTS
from tests.harness import SECRET, GatewayProcess, RedisServer, environment, in_gateway, run_command
from tests.standards.inventories import MODULES, PAGE, ROOT, constant, nodes_of, rows, section
from tests.store.test_redis_config import use_every_command, use_every_endpoint
from tests.web.asking import client_of, log_in
from tests.web.personal_tokens import make_token
from tests.web.second_steps import new_user_with_totp
from tests.web.test_credentials import CREDENTIALS

LIMIT = re.compile(r"^\| [^|]+ \| ([\d,.]+) [^|]* \| (?:\[(\w+)\]\(\.\./([\w/.]+)\)|`(\w+)`) \|$", re.MULTILINE)
LIMITS = {name or setting: (value, path) for value, name, path, setting in LIMIT.findall(PAGE.read_text())}
WAYS = "way | factors, `amr` | opens | slowed down by"
KEYS_IN_REDIS = "key in Redis | what it holds | class | protected by | until"
LOCKS = [ROOT / ".ci" / "requirements" / f"{name}.txt" for name in ("serve", "runtime")]


@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_is_what_the_page_says(name: str) -> None:
    """Shows ASVS 2.1.3, ASVS 7.1.1, ASVS 7.1.2, ASVS 13.1.2, ASVS 13.1.3, NIST 5.2c."""
    value, path = LIMITS[name]
    assert float(value.replace(",", "")) == (constant(name, path) if path else getattr(Settings(), name))


def test_the_page_has_the_limits_of_requests_sessions_and_connections() -> None:
    """Shows ASVS 2.1.1."""
    assert LIMITS.keys() >= {"MAX_BODY_BYTES", "MAX_FORM_FIELDS", "MAX_HEAD_BYTES", "MAX_HEADERS", "MAX_PASSWORD_BYTES"}
    assert LIMITS.keys() >= {"refresh_idle_ttl_seconds", "refresh_absolute_ttl_seconds", "max_sessions_per_user"}
    assert LIMITS.keys() >= {"MAX_CONNECTIONS_OF_POOL", "CALL_DEADLINE_SECONDS", "MAX_CALLS_UNDER_WAY", "MAX_OPEN"}
    http_page = (ROOT / "docs" / "http.md").read_text()
    for words in ("16 KiB at most", "32 KiB and 100 headers", "5 seconds to arrive", "the body has 10"):
        assert words in http_page
    assert f"`login_limit`, {Settings().login_limit}" in section("What comes in")
    assert f"`refresh_limit`, {Settings().refresh_limit}" in section("What comes in")


def test_the_guessing_throttle_is_what_the_page_of_passwords_says() -> None:
    """Shows ASVS 6.1.1."""
    page = (ROOT / "docs" / "passwords.md").read_text()
    assert (guessing.FREE_FAILURES, guessing.FIRST_WAIT_SECONDS, guessing.LONGEST_WAIT_SECONDS) == (5, 30, 3600)
    assert "After five failures in a row" in page
    assert "30 seconds doubling up to an hour" in page
    assert guessing.CLOSING_FAILURES == 100
    assert "After a hundred, strangers are not heard at all" in page
    assert "strangers who fail against the account neither slow it down nor stop it" in page
    assert passwords.LONGEST_WAIT_SECONDS == 2.0
    assert "Nobody waits longer than about 2 seconds" in page


def test_the_words_of_the_context_are_documented(gateway_env: dict[str, str]) -> None:
    """Shows ASVS 6.1.2, ASVS 6.2.11."""

    async def names(parts: Gateway) -> tuple[str, ...]:
        return parts.service_names

    env = gateway_env | {"GATEWAY_ISSUER": "https://auth.example.test", "GATEWAY_CLIENT_ID": "the-shop"}
    said = {
        "token-gateway": "`token-gateway`",
        "token gateway": "`token gateway`",
        "https://auth.example.test": "the issuer",
        "auth.example.test": "its host",
        "the-shop": "`client_id`",
    }
    assert set(in_gateway(env, names)) == said.keys()
    page = (ROOT / "docs" / "passwords.md").read_text()
    assert f"not one of the names of the service ({', '.join(said.values())})" in page
    assert "without the user's e-mail address, or its local part" in page


def test_every_way_to_authenticate_is_documented() -> None:
    """What opens a session is what the events know, what goes on is what credentials there are. Shows ASVS 6.1.3."""
    [login] = [event for event in EVENTS if event.name == "login_succeeded"]
    opening = {
        "": ["password"],
        "totp": ["password and code of an app"],
        "recovery": ["password and recovery code"],
        "passkey": ["password and passkey", "passkey alone"],
        "invitation": ["link of `users invite` or `users reset`"],
    }
    assert opening.keys() == set(login.successes)
    going_on = {
        "refresh token": ["refresh token"],
        "browser session": ["cookie of a browser session"],
        "access token": ["access token"],
        "token= of": ["access token"],
        "personal token": ["personal token"],
        "secret of a machine client": ["secret or assertion of a machine client"],
    }
    for credential in CREDENTIALS:
        if credential not in ("nothing", "status list"):
            assert any(credential.startswith(kind) for kind in going_on), credential
    documented = [row[0] for row in rows("Ways to authenticate", WAYS)]
    assert sorted(documented) == sorted({way for ways in (opening | going_on).values() for way in ways})


def test_who_may_what_is_documented_for_every_endpoint() -> None:
    """The table is that of tests/web/test_credentials.py, which tries each. Shows ASVS 8.1.1."""
    text = section("Who may what")
    for endpoint in ("GET /auth/me", "DELETE /auth/sessions/{id}", "POST /oauth/token", "GET /api/authz/auth-request"):
        assert f"`{endpoint}`" in text
    assert "There are no administrators over HTTP" in text


def test_the_profile_for_aal2_loads_and_keeps_the_limits_of_the_standard() -> None:
    """Shows NIST 5.2a, NIST 5.2b, NIST 5.2c, ASVS 7.1.1."""
    profile = tomllib.loads(section("Sessions").partition("```toml\n")[2].partition("```")[0])
    env = environment(secret=SECRET, **profile)
    settings = load_settings({}, env).settings
    assert settings.second_factor == "required"
    assert settings.refresh_idle_ttl_seconds <= 3600
    assert settings.refresh_absolute_ttl_seconds <= 24 * 3600
    assert settings.browser_session_ttl_seconds <= 24 * 3600
    assert Settings().refresh_absolute_ttl_seconds <= 30 * 24 * 3600


def test_the_end_of_sessions_of_several_applications_is_documented() -> None:
    """With the seconds of tests/tokens/test_revocation_latencies.py. Shows ASVS 7.1.3."""
    text = section("Sessions")
    assert "One login is for all applications behind the gateway, and one logout ends them all" in text
    page = (ROOT / "docs" / "revocation.md").read_text()
    for verifier in ("subrequest", "introspection", "offline with the status list", "offline behind `token=`"):
        assert f"| {verifier} |" in page


def test_every_key_is_documented_with_its_life() -> None:
    """Shows ASVS 11.1.1, ASVS 11.1.2, ASVS 13.1.4."""
    derived = [row[0].strip("`") for row in rows("Keys and algorithms", "key of `secret` | protects")]
    assert sorted(derived) == sorted(DerivedKeys.__dataclass_fields__.keys() - {"key_id"})
    assert len(derived) == 12
    assert "twelve keys" in section("Keys and algorithms")
    named = [row[0] for row in rows("Keys and algorithms", "key | made | kept | changed")]
    assert named == ["signing key", "`secret`", "the twelve keys of `secret` below"]
    secrets = rows("Secrets", "secret | where | change it")
    assert [row[0] for row in secrets][:3] == ["`secret`", "`redis_url`", "signing keys"]
    assert all(row[2] for row in secrets)


def test_the_connections_are_documented() -> None:
    """tests/standards/test_code.py has who opens them. Shows ASVS 13.1.1."""
    told = " ".join(row[0] for row in rows("Connections", "to | when | at most | time limits, tries"))
    for word in (
        "Redis",
        "private Redis",
        "the service manager",
        "itself",
        "the address that is given",
        "the issuer's keys",
    ):
        assert word in told
    assert constant("HEALTHCHECK_TIMEOUT_SECONDS", "gateway/cli/check.py") == 3
    assert constant("TIMEOUT_SECONDS", "gateway/cli/doctor/asking.py") == 5
    assert constant("FETCH_TIMEOUT_SECONDS", "gateway/verifier/fetch.py") == 5
    assert constant("COOLDOWN_SECONDS", "gateway/verifier/jwks.py") == 30
    assert constant("FAILURE_RETRY_SECONDS", "gateway/verifier/remote_status_lists.py") == 5


@pytest.mark.redis
@pytest.mark.one_server("all of its keys are looked at")
def test_every_key_in_redis_is_documented_and_lives_as_long_as_it_says(
    own_redis: Callable[..., RedisServer], make_gateway: Callable[..., GatewayProcess], tmp_path: Path
) -> None:
    """After every endpoint and every command was used. Shows ASVS 14.1.1, ASVS 14.2.4, ASVS 14.2.7."""
    server = own_redis()
    gateway = make_gateway(redis_url=server.url, redis_key_prefix="gw:", login_limit="1000/day", account_throttle="on")
    with client_of(gateway) as client:
        new_user_with_totp(gateway, client)
        make_token(log_in(gateway, client))
    use_every_endpoint(gateway)
    use_every_command(gateway.env, tmp_path)
    assert run_command("keys", "rotate", "--compromised", env=gateway.env).returncode == 0
    documented = {
        re.compile(re.escape(row[0].strip("`")).replace("…", ".+")): row[4] for row in rows("Data", KEYS_IN_REDIS)
    }
    assert {row[2] for row in rows("Data", KEYS_IN_REDIS)} == {"secret", "personal", "internal"}
    seen = set()
    with server.client() as redis:
        for key in redis.scan_iter():
            [(pattern, until)] = [
                (pattern, until) for pattern, until in documented.items() if pattern.fullmatch(key.decode())
            ]
            seen.add(pattern)
            assert (redis.pttl(key) > 0) is (until == "expires"), key
    print(f"{len(seen)} of {len(documented)} kinds of keys seen")
    assert {pattern.pattern for pattern in documented.keys() - seen} == set()


def test_every_log_is_documented_and_there_is_no_other() -> None:
    """Shows ASVS 16.1.1, ASVS 16.2.3."""
    written = set()
    for module in MODULES:
        for node in nodes_of(module):
            match node:
                case ast.Call(func=ast.Attribute(attr="getLogger"), args=[ast.Constant(value=str(name))]):
                    written.add(name)
                case ast.Assign(targets=[ast.Name(id="AUDIT_LOGGER")], value=ast.Constant(value=str(name))):
                    written.add(name)
                case ast.Call(func=ast.Name(id="print")):
                    pytest.fail(f"{module} prints")
                case ast.Attribute(attr="FileHandler" | "SysLogHandler" | "SocketHandler" | "HTTPHandler"):
                    pytest.fail(f"{module} has another log")
    assert set(re.findall(r"`(gateway(?:\.\w+)?)`", section("Logs"))) == written
    for sink in ("stderr", "`gw:audit` in Redis", "`metrics_address`", "`data_dir`"):
        assert sink in section("Logs")


def test_what_costs_much_is_documented_with_its_bound() -> None:
    """Shows ASVS 15.1.3."""
    costly = rows("What costs much", "what | costs | bounded by")
    assert [row[0] for row in costly][:2] == ["a password", "a signature"]
    assert all(row[2] for row in costly)
    assert "[LONGEST_WAIT_SECONDS](../gateway/accounts/passwords.py)" in section("What costs much")
    assert f"{passwords.LONGEST_WAIT_SECONDS:.0f} s of waiting" in section("What costs much")


# --------------------------------------------------------------------------------------------------------- dependencies


def locked() -> dict[str, str]:
    """Give the version of every package that a gateway runs with."""
    return dict(
        match
        for lock in LOCKS
        for match in re.findall(r"^([a-z0-9-]+)(?:\[[\w,]+\])?==([\w.]+)", lock.read_text(), re.MULTILINE)
    )


def parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def test_no_dependency_has_a_hole_that_is_listed() -> None:
    """Shows ASVS 15.1.1, ASVS 15.2.1."""
    text = section("Dependencies")
    assert "within 7 days" in text
    assert "within 30" in text
    assert "every 90 days" in text
    holes = rows("Dependencies", "package | from | hole")
    assert len(holes) >= 7
    for package, version, _ in holes:
        assert parts(locked()[package]) >= parts(version), package


def test_every_dependency_is_in_the_inventory_with_its_version() -> None:
    """Shows ASVS 15.1.2."""
    page = (ROOT / "docs" / "dependencies.md").read_text()
    assert len(locked()) >= 20
    assert {name for name, version in locked().items() if f"{name} {version}" not in page} == set()


def test_every_artefact_is_held_by_its_hash() -> None:
    """Shows ASVS 15.2.4."""
    for lock in (ROOT / ".ci" / "requirements").glob("*.txt"):
        packages = re.split(r"\n(?=\S)", lock.read_text())
        assert [one for one in packages if not one.startswith("#") and "--hash=sha256:" not in one] == [], lock
