"""The portal: one page a file, forms in and HTML out."""

from gateway.web.pages.account import (
    PasswordForm,
    end_chosen_session,
    end_other_sessions,
    set_own_password,
    show_account,
)
from gateway.web.pages.factor import NameForm, name_factor, remove_factor_by_form, show_factor
from gateway.web.pages.login import log_in_by_form, show_login
from gateway.web.pages.login_form import LoginForm
from gateway.web.pages.logout import LogoutForm, log_out_by_form, show_logout
from gateway.web.pages.new_factors import (
    AppForm,
    PasskeyForm,
    add_app,
    add_passkey_by_form,
    show_new_app,
    show_new_passkey,
)
from gateway.web.pages.personal_tokens import TokenForm, make_token_by_form, revoke_token_by_form, show_new_token
from gateway.web.pages.recovery import CodesForm, RecoveryForm, make_codes, save_codes, show_recovery
from gateway.web.pages.ways import lead_to_account, lead_to_change_of_password
from gateway.web.pages.welcome import WelcomeForm, accept_invitation, show_welcome

__all__ = [
    "show_login",
    "log_in_by_form",
    "show_logout",
    "log_out_by_form",
    "show_account",
    "end_chosen_session",
    "end_other_sessions",
    "set_own_password",
    "show_new_app",
    "add_app",
    "show_new_passkey",
    "add_passkey_by_form",
    "show_recovery",
    "make_codes",
    "save_codes",
    "show_factor",
    "name_factor",
    "remove_factor_by_form",
    "show_new_token",
    "make_token_by_form",
    "revoke_token_by_form",
    "show_welcome",
    "accept_invitation",
    "lead_to_account",
    "lead_to_change_of_password",
    "AppForm",
    "CodesForm",
    "LoginForm",
    "LogoutForm",
    "NameForm",
    "PasskeyForm",
    "PasswordForm",
    "RecoveryForm",
    "TokenForm",
    "WelcomeForm",
]
