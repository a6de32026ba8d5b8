"""Sums over usage lines that can be added to, taken from, merged and stored: integers only."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Self

import orjson

from greenserve.carbon.buckets import bucket_of
from greenserve.carbon.cuts import LATER, pieces_of
from greenserve.carbon.emissions import facility_uj
from greenserve.carbon.entries import OTHER_CI, UNMETERED
from greenserve.carbon.facts import fact_of
from greenserve.carbon.grades import grade_of, stand_apart

INTEGERS = (
    "requests",
    "not_charged",
    "open",
    "unmetered",
    "provisional",
    "unreconciled",
    "rows",
    "tokens",
    "tokens_unknown",
    "active_uj",
    "held_uj",
    "host_uj",
    "low_uj",
    "high_uj",
    "facility_uj",
    "facility_unknown_uj",
    "provisional_uj",
    "unreconciled_uj",
    "loc_lifecycle_ng",
    "loc_lifecycle_covered",
    "loc_lifecycle_uncovered_uj",
    "loc_direct_ng",
    "loc_direct_covered",
    "loc_direct_uncovered_uj",
    "market_ng",
    "market_covered",
    "market_unknown_uj",
    "embodied_ng",
    "embodied_covered",
    "ci_unknown_uj",
    "apart",
    "scored_tokens",
    "scored_tokens_ng",
)
"""Sums. `open` are lines that wait for their settled one, charged or not; `_covered` are the requests with a figure in
that column. `ci_unknown_uj` and `market_unknown_uj` are site energy (IT energy without a PUE) without lifecycle or
market emissions; `_uncovered_uj` is IT energy."""
COUNTERS = (
    "outcomes",
    "cache",
    "tiers",
    "by_tier",
    "by_origin",
    "grades",
    "other_grades",
    "intensities",
    "flags",
    "histogram",
    "facts",
)
NAMES = (*INTEGERS, *COUNTERS)
_BY_NUMBER = frozenset(("intensities", "histogram"))
_NULLABLE = ("active_uj", "facility_uj", "loc_lifecycle_ng", "loc_direct_ng", "market_ng", "embodied_ng")


class Counters:
    """Sums of merged usage bodies, integers only. State: counters that `add` and `merge` alone change.

    Energies are IT energy [uJ]. `outcomes`, `cache`, `tiers` and `flags` count requests; `by_tier` and `by_origin` hold
    IT energy, and so do `grades` and `other_grades`, by `grade_of` the line's reading and of that in the other basis.
    `apart` counts requests whose two readings are not of one provider, scope and slot; `scored_tokens` and
    `scored_tokens_ng` are input tokens and lifecycle emissions of requests that tell both. Lines of before there was an
    `OTHER_CI` count in none of these, so that rows stored then are still folded as they are. `facts` is filled by
    `describe` alone.
    `intensities` maps mg/kWh to site energy; `histogram` counts requests by `bucket_of` their energy. A line
    that is taken away again leaves nothing behind, so that sums over settled lines do not depend on their estimates.
    """

    __slots__ = NAMES
    requests: int
    not_charged: int
    open: int
    unmetered: int
    provisional: int
    unreconciled: int
    rows: int
    tokens: int
    tokens_unknown: int
    active_uj: int
    held_uj: int
    host_uj: int
    low_uj: int
    high_uj: int
    facility_uj: int
    facility_unknown_uj: int
    provisional_uj: int
    unreconciled_uj: int
    loc_lifecycle_ng: int
    loc_lifecycle_covered: int
    loc_lifecycle_uncovered_uj: int
    loc_direct_ng: int
    loc_direct_covered: int
    loc_direct_uncovered_uj: int
    market_ng: int
    market_covered: int
    market_unknown_uj: int
    embodied_ng: int
    embodied_covered: int
    ci_unknown_uj: int
    apart: int
    scored_tokens: int
    scored_tokens_ng: int

    def __init__(self) -> None:
        for name in INTEGERS:
            setattr(self, name, 0)
        self.outcomes: Counter[str] = Counter()
        self.cache: Counter[str] = Counter()
        self.tiers: Counter[str] = Counter()
        self.by_tier: Counter[str] = Counter()
        self.by_origin: Counter[str] = Counter()
        self.grades: Counter[str] = Counter()
        self.other_grades: Counter[str] = Counter()
        self.facts: Counter[str] = Counter()
        self.intensities: Counter[int] = Counter()
        self.flags: Counter[str] = Counter()
        self.histogram: Counter[int] = Counter()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Counters):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in NAMES)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.requests} requests>"

    def add(self, body: Mapping[str, Any], sign: int = 1) -> None:
        """Count one request by its newest line, merged over the ones before; with -1 take it away again.

        A line that is not charged counts only as such.
        """
        if body["state"] == "provisional":
            self.open += sign
        if not body["charged"]:
            self.not_charged += sign
            return
        self.requests += sign
        count_in(self.outcomes, body["outcome"], sign)
        count_in(self.cache, body["cache"], sign)
        self.rows += sign * body["rows"]
        tokens = body["tokens_in"]
        if tokens is None:
            self.tokens_unknown += sign
        else:
            self.tokens += sign * tokens
        for flag in body["flags"]:
            count_in(self.flags, flag, sign)
        if stand_apart(body):
            self.apart += sign
        self._add_energy(body, sign)

    def describe(self, body: Mapping[str, Any], sign: int = 1) -> None:
        """Note what a statement says of a request beside its sums; only `restate` changes it."""
        if body["charged"] and OTHER_CI in body:
            count_in(self.facts, fact_of(body), sign)

    def restate(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        """A whole settled body takes the place of another, its readings and factors too."""
        for body, sign in ((old, -1), (new, 1)):
            self.add(body, sign)
            self.describe(body, sign)

    def replace(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        """A settled line `new` takes the place of `old`, what it does not hold stands as in `old`.

        The same as taking `old` away and adding `old` merged with `new`, in half the time.
        """
        if old["state"] == "provisional":
            self.open -= 1
        if new["state"] == "provisional":
            self.open += 1
        if old["charged"] != new["charged"]:
            raise ValueError(f"a later line charges as the first one did, got {new!r:.80}")
        if not old["charged"]:
            return
        if old["flags"] or new["flags"]:
            for flag in old["flags"]:
                count_in(self.flags, flag, -1)
            for flag in new["flags"]:
                count_in(self.flags, flag, 1)
        unknown = [old[name] is None for name in _NULLABLE]
        if LATER in old or unknown[0] or unknown != [new[name] is None for name in _NULLABLE]:
            self._add_energy(old, -1)
            self._add_energy(new, 1, old)
        else:
            _move_energy(self, old, new)

    def merge(self, other: "Counters") -> None:
        """Add all sums of another tally."""
        for name in INTEGERS:
            value = getattr(other, name)
            if value:
                setattr(self, name, getattr(self, name) + value)
        for name in COUNTERS:
            own = getattr(self, name)
            for key, value in getattr(other, name).items():
                count_in(own, key, value)

    def to_json(self) -> bytes:
        """The sums as canonical JSON: members in order of name, those that are zero or empty left out."""
        members: dict[str, object] = {name: value for name in INTEGERS if (value := getattr(self, name))}
        for name in COUNTERS:
            counter = getattr(self, name)
            if counter:
                members[name] = {str(key): value for key, value in counter.items()} if name in _BY_NUMBER else counter
        return orjson.dumps(members, option=orjson.OPT_SORT_KEYS)

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """The tally that `to_json` wrote; ValueError for a member that it does not know."""
        tally = cls()
        for name, value in orjson.loads(data).items():
            if name not in NAMES:
                raise ValueError(f"a tally has no {name}; this version knows {', '.join(NAMES)}")
            if name in COUNTERS:
                value = Counter({int(key): one for key, one in value.items()} if name in _BY_NUMBER else value)
            setattr(tally, name, value)
        return tally

    def _add_energy(self, body: Mapping[str, Any], sign: int, first: Mapping[str, Any] | None = None) -> None:
        active_uj = body["active_uj"]
        if active_uj is None:
            self.unmetered += sign
            return
        held_uj, host_uj = body["held_uj"], body["host_uj"]
        energy_uj = active_uj + held_uj + host_uj
        signed_uj = sign * energy_uj
        self.active_uj += sign * active_uj
        self.held_uj += sign * held_uj
        self.host_uj += sign * host_uj
        self.low_uj += sign * body["low_uj"]
        self.high_uj += sign * body["high_uj"]
        _count_tier(self, body["tier"], energy_uj, sign)
        count_in(self.histogram, bucket_of(energy_uj), sign)
        _count_state(self, body, energy_uj, sign)
        self._add_carbon(body, signed_uj, sign, first or body)

    def _add_carbon(self, body: Mapping[str, Any], energy_uj: int, sign: int, first: Mapping[str, Any]) -> None:
        site_uj, reading = energy_uj, first["ci"]
        if body["facility_uj"] is None:
            self.facility_unknown_uj += energy_uj
        else:
            site_uj = sign * body["facility_uj"]
            self.facility_uj += site_uj
        if LATER in first:
            _count_pieces(self, first, body, sign)
        else:
            _count_grades(self, first, energy_uj)
            count_in(self.by_origin, "unknown" if reading is None else reading["origin"], energy_uj)
            if reading is not None and body["facility_uj"] is not None:
                count_in(self.intensities, reading["mg_per_kwh"], site_uj)
        lifecycle, direct = body["loc_lifecycle_ng"], body["loc_direct_ng"]
        if lifecycle is None:
            self.loc_lifecycle_uncovered_uj += energy_uj
            self.ci_unknown_uj += site_uj
        else:
            self.loc_lifecycle_ng += sign * lifecycle
            self.loc_lifecycle_covered += sign
            if first["tokens_in"] and OTHER_CI in first:
                self.scored_tokens += sign * first["tokens_in"]
                self.scored_tokens_ng += sign * lifecycle
        if direct is None:
            self.loc_direct_uncovered_uj += energy_uj
        else:
            self.loc_direct_ng += sign * direct
            self.loc_direct_covered += sign
        if body["market_ng"] is None:
            self.market_unknown_uj += site_uj
        else:
            self.market_ng += sign * body["market_ng"]
            self.market_covered += sign
        if body["embodied_ng"] is not None:
            self.embodied_ng += sign * body["embodied_ng"]
            self.embodied_covered += sign


def count_in(counter: Counter[Any], key: str | int, value: int) -> None:
    """Add to a counter; what comes to nothing leaves no trace."""
    if value:
        total = counter.get(key, 0) + value
        if total:
            counter[key] = total
        else:
            del counter[key]


def _move_energy(sums: "Counters", old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """From the figures of `old` to those of `new`, where the same ones are known in both."""
    active_uj, held_uj, host_uj = new["active_uj"], new["held_uj"], new["host_uj"]
    more_active_uj, more_held_uj = active_uj - old["active_uj"], held_uj - old["held_uj"]
    more_host_uj = host_uj - old["host_uj"]
    energy_uj, more_uj = active_uj + held_uj + host_uj, more_active_uj + more_held_uj + more_host_uj
    old_uj = energy_uj - more_uj
    sums.active_uj += more_active_uj
    sums.held_uj += more_held_uj
    sums.host_uj += more_host_uj
    sums.low_uj += new["low_uj"] - old["low_uj"]
    sums.high_uj += new["high_uj"] - old["high_uj"]
    if old["tier"] == new["tier"]:
        count_in(sums.by_tier, new["tier"], more_uj)
    else:
        _count_tier(sums, old["tier"], old_uj, -1)
        _count_tier(sums, new["tier"], energy_uj, 1)
    before, after = bucket_of(old_uj), bucket_of(energy_uj)
    if before != after:
        count_in(sums.histogram, before, -1)
        count_in(sums.histogram, after, 1)
    _count_state(sums, old, old_uj, -1)
    _count_state(sums, new, energy_uj, 1)
    reading, more_site_uj = old["ci"], more_uj
    _count_grades(sums, old, more_uj)
    if new["facility_uj"] is None:
        sums.facility_unknown_uj += more_uj
    else:
        more_site_uj = new["facility_uj"] - old["facility_uj"]
        sums.facility_uj += more_site_uj
        if reading is not None:
            count_in(sums.intensities, reading["mg_per_kwh"], more_site_uj)
    count_in(sums.by_origin, "unknown" if reading is None else reading["origin"], more_uj)
    if new["loc_lifecycle_ng"] is None:
        sums.loc_lifecycle_uncovered_uj += more_uj
        sums.ci_unknown_uj += more_site_uj
    else:
        more_ng = new["loc_lifecycle_ng"] - old["loc_lifecycle_ng"]
        sums.loc_lifecycle_ng += more_ng
        if old["tokens_in"] and OTHER_CI in old:
            sums.scored_tokens_ng += more_ng
    if new["loc_direct_ng"] is None:
        sums.loc_direct_uncovered_uj += more_uj
    else:
        sums.loc_direct_ng += new["loc_direct_ng"] - old["loc_direct_ng"]
    if new["market_ng"] is None:
        sums.market_unknown_uj += more_site_uj
    else:
        sums.market_ng += new["market_ng"] - old["market_ng"]
    if new["embodied_ng"] is not None:
        sums.embodied_ng += new["embodied_ng"] - old["embodied_ng"]


def _count_pieces(sums: "Counters", first: Mapping[str, Any], body: Mapping[str, Any], sign: int) -> None:
    """The grid of a run across slots: each piece's energy by its own reading."""
    for piece in pieces_of(first, body, body["active_uj"] + body["held_uj"] + body["host_uj"]):
        energy_uj = sign * piece.energy_uj
        _count_grades(sums, {"ci": piece.ci, OTHER_CI: piece.ci_other}, energy_uj)
        count_in(sums.by_origin, "unknown" if piece.ci is None else piece.ci["origin"], energy_uj)
        if piece.ci is not None and first["pue_milli"] is not None:
            site_uj = sign * facility_uj(piece.energy_uj, first["pue_milli"])
            count_in(sums.intensities, piece.ci["mg_per_kwh"], site_uj)


def _count_grades(sums: "Counters", first: Mapping[str, Any], energy_uj: int) -> None:
    if first["ci"] is None or not energy_uj:
        return
    for counter, reading in ((sums.grades, first["ci"]), (sums.other_grades, first.get(OTHER_CI))):
        grade = None if reading is None else grade_of(reading)
        if grade is not None:
            count_in(counter, grade, energy_uj)


def _count_tier(sums: "Counters", tier: str, energy_uj: int, sign: int) -> None:
    count_in(sums.tiers, tier, sign)
    count_in(sums.by_tier, tier, sign * energy_uj)


def _count_state(sums: "Counters", body: Mapping[str, Any], energy_uj: int, sign: int) -> None:
    if body["state"] == "provisional":
        sums.provisional += sign
        sums.provisional_uj += sign * energy_uj
    elif UNMETERED in body["flags"]:
        sums.unreconciled += sign
        sums.unreconciled_uj += sign * energy_uj
