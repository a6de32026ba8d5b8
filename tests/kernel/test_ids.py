"""Request identifiers carry their time."""

import time
import uuid

import pytest

from greenserve.ids import new_request_id, unix_ms_of


def test_identifiers_are_unique_and_sort_by_time() -> None:
    """Version 7, in their canonical form."""
    made = [new_request_id() for _ in range(1_000)]

    assert sorted(made) == made
    assert 1_000 == len(set(made))
    assert {7} == {uuid.UUID(one).version for one in made}
    assert made == [str(uuid.UUID(one)) for one in made]


def test_the_time_can_be_read_back() -> None:
    """To the millisecond."""
    before_ms = time.time_ns() // 1_000_000

    carried_ms = unix_ms_of(new_request_id())

    assert before_ms <= carried_ms <= time.time_ns() // 1_000_000


@pytest.mark.parametrize("text", ["", "not-an-id", str(uuid.uuid4())])
def test_another_identifier_carries_no_time(text: str) -> None:
    """An error instead of a wrong time."""
    with pytest.raises(ValueError, match=r"hexadecimal|version 4"):
        unix_ms_of(text)
