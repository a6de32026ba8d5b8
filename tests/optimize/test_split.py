"""Duplicates and splits."""

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.errors import InvalidRequest
from greenserve.optimize.split import normalised, split, without_duplicates

texts = st.text(alphabet="abAB ", min_size=1, max_size=4)
labelled = st.lists(st.tuples(texts, st.sampled_from("xy")), max_size=40)


def rows_of(**counts: int) -> list[tuple[str, str]]:
    """Distinct texts per label."""
    return [(f"{label} {index}", label) for label, count in counts.items() for index in range(count)]


@given(labelled)
def test_a_text_is_kept_once_and_only_where_its_labels_agree(rows: list[tuple[str, str]]) -> None:
    """Copies differ by case, width or outer spaces; one conflicting label drops all of them."""
    kept = without_duplicates(rows)

    agreed = {
        key
        for key in map(normalised, (text for text, _ in rows))
        if key and len({label for text, label in rows if normalised(text) == key}) == 1
    }
    assert Counter(agreed) == Counter(normalised(text) for text, _ in kept)
    assert set(kept) <= set(rows)


def test_the_first_spelling_is_kept() -> None:
    """What is trained on is a text of the file, not its normalised form."""
    assert without_duplicates([("Ａ Text ", "x"), ("a text", "x")]) == [("Ａ Text ", "x")]


@given(st.integers(3, 40), st.integers(3, 40), st.integers(0, 5), st.randoms())
def test_splits_are_disjoint_and_do_not_depend_on_the_order_of_rows(
    first: int, second: int, seed: int, random: Random
) -> None:
    """No text is in two splits, none is lost, each class is in each split."""
    rows = rows_of(x=first, y=second)
    shuffled = random.sample(rows, k=len(rows))

    made = split(rows, labels=("x", "y"), sizes=(200, 100, 300), seed=seed)

    parts = (made.train, made.val, made.test)
    everything = [text for part in parts for text in part.texts]
    assert len(everything) == len(set(everything))
    assert set(everything) <= {text for text, _ in rows}
    assert len(everything) >= len(rows) - 2
    assert all({0, 1} == set(part.labels) for part in parts)
    assert made == split(shuffled, labels=("x", "y"), sizes=(200, 100, 300), seed=seed)


def test_sizes_are_met_exactly_where_rows_suffice() -> None:
    """Each class takes its share of every split."""
    made = split(rows_of(x=600, y=300), labels=("x", "y"), sizes=(200, 100, 300), seed=0)

    assert tuple(len(part.texts) for part in (made.train, made.val, made.test)) == (200, 100, 300)
    assert Counter(made.test.labels) == {0: 200, 1: 100}


def test_another_seed_makes_other_splits() -> None:
    """The seed decides which rows are tested."""
    rows = rows_of(x=60, y=60)
    sizes = (20, 10, 30)

    assert split(rows, labels=("x", "y"), sizes=sizes, seed=0) != split(rows, labels=("x", "y"), sizes=sizes, seed=1)


def test_a_class_without_rows_is_refused_by_name() -> None:
    """The message counts every class."""
    with pytest.raises(InvalidRequest, match="'y': 0"):
        split(rows_of(x=60), labels=("x", "y"), sizes=(20, 10, 30), seed=0)
