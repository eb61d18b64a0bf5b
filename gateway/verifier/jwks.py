"""The issuer's keys, found through its metadata and kept fresh over HTTP."""

import contextlib
import functools
import logging
import math
import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from .errors import UnusableKey
from .fetch import MAX_DOCUMENT_BYTES, Document, Fetch, http_get, split_url
from .flights import Flight, new_flight, start_flight
from .keys import VerificationKey

COOLDOWN_SECONDS: Final = 30
DEFAULT_LIFETIME_SECONDS: Final = 300
MIN_LIFETIME_SECONDS: Final = 60
MAX_LIFETIME_SECONDS: Final = 86_400

_LOG: Final = logging.getLogger(__name__)
_MAX_AGE: Final = re.compile(r"(?:^|[\s,])max-age=\"?(\d{1,9})", re.IGNORECASE)
_UNCACHED: Final = re.compile(r"\bno-(?:store|cache)\b", re.IGNORECASE)


class RemoteKeys:
    """
    The keys of one issuer, as last read (RFC 8414, RFC 7517).

    A set of keys is fresh for the `max-age` it came with, at least a minute and at most a day, 5 minutes when there
    is none. It is read again when it is no longer fresh and when a token names an unknown key, by one request at a
    time and not within 30 seconds of the last one. When that fails the old set stays. Entries that cannot verify
    access tokens are skipped; a document without any usable key counts as a failure. Safe to use from several
    threads and event loops.

    Attributes:
        current: The keys by `kid`; changed ones come as another mapping.

    Args:
        issuer: The issuer's URL, http or https, as it stands in the tokens.
        jwks_uri: Where the keys are; None asks the issuer's metadata, which must name the very same issuer.
        fetch: How to get a URL; by default with `http_get`.
        clock: Seconds since the epoch.

    Raises:
        ValueError: A URL is not http or https, or holds a query, a fragment or a password.
    """

    def __init__(
        self,
        issuer: str,
        *,
        jwks_uri: str | None = None,
        fetch: Fetch | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._issuer = issuer
        self._metadata_uri = _metadata_uri(issuer)
        if jwks_uri is not None:
            split_url(jwks_uri)
        self._given_jwks_uri = self._jwks_uri = jwks_uri
        self._fetch = fetch or http_get
        self._clock = clock or time.time  # noqa: TID251 - the package takes nothing from the rest of the gateway, its clock included
        self._lock = threading.Lock()
        self._flight: Flight | None = None
        self._asked_at: float | None = None
        self._fresh_from = self._fresh_until = 0.0
        self.current: Mapping[str, VerificationKey] = {}
        self._failure: str | None = None

    def refresh(self, *, unknown_kid: bool = False) -> Flight | None:
        """
        Start reading the keys if it is time to, and give what is worth waiting for, if anything.

        Whoever starts a fetch waits for it. The others wait only if they can't go on with the set that is there.

        Args:
            unknown_kid: A token names a key that is not in `current`, fresh as it may be.
        """
        now = self._clock()
        if not unknown_kid and self._fresh_from <= now < self._fresh_until:
            return None
        with self._lock:
            # A clock that was set back does not prolong the wait.
            if self._asked_at is not None and 0 <= now - self._asked_at < COOLDOWN_SECONDS:
                return self._flight if unknown_kid or not self.current else None
            self._asked_at = now
            self._flight = flight = new_flight()
            start_flight(flight, functools.partial(self._fly, now=now), "jwks")
            return flight

    def good_until(self, now: float) -> float:
        """Tell until when `refresh` need not be asked; 0 where it must be."""
        return self._fresh_until if self._fresh_from <= now else 0.0

    @property
    def failure(self) -> str | None:
        """Why the last fetch gave no keys; None when it did."""
        flight = self._flight
        return self._failure if flight is not None and flight.done() else "the issuer has not answered in time"

    def retry_after_seconds(self) -> int:
        """Give the time until the next request is allowed, at least 1."""
        asked_at = self._asked_at
        left_seconds = 0 if asked_at is None else math.ceil(asked_at + COOLDOWN_SECONDS - self._clock())
        return min(max(1, left_seconds), COOLDOWN_SECONDS)

    def _fly(self, flight: Flight, now: float) -> None:
        try:
            keys, lifetime_seconds = self._read()
        # An injected fetch may raise anything, and each is a failed fetch to those who wait.
        except Exception as error:
            _LOG.warning("the keys of %s cannot be read: %s", self._issuer, error)
            with self._lock:
                if flight is self._flight:
                    self._failure = f"the issuer's keys cannot be read: {error}"
                    self._jwks_uri = self._given_jwks_uri
        else:
            with self._lock:
                if flight is self._flight:
                    self.current, self._failure = keys, None
                    self._fresh_from, self._fresh_until = now, now + lifetime_seconds
        flight.set_result(None)

    def _read(self) -> tuple[dict[str, VerificationKey], int]:
        if self._jwks_uri is None:
            self._jwks_uri = self._discover()
        document = self._get(self._jwks_uri)
        keys: dict[str, VerificationKey] = {}
        for jwk in msgspec.json.decode(document.body, type=_Jwks).keys:
            with contextlib.suppress(UnusableKey):
                key = VerificationKey.from_jwk(jwk)
                keys.setdefault(key.kid, key)
        if not keys:
            raise ValueError(f"{self._jwks_uri} has no usable key")
        return keys, _lifetime_seconds(document.cache_control)

    def _discover(self) -> str:
        metadata = msgspec.json.decode(self._get(self._metadata_uri).body, type=_Metadata)
        if metadata.issuer != self._issuer:
            raise ValueError(f"{self._metadata_uri} is of another issuer")
        if split_url(metadata.jwks_uri).scheme != "https" and self._issuer.startswith("https:"):
            raise ValueError("an https issuer must have an https jwks_uri")
        return metadata.jwks_uri

    def _get(self, url: str) -> Document:
        document = self._fetch(url)
        if document.status != 200:
            raise ValueError(f"{url} answered {document.status}")
        if len(document.body) > MAX_DOCUMENT_BYTES:
            raise ValueError(f"{url} has more than {MAX_DOCUMENT_BYTES} bytes")
        return document


class _Jwks(msgspec.Struct):
    keys: list[dict[str, object]]


class _Metadata(msgspec.Struct):
    issuer: str
    jwks_uri: str


def _metadata_uri(issuer: str) -> str:
    """Insert the well-known part between host and path (RFC 8414 section 3.1)."""
    parts = split_url(issuer)
    if parts.query:
        raise ValueError(f"an issuer has no query: {issuer}")
    return f"{parts.scheme}://{parts.netloc}/.well-known/oauth-authorization-server{parts.path.rstrip('/')}"


def _lifetime_seconds(cache_control: str) -> int:
    if _UNCACHED.search(cache_control):
        return MIN_LIFETIME_SECONDS
    max_age = _MAX_AGE.search(cache_control)
    seconds = int(max_age[1]) if max_age else DEFAULT_LIFETIME_SECONDS
    return min(max(seconds, MIN_LIFETIME_SECONDS), MAX_LIFETIME_SECONDS)
