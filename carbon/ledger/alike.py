"""Sums of requests that are alike: what they have in common is looked at once, their figures are added up. Pure.

The same sums as counting each request in a `Tally` and a `Spend` by itself (a property test holds the two together),
for who counts millions of them: the ledger's writer, and whoever verifies it.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import orjson

from greenserve.carbon.buckets import bucket_of
from greenserve.carbon.counters import count_in
from greenserve.carbon.entries import OTHER_CI, UNMETERED, US_PER_HOUR
from greenserve.carbon.facts import fact_of
from greenserve.carbon.grades import grade_of, stand_apart
from greenserve.carbon.ledger.forms import FirstLine, Known, SettledLine
from greenserve.carbon.ledger.packing import body_of
from greenserve.carbon.ledger.rollup import RollupKey, rollup_key
from greenserve.carbon.ledger.spend import Place, Places
from greenserve.carbon.tally import Tally
from greenserve.carbon.windows import US_PER_QUARTER

MOST_KINDS = 4_096
"""How many kinds of alike requests are remembered."""
MOST_LINES = 10_000
"""How many lines wait to be added up where nobody asks before."""
_OF_NEWEST = (
    "active_uj", "held_uj", "host_uj", "low_uj", "high_uj", "facility_uj", "loc_lifecycle_ng", "loc_direct_ng",
    "market_ng", "embodied_ng",
)  # fmt: skip
FIGURES = (*_OF_NEWEST, "rows", "tokens")
"""The figures of a request: of its newest line, and of its first one."""
Figures = tuple[Any, ...]
_newest_figures, _first_figures = attrgetter(*_OF_NEWEST), attrgetter("rows", "tokens_in")


@dataclass(slots=True, kw_only=True)
class Alike:
    """Charged requests with known energy that differ in their figures alone. State: the sums since they were last added
    up, which `take` adds to. Lines that were taken away again count negative.

    `first` is one of them by its first line, `newest` the same one by its newest line merged over the first. All have
    these in common: whose and which model, variant and region; outcome, cache, reason, code; PUE and grid readings;
    tier, state and flags of the newest line; the quarter of an hour; and which figures are null, or no tokens.
    """

    first: Mapping[str, Any]
    newest: Mapping[str, Any]
    row: RollupKey
    place: Place
    fact: str | None
    requests: int = 0
    rows: int = 0
    tokens: int = 0
    active_uj: int = 0
    held_uj: int = 0
    host_uj: int = 0
    low_uj: int = 0
    high_uj: int = 0
    facility_uj: int = 0
    loc_lifecycle_ng: int = 0
    loc_direct_ng: int = 0
    market_ng: int = 0
    embodied_ng: int = 0
    histogram: dict[int, int] = field(default_factory=dict)

    @property
    def energy_uj(self) -> int:
        """IT energy [uJ]."""
        return self.active_uj + self.held_uj + self.host_uj

    @property
    def site_uj(self) -> int:
        """Energy at the site's meter [uJ]; IT energy where the site's PUE is unknown."""
        return self.energy_uj if self.newest["facility_uj"] is None else self.facility_uj

    def take(self, sign: int, figures: Sequence[Figures]) -> None:
        """Add such requests, each by its figures; with -1 take them away."""
        columns = list(zip(*figures, strict=True))
        histogram = self.histogram
        for bucket, requests in Counter(map(bucket_of, map(sum, zip(*columns[:3], strict=True)))).items():
            histogram[bucket] = histogram.get(bucket, 0) + sign * requests
        self.requests += sign * len(figures)
        for name, column in zip(FIGURES, columns, strict=True):
            # What is null in one of them is null in all.
            if column[0] is not None:
                setattr(self, name, getattr(self, name) + sign * sum(column))

    def clear(self) -> None:
        """Begin at nothing again."""
        self.requests = self.rows = self.tokens = self.active_uj = self.held_uj = self.host_uj = self.low_uj = 0
        self.high_uj = self.facility_uj = self.loc_lifecycle_ng = self.loc_direct_ng = 0
        self.market_ng = self.embodied_ng = 0
        self.histogram.clear()


class Kinds:
    """Requests by kind. State: the kinds that were seen, and the lines that are not added up yet."""

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], Alike] = {}
        self._waiting: dict[tuple[Any, ...], tuple[list[Figures], Known, FirstLine | SettledLine]] = {}
        self._lines = 0

    def __repr__(self) -> str:
        return f"<Kinds: {self._lines} lines of {len(self._waiting)} kinds wait, {len(self._known)} kinds known>"

    def needs_room(self) -> bool:
        """Whether so many lines wait that they should be added up."""
        return self._lines > MOST_LINES

    def count(self, first: Known, line: FirstLine | SettledLine, sign: int = 1) -> None:
        """Count a request by its newest line; with -1 take it away as it was counted by that line before."""
        kind = (
            sign, first.kind, line.state, line.tier, line.flags, line.facility_uj is None,
            line.loc_lifecycle_ng is None, line.loc_direct_ng is None, line.market_ng is None, line.embodied_ng is None,
        )  # fmt: skip
        waiting = self._waiting.get(kind)
        if waiting is None:
            waiting = self._waiting[kind] = ([], first, line)
        waiting[0].append(_newest_figures(line) + _first_figures(first.line))
        self._lines += 1

    def add_up(self, tally: Callable[[RollupKey], Tally], places: Places) -> set[RollupKey]:
        """Add what was counted to the rows of the hourly sums (`tally` gives one) and to the sums that budgets are read
        from; the rows."""
        counted: dict[int, Alike] = {}
        for (sign, *kind), (figures, known, line) in self._waiting.items():
            alike = self._known.get(name := tuple(kind))
            if alike is None:
                alike = self._known[name] = _alike(known, line)
            alike.take(sign, figures)
            counted[id(alike)] = alike
        for alike in counted.values():
            add_to(tally(alike.row), alike)
            sums = places.setdefault(alike.place, [0, 0, 0, 0, 0])
            for at, value in enumerate(spent_by(alike)):
                sums[at] += value
            alike.clear()
        self._waiting.clear()
        self._lines = 0
        if len(self._known) > MOST_KINDS:
            self._known.clear()
        return {alike.row for alike in counted.values()}


def add_to(tally: Tally, alike: Alike) -> None:
    """Add these requests to their row of the hourly sums."""
    first, newest, count = alike.first, alike.newest, alike.requests
    tally.requests += count
    tally.rows += alike.rows
    count_in(tally.outcomes, first["outcome"], count)
    count_in(tally.cache, first["cache"], count)
    if first["tokens_in"] is None:
        tally.tokens_unknown += count
    else:
        tally.tokens += alike.tokens
    for flag in newest["flags"]:
        count_in(tally.flags, flag, count)
    if stand_apart(first):
        tally.apart += count
    if alike.fact is not None:
        count_in(tally.facts, alike.fact, count)
    _add_energy(tally, alike)
    _add_grid(tally, alike)
    _add_carbon(tally, alike)


def spent_by(alike: Alike) -> tuple[int, int, int, int, int]:
    """What these requests add to the sums of their place, in the order of `Spend`."""
    unknown_uj = alike.site_uj if alike.newest["loc_lifecycle_ng"] is None else 0
    return alike.requests, alike.tokens, alike.energy_uj, alike.loc_lifecycle_ng, unknown_uj


def _alike(known: Known, newest: FirstLine | SettledLine) -> Alike:
    first = orjson.loads(body_of(known.line))
    place = (
        first.get("org"),
        first["tenant"],
        first.get("project"),
        first["key_id"],
        first["model"],
        first["ended_us"] // US_PER_QUARTER,
    )
    return Alike(
        first=first,
        newest={**first, **orjson.loads(body_of(newest))},
        row=rollup_key(first, first["ended_us"] // US_PER_HOUR),
        place=place,
        fact=fact_of(first) if OTHER_CI in first else None,
    )


def _add_energy(tally: Tally, alike: Alike) -> None:
    newest, count, energy_uj = alike.newest, alike.requests, alike.energy_uj
    tally.active_uj += alike.active_uj
    tally.held_uj += alike.held_uj
    tally.host_uj += alike.host_uj
    tally.low_uj += alike.low_uj
    tally.high_uj += alike.high_uj
    count_in(tally.tiers, newest["tier"], count)
    count_in(tally.by_tier, newest["tier"], energy_uj)
    for bucket, requests in alike.histogram.items():
        count_in(tally.histogram, bucket, requests)
    if newest["state"] == "provisional":
        tally.open += count
        tally.provisional += count
        tally.provisional_uj += energy_uj
    elif UNMETERED in newest["flags"]:
        tally.unreconciled += count
        tally.unreconciled_uj += energy_uj


def _add_grid(tally: Tally, alike: Alike) -> None:
    reading, energy_uj = alike.first["ci"], alike.energy_uj
    if reading is None:
        count_in(tally.by_origin, "unknown", energy_uj)
        return
    count_in(tally.by_origin, reading["origin"], energy_uj)
    if alike.newest["facility_uj"] is not None:
        count_in(tally.intensities, reading["mg_per_kwh"], alike.facility_uj)
    for counter, one in ((tally.grades, reading), (tally.other_grades, alike.first.get(OTHER_CI))):
        grade = None if one is None else grade_of(one)
        if grade is not None:
            count_in(counter, grade, energy_uj)


def _add_carbon(tally: Tally, alike: Alike) -> None:
    first, newest, count, energy_uj = alike.first, alike.newest, alike.requests, alike.energy_uj
    if newest["facility_uj"] is None:
        tally.facility_unknown_uj += energy_uj
    else:
        tally.facility_uj += alike.facility_uj
    if newest["loc_lifecycle_ng"] is None:
        tally.loc_lifecycle_uncovered_uj += energy_uj
        tally.ci_unknown_uj += alike.site_uj
    else:
        tally.loc_lifecycle_ng += alike.loc_lifecycle_ng
        tally.loc_lifecycle_covered += count
        if first["tokens_in"] and OTHER_CI in first:
            tally.scored_tokens += alike.tokens
            tally.scored_tokens_ng += alike.loc_lifecycle_ng
    if newest["loc_direct_ng"] is None:
        tally.loc_direct_uncovered_uj += energy_uj
    else:
        tally.loc_direct_ng += alike.loc_direct_ng
        tally.loc_direct_covered += count
    if newest["market_ng"] is None:
        tally.market_unknown_uj += alike.site_uj
    else:
        tally.market_ng += alike.market_ng
        tally.market_covered += count
    if newest["embodied_ng"] is not None:
        tally.embodied_ng += alike.embodied_ng
        tally.embodied_covered += count
