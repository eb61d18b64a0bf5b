"""The files of config/ with the marks of TLS taken away, as they tell."""

import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.certificates import Certificates
from tests.harness import GatewayProcess, Login
from tests.proxies.echo import EchoApplication
from tests.proxies.fronts import KINDS, LOGIN_HOST, Front, Kind


@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.always_tls], ids=str)
def test_without_the_marks_the_file_serves_tls(
    kind: Kind, make_front: Callable[..., Front], asked: GatewayProcess, login: Login, application: EchoApplication
) -> None:
    """Shows ASVS 3.4.1, ASVS 12.2.1, RFC 9700 2.6b."""
    front = make_front(kind, asked, tls=True)
    before = application.requests
    refused = front.ask("/page")
    assert refused.status == 401
    assert application.requests == before
    allowed = front.ask("/page", login.bearer)
    assert allowed.status == 200
    assert allowed.seen
    assert allowed.seen.values("X-Forwarded-Proto") == ["https"]
    assert allowed.seen.values("Remote-User") == [login.user.email]
    for answer in (refused, allowed, front.ask("/.well-known/jwks.json")):
        (policy,) = answer.values("Strict-Transport-Security")
        assert int(re.findall(r"max-age=(\d+)", policy)[0]) >= 31_536_000
        assert "includeSubDomains" in policy


def agreed_version(port: int, newest: ssl.TLSVersion) -> str | None:
    """Give the version of TLS that a server agrees on with who speaks *newest* and all before; None for none."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    client.set_ciphers("ALL:@SECLEVEL=0")
    client.minimum_version, client.maximum_version = ssl.TLSVersion.TLSv1, newest
    with contextlib.suppress(ssl.SSLError, ConnectionResetError):
        connection = socket.create_connection(("127.0.0.1", port), timeout=5)
        with connection, client.wrap_socket(connection, server_hostname=LOGIN_HOST) as wrapped:
            return wrapped.version()
    return None


@contextlib.contextmanager
def server_of_all_versions(certificates: Certificates) -> Iterator[int]:
    """Give the port of a server that speaks whatever it is asked for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.chain, certificates.key)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def shake_hands() -> None:
            connection, _ = listener.accept()
            with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as wrapped:
                wrapped.recv(1)

        thread = threading.Thread(target=shake_hands)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_a_client_of_the_next_test_can_speak_tls_1_1(certificates: Certificates) -> None:
    with server_of_all_versions(certificates) as port:
        assert agreed_version(port, ssl.TLSVersion.TLSv1_1) == "TLSv1.1"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_nothing_older_than_tls_1_2_is_spoken(tls_front: Front) -> None:
    """Shows ASVS 12.1.1, ASVS 12.2.1."""
    assert agreed_version(tls_front.tls_port, ssl.TLSVersion.TLSv1_1) is None
    assert agreed_version(tls_front.tls_port, ssl.TLSVersion.TLSv1_2) == "TLSv1.2"
    assert agreed_version(tls_front.tls_port, ssl.TLSVersion.TLSv1_3) == "TLSv1.3"
