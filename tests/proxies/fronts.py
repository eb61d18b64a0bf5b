"""Real proxies with the very files of config/: only ports, addresses and paths are put in."""

import contextlib
import functools
import http.client
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.events

from tests.certificates import SITE, Certificates
from tests.harness import free_port, wait_until
from tests.proxies.echo import Seen

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "config"
ISSUER = f"https://{SITE}"
SBIN = "/usr/local/sbin:/usr/sbin:/sbin"
START_SECONDS = 15.0
LOGIN_HOST = "auth.example.com"
OTHER_SITE = "other.example.com"
ONE_HOST = re.compile(r"^[^\n]*# one host.*?# end of one host[^\n]*\n", re.MULTILINE | re.DOTALL)

Headers = Mapping[str, str] | Iterable[tuple[str, str]]


@dataclass
class Answer:
    """What a client of a proxy got; `seen` is what the application saw, None when it was not asked."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    seen: Seen | None = None

    def values(self, name: str) -> list[str]:
        """Give the values of a header."""
        return [value for found, value in self.headers if found.lower() == name.lower()]


def find_program(*names: str) -> str | None:
    """Give the path of the first of these programs that is installed, those of administrators included."""
    for name in names:
        if found := shutil.which(name) or shutil.which(name, path=SBIN):
            return found
    return None


@dataclass(frozen=True)
class Kind:
    """One sort of proxy: its program, what it is started with, and what differs from the others."""

    name: str
    programs: tuple[str, ...]
    package: str
    prepare: Callable[["Front", bool], list[str]]
    gateway_away: int = 503
    always_tls: bool = False

    def __str__(self) -> str:
        """Name the tests."""
        return self.name

    @property
    def program(self) -> str | None:
        """Where it is installed."""
        return find_program(*self.programs)


@dataclass
class Front:
    """A running proxy in front of the application, with a gateway to ask."""

    kind: Kind
    directory: Path
    gateway_port: int
    app_port: int
    certificates: Certificates
    tls: bool = False
    sso: bool = False
    port: int = field(default_factory=free_port)
    tls_port: int = field(default_factory=free_port)
    other_port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self, *, await_keys: bool = True) -> "Front":
        """Start it, and wait until the gateway's keys can be had through it, or until it answers at all."""
        self.directory.mkdir(parents=True, exist_ok=True)
        command = self.kind.prepare(self, self.tls)
        environ = {"PATH": os.environ["PATH"] + ":" + SBIN, "HOME": str(self.directory)}  # noqa: TID251 - for a child
        with (self.directory / "output").open("wb") as output:
            self.process = subprocess.Popen(
                command, cwd=self.directory, env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        try:
            wait_until(lambda: self._answers(await_keys), START_SECONDS, str(self.kind))
        except AssertionError as error:
            self.stop()
            raise AssertionError(f"{self.kind} does not serve; it says:\n{self.log_text()}") from error
        return self

    def stop(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(timeout=10)

    def log_text(self) -> str:
        """Give what it printed and logged."""
        return "".join(
            path.read_text(errors="replace")
            for name in ("output", "error.log")
            if (path := self.directory / name).exists()
        )

    def _answers(self, await_keys: bool) -> bool:
        assert self.process is not None
        assert self.process.poll() is None
        with contextlib.suppress(OSError, http.client.HTTPException):
            host = LOGIN_HOST if self.sso else SITE
            return self.ask("/.well-known/jwks.json", host=host).status == 200 or not await_keys
        return False

    @property
    def is_tls(self) -> bool:
        """Whether clients speak TLS to it."""
        return self.tls or self.kind.always_tls

    @property
    def url(self) -> str:
        """Its address."""
        return f"https://127.0.0.1:{self.tls_port}" if self.is_tls else f"http://127.0.0.1:{self.port}"

    def connect(self, *, protocol: str = "http/1.1") -> socket.socket:
        """Open a connection to it, the TLS handshake done and the *protocol* agreed."""
        connection = socket.create_connection(("127.0.0.1", self.tls_port if self.is_tls else self.port), timeout=15)
        if self.is_tls:
            context = self._contexts.setdefault(protocol, self.certificates.client_context())
            context.set_alpn_protocols([protocol])
            return context.wrap_socket(connection, server_hostname=SITE)
        return connection

    @functools.cached_property
    def _contexts(self) -> dict[str, ssl.SSLContext]:
        return {}

    def ask(
        self,
        target: str | bytes = "/",
        headers: Headers = (),
        *,
        method: str = "GET",
        body: bytes | None = None,
        host: str = SITE,
    ) -> Answer:
        """Send a request exactly as it is given, with `Host`, `Connection: close` and the length of the body."""
        pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
        pairs = [("Host", host), *pairs, ("Connection", "close")]
        if body is not None:
            pairs.append(("Content-Length", str(len(body))))
        raw = target if isinstance(target, bytes) else target.encode("latin-1")
        head = method.encode() + b" " + raw + b" HTTP/1.1\r\n"
        head += b"".join(f"{name}: {value}\r\n".encode("latin-1") for name, value in pairs)
        with self.connect() as connection:
            connection.sendall(head + b"\r\n" + (body or b""))
            response = http.client.HTTPResponse(connection, method=method)
            response.begin()
            answer = Answer(response.status, response.getheaders(), response.read())
        return with_seen(answer)

    def ask_over_http2(
        self,
        target: str = "/",
        headers: Headers = (),
        *,
        method: str = "GET",
        body: bytes | None = None,
        trailers: Headers = (),
    ) -> Answer:
        """
        Send a request over HTTP/2, with whatever headers and trailers, and give the answer.

        A stream, or a connection, that the proxy ended without an answer has the status 0.
        """
        pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
        ends = list(trailers.items() if isinstance(trailers, Mapping) else trailers)
        head = [(":method", method), (":scheme", "https"), (":authority", SITE), (":path", target)]
        config = h2.config.H2Configuration(validate_outbound_headers=False, normalize_outbound_headers=False)
        client = h2.connection.H2Connection(config)
        client.initiate_connection()
        client.send_headers(1, head + [(name.lower(), value) for name, value in pairs], end_stream=body is None)
        with self.connect(protocol="h2") as connection:
            assert not isinstance(connection, ssl.SSLSocket) or connection.selected_alpn_protocol() == "h2"
            connection.sendall(client.data_to_send())
            if body is not None:
                client.send_data(1, body, end_stream=not ends)
                if ends:
                    client.send_headers(1, [(name.lower(), value) for name, value in ends], end_stream=True)
            with contextlib.suppress(OSError):
                connection.sendall(client.data_to_send())
            return with_seen(_read_over_http2(client, connection))

    def put_in(self, name: str, substitutions: Mapping[str, str], *, tls: bool) -> Path:
        """
        Write a file of config/ into the directory, with ports, addresses and paths put in, and with TLS and several
        hosts on demand, as the files say.

        Each of the *substitutions* must be there to be made.
        """
        text = (CONFIG / name).read_text()
        if self.sso:
            text = for_several_hosts(text)
        if tls:
            text = text.replace("#tls ", "")
        for shown, real in substitutions.items():
            assert shown in text, f"config/{name} has no {shown}"
            text = text.replace(shown, real)
        path = self.directory / Path(name).name
        path.write_text(text)
        return path

    @property
    def addresses(self) -> dict[str, str]:
        """What is put in for the addresses that most of the files name."""
        return {
            "127.0.0.1:8080": f"127.0.0.1:{self.port}",
            "127.0.0.1:8000": f"127.0.0.1:{self.gateway_port}",
            "127.0.0.1:3000": f"127.0.0.1:{self.app_port}",
        }

    @property
    def other_application(self) -> dict[str, str]:
        """What is put in for the address of the second application: here the same one is behind both hosts."""
        return {"127.0.0.1:3001": f"127.0.0.1:{self.app_port}"}

    @property
    def certificate_paths(self) -> dict[str, str]:
        """What is put in for the paths of the certificate."""
        return {
            "/etc/ssl/app.example.com/fullchain.pem": str(self.certificates.chain),
            "/etc/ssl/app.example.com/privkey.pem": str(self.certificates.key),
        }


def for_several_hosts(text: str) -> str:
    """Make a file of config/ one for several hosts and a login on a host of its own, as its `sed` does."""
    return ONE_HOST.sub("", text).replace("#sso ", "")


def with_seen(answer: Answer) -> Answer:
    """Read what the application saw, if it was asked."""
    if answer.values("X-Echo") and answer.body:
        answer.seen = seen_in(answer.body)
    return answer


def seen_in(text: bytes) -> Seen:
    """Give what the application saw from what it said of it."""
    seen = json.loads(text)
    return Seen(**seen | {"headers": [(name, value) for name, value in seen["headers"]]})


def _read_over_http2(client: h2.connection.H2Connection, connection: socket.socket) -> Answer:
    answer = Answer(0, [], b"")
    with contextlib.suppress(OSError):
        while octets := connection.recv(65536):
            events: list[Any] = client.receive_data(octets)
            for event in events:
                if isinstance(event, h2.events.ResponseReceived):
                    pairs = [(bytes(name).decode(), bytes(value).decode("latin-1")) for name, value in event.headers]
                    answer.status = int(dict(pairs)[":status"])
                    answer.headers = [(name, value) for name, value in pairs if not name.startswith(":")]
                elif isinstance(event, h2.events.DataReceived):
                    answer.body += event.data
                    client.acknowledge_received_data(event.flow_controlled_length, 1)
                elif isinstance(event, h2.events.StreamEnded | h2.events.StreamReset | h2.events.ConnectionTerminated):
                    return answer
            connection.sendall(client.data_to_send())
    return answer


def nginx(front: Front, tls: bool) -> list[str]:
    """nginx: the file is a part of the http block that Debian and the official image have."""
    substitutions = front.addresses
    if tls:
        substitutions |= {"listen 443 ": f"listen 127.0.0.1:{front.tls_port} "} | front.certificate_paths
    snippets = {"/etc/nginx/snippets/": f"{front.directory}/"}
    site = front.put_in("nginx/token-gateway.conf", substitutions | snippets | front.other_application, tls=tls)
    for name in ("protected.conf", "gateway.conf"):
        front.put_in(f"nginx/{name}", {}, tls=tls)
    folders = "".join(
        f"{kind}_temp_path {front.directory}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    main = front.directory / "nginx.conf"
    main.write_text(
        f"daemon off; worker_processes 1; pid {front.directory}/pid; user {_user()};\n"
        f"events {{}}\nhttp {{ access_log off; {folders} include {site}; }}\n"
    )
    return [
        str(front.kind.program),
        "-p",
        str(front.directory),
        "-e",
        str(front.directory / "error.log"),
        "-c",
        str(main),
    ]


def caddy(front: Front, tls: bool) -> list[str]:
    """Caddy: the file is a whole one."""
    substitutions = {
        "http://:8080": f"http://:{front.port}",
        "localhost:2019": f"localhost:{front.other_port}",
        "127.0.0.1:8000": f"127.0.0.1:{front.gateway_port}",
        "127.0.0.1:3000": f"127.0.0.1:{front.app_port}",
    }
    if tls:
        substitutions |= {f"https://{SITE}:443": f"https://{SITE}:{front.tls_port}"} | front.certificate_paths
        substitutions |= {".example.com:443": f".example.com:{front.tls_port}"}
    substitutions |= front.other_application
    path = front.put_in("caddy/Caddyfile", substitutions, tls=tls)
    return [str(front.kind.program), "run", "--config", str(path), "--adapter", "caddyfile"]


def haproxy(front: Front, tls: bool) -> list[str]:
    """HAProxy: both files are whole ones."""
    script = front.put_in("haproxy/gateway.lua", {"127.0.0.1:8000": f"127.0.0.1:{front.gateway_port}"}, tls=tls)
    substitutions = front.addresses | front.other_application | {"/etc/haproxy/gateway.lua": str(script)}
    if tls:
        substitutions |= {
            "bind :443": f"bind 127.0.0.1:{front.tls_port}",
            "/etc/ssl/app.example.com/fullchain-and-privkey.pem": str(front.certificates.chain_and_key),
        }
    path = front.put_in("haproxy/haproxy.cfg", substitutions, tls=tls)
    return [str(front.kind.program), "-db", "-f", str(path)]


def apache(front: Front, tls: bool) -> list[str]:
    """Apache: the file is a site; the modules that it names are loaded as Debian's a2enmod does."""
    substitutions = front.certificate_paths | front.other_application
    substitutions |= {name: real for name, real in front.addresses.items() if not name.endswith("8080")}
    substitutions |= {"*:443": f"127.0.0.1:{front.tls_port}"}
    own = {"/etc/apache2/token-gateway/": f"{front.directory}/"}
    site = front.put_in("apache/token-gateway.conf", substitutions | own, tls=False)
    front.put_in("apache/protected.conf", own, tls=False)
    front.put_in("apache/from-the-client.lua", {}, tls=False)
    front.put_in("apache/ask-gateway.lua", {"127.0.0.1:8000": f"127.0.0.1:{front.gateway_port}"}, tls=False)
    (named,) = re.findall(r"a2enmod (.+)$", (CONFIG / "apache/token-gateway.conf").read_text(), re.MULTILINE)
    modules = ["mpm_event", "authz_core", "socache_shmcb", *named.split()]
    folder = Path("/usr/lib/apache2/modules")
    main = front.directory / "apache2.conf"
    main.write_text(
        f"ServerName {SITE}\nServerRoot {front.directory}\nPidFile {front.directory}/pid\n"
        + f"ErrorLog {front.directory}/error.log\nDefaultRuntimeDir {front.directory}\n"
        + f"Listen 127.0.0.1:{front.tls_port}\n"
        + "".join(f"LoadModule {name}_module {folder}/mod_{name}.so\n" for name in modules)
        + ("User #65534\nGroup #65534\n" if os.geteuid() == 0 else "")
        + f"Include {site}\n"
    )
    return [str(front.kind.program), "-D", "FOREGROUND", "-f", str(main)]


def traefik(front: Front, tls: bool) -> list[str]:
    """Traefik: both files are whole ones."""
    question = {"127.0.0.1:8081": f"127.0.0.1:{front.other_port}"}
    substitutions = {name: real for name, real in front.addresses.items() if not name.endswith("8080")}
    substitutions |= question | front.other_application
    dynamic = front.put_in("traefik/dynamic.yml", substitutions | (front.certificate_paths if tls else {}), tls=tls)
    substitutions = {"127.0.0.1:8080": f"127.0.0.1:{front.port}", "/etc/traefik/dynamic.yml": str(dynamic)} | question
    if tls:
        substitutions |= {'":443"': f'"127.0.0.1:{front.tls_port}"'}
    path = front.put_in("traefik/traefik.yml", substitutions, tls=tls)
    return [str(front.kind.program), f"--configFile={path}"]


def envoy(front: Front, tls: bool) -> list[str]:
    """Envoy: the file is a whole one."""
    substitutions = {
        "port_value: 8080": f"port_value: {front.tls_port if tls else front.port}",
        "port_value: 8000": f"port_value: {front.gateway_port}",
        "port_value: 3000": f"port_value: {front.app_port}",
        "port_value: 3001": f"port_value: {front.app_port}",
    }
    path = front.put_in("envoy/envoy.yaml", substitutions | (front.certificate_paths if tls else {}), tls=tls)
    return [str(front.kind.program), "--config-path", str(path), "--use-dynamic-base-id", "--concurrency", "1"]


def _user() -> str:
    """Give who the worker processes run as: whoever runs the tests, since the files are in a directory of theirs."""
    import pwd

    return pwd.getpwuid(os.geteuid()).pw_name


KINDS = (
    Kind("nginx", ("nginx",), "nginx", nginx),
    Kind("caddy", ("caddy",), "caddy", caddy, gateway_away=502),
    Kind("haproxy", ("haproxy",), "haproxy", haproxy),
    Kind("apache", ("apache2", "httpd"), "apache2 lua-socket", apache, always_tls=True),
    Kind("traefik", ("traefik",), "no package of Debian", traefik, gateway_away=502),
    Kind("envoy", ("envoy",), "no package of Debian", envoy),
)
