"""The table of a run: 80 columns, units, unknown written as unknown."""

from greenserve.loadtest.plan import Plan
from greenserve.loadtest.samples import Recording, Sample
from greenserve.loadtest.summary import gates_of, summarise
from greenserve.loadtest.table import figure, lines_of


def a_plan(*, arrivals: str = "poisson") -> Plan:
    return Plan(
        url="http://127.0.0.1:8080",
        model="sentiment",
        key=None,
        rate_per_s=50.0,
        duration_s=30.0,
        arrivals=arrivals,
        seed=0,
        repeat_share=0.0,
        first_text=0,
        max_in_flight=100,
        timeout_s=30.0,
        result_file="result.json",
        parent_pid=1,
    )


def table(*samples: Sample, arrivals: str = "poisson", max_mj: float | None = None, dropped: int = 0) -> list[str]:
    recording = Recording(
        samples=samples, planned=len(samples), dropped=dropped, wall_s=30.0, cpu_share=0.25, complete=True
    )
    summary = summarise(recording)
    gates = gates_of(summary, max_mj=max_mj, max_p95_ms=200 if max_mj else None)
    return list(lines_of(a_plan(arrivals=arrivals), summary, gates))


def a_sample(*, error: str | None = None, energy_uj: int | None = 33_120, route: str = "north/int8-dyn") -> Sample:
    return Sample(0.0, 0.001, 0.0059, error, energy_uj, "modelled", 1990, route, None)


def test_a_good_run_reads_as_in_the_documentation() -> None:
    """Every figure with its unit, the tier beside the energy, verdicts at the end."""
    lines = table(*[a_sample()] * 60, max_mj=40)

    assert [
        " sentiment   50/s poisson for 30 s, seed 0",
        " requests    60   failed 0   dropped 0",
        "                   p50       p95       p99",
        " service           5.9       5.9       5.9 ms",
        " from start        6.9       6.9       6.9 ms   (the intended start)",
        " energy      33.1 mJ/request [33.1, 33.1]   p95 33.1   modelled",
        " carbon      1.99 mgCO2e/1k requests",
        " routes           60  north/int8-dyn",
        " generator   send lag p99 1.0 ms   dropped 0   CPU 25% -> VALID",
        " gates       mJ/request 33.1 <= 40   p95 ms 6.90 <= 200 -> PASS",
    ] == [line.rstrip() for line in lines]


def test_unknown_is_written_as_unknown() -> None:
    """No energy stated: a word and no zero; the gate on it fails."""
    text = "\n".join(table(a_sample(energy_uj=None), max_mj=40))

    assert "energy      unknown: no answer states its energy" in text
    assert "mJ/request unknown not <= 40" in text
    assert text.endswith("FAIL")


def test_a_run_without_answers_has_unknown_latency() -> None:
    """Only failures: their words and counts, no quantiles."""
    text = "\n".join(table(a_sample(error="503 overloaded"), a_sample(error="503 overloaded")))

    assert "2 x 503 overloaded" in text
    assert "unknown ms" in text


def test_no_line_is_wider_than_the_terminal() -> None:
    """Long errors and routes are cut with a mark, many routes are counted."""
    lines = table(
        *[a_sample(route=f"north/{'very-long-variant-name-' * 4}{index}") for index in range(9)],
        a_sample(error="x" * 300),
        arrivals="trace:/a/folder/with/a/long/name/trace.csv",
        max_mj=1,
        dropped=3,
    )

    assert all(len(line) <= 80 for line in lines)
    assert any("and 5 more" in line for line in lines)
    assert "trace trace.csv" in lines[0]
    assert any("NOT VALID: 3 arrivals were dropped" in line for line in lines)


def test_figures_keep_three_digits() -> None:
    """Large, usual, small: never scientific."""
    assert ["1,234", "33.1", "1.10", "0.0004"] == [figure(value) for value in (1234.4, 33.12, 1.1, 0.0004)]
