"""Limits: how often an address may ask, and how long who guesses passwords has to wait."""

from gateway.limits.guessing import KNOWN_DEVICE_SECONDS, GuessingThrottle
from gateway.limits.rate_limits import RateLimiter, RateState

__all__ = [
    "RateLimiter",
    "RateState",
    "KNOWN_DEVICE_SECONDS",
    "GuessingThrottle",
]
