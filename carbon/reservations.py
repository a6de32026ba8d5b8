"""Devices that are kept for tenants: who pays for their idle time whether they use it or not (method: section 6). Pure.

What is in force stands in the ledger as one entry with all of it; an interval counts by the newest entry before it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from greenserve.carbon.entries import METHOD, RESERVATION, VERSION, entry_of
from greenserve.errors import ConfigInvalid
from greenserve.records import Entry

WHOLE_PPM = 1_000_000
EVERY = "*"
"""The device of a reservation that holds on every device of the node for which its tenant has no line of its own."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Reservation:
    """A tenant's reserved part [1/10^6] of a device, by its name in the ledger or `*`."""

    device: str
    tenant: str
    share_ppm: int

    def __post_init__(self) -> None:
        if not 0 < self.share_ppm <= WHOLE_PPM:
            raise ConfigInvalid(
                f"tenancy.reservations: {self.tenant} reserves {self.share_ppm} ppm of {self.device}; "
                "a share lies above 0 and up to 100%"
            )


def checked(reservations: Iterable[Reservation]) -> tuple[Reservation, ...]:
    """The reservations in order; ConfigInvalid where one stands twice, or a device is reserved beyond 100 %."""
    ordered = tuple(sorted(reservations))
    names = [(one.device, one.tenant) for one in ordered]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        told = ", ".join(f"{tenant} on {device}" for device, tenant in twice)
        raise ConfigInvalid(f"tenancy.reservations: {told} stands twice; keep one line for each")
    for device in sorted({one.device for one in ordered}):
        whole = sum(reserved_on(device, ordered).values())
        if whole > WHOLE_PPM:
            raise ConfigInvalid(
                f"tenancy.reservations: {Decimal(whole) / 10_000:f} % of {device} is reserved; "
                "the shares of a device sum to 100 % at most"
            )
    return ordered


def named(reservations: Iterable[Reservation], names: Mapping[str, str]) -> tuple[Reservation, ...]:
    """The same by the devices' names in the ledger, where a line uses an engine's (`names`, as `cuda:0`)."""
    return checked(
        Reservation(device=names.get(one.device, one.device), tenant=one.tenant, share_ppm=one.share_ppm)
        for one in reservations
    )


def reserved_on(device: str, reservations: Iterable[Reservation]) -> dict[str, int]:
    """Each tenant's reserved part [1/10^6] of a device; its own line goes before its line for all."""
    found: dict[str, int] = {}
    for one in sorted(reservations, key=lambda one: one.device != EVERY):
        if one.device in (EVERY, device):
            found[one.tenant] = one.share_ppm
    return found


def reservation_entry(reservations: Iterable[Reservation], *, at_us: int, run_id: str, boot_id: str) -> Entry:
    """All that is in force from this entry on."""
    return entry_of(
        {
            "kind": RESERVATION,
            "at_us": at_us,
            "run_id": run_id,
            "boot_id": boot_id,
            "reservations": [
                {"device": one.device, "tenant": one.tenant, "share_ppm": one.share_ppm} for one in sorted(reservations)
            ],
            "method": METHOD,
            "v": VERSION,
        }
    )


def reservations_of(body: Mapping[str, Any]) -> tuple[Reservation, ...]:
    """What an entry puts in force."""
    return tuple(Reservation(**one) for one in body["reservations"])
