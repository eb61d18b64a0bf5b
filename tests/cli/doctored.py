"""What the doctor walks to: nginx set up right, each line to be spoilt by a test, and fronts that misbehave."""

import http.client
import socketserver
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BufferedIOBase
from pathlib import Path

from tests.certificates import Certificates
from tests.harness import free_port
from tests.proxies.fronts import Front, Kind

FAMILIES = {
    "Remote": ("User", "Groups", "Name", "Email", "Sub", "Access-Token"),
    "X-Auth-Request": ("User", "Groups", "Preferred-Username", "Email", "Subject", "Access-Token"),
    "X-Forwarded": ("User", "Groups", "Preferred-Username", "Email", "Subject", "Access-Token"),
}
GIVEN = ("User", "Groups", "Name", "Email", "Sub")

NGINX = """
map $http_cookie $app_cookies { default $http_cookie; "~gateway_session=" ""; }
map "$request_method $http_upgrade" $app_upgrade { default ""; "~^GET (?i)websocket$" websocket; }
map $app_upgrade $app_connection { default close; websocket upgrade; }
server {
    listen 127.0.0.1:PORT LISTENS;
    TLS
    underscores_in_headers off;
    ignore_invalid_headers on;
    large_client_header_buffers 4 32k;
    client_max_body_size 0;
    auth_request /_auth;
    auth_request_set $login $upstream_http_location;
    SETS
    error_page 401 = @login;
    error_page 500 = @gateway_away;
    STRIPS
    proxy_set_header Host $http_host;
    proxy_set_header Cookie $app_cookies;
    proxy_set_header Upgrade $app_upgrade;
    proxy_set_header Connection $app_connection;
    proxy_http_version 1.1;
    location / { proxy_pass http://127.0.0.1:APP; }
    location = /_auth {
        internal;
        proxy_pass http://127.0.0.1:GATEWAY/api/authz/auth-request;
        proxy_pass_request_body off;
        proxy_set_header Content-Length "";
        proxy_set_header X-Original-URL $scheme://$http_host$request_uri;
        proxy_set_header X-Original-Method $request_method;
        client_max_body_size 0;
        proxy_read_timeout 3s;
    }
    location @login {
        auth_request off;
        if ($login = "") { return 401; }
        return 302 $login;
    }
    location @gateway_away { auth_request off; return 503; }
    location ^~ /auth/ {
        auth_request off;
        proxy_pass http://127.0.0.1:GATEWAY;
        proxy_set_header Host $http_host;
        proxy_set_header X-Forwarded-For $remote_addr;
    }
    location ^~ /.well-known/ { auth_request off; proxy_pass http://127.0.0.1:GATEWAY; }
}
"""


@dataclass
class Nginx:
    """
    A running nginx.

    `spoilt` has what a test has changed in the file: what stood there, and what stands there now.
    """

    directory: Path
    gateway_port: int
    app_port: int
    spoilt: dict[str, str] = field(default_factory=dict)
    certificates: Certificates | None = None
    port: int = field(default_factory=free_port)
    front: Front | None = field(default=None, repr=False)

    def start(self) -> "Nginx":
        """Start it."""
        self.directory.mkdir(parents=True, exist_ok=True)
        kind = Kind("nginx", ("nginx",), "nginx", lambda front, tls: self._prepare(front))
        certificates = self.certificates or Certificates(*[Path()] * 4)
        self.front = Front(
            kind,
            self.directory,
            self.gateway_port,
            self.app_port,
            certificates,
            tls=self.certificates is not None,
            port=self.port,
            tls_port=self.port,
        )
        self.front.start(await_keys=False)
        return self

    def stop(self) -> None:
        """End it."""
        if self.front is not None:
            self.front.stop()

    def _prepare(self, front: Front) -> list[str]:
        text = NGINX
        for old, new in self.spoilt.items():
            assert old in _whole(text), f"there is no {old}"
            text = _whole(text).replace(old, new)
        listens, tls = "", ""
        if self.certificates is not None:
            listens = "ssl"
            tls = f"ssl_certificate {self.certificates.chain}; ssl_certificate_key {self.certificates.key};"
        text = _whole(text).replace("LISTENS", listens).replace("TLS", tls)
        for name, port in (("PORT", self.port), ("APP", self.app_port), ("GATEWAY", self.gateway_port)):
            text = text.replace(name, str(port))
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        folders = "".join(f"{kind}_temp_path {self.directory}/{kind};" for kind in kinds)
        main = self.directory / "nginx.conf"
        main.write_text(
            f"daemon off; master_process off; pid {self.directory}/pid; events {{}}\n"
            f"http {{ access_log off; {folders} {text} }}\n"
        )
        return [
            str(front.kind.program),
            "-p",
            str(self.directory),
            "-e",
            f"{self.directory}/error.log",
            "-c",
            str(main),
        ]


def _whole(text: str) -> str:
    """Write out the lines that are one for each header."""
    names = {f"{family}-{name}": name for family, rest in FAMILIES.items() for name in rest}
    given = {f"Remote-{name}": f"$auth_{name.lower()}" for name in GIVEN}
    strips = "\n    ".join(f"proxy_set_header {name} {given.get(name, chr(34) * 2)};" for name in names)
    sets = "\n    ".join(
        f"auth_request_set $auth_{name.lower()} $upstream_http_remote_{name.lower()};" for name in GIVEN
    )
    return text.replace("SETS", sets).replace("STRIPS", strips)


Answer = tuple[int, list[tuple[str, str]], bytes]
Handle = Callable[["Asked"], Answer | None]


@dataclass
class Asked:
    """A request as a front got it."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes

    def value(self, name: str) -> str:
        """Give a header's value."""
        return next((value for found, value in self.headers if found.lower() == name.lower()), "")


class OddFront:
    """A front that does what a test says: *handle* gives the answer to each request, None to hang for a minute."""

    def __init__(self, handle: Handle, port: int) -> None:
        self.ended = threading.Event()

        class Handler(socketserver.StreamRequestHandler):
            timeout = 60

            def handle(handler) -> None:
                try:
                    asked = _read(handler.rfile)
                    answer = handle(asked)
                except (OSError, ValueError):
                    return
                if answer is None:
                    self.ended.wait(60)
                    return
                status, headers, body = answer
                lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
                head = f"HTTP/1.1 {status} X\r\n{lines}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
                handler.wfile.write(head.encode("latin-1") + body)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

        self._server = Server(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """End it."""
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()


def _read(stream: BufferedIOBase) -> Asked:
    method, target, _ = stream.readline().decode("latin-1").split(" ", 2)
    headers = []
    while line := stream.readline().decode("latin-1").rstrip("\r\n"):
        name, _, value = line.partition(":")
        headers.append((name, value.strip()))
    asked = Asked(method, target, headers, b"")
    asked.body = stream.read(int(asked.value("content-length") or 0))
    return asked


def passed_on(asked: Asked, port: int, headers: list[tuple[str, str]] | None = None, target: str = "") -> Answer:
    """Give the answer of another server on this machine, asked the same, or with other headers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.putrequest(asked.method, target or asked.target, skip_host=True, skip_accept_encoding=True)
    for name, value in asked.headers if headers is None else headers:
        connection.putheader(name, value)
    connection.endheaders(asked.body)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    dropped = ("connection", "content-length", "transfer-encoding", "date")
    return response.status, [pair for pair in response.getheaders() if pair[0].lower() not in dropped], body
