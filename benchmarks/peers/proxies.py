"""Programs that a reverse proxy asks about each request: how each is started, and what work it is given."""

import contextlib
import http.client
from collections.abc import Iterator
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from installing import install_go
from issuer import CLIENT_ID, issuer
from measures import Constant, Work
from servers import PASSWORD, READY_SECONDS, SERVER_CORE, Server, free_port, process, retry

LOGIN_STEPS = 5


@contextlib.contextmanager
def oauth2_proxy(folder: Path, redis: str, *, sessions: Literal["cookie", "redis"]) -> Iterator[Server]:
    """Run oauth2-proxy, with its sessions in cookies or in Redis."""
    binaries = install_go("oauth2-proxy")
    port = free_port()
    log = folder / f"oauth2-proxy-{sessions}.log"
    with issuer() as provider:
        command = [str(binaries / "oauth2-proxy"), f"--http-address=127.0.0.1:{port}", "--email-domain=*"]
        command += ["--provider=oidc", f"--oidc-issuer-url={provider.url}", f"--client-id={CLIENT_ID}"]
        command += [f"--client-secret={PASSWORD}", f"--redirect-url=http://127.0.0.1:{port}/oauth2/callback"]
        command += [f"--cookie-secret={PASSWORD[:16]}", "--cookie-secure=false", "--upstream=static://202"]
        command += ["--skip-jwt-bearer-tokens", "--skip-provider-button", "--set-xauthrequest"]
        command += ["--request-logging=false", "--auth-logging=false", "--standard-logging=false"]
        command += [f"--session-store-type={sessions}", f"--redis-connection-url={redis}/3"]
        with process(command, log, core=SERVER_CORE, cwd=folder) as started:
            cookies = retry(lambda: log_in(port), started, log)
            check = "/oauth2/auth"
            assert answer_to(port, check, {})[0] == 401
            works: dict[str, Work] = {
                "oauth2-proxy: JWT": Constant("GET", check, {"Authorization": f"Bearer {provider.token()}"}),
                "oauth2-proxy: session in a cookie": Constant("GET", check, {"Cookie": cookies}),
                "oauth2-proxy: session in Redis": Constant("GET", check, {"Cookie": cookies}),
            }
            yield Server(port, started.pid, works)


def log_in(port: int) -> str:
    """Go from address to address, as a browser would, until somebody is logged in; give all cookies of *port*."""
    url, jar = urlsplit(f"http://127.0.0.1:{port}/oauth2/start?rd=/"), dict[str, str]()
    for _ in range(LOGIN_STEPS):
        assert url.port is not None
        cookies = "; ".join(f"{name}={value}" for name, value in jar.items() if value)
        status, headers = answer_to(url.port, f"{url.path}?{url.query}", {"Cookie": cookies})
        if status != 302:
            raise OSError(f"{url.geturl()}: {status}")
        for line in headers.get_all("Set-Cookie", []):
            name, value = line.split(";")[0].split("=", 1)
            jar[name] = value
        if url.path == "/oauth2/callback":
            return "; ".join(f"{name}={value}" for name, value in jar.items() if value)
        url = urlsplit(headers["Location"])
    raise OSError(f"not logged in after {LOGIN_STEPS} steps: {url.geturl()}")


def answer_to(port: int, path: str, headers: dict[str, str]) -> tuple[int, http.client.HTTPMessage]:
    """Send a GET; give status and headers of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=READY_SECONDS)
    with contextlib.closing(connection):
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers
