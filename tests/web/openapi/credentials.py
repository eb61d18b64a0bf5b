"""
For schemathesis, which runs this and is no part of the tests' own Python: each request shows credentials of its own,
so that one that ends sessions takes nothing away from the next.
"""

import os
import re
import time
from typing import Any

import requests
import schemathesis

GATEWAY = os.environ["OPENAPI_GATEWAY"]  # noqa: TID251 - given by test_schemathesis.py
EMAIL, PASSWORD = os.environ["OPENAPI_USER"].split(" ", 1)  # noqa: TID251 - likewise
CLIENT_ID, CLIENT_SECRET = os.environ["OPENAPI_CLIENT"].split(" ", 1)  # noqa: TID251 - likewise
CODES = " ".join(["7KQ2M-XW4HD"] * 10)
# What nobody guesses, by operation; each second body has it.
RIGHT_BODIES = {
    "POST /auth/login": {"username": EMAIL, "password": PASSWORD},
    "POST /auth/account/tokens": {"name": "backup", "days": "30"},
    "POST /auth/account/factors/recovery/file": {"codes": CODES},
}
STYLESHEET = re.compile(r"/auth/static/(style[^\"]+)")
ATTEMPTS = 5  # others have the cores for a while
PERSON = ("accessToken", "browserSession", "refreshToken")


@schemathesis.auth(refresh_interval=None)
class Credentials:
    """Shows what an operation takes first of all that it takes."""

    def get(self, case: schemathesis.Case, context: schemathesis.AuthContext) -> dict[str, str] | None:
        """Log in, where a person is asked for."""
        taken = [scheme for way in context.operation.definition.raw.get("security", []) for scheme in way]
        if "client" in taken:
            return {"client": f"{CLIENT_ID} {CLIENT_SECRET}"}
        kind = next((scheme for scheme in taken if scheme in PERSON), None)
        if kind is None:
            return None
        body = {"username": EMAIL, "password": PASSWORD, "delivery": "session" if kind == "browserSession" else "body"}
        for _ in range(ATTEMPTS):
            answer = requests.post(f"{GATEWAY}/auth/login", json=body, timeout=30)
            if answer.status_code != 503:
                break
            time.sleep(int(answer.headers["Retry-After"]))
        answer.raise_for_status()
        if kind == "browserSession":
            return {kind: str(answer.cookies["gateway_session"])}
        return {kind: answer.json()["access_token" if kind == "accessToken" else "refresh_token"]}

    def set(self, case: schemathesis.Case, data: dict[str, str], context: schemathesis.AuthContext) -> None:
        """Put it where it belongs."""
        for kind, text in data.items():
            if kind == "client":
                case.headers["Authorization"] = requests.auth._basic_auth_str(*text.split(" "))
            elif kind == "accessToken":
                case.headers["Authorization"] = f"Bearer {text}"
            else:
                case.cookies["gateway_session" if kind == "browserSession" else "refresh_token"] = text


@schemathesis.hook  # type: ignore[untyped-decorator]  # it is not installed where types are checked
def map_body(context: schemathesis.HookContext, body: Any) -> Any:
    """Put the right body in the place of each second one that would be refused for what it holds."""
    right = RIGHT_BODIES.get(context.operation.label)
    is_second = isinstance(body, dict) and len(repr(body)) % 2 == 0
    return dict(right) if right and is_second else body


@schemathesis.hook  # type: ignore[untyped-decorator]  # it is not installed where types are checked
def map_path_parameters(context: schemathesis.HookContext, path_parameters: Any) -> Any:
    """Put the name of a file that is there in the place of each second one."""
    if context.operation.label == "GET /auth/static/{name}" and len(repr(path_parameters)) % 2 == 0:
        page = requests.get(f"{GATEWAY}/auth/login", timeout=30).text
        return {"name": STYLESHEET.findall(page)[0]}
    return path_parameters
