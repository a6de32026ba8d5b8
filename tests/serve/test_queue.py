"""The queue of rows: earliest deadline first, little padding, nobody forgotten."""

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from greenserve.inputs import bucket_of
from greenserve.serve.batching.queue import WASTE_LIMIT, DeadlineQueue, Waiting

BUCKETS = (4, 8, 16)
MOST = {"a": 3, "b": 5}


@dataclass(frozen=True)
class Asked:
    """A row to queue: variant, tokens, deadline, and whether somebody still wants it when the batch is cut."""

    key: str
    length: int
    deadline_ns: int
    wanted: bool


asked = st.builds(
    Asked,
    key=st.sampled_from("ab"),
    length=st.integers(1, 20),
    deadline_ns=st.integers(1, 12),
    wanted=st.sampled_from([True, True, True, False]),
)
several = st.lists(asked, max_size=9)


def a_queue(rows: list[Asked]) -> DeadlineQueue:
    """A queue with those rows, pushed in order."""
    queue = DeadlineQueue(buckets=BUCKETS, alive=_is_wanted)
    for row in rows:
        queue.push(key=row.key, length=row.length, deadline_ns=row.deadline_ns, row=row)
    return queue


def _is_wanted(waiting: Waiting) -> bool:
    assert isinstance(waiting.row, Asked)
    return waiting.row.wanted


def in_order(rows: list[Asked]) -> list[Asked]:
    """By deadline, ties by arrival."""
    return sorted(rows, key=lambda row: row.deadline_ns)


def expected_batch(rows: list[Asked]) -> list[Asked]:
    """By brute force: the head's bucket, then shorter ones while at most a quarter of the tokens is padding."""
    if not rows:
        return []
    head = in_order(rows)[0]
    first = bucket_of(head.length, BUCKETS)
    batch: list[Asked] = []
    for bucket in reversed([edge for edge in BUCKETS if edge <= first]):
        for row in in_order([row for row in rows if row.key == head.key and bucket_of(row.length, BUCKETS) == bucket]):
            lengths = [one.length for one in [*batch, row]]
            waste = 1 - sum(lengths) / (len(lengths) * max(lengths))
            if len(batch) == MOST[head.key] or (bucket < first and waste > WASTE_LIMIT):
                return batch
            batch.append(row)
    return batch


@settings(max_examples=600)
@given(several, st.integers(0, 3))
def test_a_batch_is_what_brute_force_finds(rows: list[Asked], now_ns: int) -> None:
    """Expired rows come back apart, unwanted ones vanish, the rest is cut in the documented order."""
    queue = a_queue(rows)

    batch, expired = queue.cut(now_ns=now_ns, max_batch=MOST)

    wanted = [row for row in rows if row.wanted]
    late = [row for row in wanted if row.deadline_ns <= now_ns]
    assert in_order(late) == [waiting.row for waiting in expired]
    assert expected_batch([row for row in wanted if row.deadline_ns > now_ns]) == [waiting.row for waiting in batch]


@given(several)
def test_cutting_until_nothing_is_left_returns_each_wanted_row_once(rows: list[Asked]) -> None:
    """No row is lost, none comes twice, and the counters come back to nothing."""
    queue = a_queue(rows)
    found: list[object] = []

    while batch := queue.cut(now_ns=0, max_batch=MOST)[0]:
        assert len(batch) <= MOST[batch[0].key]
        assert 1 == len({waiting.key for waiting in batch})
        found += [waiting.row for waiting in batch]

    assert sorted(map(repr, filter(lambda row: row.wanted, rows))) == sorted(map(repr, found))
    assert (0, set()) == (len(queue), {name for name, count in queue.waiting().items() if count})


@given(several)
def test_the_counters_say_what_waits(rows: list[Asked]) -> None:
    """In all and by variant; rows of those who left count until they are found."""
    queue = a_queue(rows)

    assert len(rows) == len(queue)
    assert {key: sum(row.key == key for row in rows) for key in {row.key for row in rows}} == queue.waiting()


def test_short_rows_do_not_ride_with_long_ones_at_any_price() -> None:
    """One token beside sixteen would be padding mostly: it waits for the next batch."""
    long = Asked("b", 16, 1, wanted=True)
    short = Asked("b", 1, 2, wanted=True)
    queue = a_queue([long, short])

    batches = [[waiting.row for waiting in queue.cut(now_ns=0, max_batch=MOST)[0]] for _ in range(2)]

    assert [[long], [short]] == batches


def test_rows_of_one_bucket_ride_together() -> None:
    """Their edge is padded to anyway: one token beside four waits for nobody."""
    rows = [Asked("b", length, 1, wanted=True) for length in (4, 1, 1)]

    batch, _ = a_queue(rows).cut(now_ns=0, max_batch=MOST)

    assert rows == [waiting.row for waiting in batch]
