"""What the steps of a login say to who conducts it."""

from dataclasses import dataclass
from typing import Literal

from gateway.accounts.factors.keeping import Kind
from gateway.accounts.factors.pending import PendingLogin
from gateway.accounts.users import User

BY_CODE = ("pwd", "otp", "mfa")
BY_PASSKEY_IN_HARDWARE = ("pop", "user", "mfa", "hwk")
BY_SYNCED_PASSKEY = ("pop", "user", "mfa", "swk")


@dataclass(frozen=True)
class Demand:
    """
    What a right password lacks: nothing (`none`), a `factor`, or the `enrolment` of one.

    `methods` are the kinds of factors that can be shown, the safest first.
    """

    what: Literal["none", "factor", "enrolment"]
    methods: tuple[str, ...] = ()


@dataclass(frozen=True, repr=False)
class Asked:
    """What is told to who has to show a factor: the text of the pending login, and the options for a passkey."""

    pending: str
    public_key: dict[str, object] | None


@dataclass(frozen=True, kw_only=True)
class Proved:
    """
    A second step that was right, for whoever opens the session now.

    `amr`, `by_recovery_code` and `factor_id` belong into its opening; the last so that a factor that is taken away
    meanwhile opens nothing. `codes_left` is that of recovery codes, if it was one. `counter_went_back` is for the
    audit: the passkey may have been copied.
    """

    user: User
    pending: PendingLogin
    factor_id: str
    kind: str
    amr: tuple[str, ...]
    codes_left: int | None = None
    counter_went_back: bool = False

    @property
    def by_recovery_code(self) -> bool:
        """Whether it was a recovery code."""
        return self.kind == Kind.RECOVERY.word
