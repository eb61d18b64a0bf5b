"""The verifier that services use: tokens judged by the issuer's keys and, where that is wanted, by its status lists."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from .claims import AccessClaims
from .errors import KeysUnavailable, UnknownKey
from .fetch import Fetch
from .flights import wait, wait_async
from .jwks import RemoteKeys
from .keys import VerificationKey
from .remote_status_lists import OnStale, RemoteStatusLists
from .verify import VerifiedTokens


class AccessTokenVerifier:
    """
    Verifies the access tokens of one issuer for one audience, offline but for the keys, and the status lists if asked.

        verifier = AccessTokenVerifier(issuer="https://auth.example.com", audience="https://api.example.com")
        claims = verifier.verify(token)                # in a thread
        claims = await verifier.verify_async(token)    # on an asyncio event loop, which it never blocks

    Make one per process and keep it. Good tokens are remembered (see `VerifiedTokens`), and that nothing speaks against
    one until the keys or its status list are read again.

    With `revocations="status-list"` it refuses the tokens of an ended session within 16 seconds while the gateway
    answers (see `RemoteStatusLists`), instead of when they expire. Tokens that name no status list are judged as
    without it: those of machine clients, and of sessions that an earlier gateway has opened.

    Args:
        issuer: The gateway's `issuer`, byte for byte.
        audience: This service, as the gateway's `audience` names it, byte for byte.
        jwks_uri: Where the keys are, when the issuer's own address can't be reached from here.
        fetch: How to get a URL; by default with `http_get`. Status lists are got with it, too, without headers.
        clock: Seconds since the epoch.
        max_remembered_tokens: How many good tokens are remembered; 0: none.
        revocations: Which revocations are heeded; None: none, tokens are good until they expire.
        on_stale: What happens to a good token when its status list can't be read and the last one is over, a minute
            after it was made. "deny": `StatusUnavailable`. "allow": it is taken, unless the last list calls it
            revoked; so who keeps the gateway's answers away undoes every logout until the tokens expire.

    Raises:
        ValueError: *issuer* or *jwks_uri* is not a plain http or https URL; *revocations* or *on_stale* is another
            word.
    """

    def __init__(
        self,
        *,
        issuer: str,
        audience: str,
        jwks_uri: str | None = None,
        fetch: Fetch | None = None,
        clock: Callable[[], float] | None = None,
        max_remembered_tokens: int = 4096,
        revocations: Literal["status-list"] | None = None,
        on_stale: OnStale = "deny",
    ) -> None:
        if revocations not in (None, "status-list"):
            raise ValueError('revocations is "status-list" or None')
        self.issuer = issuer
        self._clock = clock or time.time  # noqa: TID251 - as in jwks.py
        self._keys = RemoteKeys(issuer, jwks_uri=jwks_uri, fetch=fetch, clock=self._clock)
        self._tokens = VerifiedTokens(issuer=issuer, audience=audience, max_tokens=max_remembered_tokens)
        self._max_verdicts = max_remembered_tokens
        self._verdicts: dict[str, _Verdict] = {}
        self._lock = threading.Lock()
        lists = RemoteStatusLists(issuer, self._keys, on_stale=on_stale, fetch=fetch, clock=clock)
        self._lists = lists if revocations else None

    def verify(self, token: str) -> AccessClaims:
        """
        Give the claims of *token*; blocks for at most 10 seconds when the keys have to be read, 5 for a status list.

        Raises:
            KeysUnavailable: The issuer's keys can't be read, so that nobody knows whether the token is good.
            StatusUnavailable: Nor its status list, and `on_stale` is "deny".
            TokenRevoked: The status list does not call it valid.
            AccessTokenError: The token is not good; the leaf says why (see `verify_access_token`).

        Does not check what `verify_access_token` does not check: roles above all, and, without *revocations*,
        whether its session was ended.
        """
        verdict = self._verdicts.get(token)
        if verdict is not None and verdict.since <= self._clock() < verdict.until:
            if verdict.keys is self._keys.current:
                return verdict.claims
        wait(self._keys.refresh())
        try:
            verdict = self._judge(token)
        except UnknownKey:
            wait(self._keys.refresh(unknown_kid=True))
            verdict = self._judge_finally(token)
        if self._lists is not None and (flight := self._lists.check(verdict.claims)) is not None:
            wait(flight)
            self._lists.check_finally(verdict.claims)
        self._remember(token, verdict)
        return verdict.claims

    async def verify_async(self, token: str) -> AccessClaims:
        """Do the same as `verify` without blocking the event loop."""
        verdict = self._verdicts.get(token)
        if verdict is not None and verdict.since <= self._clock() < verdict.until:
            if verdict.keys is self._keys.current:
                return verdict.claims
        await wait_async(self._keys.refresh())
        try:
            verdict = self._judge(token)
        except UnknownKey:
            await wait_async(self._keys.refresh(unknown_kid=True))
            verdict = self._judge_finally(token)
        if self._lists is not None and (flight := self._lists.check(verdict.claims)) is not None:
            await wait_async(flight)
            self._lists.check_finally(verdict.claims)
        self._remember(token, verdict)
        return verdict.claims

    def _judge(self, token: str) -> "_Verdict":
        # What it rests on is looked at before it is relied on, so that it never outlives what came instead.
        now, keys = self._clock(), self._keys.current
        until = self._keys.good_until(now)
        claims = self._tokens.verify(token, keys, now=now)
        if self._lists is not None:
            until = min(until, self._lists.good_until(claims, now))
        return _Verdict(claims, keys, now, min(until, claims.exp))

    def _judge_finally(self, token: str) -> "_Verdict":
        try:
            return self._judge(token)
        except UnknownKey:
            failure = self._keys.failure
            if failure is None:
                raise
            raise KeysUnavailable(failure, self._keys.retry_after_seconds()) from None

    def _remember(self, token: str, verdict: "_Verdict") -> None:
        if verdict.until <= verdict.since:
            return
        with self._lock:
            self._verdicts[token] = verdict
            if len(self._verdicts) > self._max_verdicts:
                del self._verdicts[next(iter(self._verdicts))]


class _Verdict(NamedTuple):
    """The claims of a token that was good, under which keys, and from when until when nothing need be asked."""

    claims: AccessClaims
    keys: Mapping[str, VerificationKey]
    since: float
    until: float
