"""
The issuer's status lists, read over HTTP when they are needed, and what they say of a token.

One file: what is fetched, kept, and when to ask again is one state, for each list.
"""

import functools
import logging
import math
import random
import threading
import time
from collections.abc import Callable
from typing import Final, Literal

from .claims import AccessClaims
from .errors import ClaimsRejected, StatusUnavailable, TokenRevoked, UnknownKey
from .fetch import Document, Fetch, http_get, split_url
from .flights import Flight, new_flight, start_flight, wait
from .jwks import RemoteKeys
from .status_lists import MAX_LIST_BYTES, MEDIA_TYPE, StatusList, verify_status_list

OnStale = Literal["deny", "allow"]

MAX_LISTS: Final = 64
MAX_URI_CHARACTERS: Final = 512
UNCHANGED_RETRY_SECONDS: Final = 1
FAILURE_RETRY_SECONDS: Final = 5
OVERDUE_AFTER_SECONDS: Final = 30
JITTER: Final = 0.1
WAITED_FOR_AFTER_TTLS: Final = 1.5

_LOG: Final = logging.getLogger(__name__)
_PORTS: Final = {"http": 80, "https": 443}


class RemoteStatusLists:
    """
    The status lists of one issuer, as last read, by their address.

    A list is asked for when a token names it, by one request at a time in the background, for all threads and event
    loops: `ttl` after its `iat` and up to a tenth of that later, so that many verifiers do not ask at once. While the
    answer is still the same list, out of a cache, it is asked for again each second, and after a failed request
    5 seconds later; meanwhile the list that is there goes on until its `exp`. Nobody waits for a request, but who
    meets no list at all, one that is over, or, unless the last request has failed, one that is older than one and
    a half `ttl`: so a service that is rarely asked does not judge by a list from long ago.

    A list that is older than the one that is there is not taken; caches and several gateways give such. The 64 lists
    asked for most recently are kept, at 128 KiB each with one bit a position.

    Args:
        issuer: The issuer's URL. Lists are read from its own scheme, host and port alone, whatever a token names.
        keys: The issuer's keys, which sign the lists too.
        on_stale: Whether a token is taken whose list can't be read and is over: "deny" or "allow".
        fetch: How to get a URL; by default with `http_get`, which alone asks conditionally (`If-None-Match`).
        clock: Seconds since the epoch; fractions count.
        jitter: Gives numbers from 0 to 1.

    Raises:
        ValueError: *on_stale* is another word.
    """

    def __init__(
        self,
        issuer: str,
        keys: RemoteKeys,
        *,
        on_stale: OnStale = "deny",
        fetch: Fetch | None = None,
        clock: Callable[[], float] | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        if on_stale not in ("deny", "allow"):
            raise ValueError('on_stale is "deny" or "allow"')
        self._origin = _origin(issuer)
        self._keys = keys
        self._allows_stale = on_stale == "allow"
        self._fetch = fetch
        self._clock = clock or time.time  # noqa: TID251 - as in jwks.py
        self._jitter = jitter
        self._lock = threading.Lock()
        self._kept: dict[str, _Kept] = {}

    def good_until(self, claims: AccessClaims, now: float) -> float:
        """Tell until when `check` need not be asked again about a token that it calls good; 0 where it must be."""
        if claims.status is None:
            return math.inf
        if claims.status.status_list is None:
            return 0.0
        kept = self._kept.get(claims.status.status_list.uri)
        return kept.fresh_until if kept is not None and kept.asked_at <= now else 0.0

    def check(self, claims: AccessClaims) -> Flight | None:
        """
        Judge a verified token, or give the request whose answer is needed for that; `check_finally` comes after it.

        A token without `status` is good here.

        Raises:
            TokenRevoked: The list calls it anything but valid.
            ClaimsRejected: `status` names no list, one of another origin, or a position that the list has not.
            StatusUnavailable: The list can't be read, the last one is over, and the token not to be taken then.
        """
        if claims.status is None:
            return None
        reference = claims.status.status_list
        if reference is None:
            raise ClaimsRejected("status", "names no status list")
        now = self._clock()
        kept = self._kept.get(reference.uri)
        if kept is None or not kept.asked_at <= now < kept.fresh_until:
            kept, flight = self._ask(reference.uri)
            if flight is not None:
                return flight
        self._judge(kept, reference.idx, claims.sub, now)
        return None

    def check_finally(self, claims: AccessClaims) -> None:
        """Judge by what there is now; raise what `check` does."""
        if claims.status is not None and claims.status.status_list is not None:
            reference, now = claims.status.status_list, self._clock()
            self._judge(self._kept.get(reference.uri) or _Kept(now), reference.idx, claims.sub, now)

    def _judge(self, kept: "_Kept", idx: int, sub: str, now: float) -> None:
        status_list = kept.status_list
        if status_list is not None:
            try:
                value = status_list.value_at(idx)
            except IndexError:
                raise ClaimsRejected("status", "a position beyond the status list", idx) from None
            if value:
                raise TokenRevoked(f"the status list calls it {_NAMES.get(value, value)}", sub)
            if now < status_list.expires_at:
                return
        if not self._allows_stale:
            failure = kept.failure or "the status list has not been answered in time"
            raise StatusUnavailable(failure, max(1, math.ceil(kept.ask_at - now)))

    def _ask(self, uri: str) -> "tuple[_Kept, Flight | None]":
        """Start a request if it is time to, and give it where no token can be judged without its answer."""
        with self._lock:
            now = self._clock()
            kept = self._kept.get(uri)
            if kept is None:
                kept = self._make_room_for(uri, now)
            # An injected fetch may hang for ever, and a clock that was set back does not prolong the wait.
            is_over = kept.flight.done() or now >= kept.asked_at + OVERDUE_AFTER_SECONDS
            if is_over and not kept.asked_at <= now < kept.ask_at:
                kept.asked_at = now
                kept.flight = new_flight()
                start_flight(kept.flight, functools.partial(self._fly, uri=uri, kept=kept), "status-list")
            is_needed = not kept.flight.done() and kept.is_needed_at(now)
            return kept, kept.flight if is_needed else None

    def _make_room_for(self, uri: str, now: float) -> "_Kept":
        if len(uri) > MAX_URI_CHARACTERS or not (uri.isascii() and uri.isprintable()) or " " in uri:
            raise ClaimsRejected("status", "the address of the list is none")
        try:
            is_foreign = _origin(uri) != self._origin
        except ValueError:
            is_foreign = True
        if is_foreign:
            raise ClaimsRejected("status", "a list of another origin")
        if len(self._kept) >= MAX_LISTS:
            del self._kept[min(self._kept, key=lambda known: self._kept[known].asked_at)]
        kept = self._kept[uri] = _Kept(now)
        return kept

    def _fly(self, flight: Flight, *, uri: str, kept: "_Kept") -> None:
        try:
            status_list, etag = self._read(uri, kept)
        # An injected fetch may raise anything, and each is a failed request to those who wait.
        except Exception as error:
            with self._lock:
                if flight is kept.flight:
                    self._keep_failure(kept, uri, error)
        else:
            with self._lock:
                if flight is kept.flight:
                    self._keep(kept, status_list, etag)
        flight.set_result(None)

    def _keep_failure(self, kept: "_Kept", uri: str, error: Exception) -> None:
        if kept.failure is None:
            _LOG.warning("the status list %s cannot be read: %s", uri, error)
        kept.failure = f"the status list cannot be read: {error}"
        kept.rest_until(self._clock() + FAILURE_RETRY_SECONDS)

    def _keep(self, kept: "_Kept", status_list: StatusList, etag: str) -> None:
        kept.failure = None
        known, now = kept.status_list, self._clock()
        if known is not None and known.issued_at >= status_list.issued_at:
            kept.rest_until(now + UNCHANGED_RETRY_SECONDS)
            return
        kept.status_list, kept.etag = status_list, etag
        late = self._jitter() * JITTER * status_list.ttl_seconds
        # By a clock that is behind the issuer's, `iat` may lie ahead.
        over_at = min(status_list.issued_at, now) + status_list.ttl_seconds + late
        kept.rest_until(max(over_at, now + UNCHANGED_RETRY_SECONDS))

    def _read(self, uri: str, kept: "_Kept") -> tuple[StatusList, str]:
        known = kept.status_list if kept.status_list and self._clock() < kept.status_list.expires_at else None
        document = self._get(uri, kept.etag if known else "")
        now = self._clock()
        if document.status == 304 and known is not None and now < known.expires_at:
            return known, kept.etag
        if document.status != 200:
            raise ValueError(f"{uri} answered {document.status}")
        media_type = document.content_type.partition(";")[0].strip().lower()
        if media_type not in ("", MEDIA_TYPE):
            raise ValueError(f"{uri} is not {MEDIA_TYPE}")
        if len(document.body) > MAX_LIST_BYTES:
            raise ValueError(f"{uri} has more than {MAX_LIST_BYTES} bytes")
        token = document.body.decode("latin-1")
        try:
            return verify_status_list(token, self._keys.current, uri=uri, now=now), document.etag
        except UnknownKey:
            wait(self._keys.refresh(unknown_kid=True))
            return verify_status_list(token, self._keys.current, uri=uri, now=now), document.etag

    def _get(self, uri: str, etag: str) -> Document:
        if self._fetch is not None:
            return self._fetch(uri)
        headers = {"Accept": MEDIA_TYPE} | ({"If-None-Match": etag} if etag else {})
        return http_get(uri, headers, max_bytes=MAX_LIST_BYTES)


_NAMES: Final = {1: "invalid", 2: "suspended"}


class _Kept:
    """What is known of one list; written by its request alone, but for `asked_at` and `flight`."""

    __slots__ = ("ask_at", "asked_at", "etag", "failure", "flight", "fresh_until", "status_list")

    def __init__(self, now: float) -> None:
        self.status_list: StatusList | None = None
        self.etag = ""
        self.failure: str | None = None
        self.asked_at = self.ask_at = self.fresh_until = now
        self.flight = new_flight()
        self.flight.set_result(None)

    def rest_until(self, ask_at: float) -> None:
        """Ask no sooner than then, and judge by the list that is there without a further look until it is over."""
        self.ask_at = ask_at
        self.fresh_until = min(ask_at, self.status_list.expires_at) if self.status_list else self.asked_at

    def is_needed_at(self, now: float) -> bool:
        """Whether a token can't be judged before the request that is on its way is answered."""
        status_list = self.status_list
        if status_list is None or now >= status_list.expires_at:
            return True
        is_old = now >= status_list.issued_at + WAITED_FOR_AFTER_TTLS * status_list.ttl_seconds
        return is_old and self.failure is None


def _origin(url: str) -> tuple[str, str | None, int]:
    parts = split_url(url)
    return parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme]
