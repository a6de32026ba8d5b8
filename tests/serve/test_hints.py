"""Hints and credentials in headers or metadata."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.errors import InvalidKey, InvalidRequest
from greenserve.records import Hints
from greenserve.serve.hints import credential_of, hints_of, idempotency_key_of


def test_no_hint_means_nothing_asked() -> None:
    """Every member is None."""
    assert Hints() == hints_of({"content-type": "application/json"})


def test_all_hints_are_read() -> None:
    """Each from its own header, the variant from the request's parameters."""
    headers = {
        "greenserve-policy": "min-carbon",
        "greenserve-deadline-ms": "250",
        "greenserve-min-quality": "0.8",
        "greenserve-regions": "north, south",
        "greenserve-cache": "no-store",
    }

    assert Hints(
        policy="min-carbon",
        deadline_s=0.25,
        min_quality=0.8,
        regions=frozenset({"north", "south"}),
        variant="fp32",
        no_store=True,
    ) == hints_of(headers, variant="fp32")


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("greenserve-policy", "greenest"),
        ("greenserve-policy", ""),
        ("greenserve-deadline-ms", "0"),
        ("greenserve-deadline-ms", "-5"),
        ("greenserve-deadline-ms", "soon"),
        ("greenserve-deadline-ms", "inf"),
        ("greenserve-deadline-ms", "nan"),
        ("greenserve-min-quality", "1.01"),
        ("greenserve-min-quality", "-0.1"),
        ("greenserve-min-quality", "nan"),
        ("greenserve-cache", "no-cache"),
        ("greenserve-regions", ""),
        ("greenserve-regions", "north,,south"),
        ("greenserve-regions", " , "),
    ],
)
def test_a_hint_that_cannot_be_read_is_refused(header: str, value: str) -> None:
    """Named, with what was given: a hint that is ignored would be a wrong answer."""
    with pytest.raises(InvalidRequest) as refused:
        hints_of({header: value})

    assert header in str(refused.value).lower()
    assert repr(value) in str(refused.value)


@pytest.mark.parametrize("variant", [5, True, ["fp32"], {}, ""])
def test_a_variant_is_named_by_text(variant: Any) -> None:
    """Anything else is refused."""
    with pytest.raises(InvalidRequest, match="greenserve_variant"):
        hints_of({}, variant=variant)


@pytest.mark.parametrize(("given_priority", "priority"), [(None, 2), (0, 2), (1, 1), (2, 2), (3, 3)])
def test_a_priority_is_one_to_three(given_priority: int | None, priority: int) -> None:
    """0 and nothing are the default, which is in the middle."""
    assert priority == hints_of({}, priority=given_priority).priority


@pytest.mark.parametrize("priority", ["1", "high", True, False, 1.0, -1, 4, [1], {}])
def test_another_priority_is_refused(priority: Any) -> None:
    """Strings too: a number that a client wrote as text is a mistake of its own."""
    with pytest.raises(InvalidRequest, match=r"parameters\.priority: 1 \(highest\) to 3"):
        hints_of({}, priority=priority)


@given(st.floats())
def test_a_quality_is_taken_exactly_between_zero_and_one(value: float) -> None:
    """Any float that Python writes."""
    headers = {"greenserve-min-quality": repr(value)}

    if math.isnan(value) or not 0 <= value <= 1:
        with pytest.raises(InvalidRequest):
            hints_of(headers)
    else:
        assert value == hints_of(headers).min_quality


@pytest.mark.parametrize("given_header", ["Bearer gs_1", "bearer gs_1", "BEARER  gs_1 "])
def test_a_bearer_key_is_taken_whatever_the_case_of_its_scheme(given_header: str) -> None:
    """As RFC 9110 has it."""
    assert "gs_1" == credential_of({"authorization": given_header})


def test_no_authorization_is_no_key() -> None:
    """Whether one is needed decides admission."""
    assert None is credential_of({})


@pytest.mark.parametrize("given_header", ["", "Bearer", "Bearer ", "Basic dXNlcg==", "gs_1"])
def test_another_scheme_is_refused_without_being_repeated(given_header: str) -> None:
    """The message shows the form that is needed, never what was given: it may be a secret."""
    with pytest.raises(InvalidKey, match="Bearer gs_") as refused:
        credential_of({"authorization": given_header})

    assert "dXNlcg" not in str(refused.value)


@pytest.mark.parametrize(
    ("given", "key"), [("8e03978e", "8e03978e"), ('"8e03978e"', "8e03978e"), ("a" * 255, "a" * 255)]
)
def test_an_idempotency_key_is_bare_or_quoted(given: str, key: str) -> None:
    """As most clients write it, and as the draft of its standard does."""
    assert key == idempotency_key_of({"idempotency-key": given})


@pytest.mark.parametrize("given", ["", '""', "a b", "a" * 256, "caf\xe9", "a\x7f"])
def test_an_idempotency_key_that_cannot_be_one_is_refused(given: str) -> None:
    """The message says what is allowed."""
    with pytest.raises(InvalidRequest, match=r"Idempotency-Key: 1\.\.255 visible ASCII"):
        idempotency_key_of({"idempotency-key": given})


def test_no_idempotency_key_is_none() -> None:
    """Most calls have none."""
    assert idempotency_key_of({}) is None


@pytest.mark.parametrize(
    ("given", "until_us"),
    [
        ("2027-01-31T08:30:00Z", 1_801_384_200_000_000),
        ("2027-01-31T09:30:00.5+01:00", 1_801_384_200_500_000),
    ],
)
def test_a_time_to_wait_until_is_read_from_header_or_parameter(given: str, until_us: int) -> None:
    """What may wait goes last and waits for company, unless the caller says otherwise."""
    for hints in (hints_of({"greenserve-defer-until": given}), hints_of({}, defer_until=given)):
        assert (until_us, 3, "min-carbon") == (hints.defer_until_us, hints.priority, hints.policy)
    urgent = hints_of({"greenserve-policy": "balanced", "greenserve-defer-until": given}, priority=1)
    assert (1, "balanced") == (urgent.priority, urgent.policy)


@pytest.mark.parametrize("given", ["", "tomorrow", "2027-01-31T08:30:00", "1801384200", "08:30Z", "2027-13-01T00:00Z"])
def test_a_time_that_cannot_be_read_is_refused(given: str) -> None:
    """Also one without its offset: nobody knows whose clock it is."""
    with pytest.raises(InvalidRequest, match=r"GreenServe-Defer-Until: .*RFC 3339.* such as 2027-01-31T08:30:00Z"):
        hints_of({"greenserve-defer-until": given})


@pytest.mark.parametrize("given", [5, True, ["2027-01-31T08:30:00Z"], 1.5])
def test_a_time_as_a_parameter_is_a_string(given: object) -> None:
    """The message names the parameter."""
    with pytest.raises(InvalidRequest, match=r"parameters\.greenserve_defer_until"):
        hints_of({}, defer_until=given)


def test_header_and_parameter_may_not_contradict_each_other() -> None:
    """Neither wins in silence."""
    with pytest.raises(InvalidRequest, match="send one of them"):
        hints_of({"greenserve-defer-until": "2027-01-31T08:30:00Z"}, defer_until="2027-01-31T08:31:00Z")
