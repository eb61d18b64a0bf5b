"""Status lists, and tokens that name them, as an attacker or a broken issuer would make them, and a few good ones."""

import zlib
from dataclasses import dataclass
from typing import Any

from gateway.clock import system_clock
from gateway.verifier.keys import encode_base64url
from tests.verifier.issuing import Issuer
from tests.verifier.mint import compact, header, list_claims, list_token


@dataclass(frozen=True)
class Case:
    """A token, whose status is told in one way or another, and whether it is to be taken."""

    name: str
    token: str
    good: bool = False


def hostile_cases(issuer: Issuer, elsewhere: Issuer) -> list[Case]:
    """Publish good lists and bad ones, and give a token for each."""
    now, cases = system_clock(), list[Case]()
    own = {"aud": issuer.issuer, "iat": now, "exp": now + 600}

    def token(status: Any, **changes: Any) -> str:
        return issuer.token(**own | {"status": status} | changes)

    def at(path: str, idx: Any = 0) -> dict[str, Any]:
        return {"status_list": {"idx": idx, "uri": issuer.origin + path}}

    def lists(name: str, body: str | None, idx: Any = 0, *, good: bool = False) -> None:
        path = f"/status/{len(cases)}"
        if body is not None:
            issuer.bodies[path] = body.encode()
        cases.append(Case(name, token(at(path, idx)), good=good))

    def tells(name: str, octets: bytes = bytes(16), idx: Any = 0, *, good: bool = False, **changes: Any) -> None:
        uri = f"{issuer.origin}/status/{len(cases)}"
        lists(name, list_token(uri, octets, **{"iat": now} | changes), idx, good=good)

    def signed(name: str, head: dict[str, Any], **changes: Any) -> None:
        uri = f"{issuer.origin}/status/{len(cases)}"
        lists(name, compact(head, list_claims(uri, bytes(16), **{"iat": now} | changes)))

    cases.append(Case("no status", issuer.token(**own), good=True))
    tells("a zero", good=True)
    tells("the last position", idx=127, good=True)
    tells("bits of two", bits=2, idx=63, good=True)
    tells("a ttl of twenty", good=True, ttl=20)
    tells("a one", b"\x02", 1)
    tells("suspended", b"\x08", 1, bits=2)
    tells("fifteen", b"\xf0", 1, bits=4)
    tells("beyond the end", idx=128)
    tells("beyond the end of two bits", idx=64, bits=2)
    for idx in (-1, 0.5, "0", None, 2**53):
        tells(f"index {idx!r}", idx=idx)
    for name, status in {"empty": {}, "a text": "0", "without uri": {"status_list": {"idx": 0}}}.items():
        cases.append(Case(f"status is {name}", token(status)))
    elsewhere.tell(iat=now)
    cases.append(Case("another host", token({"status_list": {"idx": 0, "uri": elsewhere.origin + "/status/1"}})))
    for typ in ("at+jwt", "JWT", "statuslist+cwt"):
        signed(f"typ {typ}", header(typ=typ))
    typed = header(typ="statuslist+jwt")
    signed("another address", typed, sub=issuer.origin + "/status/1")
    signed("over", typed, exp=now - 10)
    signed("of tomorrow", typed, iat=now + 86_400)
    signed("no ttl", typed, ttl=0)
    signed("ttl below nothing", typed, ttl=-1)
    signed("ttl as text", typed, ttl="10")
    for name, lst in {
        "not base64url": "!!!!",
        "not zlib": encode_base64url(bytes(40)),
        "cut short": encode_base64url(zlib.compress(bytes(range(256)))[:-20]),
        "a bomb": encode_base64url(zlib.compress(bytes(2**25), 9)),
    }.items():
        signed(name, typed, status_list={"bits": 1, "lst": lst})
    signed("three bits", typed, status_list={"bits": 3, "lst": encode_base64url(zlib.compress(bytes(16)))})
    without = {name: value for name, value in list_claims(issuer.origin + "/status/1", b"").items() if name != "exp"}
    lists("without end", compact(typed, without | {"sub": f"{issuer.origin}/status/{len(cases)}", "iat": now}))
    # Another RSA key under the name of the one that is good.
    uri = f"{issuer.origin}/status/{len(cases)}"
    lists("another key", compact(typed, list_claims(uri, bytes(16), iat=now), signer="PS256", algorithm="RS256"))
    lists("an access token", issuer.token(**own | {"sub": f"{issuer.origin}/status/{len(cases)}"}))
    lists("no list", "")
    lists("not found", None)
    cases.append(Case("a list for an access token", issuer.bodies["/status/1"].decode()))
    return cases
