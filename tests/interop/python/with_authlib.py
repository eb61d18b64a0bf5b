"""A machine client with Authlib: see tests/interop/test_machine_clients.py for what goes in and what is printed."""

import json
import os
import sys
from pathlib import Path

import requests
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from authlib.oauth2.rfc9068 import JWTBearerTokenValidator
from authlib.oidc.discovery import OpenIDProviderMetadata, get_well_known_url
from joserfc.jwk import KeySet

ENV = os.environ  # noqa: TID251 - a program of its own
ISSUER, AUDIENCE = ENV["ISSUER"], ENV["AUDIENCE"]
METADATA = OpenIDProviderMetadata(requests.get(get_well_known_url(ISSUER, external=True), timeout=5).json())


class Validator(JWTBearerTokenValidator):  # type: ignore[misc]
    """The resource server's side of RFC 9068."""

    def get_jwks(self) -> KeySet:
        """Give the keys that the metadata tells of."""
        return KeySet.import_key_set(requests.get(METADATA["jwks_uri"], timeout=5).json())


def go(method: str, session: OAuth2Session) -> None:
    """Walk through the life of one access token."""
    tokens = session.fetch_token(METADATA["token_endpoint"], grant_type="client_credentials", audience=AUDIENCE)
    access_token = tokens["access_token"]
    validator = Validator(ISSUER, AUDIENCE)
    verified = validator.authenticate_token(access_token)
    validator.validate_token(verified, [], None)
    used = session.get(ENV["PROTECTED"]).status_code
    introspection = METADATA["introspection_endpoint"]
    introspected = session.introspect_token(introspection, access_token).json()
    session.revoke_token(METADATA["revocation_endpoint"], access_token).raise_for_status()
    introspected_after = session.introspect_token(introspection, access_token, "access_token").json()
    seen = {"tokens": tokens, "verified": verified, "used": used, "introspected": introspected}
    after = {"introspectedAfter": introspected_after, "usedAfter": session.get(ENV["PROTECTED"]).status_code}
    json.dump({"method": method} | seen | after, sys.stdout)
    print()


for method in ("client_secret_basic", "client_secret_post"):
    go(method, OAuth2Session(ENV["CLIENT_ID"], ENV["CLIENT_SECRET"], token_endpoint_auth_method=method))
with_key = OAuth2Session(
    ENV["KEY_CLIENT_ID"],
    Path(ENV["KEY_RSA"]).read_text(),
    token_endpoint_auth_method="private_key_jwt",
    revocation_endpoint_auth_method="private_key_jwt",
)
# Its audience is the token endpoint unless it is told: RFC 10070 wants the issuer.
with_key.register_client_auth_method(PrivateKeyJWT(ISSUER))
go("private_key_jwt RS256", with_key)
try:
    go("client_secret_basic", OAuth2Session(ENV["CLIENT_ID"], "wrong"))
except OAuthError as error:
    json.dump({"method": "wrong secret", "error": error.error}, sys.stdout)
