"""The external meters that the configuration names, asked in one thread of this process."""

from collections.abc import Callable, Mapping
from functools import partial

from greenserve.carbon.external.meter import ExternalMeter
from greenserve.carbon.external.poller import ExternalPoller, Place
from greenserve.carbon.intervals import Limits
from greenserve.carbon.meters.pick import EXTERNAL, Picked
from greenserve.clock import SystemClock
from greenserve.config import Config, read_secret
from greenserve.energy_section import ExternalEnergy
from greenserve.units import MILLI, NS_PER_S


class ExternalMeters:
    """State: the poller's thread, and what it puts into the meters."""

    def __init__(self, config: Config) -> None:
        self._sections = config.energy.external
        self.poller = ExternalPoller([_place(section) for section in self._sections], clock=SystemClock())

    def __repr__(self) -> str:
        return f"<ExternalMeters {self.poller!r}>"

    def picked(self) -> tuple[Picked, ...]:
        """The meters as devices that may be picked, in the order of the file."""
        return tuple(
            Picked(
                name=EXTERNAL,
                meter=meter,
                rejected=(),
                device=meter.device,
                period_ns=round(section.every_s * NS_PER_S),
                limits=Limits(power_limit_mw=round(section.max_w * MILLI), edge_ns=round(section.timeout_s * NS_PER_S)),
                flags=partial(_flags, meter),
            )
            for section, meter in zip(self._sections, self.poller.meters, strict=True)
        )


def _flags(meter: ExternalMeter) -> frozenset[str]:
    """A reading that holds on while newer ones fail."""
    return frozenset() if meter.fault is None else frozenset({"read_failed"})


def _place(section: ExternalEnergy) -> Place:
    meter = ExternalMeter(
        section.name,
        section.amount(),
        device=section.device,
        where=str(section.file or (section.url or "").partition("?")[0]),
        max_w=section.max_w,
        half_width_pct=section.half_width_pct,
        every_s=section.every_s,
        clock=SystemClock(),
    )
    return Place(
        meter=meter, url=section.url, file=section.file, timeout_s=section.timeout_s, headers=_headers(section)
    )


def _headers(section: ExternalEnergy) -> Callable[[], Mapping[str, str]]:
    reference = section.authorization
    return lambda: {} if reference is None else {"Authorization": read_secret(reference)}
