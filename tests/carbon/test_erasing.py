"""What stays of erased rows, and what an erasure cannot reach."""

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from greenserve.carbon.erasing import Leaves, is_shared, kept_of, key_after, subject_of, whose
from greenserve.carbon.ledger.erasure import what_lies_outside
from greenserve.carbon.ledger.rollup import RollupKey
from greenserve.carbon.ledger.spend import Spend, SpendKey
from greenserve.carbon.removed_keys import SUBJECT, SUBJECT_END, is_erased
from greenserve.carbon.tally import Tally
from greenserve.carbon.tenancy import TENANT_ID

HUSH = "hush-hush-corp"


def test_what_lies_outside_is_named(tmp_path: Path) -> None:
    """Statements that were issued, spools, copies: the ledger cannot reach them."""
    (tmp_path / f"{HUSH}-2026-01-01h00-2026-02-01h00-0123456789ab.json").write_text("{}")
    (tmp_path / "g-1-a.1.spool").write_bytes(b"")

    archived = [tmp_path / "2026-01.parquet"]
    found = what_lies_outside(HUSH, statements=tmp_path, spools=tmp_path, archived=archived, is_sqlite=True)

    assert f"1 statements that were issued to it, in {tmp_path}" == found[0]
    assert "1 spools" in found[1]
    assert "2026-01.parquet: of a month that was taken back" in found[2]
    assert any("backups" in one for one in found)


def test_a_request_keeps_its_key_and_other_keys_give_way() -> None:
    """A request's id is random; the key of a tenant's own entries would tell its name to whoever guesses it."""
    assert b"k" * 16 == key_after("usage", b"k" * 16, 3)
    assert {16} == {len(key_after("tenant", b"k" * 16, idx)) for idx in (3, 4)}
    assert key_after("tenant", b"k" * 16, 3) != key_after("tenant", b"k" * 16, 4)


@settings(max_examples=50)
@given(st.binary(min_size=6, max_size=6))
def test_a_stand_in_is_no_tenant(random: bytes) -> None:
    """No tenant can have its id, and all stand-ins lie between two bounds."""
    subject = subject_of(random)

    assert is_erased(subject)
    assert SUBJECT <= subject < SUBJECT_END
    assert TENANT_ID.fullmatch(subject) is None


def test_kept_sums_join_the_keys_of_a_tenant() -> None:
    """One row per hour, model, variant and region; its sums are those of all keys."""
    rows = []
    for key_id in ("a", "b"):
        tally = Tally()
        tally.requests, tally.active_uj = 1, 5
        rows.append((RollupKey(HUSH, key_id, 1, "m", "v", "r", "own"), tally))

    kept = kept_of("_erased-1", rows, [(SpendKey("model//m", 0, 7), Spend(requests=2))])

    ((row, tally),) = kept.rollups
    ((place, spend),) = kept.spends
    assert (RollupKey("_erased-1", "", 1, "m", "v", "r", "own"), 2, 10) == (row, tally.requests, tally.active_uj)
    assert ("_erased-1/model//m", Spend(requests=2)) == (place.subject, spend)
    assert ("_erased-1", SpendKey("model//m", 0, 7)) == whose(place)


def test_leaves_are_bound_in_order_and_whole() -> None:
    """Another row, order or column is another digest."""
    rows = [(1, 202601, "usage", b"k", 0, 0, 9), (2, 202601, "usage", b"k", 0, 1, 9)]
    told = []
    for taken in (rows, rows[::-1], rows[:1], [rows[0], (*rows[1][:6], 8)]):
        leaves = Leaves()
        for row in taken:
            leaves.take(row)
        told.append(leaves.members()["sha256"])

    assert 4 == len(set(told))


def test_what_others_count_for_is_shared() -> None:
    """A model of all, an org, a key; a tenant's own rows are not."""
    subjects = ("model//m", "org/o", "key/k", "tenant/t", "project/t/p", "model/t/m")

    assert ["model//m", "org/o", "key/k"] == [one for one in subjects if is_shared(one)]
