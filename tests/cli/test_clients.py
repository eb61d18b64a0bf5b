"""gateway clients ...: what it prints, what it refuses, and what it tells."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.state import Gateway
from tests.cli.commands import assert_refused, here
from tests.harness import GatewayProcess, in_gateway, wait_until
from tests.machines.clients import GRANT, KeyedService, Service, new_key, public_pem
from tests.web.asking import client_of

API = "https://api.example.com"


def add(env: dict[str, str], *words: str) -> Service:
    printed = here("clients", "add", "Service", *words, env=env)
    assert (printed.status, printed.err) == (0, "")
    match = re.fullmatch(r"client_id: (cli_\S{22})\nclient_secret: (gws_\S{48})\n", printed.out)
    assert match, printed.out
    return Service(match[1], match[2])


def test_a_client_is_added_with_its_secret_shown_once(gateway_env: dict[str, str]) -> None:
    env = gateway_env | {"GATEWAY_AUDIENCES": f"{API},urn:b"}
    service = add(env, "--role", "reader", "--role", "reader", "--role", "ops", "--audience", API)
    (row,) = here("clients", "list", "--json", env=env).document["clients"]
    assert row == {
        "client_id": service.client_id,
        "name": "Service",
        "roles": ["reader", "ops"],
        "audiences": [API],
        "secrets": 1,
        "keys": [],
        "created_at": row["created_at"],
    }
    listing = here("clients", "list", env=env).out
    assert service.client_id in listing
    assert "secrets: 1" in listing
    assert service.secret[4:20] not in listing


def test_without_an_audience_it_has_that_of_logins(gateway_env: dict[str, str]) -> None:
    add(gateway_env)
    (row,) = here("clients", "list", "--json", env=gateway_env).document["clients"]
    assert row["audiences"] == [f"http://127.0.0.1:{gateway_env['GATEWAY_PORT']}"]


def test_json_has_the_same(gateway_env: dict[str, str]) -> None:
    document = here("clients", "add", "Service", "--json", env=gateway_env).document
    assert document.keys() == {"client_id", "client_secret"}
    renewed = here("clients", "new-secret", document["client_id"], "--json", env=gateway_env).document
    assert renewed["client_id"] == document["client_id"]
    assert renewed["client_secret"] != document["client_secret"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("Service", "--audience", "urn:unknown"), "put it into the setting audiences"),
        (("Service", "--role", "No Role"), "is not a role"),
        (("",), "has a name"),
        (("\u202ex",), "printable"),
        (("x" * 201,), "at most 200"),
        (("Service", "--public-key", "/nonexistent"), "cannot be read"),
    ],
)
def test_what_is_not_acceptable_is_refused_and_adds_nothing(
    words: tuple[str, ...], told: str, gateway_env: dict[str, str]
) -> None:
    assert_refused(here("clients", "add", *words, env=gateway_env), 1, told)
    assert here("clients", "list", "--json", env=gateway_env).document == {"clients": []}


def test_a_client_with_a_key_has_no_secret(gateway_env: dict[str, str], tmp_path: Path) -> None:
    """Shows ASVS 10.4.16."""
    key, file, private = new_key(), tmp_path / "public.pem", tmp_path / "private.pem"
    file.write_bytes(public_pem(key))
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    assert_refused(
        here("clients", "add", "Keyed", "--public-key", str(private), env=gateway_env),
        1,
        "openssl pkey -in FILE -pubout",
    )
    printed = here("clients", "add", "Keyed", "--public-key", str(file), env=gateway_env)
    match = re.fullmatch(r"client_id: (cli_\S{22})\n", printed.out)
    assert match
    client_id = match[1]
    (row,) = here("clients", "list", "--json", env=gateway_env).document["clients"]
    assert (row["secrets"], len(row["keys"])) == (0, 1)
    assert "keys: 1" in here("clients", "list", env=gateway_env).out
    assert_refused(here("clients", "new-secret", client_id, env=gateway_env), 1, "clients set-key")
    file.write_bytes(public_pem(new_key()) + public_pem(key))
    assert here("clients", "set-key", client_id, str(file), env=gateway_env).out == "keys replaced\n"
    (row,) = here("clients", "list", "--json", env=gateway_env).document["clients"]
    assert len(row["keys"]) == 2


def test_two_secrets_at_once_and_the_old_one_ended(gateway_env: dict[str, str]) -> None:
    service = add(gateway_env)
    assert_refused(here("clients", "new-secret", service.client_id, "--revoke-old", env=gateway_env), 1, "one secret")
    printed = here("clients", "new-secret", service.client_id, env=gateway_env)
    assert re.fullmatch(rf"client_id: {service.client_id}\nclient_secret: gws_\S{{48}}\n", printed.out)
    assert here("clients", "new-secret", service.client_id, "--revoke-old", env=gateway_env).status == 0
    (row,) = here("clients", "list", "--json", env=gateway_env).document["clients"]
    assert row["secrets"] == 1


@pytest.mark.parametrize("words", [("new-secret",), ("new-secret", "--revoke-old"), ("remove",)])
def test_an_unknown_client_is_told(words: tuple[str, ...], gateway_env: dict[str, str]) -> None:
    for client_id in ("cli_" + "x" * 22, "nobody"):
        assert_refused(
            here("clients", words[0], client_id, *words[1:], env=gateway_env), 1, "see `gateway clients list`"
        )


def test_every_change_is_an_event(gateway_env: dict[str, str], tmp_path: Path) -> None:
    service = add(gateway_env)
    file = tmp_path / "public.pem"
    file.write_bytes(public_pem(new_key()))
    for words in (
        ("new-secret", service.client_id),
        ("new-secret", service.client_id, "--revoke-old"),
        ("remove", service.client_id),
    ):
        assert here("clients", *words, env=gateway_env).status == 0
    entries = here("audit", "--json", env=gateway_env).document["events"]
    told = [(entry["event"], entry.get("reason", "")) for entry in entries if entry.get("sub") == service.client_id]
    assert told == [
        ("client_added", ""),
        ("client_changed", "secret"),
        ("client_changed", "secret-ended"),
        ("client_removed", ""),
    ]
    assert service.secret not in str(entries)


def test_a_removed_client_gets_nothing_and_what_it_had_is_refused_everywhere(
    make_gateway: Callable[..., GatewayProcess],
) -> None:
    gateways = [make_gateway(issuer="http://gateway.test") for _ in range(2)]
    env = gateways[0].env
    service, other = add(env), add(env)
    with client_of(gateways[0]) as first, client_of(gateways[1]) as second:
        token, kept = service.token(first), other.token(first)

        def passes(client: object, one: str) -> bool:
            headers = {"Authorization": f"Bearer {one}"}
            return client.get("/api/authz/auth-request", headers=headers).status_code == 200  # type: ignore[attr-defined, no-any-return]

        assert passes(first, token)
        assert passes(second, token)
        assert here("clients", "remove", service.client_id, env=env).out == "removed\n"
        for client in (first, second):
            seconds = wait_until(lambda client=client: not passes(client, token), 1.0)  # type: ignore[misc]
            print(f"refused after {seconds * 1000:.0f} ms")
            assert client.post("/oauth/token", data=GRANT, auth=service.auth).status_code == 401
            assert passes(client, kept)
    assert [row["client_id"] for row in here("clients", "list", "--json", env=env).document["clients"]] == [
        other.client_id
    ]


def test_a_removal_that_was_cut_short_is_completed_by_the_clients_next_attempt(
    make_gateway: Callable[..., GatewayProcess],
) -> None:
    gateway = make_gateway()
    service = add(gateway.env)

    async def mark(parts: Gateway) -> None:
        await parts.clients.mark(service.client_id)

    with client_of(gateway) as client:
        headers = {"Authorization": f"Bearer {service.token(client)}"}
        in_gateway(gateway.env, mark)
        assert here("clients", "list", "--json", env=gateway.env).document == {"clients": []}
        assert client.get("/api/authz/auth-request", headers=headers).status_code == 200, "nobody has heard of it yet"
        assert client.post("/oauth/token", data=GRANT, auth=service.auth).status_code == 401
        assert client.get("/api/authz/auth-request", headers=headers).status_code == 401
    assert_refused(here("clients", "remove", service.client_id, env=gateway.env), 1, "there is no client")


def test_a_removal_that_was_cut_short_is_completed_by_the_command(make_gateway: Callable[..., GatewayProcess]) -> None:
    gateway = make_gateway()
    service = add(gateway.env)

    async def mark(parts: Gateway) -> None:
        await parts.clients.mark(service.client_id)

    with client_of(gateway) as client:
        headers = {"Authorization": f"Bearer {service.token(client)}"}
        in_gateway(gateway.env, mark)
        assert here("clients", "remove", service.client_id, env=gateway.env).status == 0
        wait_until(lambda: client.get("/api/authz/auth-request", headers=headers).status_code == 401, 1.0)


def test_the_check_tells_of_secrets_under_a_previous_secret_and_of_audiences_that_are_gone(
    gateway_env: dict[str, str],
) -> None:
    former = "x6 the former secret of 32 bytes and more"
    service = add(gateway_env | {"GATEWAY_AUDIENCES": API, "GATEWAY_SECRET": former}, "--audience", API)
    new = gateway_env | {"GATEWAY_SECRET": "x7 another secret of 32 bytes and more"}

    def warnings(**settings: str) -> str:
        return "\n".join(here("check", "--json", env=new | settings).document["warnings"])

    told = warnings(GATEWAY_PREVIOUS_SECRETS=former, GATEWAY_AUDIENCES=API)
    assert "1 secrets of clients are kept under a previous secret" in told
    assert "gets no tokens" not in told
    assert "1 secrets of clients are kept under a secret that is not set" in warnings(GATEWAY_AUDIENCES=API)
    assert f"{service.client_id} gets no tokens" in warnings(GATEWAY_PREVIOUS_SECRETS=former)


def test_a_key_of_the_commands_authenticates(make_gateway: Callable[..., GatewayProcess], tmp_path: Path) -> None:
    gateway, key, file = make_gateway(), new_key(), tmp_path / "public.pem"
    file.write_bytes(public_pem(key))
    client_id = here("clients", "add", "Keyed", "--public-key", str(file), "--json", env=gateway.env).document[
        "client_id"
    ]
    with client_of(gateway) as client:
        form = KeyedService(client_id, key).form(gateway.url)
        assert client.post("/oauth/token", data=form).status_code == 200
