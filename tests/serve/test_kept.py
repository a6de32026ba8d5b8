"""The file of idempotency keys: one holder at a time over all replicas, ten minutes, bounded room."""

import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenserve.carbon.ledger.spool import start_ticks_of
from greenserve.clock import ManualClock
from greenserve.serve.kept import KEPT_NS, KEY_BYTES, Claim, KeptAnswers, Wanted, is_alive

ALIVE = f"{os.getpid()}:{start_ticks_of(os.getpid())}"
GONE = f"{os.getpid()}:1"
S_NS = 1_000_000_000


def wanted(name: str = "a", *, content: str = "x", tenant: str = "acme") -> Wanted:
    """A key of a tenant for a content."""
    return Wanted(name=name.encode(), tenant=tenant, content=content.encode())


@pytest.fixture
def clock() -> ManualClock:
    """Time that a test moves."""
    return ManualClock()


@pytest.fixture
def two(tmp_path: Path, clock: ManualClock) -> Iterator[tuple[KeptAnswers, KeptAnswers]]:
    """Two replicas' ways to one file."""
    pair = tuple(
        KeptAnswers(
            tmp_path / "kept.db", owner=f"{ALIVE}:{name}", now_ns=clock.monotonic_ns, most_keys=4, most_bytes=4_000
        )
        for name in ("one", "two")
    )
    yield (pair[0], pair[1])
    for each in pair:
        each.close()


def test_a_replica_waits_for_another_that_makes_the_file(tmp_path: Path, clock: ManualClock) -> None:
    """Two that start at once: SQLite itself would refuse the later one without waiting."""
    path = tmp_path / "kept.db"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("CREATE TABLE made (here)")
    other.execute("BEGIN IMMEDIATE")
    ends = threading.Timer(0.3, other.rollback)
    ends.start()

    kept = KeptAnswers(path, owner=f"{ALIVE}:late", now_ns=clock.monotonic_ns)

    assert "mine" == kept.claim(wanted()).kind
    kept.close()
    ends.join()
    other.close()


def test_a_key_is_held_once_over_all_replicas(two: tuple[KeptAnswers, KeptAnswers]) -> None:
    """The second replica learns that it is held, and later what was answered."""
    one, other = two

    assert "mine" == one.claim(wanted()).kind
    assert "held" == other.claim(wanted()).kind
    one.keep(wanted(), b"answer")
    assert Claim("kept", b"answer") == other.claim(wanted())


def test_a_key_stands_for_one_content(two: tuple[KeptAnswers, KeptAnswers]) -> None:
    """While it is held as well as after its answer."""
    one, other = two
    one.claim(wanted())

    assert "other" == other.claim(wanted(content="y")).kind
    one.keep(wanted(), b"answer")
    assert "other" == other.claim(wanted(content="y")).kind


def test_an_answer_is_kept_for_ten_minutes(two: tuple[KeptAnswers, KeptAnswers], clock: ManualClock) -> None:
    """To the nanosecond; then the key is free, and so is its room."""
    one, other = two
    one.claim(wanted())
    one.keep(wanted(), b"answer")

    clock.advance(duration_ns=KEPT_NS - 1)
    assert "kept" == other.claim(wanted()).kind
    clock.advance(duration_ns=1)
    assert "mine" == other.claim(wanted(content="y")).kind
    assert (1, KEY_BYTES) == other.taken()


def test_a_key_that_its_own_replica_asks_for_again_was_given_up(two: tuple[KeptAnswers, KeptAnswers]) -> None:
    """As where its answer could not be written; also for another content. Others still wait."""
    one, other = two
    one.claim(wanted())

    assert ("mine", "held") == (one.claim(wanted(content="y")).kind, other.claim(wanted(content="y")).kind)
    assert (1, KEY_BYTES) == one.taken()


def test_who_fills_its_own_part_waits_for_its_own_keys(tmp_path: Path, clock: ManualClock) -> None:
    """Others' keys that end sooner make no room for it."""
    kept = KeptAnswers(tmp_path / "kept.db", owner=f"{ALIVE}:one", now_ns=clock.monotonic_ns, most_keys=4)
    for tenant, name in (("other", "o"), ("acme", "a"), ("acme", "b")):
        kept.claim(wanted(name, tenant=tenant))
        kept.keep(wanted(name, tenant=tenant), b"answer")
        clock.advance(duration_ns=100 * S_NS)

    full = kept.claim(wanted("c"))

    assert Claim("full", retry_after_s=400) == full
    kept.close()


def test_a_released_key_is_free(two: tuple[KeptAnswers, KeptAnswers]) -> None:
    """Nothing was answered: the next one may try, with whatever content. Others' keys are not released."""
    one, other = two
    one.claim(wanted())

    other.release(wanted())
    assert "held" == other.claim(wanted()).kind
    one.release(wanted())
    assert "mine" == other.claim(wanted(content="y")).kind


def test_the_key_of_a_dead_replica_is_free(tmp_path: Path, clock: ManualClock) -> None:
    """It was killed before it answered; a kept answer stays whoever made it."""
    path = tmp_path / "kept.db"
    dead = KeptAnswers(path, owner=f"{GONE}:dead", now_ns=clock.monotonic_ns)
    dead.claim(wanted("a"))
    dead.claim(wanted("b"))
    dead.keep(wanted("b"), b"answer")
    dead.close()
    living = KeptAnswers(path, owner=f"{ALIVE}:living", now_ns=clock.monotonic_ns)

    assert "mine" == living.claim(wanted("a", content="y")).kind
    assert "kept" == living.claim(wanted("b")).kind
    living.close()


def test_one_tenant_takes_half_of_the_room_at_most(two: tuple[KeptAnswers, KeptAnswers], clock: ManualClock) -> None:
    """Its third key of four is refused until the first one's time is over; another tenant still has room."""
    one, _ = two
    one.claim(wanted("a"))
    one.keep(wanted("a"), b"answer")
    clock.advance(duration_ns=100 * S_NS)
    one.claim(wanted("b"))

    full = one.claim(wanted("c"))

    assert Claim("full", retry_after_s=500) == full
    assert "mine" == one.claim(wanted("d", tenant="globex")).kind
    clock.advance(duration_ns=500 * S_NS)
    assert "mine" == one.claim(wanted("c")).kind


def test_answers_take_room_by_their_bytes(two: tuple[KeptAnswers, KeptAnswers]) -> None:
    """A large answer is kept, and leaves no room for its tenant's next key."""
    one, _ = two
    one.claim(wanted("a"))
    one.keep(wanted("a"), bytes(2_000))

    assert (1, KEY_BYTES + 2_000) == one.taken()
    assert "full" == one.claim(wanted("b")).kind


def test_a_process_with_the_same_number_is_another_one() -> None:
    """Numbers come again; a process is its number and its start."""
    assert is_alive(f"{ALIVE}:x")
    assert not is_alive(f"{GONE}:x")


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["claim", "keep", "release", "wait"]), st.integers(0, 1), st.sampled_from("abcd"), st.booleans()
    ),
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(OPERATIONS)
def test_any_order_of_claims_answers_and_releases_does_what_a_table_would(
    operations: list[tuple[str, int, str, bool]],
) -> None:
    """A model of a few lines agrees on every claim and on the room that is taken."""
    with TemporaryDirectory() as folder:
        clock = ManualClock()
        replicas = [
            KeptAnswers(Path(folder, "k"), owner=f"{ALIVE}:{index}", now_ns=clock.monotonic_ns) for index in (0, 1)
        ]
        held: dict[str, int] = {}
        kept: dict[str, int] = {}
        for what, who, name, long in operations:
            if what == "claim":
                # A replica asks for each key once at a time: one that it holds itself was given up.
                state = "held" if held.get(name, who) != who else "kept" if name in kept else "mine"
                assert state == replicas[who].claim(wanted(name)).kind
                if state == "mine":
                    held[name] = who
            elif what == "wait":
                clock.advance(duration_ns=KEPT_NS if long else KEPT_NS // 3)
                kept = {each: at_ns for each, at_ns in kept.items() if clock.monotonic_ns() < at_ns + KEPT_NS}
            elif held.get(name) == who:
                if what == "keep":
                    replicas[who].keep(wanted(name), b"answer")
                    kept[name] = clock.monotonic_ns()
                else:
                    replicas[who].release(wanted(name))
                del held[name]
            else:
                replicas[who].release(wanted(name))
        replicas[0].claim(wanted("end", tenant="other"))  # a claim clears what is over

        bytes_taken = KEY_BYTES * (len(held) + len(kept) + 1) + len(b"answer") * len(kept)
        assert (len(held) + len(kept) + 1, bytes_taken) == replicas[1].taken()
        for replica in replicas:
            replica.close()
