"""What statements say in words: rules, limits, and why a figure is not known."""

from collections.abc import Mapping
from types import MappingProxyType

METHOD_NOTES = (
    "E1: power of a node without an energy counter = idle + dynamic x busy CPU time; the tier says so (modelled, "
    "class_average).",
    "E7, E8: a batch's energy is split over its rows by Shapley value of the padded batch's cost, exact to 1 uJ.",
    "E9: facility energy = IT energy x PUE, rounded half to even per request; the PUE is taken as given.",
    "E10: embodied emissions = full-device time that the request held x the device's rate (grams of making it / its "
    "life), rounded down per request; +-50 %.",
    "E11: emissions = facility energy x grid intensity of the hour and zone, average and location-based, rounded half "
    "to even to 1 ng per request; sums add rounded requests. Direct and lifecycle each take the reading of their own "
    "basis.",
    "Market-based emissions follow the declared contracts hour by hour: what the site took in an hour (requests, and "
    "idle and the like in proportion) is covered by the contracts of that hour, the rest takes the residual mix; each "
    "hour and region is rounded once and shared over the lines by site energy.",
    "E12: 90 % ranges combine the meter's half width (common to all requests), 10 % per request divided by the root "
    "of their number, 3 % per class, and for emissions the grid's by origin: observed 5, estimated 10, forecast 15, "
    "recorded 30, annual 40 %, or by each reading's own half width where its line carries one. The PUE's uncertainty "
    "is not known and not contained; market-based ranges contain the energy's alone.",
    "p50 and p95 are the largest value of the histogram bucket that holds the nearest-rank percentile: at most 6.25 % "
    "above it.",
    "SCI (ISO/IEC 21031): location-based lifecycle plus embodied emissions of the requests for which all of it is "
    "known, per request and per 1,000 input tokens; without declared hardware it is operational only.",
    "Settled requests are shares of metered intervals; provisional ones are estimates until their interval closes; "
    "unreconciled ones keep their estimate, since the meter was not read while they ran.",
)
INCLUDED = ("active, held and host energy of the requests, at the site by PUE",)
EXCLUDED = ("networks and the caller's own device", "power of the node that no meter or model of this machine covers")
OVERHEAD_COVERED = (EXCLUDED[0], "power of the node while neither its own meter nor a declared overhead tells it")
"""The same where the node's overhead is known."""
NOT_EXCLUDED: Mapping[str, str] = MappingProxyType(
    {
        "idle": "background energy of the node, other processes and what no span explains (shown under reconciliation, "
        "charged to nobody); idle and load energy is shared by the hour, beside the totals",
        "embodied": "emissions of making the hardware",
    }
)
LIMIT = (
    "The ledger proves what was recorded and that it did not change since; it does not prove that the meter was right."
)
UNKNOWN_REASONS: Mapping[str, str] = MappingProxyType(
    {
        "market_gco2e": "not available: no file of contracts is declared (carbon.market)",
        "embodied_gco2e": "not available: embodied emissions are not configured (carbon.hardware)",
        "counterfactual": "not available: no baseline is declared (carbon.baselines), or none was asked for",
        "loc_direct_gco2e": "null where no source gave a direct intensity",
        "loc_lifecycle_gco2e": "null where no source gave a lifecycle intensity",
        "idle": "not known yet: no hour of the period is closed; the ledger's writer closes an hour 10 minutes after "
        "its end",
        "load": "null where no closed hour of the period tells starting, loading and warming up apart; it is then in "
        "the background",
        "overhead": "unknown: no closed hour has an external meter of the node (energy.external) or a declared power "
        "(energy.overhead) that tells fans, disks and supply losses; or the node's meter shows less than its devices",
        "all_in": "not known yet: an hour of the period is not closed, or the period has none",
        "shared": "not known yet: no hour of the period is closed",
        "peers_served": "this version serves no other gateway's requests",
        "over_attributed": "null where no interval tells what its meter missed",
        "refused_requests": "requests that were refused before they ran are counted by the metrics, not in the ledger",
        "fallback_level": "null where no reading carries the level of the fallback chain",
    }
)
SHARE_RULES: Mapping[str, str] = MappingProxyType(
    {
        "active": "metered dynamic energy of the interval, by each batch's share of it, then by Shapley value of its "
        "rows (E4, E7, E8)",
        "held": "static energy of the device while the request's batch occupied it, by occupied time (E8)",
        "host": "CPU energy around the engine, by the CPU time of the request's own work",
        "idle": "static energy of a device's hour while nothing ran: of the part that is reserved by reserved time, of "
        "the rest by the time that each tenant's requests held the device in that hour; what nobody reserved or used "
        "is the platform's",
        "load": "starting, loading and warming up, where the device's intervals tell it apart: as idle",
        "overhead": "fans, disks, network, supply losses: what the node's own meter shows beyond its devices, or a "
        "declared power times time; as idle, by the tenants' time on all of its devices; else unknown",
        "facility": "what the site adds to the IT energy: IT energy x (PUE - 1), per request (E9)",
        "embodied": "full-device time that the request held x the declared rate of the device (E10)",
    }
)
