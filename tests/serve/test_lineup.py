"""What the gateways of a run serve, put together from what each says."""

from greenserve.serve.lineup import Lineup, lineup_of, told
from greenserve.serve.models import Models


def said(*served: str, **left_out: str) -> dict[str, object]:
    """What one replica says of the model `m`."""
    return {"name": "gateway-1", "models": {"m": {"served": list(served), "left_out": left_out}}}


def test_a_variant_that_does_not_run_is_named_with_its_reason() -> None:
    """And not among those that are served."""
    lineup = lineup_of([said("fp32", fp16="torch is not installed"), said("fp32", fp16="torch is not installed")])

    assert Lineup(served={"m": ["fp32"]}, left_out={"m": {"fp16": "torch is not installed"}}) == lineup


def test_unequal_machines_are_told_apart() -> None:
    """Some replica serves it, another does not: both is said."""
    lineup = lineup_of([said("fp32", "fp16"), said("fp32", fp16="no GPU")])

    assert ({"m": ["fp32", "fp16"]}, {"m": {"fp16": "no GPU"}}) == (lineup.served, lineup.left_out)


def test_a_replica_that_has_not_loaded_yet_says_nothing() -> None:
    """It changes nothing; a model without anything left out is not listed there."""
    assert Lineup(served={"m": ["fp32"]}, left_out={}) == lineup_of([{"models": {}}, {}, said("fp32")])


def test_a_replica_tells_what_it_loaded(models: Models) -> None:
    """By the models' own names."""
    assert Lineup(served={"tiny": ["fp32", "int8-dyn", "static-8-int8"]}, left_out={}) == lineup_of(
        [{"models": told(models)}]
    )
