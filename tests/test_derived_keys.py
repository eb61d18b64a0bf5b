"""Keys derived from one secret: one purpose each, always the same, and never shown."""

import dataclasses

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from gateway.derived_keys import DerivedKeys, KeyChain

PURPOSES = (
    "refresh_token_mac",
    "key_sealing",
    "password_pepper",
    "known_device_mac",
    "account_mac",
    "browser_session_mac",
    "request_id_sealing",
    "client_secret_mac",
    "factor_sealing",
    "recovery_code_mac",
    "personal_token_mac",
    "status_index_mac",
)


def keys_of(derived: DerivedKeys) -> list[bytes]:
    return [getattr(derived, purpose) for purpose in PURPOSES]


def test_every_purpose_has_a_key_of_its_own() -> None:
    derived = DerivedKeys.of("s" * 32)
    assert {field.name for field in dataclasses.fields(DerivedKeys)} == {"key_id", *PURPOSES}
    assert len(set(keys_of(derived))) == len(PURPOSES)
    assert all(len(key) == 32 for key in keys_of(derived))


def test_the_keys_of_a_secret_are_those_that_stored_tokens_and_hashes_were_made_with() -> None:
    """Computed here once more: a change would log everybody out and lose every password."""
    for purpose in PURPOSES:
        info = f"token-gateway/{purpose.replace('_', '-')}/v1".encode()
        expected = HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(b"s" * 32)
        assert getattr(DerivedKeys.of("s" * 32), purpose) == expected
    assert DerivedKeys.of("s" * 32).key_id == "4SModJhV"


@given(st.text(st.characters(codec="utf-8"), min_size=1), st.text(st.characters(codec="utf-8"), min_size=1))
def test_another_secret_has_other_keys(secret: str, other: str) -> None:
    mine, theirs = DerivedKeys.of(secret), DerivedKeys.of(other)
    if secret == other:
        assert mine == theirs
    else:
        assert not {mine.key_id, *keys_of(mine)} & {theirs.key_id, *keys_of(theirs)}


def test_the_name_of_a_secret_is_short_and_fit_for_a_hash_in_dollar_form() -> None:
    for number in range(100):
        key_id = DerivedKeys.of(f"secret {number}").key_id
        assert len(key_id) == 8
        assert set(key_id) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def test_keys_are_found_by_name_the_current_ones_first() -> None:
    chain = KeyChain.of("new", ("old", "older"))
    assert [keys.key_id for keys in chain] == [DerivedKeys.of(secret).key_id for secret in ("new", "old", "older")]
    for secret in ("new", "old", "older"):
        assert chain.find(DerivedKeys.of(secret).key_id) == DerivedKeys.of(secret)
    assert chain.find(DerivedKeys.of("another").key_id) is None
    assert chain.find("") is None
    assert list(KeyChain.of("new")) == [DerivedKeys.of("new")]


def test_keys_do_not_show_themselves() -> None:
    chain = KeyChain.of("new", ("old",))
    shown = f"{chain!r} {chain} {chain.current!r} {chain.current} {chain.previous!r}"
    for keys in chain:
        for key in keys_of(keys):
            assert repr(key)[2:-1] not in shown
            assert key.hex() not in shown
