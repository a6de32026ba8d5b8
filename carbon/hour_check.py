"""Closed hours derived again from the lines and intervals before them: what differs, entry by entry. Pure."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from greenserve.carbon.hour_entries import OF_LINES, RESERVED_NS, hour_entries
from greenserve.carbon.hours import HourName, Hours, SettledLines
from greenserve.carbon.pools import closes_at_us

Body = Mapping[str, Any]


class HourCheck:
    """Feed it settled lines, intervals, closings and shares in order of index; `between` before any other row that
    may follow a share, `finish` at the end.

    State: the open hours; how often each hour was closed; the shares that the closing at hand still owes, by tenant,
    with its index, and how many of them may have been erased; the newest hour that was closed.
    """

    def __init__(self) -> None:
        self._hours = Hours()
        self._closings: Counter[HourName] = Counter()
        self._owed: dict[str, Body] = {}
        self._erased = 0
        self._closing: tuple[int, HourName] | None = None
        self._unknown = False

    def settle(self, index: int, body: Body, first: Body) -> None:
        """A settled line and its first one."""
        self._hours.settle(index, body, first)

    def take_lines(self, settled: SettledLines) -> None:
        """As `settle` for many lines of the CPU alone, by their sums."""
        self._hours.take_lines(settled)

    @property
    def at_hand(self) -> bool:
        """Whether a closing or its shares came last, so that `between` has something to look at."""
        return self._closing is not None

    def lose(self) -> None:
        """A settled line that was erased."""
        self._hours.lose()

    def skip(self, rows: int) -> None:
        """So many rows were erased here, of whatever kind: settled lines, entries of reservations, or shares of the
        closing at hand."""
        self._hours.lose()
        self._hours.lose_reservations()
        self._erased += rows

    def reserve(self, body: Body) -> None:
        """An entry of reservations."""
        self._hours.reserve(body)

    def lose_reservations(self) -> None:
        """An entry of reservations that was erased."""
        self._hours.lose_reservations()

    def close(self, index: int, body: Body) -> None:
        """A device's interval."""
        self._hours.close(index, body)

    def hour(self, index: int, body: Body) -> Iterator[str]:
        """A `device_hour`: what in it does not follow from the entries before it."""
        yield from self._owing()
        name = (body["device"], body["hour"])
        revision, at_us = self._closings[name], body["at_us"]
        self._closings[name] += 1
        closing = self._hours.take(name, at_us)
        self._closing = (index, name)
        if closing is None:
            yield f"closes hour {name[1]} of {name[0]}, which has no interval that is not closed already"
            self._unknown = True
            return
        if at_us < closes_at_us(body["hour"]):
            yield f"was closed at {at_us} us, before the hour's lines could all be there ({closes_at_us(body['hour'])})"
        open_from = self._hours.resume_index(index)
        if not self._hours.due(at_us) and body["resume_index"] > open_from:
            yield f"resume_index is {body['resume_index']}, open hours begin at entry {open_from}"
        again = hour_entries(closing, revision=revision, at_us=at_us, resume_index=body["resume_index"])
        told: Body = again[0].body
        # Where nothing was reserved and nobody has a share that was not derived, no reservation can be missing.
        reserved = RESERVED_NS in told or RESERVED_NS in body or told["shares"] != body["shares"]
        sure = closing.reserved_known or not reserved
        self._unknown = not (closing.whole and sure)
        left_out = (OF_LINES if self._unknown else frozenset[str]()) | (frozenset[str]() if sure else {RESERVED_NS})
        yield from _differences(told, body, left_out)
        self._owed = {} if self._unknown else {entry.tenant: entry.body for entry in again[1:]}

    def share(self, index: int, body: Body) -> Iterator[str]:
        """A `share`: what in it does not follow."""
        if self._closing is None or self._closing[1] != (body["device"], body["hour"]):
            yield from self._owing()
            yield f"does not stand behind the closing of hour {body['hour']} of {body['device']}"
            return
        owed = self._owed.pop(body["tenant"], None)
        if owed is not None:
            yield from _differences(owed, body)
        elif not self._unknown:
            yield f"{body['tenant']} has no share of hour {body['hour']} of {body['device']}, or stands twice"

    def erased_share(self) -> None:
        """A share whose body was erased. Whose it was its row does not tell, so it stands for any one that is owed."""
        self._erased += 1

    def between(self) -> Iterator[str]:
        """Before a row of another kind: all shares of a closing stand behind it, and no hour before it was left."""
        if self._closing is None:
            return
        index, (_, newest) = self._closing
        yield from self._owing()
        for device, hour in self._hours.open_hours:
            if hour < newest:
                yield f"entry {index} closes hour {newest}, but hour {hour} of {device} before it is not closed"
        self._closing = None

    def _owing(self) -> Iterator[str]:
        if len(self._owed) > self._erased and self._closing is not None:
            index, (device, hour) = self._closing
            tenants = ", ".join(sorted(self._owed))
            yield f"hour {hour} of {device}, closed by entry {index}, has no share entry of {tenants}"
        self._owed, self._erased = {}, 0


def _differences(derived: Body, stored: Body, left_out: frozenset[str] = frozenset()) -> Iterator[str]:
    for name in sorted((derived.keys() | stored.keys()) - left_out):
        if derived.get(name) != stored.get(name) or (name in derived) != (name in stored):
            yield f"{name} is {stored.get(name)}, the lines and intervals give {derived.get(name)}"
