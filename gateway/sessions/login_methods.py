"""
How a login was made, as tokens tell it (`amr`, RFC 8176) and as a byte of the family's record keeps it.

The byte is the one that marks a family as ended, by its bit 0: a living family has it clear, and what a release before
there were methods has written is 0, a password. Bits that are not known here are left for those who know them.
"""

OTP, POP, USER, HARDWARE, RECOVERY = (1 << bit for bit in range(1, 6))

BY_PASSWORD = ("pwd",)
BY_PASSWORD_AND_CODE = ("pwd", "otp", "mfa")
BY_PASSKEY_IN_HARDWARE = ("pop", "user", "mfa", "hwk")
BY_SYNCED_PASSKEY = ("pop", "user", "mfa", "swk")

_LOGINS = {
    BY_PASSWORD: 0,
    BY_PASSWORD_AND_CODE: OTP,
    BY_PASSKEY_IN_HARDWARE: POP | USER | HARDWARE,
    BY_SYNCED_PASSKEY: POP | USER,
}


def pack_methods(amr: tuple[str, ...], *, by_recovery_code: bool = False) -> int:
    """
    Give the bits of a login. RFC 8176 has no word for a recovery code, so it is told beside the words.

    Raises:
        ValueError: No login here is made like that.
    """
    if amr not in _LOGINS:
        raise ValueError(f"no login has the methods {amr}")
    return _LOGINS[amr] | (RECOVERY if by_recovery_code else 0)


def unpack_methods(bits: int) -> tuple[str, ...]:
    """Give the words for the bits of a login."""
    if bits & POP:
        return BY_PASSKEY_IN_HARDWARE if bits & HARDWARE else BY_SYNCED_PASSKEY
    return BY_PASSWORD_AND_CODE if bits & OTP else BY_PASSWORD


def was_recovery(bits: int) -> bool:
    """Tell whether the code of that login was a recovery code."""
    return bool(bits & RECOVERY)
