"""Counters in the protocol's sense: stages to durations, runs to batch sizes, folded over variants."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.clock import ManualClock
from greenserve.serve.call import CacheResult
from greenserve.serve.statistics import KINDS, Duration, Statistics
from tests.serve.building import a_decision, an_answer

RUN = (("received", 0), ("accept", 1), ("admit", 11), ("cache", 14), ("route", 20), ("queue", 50), ("model", 150))
MISS = (*RUN, ("record", 157))
HIT = (("received", 0), ("accept", 1), ("admit", 11), ("cache", 14), ("record", 16))
cache_results = st.sampled_from(["miss", "hit", "joined", "off"])


def seen(*answers: Any) -> Statistics:
    """The statistics of some answers."""
    statistics = Statistics(clock=ManualClock())
    for answer in answers:
        statistics.seen(answer)
    return statistics


def test_the_stages_of_an_answer_are_what_the_protocol_counts() -> None:
    """Success is the whole; input ends with the tokens, output is what follows the run."""
    found = seen(an_answer(times_ns=MISS)).of("tiny", "1")

    assert {
        "success": Duration(count=1, ns=157),
        "fail": Duration(),
        "queue": Duration(count=1, ns=30),
        "compute_input": Duration(count=1, ns=10),
        "compute_infer": Duration(count=1, ns=100),
        "compute_output": Duration(count=1, ns=7),
        "cache_hit": Duration(),
        "cache_miss": Duration(count=1, ns=3),
    } == found.durations
    assert (2, 0) == (found.inference_count, found.execution_count)
    assert ManualClock().unix_us() // 1_000 == found.last_inference_ms


@pytest.mark.parametrize(("cache", "hits", "misses"), [("hit", 1, 0), ("miss", 0, 1), ("joined", 0, 1), ("off", 0, 0)])
def test_a_lookup_is_a_hit_or_a_miss_or_none(cache: CacheResult, hits: int, misses: int) -> None:
    """Who joined a run had found nothing; a model without a cache looks nothing up."""
    found = seen(an_answer(times_ns=MISS, cache=cache)).of("tiny", "1").durations

    assert (hits, misses) == (found["cache_hit"].count, found["cache_miss"].count)


def test_what_the_cache_answers_is_no_inference() -> None:
    """It is a success without queue and run."""
    found = seen(an_answer(times_ns=HIT, cache="hit")).of("tiny", "1")

    assert (0, 1, 16) == (found.inference_count, found.durations["success"].count, found.durations["success"].ns)
    assert Duration(count=1, ns=3) == found.durations["cache_hit"]
    assert (0, 0) == (found.durations["queue"].count, found.durations["compute_infer"].count)


def test_a_model_is_the_sum_of_its_variants() -> None:
    """Each variant can be seen alone; another version or model is apart."""
    small = an_answer(times_ns=MISS, decision=a_decision(variant="small"))
    statistics = seen(an_answer(times_ns=MISS), small, small, an_answer(times_ns=MISS, version="2"))
    statistics.failed("tiny", "1", after_ns=5)

    whole, parts = statistics.of("tiny", "1"), statistics.by_variant("tiny", "1")

    assert {"fp32": 1, "small": 2} == {name: part.durations["success"].count for name, part in parts.items()}
    assert (3, Duration(count=1, ns=5)) == (whole.durations["success"].count, whole.durations["fail"])
    assert 1 == statistics.of("tiny", "2").durations["success"].count


def test_runs_are_counted_by_their_size() -> None:
    """However many requests they answered."""
    statistics = seen()
    for items, took_ns in ((4, 100), (1, 10), (4, 50)):
        statistics.ran("tiny", "1", "fp32", items=items, took_ns=took_ns)
    statistics.ran("tiny", "1", "small", items=4, took_ns=1)

    found = statistics.of("tiny", "1")

    assert {1: Duration(count=1, ns=10), 4: Duration(count=3, ns=151)} == found.batches
    assert 4 == found.execution_count


def test_a_model_that_was_never_asked_has_zeros_and_no_time() -> None:
    """Nothing is known of a last inference: it is None, not 1970."""
    found = seen().of("tiny", "1")

    assert None is found.last_inference_ms
    assert dict.fromkeys(KINDS, Duration()) == found.durations
    assert {} == found.batches


@given(st.lists(st.tuples(cache_results, st.lists(st.integers(0, 50), min_size=8, max_size=8)), max_size=6))
def test_the_parts_never_exceed_the_whole(answers: list[tuple[CacheResult, list[int]]]) -> None:
    """Whatever the stages took: no nanosecond is counted twice."""
    statistics = seen()
    for cache, steps in answers:
        at_ns, times = 0, []
        for stage, step in zip([stage for stage, _ in MISS], steps, strict=True):
            at_ns += step
            times.append((stage, at_ns))
        statistics.seen(an_answer(times_ns=tuple(times), cache=cache))

    found = statistics.of("tiny", "1").durations

    assert len(answers) == found["success"].count
    assert sum(found[kind].ns for kind in KINDS if kind != "success") <= found["success"].ns
