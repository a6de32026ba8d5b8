"""Erasing a tenant that reserved devices: its shares and the entries of reservations that name it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from greenserve.carbon.entries import UsageLine
from greenserve.carbon.hour_check import HourCheck
from greenserve.carbon.hour_entries import hour_entries
from greenserve.carbon.hours import Hours
from greenserve.carbon.ledger.erasure import erase, erasures
from greenserve.carbon.ledger.lookup import erased_by
from greenserve.carbon.ledger.opening import open_ledger
from greenserve.carbon.ledger.tenancy import TenancyStore
from greenserve.carbon.pools import closes_at_us
from greenserve.carbon.reservations import Reservation, reservation_entry
from greenserve.carbon.scope import EVERYBODY
from greenserve.errors import InvalidRequest
from greenserve.ids import new_request_id
from greenserve.records import Tenant
from tests.carbon.restatements import a_scope, both, both_ways
from tests.carbon.statements import AT_US, HOUR_US, interval
from tests.carbon.test_erasure import HUSH, found_in_tables, gone
from tests.carbon.test_reservations import ReservedWorld, a_stretch
from tests.carbon.worlds import HOUR, past_the_hour, steps

Lines = Callable[..., UsageLine]


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def reserved(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ReservedWorld]:
    url = request.getfixturevalue("postgres_urls")() if request.param == "postgres" else ""
    made = ReservedWorld(tmp_path, open_ledger(url, tmp_path / "ledger.db"))
    yield made
    made.spool.close()
    made.book.close()


def reserved_and_closed(world: ReservedWorld, a_line: Lines) -> None:
    """Two tenants that reserve the CPU, one of which never asks anything; another's requests; hours that are closed."""
    store = TenancyStore(world.book, world.clock)
    store.create_tenant(Tenant(tenant_id=HUSH, name="Hush Hush & Sons"))
    store.close_tenant(HUSH)
    told = [Reservation(device="cpu", tenant=tenant, share_ppm=250_000) for tenant in (HUSH, "globex")]
    for hour, reserved_for in enumerate(([], [], told, told, told[1:], [])):
        world.reservations = tuple(reserved_for)
        ingest = world.open(f"run-{hour}")
        world.request(a_line)
        steps(world, ingest, 5)
        past_the_hour(world, HOUR + hour)
        steps(world, ingest, 2)
        ingest.finish()
    world.spool.close()
    world.open().finish()


def test_the_share_of_a_tenant_without_a_request_can_be_erased(reserved: ReservedWorld, a_line: Lines) -> None:
    """The hour is whole, so its shares are derived again: all but the one that is gone stand there, and folds go on."""
    reserved_and_closed(reserved, a_line)
    before = both_ways(reserved.book, a_scope(reserved.book))

    gone(reserved)

    after = both_ways(reserved.book, a_scope(reserved.book))
    assert [] == reserved.book.verify()
    assert after[0] == after[1]
    assert before[0]["shared"] == after[0]["shared"]


def test_more_shares_that_go_than_were_erased_are_missed() -> None:
    """An erased row stands for one share that is owed, not for all of them."""
    check, hours = HourCheck(), Hours()
    told = [Reservation(device="cpu", tenant=name, share_ppm=100_000) for name in ("a", "b")]
    reserved_by = reservation_entry(told, at_us=AT_US, run_id="r", boot_id="b").body
    stretch = interval(1, at_us=AT_US, idle=100).body
    for one in (check, hours):
        one.reserve(reserved_by)
        one.close(1, stretch)
    closing = hours.take(("cpu", HOUR), closes_at_us(HOUR))
    assert closing is not None
    closed, *shares = hour_entries(closing, revision=0, at_us=closes_at_us(HOUR), resume_index=2)

    found = [*check.hour(2, closed.body), *check.share(3, shares[0].body)]
    check.erased_share()
    found += check.between()

    assert 3 == len(shares)
    assert [f"hour {HOUR} of cpu, closed by entry 2, has no share entry of a, b"] == found


def test_reservations_of_an_erased_tenant_go_with_it(reserved: ReservedWorld, a_line: Lines) -> None:
    """Its name is in no entry; verify derives what does not follow from them; the next writer writes no new one."""
    reserved_and_closed(reserved, a_line)
    before = both_ways(reserved.book, a_scope(reserved.book, tenant=EVERYBODY))

    found = gone(reserved)
    reserved.open("run-9").finish()

    after = both_ways(reserved.book, a_scope(reserved.book, tenant=EVERYBODY))
    assert not found_in_tables(reserved, HUSH)
    assert 1 == found.kinds["reservation"]
    assert [["globex"], []] == [
        [one["tenant"] for one in body["reservations"]] for body in reserved.bodies("reservation")
    ]
    assert [] == reserved.book.verify()
    assert after[0] == after[1]
    assert before[0]["shared"] == after[0]["shared"]


def test_hours_behind_the_next_reservations_are_derived_again() -> None:
    """Only between an erased entry and the one behind it shares are taken as they stand."""
    check, made = HourCheck(), Hours()
    told = reservation_entry(
        [Reservation(device="cpu", tenant="a", share_ppm=100_000)], at_us=AT_US, run_id="r", boot_id="b"
    ).body
    found = list[str]()
    for hour in range(3):
        if hour == 0:
            check.lose_reservations()
        if hour in (0, 2):
            made.reserve(told)
        if hour == 2:
            check.reserve(told)
        stretch = a_stretch(hour, 1_000, at_us=AT_US + hour * HOUR_US, idle=100).body
        for one in (check, made):
            one.close(10 * hour, stretch)
        at_us = closes_at_us(HOUR + hour)
        closing = made.take(("cpu", HOUR + hour), at_us)
        assert closing is not None
        closed, *shares = hour_entries(closing, revision=0, at_us=at_us, resume_index=10 * hour + 1)
        found += check.hour(10 * hour + 1, closed.body)
        for place, share in enumerate(shares):
            found += check.share(10 * hour + 2 + place, dict(share.body) | {"idle_uj": -1})
    found += check.between()

    assert [f"idle_uj is -1, the lines and intervals give {given}" for given in (10, 90)] == sorted(found)


def test_a_tenant_whose_reservation_is_in_force_is_not_erased(reserved: ReservedWorld, a_line: Lines) -> None:
    """It would be written again; it is said what to do, and after that the hour that it reserved must be closed."""
    reserved_and_closed(reserved, a_line)
    reserved.reservations = (Reservation(device="cpu", tenant=HUSH, share_ppm=1),)
    reserved.open("run-7").finish()

    with pytest.raises(InvalidRequest, match=r"take its lines out of tenancy\.reservations, start the gateway"):
        gone(reserved)
    reserved.reservations = ()
    reserved.open("run-8").finish()
    with pytest.raises(InvalidRequest, match="an hour that is not closed may hold time that was reserved for"):
        gone(reserved)

    assert [] == erasures(reserved.book)


def test_an_erased_request_names_its_own_erasure(reserved: ReservedWorld, a_line: Lines) -> None:
    """Not the first one that came after it."""
    requests = [both(a_line(tenant=tenant)) for tenant in (HUSH, "acme")]
    reserved.book.append([entry for one in requests for entry in one])
    for tenant in (HUSH, "acme"):
        erase(reserved.book, tenant, reason="asked", actor=None, now_us=AT_US, spools=reserved.folder / "none")

    assert [4, 5] == [idx for idx, _ in erasures(reserved.book)]
    assert [4, 5] == [erased_by(reserved.book, one[0].key) for one in requests]
    assert erased_by(reserved.book, new_request_id()) is None
