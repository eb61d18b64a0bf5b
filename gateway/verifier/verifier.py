"""The verifier that services use: tokens judged by the issuer's keys and, where that is wanted, by its status lists."""

from collections.abc import Callable
from typing import Literal

from .claims import AccessClaims
from .errors import KeysUnavailable, UnknownKey
from .fetch import Fetch
from .flights import wait, wait_async
from .jwks import RemoteKeys, wall_clock
from .remote_status_lists import OnStale, RemoteStatusLists
from .verify import VerifiedTokens


class AccessTokenVerifier:
    """
    Verifies the access tokens of one issuer for one audience, offline but for the keys, and the status lists if asked.

        verifier = AccessTokenVerifier(issuer="https://auth.example.com", audience="https://api.example.com")
        claims = verifier.verify(token)                # in a thread
        claims = await verifier.verify_async(token)    # on an asyncio event loop, which it never blocks

    Make one per process and keep it. Good tokens are remembered (see `VerifiedTokens`).

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
        clock: Callable[[], int] | None = None,
        max_remembered_tokens: int = 4096,
        revocations: Literal["status-list"] | None = None,
        on_stale: OnStale = "deny",
    ) -> None:
        if revocations not in (None, "status-list"):
            raise ValueError('revocations is "status-list" or None')
        self.issuer = issuer
        self._clock = clock or wall_clock
        self._keys = RemoteKeys(issuer, jwks_uri=jwks_uri, fetch=fetch, clock=self._clock)
        self._tokens = VerifiedTokens(issuer=issuer, audience=audience, max_tokens=max_remembered_tokens)
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
        wait(self._keys.refresh())
        try:
            claims = self._judge(token)
        except UnknownKey:
            wait(self._keys.refresh(unknown_kid=True))
            claims = self._judge_finally(token)
        if self._lists is not None and (flight := self._lists.check(claims)) is not None:
            wait(flight)
            self._lists.check_finally(claims)
        return claims

    async def verify_async(self, token: str) -> AccessClaims:
        """Do the same as `verify` without blocking the event loop."""
        await wait_async(self._keys.refresh())
        try:
            claims = self._judge(token)
        except UnknownKey:
            await wait_async(self._keys.refresh(unknown_kid=True))
            claims = self._judge_finally(token)
        if self._lists is not None and (flight := self._lists.check(claims)) is not None:
            await wait_async(flight)
            self._lists.check_finally(claims)
        return claims

    def _judge(self, token: str) -> AccessClaims:
        return self._tokens.verify(token, self._keys.current, now=self._clock())

    def _judge_finally(self, token: str) -> AccessClaims:
        try:
            return self._judge(token)
        except UnknownKey:
            failure = self._keys.failure
            if failure is None:
                raise
            raise KeysUnavailable(failure, self._keys.retry_after_seconds()) from None
