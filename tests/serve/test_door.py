"""The door of a replica: what it lets in past the capacity, and of whom."""

from collections import Counter
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.serve.door import FEW, LOOK_NS, MOST_WAITING, TICK_NS, Door, turned_away
from greenserve.serve.parts import BURST, LEAST, MOST_PARTS, Parts

CAPACITY = 20
ROOM = 3 * CAPACITY
MODEL = "m"


class Room:
    """Queues of the models `m` (in one with others) and `r` (its own), whose room is what a function says."""

    def __init__(self, room: Callable[[int, str | None], float]) -> None:
        self.room = room

    def queue_of(self, model: str) -> str | None:
        """One is for the model `r` alone."""
        return {"m": "", "n": "", "r": "r"}.get(model)


class Replica:
    """A door before a queue of four ticks' work, of which one tick's is answered in each; beyond it is refused late."""

    def __init__(self, *credentials: str) -> None:
        self.queued = 0
        self.door = Door()
        self.door.queues = Room(lambda _now_ns, _queue: ROOM - self.queued)
        self.now_ns = TICK_NS
        for credential in credentials:
            self.door.proven(credential)

    def tick(self, asked: Sequence[str | None]) -> Counter[str | None]:
        """One tick in which these ask, spread evenly; who was let in."""
        let_in = Counter[str | None]()
        for place, credential in enumerate(asked):
            if self.door.lets_in(credential, MODEL, self.now_ns + place * TICK_NS // len(asked)):
                let_in[credential] += 1
                if self.queued < 4 * CAPACITY:
                    self.queued += 1
                    self.door.taken()
                else:
                    self.door.refused()
        for _ in range(min(self.queued, CAPACITY)):
            self.queued -= 1
            self.door.done()
        self.now_ns += TICK_NS
        return let_in


def test_below_capacity_everybody_gets_in() -> None:
    """Without late refusals the door stays open."""
    replica = Replica("a")
    for _ in range(30):
        assert 15 == replica.tick(["a"] * 15).total()
    assert (False, 0) == (replica.door.shut, replica.door.turned_away)


def test_past_capacity_little_more_than_what_can_be_answered_gets_in() -> None:
    """At five times the capacity the engines stay fed and nearly nobody is refused after decoding."""
    replica = Replica("a")
    let_in = [replica.tick(["a"] * 5 * CAPACITY).total() for _ in range(40)]
    assert replica.door.shut
    assert 4 * CAPACITY + FEW < let_in[0] <= 5 * CAPACITY
    assert all(0.75 * CAPACITY <= entered <= 1.3 * CAPACITY for entered in let_in[15:])


def test_once_it_is_calm_it_opens() -> None:
    """Half a second without anybody turned away opens the door."""
    replica = Replica("a")
    for _ in range(10):
        replica.tick(["a"] * 5 * CAPACITY)
    for _ in range(15):
        replica.tick(["a"] * 3)
    assert not replica.door.shut
    assert 15 == replica.tick(["a"] * 15).total()


def test_a_silence_opens_it() -> None:
    """Whoever comes first some ticks after an overload finds the door open, however many they are."""
    replica = Replica("a")
    for _ in range(20):
        replica.tick(["a"] * 5 * CAPACITY)
    assert replica.door.shut
    replica.queued, replica.now_ns = 0, replica.now_ns + 3 * TICK_NS
    assert 2 * CAPACITY == replica.tick(["a"] * 2 * CAPACITY).total()
    assert not replica.door.shut


def test_what_was_refused_before_a_silence_closes_nothing_after_it() -> None:
    """One tick of overload, nothing for a second, then many at once: they come in."""
    replica = Replica("a")
    replica.tick(["a"] * 8 * CAPACITY)
    replica.queued, replica.now_ns = 0, replica.now_ns + 20 * TICK_NS
    assert 2 * CAPACITY == replica.tick(["a"] * 2 * CAPACITY).total()


def test_a_flood_shuts_it_within_the_tick() -> None:
    """It is not decoded until the tick is over: that would hold up what is refused by as much again."""
    replica = Replica("a")
    replica.queued = 4 * CAPACITY
    let_in = replica.tick(["a"] * 50 * CAPACITY)
    assert replica.door.shut
    assert FEW < let_in.total() <= 2 * FEW


def test_a_few_late_refusals_close_nothing() -> None:
    """Sixteen in a tick cost little, and admission refuses exactly."""
    replica = Replica("a")
    for _ in range(10):
        replica.tick(["a"] * (CAPACITY + FEW))
    assert not replica.door.shut


@pytest.mark.parametrize("flood", ["greedy", None])
def test_a_flood_takes_nothing_from_a_caller_within_its_part(flood: str | None) -> None:
    """A proven key that asks for less than its equal part gets in, whoever floods, known or not."""
    replica = Replica("modest", *([flood] if flood else []))
    asked = ([flood] * 19 + ["modest"]) * 6
    let_in = [replica.tick(asked)["modest"] for _ in range(40)]
    assert all(6 == entered for entered in let_in[5:])


def test_strangers_share_one_part_however_many_names_they_use() -> None:
    """Unproven credentials are one caller, so a thousand invented keys get no more than one."""
    replica = Replica("known")
    asked = [name for place in range(60) for name in ("known", f"invented-{place}")]
    ticks = [replica.tick(asked) for _ in range(30)]
    known = sum(each["known"] for each in ticks[5:])
    invented = sum(each.total() - each["known"] for each in ticks[5:])
    assert invented <= 1.3 * known


def test_parts_of_less_than_one_request_are_not_rounded_up() -> None:
    """More callers than the replica answers requests per tick: no more come in than it answers."""
    names = [f"key-{place}" for place in range(8 * CAPACITY)]
    replica = Replica(*names)
    let_in = [replica.tick(names).total() for _ in range(60)]
    assert replica.door.shut
    assert 1.1 * CAPACITY >= sum(let_in[15:]) / len(let_in[15:])
    assert 2 * CAPACITY >= max(let_in[15:])


def test_too_many_that_nobody_has_looked_at_wait_outside() -> None:
    """What waits for the loop is bounded even before the first late refusal."""
    door = Door()
    door.waiting = MOST_WAITING
    assert not door.lets_in("a", MODEL, TICK_NS)
    door.waiting -= 1
    assert door.lets_in("a", MODEL, TICK_NS)
    assert 1 == door.turned_away


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100)), max_size=40))
def test_some_always_get_in(ticks: list[tuple[int, int]]) -> None:
    """Whatever was refused and answered before, and without room, somebody finds out whether it is over."""
    door, now_ns = Door(), TICK_NS
    door.queues = Room(lambda _now_ns, _queue: 0.0)
    for late, answered in ticks:
        for _ in range(late):
            door.refused()
        for _ in range(answered):
            door.done()
        assert any(door.lets_in("a", MODEL, now_ns + place) for place in range(int(LEAST)))
        now_ns += TICK_NS


def test_one_caller_alone_gets_what_there_is_room_for() -> None:
    """No part is kept for others while there are none: the queue is never longer than it should be, nor empty."""
    replica = Replica("a")
    for _ in range(10):
        replica.tick(["a"] * 5 * CAPACITY)
    queued = []
    for _ in range(30):
        replica.tick(["a"] * 5 * CAPACITY)
        queued.append(replica.queued)
    assert all(ROOM - CAPACITY - LEAST <= rows <= ROOM for rows in queued)


def test_room_is_looked_at_once_a_millisecond() -> None:
    """In between, who came in is counted off; requests that nobody has looked at take places too."""
    replica = Replica("a")
    while not replica.door.shut:
        replica.tick(["a"] * 5 * CAPACITY)
    looked: list[int] = []

    def room(now_ns: int, _queue: str | None) -> float:
        looked.append(now_ns)
        return 7.0

    replica.door.queues, replica.door.waiting = Room(room), 3
    at_ns = replica.now_ns + TICK_NS
    let_in = sum(replica.door.lets_in("a", MODEL, at_ns + place) for place in range(50))
    assert 7 - 3 + int(LEAST) == let_in
    assert 1 == len(looked)


def test_a_door_that_was_shown_no_queue_bounds_only_what_waits() -> None:
    """Nobody can say that there is no room, so nobody is turned away for it."""
    door = Door()
    for place in range(100):
        door.refused()
        assert door.lets_in("a", MODEL, place * TICK_NS // 10 + TICK_NS)


def test_who_is_turned_away_is_told_when_to_come_again() -> None:
    """The error is the one of an overload."""
    assert ("overloaded", 1) == (turned_away().code, turned_away().retry_after_s)


@pytest.mark.parametrize(("flooders", "asks_every"), [(1, 1), (5, 1), (20, 3), (40, 5)])
def test_several_that_flood_take_nothing_from_a_caller_within_its_part(flooders: int, asks_every: int) -> None:
    """Parts are fractions of a request per tick: who asks for less than its own is let in at the tick's end too."""
    replica = Replica("modest", *[f"flood-{place}" for place in range(flooders)])
    asked = let_in = 0
    for tick in range(240):
        crowd: list[str | None] = [f"flood-{(tick + place) % flooders}" for place in range(6 * CAPACITY)]
        mine = ["modest"] * (tick % asks_every == 0)
        entered = replica.tick([*crowd, *mine])["modest"]
        asked, let_in = asked + (tick >= 40) * len(mine), let_in + (tick >= 40) * entered

    assert replica.door.shut
    assert 0.98 * asked <= let_in


def test_invented_models_make_no_parts() -> None:
    """A proven key that asks for a thousand models that nobody serves has one more part, strangers one in all."""
    replica = Replica("modest", "inventor")
    let_in = Counter[str]()
    for tick in range(60):
        for place in range(120):
            now_ns = replica.now_ns + place * TICK_NS // 120
            who = ("modest", "inventor", None)[place % 3]
            model = MODEL if who == "modest" else f"{tick}-{place}"
            if replica.door.lets_in(who, model, now_ns):
                let_in[str(who)] += 1
                replica.door.taken() if replica.queued < 4 * CAPACITY else replica.door.refused()
                replica.queued += replica.queued < 4 * CAPACITY
        replica.tick(["modest"])

    assert let_in["inventor"] + let_in["None"] <= 2.6 * let_in["modest"]


def test_a_full_queue_of_one_model_shuts_out_nobody_who_asks_for_another() -> None:
    """The room that counts is that of the asked model's queue, and of all queues where the head names no model."""
    replica = Replica("a", "b")
    while not replica.door.shut:
        replica.tick(["a", "b"] * 5 * CAPACITY)
    replica.door.queues = Room(lambda _now_ns, queue: 0.0 if queue in ("r", None) else 30.0)
    now_ns = replica.now_ns + LOOK_NS

    let_in = {model: sum(replica.door.lets_in(None, model, now_ns) for _ in range(50)) for model in ("r", None, "m")}

    assert let_in["m"] >= 30
    assert let_in["r"] + let_in[None] <= BURST


def test_the_models_of_one_queue_share_its_room() -> None:
    """Two names for one queue find its places once."""
    replica = Replica("a", "b")
    while not replica.door.shut:
        replica.tick(["a", "b"] * 5 * CAPACITY)
    replica.door.queues = Room(lambda _now_ns, _queue: 10.0)
    now_ns = replica.now_ns + LOOK_NS

    assert 10 + BURST >= sum(replica.door.lets_in(None, model, now_ns) for model in ("m", "n") * 30)


def test_an_idle_night_does_not_leave_parts_at_their_least() -> None:
    """What was taken lately is divided by the ticks that are remembered, of which a silence adds no more than four."""
    replica = Replica("a", "b")
    for _ in range(10):
        replica.tick(["a", "b"] * (CAPACITY // 4))
    replica.now_ns += 12_000 * TICK_NS
    for _ in range(3):
        replica.tick(["a", "b"] * 3 * CAPACITY)

    replica.door.queues = Room(lambda _now_ns, _queue: 0.0)

    assert replica.door.shut
    assert 0.4 * CAPACITY <= replica.tick(["a", "b"] * 3 * CAPACITY).total()


callers = st.lists(st.sets(st.integers(0, 30)), min_size=1, max_size=40)


@given(callers, st.integers(2, 40))
def test_no_more_is_paid_than_was_given(ticks: list[set[int]], whole: int) -> None:
    """Over any time, callers who take turns get no more by their parts than these are, and a full credit each once."""
    parts = Parts()
    parts.turn(whole, 1.0)
    paid = 0
    for asking in ticks:
        for who in sorted(asking) * 3:
            paid += parts.lets_in(parts.asks(who), 0.99)
        parts.turn(whole, 1.0)

    named = len(set().union(*ticks))
    assert paid <= whole * len(ticks) + BURST * named + LEAST * len(ticks)


def test_the_number_of_parts_is_bounded() -> None:
    """Ever new proven callers fill no memory: those that come when there are too many share the strangers' part."""
    parts = Parts()
    for tick in range(4):
        for place in range(MOST_PARTS * 3):
            parts.paid(parts.asks((tick, place)))
        parts.turn(20.0, 1.0)

    assert 2 * MOST_PARTS + 1 >= int(repr(parts).split(", ")[1].split()[0])
