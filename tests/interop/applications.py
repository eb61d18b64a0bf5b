"""What stands behind the proxy in recipes: an application that remembers, git, WebDAV and a docker registry."""

import contextlib
import http.server
import os
import shutil
import socket
import subprocess
import threading
from dataclasses import replace
from email.message import Message
from pathlib import Path

from tests.harness import free_port, wait_until
from tests.proxies.fronts import KINDS, Front, Kind, find_program

METRICS = b"# what Prometheus reads\nrequests_seen 1\n"


class Server:
    """A server on a loopback port that answers as its handler does."""

    def __init__(self, handler: type[http.server.BaseHTTPRequestHandler]) -> None:
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()


class Application(Server):
    """It remembers what reached it, and answers everything with a metric."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, Message]] = []

        class Handler(_Quiet):
            def do_GET(handler) -> None:
                handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
                self.seen.append((handler.path, handler.headers))
                handler.answer(200, {"Content-Type": "text/plain; version=0.0.4"}, METRICS)

            do_POST = do_GET

        super().__init__(Handler)


class GitServer(Server):
    """`git http-backend` over bare repositories, as a CGI program; the proxy's Remote-User is who pushes."""

    def __init__(self, root: Path) -> None:
        class Handler(_Quiet):
            def do_GET(handler) -> None:
                path, _, query = handler.path.partition("?")
                env = {
                    "PATH": os.environ["PATH"],  # noqa: TID251 - for a child
                    "GIT_PROJECT_ROOT": str(root),
                    "GIT_HTTP_EXPORT_ALL": "1",
                    "PATH_INFO": path,
                    "QUERY_STRING": query,
                    "REQUEST_METHOD": handler.command,
                    "REMOTE_USER": handler.headers["Remote-User"],
                    "CONTENT_TYPE": handler.headers.get("Content-Type", ""),
                    "CONTENT_LENGTH": handler.headers.get("Content-Length", "0"),
                    "HTTP_CONTENT_ENCODING": handler.headers.get("Content-Encoding", ""),
                    "GIT_PROTOCOL": handler.headers.get("Git-Protocol", ""),
                }
                sent = handler.rfile.read(int(env["CONTENT_LENGTH"]))
                done = subprocess.run(["git", "http-backend"], env=env, input=sent, capture_output=True)
                head, _, body = done.stdout.partition(b"\r\n\r\n")
                headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
                handler.answer(int(headers.pop("Status", "200 OK")[:3]), headers, body)

            do_POST = do_GET

        super().__init__(Handler)


class _Quiet(http.server.BaseHTTPRequestHandler):
    """A handler that logs nothing."""

    protocol_version = "HTTP/1.1"

    def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        """Send an answer."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


class Program:
    """A server that is a program of its own, in a folder of its own."""

    def __init__(self, command: list[str], directory: Path, port: int) -> None:
        self.port = port
        with (directory / "output").open("wb") as output:
            self._process = subprocess.Popen(command, cwd=directory, stdout=output, stderr=output)
        wait_until(self._listens, what=f"{command[0]}: {directory / 'output'}")

    def _listens(self) -> bool:
        assert self._process.poll() is None
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(timeout=10)


def start_webdav(directory: Path) -> Program:
    """Start nginx with its module for WebDAV, on a folder of its own."""
    port, files = free_port(), directory / "files"
    files.mkdir(mode=0o777)
    files.chmod(0o777)
    folders = "".join(f"{kind}_temp_path {directory}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi"))
    (directory / "nginx.conf").write_text(
        f"daemon off; worker_processes 1; pid {directory}/pid; error_log {directory}/error.log;\n"
        f"events {{}}\nhttp {{ access_log off; {folders} scgi_temp_path {directory}/scgi; server {{\n"
        f"listen 127.0.0.1:{port}; root {files}; dav_methods PUT DELETE MKCOL COPY MOVE; }} }}\n"
    )
    nginx = str(find_program("nginx"))
    return Program([nginx, "-p", str(directory), "-c", str(directory / "nginx.conf")], directory, port)


def start_registry(directory: Path) -> Program:
    """Start a docker registry on a folder of its own, which asks nobody who he is."""
    port = free_port()
    (directory / "config.yml").write_text(
        "version: 0.1\nlog: {level: error}\n"
        f"storage: {{filesystem: {{rootdirectory: {directory}/images}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}', relativeurls: true}}\n"
    )
    return Program([str(shutil.which("docker-registry")), "serve", "config.yml"], directory, port)


def asking(line: str, name: str = "nginx") -> Kind:
    """Give a proxy with the files of config/, and this line in them instead of the one without `challenge=basic`."""
    [kind] = [kind for kind in KINDS if kind.name == name]
    shipped = line.replace("&challenge=basic", "").replace("challenge=basic&", "")

    def prepare(front: Front, tls: bool) -> list[str]:
        command = kind.prepare(front, tls)
        files = [path for path in front.directory.iterdir() if path.is_file() and shipped in path.read_text()]
        assert files, f"config/{name} has no {shipped}"
        for path in files:
            path.write_text(path.read_text().replace(shipped, line))
        return command

    return replace(kind, prepare=prepare)
