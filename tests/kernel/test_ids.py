"""Request ids: unique, and in the order of their making."""

import time
import uuid

import pytest

from greenserve.ids import new_request_id, unix_ms_of


def test_ids_are_unique_and_sort_by_their_making() -> None:
    """Also those of one millisecond."""
    made = [new_request_id() for _ in range(2_000)]

    assert sorted(set(made)) == made


def test_an_id_carries_when_it_was_made() -> None:
    """Milliseconds since 1970, between the times before and after."""
    before_ms = time.time_ns() // 1_000_000
    carried_ms = unix_ms_of(new_request_id())
    after_ms = time.time_ns() // 1_000_000

    assert before_ms <= carried_ms <= after_ms


@pytest.mark.parametrize("other", [str(uuid.UUID(int=0)), str(uuid.uuid4()), "", "request-1"])
def test_an_id_of_another_kind_carries_no_time(other: str) -> None:
    """An error instead of a wrong time."""
    with pytest.raises(ValueError, match=r"version|badly formed"):
        unix_ms_of(other)
