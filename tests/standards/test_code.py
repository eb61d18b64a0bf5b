"""What the code has nowhere, or where it has a reason: dangerous calls, weak randomness, quick comparisons."""

import ast
import concurrent.futures
import math
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.accounts import invitations, passwords
from gateway.accounts.factors import recovery
from gateway.accounts.passwords import LETTERS_AND_DIGITS
from gateway.sessions.families import new_family_id
from tests.standards.inventories import MODULES, PACKAGE, ROOT, cryptography, nodes_of

BUILT_IN = {"eval", "exec", "compile", "__import__"}
UNSAFE = {"code", "dill", "marshal", "pickle", "shelve", "xml", "yaml"}
GUESSABLE = {"random", "uuid"}
# Waiting times that differ, so that not everybody asks at once: nothing that anybody must not guess.
JITTER = {"accounts/passwords.py", "sessions/revocations.py", "verifier/remote_status_lists.py"}
SECRET_WORDS = {"mac", "macs", "digest", "signature", "secret", "tag", "tags"}
# Fewer than 128 bits, and why that is enough.
SHORT = {
    "accounts/factors/keeping.py": "tells one sending of a command from another",
    "accounts/factors/once.py": "the same",
    "sessions/families.py": "the same",
    "machines/clients.py": "the same",
    "limits/guessing.py": "names an attempt; it opens nothing",
    "telemetry/metric_reports.py": "names a process",
    "telemetry/request_ids.py": "names a request",
    "sessions/status_indexes.py": "shuffles places",
    "store/cluster.py": "shuffles servers",
    "tokens/sealing.py": "a nonce of AES-GCM has 96 bits",
    "accounts/factors/sealing.py": "the same",
    "cli/doctor/forger.py": "a mark to find again",
    "cli/doctor/person.py": "the same",
}
CONNECTING = {"asyncio.streams", "ftplib", "http.client", "smtplib", "socket", "ssl", "urllib.request", "redis"}
# Who opens connections or sockets, and to what.
CONNECTS = {
    "app.py": "listens",
    "cli/serve.py": "listens",
    "cli/check.py": "asks the gateway itself whether it is ready",
    "cli/service_manager.py": "systemd, by the Unix socket that it names",
    "cli/workers.py": "takes connections from the listener that workers share",
    "cli/doctor/asking.py": "asks the address that the operator gives",
    "cli/doctor/forger.py": "the same",
    "store/clients.py": "Redis",
    "store/cluster.py": "Redis",
    "store/sentinel.py": "Redis",
    "store/private.py": "the private Redis, by a Unix socket",
    "store/faults.py": "names the errors of redis-py",
    "store/confirmations.py": "the same",
    "store/store.py": "the same",
    "store/turns.py": "the same; redis-py opens the connections",
    "store/url.py": "the same",
    "telemetry/exposition.py": "listens for Prometheus",
    "telemetry/metric_reports.py": "a pair of sockets between a worker and its parent",
    "telemetry/serving.py": "the same",
    "verifier/fetch.py": "the issuer, from another service",
}


def name_of(module: Path) -> str:
    return str(module.relative_to(PACKAGE))


def imported(module: Path) -> set[str]:
    found = set()
    for node in nodes_of(module):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_nothing_runs_or_deserialises_code() -> None:
    """Shows ASVS 1.3.2, ASVS 1.5.2."""
    for module in MODULES:
        calls = [node.func for node in nodes_of(module) if isinstance(node, ast.Call)]
        assert {call.id for call in calls if isinstance(call, ast.Name)} & BUILT_IN == set(), name_of(module)
        assert {name.partition(".")[0] for name in imported(module)} & UNSAFE == set(), name_of(module)
        for node in nodes_of(module):
            assert not (isinstance(node, ast.keyword) and node.arg == "shell"), name_of(module)
            assert not (isinstance(node, ast.Attribute) and node.attr in ("system", "popen")), name_of(module)


def test_what_must_not_be_guessed_comes_from_the_generator_of_the_system() -> None:
    """Shows ASVS 11.5.1, ASVS 6.5.3."""
    guessable = {name_of(module) for module in MODULES if imported(module) & GUESSABLE}
    assert guessable == JITTER
    short = set()
    for module in MODULES:
        for node in nodes_of(module):
            match node:
                case ast.Call(func=ast.Attribute(attr=name), args=[ast.Constant(value=int(size)), *_]) if (
                    name.startswith("token_") or name == "urandom"
                ):
                    if size < 16:
                        short.add(name_of(module))
                case ast.Attribute(value=ast.Name(id="secrets"), attr="randbelow" | "randbits"):
                    short.add(name_of(module))
                case ast.Name(id="NONCE_BYTES"):
                    short.add(name_of(module))
    assert short == SHORT.keys()


def test_what_people_copy_has_128_bits_but_recovery_codes() -> None:
    """These have 50, are good once, and five wrong ones make the next wait. Shows ASVS 11.5.1."""
    choosing = {
        name_of(module)
        for module in MODULES
        for node in nodes_of(module)
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "secrets.choice"
    }
    bits = {
        "accounts/invitations.py": invitations.CODE_CHARACTERS * math.log2(len(LETTERS_AND_DIGITS)),
        "accounts/passwords.py": passwords.GENERATED_PASSWORD_CHARACTERS * math.log2(len(LETTERS_AND_DIGITS)),
        "accounts/factors/recovery.py": recovery.CODE_CHARACTERS * math.log2(len(recovery.ALPHABET)),
    }
    assert choosing == bits.keys()
    assert bits.pop("accounts/factors/recovery.py") == 50
    assert min(bits.values()) >= 128


def test_ids_are_unique_however_many_are_made_at_once() -> None:
    """A hundred thousand, by eight threads; 128 bits each. Shows ASVS 7.2.3, ASVS 11.5.2, NIST 5.1a."""
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        made = [one for many in pool.map(lambda _: [new_family_id() for _ in range(1250)], range(80)) for one in many]
    assert len(set(made)) == 100_000
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{22}", one) for one in made)
    bits = [sum(one.count(letter) for one in made) for letter in "AQgw"]
    last = sum(one[-1] in "AQgw" for one in made)
    assert last == len(made), "16 octets leave two bits in the last letter"
    assert min(bits) > len(made) // 4


def test_secrets_are_compared_in_constant_time() -> None:
    """No `==` has a MAC, a digest or a secret on a side: `hmac.compare_digest` has them. Shows ASVS 11.2.4."""
    compared = 0
    for module in MODULES:
        for node in nodes_of(module):
            if isinstance(node, ast.Attribute) and node.attr == "compare_digest":
                compared += 1
            if not isinstance(node, ast.Compare) or not isinstance(
                node.ops[0], ast.Eq | ast.NotEq | ast.In | ast.NotIn
            ):
                continue
            for side in (node.left, *node.comparators):
                name = side.attr if isinstance(side, ast.Attribute) else side.id if isinstance(side, ast.Name) else ""
                assert not set(name.lower().split("_")) & SECRET_WORDS, f"{name_of(module)}:{node.lineno}: {name}"
    assert compared >= 12


def test_the_inventory_has_approved_algorithms_alone() -> None:
    """
    AES-SIV seals request ids, HMAC-SHA-1 makes the codes of apps, SHA-1 names scripts: nothing else is out of the list.

    Shows ASVS 11.2.1, ASVS 11.3.2, ASVS 11.4.1, ASVS 11.4.3.
    """
    table = cryptography()
    used = {name for row in table.splitlines()[2:] for name in row.split(" | ")[1].strip(" |").split(", ")}
    used = {name for name in used if not re.match(r"(secrets|os)\.", name)}
    libraries = {"argon2", "bcrypt", "fido2", "jwt"}
    approved = {"AESGCM", "HKDF", "HMAC-sha256", "HMAC-sha384", "SHA256", "sha256", "ec", "ed25519", "rsa"}
    foreign = {"pbkdf2_hmac", "scrypt"}
    assert used == libraries | approved | foreign | {"AESSIV", "HMAC-sha1", "sha1"}
    for name, module in {
        "AESSIV": "telemetry/request_ids",
        "HMAC-sha1": "accounts/factors/totp",
        " sha1": "store/store",
        "pbkdf2_hmac": "accounts/foreign_hashes",
    }.items():
        [row] = [row for row in table.splitlines() if name in row]
        assert module in row


def test_nobody_else_opens_connections() -> None:
    """Each has its reason, and a row in docs/protection.md. Shows ASVS 13.1.1, ASVS 13.2.4."""
    found = {
        name_of(module)
        for module in MODULES
        if any(name in CONNECTING or name.split(".")[0] in ("redis", "socket", "ssl") for name in imported(module))
    }
    assert found == CONNECTS.keys()
    opening = {
        name_of(module)
        for module in MODULES
        for node in nodes_of(module)
        if isinstance(node, ast.Attribute) and node.attr in ("create_connection", "open_connection", "urlopen")
    }
    assert opening == set()


def test_a_redirect_is_303_but_that_of_a_denied_navigation() -> None:
    """Which answers a GET with 302, as proxies know it. Shows RFC 9700 4.12."""
    redirects = {
        (name_of(module), node.value.value)
        for module in MODULES
        for node in nodes_of(module)
        if isinstance(node, ast.keyword)
        and node.arg == "status_code"
        and isinstance(node.value, ast.Constant)
        and node.value.value in (300, 301, 302, 303, 307, 308)
    }
    assert redirects == {("web/html/answering.py", 303), ("web/subrequest/denied.py", 302)}
    assert not [module for module in MODULES if "RedirectResponse" in module.read_text()]


def test_nobody_is_asked_for_a_hint_or_a_secret_question() -> None:
    """
    Neither stored, nor taken, nor shown; `token_type_hint` is OAuth's.

    Shows ASVS 6.4.2, NIST 3.1.1.2-7, NIST 3.1.1.2-8.
    """
    asked = re.compile(r"(?i)question|answer_to|reminder|hint|mother|security_")
    fields = {
        node.target.id
        for module in MODULES
        for node in nodes_of(module)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    assert fields >= {"username", "password", "current_password", "password_hash"}
    templates = sorted((PACKAGE / "web" / "html" / "templates").glob("*.html"))
    inputs = {name for template in templates for name in re.findall(r'name="([\w{}. ]+)"', template.read_text())}
    assert inputs >= {"username", "code"}
    assert not [name for name in (fields | inputs) - {"token_type_hint"} if asked.search(name)]


def test_nothing_runs_in_a_debug_mode() -> None:
    """Shows ASVS 13.4.2."""
    for module in MODULES:
        for node in nodes_of(module):
            if isinstance(node, ast.keyword) and node.arg in ("debug", "reload", "auto_reload"):
                assert isinstance(node.value, ast.Constant), name_of(module)
                assert node.value.value is False, name_of(module)


def test_no_script_of_the_pages_keeps_anything_in_the_browser() -> None:
    """Shows NIST 5.1b."""
    scripts = sorted((PACKAGE / "web" / "html").rglob("*.js"))
    assert len(scripts) >= 2
    for script in scripts:
        assert not re.search(r"localStorage|sessionStorage|indexedDB|document\.cookie|caches\b", script.read_text())
    for template in (PACKAGE / "web" / "html").rglob("*.html"):
        assert not re.search(r"<script(?![^>]*\bsrc=)", template.read_text()), template.name


# ------------------------------------------------------------------------------------------------ regular expressions

LONG = 65_536
HOSTILE = ("a", "0", "-", ".", " ", "=", "a.", "a-", "a,", "a=", "0.", ";", "/", "a ", "\\", "[", "é", "max-age=", "*.")


def patterns() -> Iterator[tuple[str, re.Pattern[str]]]:
    """Give every pattern of the code that is one text, by its place; one of bytes as the text of these."""
    for module in MODULES:
        for node in nodes_of(module):
            match node:
                case ast.Call(
                    func=ast.Attribute(
                        value=ast.Name(id="re"), attr="compile" | "fullmatch" | "match" | "search" | "sub"
                    ),
                    args=[ast.Constant(value=str() | bytes() as text), *_],
                ):
                    yield (
                        f"{name_of(module)}:{node.lineno}",
                        re.compile(text if isinstance(text, str) else text.decode("latin-1")),
                    )


PATTERNS = dict(patterns())


@pytest.mark.parametrize("place", PATTERNS)
def test_no_regular_expression_runs_away(place: str) -> None:
    """Sixteen times the text takes sixteen times the processor time, more or less. Shows ASVS 1.3.12."""
    pattern = PATTERNS[place]

    def seconds(piece: str, size: int) -> float:
        text = (piece * size)[:size] + "\0"
        begun = time.process_time()
        pattern.fullmatch(text)
        pattern.match(text)
        return time.process_time() - begun

    for piece in HOSTILE:
        assert seconds(piece, LONG) < 0.05 + 64 * seconds(piece, LONG // 16), piece


def test_the_patterns_were_found() -> None:
    written = sum(len(re.findall(r"\bre\.(compile|fullmatch|match|search|sub)\(", m.read_text())) for m in MODULES)
    print(f"{len(PATTERNS)} of {written} patterns are one text")
    assert len(PATTERNS) >= 40
    assert written - len(PATTERNS) <= 12


# -------------------------------------------------------------------------------------------------- what is delivered


def test_the_wheel_has_the_product_and_nothing_else() -> None:
    """Shows ASVS 15.2.3."""
    from hatchling.builders.wheel import WheelBuilder

    builder = WheelBuilder(str(ROOT))
    names = {Path(file.distribution_path) for file in builder.recurse_included_files()}
    assert len(names) > 100
    assert {name.parts[0] for name in names} == {"gateway"}
    assert {name.suffix for name in names} <= {
        *(".py", ".lua", ".html", ".css", ".js", ".svg", ".toml", ".txt", ".typed")
    }
    assert not [name for name in names if "test" in name.name or "example" in name.name]
