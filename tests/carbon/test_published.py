"""Answers are estimated by the boards' published models, or by an average that says so."""

from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.carbon.published import STALE_NS, BoardPower, PublishedPowers, estimate_faults, estimates_of
from greenserve.carbon.shares import WHOLE_PPB, SpanShare
from greenserve.carbon.theta import NOT_SEPARABLE, PRIOR, ClassPower, Theta
from greenserve.records import Tier

MS = 1_000_000
LEARNED = ClassPower(busy_mw=100_000, work_mw=50_000, rate_work=1_000, rate_busy_ns=100 * MS, flags=())
NEW = ClassPower(busy_mw=1, work_mw=1, flags=(PRIOR,))
THETA = Theta(device="GPU-1", version=7, at_ns=5, classes={"a": LEARNED, "new": NEW}, default=NEW)


def published(*, at_ns: int = 0, tier: Tier = "measured", theta: Theta = THETA) -> PublishedPowers:
    board = BoardPower(theta=theta, sha256=theta.digest(), static_mw=60_000, tier=tier)
    return PublishedPowers(run_id="run", at_ns=at_ns, boards={"GPU-1": board}, names={"cuda:0": "GPU-1"})


def a_share(work_class: str = "a", *, device: str = "cuda:0", weight_ppb: int = WHOLE_PPB) -> SpanShare:
    return SpanShare(
        batch_id="b", device=device, work_class=work_class, start_ns=0, end_ns=100 * MS, work=500, share_milli=1_000,
        weight_ppb=weight_ppb,
    )  # fmt: skip


def a_line(shares: list[SpanShare], powers: PublishedPowers | None) -> dict[str, Any]:
    told = [one.members() for one in estimates_of(shares, powers, 0)]
    spans = [share.members() for share in shares]
    sums = {name: sum(one[name] for one in told) for name in ("active_uj", "held_uj")}
    return {"estimates": told, "spans": spans} | sums


def test_a_learned_class_follows_the_published_model() -> None:
    """100 ms at 100 W and half a mean batch's work at 50 W are 12.5 J, a quarter of it; held 60 W x 100 ms / 4."""
    (one,) = estimates_of([a_share(weight_ppb=WHOLE_PPB // 4)], published(), 0)

    assert (3_125_000, 1_500_000) == (one.active_uj, one.held_uj)
    assert ("GPU-1", 7, THETA.digest(), None) == (one.device, one.version, one.sha256, one.reason)
    assert "modelled" == one.tier
    assert 16.1 == pytest.approx(100 * (one.high_uj - one.low_uj) / (2 * 4_625_000), abs=0.05)


@pytest.mark.parametrize(
    ("powers", "share", "reason"),
    [
        (None, a_share(), "unpublished"),
        (published(at_ns=-STALE_NS - 1), a_share(), "stale"),
        (published(), a_share(device="cuda:1"), "unknown_board"),
        (published(), a_share("new"), "unlearned"),
        (published(), a_share("never seen"), "unlearned"),
    ],
)
def test_everything_else_is_a_board_s_average_that_says_why(
    powers: PublishedPowers | None, share: SpanShare, reason: str
) -> None:
    """190 W and 60 W for 100 ms, +-60 %, class_average, without a version."""
    (one,) = estimates_of([share], powers, 0)

    assert (19_000_000, 6_000_000, "class_average", reason) == (one.active_uj, one.held_uj, one.tier, one.reason)
    assert (10_000_000, 40_000_000) == (one.low_uj, one.high_uj)
    assert [None] * 4 == [one.version, one.sha256, one.device, one.static_mw]


def test_a_publication_is_used_up_to_its_last_moment() -> None:
    """Stale is older than 30 s, not 30 s old."""
    (one,) = estimates_of([a_share()], published(at_ns=0), STALE_NS)

    assert 7 == one.version


def test_classes_that_always_run_together_keep_the_width_of_an_average() -> None:
    """Only their sum is learned: the part of one of them is decided by a prior, which the tier says."""
    power = replace(LEARNED, flags=(NOT_SEPARABLE,))
    (one,) = estimates_of([a_share()], published(theta=replace(THETA, classes={"a": power})), 0)

    assert ("class_average", 12_500_000) == (one.tier, one.active_uj)
    assert 18_500_000 * 4 // 10 == one.low_uj


def test_a_simulated_board_has_no_width() -> None:
    """What is simulated stays simulated, and its interval is the value."""
    (one,) = estimates_of([a_share()], published(tier="simulated"), 0)

    assert ("simulated", one.low_uj) == (one.tier, one.high_uj)


def test_what_is_written_is_read_again() -> None:
    """The document goes through JSON without a change; one without a member is refused."""
    whole = published()

    assert whole == PublishedPowers.of_document(orjson.loads(orjson.dumps(whole.document())))
    assert THETA.digest() == Theta.of_document(orjson.loads(orjson.dumps(THETA.document()))).digest()
    with pytest.raises(KeyError):
        PublishedPowers.of_document({name: value for name, value in whole.document().items() if name != "names"})
    with pytest.raises(ValueError, match="tiers"):
        PublishedPowers.of_document(orjson.loads(orjson.dumps(whole.document()).replace(b"measured", b"felt")))


@given(st.lists(st.tuples(st.sampled_from(("a", "new", "b")), st.integers(0, WHOLE_PPB)), min_size=1, max_size=6))
def test_the_audit_derives_every_estimate_again(given_shares: list[tuple[str, int]]) -> None:
    """From the line and the models before it, to the microjoule; half of a batch never costs more than all of it."""
    shares = [a_share(name, weight_ppb=weight) for name, weight in given_shares]
    line = a_line(shares, published())

    assert [] == list(estimate_faults(line, {THETA.digest(): THETA}))
    halves = estimates_of([replace(share, weight_ppb=share.weight_ppb // 2) for share in shares], published(), 0)
    assert sum(one.active_uj for one in halves) <= line["active_uj"]


@pytest.mark.parametrize("part", ["active_uj", "held_uj"])
@pytest.mark.parametrize("at", [0, 1])
def test_a_changed_estimate_is_found(part: str, at: int) -> None:
    """By the model that it names, or by the average: one microjoule more is too much."""
    line = a_line([a_share(), a_share("new")], published())
    line["estimates"][at][part] += 1

    findings = list(estimate_faults(line, {THETA.digest(): THETA}))

    assert 2 == len(findings)
    assert "its model gives" in findings[0]
    assert "the line says" in findings[1]


def test_a_model_that_no_entry_holds_is_found() -> None:
    """Unless it was held, and is only no longer at hand."""
    line = a_line([a_share()], published())

    (finding,) = estimate_faults(line, {})
    assert f"names the model {THETA.digest()}, which no entry before it holds" in finding
    assert [] == list(estimate_faults(line, {THETA.digest(): None}))
