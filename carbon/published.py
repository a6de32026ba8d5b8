"""A node's learned models as answers are estimated by them, before the meter has spoken (method: E3, E12)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any

from greenserve.carbon.board_power import NOTHING_DECLARED, DeclaredPower, DeclaredPowers
from greenserve.carbon.power_model import MW_NS_PER_UJ, CpuPower
from greenserve.carbon.shares import WHOLE_PPB, SpanShare
from greenserve.carbon.theta import NOT_SEPARABLE, PRIOR, Theta
from greenserve.carbon.uncertainty import METER_BP, PROVISIONAL_REQUEST_BP, HalfWidths, bounds, energy_half_width_bp
from greenserve.records import TIERS, Tier
from greenserve.units import MILLI, NS_PER_S

GUESSED_TIER: Tier = "class_average"
GUESSED_BP = 6_000
BP_PER_PERCENT = 100
STALE_NS = 30 * NS_PER_S
"""A publication that its writer has not renewed for so long is not used: whoever learns may be gone."""
UNPUBLISHED, STALE, UNKNOWN_BOARD, UNLEARNED = "unpublished", "stale", "unknown_board", "unlearned"


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardPower:
    """A board's published model with the digest of its entry, and what its meter says: power at rest [mW], the tier of
    its energy, the half width of the meter's own 90 % interval [1/100 %] (None: the tier's)."""

    theta: Theta
    sha256: str
    static_mw: int
    tier: Tier
    meter_bp: int | None = None

    @property
    def half_width_bp(self) -> int | None:
        """E12 of one provisional value [1/100 %]; None for a simulated board."""
        meter = METER_BP[self.tier] if self.meter_bp is None else self.meter_bp
        return energy_half_width_bp(HalfWidths(meter=meter, request=PROVISIONAL_REQUEST_BP))


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedPowers:
    """All boards of a node at `at_ns` [monotonic ns], as the writer of `run_id` knew them; `names` maps what engines
    call a board (`cuda:0`) to its name. `cpu` is what its CPU was seen to draw, None before enough was settled."""

    run_id: str
    at_ns: int
    boards: Mapping[str, BoardPower]
    names: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    cpu: CpuPower | None = None

    def cpu_at(self, now_ns: int) -> CpuPower | None:
        """The CPU's power at a moment [monotonic ns]; None where it is not learned or the publication is stale."""
        return None if now_ns - self.at_ns > STALE_NS else self.cpu

    def document(self) -> dict[str, object]:
        """Strings, integers, lists and objects of these."""
        boards = {
            device: {
                "theta": board.theta.document(),
                "sha256": board.sha256,
                "static_mw": board.static_mw,
                "tier": board.tier,
                "meter_bp": board.meter_bp,
            }
            for device, board in self.boards.items()
        }
        cpu = None if self.cpu is None else asdict(self.cpu)
        return {"run_id": self.run_id, "at_ns": self.at_ns, "boards": boards, "names": dict(self.names), "cpu": cpu}

    @classmethod
    def of_document(cls, document: Mapping[str, Any]) -> "PublishedPowers":
        """What `document` wrote; KeyError, TypeError or ValueError where it is not whole."""
        boards = {
            device: BoardPower(**{**members, "theta": Theta.of_document(members["theta"])})
            for device, members in document["boards"].items()
        }
        if any(board.tier not in TIERS or board.static_mw < 0 for board in boards.values()):
            raise ValueError(f"a board has a power at rest >= 0 and one of the tiers {', '.join(TIERS)}")
        told = document.get("cpu")
        return cls(
            run_id=document["run_id"],
            at_ns=int(document["at_ns"]),
            boards=boards,
            names=dict(document["names"]),
            cpu=None if told is None else CpuPower(**told),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What batches on one board are expected to have cost a request [uJ], with a 90 % interval and tier.

    `name` is what the engine calls the board. By a published model: its `device`, `version`, `sha256`, and the board's
    power at rest `static_mw` [mW]. By its declared power or an average these are None, `reason` says why, and
    `active_mw` and `held_mw` [mW] are what it was taken to draw above rest and at rest.
    """

    name: str
    active_uj: int
    held_uj: int
    low_uj: int
    high_uj: int
    tier: Tier
    device: str | None = None
    version: int | None = None
    sha256: str | None = None
    static_mw: int | None = None
    reason: str | None = None
    active_mw: int | None = None
    held_mw: int | None = None

    def members(self) -> dict[str, Any]:
        """What stands in the request's line."""
        return {
            "active_mw": self.active_mw,
            "active_uj": self.active_uj,
            "device": self.device,
            "held_mw": self.held_mw,
            "held_uj": self.held_uj,
            "name": self.name,
            "reason": self.reason,
            "sha256": self.sha256,
            "static_mw": self.static_mw,
            "tier": self.tier,
            "version": self.version,
        }


def estimates_of(
    shares: Sequence[SpanShare],
    powers: PublishedPowers | None,
    now_ns: int,
    declared: DeclaredPowers = NOTHING_DECLARED,
) -> tuple[Estimate, ...]:
    """One estimate per board and way of estimating it, in the order of the shares.

    Learned classes follow the published model. Everything else follows the board's power as it is `declared`, or an
    average (`class_average`, +-60 %): where nothing is published or it is stale at `now_ns` [monotonic ns], on a board
    that is not in it, for classes that it has not learned yet.
    """
    grouped: dict[tuple[str, str | None], list[SpanShare]] = {}
    for share in shares:
        grouped.setdefault((share.device, _why_not(share, powers, now_ns)), []).append(share)
    found = []
    for (name, reason), own in grouped.items():
        board = None if powers is None else powers.boards.get(powers.names.get(name, name))
        if reason is None and board is not None:
            found.append(_learned(name, own, board))
        else:
            found.append(_declared(name, own, declared.of(name), reason))
    return tuple(found)


def estimate_faults(body: Mapping[str, Any], thetas: Mapping[str, Theta | None]) -> Iterator[str]:
    """What is wrong with the estimates of a provisional line: models that no entry before it holds (`thetas` by
    digest; None: held, no longer at hand), energy that does not follow from the model that is named nor from a board's
    average, a total that does not hold it."""
    told, shares = body["estimates"], [SpanShare.of(members) for members in body["spans"]]
    for one in told:
        if one["sha256"] is not None and one["sha256"] not in thetas:
            yield f"its estimate on {one['name']} names the model {one['sha256']}, which no entry before it holds"
            continue
        own = [share for share in shares if share.device == one["name"]]
        models = [thetas.get(each["sha256"]) for each in told if each["name"] == one["name"] and each["sha256"]]
        if None in models:
            continue
        learned = [share for share in own if any(theta and _is_learned(theta, share.work_class) for theta in models)]
        theta = None if one["sha256"] is None else thetas[one["sha256"]]
        if theta is not None:
            again = _modelled(learned, theta, one["static_mw"])
        else:
            again = _drawn([share for share in own if share not in learned], one["active_mw"], one["held_mw"])
        stored = (one["active_uj"], one["held_uj"])
        if again != stored:
            yield f"its estimate on {one['name']} is {stored} (active, held uJ), its model gives {again}"
    for part in ("active_uj", "held_uj"):
        on_boards = sum(one[part] for one in told)
        if on_boards > body[part]:
            yield f"its estimates on boards sum to {on_boards} of {part}, the line says {body[part]}"


def _why_not(share: SpanShare, powers: PublishedPowers | None, now_ns: int) -> str | None:
    """Why a share cannot be estimated by the published model; None where it can."""
    if powers is None:
        return UNPUBLISHED
    if now_ns - powers.at_ns > STALE_NS:
        return STALE
    board = powers.boards.get(powers.names.get(share.device, share.device))
    if board is None:
        return UNKNOWN_BOARD
    return None if _is_learned(board.theta, share.work_class) else UNLEARNED


def _is_learned(theta: Theta, work_class: str) -> bool:
    power = theta.classes.get(work_class)
    return power is not None and PRIOR not in power.flags


def _learned(name: str, shares: Sequence[SpanShare], board: BoardPower) -> Estimate:
    active_uj, held_uj = _modelled(shares, board.theta, board.static_mw)
    guessed = any(NOT_SEPARABLE in board.theta.of(share.work_class).flags for share in shares)
    # Between classes that always run together their priors decide: the sum is learned, one class's part is not.
    width_bp = GUESSED_BP if guessed else board.half_width_bp
    tier = max(board.tier, GUESSED_TIER if guessed else "modelled", key=TIERS.index)
    energy_uj = active_uj + held_uj
    low_uj, high_uj = bounds(energy_uj, width_bp) or (energy_uj, energy_uj)
    return Estimate(
        name=name,
        active_uj=active_uj,
        held_uj=held_uj,
        low_uj=low_uj,
        high_uj=high_uj,
        tier=tier,
        device=board.theta.device,
        version=board.theta.version,
        sha256=board.sha256,
        static_mw=board.static_mw,
    )


def _declared(name: str, shares: Sequence[SpanShare], power: DeclaredPower, reason: str | None) -> Estimate:
    active_uj, held_uj = _drawn(shares, power.active_mw, power.held_mw)
    low_uj, high_uj = bounds(active_uj + held_uj, BP_PER_PERCENT * power.half_width_pct) or (0, 0)
    return Estimate(
        name=name,
        active_uj=active_uj,
        held_uj=held_uj,
        low_uj=low_uj,
        high_uj=high_uj,
        tier=power.tier,
        reason=reason,
        active_mw=power.active_mw,
        held_mw=power.held_mw,
    )


def _modelled(shares: Sequence[SpanShare], theta: Theta, static_mw: int) -> tuple[int, int]:
    """(active, held) [uJ]: each batch's expected energy and its part of the power at rest, times the weight."""
    active = held = 0
    for share in shares:
        work = share.work_span()
        active += theta.of(share.work_class).expected_uj(work.busy_ns, work.work) * share.weight_ppb
        held += static_mw * work.busy_ns * share.share_milli // (MW_NS_PER_UJ * MILLI) * share.weight_ppb
    return active // WHOLE_PPB, held // WHOLE_PPB


def _drawn(shares: Sequence[SpanShare], active_mw: int, held_mw: int) -> tuple[int, int]:
    """(active, held) [uJ] of a board that draws this much [mW] above rest and at rest while batches run."""
    board_ns = sum((share.end_ns - share.start_ns) * share.weight_ppb for share in shares) // WHOLE_PPB
    return active_mw * board_ns // MW_NS_PER_UJ, held_mw * board_ns // MW_NS_PER_UJ
