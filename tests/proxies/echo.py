"""The application behind a proxy: it says what reached it, octet for octet, and counts."""

import json
import socketserver
import threading
from dataclasses import dataclass
from typing import Any


@dataclass
class Seen:
    """A request as the application got it; header names and values as they were sent."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: str

    def values(self, name: str) -> list[str]:
        """Give the values of a header, as an application finds them that takes `_`, `.` and the like for `-`."""
        return [value for found, value in self.headers if folded(found) == name.lower()]


def folded(name: str) -> str:
    """Give the name that CGI, WSGI and PHP would make of a header's."""
    return "".join(character if character.isalnum() else "-" for character in name.lower())


class EchoApplication:
    """A server on a loopback port that answers each request with what it saw of it."""

    def __init__(self) -> None:
        self.requests = 0
        lock = threading.Lock()

        class Handler(socketserver.StreamRequestHandler):
            timeout = 10

            def handle(handler) -> None:
                seen = _read(handler.rfile)
                if seen is None:
                    return
                with lock:
                    self.requests += 1
                body = json.dumps(vars(seen)).encode()
                head = b"HTTP/1.1 200 OK\r\nX-Echo: 1\r\nContent-Type: application/json\r\nConnection: close\r\n"
                handler.wfile.write(head + b"Content-Length: %d\r\n\r\n" % len(body))
                if seen.method != "HEAD":
                    handler.wfile.write(body)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            request_queue_size = 128

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Close the port."""
        self._server.shutdown()
        self._server.server_close()


def _read(stream: Any) -> Seen | None:
    line = stream.readline().decode("latin-1")
    if not line.strip():
        return None
    method, target, _ = line.split(" ", 2)
    headers = []
    while (line := stream.readline().decode("latin-1").rstrip("\r\n")) != "":
        name, _, value = line.partition(":")
        headers.append((name, value.strip()))
    lower = {name.lower(): value for name, value in headers}
    body = b""
    if lower.get("transfer-encoding", "").lower() == "chunked":
        while size := int(stream.readline().split(b";")[0], 16):
            body += stream.read(size)
            stream.readline()
        stream.readline()
    else:
        body = stream.read(int(lower.get("content-length", "0")))
    return Seen(method, target, headers, body.decode("latin-1"))
