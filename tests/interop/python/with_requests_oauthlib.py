"""A machine client with requests-oauthlib: see tests/interop/test_machine_clients.py for what goes in and out."""

import json
import os
import sys

import jwt
import requests
from oauthlib.oauth2 import BackendApplicationClient, OAuth2Error
from requests.auth import HTTPBasicAuth
from requests_oauthlib import OAuth2Session

ENV = os.environ  # noqa: TID251 - a program of its own
CLIENT_ID, CLIENT_SECRET, AUDIENCE = ENV["CLIENT_ID"], ENV["CLIENT_SECRET"], ENV["AUDIENCE"]
METADATA = requests.get(ENV["ISSUER"] + "/.well-known/oauth-authorization-server", timeout=5).json()


def go(method: str, secret: str) -> None:
    """Walk through the life of one access token."""
    client = BackendApplicationClient(CLIENT_ID)
    session = OAuth2Session(client=client)
    in_form = method == "client_secret_post"
    tokens = session.fetch_token(
        METADATA["token_endpoint"], client_secret=secret, include_client_id=in_form or None, audience=AUDIENCE
    )
    access_token = tokens["access_token"]
    key = jwt.PyJWKClient(METADATA["jwks_uri"]).get_signing_key_from_jwt(access_token)
    verified = jwt.decode(access_token, key, ["RS256"], audience=AUDIENCE, issuer=METADATA["issuer"], leeway=5)
    used = session.get(ENV["PROTECTED"]).status_code
    basic = HTTPBasicAuth(CLIENT_ID, secret)

    def tell(endpoint: str) -> requests.Response:
        _, headers, body = client.prepare_token_revocation_request("https://unused", access_token)
        return requests.post(METADATA[endpoint], data=body, headers=headers, auth=basic, timeout=5)

    introspected = tell("introspection_endpoint").json()
    tell("revocation_endpoint").raise_for_status()
    introspected_after = tell("introspection_endpoint").json()
    seen = {"tokens": tokens, "verified": verified, "used": used, "introspected": introspected}
    after = {"introspectedAfter": introspected_after, "usedAfter": session.get(ENV["PROTECTED"]).status_code}
    json.dump({"method": method} | seen | after, sys.stdout)
    print()


go("client_secret_basic", CLIENT_SECRET)
go("client_secret_post", CLIENT_SECRET)
try:
    go("client_secret_basic", "wrong")
except OAuth2Error as error:
    json.dump({"method": "wrong secret", "error": error.error}, sys.stdout)
