"""What stands in security events for an e-mail address that no user has."""

import base64
import hashlib
import hmac

from gateway.derived_keys import DerivedKeys


def account_of(email: str, keys: DerivedKeys) -> str:
    """Give what stands for an address (normalised): nobody without the secret can tell which it is."""
    digest = hmac.digest(keys.account_mac, email.encode("utf-8", "surrogatepass"), hashlib.sha256)
    return "acc_" + base64.urlsafe_b64encode(digest[:16]).decode().rstrip("=")
