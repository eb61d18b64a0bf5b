"""A stand-in for an OpenID provider, for who needs one to log in with: whoever comes is logged in at once as Ann."""

import contextlib
import http.server
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

CLIENT_ID = "bench"
LIFETIME_SECONDS = 3600


@dataclass
class Issuer:
    """Where the provider is, and the key that it signs with."""

    url: str
    key: rsa.RSAPrivateKey

    def token(self) -> str:
        """Give a JWT with Ann's claims, RS256, that is valid for an hour."""
        now = int(time.time())  # noqa: TID251 - the peer reads the wall clock, and no other can be given to it
        claims = {"iss": self.url, "aud": CLIENT_ID, "sub": "ann", "iat": now, "exp": now + LIFETIME_SECONDS}
        claims |= {"email": "ann@example.com", "email_verified": True, "groups": ["staff"]}
        return jwt.encode(claims, self.key, "RS256", {"kid": "1"})

    def answer(self, path: str) -> dict[str, Any]:
        """Give what a GET of the metadata and the keys is answered, or a POST to the token endpoint."""
        public = jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        documents: dict[str, dict[str, Any]] = {
            "/.well-known/openid-configuration": {
                "issuer": self.url,
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                "jwks_uri": f"{self.url}/keys",
                "id_token_signing_alg_values_supported": ["RS256"],
            },
            "/keys": {"keys": [public | {"kid": "1", "alg": "RS256", "use": "sig"}]},
            "/token": {
                "access_token": self.token(),
                "id_token": self.token(),
                "token_type": "Bearer",
                "expires_in": LIFETIME_SECONDS,
            },
        }
        return documents[path]


@contextlib.contextmanager
def issuer() -> Iterator[Issuer]:
    """Run one on the loopback interface."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            if url.path == "/authorize":
                asked = {name: values[0] for name, values in parse_qs(url.query).items()}
                self.send_response(302)
                back = urlencode({"code": "any", "state": asked["state"]})
                self.send_header("Location", f"{asked['redirect_uri']}?{back}")
                self.end_headers()
            else:
                self.send_json(provider.answer(url.path))

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_json(provider.answer(self.path))

        def send_json(self, document: dict[str, Any]) -> None:
            body = json.dumps(document).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        provider = Issuer(
            f"http://127.0.0.1:{server.server_port}", rsa.generate_private_key(public_exponent=65537, key_size=2048)
        )
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield provider
        finally:
            server.shutdown()
