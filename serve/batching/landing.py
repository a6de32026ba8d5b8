"""What a batch's outcome means for those who wait, and the words of a refusal."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from greenserve.carbon.power_model import CpuPower
from greenserve.carbon.provisional import share_rows, split_span
from greenserve.errors import DeadlineExceeded, Overloaded
from greenserve.records import Policy
from greenserve.serve.batching.execute import NOT_FINITE, Ran
from greenserve.serve.batching.policy import Refusal, Run
from greenserve.serve.batching.queue import Patience
from greenserve.units import MILLI, NS_PER_S, joules_from_uj

NO_SPAN = "the engine gave no span"
PATIENCE_OF: Mapping[Policy, Patience] = MappingProxyType(
    {"min-latency": "latency", "balanced": "balanced", "min-carbon": "green"}
)
"""The class in which the rows of a request wait for company, by the policy that it asks for."""


def land(ran: Ran, share_milli: int) -> int:
    """Give the flights of a run their outputs and shares, or the error; the CPU time of its span [ns], 0 for none."""
    if ran.refused is not None:
        for flight in ran.flights:
            flight.fail(ran.refused)
        return 0
    if ran.outputs is None or ran.span is None:
        for flight in ran.flights:
            flight.poison(ran.error or NO_SPAN)
        return 0
    span, served = ran.span, ran.flights[0].served
    cpu, held = split_span(span, served.cost, share_milli)
    shares = share_rows(span, served.cost, served.key)
    outputs = tuple(ran.outputs.items())
    for place, (flight, cpu_ns, held_ns, share) in enumerate(zip(ran.flights, cpu, held, shares, strict=True)):
        if place in ran.bad:
            flight.poison(NOT_FINITE)
            continue
        own = {name: array[place : place + 1] for name, array in outputs}
        flight.land(own, span, cpu_ns=cpu_ns, held_ns=0 if share else held_ns, share=share)
    return span.cpu_ns


def failures(ran: Ran) -> int:
    """How many of its flights a run failed."""
    return len(ran.flights) if ran.error is not None else len(ran.bad)


def rows_of(ran: Sequence[Ran]) -> tuple[int, int]:
    """How many rows an engine ran in a launch, and how many of them failed; those that none ran are left out."""
    tried = [each for each in ran if each.refused is None]
    return sum([len(each.flights) for each in tried]), sum([failures(each) for each in tried])


def runs_of(ran: Sequence[Ran], power: CpuPower | None) -> list[Run]:
    """What the runs with a span took; joules are the power model's estimate of their CPU time, None without a model."""
    return [
        Run(
            rows=len(each.flights),
            length=each.span.padded_length,
            seconds=(each.span.end_ns - each.span.start_ns) / NS_PER_S,
            joules=joules_from_uj(power.active_uj(each.span.cpu_ns)) if power is not None else None,
        )
        for each in ran
        if each.span is not None
    ]


def refused(refusal: Refusal, *, key: str, rows: int, queued: int, max_queued: int) -> Overloaded | DeadlineExceeded:
    """The error of a request for variant `key` that was not queued."""
    ahead_ms, needed_ms = MILLI * refusal.ahead_s, MILLI * refusal.needed_s
    if refusal.code == "deadline-exceeded":
        return DeadlineExceeded(
            f"the deadline leaves less than the {needed_ms:.1f} ms that a run of {key} may take; nothing was run for it"
        )
    if refusal.code == "queue-full":
        return Overloaded(
            f"{queued} of {max_queued} places are taken and {rows} are needed; send again later or slower",
            retry_after_s=refusal.retry_after_s,
        )
    waits = f"{ahead_ms:.0f} ms of work are ahead and {needed_ms:.0f} ms are needed"
    if refusal.code == "over-share":
        words = f"{waits}, more than this tenant's share of the queue; send slower"
    else:
        words = f"{waits}, too much for the objective of {key}; send again later"
    return Overloaded(words, retry_after_s=refusal.retry_after_s)


def dropped_error(code: str) -> Overloaded | DeadlineExceeded:
    """The error of an item that was queued and never ran."""
    if code == "deadline-exceeded":
        return DeadlineExceeded("the deadline passed while the request waited; nothing was run for it")
    return Overloaded("more arrives than can be answered in time; nothing was run for this request", retry_after_s=1)
