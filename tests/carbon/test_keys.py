"""The text of API keys: made, read back, refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.carbon.keys import hmac_of, mint, parse, same_hmac
from greenserve.errors import InvalidKey

ids = st.binary(min_size=8, max_size=8)
secrets = st.binary(min_size=32, max_size=32)


@given(ids, secrets)
def test_a_minted_key_is_read_back(random_id: bytes, secret: bytes) -> None:
    """The text gives back the public id and the whole secret."""
    text, key_id = mint(random_id, secret)

    assert (key_id, secret) == parse(text)
    assert (75, 12) == (len(text), len(key_id))


@given(ids, secrets, st.integers(3, 74), st.sampled_from("0123456789abcdefghjkmnpqrstvwxyz"))
def test_one_wrong_character_is_always_found(random_id: bytes, secret: bytes, place: int, char: str) -> None:
    """A typing error is told apart from an unknown key."""
    text, _ = mint(random_id, secret)
    changed = text[:place] + char + text[place + 1 :]

    if changed != text:
        with pytest.raises(InvalidKey):
            parse(changed)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "start with gs_"),
        ("sk-1234", "start with gs_"),
        ("gs_short", "this one has 8"),
        ("gs_" + "0" * 12 + "_" + "0" * 59, "checksum"),
    ],
)
def test_a_refused_key_says_why(text: str, reason: str) -> None:
    """The message helps who copied the key, and never repeats it."""
    with pytest.raises(InvalidKey, match=reason):
        parse(text)


def test_an_hmac_depends_on_pepper_and_secret() -> None:
    """The stored value is useless without the server's pepper."""
    stored = hmac_of(b"p" * 32, b"s" * 32)

    assert same_hmac(stored, hmac_of(b"p" * 32, b"s" * 32))
    assert not same_hmac(stored, hmac_of(b"q" * 32, b"s" * 32))
    assert not same_hmac(stored, hmac_of(b"p" * 32, b"t" * 32))


def test_minting_needs_all_its_random_bytes() -> None:
    """Fewer bits would make a key that can be guessed."""
    with pytest.raises(ValueError, match="8 and 32"):
        mint(b"1234567", b"s" * 32)
