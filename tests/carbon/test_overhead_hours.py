"""The node's overhead from its meters through closed hours and shares to statements, and what `verify` says of it."""

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from greenserve.carbon.entries import UsageLine, entry_of
from greenserve.carbon.ledger.beyond import BeyondDevices
from greenserve.carbon.ledger.boards import Metered
from greenserve.carbon.ledger.ingest import Ingest, Node, Pace
from greenserve.carbon.ledger.node_check import NodeCheck
from greenserve.carbon.ledger.opening import open_ledger
from greenserve.carbon.ledger.stating import from_sums
from greenserve.carbon.meters.node import NodeMeter
from greenserve.carbon.meters.pick import Picked
from greenserve.carbon.node_overhead import DeclaredOverhead
from greenserve.carbon.statement import EVERYBODY, Scope, build_statement
from greenserve.carbon.statement_audit import faults_of
from greenserve.clock import ManualClock
from greenserve.errors import MeterUnavailable
from greenserve.records import Reading
from greenserve.units import NS_PER_S
from tests.carbon.statements import AT_US, HOUR_US
from tests.carbon.worlds import World

Lines = Callable[..., UsageLine]
HOUR = AT_US // HOUR_US
NODE_MW = 9_000


class WallMeter:
    """A node that draws 9 W whatever happens, of which its CPU has 2 W and more."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.power_mw, self._start_ns, self._base_uj = NODE_MW, 0, 0
        self.broken = False

    def draws(self, power_mw: int) -> None:
        """Another power from now on."""
        self._base_uj, self._start_ns = self._now_uj(), self._clock.monotonic_ns()
        self.power_mw = power_mw

    def read(self) -> Reading:
        if self.broken:
            raise MeterUnavailable("the wall meter does not answer")
        at_ns = self._clock.monotonic_ns()
        return Reading(
            device="node", energy_uj=self._now_uj(), static_uj=0, at_ns=at_ns, source="external wall", tier="metered"
        )

    def describe(self) -> Mapping[str, object]:
        return {"device": "node", "source": "external wall", "tier": "metered", "half_width_pct": 5}

    def _now_uj(self) -> int:
        return self._base_uj + self.power_mw * (self._clock.monotonic_ns() - self._start_ns) // 1_000_000


class NodeWorld(World):
    """A node whose CPU's meter and wall meter are read together, or that has a declared overhead."""

    def __init__(self, folder: Path, *, wall: bool = True, declared: DeclaredOverhead | None = None) -> None:
        super().__init__(folder, open_ledger("", folder / "ledger.db"))
        self.wall = WallMeter(self.clock)
        picked = [Picked(name="hand", meter=self.meter, rejected=())]
        if wall:
            picked.append(Picked(name="external", meter=self.wall, rejected=(), device="node"))
        self.reader = NodeMeter(picked, clock=self.clock)
        self.declared = declared

    def open(self, run_id: str = "run-1", boot_id: str = "boot-1") -> Ingest:
        node = Node(
            meter=self.reader.meter_of("cpu"), own_cpu=lambda: self.meter.busy_ns, boot_id=boot_id, run_id=run_id,
            metered=Metered(reader=self.reader, overhead=self.declared),
        )  # fmt: skip
        pace = Pace(settle_every_ns=NS_PER_S, grace_ns=2 * NS_PER_S)
        return Ingest(ledger=self.book, spool_folder=self.folder / "spool", node=node, clock=self.clock, pace=pace)

    def steps(self, ingest: Ingest, count: int) -> None:
        for _ in range(count):
            self.clock.advance(duration_ns=NS_PER_S)
            self.reader.step()
            ingest.step()

    def bodies(self, kind: str, **wanted: object) -> list[Any]:
        found: list[Any] = [entry.body for _, entry in self.book.entries() if entry.kind == kind]
        return [body for body in found if all(body[name] == value for name, value in wanted.items())]

    def an_hour(self, a_line: Lines, *, seconds: int = 200) -> None:
        """Three requests of two tenants, then the hour's end."""
        ingest = self.open()
        for tenant, held_ns in (("acme", 6_000_000), ("globex", 2_000_000), ("acme", 0)):
            self.request(a_line, tenant=tenant, held_ns=held_ns)
        self.steps(ingest, seconds)
        ingest.finish()
        closes_us = (HOUR + 1) * HOUR_US + 600_000_000
        self.clock.advance(duration_ns=1_000 * (closes_us - self.clock.unix_us()))
        again = self.open(run_id="run-2")
        again.step()
        again.finish()

    def statement(self, tenant: str) -> Any:
        """The document of a tenant's hour, from single entries."""
        head = self.book.head()
        scope = Scope(
            tenant=tenant, start_us=HOUR * HOUR_US, end_us=(HOUR + 1) * HOUR_US, issuer="Demo", software="test",
            size=head.size, chain=head.chain,
        )  # fmt: skip
        return build_statement(self.book.entries(), scope).document


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., NodeWorld]]:
    made: list[NodeWorld] = []

    def _make(**about: Any) -> NodeWorld:
        made.append(NodeWorld(tmp_path, **about))
        return made[-1]

    yield _make
    for world in made:
        world.spool.close()
        world.book.close()


def test_an_hour_of_the_node_holds_what_its_devices_do_not_explain(
    make: Callable[..., NodeWorld], a_line: Lines
) -> None:
    """Wall meter less CPU meter, to the microjoule, shared by the tenants' time on devices; it verifies."""
    world = make()
    world.an_hour(a_line)

    stretches = world.bodies("device_interval", device="node", run_id="run-1")
    (hour,) = world.bodies("device_hour", device="node", hour=HOUR)
    shares = world.bodies("share", device="node", hour=HOUR)
    cpu_uj = sum(body["devices"]["cpu"] for body in stretches)
    time_ns = sum(body["end_ns"] - body["start_ns"] for body in stretches)
    assert 190 * NS_PER_S < time_ns
    assert NODE_MW * time_ns // 1_000_000 == hour["node_uj"]
    assert hour["node_uj"] == cpu_uj + hour["overhead_uj"]
    assert (hour["overhead_uj"], "modelled") == (hour["metered_uj"], hour["tier"])
    assert ["acme", "globex"] == [share["tenant"] for share in shares]
    assert hour["overhead_uj"] == sum(share["overhead_uj"] for share in shares)
    assert abs(shares[0]["overhead_uj"] - 3 * shares[1]["overhead_uj"]) <= 3
    assert all(body["overhead_uj"] is None for body in world.bodies("device_hour", device="cpu"))
    assert [] == world.book.verify()


def test_statements_close_with_the_overhead_to_the_microjoule(make: Callable[..., NodeWorld], a_line: Lines) -> None:
    """In the reconciliation, the lines, the shares, the operator's scope; from entries as from sums."""
    world = make()
    world.an_hour(a_line)

    acme, everybody = world.statement("acme"), world.statement(EVERYBODY)

    for document in (acme, everybody):
        assert [] == list(faults_of(document))
        assert Decimal(0) == Decimal(document["reconciliation"]["difference_joules"])
        assert "overhead" not in document["unknown_reasons"]
    (hour,) = world.bodies("device_hour", device="node", hour=HOUR)
    whole = Decimal(hour["overhead_uj"]) / 1_000_000
    (share,) = world.bodies("share", device="node", hour=HOUR, tenant="acme")
    lines = {line["line"]: line.get("joules") for line in acme["lines"]}
    own = Decimal(share["overhead_uj"]) / 1_000_000
    assert own == Decimal(lines["overhead"]) == Decimal(acme["shared"]["overhead_joules"])
    assert whole == Decimal(everybody["reconciliation"]["overhead_joules"])
    assert Decimal(acme["boundary"]["all_in_joules"]) > Decimal(acme["totals"]["energy_joules"]) + own
    sensors = {one["device"]: one for one in everybody["data_quality"]["devices"]}
    assert (["external wall"], ["modelled"]) == (sensors["node"]["sources"], sensors["node"]["tiers"])
    scope = Scope(
        tenant="acme", start_us=HOUR * HOUR_US, end_us=(HOUR + 1) * HOUR_US, issuer="Demo", software="test",
        size=world.book.head().size, chain=world.book.head().chain,
    )  # fmt: skip
    assert acme == from_sums(world.book, scope).document


def test_a_declared_power_is_power_times_time(make: Callable[..., NodeWorld], a_line: Lines) -> None:
    """Without a meter of the node what is declared holds, says so, and is modelled."""
    declared = DeclaredOverhead(power_mw=7_000, half_width_pct=20, source="wall meter once")
    world = make(wall=False, declared=declared)
    world.an_hour(a_line)

    (hour,) = world.bodies("device_hour", device="node", hour=HOUR)

    assert (
        7_000 * hour["time_ns"] // 1_000_000 - len(world.bodies("device_interval", device="node"))
        <= hour["overhead_uj"]
        <= 7_000 * hour["time_ns"] // 1_000_000
    )
    assert (None, "modelled", ["declared 7 W +-20 %, wall meter once"]) == (
        hour["node_uj"], hour["tier"], hour["sources"],
    )  # fmt: skip
    assert [] == world.book.verify()


def test_a_meter_goes_before_what_is_declared() -> None:
    """Both configured: the difference counts, the declaration is not looked at."""
    declared = DeclaredOverhead(power_mw=7_000, half_width_pct=20, source="once")

    assert "NodeBalance" in repr(
        BeyondDevices(cpu="cpu", devices=(), metered=True, declared=declared, writer=("b", "r"))
    )


def test_without_either_the_overhead_is_unknown(make: Callable[..., NodeWorld], a_line: Lines) -> None:
    """No node in the ledger, null in the statement, and the reason beside it."""
    world = make(wall=False)
    world.an_hour(a_line)

    document = world.statement("acme")

    assert [] == world.bodies("device_interval", device="node")
    assert document["shared"]["overhead_joules"] is None
    assert "energy.external" in document["unknown_reasons"]["overhead"]


def test_a_node_that_shows_less_than_its_devices_has_an_unknown_overhead(
    make: Callable[..., NodeWorld], a_line: Lines
) -> None:
    """Meters that disagree for an hour: null and flagged, never negative and never 0."""
    world = make()
    world.wall.draws(1_000)
    world.an_hour(a_line)

    (hour,) = world.bodies("device_hour", device="node", hour=HOUR)

    assert (None, 0) == (hour["overhead_uj"], hour["metered_uj"])
    assert 0 < hour["deficit_uj"]
    assert {"below_devices": len(world.bodies("device_interval", device="node"))} == hour["flags"]
    assert [None] == [share["overhead_uj"] for share in world.bodies("share", device="node", tenant="acme")]
    assert "less than its devices" in world.statement("acme")["unknown_reasons"]["overhead"]
    assert [] == world.book.verify()


def test_a_silent_node_meter_leaves_its_time_unknown(make: Callable[..., NodeWorld], a_line: Lines) -> None:
    """Nobody is charged an overhead that was not seen; what was seen stays."""
    world = make()
    ingest = world.open()
    world.request(a_line)
    world.steps(ingest, 70)
    world.wall.broken = True
    world.steps(ingest, 70)
    seen = len(world.bodies("device_interval", device="node"))
    ingest.finish()

    last = world.bodies("device_interval", device="node")[-1]

    assert 1 == seen
    assert last["end_ns"] < world.clock.monotonic_ns() - 60 * NS_PER_S
    assert [] == world.book.verify()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"overhead_uj": 5, "metered_uj": 5}, "the meters give"),
        ({"metered_uj": 7}, "metered_uj is 7"),
        ({"devices": {}}, "their intervals give"),
        ({"devices": {"cpu": 1, "gpu": 2}}, "their intervals give"),
        ({"deficit_before_uj": 3}, "the meters give"),
        ({"start_ns": 0, "end_ns": 0}, "not behind the one before"),
    ],
)
def test_verify_names_an_overhead_that_does_not_follow(
    make: Callable[..., NodeWorld], a_line: Lines, change: dict[str, Any], words: str
) -> None:
    """Each member of the node's interval follows from its devices' intervals and the node's own meter."""
    world = make()
    world.an_hour(a_line)
    check, findings = NodeCheck(), list[str]()

    for _, entry in world.book.entries():
        body: Any = entry.body
        if entry.kind != "device_interval":
            continue
        if body["device"] == "node":
            findings += check.beyond(body)
            assert [] == findings
            findings += check.beyond(dict(body) | {"start_ns": body["end_ns"], "end_ns": body["end_ns"] + 1} | change)
            break
        check.device(body)

    assert any(words in finding for finding in findings), findings


def test_an_hour_that_hides_its_overhead_is_named(make: Callable[..., NodeWorld], a_line: Lines) -> None:
    """A share of the node's hour with another figure stands in the findings of `ledger verify`."""
    world = make()
    ingest = world.open()
    world.request(a_line)
    world.steps(ingest, 130)
    ingest.finish()
    kinds = {(entry.kind, str(entry.body.get("device"))) for _, entry in world.book.entries()}
    (last,) = world.bodies("device_interval", device="node")[-1:]
    world.book.append([entry_of(dict(last) | {"start_ns": last["end_ns"], "end_ns": last["end_ns"] + 10,
                                              "overhead_uj": 10**9, "metered_uj": 10**9})])  # fmt: skip

    findings = world.book.verify()

    assert ("device_interval", "node") in kinds
    assert any("the meters give" in finding for finding in findings)
