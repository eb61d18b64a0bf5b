"""
The application behind a proxy: it says what reached it, octet for octet, and counts.

It takes trailers for headers, as uvicorn with httptools does; it echoes on a WebSocket, the first message being what it
saw; and under /events?pause=SECONDS it sends two events with a pause between them.
"""

import base64
import contextlib
import hashlib
import json
import socketserver
import threading
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

WEBSOCKET_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3


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
        self.seen: list[Seen] = []
        lock = threading.Lock()

        class Handler(socketserver.StreamRequestHandler):
            timeout = 60

            def handle(handler) -> None:
                try:
                    seen = _read(handler.rfile)
                except (OSError, ValueError):
                    return  # the proxy broke off in the middle of it
                if seen is None:
                    return
                with lock:
                    self.requests += 1
                    self.seen.append(seen)
                with contextlib.suppress(OSError):
                    handler.answer(seen)

            def answer(handler, seen: Seen) -> None:
                if seen.values("Upgrade"):
                    _echo_messages(handler.rfile, handler.wfile, seen)
                    return
                if seen.target.startswith("/events"):
                    _send_events(handler.wfile, seen)
                    return
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
    headers = _read_fields(stream)
    lower = {name.lower(): value for name, value in headers}
    body = b""
    if lower.get("transfer-encoding", "").lower() == "chunked":
        while size := int(stream.readline().split(b";")[0], 16):
            body += stream.read(size)
            stream.readline()
        headers += _read_fields(stream)
    else:
        body = stream.read(int(lower.get("content-length", "0")))
    return Seen(method, target, headers, body.decode("latin-1"))


def _read_fields(stream: Any) -> list[tuple[str, str]]:
    """Give the fields up to an empty line: those of the head, or the trailers."""
    fields = []
    while (line := stream.readline().decode("latin-1").rstrip("\r\n")) != "":
        name, _, value = line.partition(":")
        fields.append((name, value.strip()))
    return fields


def _echo_messages(received: Any, sent: Any, seen: Seen) -> None:
    """Take the offer to upgrade, whatever it is, say what was seen, then send back each message until the end."""
    (key,) = seen.values("Sec-WebSocket-Key") or [""]
    digest = hashlib.sha1((key + WEBSOCKET_GUID).encode(), usedforsecurity=False).digest()
    sent.write(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nX-Echo: 1\r\n"
        + f"Upgrade: {seen.values('Upgrade')[0]}\r\n".encode("latin-1")
        + f"Sec-WebSocket-Accept: {base64.b64encode(digest).decode()}\r\n\r\n".encode()
    )
    sent.write(message(json.dumps(vars(seen)).encode()))
    while (payload := read_message(received)) is not None:
        sent.write(message(payload))


def _send_events(sent: Any, seen: Seen) -> None:
    pause_seconds = float(parse_qs(urlsplit(seen.target).query)["pause"][0])
    sent.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
    sent.write(b"data: " + json.dumps(vars(seen)).encode() + b"\n\n")
    time.sleep(pause_seconds)
    sent.write(b"data: last\n\n")


def message(payload: bytes, *, mask: bytes = b"") -> bytes:
    """Give the frame of a text message (RFC 6455, section 5.2); clients mask theirs with four octets."""
    length = len(payload)
    masked = 0x80 if mask else 0
    if length < 126:
        head = bytes([0x81, masked | length])
    else:
        head = bytes([0x81, masked | 126]) + length.to_bytes(2, "big")
    return head + mask + _masked(payload, mask)


def read_message(stream: Any) -> bytes | None:
    """Give the payload of the next frame; None at the end."""
    head = stream.read(2)
    if len(head) < 2 or head[0] & 0x0F == 8:
        return None
    length = head[1] & 0x7F
    if length == 126:
        length = int.from_bytes(stream.read(2), "big")
    mask = stream.read(4) if head[1] & 0x80 else b""
    return _masked(stream.read(length), mask)


def _masked(payload: bytes, mask: bytes) -> bytes:
    return bytes(octet ^ mask[place % 4] for place, octet in enumerate(payload)) if mask else payload
