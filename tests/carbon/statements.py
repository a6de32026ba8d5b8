"""Builders of statements, shared by the tests of what is made from them."""

from collections.abc import Mapping
from typing import Any

from greenserve.carbon.device_entries import device_entry
from greenserve.carbon.entries import settled_entry
from greenserve.carbon.statement import Scope, build_statement
from greenserve.carbon.terms import Terms
from greenserve.records import Entry, Statement, Usage

AT_US = 1_767_225_600_000_000
HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
NOTHING = Terms()


def settled(provisional: Entry, active_uj: int) -> Entry:
    """The line that settles a request with active energy alone."""
    usage = Usage(
        request_id=provisional.key, active_uj=active_uj, held_uj=0, host_uj=0, low_uj=active_uj * 65 // 100,
        high_uj=active_uj * 135 // 100, tier="measured", state="settled",
    )  # fmt: skip
    return settled_entry(provisional.body, usage)


def interval(start_ns: int, *, at_us: int, **parts: int) -> Entry:
    """A device interval whose parts are given by pool, metered their sum."""
    names = (
        "active",
        "held",
        "host",
        "idle",
        "waste",
        "background",
        "foreign",
        "gap",
        "pending_before",
        "pending_after",
    )
    closed: dict[str, Any] = {f"{name}_uj": parts.get(name, 0) for name in names}
    if "load" in parts:
        closed["load_uj"] = parts["load"]
    metered = sum(closed.values()) - 2 * closed["pending_before_uj"]
    closed |= {
        "device": "cpu", "start_ns": start_ns, "end_ns": start_ns + 1, "intervals": 1, "metered_uj": metered,
        "static_uj": 0, "unmetered_ns": 0, "tier": "measured", "source": "hand", "flags": [],
    }  # fmt: skip
    return device_entry(closed, at_us=at_us, run_id="r", boot_id="b", end={})


def statement_of(
    entries: list[Entry],
    *,
    start_us: int = AT_US,
    end_us: int = AT_US + DAY_US,
    tenant: str = "acme",
    terms: Terms = NOTHING,
) -> Statement:
    """The statement of all entries."""
    scope = Scope(
        tenant=tenant,
        start_us=start_us,
        end_us=end_us,
        issuer="Demo",
        software="test",
        size=len(entries),
        chain="0" * 64,
        terms=terms.members(),
    )
    return build_statement(enumerate(entries), scope)


def totals(statement: Statement) -> Mapping[str, Any]:
    """The statement's totals."""
    found: Any = statement.document["totals"]
    assert isinstance(found, Mapping)
    return found


def member(statement: Statement, name: str) -> Any:
    """A member of the document."""
    return statement.document[name]
