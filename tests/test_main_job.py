"""The main job over HTTP against a real server, as a stranger's program would do it."""

import json
import time
from collections.abc import Callable

import httpx2
import jwt

from tests.harness import GatewayProcess


def verify_offline(gateway: GatewayProcess, access_token: str) -> dict[str, object]:
    """Verify with PyJWT's own JWKS client: nothing of the gateway's code takes part."""
    metadata = httpx2.get(f"{gateway.url}/.well-known/oauth-authorization-server").json()
    key = jwt.PyJWKClient(metadata["jwks_uri"]).get_signing_key_from_jwt(access_token)
    claims: dict[str, object] = jwt.decode(
        access_token, key, algorithms=["RS256"], audience=gateway.url, issuer=metadata["issuer"]
    )
    return claims


def test_the_main_job_from_login_to_logout(gateway: GatewayProcess, client: httpx2.Client) -> None:
    user = gateway.add_user(roles=("staff", "ops"), name="Zoë Example")
    logged_in = client.post("/auth/login", data={"username": user.email.upper(), "password": user.password})
    assert logged_in.status_code == 200
    body = logged_in.json()
    assert body["token_type"] == "Bearer"
    assert body["expires_in"] == 600
    assert body["user"] == {
        "id": user.user_id,
        "email": user.email,
        "full_name": "Zoë Example",
        "roles": ["staff", "ops"],
        "is_active": True,
        "created_at": body["user"]["created_at"],
    }

    claims = verify_offline(gateway, body["access_token"])
    assert claims["sub"] == user.user_id
    assert claims["roles"] == ["staff", "ops"]
    assert claims["amr"] == ["pwd"]
    assert claims["client_id"] == "first-party"
    assert jwt.get_unverified_header(body["access_token"])["typ"] == "at+jwt"

    first_token = client.cookies["refresh_token"]
    refreshed = client.post("/auth/refresh")
    assert refreshed.status_code == 200
    second_token = client.cookies["refresh_token"]
    assert second_token != first_token
    again = verify_offline(gateway, refreshed.json()["access_token"])
    for claim in ("sub", "sid", "auth_time", "amr", "aud", "client_id"):
        assert again[claim] == claims[claim]
    assert again["jti"] != claims["jti"]

    with gateway.client() as lost_answer:
        replayed = lost_answer.post("/auth/refresh", json={"refresh_token": first_token})
        assert replayed.status_code == 200
        assert replayed.json()["refresh_token"] == second_token

    bearer = {"Authorization": f"Bearer {refreshed.json()['access_token']}"}
    assert client.get("/auth/me", headers=bearer).json()["email"] == user.email
    assert client.get("/api/authz/auth-request", headers=bearer).headers["Remote-User"] == user.email

    assert client.post("/auth/logout").status_code == 204
    assert "refresh_token" not in client.cookies
    assert client.get("/api/authz/auth-request", headers=bearer).status_code == 401
    with gateway.client() as thief:
        refused = thief.post("/auth/refresh", json={"refresh_token": second_token})
        assert refused.status_code == 401
        assert refused.json()["type"] == "urn:token-gateway:problem:refresh-token-invalid"


def test_a_superseded_refresh_token_ends_its_session_everywhere(gateway: GatewayProcess) -> None:
    user = gateway.add_user()
    with gateway.client() as client:
        first = gateway.login(user, client, delivery="body")
        tokens = [first["refresh_token"]]
        for _ in range(2):
            answer = client.post("/auth/refresh", json={"refresh_token": tokens[-1]}).json()
            tokens.append(answer["refresh_token"])
        reused = client.post("/auth/refresh", json={"refresh_token": tokens[0]})
        assert reused.status_code == 401
        assert reused.json()["type"] == "urn:token-gateway:problem:refresh-token-reused"
        for token in tokens:
            later = client.post("/auth/refresh", json={"refresh_token": token})
            assert later.json()["type"] == "urn:token-gateway:problem:refresh-token-invalid"
        bearer = {"Authorization": f"Bearer {answer['access_token']}"}
        assert client.get("/api/authz/auth-request", headers=bearer).status_code == 401
    sid = jwt.decode(first["access_token"], options={"verify_signature": False})["sid"]
    events = [line for line in gateway.log_lines() if line.get("event") == "refresh_token_reused"]
    mine = [line for line in events if line["sid"] == sid]
    assert len(mine) == 1
    assert mine[0]["sub"] == user.user_id
    assert not any(token in json.dumps(gateway.log_lines()) for token in tokens)


def test_logout_all_ends_every_session_of_the_caller_and_of_nobody_else(gateway: GatewayProcess) -> None:
    ann, ben = gateway.add_user(), gateway.add_user()
    with gateway.client() as here, gateway.client() as there, gateway.client() as other:
        mine = gateway.login(ann, here)
        gateway.login(ann, there)
        gateway.login(ben, other)
        ended = here.post("/auth/logout-all", headers={"Authorization": f"Bearer {mine['access_token']}"})
        assert ended.status_code == 200
        assert ended.json() == {"revoked_sessions": 2}
        assert there.post("/auth/refresh").status_code == 401
        assert here.post("/auth/refresh").status_code == 401
        assert other.post("/auth/refresh").status_code == 200


def test_changing_the_password_ends_the_other_sessions_and_keeps_this_one(gateway: GatewayProcess) -> None:
    user = gateway.add_user()
    new_password = "a whole new sentence"
    with gateway.client() as here, gateway.client() as there:
        mine = gateway.login(user, here)
        theirs = gateway.login(user, there)
        changed = here.post(
            "/auth/change-password",
            json={"current_password": user.password, "new_password": new_password},
            headers={"Authorization": f"Bearer {mine['access_token']}"},
        )
        assert changed.status_code == 204
        assert here.post("/auth/refresh").status_code == 200
        assert there.post("/auth/refresh").status_code == 401
        stale = {"Authorization": f"Bearer {theirs['access_token']}"}
        assert there.get("/api/authz/auth-request", headers=stale).status_code == 401
        old = there.post("/auth/login", json={"username": user.email, "password": user.password})
        assert old.status_code == 401
        new = there.post("/auth/login", json={"username": user.email, "password": new_password})
        assert new.status_code == 200


def test_two_gateways_on_one_redis_behave_as_one(make_gateway: Callable[..., GatewayProcess]) -> None:
    a, b = make_gateway(issuer="http://gateway.test"), make_gateway(issuer="http://gateway.test")
    user = a.add_user()
    with a.client() as at_a, b.client() as at_b:
        tokens = a.login(user, at_a, delivery="body")
        refreshed = at_b.post("/auth/refresh", json={"refresh_token": tokens["refresh_token"]})
        assert refreshed.status_code == 200
        bearer = {"Authorization": f"Bearer {refreshed.json()['access_token']}"}
        assert at_b.get("/api/authz/auth-request", headers=bearer).status_code == 200
        assert at_a.get("/api/authz/auth-request", headers=bearer).status_code == 200
        out = at_a.post("/auth/logout", json={"refresh_token": refreshed.json()["refresh_token"]})
        begun = time.monotonic()
        assert out.status_code == 204
        assert at_a.get("/api/authz/auth-request", headers=bearer).status_code == 401
        while at_b.get("/api/authz/auth-request", headers=bearer).status_code != 401:
            assert time.monotonic() - begun < 1.0
        print(f"refused by the other gateway after {(time.monotonic() - begun) * 1000:.1f} ms")
