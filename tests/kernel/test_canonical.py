"""Canonical JSON: one value, one byte string, whoever writes it."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.canonical import LARGEST_INTEGER, canonical_json, ledger_json, sha256_hex

KEYS = st.text(st.characters(max_codepoint=127), max_size=6)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS = st.none() | st.booleans() | st.integers(-LARGEST_INTEGER, LARGEST_INTEGER) | TEXTS
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner), max_leaves=10)
BODIES = st.dictionaries(KEYS, VALUES)


@given(BODIES)
def test_the_fast_writer_of_ledger_bodies_writes_the_same_bytes(body: Mapping[str, object]) -> None:
    """An auditor with any RFC 8785 library gets our digests."""
    assert canonical_json(body) == ledger_json(body)


@given(BODIES, st.randoms(use_true_random=False))
def test_the_order_of_members_changes_nothing(body: dict[str, object], random: object) -> None:
    """Sorted by key, so that two writers agree."""
    shuffled = dict(reversed(list(body.items())))

    assert canonical_json(body) == canonical_json(shuffled)
    assert ledger_json(body) == ledger_json(shuffled)


def test_numbers_and_signs_are_written_as_the_standard_says() -> None:
    """A sample of RFC 8785: shortest numbers, no spaces, few escapes."""
    value = {"b": [1e30, 0.002, 1.0, -0.0], "a": '\u20ac\u0001"\\\n', "é": None}

    assert '{"a":"€\\u0001\\"\\\\\\n","b":[1e+30,0.002,1,0],"é":null}'.encode() == canonical_json(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), LARGEST_INTEGER + 1, {1: 2}, b"x", "\ud800"])
def test_what_json_cannot_say_exactly_is_refused(value: object) -> None:
    """Better no digest than one that another machine cannot repeat."""
    with pytest.raises((ValueError, TypeError)):
        canonical_json({"value": value} if not isinstance(value, dict) else value)


def test_digests_are_those_of_everybody() -> None:
    """The known SHA-256 of nothing."""
    assert "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" == sha256_hex(b"")
