"""A run as people read it, in 80 columns."""

from collections.abc import Iterator, Mapping, Sequence

from greenserve.loadtest.plan import Plan
from greenserve.loadtest.summary import Gate, Latency, Summary

SHOWN = 4
WIDTH = 80


def lines_of(plan: Plan, summary: Summary, gates: Sequence[Gate]) -> Iterator[str]:
    """The lines of the table, none wider than 80 columns."""
    yield f" {plan.model}   {plan.rate_per_s:g}/s {_kind(plan)} for {plan.duration_s:g} s, seed {plan.seed}"
    yield _line("requests", f"{summary.requests:,}   failed {summary.failed:,}   dropped {summary.dropped:,}")
    for text, count in list(summary.errors.items())[:SHOWN]:
        yield _line("", f"{count:,} x {text}")
    yield _line("", f"{'p50':>9}{'p95':>10}{'p99':>10}")
    yield _line("service", f"{_three(summary.service)} ms")
    yield _line("from start", f"{_three(summary.intended)} ms   (the intended start)")
    yield _line("energy", _energy(summary))
    yield _line("carbon", _carbon(summary))
    yield from _counts("routes", summary.routes)
    yield from _counts("cache", summary.cache)
    yield _line("generator", _generator(summary))
    for why in summary.invalid:
        yield _line("", f"NOT VALID: {why}")
    if gates:
        verdict = "PASS" if all(gate.met for gate in gates) else "FAIL"
        yield _line("gates", f"{'   '.join(map(_gate, gates))} -> {verdict}")


def figure(value: float) -> str:
    """Three significant digits, never in scientific notation."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{value:.4f}"


def _line(name: str, text: str) -> str:
    line = f" {name:<12}{text}"
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 1]}…"


def _kind(plan: Plan) -> str:
    kind, _, file = plan.arrivals.partition(":")
    return f"{kind} {file.rpartition('/')[2]}" if file else kind


def _three(latency: Latency | None) -> str:
    if latency is None:
        return f"{'unknown':>9}"
    return f"{latency.p50_ms:>9.1f}{latency.p95_ms:>10.1f}{latency.p99_ms:>10.1f}"


def _energy(summary: Summary) -> str:
    energy = summary.energy
    if energy is None:
        return "unknown: no answer states its energy"
    if energy.low_mj is None or energy.high_mj is None:
        interval = "[interval unknown]"
    else:
        interval = f"[{figure(energy.low_mj)}, {figure(energy.high_mj)}]"
    tier = energy.tier or "tier unknown"
    text = f"{figure(energy.mean_mj)} mJ/request {interval}   p95 {figure(energy.p95_mj)}   {tier}"
    missing = summary.answered - energy.answers
    return f"{text}   {missing:,} unknown" if missing else text


def _carbon(summary: Summary) -> str:
    carbon = summary.carbon
    if carbon is None:
        return "unknown: no answer states its emissions"
    missing = summary.answered - carbon.answers
    return f"{figure(carbon.mg_per_1k)} mgCO2e/1k requests" + (f"   {missing:,} unknown" if missing else "")


def _counts(name: str, counts: Mapping[str, int]) -> Iterator[str]:
    shown = list(counts.items())[:SHOWN]
    for place, (text, count) in enumerate(shown):
        yield _line("" if place else name, f"{count:>7,}  {text}")
    if len(counts) > len(shown):
        yield _line("", f"        and {len(counts) - len(shown)} more")


def _generator(summary: Summary) -> str:
    lag = "unknown" if summary.lag_p99_ms is None else f"{summary.lag_p99_ms:.1f} ms"
    cpu = "unknown" if summary.cpu_share is None else f"{summary.cpu_share:.0%}"
    return f"send lag p99 {lag}   dropped {summary.dropped:,}   CPU {cpu} -> {_validity(summary)}"


def _validity(summary: Summary) -> str:
    return "NOT VALID" if summary.invalid else "VALID"


def _gate(gate: Gate) -> str:
    value = "unknown" if gate.value is None else figure(gate.value)
    return f"{gate.name} {value} {'<=' if gate.met else 'not <='} {gate.limit:g}"
