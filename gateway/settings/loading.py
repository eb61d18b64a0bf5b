"""
Loading: flags go over the environment, the environment over the TOML file, the file over the defaults.

One file: a value goes through all of it, and each refusal names where it came from.
"""

import difflib
import fnmatch
import json
import os
import pwd
import re
import stat
import tomllib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from gateway.errors import StartupError
from gateway.ownership import not_ours
from gateway.settings.schema import FIELDS, Field, Settings
from gateway.settings.spellings import MASK, mask_password, without_line_end

BYTE_ORDER_MARK = "\ufeff"
_SECRETS = ("secret", "previous_secrets")
_FILE_VARIABLES = {"GATEWAY_SECRET_FILE": "secret", "GATEWAY_REDIS_URL_FILE": "redis_url"}
_SERVICE_LINKS = ("GATEWAY_SERVICE_HOST", "GATEWAY_SERVICE_PORT*", "GATEWAY_PORT_*")
_OTHER_SERVICE_LINKS = re.compile(r".*_(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_.*)?)?)")
_BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_ORDERED_LIFETIMES = (
    ("access_token_ttl_seconds", "refresh_idle_ttl_seconds", "an access token does not outlive its session"),
    ("refresh_idle_ttl_seconds", "refresh_absolute_ttl_seconds", "no session is idle for longer than it lives"),
)


class LoadedSettings(msgspec.Struct, frozen=True):
    """
    The settings in force and, for each, where it came from.

    An origin reads `default`, `file PATH`, `environment GATEWAY_PORT`, `flag --port` or
    `file PATH (GATEWAY_SECRET_FILE)`.
    """

    settings: Settings
    origins: dict[str, str]


def load_settings(flags: Mapping[str, object], environ: Mapping[str, str]) -> LoadedSettings:
    """
    Merge and check the settings.

    Args:
        flags: Those given: `host`, `port`, `workers`, and `config`, the path of the TOML file.
        environ: The process environment. Only `GATEWAY_*`, `HOME`, `XDG_DATA_HOME` and `CREDENTIALS_DIRECTORY` are
            looked at.

    Raises:
        StartupError: A setting is unknown, of the wrong type or out of range, a file cannot be read, or two
            settings do not go together. One line, without the value of a secret.

    Does not ask Redis, make the data directory or look for the private Redis's own secret.
    """
    given = _from_file(flags, environ) | _from_environment(environ)
    given |= {name: (value, f"flag --{name}") for name, value in flags.items() if name != "config"}
    relaxed = _checked("insecure_test_settings", *given.get("insecure_test_settings", (False, "default")))
    values = {name: _checked(name, *given[name], relaxed=relaxed) for name in FIELDS if name in given}
    values["data_dir"] = _data_dir(values.get("data_dir"), environ)
    settings = Settings(**values)
    origins = {name: given[name][1] if name in given else "default" for name in FIELDS}
    if settings.redis_url is not None and settings.secret is None:
        raise StartupError(
            f"secret is needed with redis_url ({origins['redis_url']}): make one with `openssl rand -base64 48` and "
            "give it in GATEWAY_SECRET, or in a file that GATEWAY_SECRET_FILE names"
        )
    if settings.cookie_samesite == "none" and not settings.is_https:
        reason = f"allowed is strict or lax, because the issuer {settings.issuer} is not https"
        raise _refusal("cookie_samesite", "none", origins["cookie_samesite"], reason)
    if not settings.shares_session_with(settings.issuer_host):
        reason = f"allowed is the host of the issuer {settings.issuer} or a parent of it"
        raise _refusal("cookie_domain", settings.cookie_domain, origins["cookie_domain"], reason)
    templates = settings.templates_dir
    if templates is not None and not Path(templates).expanduser().is_dir():
        raise _refusal("templates_dir", templates, origins["templates_dir"], "allowed is a directory that is there")
    for shorter, longer, reason in _ORDERED_LIFETIMES:
        least, most = getattr(settings, shorter), getattr(settings, longer)
        if least > most:
            allowed = f"allowed is at most {longer} = {most} ({origins[longer]}): {reason}"
            raise _refusal(shorter, least, origins[shorter], allowed)
    return LoadedSettings(settings, origins)


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
        if key not in FIELDS:
            raise StartupError(f"{json.dumps(key)[1:-1]} (file {path}): no such setting{_nearest(key, FIELDS)}")
    return {key: (value, f"file {path}") for key, value in table.items()}


def _from_environment(environ: Mapping[str, str]) -> dict[str, tuple[object, str]]:
    given: dict[str, tuple[object, str]] = {}
    variables = {f"GATEWAY_{name.upper()}": name for name in FIELDS} | _FILE_VARIABLES
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
            content = _read_secret_text(text, f"{name} (file {text}, {variable})", environ.get("CREDENTIALS_DIRECTORY"))
            # That of a secret is taken off wherever it comes from.
            kept = content if name == "secret" else without_line_end(content)
            given[name] = kept, f"file {text} ({variable})"
        else:
            given[name] = _from_text(FIELDS[name], text), f"environment {variable}"
    return given


def _from_text(field: Field, text: str) -> object:
    if field.takes_list:
        return [part.strip() for part in text.split(",") if part.strip()]
    if field.type is int and re.fullmatch(r"-?[0-9]{1,18}", text):
        return int(text)
    return _BOOLEANS.get(text.lower(), text) if field.type is bool else text


def _read_secret_text(path: str, subject: str, credentials: str | None) -> str:
    """
    Read a file that others cannot read, if what it holds is secret: a secret, or a URL with a password.

    Of a credential of systemd, in the folder *credentials*, the rights of the group are the mask of an access control
    list that has us alone.
    """
    text = _read_text(path, subject)
    found = os.stat(path)
    groups = {os.getegid(), *os.getgroups()}
    is_credential = credentials is not None and Path(path).parent == Path(credentials)
    is_group_s = found.st_mode & 0o060 and found.st_gid not in groups and not is_credential
    is_open = found.st_mode & 0o006 or is_group_s
    if stat.S_ISREG(found.st_mode) and is_open and not ("://" in text and mask_password(text) == text):
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
    return f"; the nearest is {by_core[likely[0]]}" if likely else "; config/gateway.example.toml has them all"


def _checked(name: str, value: Any, origin: str, *, relaxed: bool = False) -> Any:
    field = FIELDS[name]
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
    return json.dumps(mask_password(value))


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
