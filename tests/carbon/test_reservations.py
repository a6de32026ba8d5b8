"""Devices that are kept for tenants: from the configuration through the ledger to closed hours."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenserve.carbon.entries import PLATFORM, UsageLine, entry_of
from greenserve.carbon.hour_entries import hour_entries
from greenserve.carbon.hours import Hours
from greenserve.carbon.ledger.hour_closing import HourCloser
from greenserve.carbon.ledger.ingest import Ingest, Node, Pace
from greenserve.carbon.ledger.opening import open_ledger
from greenserve.carbon.pools import closes_at_us
from greenserve.carbon.reservations import Reservation, checked, named, reservation_entry, reserved_on
from greenserve.config import load_config
from greenserve.errors import ConfigInvalid
from greenserve.records import Entry
from greenserve.units import NS_PER_S
from tests.carbon.statements import AT_US, HOUR_US, interval
from tests.carbon.worlds import World, steps

Lines = Callable[..., UsageLine]
HOUR = AT_US // HOUR_US
QUARTER = Reservation(device="cpu", tenant="acme", share_ppm=250_000)


class ReservedWorld(World):
    """A node whose devices are kept for tenants."""

    reservations: tuple[Reservation, ...] = ()

    def open(self, run_id: str = "run-1", boot_id: str = "boot-1") -> Ingest:
        node = Node(
            meter=self.meter, own_cpu=lambda: self.meter.busy_ns, boot_id=boot_id, run_id=run_id,
            reservations=self.reservations,
        )  # fmt: skip
        pace = Pace(settle_every_ns=NS_PER_S, grace_ns=2 * NS_PER_S)
        return Ingest(ledger=self.book, spool_folder=self.folder / "spool", node=node, clock=self.clock, pace=pace)

    def bodies(self, *kinds: str) -> list[Any]:
        return [entry.body for _, entry in self.book.entries() if entry.kind in kinds]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[ReservedWorld]:
    made = ReservedWorld(tmp_path, open_ledger("", tmp_path / "ledger.db"))
    yield made
    made.spool.close()
    made.book.close()


def closed(world: ReservedWorld) -> tuple[Any, dict[str, Any]]:
    """The hour, and its shares by tenant, once its time has come."""
    world.clock.advance(duration_ns=max(0, 1_000 * (closes_at_us(HOUR) - world.clock.unix_us())))
    ingest = world.open()
    ingest.step()
    ingest.finish()
    hour = next(body for body in world.bodies("device_hour") if body["hour"] == HOUR)
    return hour, {body["tenant"]: body for body in world.bodies("share") if body["hour"] == HOUR}


def test_who_reserves_pays_for_the_reserved_part_and_by_use_for_the_rest(world: ReservedWorld, a_line: Lines) -> None:
    """A quarter of the CPU is acme's, who did nothing; the other three go to globex, who did all."""
    world.reservations = (QUARTER,)
    ingest = world.open()
    world.request(a_line, tenant="globex", held_ns=2_000_000)
    steps(world, ingest, 70)
    ingest.finish()

    hour, shares = closed(world)

    assert {"acme", "globex"} == shares.keys()
    assert abs(4 * shares["acme"]["idle_uj"] - hour["idle_uj"]) <= 4
    assert hour["idle_uj"] == shares["acme"]["idle_uj"] + shares["globex"]["idle_uj"]
    assert ("reserved", "busy") == (shares["acme"]["rule"], shares["globex"]["rule"])
    assert (0, hour["time_ns"] // 4) == (shares["globex"]["reserved_ns"], shares["acme"]["reserved_ns"])
    assert (0, 0, 0) == tuple(shares["acme"][name] for name in ("lines", "busy_ns", "active_uj"))
    assert hour["reserved_ns"] == shares["acme"]["reserved_ns"]
    assert [] == world.book.verify()


def test_an_unused_hour_is_the_platforms_but_for_what_is_reserved(world: ReservedWorld) -> None:
    """Nobody asked anything: acme still pays its quarter."""
    world.reservations = (QUARTER,)
    ingest = world.open()
    steps(world, ingest, 130)
    ingest.finish()

    hour, shares = closed(world)

    assert ("unused", "reserved") == (shares[PLATFORM]["rule"], shares["acme"]["rule"])
    assert abs(3 * shares["acme"]["idle_uj"] - shares[PLATFORM]["idle_uj"]) <= 3
    assert 0 < hour["idle_uj"]
    assert [] == world.book.verify()


def test_a_reservation_is_told_once_and_its_end_too(world: ReservedWorld) -> None:
    """Restarts with the same ones add nothing; without any, an empty entry ends them."""
    for reservations in ((QUARTER,), (QUARTER,), (), ()):
        world.reservations = reservations
        world.clock.advance(duration_ns=NS_PER_S)
        world.open().finish()

    told = [body["reservations"] for body in world.bodies("reservation")]

    assert [[{"device": "cpu", "tenant": "acme", "share_ppm": 250_000}], []] == told
    assert [] == world.book.verify()


def a_stretch(start_ns: int, length_ns: int, **about: Any) -> Entry:
    """An interval of some length."""
    body: dict[str, Any] = dict(interval(start_ns, **about).body)
    return entry_of(body | {"end_ns": start_ns + length_ns})


def test_a_reservation_holds_for_the_intervals_behind_it(world: ReservedWorld) -> None:
    """Half of the first hour's time came after it: an eighth is reserved. A closer that starts behind it knows it."""
    second_us = AT_US + HOUR_US
    world.book.append(
        [
            a_stretch(0, 1_000, at_us=AT_US, idle=400),
            reservation_entry([QUARTER], at_us=AT_US, run_id="r", boot_id="b"),
            a_stretch(1_000, 1_000, at_us=AT_US + 1, idle=400),
            a_stretch(2_000, 1_000, at_us=second_us, idle=80),
        ]
    )
    world.book.append(HourCloser(world.book).due(closes_at_us(HOUR)))
    world.book.append(HourCloser(world.book).due(closes_at_us(HOUR + 1)))

    shares = {(body["hour"] - HOUR, body["tenant"]): body["idle_uj"] for body in world.bodies("share")}
    assert {(0, "acme"): 100, (0, PLATFORM): 700, (1, "acme"): 20, (1, PLATFORM): 60} == shares
    assert [] == world.book.verify()


stretches = st.lists(
    st.tuples(
        st.integers(1, 10**13), st.integers(0, 10**12), st.dictionaries(st.sampled_from("abc"), st.integers(1, 333_333))
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=100, deadline=None)
@given(stretches)
def test_whatever_is_reserved_when_the_pools_are_shared_whole(drawn: list[tuple[int, int, dict[str, int]]]) -> None:
    """Shares sum to the pool; what is reserved is no more than the device's time, and paid by who reserved it."""
    hours, at_ns = Hours(), 0
    for index, (length_ns, idle_uj, shares) in enumerate(drawn):
        told = [Reservation(device="cpu", tenant=name, share_ppm=ppm) for name, ppm in shares.items()]
        hours.reserve(reservation_entry(told, at_us=AT_US, run_id="r", boot_id="b").body)
        hours.close(index, a_stretch(at_ns, length_ns, at_us=AT_US, idle=idle_uj).body)
        at_ns += length_ns
    closing = hours.take(("cpu", HOUR), 0)
    assert closing is not None

    made: list[Any] = [one.body for one in hour_entries(closing, revision=0, at_us=0, resume_index=0)]

    hour, shares_of_hour = made[0], made[1:]
    reserved_ns = sum(share.get("reserved_ns", 0) for share in shares_of_hour)
    assert hour["idle_uj"] == sum(share["idle_uj"] for share in shares_of_hour)
    assert hour.get("reserved_ns", 0) == reserved_ns <= hour["time_ns"]
    platform_uj = sum(share["idle_uj"] for share in shares_of_hour if share["tenant"] == PLATFORM)
    assert hour["idle_uj"] - hour["idle_uj"] * reserved_ns // hour["time_ns"] == platform_uj


def test_an_own_line_goes_before_the_line_for_all() -> None:
    """`*` is every device that the tenant has no line for."""
    both = [Reservation(device="*", tenant="acme", share_ppm=100_000), QUARTER]

    assert {"acme": 250_000} == reserved_on("cpu", both)
    assert {"acme": 100_000} == reserved_on("GPU-1", both)
    assert {} == reserved_on("cpu", [])


def test_engines_names_become_the_ledgers() -> None:
    """`cuda:0` is the board that it means; two names of one board are found out."""
    line = Reservation(device="cuda:0", tenant="acme", share_ppm=1)

    assert "GPU-1" == named([line], {"cuda:0": "GPU-1"})[0].device
    with pytest.raises(ConfigInvalid, match="acme on GPU-1 stands twice"):
        named([line, Reservation(device="GPU-1", tenant="acme", share_ppm=2)], {"cuda:0": "GPU-1"})


@pytest.mark.parametrize(
    ("given_lines", "words"),
    [
        ([("cpu", "a", 0)], "above 0"),
        ([("cpu", "a", 1_000_001)], "up to 100%"),
        ([("cpu", "a", 600_000), ("cpu", "b", 400_001)], "100.0001 % of cpu"),
        ([("*", "a", 600_000), ("cpu", "b", 400_001)], "of cpu is reserved"),
    ],
)
def test_more_than_a_device_cannot_be_kept(given_lines: list[tuple[str, str, int]], words: str) -> None:
    """Over 100 % of a device is refused, with the device."""
    with pytest.raises(ConfigInvalid, match=words):
        checked([Reservation(device=device, tenant=tenant, share_ppm=ppm) for device, tenant, ppm in given_lines])


def a_line_of(share: str, **about: str) -> dict[str, str]:
    """A line of the section."""
    return {"tenant": "acme", "share": share} | about


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ([a_line_of("60%"), a_line_of("41%", tenant="globex")], r"reservations of \* sum to 101"),
        ([a_line_of("60%"), a_line_of("41%", tenant="globex", device="cpu")], r"reservations of cpu sum to 101"),
        ([a_line_of("10%"), a_line_of("10%")], "each tenant once"),
        ([a_line_of("0%")], r"reservations\[0\]\.share"),
        ([a_line_of("10%", tenant="ACME")], r"reservations\[0\]\.tenant"),
    ],
)
def test_a_wrong_section_is_refused_with_its_place(section: list[dict[str, str]], words: str) -> None:
    """The message names the section and what is allowed."""
    with pytest.raises(ConfigInvalid, match=words):
        load_config(Path("configs/demo.yaml"), overrides={"tenancy": {"reservations": section}})
