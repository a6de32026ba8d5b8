"""The generator of texts."""

from hypothesis import given, settings
from hypothesis import strategies as st

from greenserve.loadtest.texts import COMBINATIONS, REPEATED, Texts, text_of


def test_no_two_indexes_share_a_text() -> None:
    """A whole turn of combinations and the start of the next: all different."""
    some = {text_of(index) for index in range(0, 2 * COMBINATIONS, 7)}

    assert len(range(0, 2 * COMBINATIONS, 7)) == len(some)


@settings(max_examples=100)
@given(st.integers(0, 10**13))
def test_texts_are_short_and_the_same_for_the_same_index(index: int) -> None:
    """Plain ASCII of tweet length, decided by the index alone."""
    assert text_of(index) == text_of(index)
    assert 20 <= len(text_of(index)) <= 140
    assert text_of(index).isascii()


def test_a_run_without_repeats_has_new_texts_only() -> None:
    """Share 0: every text once. Share 1: at most 32 texts. Another start: other texts."""
    fresh, repeating = Texts(first=5, repeat_share=0.0, seed=1), Texts(first=5, repeat_share=1.0, seed=1)
    later = Texts(first=10_000, repeat_share=0.0, seed=1)

    new = {fresh.next_text() for _ in range(1000)}
    repeated = {repeating.next_text() for _ in range(1000)}

    assert 1000 == len(new)
    assert REPEATED == len(repeated)
    assert not new & repeated
    assert not new & {later.next_text() for _ in range(1000)}
