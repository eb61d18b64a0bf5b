"""Who can be given what: whatever is accepted is served, to the byte."""

import secrets
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.accounts.users import check_name, check_roles
from gateway.derived_keys import DerivedKeys
from gateway.errors import CommandError
from gateway.sessions.status_indexes import LIST_POSITIONS
from gateway.settings import Settings
from gateway.state import Gateway
from gateway.tokens.identity_headers import MAX_IDENTITY_HEADERS_BYTES, IdentityHeaders
from gateway.tokens.size_bounds import SizeBounds
from gateway.verifier import AccessClaims
from gateway.verifier.verify import MAX_TOKEN_CHARACTERS
from tests.cli.commands import assert_refused, here
from tests.harness import SECRET, GatewayProcess, in_gateway
from tests.web.asking import client_of, log_in

EMAIL = "ann@example.com"
ROLES = tuple(f"role-{number:02}-{'x' * 12}" for number in range(50))
LONG = {"issuer": f"https://{'a' * 60}.{'b' * 170}.example", "audience": "\\" * 255, "client_id": '"' * 255}
FAMILIES = ("remote", "x-auth-request", "x-forwarded")


def claims_of(email: str, name: str, roles: tuple[str, ...]) -> AccessClaims:
    return AccessClaims(
        iss="i", sub="usr_" + "x" * 22, aud="a", exp=1, iat=1, jti=secrets.token_urlsafe(16), sid="s",
        auth_time=1, client_id="c", roles=roles, email=email, name=name,
    )  # fmt: skip


def sent_bytes(family: str, email: str, name: str, roles: tuple[str, ...]) -> int:
    headers = IdentityHeaders(family).of("a token", claims_of(email, name, roles))
    return sum(len(header) + len(value) + 4 for header, value in headers[:5])


TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc", "Cf", "Zl", "Zp")), max_size=200)
ROLE_SETS = st.lists(st.sampled_from(ROLES), max_size=43).map(lambda roles: tuple(dict.fromkeys(roles)))


@given(st.integers(1, 240), TEXTS, ROLE_SETS)
def test_what_is_accepted_is_sent_whole_by_every_family_of_headers(count: int, name: str, roles: Any) -> None:
    """Shows ASVS 4.2.5."""
    email = "\u00e4" * count + "@x.example"
    bounds = SizeBounds(Settings())
    if bounds.problem(email, name, roles) is None:
        for family in FAMILIES:
            assert sent_bytes(family, email, name, roles) <= MAX_IDENTITY_HEADERS_BYTES
            values = dict(IdentityHeaders(family).of("a token", claims_of(email, name, roles)))
            assert max(len(value) for value in values.values()) >= 6 * count


@given(TEXTS, ROLE_SETS)
def test_what_is_not_accepted_is_sent_as_far_as_it_fits_and_the_roles_always(name: str, roles: Any) -> None:
    for email in ("\U0001d4d0" * 240 + "@x.example", EMAIL):
        for family in FAMILIES:
            headers = IdentityHeaders(family).of("a token", claims_of(email, name * 4, roles))
            assert sum(len(header) + len(value) for header, value in headers[:5]) <= MAX_IDENTITY_HEADERS_BYTES
            assert headers[1][1].decode() == ",".join(roles)


@pytest.mark.parametrize("settings", [{}, LONG, {"access_token_claims": ()}, {"access_token_claims": ("name",)}])
@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
@pytest.mark.redis
def test_the_token_that_is_counted_is_the_token_that_is_minted(
    settings: dict[str, Any], algorithm: str, gateway_env: dict[str, str]
) -> None:
    """To the character with a key of 4096 bits; with a smaller one by what its signature is shorter."""
    chosen = {f"GATEWAY_{name.upper()}": ",".join(v) if isinstance(v, tuple) else v for name, v in settings.items()}
    env = gateway_env | chosen | {"GATEWAY_SIGNING_ALGORITHM": algorithm, "GATEWAY_RSA_KEY_BITS": "4096"}
    name, roles = 'Zo\u00eb \u6f22\u5b57 "quoted" \U0001f98a', ROLES[:20]

    async def work(gateway: Gateway) -> tuple[int, int]:
        await gateway.keyring.open()
        index = gateway.status_indexes.find(await gateway.status_indexes.new_session_id())
        assert index is not None
        family_id = index._replace(position=LIST_POSITIONS - 1).session_id(DerivedKeys.of(SECRET))
        facts: dict[str, Any] = {"subject": "usr_" + "x" * 22, "family_id": family_id, "auth_time": 1_790_000_000}
        facts |= {"amr": ("pop", "user", "mfa", "hwk"), "now": gateway.clock()}
        minted = await gateway.access_tokens.mint(
            **facts, roles=roles, email=EMAIL, name=name, session_seconds_left=3600
        )
        return len(minted), SizeBounds(gateway.settings).token_characters(EMAIL, name, roles)

    minted, counted = in_gateway(env, work)
    signature = {"RS256": 683, "ES256": 86}[algorithm]
    assert counted - 4 <= minted + (683 - signature) <= counted
    assert counted < MAX_TOKEN_CHARACTERS


@pytest.mark.redis
def test_who_cannot_be_served_is_refused_by_every_command_with_part_and_bytes(
    gateway_env: dict[str, str], tmp_path: Any
) -> None:
    wide = "\U00020000" * 200
    roles = [word for role in ROLES[:43] for word in ("--role", role)]
    env = gateway_env | {f"GATEWAY_{name.upper()}": value for name, value in LONG.items()}
    refused = here("users", "add", EMAIL, "--name", wide, *roles, "--generate", env=env)
    assert_refused(refused, 1, "too long by")
    assert "access token" in refused.err
    email = "\U00020000" * 200 + "@example.com"
    assert_refused(here("users", "add", email, "--generate", env=gateway_env), 1, "the e-mail address is too long by")
    file = tmp_path / "users.jsonl"
    file.write_text(f'{{"email": "{email}", "password_hash": "$2b$10${"." * 53}"}}\n')
    refused = here("users", "import", str(file), env=gateway_env)
    assert (refused.status, "the e-mail address is too long by" in refused.err) == (1, True)
    assert here("users", "list", "--json", env=gateway_env).document["users"] == []
    assert here("users", "add", EMAIL, "--name", wide[:150], "--generate", env=env).status == 0
    assert_refused(here("users", "roles", EMAIL, *ROLES[:43], env=env), 1, "too long by")


def test_a_stored_user_who_is_too_large_is_served_with_his_roles_and_told_by_check(gateway: GatewayProcess) -> None:
    """As an earlier version let them be made."""
    user = gateway.add_user(roles=ROLES[:40])

    async def spoil(opened: Gateway) -> None:
        await opened.store.execute("HSET", opened.store.key(f"user:{{{user.user_id}}}"), "name", "\U00020000" * 600)

    in_gateway(gateway.env, spoil)
    with client_of(gateway) as client:
        session = log_in(gateway, client, user)
        assert len(session.access_token) <= MAX_TOKEN_CHARACTERS
        answer = client.get("/api/authz/auth-request", headers=session.bearer)
    assert answer.status_code == 200
    assert answer.headers["Remote-Groups"] == ",".join(ROLES[:40])
    assert (answer.headers["Remote-Name"], answer.headers["Remote-Email"]) == ("", user.email)
    assert user.email in here("check", env=gateway.env).out


@pytest.mark.parametrize("blank", ["\u00a0", "\u3000", "\u2009", "\u202f", "\u205f", "\u1680", "\u2003"], ids=ascii)
def test_every_blank_in_a_name_becomes_the_ordinary_one(blank: str) -> None:
    assert check_name(f"{blank}\u6f22{blank}\u5b57 {blank}") == "\u6f22 \u5b57"


@pytest.mark.parametrize("name", ["\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\U0001f468\u200d\U0001f469"])
def test_joiners_in_a_name_stay(name: str) -> None:
    assert check_name(name) == name


REFUSED = [
    *"\0\t\n\r\x0b\x1b\x7f\x85\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ud800\udcff\ufeff"
]


@pytest.mark.parametrize("character", REFUSED, ids=ascii)
def test_a_character_that_changes_what_others_show_is_refused_by_its_name(character: str) -> None:
    for name in (f"Ann{character}Example", f"{character}Ann", f"Ann{character}"):
        with pytest.raises(CommandError, match=rf"U\+{ord(character):04X} \("):
            check_name(name)


def test_a_bidi_override_is_named(gateway_env: dict[str, str]) -> None:
    refused = here("users", "add", EMAIL, "--name", "Ann\u202eevil", "--generate", env=gateway_env)
    assert_refused(refused, 1, "U+202E (RIGHT-TO-LEFT OVERRIDE)")


def test_the_roles_that_a_user_may_have_fit_beside_an_ordinary_name() -> None:
    assert SizeBounds(Settings()).problem(EMAIL, "Ann Example", check_roles(ROLES[:47])) is None
