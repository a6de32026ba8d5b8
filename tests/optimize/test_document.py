"""Digests of the manifest."""

import copy
from typing import Any

import pytest

from greenserve.optimize.document import identity_sha256, iso, measured_sha256
from greenserve.optimize.run import Outcome


@pytest.fixture
def document(tiny_outcome: Outcome) -> dict[str, Any]:
    """A copy of the tiny manifest, to be changed."""
    return copy.deepcopy(dict(tiny_outcome.document))


def test_the_digests_are_those_of_the_document(document: dict[str, Any]) -> None:
    """Anyone can compute them again from the file."""
    assert document["identity_sha256"] == identity_sha256(document)
    assert document["measured_sha256"] == measured_sha256(document)


def test_a_measurement_is_no_part_of_the_identity(document: dict[str, Any]) -> None:
    """Another time on another day: the same variant."""
    before = identity_sha256(document), measured_sha256(document)

    document["variants"][0]["profiles"][0]["q99"] += 1.0

    assert before[0] == identity_sha256(document)
    assert before[1] != measured_sha256(document)


@pytest.mark.parametrize("member", ["labels", "data", "gates", "toolchain"])
def test_what_shapes_the_files_is_part_of_the_identity(document: dict[str, Any], member: str) -> None:
    """And of nothing else."""
    before = identity_sha256(document), measured_sha256(document)

    document[member] = "changed"

    assert before[0] != identity_sha256(document)
    assert before[1] == measured_sha256(document)


def test_a_changed_file_changes_the_identity(document: dict[str, Any]) -> None:
    """One digest of one variant."""
    before = identity_sha256(document)

    document["variants"][1]["files"][0]["sha256"] = "0" * 64

    assert before != identity_sha256(document)


def test_version_and_date_are_in_neither_digest(document: dict[str, Any]) -> None:
    """Publishing the same again changes no digest."""
    before = identity_sha256(document), measured_sha256(document)

    document |= {"version": 9, "created_at": "2030-01-01T00:00:00Z"}

    assert before == (identity_sha256(document), measured_sha256(document))


def test_times_are_utc_in_whole_seconds() -> None:
    """1,767,225,600 seconds after 1970 a year begins."""
    assert iso(1_767_225_600_999_999) == "2026-01-01T00:00:00Z"
