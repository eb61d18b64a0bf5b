"""What the form of the login sends, in each of its steps."""

from gateway.web.http import SecretBody


class LoginForm(SecretBody, frozen=True):
    """
    Fields of the form; `rd` is where to go afterwards, `remember` is `on` or not there. Others are ignored.

    With `pending` a login goes on: by one of `totp`, `recovery` and `passkey`, or by a first factor, which is `code` of
    the app `id`, or `credential`. Without one of these the page is shown once more.
    """

    username: str = ""
    password: str = ""
    remember: str = ""
    rd: str = ""
    pending: str = ""
    totp: str = ""
    recovery: str = ""
    passkey: str = ""
    id: str = ""
    code: str = ""
    credential: str = ""

    @property
    def is_remembered(self) -> bool:
        """Whether the session outlives the browser."""
        return self.remember == "on"
