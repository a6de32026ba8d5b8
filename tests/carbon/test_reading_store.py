"""The store of readings: whole, shared, and no more than a cache."""

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from greenserve.carbon.feeds.store import ErrandState, PollingRight, ReadingStore
from greenserve.errors import ConfigInvalid
from tests.carbon.grid_server import DAY_US, HOUR_US, NOW_US, a_reading

FULL = a_reading(
    scope="production", model="E13", observed_us=NOW_US - HOUR_US, revision=2, raw_sha256="ab" * 32, start_us=NOW_US
)
STATE = ErrandState(
    source="eia", zone="X", signal="mix", what="recent", failures=1, ok_us=None, error="no", due_us=NOW_US
)


def test_what_was_put_comes_back_whole_once(tmp_path: Path) -> None:
    """Every member, to every process, and only what is new since it last looked."""
    one, two = ReadingStore(tmp_path / "grid"), ReadingStore(tmp_path / "grid")
    one.put("eia", [FULL, a_reading()], [STATE], NOW_US)

    first, again = two.news(), two.news()
    one.put("eia", [a_reading(mg_per_kwh=5, revision=1)], [], NOW_US)

    assert {"eia": [a_reading(), FULL]} == {name: sorted(r, key=lambda one: one.start_us) for name, r in first.items()}
    assert {} == again
    assert {"eia": [a_reading(mg_per_kwh=5, revision=1)]} == two.news()
    assert [STATE] == two.states()


def test_a_forecast_and_an_observation_of_one_slot_are_two(tmp_path: Path) -> None:
    """Otherwise the one would wipe out the other."""
    store = ReadingStore(tmp_path / "grid")
    store.put("neso", [a_reading(), a_reading(origin="forecast")], [], NOW_US)

    assert 2 == len(store.news()["neso"])


def test_what_is_older_than_eight_days_goes(tmp_path: Path) -> None:
    """At the next put, so the file does not grow."""
    store = ReadingStore(tmp_path / "grid")
    store.put("eia", [a_reading(start_us=NOW_US - 9 * DAY_US)], [], NOW_US)
    store.put("eia", [a_reading()], [], NOW_US)

    assert [NOW_US - HOUR_US] == [one.start_us for one in ReadingStore(tmp_path / "grid").news()["eia"]]


def test_another_version_is_dropped_and_filled_again(tmp_path: Path) -> None:
    """It holds nothing that cannot be fetched again."""
    with sqlite3.connect(tmp_path / "grid") as other:
        other.executescript("CREATE TABLE reading (strange TEXT); PRAGMA user_version = 99;")
    other.close()

    store = ReadingStore(tmp_path / "grid")
    store.put("eia", [FULL], [], NOW_US)

    assert {"eia": [FULL]} == store.news()


def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    """The message says what to do with it."""
    (tmp_path / "grid").write_text("no database, but long enough to be looked at as one" * 20)

    with pytest.raises(ConfigInvalid, match="delete it, it is filled again"):
        ReadingStore(tmp_path / "grid")


def test_a_failed_put_leaves_everything_as_it_was(tmp_path: Path) -> None:
    """One transaction: no half of it."""
    store = ReadingStore(tmp_path / "grid")

    with pytest.raises(OverflowError):
        store.put("eia", [FULL], [replace(STATE, due_us=2**70)], NOW_US)

    assert {} == store.news()


def test_one_process_has_the_right_to_poll_and_hands_it_on(tmp_path: Path) -> None:
    """A lock that ends with its holder."""
    first, second = PollingRight(tmp_path / "lock"), PollingRight(tmp_path / "lock")

    taken = [first.take(), second.take(), first.take()]
    first.release()

    assert [True, False, True] == taken
    assert second.take()
    second.release()
