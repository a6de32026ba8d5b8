"""What holds of a gateway that was told to end while clients asked."""

from tests.faults.conftest import Terminated

# A connection may be closed between two requests; a client that sends into that moment meets a transport error.
ALLOWED = frozenset({"draining", "ConnectError", "RemoteProtocolError", "ReadError"})


def assert_ended_well(terminated: Terminated) -> None:
    """What was admitted is answered, recorded and settled, the rest was told `draining`; exit 0, nothing is left."""
    gateway, code, load = terminated

    assert 0 == code, gateway.log
    assert set(load.failed) <= ALLOWED, load.failed
    assert set(load.answered) <= gateway.recorded_requests()
    assert [] == gateway.left_behind()
    assert "no process and no port left" in gateway.log
    assert [] == gateway.document("ledger", "verify")["findings"]
    statement = gateway.document("report", "--tenant", "acme")["statement"]
    assert 0 == statement["totals"]["provisional_requests"]
    assert 0 == float(statement["reconciliation"]["difference_joules"])
