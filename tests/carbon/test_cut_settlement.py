"""Settling runs that cross grid slots: each piece gets what was metered in it, and nothing is lost between them."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from greenserve.carbon.closed import Closed, Settled
from greenserve.carbon.members import Member
from greenserve.carbon.settlement import Pending, Settler
from greenserve.records import Interval
from tests.carbon.span_builders import a_settler, a_span, an_interval, only

energies = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 9) | st.integers(0, 10**9)), min_size=1, max_size=6)
edges = st.lists(st.integers(-5, 320), max_size=3).map(sorted).map(tuple)
runs = st.lists(st.tuples(st.integers(0, 200), st.integers(1, 150), st.integers(0, 90), edges), min_size=1, max_size=6)


def meter(drawn: list[tuple[int, int]], device: str) -> list[Interval]:
    at_ns, found = 0, []
    for length_ns, energy_uj in drawn:
        one = an_interval(at_ns, at_ns + length_ns, energy_uj=energy_uj, static_uj=energy_uj // 3)
        found.append(replace(one, device=device, busy_ns=150))
        at_ns += length_ns
    return found


def by_cpu_time(intervals: list[Interval], requests: list[Pending], *, grace_ns: int) -> list[Settled]:
    settler, coming, closes = Settler("cpu"), list(requests), list[Closed | None]()
    for interval in intervals:
        settler.add_interval(interval, 100)
        for one in [each for each in coming if each.end_ns <= interval.end_ns]:
            settler.add_request(one)
            coming.remove(one)
        closes.append(settler.close(interval.end_ns - grace_ns))
    for one in coming:
        settler.add_request(one)
    closes.append(settler.finish())
    return [one for close in closes if close for one in close.settled]


def by_spans(intervals: list[Interval], drawn: list[tuple[int, int, int, tuple[int, ...]]]) -> list[Settled]:
    settler = a_settler()
    for number, (start_ns, length_ns, weight, cut_at) in enumerate(drawn):
        members = [
            Member(request_id=f"r{number}", weight=weight, edges_ns=cut_at),
            Member(request_id=f"s{number}", weight=7, edges_ns=cut_at[:1]),
            Member(request_id=f"t{number}", weight=3),
        ]
        settler.add_span(a_span(f"b{number}", start_ns=start_ns, end_ns=start_ns + length_ns, members=members))
    for interval in intervals:
        settler.add_interval(interval)
    close = settler.finish()
    return [] if close is None else list(close.settled)


def assert_pieces_sum(settled: list[Settled]) -> None:
    for one in settled:
        if one.cut:
            parts = (one.active_uj, one.held_uj, one.host_uj)
            assert parts == tuple(sum(piece[place] for piece in one.cut) for place in range(3))
            assert min(min(piece) for piece in one.cut) >= 0


def test_each_piece_of_a_run_gets_what_was_metered_in_it() -> None:
    """6 uJ in the first 50 ns and 60 uJ in the next: cut at their edge, no matter how time would share the sum."""
    settler = Settler("cpu")
    settler.add_request(
        Pending(request_id="a", start_ns=0, end_ns=100, cpu_ns=80, host_cpu_ns=0, held_ns=0, edges_ns=(50,))
    )
    for start_ns, energy_uj in ((0, 6), (50, 60)):
        one = an_interval(start_ns, start_ns + 50, energy_uj=energy_uj, static_uj=0)
        settler.add_interval(replace(one, device="cpu", busy_ns=40), 40)

    assert ((6, 0, 0), (60, 0, 0)) == only(settler.finish()).cut


def test_an_interval_over_the_edge_is_cut_by_time() -> None:
    """A quarter of the batch's time in it lies before the edge: a quarter of its energy does, work and rest alike."""
    settler = a_settler()
    members = [Member(request_id="r", weight=1, edges_ns=(25, 200))]
    settler.add_span(a_span(start_ns=0, end_ns=100, members=members))
    settler.add_interval(an_interval(0, 100, energy_uj=1_000, static_uj=400))

    assert ((150, 100, 0), (450, 300, 0), (0, 0, 0)) == only(settler.finish()).cut


@given(energies, runs, st.sampled_from([0, 30, 500]))
def test_cutting_a_run_moves_no_energy(
    drawn: list[tuple[int, int]], given_runs: list[tuple[int, int, int, tuple[int, ...]]], grace_ns: int
) -> None:
    """On a CPU: the pieces sum to the request exactly, and its energy is what it is without edges, late or not."""
    cut = [
        Pending(
            request_id=f"r{number}", start_ns=start_ns, end_ns=start_ns + length_ns, cpu_ns=cpu_ns, host_cpu_ns=5,
            held_ns=cpu_ns // 2, edges_ns=at,
        )
        for number, (start_ns, length_ns, cpu_ns, at) in enumerate(given_runs)
    ]  # fmt: skip
    whole = [replace(one, edges_ns=()) for one in cut]

    settled = by_cpu_time(meter(drawn, "cpu"), cut, grace_ns=grace_ns)

    assert_pieces_sum(settled)
    assert by_cpu_time(meter(drawn, "cpu"), whole, grace_ns=grace_ns) == [replace(one, cut=()) for one in settled]
    assert all(bool(one.cut) == bool(given_runs[int(one.request_id[1:])][3]) for one in settled)


@given(energies, runs)
def test_cutting_a_batch_moves_no_energy_between_batches(
    drawn: list[tuple[int, int]], given_runs: list[tuple[int, int, int, tuple[int, ...]]]
) -> None:
    """On a board: pieces sum to the member, and a batch gets what it gets without edges, whichever member has some."""
    intervals = meter(drawn, "gpu0")
    cut = by_spans(intervals, given_runs)
    whole = by_spans(intervals, [(*run[:3], ()) for run in given_runs])

    def batches(settled: list[Settled]) -> dict[str | None, int]:
        sums: dict[str | None, int] = {}
        for one in settled:
            sums[one.span_id] = sums.get(one.span_id, 0) + one.active_uj + one.held_uj
        return sums

    assert_pieces_sum(cut)
    assert batches(whole) == batches(cut)
    by_name = {one.request_id: one for one in cut}
    for number, (_, _, _, cut_at) in enumerate(given_runs):
        if f"r{number}" in by_name and cut_at:
            assert [len(cut_at) + 1, 2, 0] == [len(by_name[f"{name}{number}"].cut) for name in "rst"]
