"""Trouble that lasts is told at its beginning and its end."""

import logging

import pytest

from greenserve.trouble import Trouble


def test_a_fault_that_stays_is_logged_once_and_its_end_with_the_count(caplog: pytest.LogCaptureFixture) -> None:
    """A disk that is full for an hour does not fill the log with the same trace each second."""
    trouble = Trouble(logging.getLogger("test"), "the page was not written")

    trouble.over()
    for _ in range(3_600):
        trouble.met(OSError("disk full"))
    trouble.met(OSError("read-only"))
    trouble.over()
    trouble.over()

    told = [f"the page was not written: {end}" for end in ("disk full", "read-only", "over after 3601 failures")]
    assert told == [record.getMessage() for record in caplog.records]
    assert not any(record.exc_info for record in caplog.records)


def test_a_fault_that_comes_back_is_told_again(caplog: pytest.LogCaptureFixture) -> None:
    """Each time that it begins."""
    trouble = Trouble(logging.getLogger("test"), "no answer")

    for _ in range(2):
        trouble.met(ValueError("away"))
        trouble.over()

    assert 4 == len(caplog.records)
    assert 2 == sum(record.exc_info is not None for record in caplog.records)
