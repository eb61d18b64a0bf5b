import httpx2
import pytest

from tests.harness import GatewayProcess
from tests.web.asking import in_latin_1, log_in

WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"


@pytest.mark.parametrize(
    ("user_agent", "label"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", "Firefox on Linux"),
        (f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/126.0 Safari/537.36", "Chrome on Windows"),
        (f"Mozilla/5.0 (Windows NT 10.0) {WEBKIT} Chrome/126.0 Safari/537.36 Edg/126.0", "Edge on Windows"),
        (f"Mozilla/5.0 (Windows NT 10.0) {WEBKIT} Chrome/126.0 Safari/537.36 OPR/112.0", "Opera on Windows"),
        (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_5) AppleWebKit/605.1.15 Version/17.5 Safari/605.1.15",
            "Safari on Mac",
        ),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) Version/17.5 Safari/604.1", "Safari on iPhone"),
        (f"Mozilla/5.0 (Linux; Android 14; Pixel 8) {WEBKIT} Chrome/126.0 Safari/537.36", "Chrome on Android"),
        ("curl/7.88.1", "curl/7.88.1"),
        ("my-app/2.0 (build 5)", "my-app/2.0"),
        ("", ""),
        ("a" * 500, "a" * 22),
        ("Zo\u00eb/1.0", ""),
    ],
)
def test_a_session_carries_a_short_name_of_its_device(
    user_agent: str, label: str, gateway: GatewayProcess, client: httpx2.Client
) -> None:
    user = gateway.add_user()
    body = {"username": user.email, "password": user.password}
    answer = client.post("/auth/login", json=body, headers=in_latin_1("User-Agent", user_agent))
    bearer = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    [row] = client.get("/auth/sessions", headers=bearer).json()["sessions"]
    assert row["device"] == label


def test_a_refresh_from_another_program_does_not_rename_the_device(
    gateway: GatewayProcess, client: httpx2.Client
) -> None:
    session = log_in(gateway, client, User_Agent="first/1")
    client.post("/auth/refresh", json={"refresh_token": session.refresh_token}, headers={"User-Agent": "second/2"})
    [row] = client.get("/auth/sessions", headers=session.bearer).json()["sessions"]
    assert row["device"] == "first/1"
