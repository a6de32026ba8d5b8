"""After `greenserve stop`: nothing is left, and the ledger holds every answer, settled, to the microjoule."""

import json
from typing import Any

from tests.end_to_end.conftest import Stopped
from tests.end_to_end.protocols import Told
from tests.gateway_process import GatewayProcess


def statement(gateway: GatewayProcess, tenant: str) -> Any:
    """A tenant's statement of everything."""
    return gateway.document("report", "--tenant", tenant)["statement"]


def test_stop_leaves_nothing_behind(stopped: Stopped) -> None:
    """No process, no port, no file but the lock; and it says so."""
    assert 0 == stopped.said.returncode, stopped.said.stderr
    assert "no process and no port left" in stopped.said.stderr
    assert stopped.gateway.process is not None
    assert 0 == stopped.gateway.process.returncode, stopped.gateway.log
    assert [] == stopped.gateway.left_behind()


def test_stop_again_is_no_error(stopped: Stopped) -> None:
    """Stopping what does not run is said, with exit code 0; status says with 6 that nothing runs."""
    again = stopped.gateway.run("stop")
    status = stopped.gateway.run("status")

    assert 0 == again.returncode
    assert "nothing to stop" in again.stderr
    assert 6 == status.returncode
    assert "greenserve serve" in status.stderr


def test_every_answer_is_in_the_ledger(stopped: Stopped, answered: dict[str, list[Told]]) -> None:
    """By its id, under its own tenant; and nothing is there twice."""
    entries = [entry for entry in stopped.gateway.entries() if entry.kind == "usage" and entry.revision == 0]

    assert len({entry.key for entry in entries}) == len(entries) >= sum(map(len, answered.values()))
    assert {"acme", "strict", "silent"} <= answered.keys()
    for tenant, told in answered.items():
        recorded = {entry.key for entry in entries if entry.tenant == tenant}
        assert set() == {str(one.parameters["greenserve_request_id"]) for one in told} - recorded


def test_the_ledger_verifies(stopped: Stopped) -> None:
    """Chain, columns, sums and conservation derive again."""
    done = stopped.gateway.run("ledger", "verify", "--json")

    assert 0 == done.returncode, done.stdout
    assert [] == json.loads(done.stdout)["findings"]


def test_the_sum_over_tenants_is_what_was_metered(stopped: Stopped, answered: dict[str, list[Told]]) -> None:
    """Every request is settled, and the difference between meter and shares is 0 uJ."""
    whole = statement(stopped.gateway, "acme")

    assert len(answered["acme"]) <= whole["totals"]["requests"]
    assert 0 == whole["totals"]["provisional_requests"]
    assert 0 == float(whole["reconciliation"]["difference_joules"])
    assert 0 < float(whole["totals"]["energy_joules"]) < float(whole["reconciliation"]["metered_joules"])


def test_a_statement_counts_all_answers_of_its_tenant(stopped: Stopped, answered: dict[str, list[Told]]) -> None:
    """A tenant whose every answer is known here: as many as its statement says, hits counted as hits."""
    for tenant in ("strict", "silent", "fading-http"):
        totals, told = statement(stopped.gateway, tenant)["totals"], answered[tenant]
        hits = [one for one in told if one.parameters["greenserve_cached"] == "hit"]

        assert (len(told), len(told), len(hits)) == (totals["requests"], totals["requests_ok"], totals["cache_hit"])
