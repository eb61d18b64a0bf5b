"""The command line of the load test, and what it names: accounts, addresses, certificates. Mistakes take one line."""

import argparse
import getpass
import ipaddress
import json
import os
import resource
import socket
import ssl
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from load_answers import normalised
from load_http import Endpoint, cause_of
from load_users import Account

SPARE_DESCRIPTORS = 64
USER_LINE = '{"email": "ann@example.com", "password": "..."}'


class LoadError(Exception):
    """The run cannot be, or came to nothing; the message is one line."""


class Parser(argparse.ArgumentParser):
    """Tells a mistake in one line."""

    def error(self, message: str) -> NoReturn:
        """End with exit status 2."""
        print(f"load: {message}", file=sys.stderr)
        sys.exit(2)


def number(least: float, most: float = 1e9, kind: Callable[[str], float] = float) -> Callable[[str], float]:
    """Give a reader of a number in a range."""

    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            upper = "or more" if most == 1e9 else f"to {most:g}"
            raise argparse.ArgumentTypeError(f"{text!r} is not {least:g} {upper}")
        return value

    return read


def parser(description: str) -> Parser:
    """Give the command line."""
    as_written = argparse.RawDescriptionHelpFormatter
    made = Parser(prog="load.py", description=description, formatter_class=as_written, allow_abbrev=False)
    option = made.add_argument
    option("--url", required=True, help="where the gateway is, such as http://127.0.0.1:8000")
    option("--yes-this-is-mine", action="store_true", help="let the address be another than a loopback one")
    who = made.add_mutually_exclusive_group(required=True)
    who.add_argument("--users", metavar="FILE", help=f"accounts, a line for each: {USER_LINE}")
    who.add_argument("--email", help="one account; see --password-stdin")
    option("--password-stdin", action="store_true", help="read its password from stdin; else LOAD_PASSWORD, or asked")
    option("--sessions", type=number(1, 1e5, int), default=10, metavar="N", help="virtual users at a time [10]")
    option("--duration", type=number(0.1), default=60.0, metavar="S", help="seconds of the run [60]")
    option("--ramp", type=number(0), metavar="S", help="seconds over which they arrive [a quarter of it, at most 10]")
    pace = made.add_mutually_exclusive_group()
    pace.add_argument("--think", type=number(0.0001), default=1.0, metavar="S", help="mean pause of a user [1]")
    pace.add_argument("--rate", type=number(0.01), metavar="R", help="open model: requests a second of all together")
    option("--logout", type=number(0, 1), default=0.02, metavar="P", help="chance to log out at each request [0.02]")
    option("--away", type=number(0.0001), default=5.0, metavar="S", help="closed model: mean time until the next [5]")
    option("--refresh-every", type=number(0.1), metavar="S", help="refresh so often [before the access token's end]")
    option("--replay-window", type=number(0, 300), default=60.0, metavar="S", help="refresh_replay_window_seconds [60]")
    option("--sessions-per-user", type=number(1, 1e5, int), default=50, metavar="N", help="max_sessions_per_user [50]")
    option("--subrequest-path", default="/api/authz/auth-request", metavar="PATH", help="what is asked [%(default)s]")
    option("--timeout", type=number(0.1), default=10.0, metavar="S", help="seconds to wait for an answer [10]")
    option("--cacert", metavar="FILE", help="certificates to trust instead of the system's")
    option("--insecure", action="store_true", help="do not look at the server's certificate")
    option("--json", action="store_true", help="print one JSON document on stdout")
    return made


def read_accounts(options: argparse.Namespace) -> list[Account]:
    """
    Give the accounts to log in to.

    Raises:
        LoadError: The file cannot be read or a line of it is not as it should be, or there is no password.
    """
    if options.email is not None:
        return [Account(options.email, read_password(options.password_stdin))]
    try:
        lines = Path(options.users).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise LoadError(f"cannot read --users {options.users}: {cause}") from error
    accounts: dict[str, Account] = {}
    for place, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not (isinstance(row, dict) and all(isinstance(row.get(name), str) for name in ("email", "password"))):
            raise LoadError(f"{options.users} line {place} is not like {USER_LINE}")
        if normalised(row["email"]) in accounts:
            raise LoadError(f"{options.users} line {place}: {row['email']} is there twice; take one of them out")
        accounts[normalised(row["email"])] = Account(row["email"], row["password"])
    if not accounts:
        raise LoadError(f"{options.users} has no accounts; a line is like {USER_LINE}")
    return list(accounts.values())


def read_password(from_stdin: bool) -> str:
    """Give the password of --email, from where there is one."""
    password = os.environ.get("LOAD_PASSWORD", "")  # noqa: TID251 - no setting of the gateway
    if from_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    elif not password and sys.stdin.isatty():
        password = getpass.getpass("Password of the account: ")
    if not password:
        raise LoadError("no password: use --password-stdin, or set LOAD_PASSWORD")
    return password


def read_endpoints(options: argparse.Namespace) -> list[Endpoint]:
    """
    Give the addresses that the URL names.

    Raises:
        LoadError: It is no URL of a gateway, it is not loopback and nobody said that it may be, or the certificates
            cannot be read.
        OSError: The host has no address.
    """
    try:
        url = urlsplit(options.url)
        host, port = url.hostname, url.port
    except ValueError:
        url, host, port = urlsplit(""), None, None
    if url.scheme not in ("http", "https") or not host or url.username or url.path not in ("", "/") or url.query:
        raise LoadError(f"--url {options.url!r} is not like http://127.0.0.1:8000 or https://auth.example.com")
    default = 443 if url.scheme == "https" else 80
    found = socket.getaddrinfo(host, port or default, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(row[4][0]) for row in found))
    strange = [text for text in addresses if not ipaddress.ip_address(text.partition("%")[0]).is_loopback]
    if strange and not options.yes_this_is_mine:
        raise LoadError(f"{host} is {strange[0]}, not this machine; if you may load it, add --yes-this-is-mine")
    tls = None
    if url.scheme == "https":
        try:
            tls = ssl.create_default_context(cafile=options.cacert)
        except (OSError, ssl.SSLError) as error:
            raise LoadError(f"cannot read --cacert {options.cacert}: {cause_of(error)}") from error
        if options.insecure:
            tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    return [Endpoint(address, port or default, host, url.netloc, tls) for address in addresses]


def raise_descriptor_limit(sessions: int) -> None:
    """Let this process have a connection for each session."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = sessions + SPARE_DESCRIPTORS
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise LoadError(f"--sessions {sessions} needs {needed} open files and the limit is {hard}: raise `ulimit -Hn`")
    if needed > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
