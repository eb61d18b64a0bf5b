"""What a new password must be."""

import pytest

from gateway.accounts.password_rules import check_new_password, common_passwords
from gateway.errors import PasswordRejected


def reasons(password: str, **options: object) -> tuple[str, ...]:
    arguments = {"email": "ann.example@example.com", "min_length": 15} | options
    try:
        check_new_password(password, **arguments)  # type: ignore[arg-type]
    except PasswordRejected as rejected:
        return rejected.reasons
    return ()


@pytest.mark.parametrize(
    ("password", "expected"),
    [
        ("a" * 14, ("too_short",)),
        ("aaaaaaaaaaaaaaaq", ()),
        ("correct horse battery staple", ()),
        ("🙂" * 14, ("too_short",)),
        ("🙂" * 64, ()),
        ("e\u0301" * 14, ("too_short",)),
        ("x" * 1025, ("too_long",)),
        ("é" * 513, ("too_long",)),
        ("é" * 512, ()),
        ("my ann.example@example.com", ("contains_email",)),
        ("MY ANN.EXAMPLE IS HERE", ("contains_email",)),
        ("PasswordPassword", ("common",)),
        ("123456123456123456", ("common",)),
        ("password", ("too_short", "common")),
    ],
)
def test_length_counts_code_points_after_nfc_and_nothing_is_said_of_composition(
    password: str, expected: tuple[str, ...]
) -> None:
    """Shows ASVS 6.2.1, ASVS 6.2.5, ASVS 6.2.9, NIST 3.1.1.2-1, NIST 3.1.1.2-2, NIST 3.1.1.2-4, NIST 3.1.1.2-5."""
    assert reasons(password) == expected


def test_every_common_password_is_refused_whatever_the_minimum_length() -> None:
    """
    The list has at least the 3,000 most used that pass the length rule, or are its seeds.

    Shows ASVS 6.2.4, ASVS 6.2.12, NIST 3.1.1.2-bl.
    """
    assert len(common_passwords()) >= 29_000
    for password in common_passwords():
        assert "common" in reasons(password, min_length=8)


def test_a_local_part_under_four_characters_may_occur() -> None:
    assert reasons("annual report of the year", email="ann@example.com") == ()


def test_the_old_password_is_not_a_new_one_in_any_normal_form() -> None:
    assert reasons("caf\u00e9 on the corner", current="cafe\u0301 on the corner") == ("unchanged",)


def test_the_name_of_the_service_is_common() -> None:
    """Shows ASVS 6.2.11."""
    assert reasons("Auth.Example.Com", service_names=("auth.example.com",)) == ("common",)


def test_all_reasons_that_apply_are_given() -> None:
    assert reasons("password", email="password@x.y", current="password") == (
        "too_short",
        "common",
        "contains_email",
        "unchanged",
    )
