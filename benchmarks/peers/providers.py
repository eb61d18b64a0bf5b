"""OpenID providers: how each is started, and what work it is given."""

import base64
import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

from installing import install_keycloak, install_node
from measures import CONNECTIONS, HERE, Chains, Constant, Work
from servers import FORM, PASSWORD, SERVER_CORE, Server, ask, free_port, process, retry

KEYCLOAK_READY_SECONDS = 300.0
CLIENT = FORM | {"Authorization": f"Basic {base64.b64encode(b'bench:a+secret+for+this+run+alone').decode()}"}


@contextlib.contextmanager
def oidc_provider(folder: Path, redis: str) -> Iterator[Server]:
    """Run oidc-provider on Node.js, with its records in Redis."""
    home = install_node("oidc-provider")
    port = free_port()
    log = folder / "oidc-provider.log"
    env = {"PORT": str(port), "REDIS_URL": f"{redis}/1", "NODE_ENV": "production"}
    with process(["node", "server.mjs"], log, core=SERVER_CORE, cwd=home, **env) as started:
        retry(lambda: ask(port, "/session", body=""), started, log)
        grant = {"grant_type": "client_credentials"}
        opaque = ask(port, "/token", CLIENT, urlencode(grant))["access_token"]
        assert ask(port, "/token/introspection", CLIENT, f"token={opaque}")["active"]
        refresh_tokens = [ask(port, "/session", body="")["refresh_token"] for _ in range(CONNECTIONS)]

        api = urlencode(grant | {"resource": "urn:example:api", "scope": "api"})
        works: dict[str, Work] = {
            "oidc-provider: introspection": Constant("POST", "/token/introspection", CLIENT, f"token={opaque}"),
            "oidc-provider: client credentials": Constant("POST", "/token", CLIENT, api),
            "oidc-provider: refresh": Chains("/token", CLIENT, refresh_body, "refresh_token", refresh_tokens),
        }
        yield Server(port, started.pid, works)


@contextlib.contextmanager
def keycloak(folder: Path, redis: str) -> Iterator[Server]:
    """Run Keycloak on Java, with its small database H2 in the same process, in files."""
    home = install_keycloak()
    shutil.rmtree(home / "data", ignore_errors=True)
    (home / "data" / "import").mkdir(parents=True)
    shutil.copy(HERE / "keycloak" / "realm.json", home / "data" / "import")
    port = free_port()
    log = folder / "keycloak.log"
    command = ["sh", "bin/kc.sh", "start", "--optimized", "--import-realm", "--log-level=warn", "--http-enabled=true"]
    command += ["--cache=local", "--hostname-strict=false", "--http-host=127.0.0.1", f"--http-port={port}"]
    realm = "/realms/bench"
    protocol = f"{realm}/protocol/openid-connect"
    with process(command, log, core=SERVER_CORE, cwd=home) as started:
        retry(lambda: ask(port, realm), started, log, KEYCLOAK_READY_SECONDS)

        def log_in(scope: str) -> dict[str, str]:
            grant = {"grant_type": "password", "username": "ann@example.com", "password": PASSWORD, "scope": scope}
            return ask(port, f"{protocol}/token", CLIENT, urlencode(grant))

        access_token = log_in("openid")["access_token"]
        assert ask(port, f"{protocol}/token/introspect", CLIENT, f"token={access_token}")["active"]
        refresh_tokens = [log_in("email")["refresh_token"] for _ in range(CONNECTIONS)]
        bearer = {"Authorization": f"Bearer {access_token}"}
        works: dict[str, Work] = {
            "Keycloak: introspection": Constant(
                "POST", f"{protocol}/token/introspect", CLIENT, f"token={access_token}"
            ),
            "Keycloak: userinfo": Constant("GET", f"{protocol}/userinfo", bearer),
            "Keycloak: refresh": Chains(f"{protocol}/token", CLIENT, refresh_body, "refresh_token", refresh_tokens),
        }
        yield Server(port, started.pid, works, warms_up=True)


def refresh_body(token: str) -> str:
    """Give the body of the refresh grant (RFC 6749, section 6)."""
    return urlencode({"grant_type": "refresh_token", "refresh_token": token})
