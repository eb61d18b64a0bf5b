"""Second factors: time-based codes, passkeys and recovery codes, and the logins that wait for one."""

from gateway.accounts.factors.logins import FactorLogins
from gateway.accounts.factors.names import check_factor_name
from gateway.accounts.factors.pending import PENDING_SECONDS, PendingLogin
from gateway.accounts.factors.second_factors import Factor, SecondFactors
from gateway.accounts.factors.steps import Asked, Demand, Proved
from gateway.accounts.factors.totp import ENROLMENT_SECONDS, NewTotp
from gateway.accounts.factors.webauthn import Assertion, NewCredential, RelyingParty

__all__ = [
    "SecondFactors",
    "Factor",
    "check_factor_name",
    "FactorLogins",
    "Demand",
    "PENDING_SECONDS",
    "PendingLogin",
    "Asked",
    "Proved",
    "ENROLMENT_SECONDS",
    "NewTotp",
    "RelyingParty",
    "NewCredential",
    "Assertion",
]
