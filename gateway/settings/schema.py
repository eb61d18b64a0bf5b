"""
The settings: name, default, range, unit and meaning of each.

The annotations of `Settings` are the one source: what is loaded is checked by them, and the example file and the table
of the manual are written from them. One file, since it is one table.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_type_hints

import msgspec
from msgspec import Meta

from gateway.settings.spellings import (
    ADDRESS,
    DOMAIN,
    ISSUER,
    KEY_PREFIX,
    LIMIT,
    LISTENER,
    MASK,
    ORIGIN,
    PAGE_URL,
    PATH,
    PRINTABLE,
    PROXY,
    REDIS_URL,
    RETURN_HOST,
    SECRET,
    SHOWN,
    Form,
    Network,
    Quota,
    canonical_origin,
    domain_matches,
    mask_password,
    parse_listener,
    parse_network,
    parse_quota,
)

YEAR_SECONDS = 31_536_000


def _about(meaning: str, least: int | None = None, most: int | None = None, **notes: Any) -> Meta:
    """Describe a setting; *notes* are those members of `Field` that have a default."""
    return Meta(ge=least, le=most, description=meaning, extra=notes)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """
    Every setting: checked, and with an absolute `data_dir`, when `load_settings` gave it; else as constructed.

    `issuer` and `audience` are filled in either way. The repr masks what is secret.
    """

    host: Annotated[str, _about("Address that `gateway serve` listens on.", form=ADDRESS)] = "127.0.0.1"
    port: Annotated[int, _about("Port that `gateway serve` listens on.", 1, 65_535)] = 8000
    workers: Annotated[int, _about("Number of processes that serve.", 1, 64)] = 1
    redis_url: Annotated[
        str | None,
        _about(
            "Redis that keeps users, sessions and keys. `GATEWAY_REDIS_URL_FILE` names a file that holds it.",
            form=REDIS_URL,
            if_none="a private Redis",
            example="redis://127.0.0.1:6379/0",
        ),
    ] = None
    redis_key_prefix: Annotated[str, _about("First part of every key in Redis.", form=KEY_PREFIX)] = "gw:"
    redis_durability: Annotated[
        Literal["confirmed", "fast"],
        _about(
            "When a revocation, a change of a user or password, or a new key is answered. confirmed: when a replica "
            "has it, so that a failover takes nothing back, or where there is none the disk (WAITAOF, since Redis "
            "7.2), so that a power loss does not; where there is neither, a power loss takes back what was not on "
            "disk (a second with appendfsync everysec; `gateway check` tells which releases say too early that it "
            "is). fast: nobody waits; a failover takes back what the replica did not have yet, a power loss what was "
            "not on disk. A refresh never waits: a lost one heals itself."
        ),
    ] = "confirmed"
    revocation_max_lag_seconds: Annotated[
        int,
        _about(
            "How long, in seconds, access tokens are taken while this gateway cannot hear of revocations because Redis "
            "is away; then subrequests are denied and all else is 503. 0: until they expire.",
            0,
            3600,
        ),
    ] = 0
    data_dir: Annotated[
        Path,
        _about(
            "Directory of the secret and the files of the private Redis, mode 0700.",
            form=PATH,
            if_none="`$XDG_DATA_HOME/token-gateway`, else `~/.local/share/token-gateway`",
        ),
    ] = Path("~/.local/share/token-gateway")
    secret: Annotated[
        str | None,
        _about(
            "Refresh-token MAC key, key-sealing key and password pepper are derived from it. Needed with `redis_url`. "
            "`GATEWAY_SECRET_FILE` names a file that holds it.",
            form=SECRET,
            if_none="made on the first start in `data_dir`",
        ),
    ] = None
    previous_secrets: Annotated[
        tuple[str, ...], _about("Former secrets: still accepted, never used for anything new.", form=SECRET)
    ] = ()
    issuer: Annotated[
        str,
        _about(
            "Public URL of the gateway; `iss` of access tokens, byte for byte.",
            form=ISSUER,
            if_none="`http://HOST:PORT` served on",
            example="https://auth.example.com",
        ),
    ] = ""
    audience: Annotated[
        str,
        _about("`aud` of tokens issued at login.", form=PRINTABLE, if_none="the issuer", example="https://example.com"),
    ] = ""
    audiences: Annotated[
        tuple[str, ...],
        _about(
            "Audiences besides `audience` for which access tokens may be made: what `token=` in the URL of a "
            "subrequest may name.",
            form=PRINTABLE,
        ),
    ] = ()
    client_id: Annotated[str, _about("`client_id` of tokens issued at login.", form=PRINTABLE)] = "first-party"
    signing_algorithm: Annotated[
        Literal["RS256", "PS256", "ES256", "Ed25519", "EdDSA"],
        _about(
            "How access tokens are signed; a change takes effect with the next key made. EdDSA is the old name of "
            "Ed25519 (RFC 9864), for verifiers that do not know the new one."
        ),
    ] = "RS256"
    rsa_key_bits: Annotated[int, _about("Size of new RSA keys, in bits.", 2048, 4096)] = 2048
    key_rotation_days: Annotated[
        int, _about("How long a key signs, in days; 0: until it is rotated by hand.", 0, 3650)
    ] = 30
    access_token_ttl_seconds: Annotated[
        int, _about("Lifetime of an access token, in seconds.", 60, 3600, relaxed_least=1)
    ] = 600
    access_token_claims: Annotated[
        tuple[Literal["email", "name"], ...], _about("Personal claims put into access tokens.")
    ] = ("email", "name")
    refresh_idle_ttl_seconds: Annotated[
        int, _about("A session unused for so long, in seconds, ends.", 60, YEAR_SECONDS, relaxed_least=1)
    ] = 1_209_600
    refresh_absolute_ttl_seconds: Annotated[
        int, _about("A session ends so long after login, in seconds, used or not.", 60, YEAR_SECONDS, relaxed_least=1)
    ] = 2_592_000
    refresh_replay_window_seconds: Annotated[
        int, _about("How long, in seconds, a lost refresh answer can be asked for again; 0: never.", 0, 300)
    ] = 60
    max_sessions_per_user: Annotated[
        int, _about("When one more session opens, the least recently used is revoked.", 1, 1000)
    ] = 50
    portal: Annotated[
        Literal["on", "off"],
        _about("Pages on which people log in, and to which the subrequest leads their browsers; off: neither."),
    ] = "on"
    portal_name: Annotated[
        str | None,
        _about("Name shown on the pages.", form=SHOWN, if_none="the issuer's host", example="Example Inc."),
    ] = None
    templates_dir: Annotated[
        str | None,
        _about(
            "Directory of templates of your own, used instead of ours of the same name.",
            form=PATH,
            if_none="none",
            example="/etc/token-gateway/templates",
        ),
    ] = None
    login_url: Annotated[
        str | None,
        _about(
            "A login page of your own, to which the subrequest leads instead, with `rd`.",
            form=PAGE_URL,
            if_none="the portal's",
            example="https://www.example.com/sign-in",
        ),
    ] = None
    cookie_domain: Annotated[
        str | None,
        _about(
            "Domain whose hosts share one browser session: the issuer's host, or a parent of it.",
            form=DOMAIN,
            if_none="none: the issuer's host alone",
            example="example.com",
        ),
    ] = None
    return_hosts: Annotated[
        tuple[str, ...],
        _about(
            "Hosts that a login may lead to, on any port; exact, or `*.name`.",
            form=RETURN_HOST,
            if_none="the issuer's host, `cookie_domain` and all under it",
            example=("app.example.com", "*.apps.example.com"),
        ),
    ] = ()
    browser_session_ttl_seconds: Annotated[
        int,
        _about(
            'A browser session without "keep me signed in" ends so long after login, in seconds.',
            60,
            YEAR_SECONDS,
            relaxed_least=1,
        ),
    ] = 43_200
    session_check_seconds: Annotated[
        int,
        _about("For how long, in seconds, a browser session that was seen alive is taken from memory.", 1, 600),
    ] = 60
    status_list: Annotated[
        Literal["on", "off"],
        _about(
            "Whether access tokens say where a signed list tells of ended sessions (`status`), for verifiers that ask "
            "nobody else. off: no list is given either; verifiers that look for it refuse tokens of before until these "
            "expire."
        ),
    ] = "on"
    second_factor: Annotated[
        Literal["off", "optional", "required"],
        _about(
            "Whether who has a second factor is asked for it at login; required: who has none can do nothing but set "
            "one up; off: those that there are rest."
        ),
    ] = "optional"
    bcrypt_cost: Annotated[
        int, _about("Work for one password hash; each step doubles it.", 10, 16, relaxed_least=4)
    ] = 12
    insecure_test_settings: Annotated[
        bool, _about("For tests: allows `bcrypt_cost` from 4 and every TTL from 1 second, with a warning at start.")
    ] = False
    password_min_length: Annotated[int, _about("Least length of a new password, in code points after NFC.", 8, 64)] = 15
    login_limit: Annotated[str, _about("Logins per client address.", form=LIMIT)] = "10/minute"
    refresh_limit: Annotated[str, _about("Refreshes per client address.", form=LIMIT)] = "120/minute"
    account_throttle: Annotated[
        Literal["on", "off"], _about("Whether failed logins for one account make the next ones wait.")
    ] = "on"
    trusted_proxies: Annotated[tuple[str, ...], _about("Proxies whose `X-Forwarded-For` is believed.", form=PROXY)] = ()
    allowed_origins: Annotated[
        tuple[str, ...], _about("Browser origins besides the issuer's own that may call with cookies.", form=ORIGIN)
    ] = ()
    cookie_samesite: Annotated[
        Literal["strict", "lax", "none"], _about("`SameSite` of the cookies; none only under an https issuer.")
    ] = "strict"
    identity_headers: Annotated[
        Literal["remote", "x-auth-request", "x-forwarded"], _about("Names of the headers that tell who the user is.")
    ] = "remote"
    keep_alive_seconds: Annotated[
        int,
        _about(
            "How long an idle connection stays open, in seconds; longer than the proxy in front keeps its own.", 5, 3600
        ),
    ] = 75
    metrics_address: Annotated[
        str | None,
        _about(
            "Where `/metrics` is served to Prometheus, on a listener of its own; who may connect there may read them.",
            form=LISTENER,
            if_none="none",
            example="127.0.0.1:9464",
        ),
    ] = None
    log_format: Annotated[
        Literal["text", "json"] | None,
        _about("Form of the log.", if_none="text on a terminal, else json", example="json"),
    ] = None
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        _about(
            "Least level of what is logged. debug: also each health probe, and each allowed subrequest that took a "
            "look at Redis; warning: neither requests nor what succeeded. The audit stream has every event "
            "whatever this is."
        ),
    ] = "info"

    def __post_init__(self) -> None:
        """Fill in the issuer from the address served on, and the audience from the issuer."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        msgspec.structs.force_setattr(self, "issuer", self.issuer or f"http://{host}:{self.port}")
        msgspec.structs.force_setattr(self, "audience", self.audience or self.issuer)

    def __repr__(self) -> str:
        """Show every setting, secrets masked."""
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in public_values(self).items())})"

    @property
    def is_https(self) -> bool:
        """Whether the issuer is an https URL."""
        return self.issuer.startswith("https:")

    @property
    def issuer_origin(self) -> str:
        """Origin of the issuer as browsers write it: lower case, without default port."""
        return canonical_origin(self.issuer)

    @property
    def issuer_host(self) -> str:
        """Host of the issuer in lower case, an IPv6 address in brackets."""
        return re.sub(r":[0-9]+\Z", "", self.issuer_origin.partition("://")[2])

    def shares_session_with(self, host: str) -> bool:
        """Tell whether browsers send the session cookie to a host too, given in lower case."""
        if self.cookie_domain is None:
            return host == self.issuer_host
        return domain_matches(host, self.cookie_domain)

    @property
    def passkey_domain(self) -> str:
        """The domain that passkeys are made for (RP ID, WebAuthn section 4): `cookie_domain`, or the issuer's host."""
        return self.cookie_domain or self.issuer_host

    @property
    def allowed_return_hosts(self) -> tuple[str, ...]:
        """What `return_hosts` says, or the issuer's host, `cookie_domain` and all under it."""
        of_domain = (self.cookie_domain, f"*.{self.cookie_domain}") if self.cookie_domain else ()
        return self.return_hosts or tuple(dict.fromkeys((self.issuer_host, *of_domain)))

    @property
    def shown_name(self) -> str:
        """What `portal_name` says, or the issuer's host."""
        return self.portal_name or self.issuer_host

    @property
    def login_quota(self) -> Quota | None:
        """What `login_limit` says; None when it is off."""
        return parse_quota(self.login_limit)

    @property
    def refresh_quota(self) -> Quota | None:
        """What `refresh_limit` says; None when it is off."""
        return parse_quota(self.refresh_limit)

    @property
    def metrics_listener(self) -> tuple[str, int] | None:
        """Host and port of what `metrics_address` says; None where it is not set."""
        return parse_listener(self.metrics_address) if self.metrics_address else None

    @property
    def trusted_networks(self) -> tuple[Network, ...]:
        """What `trusted_proxies` says, IPv4-mapped as IPv4. Parsed at each reading: keep the result."""
        return tuple(parse_network(proxy) for proxy in self.trusted_proxies)


class Field(NamedTuple):
    """What the annotation of a setting says."""

    type: Any
    least: Any
    most: Any
    meaning: str
    default: Any
    relaxed_least: int | None = None
    form: Form | None = None
    if_none: str = ""
    example: str = ""

    @property
    def takes_list(self) -> bool:
        """Tell whether it is a list of texts."""
        return isinstance(self.default, tuple)

    def least_when(self, relaxed: bool) -> Any:
        """Give the least number that is allowed; *relaxed*: with `insecure_test_settings`."""
        return self.relaxed_least if relaxed and self.relaxed_least else self.least

    def allowed(self, relaxed: bool = False) -> str:
        """Say in words what is allowed."""
        if self.type is int:
            return f"{self.least_when(relaxed)} to {self.most}"
        if self.type is bool:
            return "true or false"
        *words, last = [self.form.allowed] if self.form else _words(self.type)
        text = f"{', '.join(words)} or {last}" if words else last
        return f"a list, each {text}" if self.takes_list else text


def _words(hint: Any) -> list[str]:
    return [word for part in get_args(hint) for word in ([part] if isinstance(part, str) else _words(part))]


def _fields() -> Iterable[tuple[str, Field]]:
    hints = get_type_hints(Settings, include_extras=True)
    for field in msgspec.structs.fields(Settings):
        plain, meta = get_args(hints[field.name])
        plain = str if plain is Path else plain
        yield field.name, Field(plain, meta.ge, meta.le, meta.description, field.default, **meta.extra)


FIELDS = dict(_fields())


def public_values(settings: Settings) -> dict[str, object]:
    """Give every setting by name as a plain JSON value, with secrets and the password in `redis_url` masked."""
    values = {name: getattr(settings, name) for name in FIELDS}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()} | {
        "redis_url": settings.redis_url and mask_password(settings.redis_url),
        "data_dir": str(settings.data_dir),
        "secret": settings.secret and MASK,
        "previous_secrets": [MASK for _ in settings.previous_secrets],
    }
