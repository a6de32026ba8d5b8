"""What a board draws while a batch runs on it, as far as anybody said: until its meter speaks. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from greenserve.errors import ConfigInvalid
from greenserve.records import TIERS, Tier
from greenserve.units import MILLI

EVERY = "*"
"""The device of what holds for all boards that no other line names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredPower:
    """A board's mean power [mW] while a batch runs: above rest (`active_mw`) and at rest (`held_mw`).

    `device` is a UUID, an engine's name of one (`cuda:0`), or `*`. `half_width_pct` [%] is the half width of the 90 %
    interval, `source` says where the figures come from.
    """

    device: str
    active_mw: int
    held_mw: int
    tier: Tier
    half_width_pct: int
    source: str

    def __post_init__(self) -> None:
        if min(self.active_mw, self.held_mw) < 0 or not self.active_mw + self.held_mw:
            raise ConfigInvalid(
                f"energy.boards: {self.device} draws {self.held_mw} mW at rest and {self.active_mw} mW more at work; "
                "give busy_w above 0 and not below idle_w"
            )
        if TIERS.index(self.tier) < TIERS.index("modelled") or not 1 <= self.half_width_pct <= 100:
            raise ValueError(f"declared power is modelled or weaker, with a half width of 1..100 %, got {self!r}")


AVERAGE = DeclaredPower(
    device=EVERY,
    active_mw=190_000,
    held_mw=60_000,
    tier="class_average",
    half_width_pct=60,
    source="average of nothing known (to verify)",
)
"""What holds where the configuration declares nothing (decision 0030)."""


def declared(*, device: str, idle_w: float, busy_w: float, half_width_pct: int) -> DeclaredPower:
    """What the configuration says of a board [W]; ConfigInvalid where it draws less at work than at rest."""
    idle_mw = round(idle_w * MILLI)
    return DeclaredPower(
        device=device,
        active_mw=round(busy_w * MILLI) - idle_mw,
        held_mw=idle_mw,
        tier="modelled",
        half_width_pct=half_width_pct,
        source=f"configured {idle_w:g} W at rest, {busy_w:g} W at work",
    )


class DeclaredPowers:
    """Looks a board's power up: its own line, else that of all boards, else the average."""

    def __init__(self, lines: Sequence[DeclaredPower] = ()) -> None:
        """ConfigInvalid where two lines name one device."""
        self._by_device = {line.device: line for line in lines}
        if len(self._by_device) < len(lines):
            names = [line.device for line in lines]
            twice = sorted({name for name in names if names.count(name) > 1})
            raise ConfigInvalid(f"energy.boards names {', '.join(map(repr, twice))} twice; keep one line for each")
        self._rest = self._by_device.get(EVERY, AVERAGE)

    def __repr__(self) -> str:
        return f"<DeclaredPowers of {', '.join(self._by_device) or 'no board'}>"

    def of(self, device: str) -> DeclaredPower:
        """The power of a device by the name that its engine gives it."""
        return self._by_device.get(device, self._rest)


NOTHING_DECLARED = DeclaredPowers()
