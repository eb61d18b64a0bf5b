"""
The settings: name, default, range, unit and meaning of each, and how a set of them is loaded and checked.

The annotations of `Settings` are the one source: validation, the example file and the table for the manual
all read them. Flags go over the environment, the environment over the TOML file, the file over the defaults.
"""

import difflib
import fnmatch
import ipaddress
import json
import os
import pwd
import re
import stat
import textwrap
import tomllib
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_type_hints

import msgspec
from msgspec import Meta

from gateway.errors import StartupError
from gateway.ownership import not_ours

YEAR_SECONDS = 31_536_000
MIN_SECRET_BYTES = 32
MIN_SECRET_LETTERS = 8
MASK = "***"
BYTE_ORDER_MARK = "\ufeff"

_SECRETS = ("secret", "previous_secrets")
_FILE_VARIABLES = {"GATEWAY_SECRET_FILE": "secret", "GATEWAY_REDIS_URL_FILE": "redis_url"}
_SERVICE_LINKS = ("GATEWAY_SERVICE_HOST", "GATEWAY_SERVICE_PORT*", "GATEWAY_PORT_*")
_OTHER_SERVICE_LINKS = re.compile(r".*_(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_.*)?)?)")
_BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_WINDOW_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}
_DEFAULT_PORTS = {"http:": "80", "https:": "443"}
_ORDERED_LIFETIMES = (
    ("access_token_ttl_seconds", "refresh_idle_ttl_seconds", "an access token does not outlive its session"),
    ("refresh_idle_ttl_seconds", "refresh_absolute_ttl_seconds", "no session is idle for longer than it lives"),
)
_MAPPED_IPV4 = ipaddress.IPv6Network("::ffff:0:0/96")

_SAMPLE = re.compile(
    "change(me|this|it)|replace(me|this|with)|your(own)?secret|defaultsecret|mysupersecret|password123|placeholder"
)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Quota(msgspec.Struct, frozen=True):
    """So many attempts in a window; both numbers are at least 1."""

    count: int
    window_seconds: int


class _Form(NamedTuple):
    """A spelling. *check* gives what is kept of a value (of each element of a list) or raises ValueError."""

    allowed: str
    pattern: str
    check: Callable[[str], str] = str


def _canonical_origin(url: str) -> str:
    scheme, _, authority, *_ = url.lower().split("/")
    host, _, port = authority.rpartition(":") if re.search(r":[0-9]+\Z", authority) else (authority, "", "")
    if host.startswith("["):
        host = f"[{ipaddress.IPv6Address(host[1:-1])}]"
    return f"{scheme}//{host}" + (f":{port}" if port and port != _DEFAULT_PORTS.get(scheme) else "")


def _check_issuer(text: str) -> str:
    _canonical_origin(text)
    return text


def _check_address(text: str) -> str:
    return text if ":" not in text else str(ipaddress.IPv6Address(text))


def _check_secret(text: str) -> str:
    secret = without_line_end(text)
    if len(secret.encode()) < MIN_SECRET_BYTES:
        raise ValueError
    if len(set(secret)) < MIN_SECRET_LETTERS or any(_is_repeated(secret, count) for count in range(1, 13)):
        raise ValueError("it is a few characters again and again")
    if _SAMPLE.search(re.sub(r"[\W_]", "", secret.lower())):
        raise ValueError("it is a sample that everybody knows")
    return secret


def _is_repeated(text: str, count: int) -> bool:
    """Tell whether a text is its first *count* characters again and again."""
    return text == (text[:count] * len(text))[: len(text)]


def without_line_end(text: str) -> str:
    """Take one line end off, which files have and variables may have."""
    return re.sub(r"\r?\n\Z", "", text)


def _check_proxy(text: str) -> str:
    _parse_network(text)
    return text


def _parse_network(text: str) -> Network:
    interface = ipaddress.ip_interface(text)
    network = interface.network
    if network.prefixlen == 0 or (network.version == 6 and _MAPPED_IPV4.subnet_of(network)):
        raise ValueError("it covers every IPv4 address")
    if interface.ip != network.network_address:
        raise ValueError(f"host bits are set, write {network} or {interface.ip}")
    if network.version == 6 and network.subnet_of(_MAPPED_IPV4):
        return ipaddress.IPv4Network((network.network_address.packed[-4:], network.prefixlen - 96))
    return network


def _parse_quota(text: str) -> Quota | None:
    count, _, window = text.partition("/")
    return Quota(int(count), _WINDOW_SECONDS[window]) if window else None


_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
_HOST = rf"({_NAME}|\[[0-9A-Fa-f:.]+\])"
_PORT = r":([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
_CREDENTIALS = r"([^\s/?#]*@)?"
_QUERY = r"(\?[^\s#]*)?"
_NODES = rf"{_CREDENTIALS}{_HOST}{_PORT}(,{_HOST}{_PORT})*"

_ADDRESS = _Form("a name, or an address without brackets", rf"{_NAME}|[0-9A-Fa-f:.]+", _check_address)
_REDIS_URL = _Form(
    "redis://host:port/db, rediss://host:port/db (TLS), unix:///path, redis+sentinel://host:port,host:port/service/db "
    "or redis+cluster://host:port,host:port, the last two with rediss for TLS too; behind them ?ssl_ca_certs=/path and "
    "other options of redis-py; special characters in a password percent-encoded",
    rf"rediss?://{_CREDENTIALS}{_HOST}({_PORT})?(/[0-9]*)?{_QUERY}|unix://{_CREDENTIALS}/[^\s?#]+{_QUERY}"
    rf"|rediss?\+sentinel://{_NODES}/[^\s/?#]+(/[0-9]+)?{_QUERY}|rediss?\+cluster://{_NODES}/?{_QUERY}",
)
# Braces make hash tags; the others mean something in a pattern of SCAN.
_KEY_PREFIX = _Form(
    r"1 to 64 visible ASCII characters, none of {}*?[] and the backslash", r"((?![{}*?[\]\\])[!-~]){1,64}"
)
_PATH = _Form("an absolute path, ~/..., or a path relative to the working directory", r"([^~\0]|~(/|\Z))[^\0]*")
_SECRET = _Form(f"at least {MIN_SECRET_BYTES} bytes; `openssl rand -base64 48` makes one", r"(?s:.*)", _check_secret)
_ISSUER = _Form(
    "an http:// or https:// URL of at most 255 characters with a host and without user, path, query, fragment and "
    "trailing slash",
    rf"(?=.{{1,255}}\Z)https?://{_HOST}({_PORT})?",
    _check_issuer,
)
_PRINTABLE = _Form("1 to 255 printable ASCII characters", r"[ -~]{1,255}")
_LIMIT = _Form(
    "N/second, N/minute, N/hour or N/day with N from 1 to 999999, or off",
    r"[1-9][0-9]{0,5}/(second|minute|hour|day)|off",
)
_PROXY = _Form(
    "an address or a network, but none that covers everything (0.0.0.0/0, ::/0, *)", r"[0-9A-Fa-f:./]+", _check_proxy
)
_ORIGIN = _Form(
    "scheme://host or scheme://host:port, without path and wildcard",
    rf"[A-Za-z][A-Za-z0-9+.-]*://{_HOST}({_PORT})?",
    _canonical_origin,
)


def _about(meaning: str, least: int | None = None, most: int | None = None, **notes: Any) -> Meta:
    """Describe a setting; *notes* are those members of `_Field` that have a default."""
    return Meta(ge=least, le=most, description=meaning, extra=notes)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """
    Every setting: checked, and with an absolute `data_dir`, when `load_settings` gave it; else as constructed.

    `issuer` and `audience` are filled in either way. The repr masks what is secret.
    """

    host: Annotated[str, _about("Address that `gateway serve` listens on.", form=_ADDRESS)] = "127.0.0.1"
    port: Annotated[int, _about("Port that `gateway serve` listens on.", 1, 65_535)] = 8000
    workers: Annotated[int, _about("Number of processes that serve.", 1, 64)] = 1
    redis_url: Annotated[
        str | None,
        _about(
            "Redis that keeps users, sessions and keys. `GATEWAY_REDIS_URL_FILE` names a file that holds it.",
            form=_REDIS_URL,
            if_none="a private Redis",
            example="redis://127.0.0.1:6379/0",
        ),
    ] = None
    redis_key_prefix: Annotated[str, _about("First part of every key in Redis.", form=_KEY_PREFIX)] = "gw:"
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
            form=_PATH,
            if_none="`$XDG_DATA_HOME/token-gateway`, else `~/.local/share/token-gateway`",
        ),
    ] = Path("~/.local/share/token-gateway")
    secret: Annotated[
        str | None,
        _about(
            "Refresh-token MAC key, key-sealing key and password pepper are derived from it. Needed with `redis_url`. "
            "`GATEWAY_SECRET_FILE` names a file that holds it.",
            form=_SECRET,
            if_none="made on the first start in `data_dir`",
        ),
    ] = None
    previous_secrets: Annotated[
        tuple[str, ...], _about("Former secrets: still accepted, never used for anything new.", form=_SECRET)
    ] = ()
    issuer: Annotated[
        str,
        _about(
            "Public URL of the gateway; `iss` of access tokens, byte for byte.",
            form=_ISSUER,
            if_none="`http://HOST:PORT` served on",
            example="https://auth.example.com",
        ),
    ] = ""
    audience: Annotated[
        str,
        _about(
            "`aud` of tokens issued at login.", form=_PRINTABLE, if_none="the issuer", example="https://example.com"
        ),
    ] = ""
    client_id: Annotated[str, _about("`client_id` of tokens issued at login.", form=_PRINTABLE)] = "first-party"
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
    bcrypt_cost: Annotated[
        int, _about("Work for one password hash; each step doubles it.", 10, 16, relaxed_least=4)
    ] = 12
    insecure_test_settings: Annotated[
        bool, _about("For tests: allows `bcrypt_cost` from 4 and every TTL from 1 second, with a warning at start.")
    ] = False
    password_min_length: Annotated[int, _about("Least length of a new password, in code points after NFC.", 8, 64)] = 15
    login_limit: Annotated[str, _about("Logins per client address.", form=_LIMIT)] = "10/minute"
    refresh_limit: Annotated[str, _about("Refreshes per client address.", form=_LIMIT)] = "120/minute"
    account_throttle: Annotated[
        Literal["on", "off"], _about("Whether failed logins for one account make the next ones wait.")
    ] = "on"
    trusted_proxies: Annotated[
        tuple[str, ...], _about("Proxies whose `X-Forwarded-For` is believed.", form=_PROXY)
    ] = ()
    allowed_origins: Annotated[
        tuple[str, ...], _about("Browser origins besides the issuer's own that may call with cookies.", form=_ORIGIN)
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
    log_format: Annotated[
        Literal["text", "json"] | None,
        _about("Form of the log.", if_none="text on a terminal, else json", example="json"),
    ] = None

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
        return _canonical_origin(self.issuer)

    @property
    def login_quota(self) -> Quota | None:
        """What `login_limit` says; None when it is off."""
        return _parse_quota(self.login_limit)

    @property
    def refresh_quota(self) -> Quota | None:
        """What `refresh_limit` says; None when it is off."""
        return _parse_quota(self.refresh_limit)

    @property
    def trusted_networks(self) -> tuple[Network, ...]:
        """What `trusted_proxies` says, IPv4-mapped as IPv4. Parsed at each reading: keep the result."""
        return tuple(_parse_network(proxy) for proxy in self.trusted_proxies)


class LoadedSettings(msgspec.Struct, frozen=True):
    """
    The settings in force and, for each, where it came from.

    An origin reads `default`, `file PATH`, `environment GATEWAY_PORT`, `flag --port` or
    `file PATH (GATEWAY_SECRET_FILE)`.
    """

    settings: Settings
    origins: dict[str, str]


class _Field(NamedTuple):
    """What the annotation of a setting says."""

    type: Any
    least: Any
    most: Any
    meaning: str
    default: Any
    relaxed_least: int | None = None
    form: _Form | None = None
    if_none: str = ""
    example: str = ""

    @property
    def takes_list(self) -> bool:
        return isinstance(self.default, tuple)

    def least_when(self, relaxed: bool) -> Any:
        return self.relaxed_least if relaxed and self.relaxed_least else self.least

    def allowed(self, relaxed: bool = False) -> str:
        if self.type is int:
            return f"{self.least_when(relaxed)} to {self.most}"
        if self.type is bool:
            return "true or false"
        *words, last = [self.form.allowed] if self.form else _words(self.type)
        text = f"{', '.join(words)} or {last}" if words else last
        return f"a list, each {text}" if self.takes_list else text


def _words(hint: Any) -> list[str]:
    return [word for part in get_args(hint) for word in ([part] if isinstance(part, str) else _words(part))]


def _fields() -> Iterable[tuple[str, _Field]]:
    hints = get_type_hints(Settings, include_extras=True)
    for field in msgspec.structs.fields(Settings):
        plain, meta = get_args(hints[field.name])
        plain = str if plain is Path else plain
        yield field.name, _Field(plain, meta.ge, meta.le, meta.description, field.default, **meta.extra)


_FIELDS = dict(_fields())


def load_settings(flags: Mapping[str, object], environ: Mapping[str, str]) -> LoadedSettings:
    """
    Merge and check the settings.

    Args:
        flags: Those given: `host`, `port`, `workers`, and `config`, the path of the TOML file.
        environ: The process environment. Only `GATEWAY_*`, `HOME` and `XDG_DATA_HOME` are looked at.

    Raises:
        StartupError: A setting is unknown, of the wrong type or out of range, a file cannot be read, or two
            settings do not go together. One line, without the value of a secret.

    Does not ask Redis, make the data directory or look for the private Redis's own secret.
    """
    given = _from_file(flags, environ) | _from_environment(environ)
    given |= {name: (value, f"flag --{name}") for name, value in flags.items() if name != "config"}
    relaxed = _checked("insecure_test_settings", *given.get("insecure_test_settings", (False, "default")))
    values = {name: _checked(name, *given[name], relaxed=relaxed) for name in _FIELDS if name in given}
    values["data_dir"] = _data_dir(values.get("data_dir"), environ)
    settings = Settings(**values)
    origins = {name: given[name][1] if name in given else "default" for name in _FIELDS}
    if settings.redis_url is not None and settings.secret is None:
        raise StartupError(
            f"secret is needed with redis_url ({origins['redis_url']}): make one with `openssl rand -base64 48` and "
            "give it in GATEWAY_SECRET, or in a file that GATEWAY_SECRET_FILE names"
        )
    if settings.cookie_samesite == "none" and not settings.is_https:
        reason = f"allowed is strict or lax, because the issuer {settings.issuer} is not https"
        raise _refusal("cookie_samesite", "none", origins["cookie_samesite"], reason)
    for shorter, longer, reason in _ORDERED_LIFETIMES:
        least, most = getattr(settings, shorter), getattr(settings, longer)
        if least > most:
            allowed = f"allowed is at most {longer} = {most} ({origins[longer]}): {reason}"
            raise _refusal(shorter, least, origins[shorter], allowed)
    return LoadedSettings(settings, origins)


def public_values(settings: Settings) -> dict[str, object]:
    """Give every setting by name as a plain JSON value, with secrets and the password in `redis_url` masked."""
    values = {name: getattr(settings, name) for name in _FIELDS}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()} | {
        "redis_url": settings.redis_url and _mask_password(settings.redis_url),
        "data_dir": str(settings.data_dir),
        "secret": settings.secret and MASK,
        "previous_secrets": [MASK for _ in settings.previous_secrets],
    }


def example_toml() -> str:
    """Give the text of config/gateway.example.toml: every setting, commented out, with what there is to know."""
    blocks = [
        "# Settings of the token gateway; to set one, remove the # before its name. Flags and environment variables\n"
        "# (GATEWAY_ and the name in capitals, lists comma-separated) go over this file.\n"
        "# Generated by gateway.settings.example_toml."
    ]
    for name, field in _FIELDS.items():
        default = f" Default: {field.if_none}." if field.if_none else ""
        text = f"{field.meaning}{default} Allowed: {field.allowed()}.".replace("`", "")
        lines = textwrap.wrap(text, 110, break_on_hyphens=False, break_long_words=False)
        value = field.example or ("" if field.default is None else field.default)
        blocks.append("\n".join(f"# {line}" for line in lines) + f"\n#{name} = {json.dumps(value, default=str)}")
    return "\n\n".join(blocks) + "\n"


def settings_table() -> str:
    """Give the manual's table of settings in Markdown."""
    rows = ["| setting | default | allowed | meaning |", "| --- | --- | --- | --- |"]
    for name, field in _FIELDS.items():
        default = field.if_none or f"`{json.dumps(field.default)}`"
        rows.append(f"| `{name}` | {default} | {field.allowed()} | {field.meaning} |")
    return "\n".join(rows) + "\n"


def chosen_log_format(flags: Mapping[str, object], environ: Mapping[str, str]) -> object:
    """Give `log_format` as it is set, None where it is not; that the settings are wrong is told in this form, too."""
    if (chosen := environ.get("GATEWAY_LOG_FORMAT")) is not None:
        return chosen
    with suppress(OSError, ValueError, RecursionError):
        path = _path_of_file(flags, environ)[0]
        return path and tomllib.loads(Path(path).read_text("utf-8-sig")).get("log_format")
    return None


def _path_of_file(flags: Mapping[str, object], environ: Mapping[str, str]) -> tuple[str | None, str]:
    if (path := flags.get("config")) is not None:
        return str(path), "flag --config"
    return environ.get("GATEWAY_CONFIG"), "environment GATEWAY_CONFIG"


def _from_file(flags: Mapping[str, object], environ: Mapping[str, str]) -> dict[str, tuple[object, str]]:
    path, origin = _path_of_file(flags, environ)
    if path is None:
        return {}
    subject = f"config = {json.dumps(path)} ({origin})"
    try:
        table = tomllib.loads(_read_text(path, subject).removeprefix(BYTE_ORDER_MARK))
    except (ValueError, RecursionError) as error:
        raise StartupError(f"{subject}: it is not valid TOML: {error}") from error
    for key in table:
        if key not in _FIELDS:
            raise StartupError(f"{json.dumps(key)[1:-1]} (file {path}): no such setting{_nearest(key, _FIELDS)}")
    return {key: (value, f"file {path}") for key, value in table.items()}


def _from_environment(environ: Mapping[str, str]) -> dict[str, tuple[object, str]]:
    given: dict[str, tuple[object, str]] = {}
    variables = {f"GATEWAY_{name.upper()}": name for name in _FIELDS} | _FILE_VARIABLES
    for variable in sorted(name for name in environ if name.startswith("GATEWAY_") and name != "GATEWAY_CONFIG"):
        text = environ[variable]
        is_link = any(fnmatch.fnmatchcase(variable, pattern) for pattern in _SERVICE_LINKS)
        if is_link or (variable == "GATEWAY_PORT" and re.match(r"[a-z]+://", text)):
            continue
        if variable not in variables:
            mend = _nearest(variable, [*variables, "GATEWAY_CONFIG"])
            if _OTHER_SERVICE_LINKS.fullmatch(variable):
                mend += "; if Kubernetes made it for a Service, set enableServiceLinks: false for the pod"
            raise StartupError(f"{variable} (environment): no such setting{mend}")
        name = variables[variable]
        if name in given:
            raise StartupError(f"{name}: GATEWAY_{name.upper()} and {variable} are both set; give one of them")
        if variable in _FILE_VARIABLES:
            content = _read_secret_text(text, f"{name} (file {text}, {variable})")
            # That of a secret is taken off wherever it comes from.
            kept = content if name == "secret" else without_line_end(content)
            given[name] = kept, f"file {text} ({variable})"
        else:
            given[name] = _from_text(_FIELDS[name], text), f"environment {variable}"
    return given


def _from_text(field: _Field, text: str) -> object:
    if field.takes_list:
        return [part.strip() for part in text.split(",") if part.strip()]
    if field.type is int and re.fullmatch(r"-?[0-9]{1,18}", text):
        return int(text)
    return _BOOLEANS.get(text.lower(), text) if field.type is bool else text


def _read_secret_text(path: str, subject: str) -> str:
    """Read a file that others cannot read, if what it holds is secret: a secret, or a URL with a password."""
    text = _read_text(path, subject)
    found = os.stat(path)
    groups = {os.getegid(), *os.getgroups()}
    is_open = found.st_mode & 0o006 or (found.st_mode & 0o060 and found.st_gid not in groups)
    if stat.S_ISREG(found.st_mode) and is_open and not ("://" in text and _mask_password(text) == text):
        raise StartupError(
            f"{subject}: others can read or change it (mode {stat.S_IMODE(found.st_mode):04o}): chmod 600 {path}, "
            "owned by the user of the gateway, or 640 and a group of that user"
        )
    return text


def _read_text(path: str, subject: str) -> str:
    try:
        return Path(path).read_bytes().decode()
    except OSError as error:
        whose = f" ({mend})" if isinstance(error, PermissionError) and (mend := not_ours(Path(path))) else ""
        raise StartupError(f"{subject}: it cannot be read: {error.strerror}{whose}") from error
    except UnicodeDecodeError as error:
        raise StartupError(f"{subject}: it is not text in UTF-8") from error


def _nearest(unknown: str, known: Iterable[str]) -> str:
    # The prefix that all variables have is no likeness.
    by_core = {name.removeprefix("GATEWAY_").lower(): name for name in known}
    likely = difflib.get_close_matches(unknown.removeprefix("GATEWAY_").lower(), by_core, 1)
    return f"; the nearest is {by_core[likely[0]]}" if likely else "; the README's table of settings has them all"


def _checked(name: str, value: Any, origin: str, *, relaxed: bool = False) -> Any:
    field = _FIELDS[name]
    try:
        kept = msgspec.convert(value, Annotated[field.type, Meta(ge=field.least_when(relaxed), le=field.most)])
        if field.form is None:
            return kept
        checked = []
        for value in kept if field.takes_list else (kept,):
            value.encode()  # fails for what was not UTF-8 in the environment
            if not re.fullmatch(field.form.pattern, value):
                raise ValueError
            checked.append(field.form.check(value))
        return tuple(checked) if field.takes_list else checked[0]
    except ValueError as error:
        # These say less than we do, and the second could quote a secret.
        is_told = str(error) and not isinstance(error, msgspec.ValidationError | UnicodeEncodeError)
        reason = f"{error}; " if is_told else ""
        raise _refusal(name, value, origin, f"{reason}allowed is {field.allowed(relaxed)}") from None


def _refusal(name: str, value: object, origin: str, reason: str) -> StartupError:
    return StartupError(f"{name} = {_shown(name, value)[:200]} ({origin}): {reason}")


def _shown(name: str, value: object) -> str:
    if name in _SECRETS or (name == "redis_url" and not (isinstance(value, str) and "://" in value)):
        return MASK
    if not isinstance(value, str):
        return json.dumps(value, default=str)
    if name == "redis_url" and "@" not in value:
        # A malformed URL may have a password behind any colon.
        value = re.sub(r":(?!//).*", f":{MASK}", value, flags=re.DOTALL)
    return json.dumps(_mask_password(value))


def _mask_password(url: str) -> str:
    # Everything up to the last @: a malformed URL may have any character in its password.
    url = re.sub(r"://([^:@/?#]*:)?.*@", rf"://\1{MASK}@", url, flags=re.DOTALL)
    # A name with a percent sign may be `password` too.
    return re.sub(r"([?&][^=&]*(?:password|%)[^=&]*=)[^&]*", rf"\1{MASK}", url)


def _data_dir(given: str | None, environ: Mapping[str, str]) -> Path:
    home = Path(environ.get("HOME") or _home_of_account())
    if given is None:
        base = environ.get("XDG_DATA_HOME", "")
        # The XDG specification has a relative path ignored.
        return (Path(base) if base.startswith("/") else home / ".local/share").absolute() / "token-gateway"
    return (home / given[2:] if given.startswith("~") else Path(given)).absolute()


def _home_of_account() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return "/"
