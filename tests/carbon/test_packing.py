"""Lines of requests are kept without their members' names, and come back byte for byte."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenserve.carbon.entries import UsageLine, settled_entry, unmetered_entry, usage_entry
from greenserve.carbon.ledger.known import Readings
from greenserve.carbon.ledger.packing import first_row, own_body, packed, settled_row, stored, unpacked
from greenserve.carbon.ledger.row import prepare
from greenserve.ids import new_request_id
from greenserve.records import Usage

Lines = Callable[..., UsageLine]
ID = new_request_id()


def a_settled(first: dict[str, Any]) -> bytes:
    usage = Usage(
        request_id=ID, active_uj=1, held_uj=2, host_uj=3, low_uj=4, high_uj=9, tier="modelled", state="settled"
    )
    return prepare(settled_entry(first, usage, ("gap",), first=7)).body


@settings(max_examples=100, deadline=None)
@given(
    reason=st.none() | st.text(max_size=8),
    number=st.none() | st.integers(-(2**53) + 1, 2**53 - 1),
    known=st.booleans(),
    older=st.booleans(),
)
def test_a_body_comes_back_as_it_was(reason: str, number: int, known: bool, older: bool, a_line: Lines) -> None:
    """Whatever its texts, numbers and nulls, and where it is kept as it is, too."""
    body = dict(usage_entry(a_line(request_id=ID, **({} if known else {"usage": None}))).body)
    body |= {"reason": reason, "cpu_ns": number}
    if older:
        del body["org"]
    data = orjson.dumps(body, option=orjson.OPT_SORT_KEYS)

    kept = packed(data)

    assert data == unpacked(kept) == own_body(kept)
    assert (known and not older) == (kept != data)


def test_names_are_not_kept(a_line: Lines) -> None:
    """A first line takes three fifths of its body at most, a settled one a half."""
    first = usage_entry(a_line(request_id=ID))
    bodies = (prepare(first).body, a_settled(dict(first.body)))

    shares = [len(packed(body)) / len(body) for body in bodies]

    assert (True, True) == (shares[0] < 0.6, shares[1] < 0.5)
    assert (first.body["reason"], 7) == (first_row(packed(bodies[0])).reason, settled_row(packed(bodies[1])).first)  # type: ignore[union-attr]


def test_a_row_is_kept_alike_whoever_prepared_it(a_line: Lines) -> None:
    """The bytes follow from the body alone, in its form or decoded; other kinds are kept as they are."""
    first = usage_entry(a_line(request_id=ID))
    line = prepare(first)
    cut = prepare(unmetered_entry(dict(usage_entry(a_line(request_id=ID, usage=None)).body)))

    assert packed(line.body) == stored(line) == stored(Readings().prepare(line.body))
    assert cut.body == stored(cut)
    assert line.body == stored(line._replace(kind="meter"))


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_changed_byte_never_gives_the_same_body_unnoticed(data: st.DataObject, a_line: Lines) -> None:
    """Any other byte in what is kept gives another body, or one that is not kept as it would be."""
    first = usage_entry(a_line(request_id=ID, reason="caf\u00e9"))
    body = data.draw(st.sampled_from([prepare(first).body, a_settled(dict(first.body))]))
    kept = packed(body)
    place = data.draw(st.integers(0, len(kept) - 1))
    byte = data.draw(st.sampled_from([0x20, 0x30, 0x31, 0x2D, 0x2E, 0x5C, 0x22, 0x5D, 0x7B, 0x80, kept[place] ^ 32]))
    how = data.draw(st.sampled_from(["in its place", "before it", "gone"]))
    changed = kept[:place] + (b"" if how == "gone" else bytes([byte])) + kept[place + (how != "before it") :]

    assert changed == kept or own_body(changed) != body


@pytest.mark.parametrize("damaged", [b"[", b"[]", b"[3]", b"[1]", b"[1,null]", b'["first"]', b"[1,2,3", b"\x80"])
def test_what_is_no_packed_line_is_given_back(damaged: bytes) -> None:
    """Whoever reads it finds a body that is none; nothing is made up, and nothing raises here."""
    assert damaged == unpacked(damaged) == own_body(damaged)
    assert (None, None) == (first_row(damaged), settled_row(damaged))
