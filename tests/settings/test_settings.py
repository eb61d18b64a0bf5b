import base64
import hashlib
import ipaddress
import json
import os
import pickle
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import StartupError
from gateway.settings import (
    LoadedSettings,
    Quota,
    Settings,
    example_toml,
    load_settings,
    public_values,
    settings_table,
)

SECRET = "0123456789abcdef0123456789abcdef"
OTHER_SECRET = "fedcba9876543210fedcba9876543210"
EXAMPLE = Path(__file__).parents[2] / "config" / "gateway.example.toml"
NAMES = [field.name for field in msgspec.structs.fields(Settings)]


def load(environ: Mapping[str, str] | None = None, toml: str | Path = "", **flags: object) -> LoadedSettings:
    return load_settings(flags | ({"config": str(toml)} if toml else {}), {"HOME": "/home/alice"} | dict(environ or {}))


def settings_of(**values: str) -> Settings:
    return load({f"GATEWAY_{name.upper()}": value for name, value in values.items()}).settings


def refusal(environ: Mapping[str, str] | None = None, toml: str | Path = "", **flags: object) -> str:
    with pytest.raises(StartupError) as caught:
        load(environ, toml, **flags)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert caught.value.exit_status == 3
    return message


def written(folder: Path, text: str) -> Path:
    path = folder / "gateway.toml"
    path.write_text(text)
    return path


def test_nothing_given_gives_the_defaults_of_the_contract() -> None:
    """The defaults are those of the table of settings."""
    assert public_values(load().settings) == {
        "host": "127.0.0.1",
        "port": 8000,
        "workers": 1,
        "redis_url": None,
        "redis_key_prefix": "gw:",
        "redis_durability": "confirmed",
        "revocation_max_lag_seconds": 0,
        "data_dir": "/home/alice/.local/share/token-gateway",
        "secret": None,
        "previous_secrets": [],
        "issuer": "http://127.0.0.1:8000",
        "audience": "http://127.0.0.1:8000",
        "audiences": [],
        "client_id": "first-party",
        "signing_algorithm": "RS256",
        "rsa_key_bits": 2048,
        "key_rotation_days": 30,
        "access_token_ttl_seconds": 600,
        "access_token_claims": ["email", "name"],
        "refresh_idle_ttl_seconds": 1_209_600,
        "refresh_absolute_ttl_seconds": 2_592_000,
        "refresh_replay_window_seconds": 60,
        "max_sessions_per_user": 50,
        "portal": "on",
        "portal_name": None,
        "templates_dir": None,
        "login_url": None,
        "cookie_domain": None,
        "return_hosts": [],
        "browser_session_ttl_seconds": 43_200,
        "session_check_seconds": 60,
        "status_list": "on",
        "second_factor": "optional",
        "bcrypt_cost": 12,
        "insecure_test_settings": False,
        "password_min_length": 15,
        "login_limit": "10/minute",
        "refresh_limit": "120/minute",
        "account_throttle": "on",
        "trusted_proxies": [],
        "allowed_origins": [],
        "cookie_samesite": "strict",
        "identity_headers": "remote",
        "keep_alive_seconds": 75,
        "metrics_address": None,
        "log_format": None,
        "log_level": "info",
    }


def test_a_flag_goes_over_the_environment_over_the_file_over_the_default(tmp_path: Path) -> None:
    """Each source hides the ones below it, and every setting tells where it came from."""
    toml = written(tmp_path, "host = '10.0.0.1'\nport = 1001\nworkers = 2\n")
    loaded = load({"GATEWAY_PORT": "1002", "GATEWAY_WORKERS": "3"}, toml, workers=4)
    assert (loaded.settings.host, loaded.settings.port, loaded.settings.workers) == ("10.0.0.1", 1002, 4)
    assert loaded.origins["host"] == f"file {toml}"
    assert loaded.origins["port"] == "environment GATEWAY_PORT"
    assert loaded.origins["workers"] == "flag --workers"
    assert loaded.origins["issuer"] == "default"
    assert list(loaded.origins) == NAMES


def test_the_file_is_named_by_the_flag_before_the_environment(tmp_path: Path) -> None:
    """With `--config` the file that GATEWAY_CONFIG names is not even read."""
    toml = written(tmp_path, "port = 1001\n")
    assert load({"GATEWAY_CONFIG": str(toml)}).settings.port == 1001
    assert load({"GATEWAY_CONFIG": str(tmp_path / "none.toml")}, toml).settings.port == 1001


def test_every_setting_can_be_set_in_the_file_and_in_the_environment(tmp_path: Path) -> None:
    """What the example file shows loads from both, with the same outcome."""
    shown = re.findall(r"^#(\w+ = .*)$", example_toml(), re.MULTILINE)
    ours = {"secret": SECRET, "templates_dir": str(tmp_path), "issuer": "https://auth.example.com"}
    values = tomllib.loads("\n".join(shown)) | ours
    toml = [f"{name} = {json.dumps(value)}" for name, value in values.items()]
    texts = {name: ",".join(value) if isinstance(value, list) else str(value) for name, value in values.items()}
    from_file = load({}, written(tmp_path, "\n".join(toml)))
    from_environment = load({f"GATEWAY_{name.upper()}": text for name, text in texts.items()})
    assert from_file.settings == from_environment.settings
    assert "default" not in {*from_file.origins.values(), *from_environment.origins.values()}


@pytest.mark.parametrize(
    ("text", "elements"),
    [("", ()), (" ", ()), ("10.0.0.1", ("10.0.0.1",)), ("10.0.0.1, ::1,", ("10.0.0.1", "::1"))],
)
def test_a_list_in_the_environment_is_comma_separated(text: str, elements: tuple[str, ...]) -> None:
    """White space around an element and empty elements mean nothing; an empty text is an empty list."""
    assert settings_of(trusted_proxies=text).trusted_proxies == elements


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("1", True), ("Yes", True), ("ON", True), ("false", False), ("0", False)]
)
def test_a_truth_value_in_the_environment_is_spelt_as_usual(text: str, value: bool) -> None:
    assert settings_of(insecure_test_settings=text).insecure_test_settings is value


@pytest.mark.parametrize(("ending", "kept"), [("", ""), ("\n", ""), ("\r\n", ""), ("\n\n", "\n")])
def test_a_secret_is_read_from_a_file_without_its_last_newline(tmp_path: Path, ending: str, kept: str) -> None:
    """Shows ASVS 13.3.1."""
    path = tmp_path / "secret"
    path.write_bytes((SECRET + ending).encode())
    path.chmod(0o600)
    loaded = load({"GATEWAY_SECRET_FILE": str(path)})
    assert loaded.settings.secret == SECRET + kept
    assert loaded.origins["secret"] == f"file {path} (GATEWAY_SECRET_FILE)"


def test_the_redis_url_is_read_from_a_file_over_the_toml_file(tmp_path: Path) -> None:
    path = tmp_path / "redis-url"
    path.write_text("redis://:pa%2Fss@redis:6379/1\n")
    path.chmod(0o600)
    toml = written(tmp_path, f"redis_url = 'redis://elsewhere'\nsecret = '{SECRET}'\n")
    assert load({"GATEWAY_REDIS_URL_FILE": str(path)}, toml).settings.redis_url == "redis://:pa%2Fss@redis:6379/1"


@pytest.mark.parametrize(
    ("ending", "kept"), [("", ""), ("\n", ""), ("\r\n", ""), ("\n\n", "\n"), (" ", " "), ("\n ", "\n ")]
)
def test_a_secret_means_the_same_wherever_it_comes_from(tmp_path: Path, ending: str, kept: str) -> None:
    path = tmp_path / "secret"
    path.write_bytes((SECRET + ending).encode())
    path.chmod(0o600)
    toml = written(tmp_path, f"secret = {json.dumps(SECRET + ending)}\n")
    loaded = [
        load({"GATEWAY_SECRET_FILE": str(path)}),
        load({"GATEWAY_SECRET": SECRET + ending}),
        load(toml=toml),
    ]
    assert {one.settings.secret for one in loaded} == {SECRET + kept}


SAMPLES = [
    *("a" * 32, "ab" * 20, "abc" * 11, "abcdefg" * 6, "changeme" * 4, "12345678" * 4, "ä" * 16, "x" * 31 + "y"),
    *("changeme-changeme-changeme-changeme!", "your-secret-key-here-at-least-32-bytes", "aAbBcC" * 6),
    *("please-change-this-secret-before-production", "CHANGE_ME_TO_A_LONG_RANDOM_STRING_OF_32_BYTES"),
    *("replace-with-a-random-secret-of-48-characters", "my-super-secret-token-gateway-secret-key-1234"),
    *("secretsecretsecretsecretsecretsecret", "this is a very long default secret, change it", "0" * 64),
    *("password1234567890password1234567890", "<openssl rand>".replace("openssl rand", "your secret of 32 bytes") * 2),
]


@pytest.mark.parametrize("name", ["secret", "previous_secrets"])
@pytest.mark.parametrize("sample", SAMPLES)
def test_a_sample_or_a_pattern_is_no_secret(name: str, sample: str) -> None:
    """Shows ASVS 6.3.2, ASVS 13.2.3."""
    message = refusal({f"GATEWAY_{name.upper()}": sample})
    assert message.startswith(f"{name} = ")
    assert "openssl rand -base64 48" in message
    assert sample not in message


@given(st.binary(min_size=24, max_size=64))
def test_what_chance_makes_is_a_secret(seed: bytes) -> None:
    for octets in (hashlib.sha256(seed).digest(), hashlib.sha512(seed).digest()):
        for text in (octets.hex(), base64.b64encode(octets).decode(), base64.urlsafe_b64encode(octets).decode()):
            assert load({"GATEWAY_SECRET": text}).settings.secret == text


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o444, 0o602, 0o666, 0o777])
@pytest.mark.parametrize(("variable", "text"), [("SECRET", SECRET), ("REDIS_URL", "redis://:hunter2@redis")])
def test_a_file_with_a_secret_that_others_can_read_is_refused(
    variable: str, text: str, mode: int, tmp_path: Path
) -> None:
    """Shows ASVS 13.3.2."""
    path, link = tmp_path / "file", tmp_path / "link"
    path.write_text(text)
    link.symlink_to(path)  # as Kubernetes mounts secrets
    path.chmod(mode)
    for name in (path, link):
        message = refusal({f"GATEWAY_{variable}_FILE": str(name)})
        assert f"mode {mode:04o}" in message
        assert "chmod 600" in message
        assert text not in message


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640, 0o440])
def test_a_file_with_a_secret_may_be_read_by_a_group_of_ours_alone(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text(SECRET)
    path.chmod(mode)
    os.chown(path, -1, os.getegid())
    assert load({"GATEWAY_SECRET_FILE": str(path)}).settings.secret == SECRET
    if os.geteuid() == 0 and mode & 0o040:
        os.chown(path, -1, 54_321)
        assert "chmod 600" in refusal({"GATEWAY_SECRET_FILE": str(path)})


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root, to give a file to a group that is not ours")
def test_a_credential_of_systemd_has_the_mode_of_its_access_control_list(tmp_path: Path) -> None:
    """On tmpfs it belongs to root, and the mask of the list, which names the service alone, shows as its group's."""
    path = tmp_path / "secret"
    path.write_text(SECRET)
    os.chown(path, -1, 54_321)
    path.chmod(0o440)
    named = {"GATEWAY_SECRET_FILE": str(path)}
    assert load(named | {"CREDENTIALS_DIRECTORY": str(tmp_path)}).settings.secret == SECRET
    assert "chmod 600" in refusal(named | {"CREDENTIALS_DIRECTORY": str(tmp_path / "other")})
    assert "chmod 600" in refusal(named)
    path.chmod(0o444)
    assert "chmod 600" in refusal(named | {"CREDENTIALS_DIRECTORY": str(tmp_path)})


def test_a_url_without_a_password_may_be_read_by_everybody(tmp_path: Path) -> None:
    path = tmp_path / "url"
    path.write_text("redis://redis:6379/0\n")
    path.chmod(0o644)
    assert load({"GATEWAY_REDIS_URL_FILE": str(path), "GATEWAY_SECRET": SECRET}).settings.redis_url is not None


@pytest.mark.parametrize("name", ["SECRET", "REDIS_URL"])
def test_a_value_and_a_file_for_it_are_refused_together(tmp_path: Path, name: str) -> None:
    path = tmp_path / "value"
    path.write_text(SECRET)
    message = refusal({f"GATEWAY_{name}": SECRET, f"GATEWAY_{name}_FILE": str(path)})
    assert f"GATEWAY_{name} and GATEWAY_{name}_FILE are both set" in message
    assert SECRET not in message


@pytest.mark.parametrize(
    ("variable", "nearest"),
    [
        ("GATEWAY_ACESS_TOKEN_TTL_SECONDS", "GATEWAY_ACCESS_TOKEN_TTL_SECONDS"),
        ("GATEWAY_SECRT_FILE", "GATEWAY_SECRET_FILE"),
        ("GATEWAY_CONFG", "GATEWAY_CONFIG"),
        ("GATEWAY_port", "GATEWAY_PORT"),
        ("GATEWAY_ZZZ", "gateway.example.toml"),
        ("GATEWAY_", "gateway.example.toml"),
    ],
)
def test_an_unknown_variable_stops_start_up_and_the_nearest_is_named(variable: str, nearest: str) -> None:
    """The value is not shown, because a misspelt name may hold a secret."""
    message = refusal({variable: SECRET})
    assert message.startswith(f"{variable} (environment): ")
    assert nearest in message
    assert SECRET not in message


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("acess_token_ttl_seconds = 5", ["acess_token_ttl_seconds (file ", "the nearest is access_token_ttl_seconds"]),
        ("GATEWAY_PORT = 80", ["GATEWAY_PORT", "the nearest is port"]),
        ("[server]\nport = 80", ["server"]),
        ('"a\\nb" = 1', ["a\\nb"]),
    ],
)
def test_an_unknown_key_in_the_file_stops_start_up(tmp_path: Path, text: str, named: list[str]) -> None:
    message = refusal(toml=written(tmp_path, text))
    assert all(name in message for name in named)
    assert "gateway.toml" in message


def test_service_links_of_a_kubernetes_service_called_gateway_are_not_ours() -> None:
    """A GATEWAY_PORT that is a URL leaves the port as if it were not set."""
    links = {
        "GATEWAY_SERVICE_HOST": "10.0.0.1",
        "GATEWAY_SERVICE_PORT": "80",
        "GATEWAY_SERVICE_PORT_HTTP": "80",
        "GATEWAY_PORT": "tcp://10.0.0.1:80",
        "GATEWAY_PORT_80_TCP": "tcp://10.0.0.1:80",
        "GATEWAY_PORT_80_TCP_ADDR": "10.0.0.1",
    }
    loaded = load(links)
    assert loaded.settings == load().settings
    assert loaded.origins["port"] == "default"


@pytest.mark.parametrize("variable", ["GATEWAY_REDIS_PORT", "GATEWAY_REDIS_SERVICE_HOST", "GATEWAY_REDIS_PORT_1_TCP"])
def test_a_service_link_of_another_service_is_refused_with_the_mend(variable: str) -> None:
    assert "enableServiceLinks: false" in refusal({variable: "tcp://10.0.0.1:80"})


def test_variables_of_others_are_not_looked_at() -> None:
    assert load({"PATH": "/bin", "MY_GATEWAY_PORT": "1", "PORT": "1"}).settings == load().settings


def test_a_byte_order_mark_before_the_settings_file_is_read(tmp_path: Path) -> None:
    """As editors of Windows write it; in the middle of a file it is no mark."""
    path = tmp_path / "gateway.toml"
    path.write_bytes("\ufeffport = 1001\n".encode())
    assert load(toml=path).settings.port == 1001
    path.write_bytes("\ufeff\ufeffport = 1001\n".encode())
    assert "not valid TOML" in refusal(toml=path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be read"),
        (b"port = ", "not valid TOML"),
        (b"port = 1\nport = 2", "not valid TOML"),
        (b"port = " + b"9" * 5000, "not valid TOML"),
        (b"port = " + b"[" * 9999, "not valid TOML"),
        (b"host = '\xff'", "not text in UTF-8"),
    ],
)
def test_a_settings_file_that_cannot_be_used_is_named(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "gateway.toml"
    if content is not None:
        path.write_bytes(content)
    for message, origin in [
        (refusal(toml=path), "flag --config"),
        (refusal({"GATEWAY_CONFIG": str(path)}), "environment GATEWAY_CONFIG"),
    ]:
        assert message.startswith(f'config = "{path}" ({origin}): ')
        assert reason in message


@pytest.mark.parametrize(("content", "reason"), [(None, "cannot be read"), (b"\xff" * 40, "not text in UTF-8")])
def test_a_secret_file_that_cannot_be_used_is_named(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    message = refusal({"GATEWAY_SECRET_FILE": str(path)})
    assert message.startswith(f"secret (file {path}, GATEWAY_SECRET_FILE): ")
    assert reason in message


LIFETIMES = ("access_token_ttl_seconds", "refresh_idle_ttl_seconds", "refresh_absolute_ttl_seconds")


def lifetimes_for(name: str, value: int) -> dict[str, str]:
    """Give what the other lifetimes have to be in the environment, so that they go with this one."""
    if name not in LIFETIMES:
        return {}
    place = LIFETIMES.index(name)
    shorter = {other: min(value, 3600) for other in LIFETIMES[:place]}
    return {f"GATEWAY_{other.upper()}": str(shorter.get(other, value)) for other in LIFETIMES if other != name}


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("port", 1, 65_535),
        ("workers", 1, 64),
        ("rsa_key_bits", 2048, 4096),
        ("key_rotation_days", 0, 3650),
        ("access_token_ttl_seconds", 60, 3600),
        ("refresh_idle_ttl_seconds", 60, 31_536_000),
        ("refresh_absolute_ttl_seconds", 60, 31_536_000),
        ("refresh_replay_window_seconds", 0, 300),
        ("max_sessions_per_user", 1, 1000),
        ("browser_session_ttl_seconds", 60, 31_536_000),
        ("session_check_seconds", 1, 600),
        ("bcrypt_cost", 10, 16),
        ("password_min_length", 8, 64),
    ],
)
def test_a_number_is_kept_within_its_range(tmp_path: Path, name: str, least: int, most: int) -> None:
    """Both ends are allowed; one beyond either is refused with key, value, origin and range."""
    variable = f"GATEWAY_{name.upper()}"
    for value in (least, most):
        fitting = lifetimes_for(name, value)
        assert getattr(load(fitting | {variable: str(value)}).settings, name) == value
        assert getattr(load(fitting, toml=written(tmp_path, f"{name} = {value}")).settings, name) == value
    for value in (least - 1, most + 1, -1):
        allowed = f"allowed is {least} to {most}"
        assert refusal({variable: str(value)}) == f"{name} = {value} (environment {variable}): {allowed}"
        toml = written(tmp_path, f"{name} = {value}")
        assert refusal(toml=toml) == f"{name} = {value} (file {toml}): {allowed}"


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("bcrypt_cost", 4),
        ("access_token_ttl_seconds", 1),
        ("refresh_idle_ttl_seconds", 1),
        ("refresh_absolute_ttl_seconds", 1),
        ("browser_session_ttl_seconds", 1),
    ],
)
def test_test_settings_lower_the_least_and_nothing_else(name: str, least: int) -> None:
    """`insecure_test_settings` may stand anywhere; the greatest value stays as it is."""
    variable, relaxed = f"GATEWAY_{name.upper()}", {"GATEWAY_INSECURE_TEST_SETTINGS": "true"}
    assert getattr(load(relaxed | lifetimes_for(name, least) | {variable: str(least)}).settings, name) == least
    assert f"allowed is {least} to " in refusal(relaxed | {variable: str(least - 1)})
    assert "allowed is" in refusal(relaxed | {variable: "999999999"})
    assert "allowed is" in refusal({"GATEWAY_INSECURE_TEST_SETTINGS": "false", variable: str(least)})


@pytest.mark.parametrize("text", ["", "x", "6e2", "600.0", " 600", "1_000", "0x258", "٦٠٠", "9" * 30])
def test_a_number_in_the_environment_is_plain_digits(text: str) -> None:
    message = refusal({"GATEWAY_ACCESS_TOKEN_TTL_SECONDS": text})
    assert message.startswith(f"access_token_ttl_seconds = {json.dumps(text)} (environment ")
    assert message.endswith(": allowed is 60 to 3600")


@pytest.mark.parametrize(
    "line",
    [
        *["port = '80'", "port = 80.0", "port = true", "port = [80]", "host = 5", "host = 1979-05-27"],
        *["insecure_test_settings = 1", "insecure_test_settings = 'true'", "account_throttle = true"],
        *["trusted_proxies = '10.0.0.1'", "trusted_proxies = [10]", "access_token_claims = 'email,name'"],
        *["redis_url = {host = 'h'}", "signing_algorithm = 256", "data_dir = 1", "log_format = false", "secret = 5"],
    ],
)
def test_a_value_of_another_type_in_the_file_is_refused(tmp_path: Path, line: str) -> None:
    toml = written(tmp_path, line)
    message = refusal(toml=toml)
    assert message.startswith(line.partition(" ")[0] + " = ")
    assert f"(file {toml}): allowed is " in message


@pytest.mark.parametrize("relaxed", ["true", "false"])
@pytest.mark.parametrize(
    ("shorter", "longer"),
    [
        ("access_token_ttl_seconds", "refresh_idle_ttl_seconds"),
        ("refresh_idle_ttl_seconds", "refresh_absolute_ttl_seconds"),
    ],
)
def test_lifetimes_that_contradict_each_other_are_refused_by_name_and_value(
    tmp_path: Path, shorter: str, longer: str, relaxed: str
) -> None:
    """Equal ones are allowed. Settings for tests excuse nothing."""
    env = {"GATEWAY_INSECURE_TEST_SETTINGS": relaxed} | lifetimes_for(shorter, 300)
    assert getattr(load(env | {f"GATEWAY_{shorter.upper()}": "300"}).settings, shorter) == 300
    toml = written(tmp_path, f"{shorter} = 301")
    message = refusal(env, toml=toml)
    assert message.startswith(
        f"{shorter} = 301 (file {toml}): allowed is at most {longer} = 300 (environment GATEWAY_{longer.upper()}): "
    )
    assert "\n" not in message


def test_a_lifetime_that_contradicts_a_default_is_refused_too() -> None:
    message = refusal({"GATEWAY_REFRESH_ABSOLUTE_TTL_SECONDS": "86400"})
    assert message.startswith(
        "refresh_idle_ttl_seconds = 1209600 (default): allowed is at most refresh_absolute_ttl_seconds = 86400 "
        "(environment GATEWAY_REFRESH_ABSOLUTE_TTL_SECONDS): "
    )


def test_a_flag_out_of_range_is_named() -> None:
    assert refusal(port=0) == "port = 0 (flag --port): allowed is 1 to 65535"


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        (
            "signing_algorithm",
            ["RS256", "PS256", "ES256", "Ed25519", "EdDSA"],
            ["Ed448", "ed25519", "rs256", "HS256", "none", ""],
        ),
        ("account_throttle", ["on", "off"], ["true", "ON", "1", ""]),
        ("cookie_samesite", ["strict", "lax"], ["Strict", "default", ""]),
        ("identity_headers", ["remote", "x-auth-request", "x-forwarded"], ["X-Forwarded", ""]),
        ("log_format", ["text", "json"], ["auto", ""]),
        ("insecure_test_settings", [], ["", "maybe", "2"]),
        ("access_token_claims", [], ["email,phone", "roles"]),
    ],
)
def test_a_choice_takes_its_own_words_alone(name: str, good: list[str], bad: list[str]) -> None:
    for word in good:
        assert getattr(settings_of(**{name: word}), name) == word
    for word in bad:
        message = refusal({f"GATEWAY_{name.upper()}": word})
        assert message.startswith(f"{name} = ")
        assert "allowed is " in message


def test_a_refused_choice_lists_the_words() -> None:
    message = refusal({"GATEWAY_SIGNING_ALGORITHM": "HS256"})
    assert message == (
        'signing_algorithm = "HS256" (environment GATEWAY_SIGNING_ALGORITHM): '
        "allowed is RS256, PS256, ES256, Ed25519 or EdDSA"
    )


@pytest.mark.parametrize(("text", "claims"), [("", ()), ("email", ("email",)), ("name,email", ("name", "email"))])
def test_personal_claims_are_email_and_name_at_most(text: str, claims: tuple[str, ...]) -> None:
    assert settings_of(access_token_claims=text).access_token_claims == claims


def test_cookies_for_every_site_need_an_https_issuer() -> None:
    """`cookie_samesite = none` means nothing to a browser without Secure."""
    assert settings_of(cookie_samesite="none", issuer="https://auth.example").cookie_samesite == "none"
    for issuer in ({}, {"GATEWAY_ISSUER": "http://auth.example"}):
        message = refusal({"GATEWAY_COOKIE_SAMESITE": "none", **issuer})
        assert message.startswith('cookie_samesite = "none" (environment GATEWAY_COOKIE_SAMESITE): allowed is ')
        assert "https" in message


@pytest.mark.parametrize(
    ("issuer", "domain"),
    [
        ("https://auth.example.com", "example.com"),
        ("https://auth.example.com:8443", "auth.example.com"),
        ("https://AUTH.Example.com", "EXAMPLE.com"),
    ],
)
def test_a_cookie_domain_is_the_issuers_host_or_a_parent_of_it(issuer: str, domain: str) -> None:
    assert settings_of(issuer=issuer, cookie_domain=domain).cookie_domain == domain.lower()


@pytest.mark.parametrize("domain", ["example.org", "ample.com", "a.auth.example.com", "uth.example.com"])
def test_another_cookie_domain_is_refused_with_what_is_allowed(domain: str) -> None:
    message = refusal({"GATEWAY_ISSUER": "https://auth.example.com", "GATEWAY_COOKIE_DOMAIN": domain})
    assert message.startswith(f'cookie_domain = "{domain}" (environment GATEWAY_COOKIE_DOMAIN): allowed is the host')


def test_templates_are_in_a_directory_that_is_there(tmp_path: Path) -> None:
    assert settings_of(templates_dir=str(tmp_path)).templates_dir == str(tmp_path)
    assert "directory that is there" in refusal({"GATEWAY_TEMPLATES_DIR": str(tmp_path / "none")})


GOOD = [
    *[("host", text) for text in ("0.0.0.0", "::", "::1", "localhost", "my-host.example", "my_host")],  # noqa: S104
    *[("issuer", f"https://{rest}") for rest in ("a", "A.example", "a:8443", "[::1]:8443", "1.2.3.4")],
    *[("redis_key_prefix", text) for text in ("gw:", "a", "x" * 64, "prod|gw~-_./:")],
    *[("audience", text) for text in ("api", "https://api.example/", "a b", "x" * 255)],
    *[("client_id", text) for text in ("web", "x" * 255)],
    *[("login_limit", f"{count}/{unit}") for count in (1, 999_999) for unit in ("second", "minute", "hour", "day")],
    ("refresh_limit", "off"),
    ("secret", SECRET),
    ("secret", "äöüßéèêëàâîïôûùñ"),
    ("previous_secrets", f"{SECRET},{OTHER_SECRET}"),
    *[("trusted_proxies", text) for text in ("10.0.0.1", "10.0.0.0/8", "::1", "fd00::/8", "::ffff:10.0.0.0/104")],
    *[("allowed_origins", f"https://{rest}") for rest in ("a", "a.example:8443", "[::1]:3000")],
    ("allowed_origins", "capacitor://localhost"),
    *[("audiences", text) for text in ("", "api", "api,https://wiki.example.com/")],
    *[("return_hosts", text) for text in ("app.example.com", "*.example.com,localhost,[::1]")],
    *[("login_url", f"https://{rest}") for rest in ("a", "a:8443/", "www.example.com/sign-in")],
    *[("portal_name", text) for text in ("x", "Exämple & Söhne", "x" * 100)],
    *[("metrics_address", text) for text in ("127.0.0.1:9464", "[::1]:1", "metrics.internal:65535", "0.0.0.0:80")],
]


@pytest.mark.parametrize(("name", "text"), GOOD)
def test_a_well_spelt_value_is_kept_as_it_is(name: str, text: str) -> None:
    kept = getattr(settings_of(**{name: text}), name)
    assert (",".join(kept) if isinstance(kept, tuple) else kept) == text


BAD = [
    *[("host", text) for text in ("", " ", "[::1]", "a b", "a:80", "::1%eth0", "http://a", "a/b", "1.2.3.4:5", ":::")],
    *[("data_dir", text) for text in ("", "~bob/data", "/srv/\udcff")],
    *[("issuer", text) for text in ("", "auth.example", "ftp://a", "HTTPS://a", "https://", "https:///a", "//a")],
    *[("issuer", f"https://{rest}") for rest in ("a/b", "a:8443/b", "[::1]/b", "a/b/c~%20", "a/.", "a/%2f")],
    *[("issuer", f"https://{rest}") for rest in ("a/", "a/b/", "a//b", "a?", "a?b", "a#", "u@a", "u:p@a", "a:", "a:0")],
    *[
        ("issuer", f"https://{rest}")
        for rest in ("a:65536", "a:x", "a b", "a\n", "a\t", " a", "ä.example", "[::1", "[1:2]")
    ],
    ("issuer", "https://a\\b"),
    ("issuer", " https://a"),
    *[("audience", text) for text in ("", "x" * 256, "a\nb", "ä")],
    *[("client_id", text) for text in ("", "x" * 256, "a\x7f")],
    *[
        ("redis_key_prefix", text)
        for text in ("", "g w", "gw{", "gw}", "gw*", "gw?", "[gw]", "g\\w", "gä", "x" * 65, "g\n")
    ],
    *[
        ("login_limit", text)
        for text in ("", "0/minute", "10", "10/", "/minute", "10/minutes", "10/Minute", "-1/minute")
    ],
    *[("refresh_limit", text) for text in ("01/minute", "1000000/day", "1.5/hour", "10 / minute", "OFF", "٣/minute")],
    *[("trusted_proxies", text) for text in ("*", "0.0.0.0/0", "::/0", "::ffff:0:0/96", "::/64", "::ffff:0.0.0.0/90")],
    *[("trusted_proxies", text) for text in ("10.0.0.1/8", "fd00::1/8", "::ffff:10.0.0.1/104", "10.0.0.0/33", "proxy")],
    *[
        ("trusted_proxies", text)
        for text in ("10.0.0", "10.0.0.1:80", "fe80::1%eth0", "10.0.0.1/", "10.0.0.1,*", "1/0")
    ],
    *[
        ("allowed_origins", text)
        for text in ("*", "null", "app.example", "https://*.example", "//a", "file://", "://a")
    ],
    *[
        ("allowed_origins", f"https://{rest}")
        for rest in ("a/", "a/b", "a?b", "a#b", "u@a", "a:0", "a:65536", "a b", "ä")
    ],
    ("allowed_origins", "https://[::1::]"),
    ("audiences", "ä"),
    *[("return_hosts", text) for text in ("*", "*.", "https://a", "a:80", "a/b", "a.*.b", "**.a", "a b")],
    *[("login_url", text) for text in ("", "/sign-in", "//a", "javascript:x", "https://a/?b", "https://a/#b")],
    *[("login_url", text) for text in ("https://u@a/", "https://a b", "https://ä/", f"https://a/{'x' * 512}")],
    *[("portal_name", text) for text in ("", " ", "a\nb", "x" * 101)],
    *[("cookie_domain", text) for text in ("", "com", ".example.com", "example.com:80", "10.0.0.1", "[::1]", "a_b.c")],
    *[("metrics_address", text) for text in ("", "9464", ":9464", "127.0.0.1", "127.0.0.1:0", "::1:9464", "[::1]")],
    *[("metrics_address", text) for text in ("[::1::]:1", "[a]:1", "a:65536", "a:1/metrics", "http://a:1", "a b:1")],
    ("templates_dir", "~bob/x"),
    ("client_id", "\udcff"),
]


@pytest.mark.parametrize(("name", "text"), BAD)
def test_a_badly_spelt_value_is_refused_with_what_is_allowed(name: str, text: str) -> None:
    """Shows ASVS 2.2.1."""
    variable = f"GATEWAY_{name.upper()}"
    message = refusal({variable: text})
    assert message.startswith(f"{name} = ")
    assert f"(environment {variable}): " in message
    assert "allowed is " in message


@pytest.mark.parametrize("name", ["secret", "previous_secrets"])
@pytest.mark.parametrize("text", ["hunter2-hunter2", SECRET[:31], "ä" * 15, "\udcff" * 40])
def test_a_short_secret_is_refused_without_being_shown(name: str, text: str) -> None:
    """A secret has at least 32 bytes in UTF-8. Shows RFC 8725 3.5."""
    message = refusal({f"GATEWAY_{name.upper()}": text})
    assert message.startswith(f"{name} = *** (environment GATEWAY_{name.upper()}): allowed is ")
    assert "at least 32 bytes" in message
    assert text not in message


def test_an_empty_secret_is_too_short_and_not_absent() -> None:
    assert "at least 32 bytes" in refusal({"GATEWAY_SECRET": ""})


def test_each_of_the_previous_secrets_is_long_enough(tmp_path: Path) -> None:
    assert "hunter2" not in refusal(toml=written(tmp_path, f"previous_secrets = ['{SECRET}', 'hunter2']"))


def test_a_network_with_host_bits_is_refused_with_the_mend() -> None:
    message = refusal({"GATEWAY_TRUSTED_PROXIES": "127.0.0.1,10.1.2.3/8"})
    assert message.startswith('trusted_proxies = "10.1.2.3/8" ')
    assert "write 10.0.0.0/8 or 10.1.2.3" in message


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost",
        "redis://localhost:6379/",
        "redis://localhost:6379/15",
        "redis://user:p%40ss@10.0.0.1:6379/0?health_check_interval=5",
        "redis://:p@ss@[::1]:6379",
        "rediss://redis.example:6380/0?ssl_ca_certs=/etc/ca.pem",
        "unix:///run/redis/redis.sock",
        "unix://:pass@/run/redis.sock?db=2",
        "redis+sentinel://s1:26379,s2:26379,[::1]:26379/mymaster",
        "redis+sentinel://user:pass@s1:26379/mymaster/3",
        "redis+cluster://n1:7000,n2:7001",
        "redis+cluster://:pass@n1:7000/",
        "rediss+sentinel://user:pass@s1:26379,[::1]:26379/mymaster/3?ssl_ca_certs=/etc/ca.pem",
        "redis+sentinel://s1:26379/mymaster?sentinel_username=a&sentinel_password=b",
        "rediss+cluster://n1:7000",
        "rediss+cluster://:pass@n1:7000,[::1]:7001?ssl_ca_certs=/etc/ca.pem&ssl_check_hostname=no",
        "redis+cluster://n1:7000/?health_check_interval=5",
    ],
)
def test_every_way_to_name_a_redis_is_taken(url: str) -> None:
    assert settings_of(redis_url=url, secret=SECRET).redis_url == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:6379",
        "http://localhost:6379",
        "REDIS://localhost",
        "redis:localhost",
        "redis://",
        "redis:///0",
        "redis://a,b",
        "redis://a:0",
        "redis://a:65536",
        "redis://a:port",
        "redis://a/db",
        "redis://a/0/1",
        "redis://a#0",
        "redis://a b",
        "redis://:\udcff@a",
        "redis://a\n",
        "unix://run/redis.sock",
        "unix://",
        "unix://host/run/redis.sock",
        "redis+sentinel://s1:26379",
        "redis+sentinel://s1/mymaster",
        "redis+sentinel://s1:26379/mymaster/x",
        "redis+sentinel://s1:26379,/mymaster",
        "rediss+sentinel://s1:26379?ssl_ca_certs=/etc/ca.pem",
        "redis+cluster://n1",
        "redis+cluster://n1:7000/1",
        "rediss+cluster://n1",
        "redisss+cluster://n1:7000",
        "rediss+unix:///run/redis.sock",
    ],
)
def test_any_other_way_to_name_a_redis_is_refused(url: str) -> None:
    message = refusal({"GATEWAY_REDIS_URL": url, "GATEWAY_SECRET": SECRET})
    assert message.startswith("redis_url = ")
    assert "(environment GATEWAY_REDIS_URL): allowed is redis://host:port/db, " in message


@pytest.mark.parametrize(
    "url",
    [
        "redis://:hunter2@h:0",
        "redis://user:hunter2@h:0",
        "redis://hunter2@h:0",
        "redis://:hunt@er2/hunter2@h",
        "redis://:hunter2",
        "redis://user:hunter2",
        "redis:/:hunter2@h",
        "hunter2",
        "hunter2@h",
        "redis://h:0/0?password=hunter2",
        "redis://user:pass@h:0/0?a=b&password=hunter2&c=d",
        "redis://user:a\nhunter2@h",
    ],
)
def test_a_password_in_a_redis_url_is_not_shown(tmp_path: Path, url: str) -> None:
    """However malformed the URL is, and whatever type the file gives it."""
    assert "hunter2" not in refusal({"GATEWAY_REDIS_URL": url, "GATEWAY_SECRET": SECRET})
    assert "hunter2" not in refusal(toml=written(tmp_path, f"redis_url = [{json.dumps(url)}]"))


def test_a_redis_of_ones_own_needs_a_secret_of_ones_own(tmp_path: Path) -> None:
    """With the private Redis alone one is made; the message says how to make one otherwise."""
    message = refusal({"GATEWAY_REDIS_URL": "redis://:hunter2@localhost"})
    assert message.startswith("secret is needed with redis_url (environment GATEWAY_REDIS_URL)")
    assert all(mend in message for mend in ("openssl rand -base64 48", "GATEWAY_SECRET,", "GATEWAY_SECRET_FILE"))
    assert "hunter2" not in message
    toml = written(tmp_path, f"secret = '{SECRET}'")
    assert load({"GATEWAY_REDIS_URL": "redis://localhost"}, toml).settings.secret == SECRET


@pytest.mark.parametrize(
    ("host", "issuer"),
    [("localhost", "http://localhost:9000"), ("::1", "http://[::1]:9000"), ("10.0.0.1", "http://10.0.0.1:9000")],
)
def test_the_issuer_is_the_address_served_on_and_the_audience_the_issuer(host: str, issuer: str) -> None:
    settings = load(host=host, port=9000).settings
    assert (settings.issuer, settings.audience) == (issuer, issuer)
    assert Settings(host=host, port=9000).issuer == issuer


def test_an_issuer_given_is_kept_byte_for_byte() -> None:
    settings = settings_of(issuer="https://Auth.Example:443", audience="api")
    assert (settings.issuer, settings.audience) == ("https://Auth.Example:443", "api")
    assert settings_of(issuer="https://A:443").audience == "https://A:443"


def test_an_issuer_with_a_path_is_refused_with_what_is_allowed() -> None:
    """Cookies, the portal and the three well-known documents are at the root of its host, for all who look there."""
    message = refusal({"GATEWAY_ISSUER": "https://example.test/tenant"})
    assert message.startswith('issuer = "https://example.test/tenant" (environment GATEWAY_ISSUER): allowed is ')
    assert "without user, path," in message


@pytest.mark.parametrize(
    ("issuer", "origin", "is_https"),
    [
        ("https://Auth.Example:443", "https://auth.example", True),
        ("https://a:80", "https://a:80", True),
        ("http://a:80", "http://a", False),
        ("http://[::0:1]:8000", "http://[::1]:8000", False),
    ],
)
def test_the_issuer_is_taken_apart_as_browsers_do(issuer: str, origin: str, is_https: bool) -> None:
    settings = settings_of(issuer=issuer)
    assert (settings.issuer_origin, settings.is_https) == (origin, is_https)


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("HTTPS://App.Example:443", "https://app.example"),
        ("http://app.example:80", "http://app.example"),
        ("http://app.example:443", "http://app.example:443"),
        ("https://[0:0::1]", "https://[::1]"),
    ],
)
def test_origins_are_written_as_browsers_send_them(text: str, origin: str) -> None:
    assert settings_of(allowed_origins=text).allowed_origins == (origin,)


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("10.0.0.1", "10.0.0.1/32"),
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("::ffff:10.0.0.1", "10.0.0.1/32"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("fd00::/8", "fd00::/8"),
        ("::1", "::1/128"),
    ],
)
def test_trusted_proxies_are_networks_with_mapped_ones_as_ipv4(text: str, network: str) -> None:
    assert settings_of(trusted_proxies=text).trusted_networks == (ipaddress.ip_network(network),)


def test_limits_are_quotas() -> None:
    settings = settings_of(login_limit="10/minute", refresh_limit="off")
    assert (settings.login_quota, settings.refresh_quota) == (Quota(10, 60), None)
    windows = [settings_of(login_limit=f"1/{unit}").login_quota for unit in ("second", "hour", "day")]
    assert windows == [Quota(1, 1), Quota(1, 3600), Quota(1, 86_400)]


@pytest.mark.parametrize(
    ("environ", "data_dir"),
    [
        ({}, "/home/alice/.local/share/token-gateway"),
        ({"XDG_DATA_HOME": "/data"}, "/data/token-gateway"),
        ({"XDG_DATA_HOME": "relative"}, "/home/alice/.local/share/token-gateway"),
        ({"XDG_DATA_HOME": "/data", "GATEWAY_DATA_DIR": "/srv/gateway"}, "/srv/gateway"),
        ({"GATEWAY_DATA_DIR": "~/gateway"}, "/home/alice/gateway"),
        ({"GATEWAY_DATA_DIR": "~"}, "/home/alice"),
    ],
)
def test_the_data_directory_is_an_absolute_path(environ: dict[str, str], data_dir: str) -> None:
    assert load(environ).settings.data_dir == Path(data_dir)


def test_a_relative_data_directory_starts_where_the_command_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load({"GATEWAY_DATA_DIR": "here"}).settings.data_dir == tmp_path / "here"


def test_without_a_home_the_account_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container may run as an account that nobody knows; then there is the root."""
    assert load_settings({}, {}).settings.data_dir.is_absolute()
    monkeypatch.setattr("os.getuid", lambda: 2**31 - 3)
    assert load_settings({}, {}).settings.data_dir == Path("/.local/share/token-gateway")


def secretive() -> LoadedSettings:
    return load(
        {
            "GATEWAY_REDIS_URL": "redis://user:hunter2@redis:6379/0",
            "GATEWAY_SECRET": SECRET,
            "GATEWAY_PREVIOUS_SECRETS": OTHER_SECRET,
        }
    )


def test_secrets_are_masked_wherever_settings_are_shown() -> None:
    """Neither the public values nor a repr holds a secret."""
    loaded = secretive()
    shown = public_values(loaded.settings)
    assert shown["redis_url"] == "redis://user:***@redis:6379/0"
    assert (shown["secret"], shown["previous_secrets"]) == ("***", ["***"])
    for text in (json.dumps(shown), repr(loaded), f"{loaded.settings}"):
        assert not re.search(f"hunter2|{SECRET}|{OTHER_SECRET}", text)


@pytest.mark.parametrize(
    "url",
    [
        "redis://[::1]:6379/0",
        "unix:///run/redis.sock",
        "redis+cluster://a:1,b:2",
        "rediss+cluster://a:1,b:2?ssl_ca_certs=/etc/ca.pem",
    ],
)
def test_a_redis_url_without_password_is_shown_as_it_is(url: str) -> None:
    assert public_values(Settings(redis_url=url))["redis_url"] == url


def test_settings_survive_the_way_to_another_process() -> None:
    settings = secretive().settings
    assert pickle.loads(pickle.dumps(settings)) == settings  # noqa: S301 - our own bytes


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        load().settings.port = 1  # type: ignore[misc]


def test_the_example_file_is_the_generated_one() -> None:
    """Write it anew with `gateway.settings.example_toml` when this fails."""
    assert EXAMPLE.read_text() == example_toml()


def test_the_example_file_sets_nothing_and_shows_every_setting_with_its_default() -> None:
    assert tomllib.loads(example_toml()) == {}
    shown = tomllib.loads("\n".join(re.findall(r"^#(\w+ = .*)$", example_toml(), re.MULTILINE)))
    assert list(shown) == NAMES
    without_default = {"redis_url", "secret", "issuer", "audience", "data_dir", "log_format"}
    without_default |= {"portal_name", "templates_dir", "login_url", "cookie_domain", "return_hosts", "metrics_address"}
    defaults = public_values(Settings())
    assert {name: shown[name] for name in NAMES if name not in without_default} == {
        name: defaults[name] for name in NAMES if name not in without_default
    }


def test_no_setting_is_without_meaning_and_allowed_values() -> None:
    """Every row of the table has its four cells filled."""
    rows = settings_table().splitlines()[2:]
    assert [row.split("|")[1].strip(" `") for row in rows] == NAMES
    for row in rows:
        assert len([cell for cell in row.strip("|").split("|") if cell.strip()]) == 4
    assert "| `access_token_ttl_seconds` | `600` | 60 to 3600 | Lifetime of an access token, in seconds. |" in rows
