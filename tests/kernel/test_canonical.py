"""One byte string for one JSON value."""

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.canonical import LARGEST_INTEGER, canonical_json, ledger_json, sha256_hex

names = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=6)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-LARGEST_INTEGER, LARGEST_INTEGER) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=10,
)
bodies = st.dictionaries(names, values, max_size=5)


@given(bodies)
def test_the_fast_form_is_the_canonical_one(body: dict[str, Any]) -> None:
    """For what a ledger body may hold, both writers give the same bytes."""
    assert canonical_json(body) == ledger_json(body)


@given(bodies, st.randoms())
def test_the_order_of_members_changes_nothing(body: dict[str, Any], random: Any) -> None:
    """Two machines that built the same object differently agree on its digest."""
    members = list(body.items())
    random.shuffle(members)

    assert canonical_json(body) == canonical_json(dict(members))
    assert body == json.loads(canonical_json(body))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**53 + 1])
def test_what_machines_write_differently_is_refused(value: object) -> None:
    """NaN, infinities, integers that a float cannot hold."""
    with pytest.raises(Exception, match=r".") as refused:
        canonical_json({"x": value})

    assert "rfc8785" in type(refused.value).__module__


def test_digests_are_sha256() -> None:
    """In lower-case hex."""
    assert hashlib.sha256(b"x").hexdigest() == sha256_hex(b"x")
