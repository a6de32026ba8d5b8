"""Who pays for a row: the one who asked, all who joined, or the platform."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.carbon.members import CHARGED, Cause, Member, Row, members_of


def test_a_request_pays_the_sum_of_its_rows() -> None:
    """However they lie in the batch, in the order of ids."""
    rows = [Row(weight=5, request_ids=["b"]), Row(weight=2, request_ids=["a"]), Row(weight=1, request_ids=["b"])]

    assert (Member(request_id="a", weight=2), Member(request_id="b", weight=6)) == members_of(rows)


def test_those_who_joined_a_row_share_it_equally() -> None:
    """Also one that was cancelled since; the odd unit goes to the smaller id."""
    assert [("a", 4), ("b", 3), ("c", 3)] == [
        (member.request_id, member.weight) for member in members_of([Row(weight=10, request_ids=["c", "a", "b"])])
    ]


@given(st.lists(st.tuples(st.integers(0, 99), st.sets(st.sampled_from("abcd"), min_size=1)), min_size=1, max_size=6))
def test_no_weight_is_lost(rows: list[tuple[int, set[str]]]) -> None:
    """The members' weights sum to the rows'."""
    members = members_of(Row(weight=weight, request_ids=sorted(names)) for weight, names in rows)

    assert sum(weight for weight, _ in rows) == sum(member.weight for member in members)


@pytest.mark.parametrize("cause", ["answered", "cancelled", "failed", "client_hedge", "client_retry"])
def test_what_the_client_caused_is_charged_to_it(cause: Cause) -> None:
    """Its own copy, its own change of mind, its own faulty row."""
    assert members_of([Row(weight=1, request_ids=["a"], cause=cause)])[0].charged


@pytest.mark.parametrize("cause", ["failed_beside", "gateway_hedge", "gateway_retry", "lost_copy", "unrecorded"])
def test_what_the_gateway_or_a_fault_caused_is_not(cause: Cause) -> None:
    """It is waste, carried by the platform."""
    assert not members_of([Row(weight=1, request_ids=["a"], cause=cause)])[0].charged


def test_a_failing_row_is_charged_and_those_beside_it_are_not() -> None:
    """Theirs is run again, and that run is charged."""
    rows = [
        Row(weight=1, request_ids=["bad"], cause="failed"),
        Row(weight=1, request_ids=["good"], cause="failed_beside"),
    ]

    assert [("bad", True), ("good", False)] == [(one.request_id, one.charged) for one in members_of(rows)]
    assert 10 == len(CHARGED)


def test_contradictions_are_refused() -> None:
    """One request charged and not charged in one batch, a row of nobody, negative weights."""
    with pytest.raises(ValueError, match="charged for one row"):
        members_of([Row(weight=1, request_ids=["a"]), Row(weight=1, request_ids=["a"], cause="lost_copy")])
    with pytest.raises(ValueError, match="at least one request"):
        Row(weight=1, request_ids=[])
    with pytest.raises(ValueError, match="each once"):
        Row(weight=1, request_ids=["a", "a"])
    with pytest.raises(ValueError, match=">= 0"):
        Member(request_id="a", weight=-1)
