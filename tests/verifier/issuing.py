"""An issuer that is nothing but an HTTP server: its keys, its metadata, its status lists, and what it was asked for."""

import http.server
import json
import threading
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from gateway.verifier import VerificationKey, public_jwk
from tests.verifier.mint import claims, compact, header, list_token, verification_key

JWKS = "/.well-known/jwks.json"
METADATA = "/.well-known/oauth-authorization-server"
STATUS = "/status/1"


class Issuer:
    """An HTTP server whose answers the test sets, and which counts what it is asked."""

    def __init__(self, path: str = "") -> None:
        self.status = 200
        self.headers: dict[str, str] = {"Cache-Control": "public, max-age=300"}
        self.bodies: dict[str, bytes] = {}
        self.types: dict[str, str] = {}
        self.asked: Counter[str] = Counter()
        self.asked_with: dict[str, Mapping[str, str]] = {}
        self.answered: list[int] = []
        self.pause = threading.Event()
        self.pause.set()
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        self.origin = f"http://127.0.0.1:{self.server.server_port}"
        self.issuer = self.origin + path
        self.bodies[METADATA + path] = self.metadata()
        self.publish([verification_key()])
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        """Let who waits have his answer, and take no more."""
        self.pause.set()
        self.server.shutdown()
        self.server.server_close()

    def _handler(issuer) -> type[http.server.BaseHTTPRequestHandler]:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked[self.path] += 1
                issuer.asked_with[self.path] = dict(self.headers)
                issuer.pause.wait(10)
                body = issuer.bodies.get(self.path)
                status, headers = 404 if body is None else issuer.status, dict(issuer.headers)
                if self.path in issuer.types:
                    headers |= {"ETag": f'"{zlib.crc32(body or b"")}"', "Content-Type": issuer.types[self.path]}
                    if self.headers["If-None-Match"] == headers["ETag"] and status == 200:
                        status, body = 304, None
                issuer.answered.append(status)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def metadata(self, **changes: str) -> bytes:
        return json.dumps({"issuer": self.issuer, "jwks_uri": self.origin + JWKS} | changes).encode()

    def publish(self, keys: Sequence[VerificationKey], *others: Mapping[str, object]) -> None:
        self.bodies[JWKS] = json.dumps({"keys": [*others, *map(public_jwk, keys)]}).encode()

    def token(self, signing: str = "RS256", /, **changes: object) -> str:
        return compact(header(signing), claims(iss=self.issuer, **changes), signer=signing)

    def tell(self, octets: bytes = bytes(16), path: str = STATUS, /, **changes: Any) -> None:
        """Publish a status list, as the gateway makes it but for *changes* of its claims."""
        self.types[path] = "application/statuslist+jwt"
        self.bodies[path] = list_token(self.origin + path, octets, **changes).encode()

    def listed(self, idx: int, path: str = STATUS, /, **changes: object) -> str:
        """Give an access token of a session that has an index."""
        return self.token(status={"status_list": {"idx": idx, "uri": self.origin + path}}, **changes)

    def stranger(self, number: int) -> str:
        return compact(header("EdDSA", kid=f"k{number}"), claims(iss=self.issuer), signer="EdDSA")
