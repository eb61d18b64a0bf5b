"""
What a new password must be: long enough, not among the most used ones, and not the user's own address.

There are no composition rules (NIST SP 800-63B-4 section 3.1.1.2). `common_passwords.txt` holds the 30,000 most
used passwords, the most used first; where they come from stands in `docs/dependencies.md`.
"""

import functools
import unicodedata
from importlib.resources import files

from gateway.errors import PasswordRejected

MAX_PASSWORD_BYTES = 1024
MIN_LOCAL_PART_CHARACTERS = 4
MIN_SEED_CHARACTERS = 3


def check_new_password(
    password: str, *, email: str, min_length: int, current: str | None = None, service_names: tuple[str, ...] = ()
) -> None:
    """
    See whether a password may be set.

    Args:
        email: The normalised address of the user; neither it nor a local part of 4 and more characters may occur.
        min_length: In code points after NFC.
        current: The password that is to be replaced, where it is known.
        service_names: Names that everybody thinks of here, such as the host; a password may not be one of them.

    Raises:
        PasswordRejected: With all reasons that apply.
    """
    password = unicodedata.normalize("NFC", password)
    folded, address = password.casefold(), email.casefold()
    local_part = address.rpartition("@")[0]
    reasons = {
        "too_short": length_of(password) < min_length,
        "too_long": len(password.encode("utf-8", "surrogatepass")) > MAX_PASSWORD_BYTES,
        "common": _is_common(folded) or folded in map(str.casefold, service_names),
        "contains_email": address in folded or (len(local_part) >= MIN_LOCAL_PART_CHARACTERS and local_part in folded),
        "unchanged": current is not None and password == unicodedata.normalize("NFC", current),
    }
    if any(reasons.values()):
        raise PasswordRejected(tuple(reason for reason, applies in reasons.items() if applies))


def length_of(password: str) -> int:
    """Give the length that counts: code points after NFC."""
    return len(unicodedata.normalize("NFC", password))


@functools.cache
def common_passwords() -> frozenset[str]:
    """Give the most used passwords, case folded."""
    text = (files("gateway.accounts") / "common_passwords.txt").read_text()
    return frozenset(line.casefold() for line in text.splitlines())


def _is_common(folded: str) -> bool:
    """Tell whether it is one of the most used passwords, or such a one over and over."""
    if folded in common_passwords():
        return True
    # A text is made of repetitions exactly if it occurs within its own double, shifted (its smallest period).
    period = (folded + folded).find(folded, 1)
    return MIN_SEED_CHARACTERS <= period < len(folded) and folded[:period] in common_passwords()
