"""The audit's short way finds and adds up just what the long way does."""

from collections.abc import Callable, Sequence
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from greenserve.carbon.entries import US_PER_HOUR, UsageLine, settled_entry, unmetered_entry, usage_entry
from greenserve.carbon.held_lines import HeldLines
from greenserve.carbon.ledger.audit import Audit
from greenserve.carbon.ledger.forms import body_of, first_line, settled_line
from greenserve.carbon.ledger.packing import stored
from greenserve.carbon.ledger.pairs import Pairs
from greenserve.carbon.ledger.rollup import RollupKey, Rollups, rollup_key, sums_of
from greenserve.carbon.ledger.row import Row, prepare, prepare_bytes
from greenserve.carbon.ledger.spend import Places, spends_of
from greenserve.carbon.tally import Tally
from greenserve.ids import new_request_id
from greenserve.records import Basis, IntensityReading, Usage

AT_US = 1_767_225_600_000_000
Lines = Callable[..., UsageLine]
IDS = [new_request_id() for _ in range(6)]


@st.composite
def readings(draw: st.DrawFn) -> IntensityReading | None:
    """A grid reading, with or without one in the other basis, or none."""
    if draw(st.integers(0, 5)) == 0:
        return None
    basis: Basis = draw(st.sampled_from(["lifecycle", "direct"]))
    common: dict[str, Any] = {
        "zone": "SE", "start_us": AT_US, "end_us": AT_US + 3_600_000_000, "kind": "average", "origin": "recorded",
        "retrieved_us": AT_US, "level": draw(st.sampled_from([None, "measured"])),
        "u_grid_bp": draw(st.sampled_from([None, 500])),
    }  # fmt: skip
    other = None
    if draw(st.booleans()):
        other = IntensityReading(
            basis="direct" if basis == "lifecycle" else "lifecycle", mg_per_kwh=draw(st.sampled_from([0, 9_000])),
            provider=draw(st.sampled_from(["a", "b"])), **common,
        )  # fmt: skip
    return IntensityReading(
        basis=basis, mg_per_kwh=draw(st.sampled_from([0, 31_000])), provider="a", counterpart=other, **common
    )


@st.composite
def rows_of(draw: st.DrawFn, a_line: Lines) -> list[Row]:
    """The rows of a sound ledger: requests of many kinds, most of them settled."""
    firsts, bodies = [], []
    for request_id in IDS[: draw(st.integers(1, len(IDS)))]:
        known = draw(st.integers(0, 5)) > 0
        line = a_line(
            request_id=request_id, tenant=draw(st.sampled_from(["acme", "globex"])), intensity=draw(readings()),
            ended_us=AT_US + draw(st.sampled_from([0, 1, 900_000_000, 3_600_000_000])),
            tokens_in=draw(st.sampled_from([None, 0, 12])), pue_milli=draw(st.sampled_from([None, 1_120])),
            charged=draw(st.integers(0, 5)) > 0, org=draw(st.sampled_from([None, "o"])),
            project=draw(st.sampled_from([None, "p"])), reason=draw(st.sampled_from([None, "caf\u00e9 \"x\"\n"])),
            flags=draw(st.sampled_from([(), ("gap",)])), cache=draw(st.sampled_from(["miss", "hit"])),
            usage=Usage(
                request_id=request_id, active_uj=draw(st.integers(0, 10**6)), held_uj=draw(st.integers(0, 9)),
                host_uj=0, low_uj=0, high_uj=10**7, tier="modelled", state="provisional",
            ) if known else None,
        )  # fmt: skip
        entry = usage_entry(line)
        firsts.append(entry)
        bodies.append(prepare(entry))
    for idx, entry in enumerate(firsts):
        kind = draw(st.sampled_from(["open", "settled", "settled", "settled", "unmetered", "unknown"]))
        told = draw(st.sampled_from([None, idx]))
        usage = Usage(
            request_id=str(entry.body["request_id"]), active_uj=draw(st.integers(0, 10**6)), held_uj=3, host_uj=4,
            low_uj=1, high_uj=10**7, tier=draw(st.sampled_from(["measured", "modelled"])), state="settled",
        )  # fmt: skip
        flags = draw(st.sampled_from([(), ("gap",), ("gap", "gap")]))
        if kind == "unmetered":
            bodies.append(prepare(unmetered_entry(entry.body, first=told)))
        elif kind != "open":
            bodies.append(prepare(settled_entry(entry.body, usage if kind == "settled" else None, flags, first=told)))
    return [Row(idx, *line[:8]) for idx, line in enumerate(bodies)]


def long_way(rows: Sequence[Row]) -> Audit:
    audit = Audit()
    for row in rows:
        audit.see(row)
    return audit


def short_way(rows: Sequence[Row]) -> Audit:
    audit = Audit()
    audit.see_all(rows)
    return audit


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_sound_ledger_has_the_same_sums_either_way(data: st.DataObject, a_line: Lines) -> None:
    """Sums of requests that are alike are the sums of each: findings print all of them against no stored rows."""
    rows = data.draw(rows_of(a_line))

    assert long_way(rows).finish({}, {}) == short_way(rows).finish({}, {})


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_what_was_changed_is_named_the_same_either_way(data: st.DataObject, a_line: Lines) -> None:
    """A changed byte or column, a row that is gone, twice there or elsewhere: the short way misses none."""
    rows = data.draw(rows_of(a_line))
    at = data.draw(st.integers(0, len(rows) - 1))
    row = rows[at]
    assert row.body is not None
    place = data.draw(st.integers(0, len(row.body) - 1))
    byte = bytes([data.draw(st.sampled_from([0x20, 0x30, 0x39, 0x22, 0x2D, 0x5C, 0x7B, 0x80, 0x00]))])
    changed = {
        "byte": row._replace(body=row.body[:place] + byte + row.body[place + 1 :]),
        "blank": row._replace(body=row.body[:place] + b" " + row.body[place:]),
        "tenant": row._replace(tenant="other"),
        "hour": row._replace(hour=row.hour + 1),
        "period": row._replace(period=row.period + 1),
        "attempt": row._replace(attempt=1),
        "revision": row._replace(revision=1 - row.revision),
        "key": row._replace(key=row.key[:15] + bytes([row.key[15] ^ 1])),
        "erased": row._replace(body=None),
    }
    how = data.draw(st.sampled_from([*changed, "gone", "twice", "last"]))
    if how in changed:
        rows[at] = changed[how]
    elif how == "gone":
        del rows[at]
    elif how == "twice":
        rows.insert(at, row)
    else:
        rows.append(rows.pop(at))

    assert long_way(rows).finish({}, {}) == short_way(rows).finish({}, {})


@settings(max_examples=100, deadline=None)
@given(data=st.data(), text=st.text(max_size=5), number=st.integers(-(2**54), 2**54))
def test_a_form_takes_only_what_is_canonical(data: st.DataObject, text: str, number: int, a_line: Lines) -> None:
    """Bytes that a form takes are the ones that the general way writes; other texts and numbers are no exception."""
    body = dict(orjson.loads(prepare(usage_entry(a_line(request_id=IDS[0]))).body))
    body |= {"reason": text, "cpu_ns": number}
    options = data.draw(st.sampled_from([0, orjson.OPT_SORT_KEYS, orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2]))
    written = orjson.dumps(body, option=options)
    line = first_line(written)

    if options == orjson.OPT_SORT_KEYS and abs(number) < 2**53:
        assert line is not None
    if line is not None:
        assert prepare_bytes(written).body == written == body_of(line)


def test_what_this_version_writes_goes_the_short_way(a_line: Lines) -> None:
    """Members that usage lines gain belong into `forms`, too, or verifying a million entries takes three times as
    long: here is where one finds out."""
    first = usage_entry(a_line(request_id=IDS[0], org="o", project="p"))
    usage = Usage(
        request_id=IDS[0], active_uj=1, held_uj=2, host_uj=3, low_uj=4, high_uj=9, tier="modelled", state="settled"
    )
    rows = [Row(0, *prepare(first)[:8]), Row(1, *prepare(settled_entry(first.body, usage, first=0))[:8])]
    pairs = Pairs(())

    assert [True, True] == [pairs.take(row) for row in rows]
    assert settled_line(rows[1].body or b"") is not None


def test_what_waits_is_added_once(a_line: Lines) -> None:
    """Adding up twice adds nothing more, and open requests come with `finish` alone."""
    first = usage_entry(a_line(request_id=IDS[0]))
    rollups: Rollups = {}
    places: Places = {}
    pairs = Pairs(())
    assert pairs.take(Row(0, *prepare(first)[:8]))

    pairs.add_up(rollups, places)
    assert ({}, {}) == (rollups, places)
    pairs.finish(rollups, places)
    pairs.finish(rollups, places)

    assert [1] == [sums_of(tally).requests for tally in rollups.values()]
    assert {1} == {spend.requests for spend in spends_of(places).values()}


def test_a_request_given_up_is_in_no_sum(a_line: Lines) -> None:
    """The long way takes it from there with its index and whole body."""
    first = usage_entry(a_line(request_id=IDS[0]))
    line = prepare(first)
    pairs = Pairs(())
    assert pairs.take(Row(7, *line[:8]))

    assert (7, orjson.loads(line.body)) == pairs.give_up((line.key, 0))
    assert pairs.give_up((line.key, 0)) is None
    rollups: Rollups = {}
    pairs.finish(rollups, {})
    assert {} == rollups


def test_only_lines_of_restated_rows_go_the_long_way(a_line: Lines) -> None:
    """What a restatement changes is held with its members; rows beside it are taken as ever."""
    held, free = (usage_entry(a_line(request_id=one, tenant=tenant)) for one, tenant in zip(IDS, "ab", strict=False))
    row = rollup_key(held.body, AT_US // US_PER_HOUR)
    pairs = Pairs((), HeldLines([row]))

    taken = [pairs.take(Row(idx, *prepare(entry)[:8])) for idx, entry in enumerate((held, free))]

    assert [False, True] == taken


def test_kept_lines_go_the_short_way_too(a_line: Lines) -> None:
    """As they come from the tables: packed."""
    first = usage_entry(a_line(request_id=IDS[0]))
    lines = [prepare(first), prepare(unmetered_entry(first.body, first=0))]
    pairs, rollups = Pairs(()), dict[RollupKey, Tally]()

    taken = [pairs.take((idx, *line[:7], stored(line))) for idx, line in enumerate(lines)]
    pairs.finish(rollups, {})

    assert [True, True] == taken
    assert [1] == [tally.unreconciled for tally in rollups.values()]
