"""
Public suffixes: domains under which anybody may have a name, such as `co.uk` and `duckdns.org`. No cookie is theirs.

The list and how it is read: https://publicsuffix.org/list/, where the longest rule counts and an exception (`!`) goes
over all others.
"""

import functools


def is_public_suffix(domain: str) -> bool:
    """Tell whether browsers refuse a cookie for a whole domain (RFC 6265 section 5.3, step 5)."""
    labels = domain.split(".")
    for start in range(len(labels)):
        found, parent = ".".join(labels[start:]), ".".join(labels[start + 1 :])
        if f"!{found}" in _rules():
            return False
        if found in _rules() or f"*.{parent}" in _rules():
            return start == 0
    return len(labels) == 1


@functools.cache
def _rules() -> frozenset[str]:
    from fido2.rpid import suffixes  # reads 300 kB: for the doctor alone

    return frozenset(".".join(_as_sent(label) for label in rule.split(".")) for rule in suffixes)


def _as_sent(label: str) -> str:
    return label if label.isascii() else "xn--" + label.encode("punycode").decode()
