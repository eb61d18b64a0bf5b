from pathlib import Path

import pytest

from tests.cli.commands import assert_refused, here, in_process
from tests.harness import environment

CANARY = "canary-7c1f90d2-canary-7c1f90d2-canary"


def test_every_setting_is_shown_with_its_value_and_where_it_comes_from(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text('port = 9000\nlogin_limit = "off"\ntrusted_proxies = ["10.0.0.0/8", "::1"]\n')
    env = environment(config=file, port=9001, allowed_origins="https://a.test,https://b.test")
    shown = here("config", "show", "--json", env=env).document
    assert shown["port"] == {"value": 9001, "origin": "environment GATEWAY_PORT"}
    assert shown["login_limit"] == {"value": "off", "origin": f"file {file}"}
    assert shown["trusted_proxies"] == {"value": ["10.0.0.0/8", "::1"], "origin": f"file {file}"}
    assert shown["allowed_origins"]["value"] == ["https://a.test", "https://b.test"]
    assert shown["bcrypt_cost"] == {"value": 12, "origin": "default"}
    assert shown["issuer"] == {"value": "http://127.0.0.1:9001", "origin": "default"}

    table = {line.split()[0]: line for line in here("config", "show", env=env).out.splitlines()[1:]}
    assert set(table) == set(shown)
    assert table["port"].split() == ["port", "9001", "environment", "GATEWAY_PORT"]
    assert table["trusted_proxies"].split()[1] == "10.0.0.0/8,::1"
    assert table["insecure_test_settings"].split()[1] == "false"
    assert table["secret"].split()[1:] == ["-", "default"]


def test_a_file_named_on_the_command_line_goes_over_one_in_the_environment(tmp_path: Path) -> None:
    for name, port in (("one", 9001), ("two", 9002)):
        (tmp_path / name).write_text(f"port = {port}")
    env = environment(config=tmp_path / "one")
    shown = here("--config", str(tmp_path / "two"), "config", "show", "--json", env=env).document
    assert shown["port"] == {"value": 9002, "origin": f"file {tmp_path / 'two'}"}


@pytest.mark.parametrize(
    "redis_url",
    [
        f"redis://:{CANARY}@127.0.0.1:6379/0",
        f"rediss://user:{CANARY}@127.0.0.1:6379/0",
        f"redis+sentinel://:{CANARY}@127.0.0.1:26379,127.0.0.1:26380/main/0",
        f"redis://127.0.0.1:6379/0?password={CANARY}",
        f"redis+sentinel://127.0.0.1:26379/main?sentinel_username=gateway&sentinel_password={CANARY}",
        f"rediss+sentinel://a:{CANARY}@127.0.0.1:26379/main?sentinel%5Fpasswor%64={CANARY}&ssl_ca_certs=/etc/ca.pem",
        f"rediss+cluster://:{CANARY}@127.0.0.1:6379?ssl_password={CANARY}",
    ],
)
def test_secrets_are_masked_wherever_they_come_from(tmp_path: Path, redis_url: str) -> None:
    secret_file, url_file, toml = tmp_path / "secret", tmp_path / "url", tmp_path / "gateway.toml"
    secret_file.write_text(CANARY)
    url_file.write_text(redis_url)
    for file in (secret_file, url_file):
        file.chmod(0o600)
    toml.write_text(f'secret = "{CANARY}"\nprevious_secrets = ["{CANARY}"]\nredis_url = "{redis_url}"\n')
    sources = [
        environment(secret=CANARY, previous_secrets=f"{CANARY},{CANARY}", redis_url=redis_url),
        environment(secret_file=secret_file, redis_url_file=url_file),
        environment(config=toml),
    ]
    for env in sources:
        for arguments in (["config", "show"], ["config", "show", "--json"]):
            outcome = here(*arguments, env=env)
            assert outcome.status == 0
            assert CANARY not in outcome.out
            assert CANARY not in outcome.err
            assert "***" in outcome.out
    shown = here("config", "show", "--json", env=sources[0]).document
    assert (shown["secret"]["value"], shown["previous_secrets"]["value"]) == ("***", ["***", "***"])
    assert "127.0.0.1" in shown["redis_url"]["value"]


def test_the_service_links_of_kubernetes_are_not_ours(tmp_path: Path) -> None:
    links = {
        "GATEWAY_SERVICE_HOST": "10.3.0.7",
        "GATEWAY_SERVICE_PORT": "80",
        "GATEWAY_SERVICE_PORT_HTTP": "80",
        "GATEWAY_PORT": "tcp://10.3.0.7:80",
        "GATEWAY_PORT_80_TCP": "tcp://10.3.0.7:80",
        "GATEWAY_PORT_80_TCP_ADDR": "10.3.0.7",
    }
    shown = in_process("config", "show", "--json", env=environment(data_dir=tmp_path) | links).document
    assert (shown["host"]["value"], shown["port"]["value"]) == ("127.0.0.1", 8000)


def test_nothing_is_made_and_nobody_is_asked(tmp_path: Path) -> None:
    env = environment(data_dir=tmp_path / "data", redis_url="redis://127.0.0.1:1", secret=CANARY)
    assert here("config", "show", env=env).status == 0
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"redis_url": "redis://127.0.0.1:6379"}, ("secret is needed", "openssl rand -base64 48")),
        ({"redis_url": "redis://127.0.0.1:6379", "secret": CANARY[:31]}, ("secret = ***", "32 bytes")),
        ({"redis_url": f"http://:{CANARY}@127.0.0.1"}, ("redis_url", "rediss://host:port/db")),
        ({"trusted_proxies": "10.0.0.0/8,0.0.0.0/0"}, ("trusted_proxies", "covers every")),
        ({"config": "/nonexistent.toml"}, ("/nonexistent.toml", "No such file")),
    ],
    ids=lambda value: next(iter(value)),
)
def test_a_wrong_setting_is_told_and_no_secret_with_it(env: dict[str, str], words: tuple[str, ...]) -> None:
    outcome = here("config", "show", env=environment(**env))
    assert_refused(outcome, 3, *words)
    assert CANARY[:31] not in outcome.err
