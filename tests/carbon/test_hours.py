"""A device's hours as a fold of entries: every microjoule of an hour and of its pools has one place."""

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from greenserve.carbon.entries import PLATFORM, POOLS, UsageLine, settled_entry, unmetered_entry, usage_entry
from greenserve.carbon.hour_check import HourCheck
from greenserve.carbon.hour_entries import hour_entries
from greenserve.carbon.hours import PARTS, Hours
from greenserve.carbon.pools import SHARED_POOLS, closes_at_us
from greenserve.records import Entry, Usage
from tests.carbon.statements import AT_US, HOUR_US, interval

Lines = Callable[..., UsageLine]
HOUR = AT_US // HOUR_US
joules = st.integers(0, 9) | st.integers(0, 10**12)
asked = st.tuples(
    st.sampled_from(["acme", "globex", "initech", PLATFORM]), joules, st.sampled_from([0, 1, 5, 3 * 10**9]),
    st.sampled_from([True, True, False]), st.sampled_from([0, 0, 2]),
)  # fmt: skip
stretches = st.lists(
    st.tuples(st.lists(asked, max_size=4), st.fixed_dictionaries({"idle": joules, "load": joules, "gap": joules})),
    min_size=1,
    max_size=6,
)


def a_settled(a_line: Lines, tenant: str, active_uj: int, held_ns: int, **changes: Any) -> tuple[Entry, Entry]:
    """A request's two lines."""
    first = usage_entry(a_line(tenant=tenant, held_ns=held_ns, **changes))
    usage = Usage(
        request_id=first.key, active_uj=active_uj, held_uj=2, host_uj=1, low_uj=0, high_uj=active_uj + 9,
        tier="measured", state="settled",
    )  # fmt: skip
    return first, settled_entry(first.body, usage)


def entries_of(drawn: list[Any], a_line: Lines) -> list[Entry]:
    """Stretches of one hour: requests, then the interval that holds them."""
    made: list[Entry] = []
    for number, (requests, pools) in enumerate(drawn):
        parts = {"active": 0, "held": 0, "host": 0, "waste": 0}
        for tenant, active_uj, held_ns, charged, late_h in requests:
            ended_us = AT_US + number - late_h * HOUR_US
            made += a_settled(a_line, tenant, active_uj, held_ns, charged=charged, ended_us=ended_us)
            if charged:
                parts = {"active": parts["active"] + active_uj, "held": parts["held"] + 2, "host": parts["host"] + 1,
                         "waste": parts["waste"]}  # fmt: skip
            else:
                parts["waste"] += active_uj + 3
        made.append(interval(number, at_us=AT_US + number, **parts, **pools))
    return made


def folded(entries: list[Entry]) -> Hours:
    hours, firsts = Hours(), dict[str, Any]()
    for index, entry in enumerate(entries):
        if entry.kind == "device_interval":
            hours.close(index, entry.body)
        elif entry.revision:
            hours.settle(index, entry.body, firsts[entry.key])
        else:
            firsts[entry.key] = entry.body
    return hours


def closed(entries: list[Entry], revision: int = 0) -> list[Any]:
    """The bodies that close the hour."""
    closing = folded(entries).take(("cpu", HOUR), closes_at_us(HOUR))
    assert closing is not None
    made = hour_entries(closing, revision=revision, at_us=closes_at_us(HOUR), resume_index=len(entries))
    return [entry.body for entry in made]


@settings(max_examples=100, deadline=None)
@given(stretches)
def test_an_hour_and_its_shares_keep_every_microjoule(a_line: Lines, drawn: list[Any]) -> None:
    """metered = the pools' sum, and tenants' shares sum to what they share, each to the integer."""
    entries = entries_of(drawn, a_line)

    hour, *shares = closed(entries)

    assert hour["metered_uj"] == sum(hour[pool] for pool in POOLS) + hour["pending_change_uj"]
    assert hour["metered_uj"] == sum(int(str(e.body["metered_uj"])) for e in entries if e.kind == "device_interval")
    for name in (*PARTS, "idle_uj", "load_uj", "waste_uj", "late_uj"):
        assert hour[name] == sum(share[name] for share in shares), name
    assert hour["shares"] == len({share["tenant"] for share in shares}) == len(shares)
    assert all(share["overhead_uj"] is None for share in (hour, *shares))


@settings(max_examples=60, deadline=None)
@given(stretches)
def test_pools_go_by_the_time_that_requests_held_the_device(a_line: Lines, drawn: list[Any]) -> None:
    """Each tenant's part lies less than 1 uJ from its part of the busy time; an hour that nobody used is the
    platform's."""
    hour, *shares = closed(entries_of(drawn, a_line))

    busy_ns = sum(share["busy_ns"] for share in shares)
    for share in shares:
        for name in ("idle_uj", "load_uj"):
            if busy_ns:
                assert abs(share[name] * busy_ns - hour[name] * share["busy_ns"]) < busy_ns
            else:
                assert (hour[name] if share["tenant"] == PLATFORM else 0) == share[name]


@settings(max_examples=60, deadline=None)
@given(stretches, st.data())
def test_a_changed_closing_is_named(a_line: Lines, drawn: list[Any], data: st.DataObject) -> None:
    """Whatever integer of an hour or a share is off by one, the check finds it; unchanged it finds nothing."""
    entries = entries_of(drawn, a_line)
    bodies = closed(entries)
    place = data.draw(st.integers(0, len(bodies) - 1))
    numbers = [name for name, value in bodies[place].items() if type(value) is int and name not in ("hour", "at_us")]
    name = data.draw(st.sampled_from(sorted(numbers)))
    wrong = [dict(body) for body in bodies]
    wrong[place][name] += 1

    assert [] == checked(entries, bodies)
    assert any(name in finding or "share" in finding for finding in checked(entries, wrong))


def checked(entries: list[Entry], bodies: list[Any]) -> list[str]:
    """What the check says of closings behind these entries."""
    check, firsts, found = HourCheck(), dict[str, Any](), list[str]()
    for index, entry in enumerate(entries):
        if entry.kind == "device_interval":
            check.close(index, entry.body)
        elif entry.revision:
            check.settle(index, entry.body, firsts[entry.key])
        else:
            firsts[entry.key] = entry.body
    for index, body in enumerate(bodies, len(entries)):
        found += check.hour(index, body) if body["kind"] == "device_hour" else check.share(index, body)
    return [*found, *check.between()]


def test_a_missing_share_and_a_second_closing_are_named(a_line: Lines) -> None:
    """An hour's shares stand behind it, all of them, once."""
    first, line = a_settled(a_line, "acme", 7, 10)
    entries = [first, line, interval(1, at_us=AT_US, active=7, held=2, host=1, idle=100)]
    hour, share = closed(entries)

    assert ["has no share entry of acme" in one for one in checked(entries, [hour])] == [True]
    assert ["no interval that is not closed" in one for one in checked(entries, [hour, share, hour])] == [True]
    assert ["stands twice" in one for one in checked(entries, [hour, share, share])] == [True]
    assert ["does not stand behind" in one for one in checked(entries, [share])] == [True]


def test_an_hour_is_not_closed_before_its_grace_and_never_left_out(a_line: Lines) -> None:
    """Ten minutes after its end, and no older hour may stay open behind a newer closing."""
    entries = [interval(1, at_us=AT_US - HOUR_US, idle=5), interval(2, at_us=AT_US, idle=100)]
    hour, share = closed(entries)

    early = checked(entries[1:], [hour | {"at_us": closes_at_us(HOUR) - 1, "first_index": 0, "last_index": 0,
                                          "resume_index": 1}, share | {"at_us": closes_at_us(HOUR) - 1}])  # fmt: skip

    assert ["before the hour's lines could all be there" in one for one in early] == [True]
    assert ["is not closed" in one for one in checked(entries, [hour, share])] == [True]


def test_requests_of_a_closed_hour_count_in_the_next_and_are_told(a_line: Lines) -> None:
    """A line that settles after its hour was closed belongs to the interval that holds it, as `late_uj`."""
    late = a_settled(a_line, "acme", 7, 10, ended_us=AT_US - 2 * HOUR_US)
    fresh = a_settled(a_line, "acme", 20, 10, ended_us=AT_US - HOUR_US)
    entries = [*late, *fresh, interval(1, at_us=AT_US, active=27, held=4, host=2)]

    hour, share = closed(entries)

    assert (10, 10, 27) == (hour["late_uj"], share["late_uj"], share["active_uj"])


def test_what_no_meter_saw_has_no_part(a_line: Lines) -> None:
    """Unmetered and uncharged lines hold nothing of an hour."""
    first = usage_entry(a_line())
    lost = a_settled(a_line, "globex", 5, 10, charged=False)
    entries = [first, unmetered_entry(first.body), *lost, interval(1, at_us=AT_US, waste=8, idle=3)]

    _, share = closed(entries)

    assert (PLATFORM, "unused", 8, 3) == (share["tenant"], share["rule"], share["waste_uj"], share["idle_uj"])


def test_pools_are_priced_as_the_requests_of_their_hour(a_line: Lines) -> None:
    """Site energy and emissions of pooled energy in proportion to the requests'; unknown where none was priced."""
    priced = a_settled(a_line, "acme", 997, 10)
    without = a_settled(a_line, "acme", 997, 10, pue_milli=None)
    parts = {"active": 997, "held": 2, "host": 1, "idle": 500}

    _, known = closed([*priced, interval(1, at_us=AT_US, **parts)])
    _, unknown = closed([*without, interval(1, at_us=AT_US, **parts)])

    facility_uj, emissions_ng = (priced[1].body[name] for name in ("facility_uj", "loc_lifecycle_ng"))
    assert (int(str(facility_uj)) // 2, int(str(emissions_ng)) // 2) == (
        known["facility_uj"],
        known["loc_lifecycle_ng"],
    )
    assert None is known["loc_direct_ng"]
    assert [None, None] == [unknown["facility_uj"], unknown["loc_lifecycle_ng"]]


def test_an_erased_line_leaves_the_tenants_unknown_and_the_pools_checked(a_line: Lines) -> None:
    """After an erasure what follows from intervals is still derived, what follows from lines is not claimed."""
    first, line = a_settled(a_line, "acme", 7, 10)
    about = interval(1, at_us=AT_US, active=7, held=2, host=1, idle=100)
    hour, share = closed([first, line, about])

    def findings(told: Any) -> list[str]:
        check = HourCheck()
        check.lose()
        check.close(2, about.body)
        return [*check.hour(3, told), *check.share(4, share), *check.between()]

    assert [] == findings(hour)
    assert ["idle_uj is 99, the lines and intervals give 100"] == findings(hour | {"idle_uj": 99})


def test_load_that_no_interval_tells_stays_unknown() -> None:
    """Null, not 0, in the hour and in its shares."""
    hour, share = closed([interval(1, at_us=AT_US, idle=3)])

    assert [None, None] == [hour["load_uj"], share["load_uj"]]
    assert set(SHARED_POOLS) == {name.removesuffix("_uj") for name in share if name.removesuffix("_uj") in SHARED_POOLS}
