"""What a class of work is expected to draw, learned from the device's own counter (method: E3, E6)."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import mul
from types import MappingProxyType
from typing import Any, NamedTuple

from greenserve.carbon.nonnegative import solve_nonnegative
from greenserve.carbon.separable import inseparable
from greenserve.units import NS_PER_S

PJ_PER_UJ = 1_000_000
MW_PER_W = 1_000
REFERENCE_SPANS = 64
"""Spans of a class after which its work per busy second is fixed."""
RIDGE = 1e-3
LEAST_ANCHOR = 0.1
"""A prior below this part of their mean is pulled to as if it were this large."""
SOLVE_NS, PUBLISH_NS = NS_PER_S, 10 * NS_PER_S
MOVED = 0.01
"""A new version is published where a coefficient moved by this part of its class's power."""
FORGETTING, PARTIAL_FORGETTING = 0.9998, 0.9999
"""The weight that an interval keeps when the next one comes (decision 0018); the second for a sensor that sees a part
of the time."""
LEARNED_INTERVALS, LEARNED_WEIGHT = 30, 1.0
"""A class is learned once so many intervals held it, with so much weight: a thousand times the ridge."""
QUIET = 0.05
"""An interval counts at most as if its variance were this part of the usual one: what the counter itself is off by."""
RENORMALISE = 1e12
PRIOR, NOT_SEPARABLE = "prior", "not_separable"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassPower:
    """E3 for one class: integer powers [mW] of its two features, both times [ns].

    `busy_mw` acts on the span's time, `work_mw` on its work turned into time at the class's mean rate, `rate_work`
    per `rate_busy_ns` [ns]. Without a rate (both 0) a span counts as average work. Flags: `prior` (not yet learned
    from this device), `not_separable` (always runs in the same proportion to another class: the prior decides
    between them).
    """

    busy_mw: int
    work_mw: int
    rate_work: int = 0
    rate_busy_ns: int = 0
    flags: tuple[str, ...] = (PRIOR,)

    def __post_init__(self) -> None:
        if min(self.busy_mw, self.work_mw, self.rate_work, self.rate_busy_ns) < 0:
            raise ValueError(f"powers and rates are >= 0, got {self!r}")

    def work_ns(self, busy_ns: int, work: int) -> int:
        """The second feature: how long a mean batch takes for this work [ns]."""
        return work * self.rate_busy_ns // self.rate_work if self.rate_work else busy_ns

    def expected_uj(self, busy_ns: int, work: int) -> int:
        """E3: predicted dynamic energy of a span [uJ], at least 1."""
        return max(1, (self.busy_mw * busy_ns + self.work_mw * self.work_ns(busy_ns, work)) // PJ_PER_UJ)


@dataclass(frozen=True, slots=True, kw_only=True)
class Theta:
    """A published version of a device's model, from `at_ns` [monotonic ns] on; `default` serves unknown classes."""

    device: str
    version: int
    at_ns: int
    classes: Mapping[str, ClassPower]
    default: ClassPower

    def of(self, work_class: str) -> ClassPower:
        """The power of a class."""
        return self.classes.get(work_class, self.default)

    def document(self) -> dict[str, object]:
        """All of it as strings, integers, lists and objects of these: the body of a `theta` entry."""

        def members(power: ClassPower) -> dict[str, object]:
            return {
                "busy_mw": power.busy_mw,
                "work_mw": power.work_mw,
                "rate_work": power.rate_work,
                "rate_busy_ns": power.rate_busy_ns,
                "flags": list(power.flags),
            }

        return {
            "device": self.device,
            "version": self.version,
            "at_ns": self.at_ns,
            "classes": {name: members(power) for name, power in sorted(self.classes.items())},
            "default": members(self.default),
        }

    def digest(self) -> str:
        """SHA-256 of the canonical document, in hexadecimal digits."""
        return theta_digest(self.document())

    @classmethod
    def of_document(cls, document: Mapping[str, Any]) -> "Theta":
        """The model that `document` wrote; KeyError, TypeError or ValueError where it is not whole."""
        return cls(
            device=document["device"],
            version=document["version"],
            at_ns=document["at_ns"],
            classes={name: _power_of(members) for name, members in document["classes"].items()},
            default=_power_of(document["default"]),
        )


def theta_digest(document: Mapping[str, object]) -> str:
    """SHA-256 of a model's canonical document, in hexadecimal digits."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _power_of(members: Mapping[str, Any]) -> ClassPower:
    return ClassPower(**{**members, "flags": tuple(members["flags"])})


class Part(NamedTuple):
    """What of a span fell into an interval, for learning: its class, time and work, and the overlap [ns]."""

    work_class: str
    busy_ns: int
    work: int
    overlap_ns: int


class _Class:
    """A class's place in the equations and its reference rate so far."""

    def __init__(self, column: int, prior: ClassPower) -> None:
        self.column = column
        self.rate_work, self.rate_busy_ns = prior.rate_work, prior.rate_busy_ns
        self.spans = REFERENCE_SPANS if prior.rate_work else 0
        self.intervals = 0

    @property
    def fixed(self) -> bool:
        return self.spans >= REFERENCE_SPANS


class Learner:
    """Fits the powers of the classes on one device by ridge regression with forgetting, powers >= 0 (E6).

    State, changed by `saw`, `observe` and `step` alone: `_matrix` and `_vector`, the weighted sums of the normal
    equations (scaled by `_gain`, so that forgetting costs nothing per element); `_theta` [W], the solution;
    `_anchor` [W], what the ridge pulls to: the prior, then what was learned when it was last known well; `_classes`;
    `_squares`, residuals for the spread; `published`, the version in force. Not thread-safe: one owner.
    """

    def __init__(
        self, device: str, *, priors: Mapping[str, ClassPower], default: ClassPower, forgetting: float = FORGETTING
    ) -> None:
        """`priors` come from the optimizer's manifest; classes without one start at `default`, a class average.

        `forgetting` is the weight that an interval keeps when the next one comes.
        """
        if not 0.9 <= forgetting < 1.0:
            raise ValueError(f"forgetting lies in 0.9 <= f < 1, got {forgetting}")
        self._forgetting, self._priors, self._default = forgetting, dict(priors), default
        self._classes: dict[str, _Class] = {}
        self._matrix: list[list[float]] = []
        self._vector: list[float] = []
        self._theta: list[float] = []
        self._anchor: list[float] = []
        self._gain = 1.0
        self._squares = [0.0, 0.0, 0.0]
        self._solved_ns: int | None = None
        known = MappingProxyType({name: _as_prior(power) for name, power in priors.items()})
        self.published = Theta(device=device, version=1, at_ns=0, classes=known, default=_as_prior(default))

    def __repr__(self) -> str:
        return f"<Learner of {self.published.device}: {len(self._classes)} classes, version {self.published.version}>"

    def saw(self, work_class: str, busy_ns: int, work: int) -> None:
        """Count a span of a class towards its mean work per busy second."""
        known = self._class(work_class)
        if not known.fixed:
            known.spans += 1
            known.rate_work += work
            known.rate_busy_ns += busy_ns

    def observe(self, dynamic_uj: int, length_ns: int, parts: Iterable[Part], observed_ns: int | None = None) -> None:
        """Learn from an interval: its dynamic energy [uJ], its length [ns], and all spans in its observed part.

        `observed_ns` is the length of that part where the sensor does not see the whole interval. Skip intervals of a
        gap or with foreign work. Intervals with a class whose rate is not fixed teach nothing yet, nor do those
        without any span.
        """
        seen_ns = length_ns if observed_ns is None else observed_ns
        features: dict[str, list[float]] = {}
        expected = variance = 0.0
        for part in parts:
            if not part.overlap_ns:
                continue
            known = self._class(part.work_class)
            if not known.fixed:
                return
            share = part.overlap_ns / part.busy_ns / seen_ns
            work_ns = part.work * known.rate_busy_ns / known.rate_work if known.rate_work else part.busy_ns
            both = features.setdefault(part.work_class, [0.0, 0.0])
            busy, work = share * part.busy_ns, share * work_ns
            both[0] += busy
            both[1] += work
            power_w = busy * self._theta[known.column] + work * self._theta[known.column + 1]
            expected += power_w
            variance += power_w * power_w
        if features:
            power_w = dynamic_uj / PJ_PER_UJ / (length_ns / NS_PER_S)
            self._remember(power_w - expected, variance)
            self._learn(power_w, features, self._weight(variance))

    def step(self, at_ns: int) -> Theta | None:
        """Solve, once a second of `at_ns` [monotonic ns]; the new version where one is due, at most every 10 s."""
        if self._solved_ns is not None and at_ns - self._solved_ns < SOLVE_NS:
            return None
        if not self._theta:
            return None
        self._solved_ns = at_ns
        self._solve()
        if self.published.version > 1 and at_ns - self.published.at_ns < PUBLISH_NS:
            return None
        classes = self._current()
        if not self._moved(classes):
            return None
        self.published = Theta(
            device=self.published.device,
            version=self.published.version + 1,
            at_ns=at_ns,
            classes=MappingProxyType(dict(self.published.classes) | classes),
            default=self.published.default,
        )
        return self.published

    def spread_bp(self) -> int | None:
        """90 % half width of one span around its expectation [1/100 %], from the residuals; None before there are any.

        The variance of an interval's residual is taken as that of its spans, each off by the same part of itself
        (the meter's noise is in it too, so this is an upper bound).
        """
        squares, variance, _ = self._squares
        return round(16_450 * (squares / variance) ** 0.5) if variance else None

    def _class(self, work_class: str) -> _Class:
        known = self._classes.get(work_class)
        if known is None:
            prior = self._priors.get(work_class, self._default)
            known = self._classes[work_class] = _Class(len(self._theta), prior)
            for row in self._matrix:
                row += [0.0, 0.0]
            watts = [prior.busy_mw / MW_PER_W, prior.work_mw / MW_PER_W]
            self._theta += watts
            self._anchor += watts
            self._vector += [0.0, 0.0]
            self._matrix += [[0.0] * len(self._theta) for _ in range(2)]
        return known

    def _remember(self, residual_w: float, variance: float) -> None:
        squares, variances, intervals = (self._forgetting * kept for kept in self._squares)
        self._squares = [squares + residual_w**2, variances + variance, intervals + 1.0]

    def _weight(self, variance: float) -> float:
        """How much an interval teaches: the usual variance over its own. Each batch is off by about the same part of
        itself, so large batches drown what an interval says of small ones beside them (decision 0038)."""
        usual = self._squares[1] / self._squares[2]
        return usual / (variance + QUIET * usual) if usual > 0.0 else 1.0

    def _learn(self, power_w: float, features: Mapping[str, list[float]], weight: float) -> None:
        """M = lam M + w r r', v = lam v + w r D/dt, with everything divided by the falling weight instead."""
        self._gain /= self._forgetting
        row = []
        for work_class, (busy, work) in features.items():
            known = self._classes[work_class]
            known.intervals += 1
            row += [(known.column, busy), (known.column + 1, work)]
        for column, value in row:
            scaled = value * self._gain * weight
            self._vector[column] += scaled * power_w
            line = self._matrix[column]
            for other, other_value in row:
                line[other] += scaled * other_value
        if self._gain > RENORMALISE:
            self._matrix = [[value / self._gain for value in line] for line in self._matrix]
            self._vector = [value / self._gain for value in self._vector]
            self._gain = 1.0

    def _solve(self) -> None:
        """Fit again. The ridge pulls a weak prior harder than a strong one, so that classes which the counter cannot
        tell apart move in proportion to their priors."""
        scale = self._common_scale()
        mean = sum(self._anchor) / len(self._anchor)
        least = max(mean * LEAST_ANCHOR, 1e-9)
        ridge = [self._gain * RIDGE * max(mean, least) / max(anchor, least) for anchor in self._anchor]
        self._theta = solve_nonnegative(self._matrix, self._vector, ridge, [scale * anchor for anchor in self._anchor])

    def _common_scale(self) -> float:
        """By which one factor all anchors fit best: keeps their ratio where the counter cannot tell classes apart."""
        fitted = sum(map(mul, self._anchor, self._vector))
        squared = sum(
            anchor * sum(map(mul, line, self._anchor)) for anchor, line in zip(self._anchor, self._matrix, strict=True)
        )
        return fitted / squared if fitted > 0 and squared > 0 else 1.0

    def _current(self) -> dict[str, ClassPower]:
        """The classes as they would be published; well-known ones become anchors."""
        learned = [name for name, known in self._classes.items() if self._is_learned(known)]
        places = [self._classes[name].column for name in learned]
        mixed = inseparable([[self._matrix[row][column] for column in places] for row in places])
        together = {learned[place] for place in mixed}
        classes = {}
        for name, known in self._classes.items():
            busy_w, work_w = self._theta[known.column : known.column + 2]
            flags: tuple[str, ...] = () if name in learned else (PRIOR,)
            if name in together:
                flags += (NOT_SEPARABLE,)
            if not flags:
                self._anchor[known.column : known.column + 2] = [busy_w, work_w]
            classes[name] = ClassPower(
                busy_mw=round(busy_w * MW_PER_W),
                work_mw=round(work_w * MW_PER_W),
                rate_work=known.rate_work if known.fixed else 0,
                rate_busy_ns=known.rate_busy_ns if known.fixed else 0,
                flags=flags,
            )
        return classes

    def _is_learned(self, known: _Class) -> bool:
        weight = self._matrix[known.column][known.column] / self._gain
        return known.intervals >= LEARNED_INTERVALS and weight >= LEARNED_WEIGHT

    def _moved(self, classes: Mapping[str, ClassPower]) -> bool:
        for name, new in classes.items():
            old = self.published.classes.get(name)
            if old is None or (old.flags, old.rate_work, old.rate_busy_ns) != (
                new.flags,
                new.rate_work,
                new.rate_busy_ns,
            ):
                return True
            least = MOVED * max(1, old.busy_mw + old.work_mw)
            if abs(new.busy_mw - old.busy_mw) >= least or abs(new.work_mw - old.work_mw) >= least:
                return True
        return False


def _as_prior(power: ClassPower) -> ClassPower:
    return ClassPower(
        busy_mw=power.busy_mw, work_mw=power.work_mw, rate_work=power.rate_work, rate_busy_ns=power.rate_busy_ns
    )
