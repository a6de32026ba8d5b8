"""One place that says whether a replica can answer."""

from greenserve.serve.health import Health


def test_ready_means_that_nothing_is_missing() -> None:
    """Part by part, and what is still missing is named."""
    health = Health(missing={"models", "listeners"})
    states = [(health.ready, health.missing)]

    for part in ("models", "listeners", "listeners"):
        health.has(part)
        states.append((health.ready, health.missing))

    assert [(False, ["listeners", "models"]), (False, ["listeners"]), (True, []), (True, [])] == states


def test_a_part_can_be_lost_and_come_back() -> None:
    """The ledger's store, for instance."""
    health = Health(missing=set())

    health.lost("ledger")
    lost = (health.ready, health.missing, repr(health))
    health.has("ledger")

    assert (False, ["ledger"], "<Health waits for ['ledger']>") == lost
    assert (True, "<Health ready>") == (health.ready, repr(health))


def test_a_draining_replica_is_not_ready() -> None:
    """Though nothing is missing."""
    health = Health(missing=set())

    health.draining = True

    assert (False, ["draining"], "<Health draining>") == (health.ready, health.missing, repr(health))
