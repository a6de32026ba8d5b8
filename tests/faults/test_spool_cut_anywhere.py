"""Accounting's nineteenth invariant: a spool cut at any byte holds each acknowledged record once."""

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greenserve.carbon.ledger.spool import SpoolReader, SpoolWriter

groups = st.lists(st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=4), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(groups, st.data(), st.binary(max_size=24))
def test_a_spool_cut_at_any_byte_keeps_every_acknowledged_record(
    tmp_path: Path, drawn: list[list[bytes]], data: st.DataObject, garbage: bytes
) -> None:
    """A crash cuts the file somewhere behind the last sync, perhaps with rubbish behind the cut: all that `append`
    returned for is there, in order, once; what was under way is there whole or not at all."""
    for old in tmp_path.glob("*.spool"):
        old.unlink()
    writer = SpoolWriter(tmp_path, "gateway")
    synced = [0]
    for group in drawn:
        writer.append(group)
        (path,) = tmp_path.glob("*.spool")
        synced.append(path.stat().st_size)
    writer.close()
    whole = path.read_bytes()
    acknowledged = data.draw(st.integers(1, len(drawn)))
    cut = data.draw(st.integers(synced[acknowledged], len(whole)))
    path.write_bytes(whole[:cut] + (garbage if cut < len(whole) else b""))

    kept = [found.body for found in SpoolReader(path).frames() if found.sequence]

    everything = [body for group in drawn for body in group]
    certain = [body for group in drawn[:acknowledged] for body in group]
    assert certain == kept[: len(certain)]
    assert everything[: len(kept)] == kept


def test_every_single_cut_of_a_small_spool_reads_clean(tmp_path: Path) -> None:
    """All byte positions, none left to chance: the frames that end before the cut, and no error."""
    writer = SpoolWriter(tmp_path, "gateway")
    writer.append([b"one", b"second", b"the third one"])
    writer.close()
    (path,) = tmp_path.glob("*.spool")
    whole = path.read_bytes()
    ends = [found.end for found in SpoolReader(path).frames()]

    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])

        found = [frame.end for frame in SpoolReader(path).frames()]

        assert [end for end in ends if end <= cut] == found
