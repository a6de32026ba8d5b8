"""`greenserve.v1.Carbon` on a real server: receipts, explanations and the grid, each for who may see it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from greenserve.carbon.tenancy import KeyRules
from greenserve.clock import SystemClock
from greenserve.config import Config
from greenserve.ids import new_request_id
from greenserve.proto import carbon_pb2 as pb
from greenserve.records import IntensityReading, Tenant
from greenserve.serve.admission import Admission
from greenserve.serve.gateway import Gateway
from greenserve.serve.grpc.admitting import Gate
from greenserve.serve.grpc.carbon import CARBON_SERVICE, CarbonService
from greenserve.serve.http.admin.explaining import Explainer
from greenserve.serve.receipts import Receipts
from tests.serve.administering import FINGERPRINT, Administered, administered
from tests.serve.building import a_config, until
from tests.serve.grpc_serving import Served, refusal, serving

Metadata = tuple[tuple[str, str], ...]
ZONES = {"ZZ-HERE": 400_000, "ZZ-NORTH": 40_000}


@dataclass
class Grid:
    """A gateway whose grid a test sets: what the service asks for, no more."""

    admission: Admission
    readings: dict[str, IntensityReading | None]

    @property
    def router(self) -> "Grid":
        """It knows the readings itself."""
        return self


@asynccontextmanager
async def behind(
    api: Administered, config: Config, *, most_streams: int = 4, grid: Grid | None = None
) -> AsyncIterator[Served]:
    """The API's gateway behind gRPC, on the same ledger; `grid` stands for the gateway in the service."""
    receipts = Receipts(ledger=api.ledger, clock=SystemClock())

    def carbon(gateway: Gateway, gate: Gate) -> CarbonService:
        explainer = Explainer(gateway=gateway, config=config, clock=SystemClock(), fingerprint=FINGERPRINT)
        asked = cast(Gateway, grid or gateway)
        return CarbonService(
            gateway=asked, receipts=receipts, explainer=explainer, gate=gate, most_streams=most_streams
        )

    async with serving(api.gateway, carbon=carbon) as running:
        yield running
    receipts.close()


@pytest.fixture
def config(tiny_manifest: Path, tmp_path: Path) -> Config:
    """A gateway that wants keys."""
    return a_config(tiny_manifest, tmp_path, tenancy={"auth": "required"})


@pytest.fixture
async def api(gateway: Gateway, config: Config, tmp_path: Path) -> AsyncIterator[Administered]:
    """Tenants, keys and a ledger behind a running gateway."""
    async with administered(gateway, config, tmp_path) as running:
        yield running


@pytest.fixture
async def served(api: Administered, config: Config) -> AsyncIterator[Served]:
    """Both services."""
    async with behind(api, config) as running:
        yield running


def bearer(key: str) -> Metadata:
    """The metadata of a key."""
    return (("authorization", f"Bearer {key}"),)


def call(served: Served, name: str, request: Message, kind: type[Message], key: str | None) -> Any:
    """A unary call with a key."""
    metadata = () if key is None else bearer(key)
    return served.unary(name, type(request), kind, service=CARBON_SERVICE)(request, metadata=metadata)


def receipt(served: Served, request_id: str, key: str | None) -> Any:
    """GetReceipt."""
    return call(served, "GetReceipt", pb.GetReceiptRequest(request_id=request_id), pb.Receipt, key)


def explain(served: Served, key: str | None, **question: Any) -> Any:
    """Explain."""
    return call(served, "Explain", pb.ExplainRequest(**question), pb.Explanation, key)


def watching(served: Served, key: str, *zones: str) -> Any:
    """An open StreamIntensity."""
    return served.channel.unary_stream(
        f"/{CARBON_SERVICE}/StreamIntensity",
        request_serializer=pb.StreamIntensityRequest.SerializeToString,
        response_deserializer=pb.Intensity.FromString,
    )(pb.StreamIntensityRequest(zones=zones), metadata=bearer(key))


def without_null(document: Any) -> Any:
    """A document as a message holds it: unknown is not there, and neither is what is empty."""
    if isinstance(document, dict):
        inner = {name: without_null(value) for name, value in document.items()}
        return {name: value for name, value in inner.items() if value is not None and value != [] and value != {}}
    return [without_null(each) for each in document] if isinstance(document, list) else document


def whole(message: Message) -> Any:
    """All of a message in JSON's form, integers as integers."""
    shown = MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)

    def numbers(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: numbers(each) for name, each in value.items() if each != [] and each != {}}
        if isinstance(value, list):
            return [numbers(each) for each in value]
        return int(value) if isinstance(value, str) and value.isdigit() else value

    return numbers(shown)


@pytest.mark.parametrize(
    "changes", [{}, {"settled": False}, {"unmetered": True}, {"intensity": None}, {"project": "web"}, {"batch_id": "b"}]
)
async def test_a_receipt_says_what_http_says(api: Administered, served: Served, changes: dict[str, Any]) -> None:
    """Every member of the document is in the message; what is unknown is not set, and never zero."""
    request_id = api.record(**changes)
    over_http = (await api.ask("GET", f"/v1/receipts/{request_id}", key=api.acme_key)).json()

    over_grpc = await receipt(served, request_id.upper(), api.acme_key)

    expected = without_null(over_http)
    assert expected == whole(over_grpc)
    assert not over_grpc.energy.HasField("idle_joules")
    assert ("unmetered" in changes) != over_grpc.energy.HasField("energy_joules")


@pytest.mark.parametrize(
    ("request_id", "status", "words"),
    [
        ("", "INVALID_ARGUMENT", "UUID of version 7"),
        ("not-an-id", "INVALID_ARGUMENT", "'not-an-id' is no request's id"),
        ("018bcfe5-6800-7000-8000-000000000000", "NOT_FOUND", "is yours"),
    ],
)
async def test_a_receipt_that_is_not_there_says_why(
    api: Administered, served: Served, request_id: str, status: str, words: str
) -> None:
    """What was given and what is allowed."""
    refused = await refusal(receipt(served, request_id, api.acme_key))

    assert (status, True) == (refused.status, words in str(refused))


async def test_a_receipt_is_its_tenants_own(api: Administered, served: Served) -> None:
    """Another tenant's looks like none; one that may still be on its way is to be asked for again."""
    globex_key, _ = api.store.create_key("globex")
    api.know()
    others = await refusal(receipt(served, api.record(), globex_key))
    young = await refusal(receipt(served, new_request_id(), api.acme_key))

    assert ("NOT_FOUND", "NOT_FOUND") == (others.status, young.status)
    assert "1" == young.trailing["retry-after"]


async def test_an_explanation_weighs_every_candidate(api: Administered, served: Served) -> None:
    """For the caller's tenant; one is picked, the others say why not, predictions carry their evidence."""
    told = await explain(served, api.acme_key, model="tiny", tokens=8)

    (grid,) = told.grids
    assert ("tiny", "acme") == (told.model, told.tenant)
    assert ZONES == {zone: round(1_000 * float(one.gco2e_per_kwh)) for zone, one in grid.intensity.items()}
    assert [grid.picked] == [f"{one.region}/{one.variant}" for one in grid.candidates if one.picked]
    assert all(one.verdict for one in grid.candidates)
    assert all(one.HasField("tier") for one in grid.candidates if one.HasField("energy_j"))


async def test_an_explanation_may_be_asked_on_other_grids(api: Administered, served: Served) -> None:
    """One answer per grid, in their order."""
    told = await explain(served, api.acme_key, intensity_gco2e_per_kwh=[10.0, 900.0], regions=["here"])

    shown = [grid.intensity["ZZ-HERE"].gco2e_per_kwh for grid in told.grids]
    assert ["10.000", "900.000"] == shown


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ({"model": "large"}, "model: no model 'large'; there are tiny"),
        ({"regions": ["moon"]}, "regions: no region 'moon'; there are here, north"),
        ({"variant": "int1"}, "variant: no variant 'int1' of tiny"),
        ({"tokens": 0}, "tokens"),
        ({"rows": 5_000}, "rows"),
        ({"min_quality": 1.5}, "min_quality"),
        ({"min_quality": float("nan")}, "min_quality"),
        ({"policy": "green"}, "policy"),
        ({"intensity_gco2e_per_kwh": [-1.0]}, "intensity_gco2e_per_kwh"),
    ],
)
async def test_a_question_that_makes_no_sense_names_its_field(
    api: Administered, served: Served, question: dict[str, Any], words: str
) -> None:
    """As over HTTP."""
    refused = await refusal(explain(served, api.acme_key, **question))

    assert "INVALID_ARGUMENT" == refused.status
    assert words in str(refused)


async def test_what_is_withheld_is_withheld_here_too(api: Administered, served: Served) -> None:
    """A tenant of exposure off sees the route and neither joules nor grams; receipts are refused."""
    api.store.create_tenant(Tenant(tenant_id="silent", name="Silent", exposure="off"))
    key, _ = api.store.create_key("silent")
    api.know()

    told = await explain(served, key)
    refused = await refusal(receipt(served, api.record(), key))

    assert told.grids[0].picked
    assert not any(one.HasField(name) for one in told.grids[0].candidates for name in ("energy_j", "score_g"))
    assert ("PERMISSION_DENIED", "key-blocked") == (refused.status, refused.trailing["greenserve-code"])


async def test_every_rpc_wants_a_key_that_may(api: Administered, served: Served) -> None:
    """None, an unknown one, an admin's, and one whose scope has other paths."""
    scoped, _ = api.store.create_key("acme", rules=KeyRules(paths=("/v2/models",)))
    api.know()
    for key, status in (
        (None, "UNAUTHENTICATED"),
        ("gs_none", "UNAUTHENTICATED"),
        (api.admin_key, "PERMISSION_DENIED"),
        (scoped, "PERMISSION_DENIED"),
    ):
        for asked in (receipt(served, new_request_id(), key), explain(served, key)):
            assert status == (await refusal(asked)).status
        stream = watching(served, key or "gs_")
        with pytest.raises(grpc.aio.AioRpcError):
            await stream.read()


async def test_the_grid_is_told_at_once_and_when_it_changes(api: Administered, config: Config) -> None:
    """Each zone's reading with its evidence; then only what changed; unknown has no value."""
    reading = api.gateway.router.readings["ZZ-HERE"]
    assert reading is not None
    grid = Grid(admission=api.gateway.admission, readings=api.gateway.router.readings)
    async with behind(api, config, grid=grid) as served:
        stream = watching(served, api.acme_key)
        first = {one.zone: one for one in [await stream.read(), await stream.read()]}
        grid.readings["ZZ-HERE"] = replace(reading, mg_per_kwh=5_000)
        changed = await stream.read()
        grid.readings["ZZ-HERE"] = None
        unknown = await stream.read()
        stream.cancel()

    assert ZONES == {zone: one.mg_per_kwh for zone, one in first.items()}
    here = first["ZZ-HERE"]
    assert ("annual", "lifecycle", "average", reading.end_us) == (here.origin, here.basis, here.kind, here.end_us)
    assert ("ZZ-HERE", 5_000) == (changed.zone, changed.mg_per_kwh)
    assert ("ZZ-HERE", False) == (unknown.zone, unknown.HasField("mg_per_kwh"))


async def test_only_the_zones_asked_for_are_told(api: Administered, served: Served) -> None:
    """An unknown zone is the caller's error, and says which there are."""
    stream = watching(served, api.acme_key, "ZZ-NORTH", "ZZ-NORTH")
    first = await stream.read()
    stream.cancel()
    unknown = watching(served, api.acme_key, "ZZ-MOON")

    with pytest.raises(grpc.aio.AioRpcError, match="no zone 'ZZ-MOON'; there are ZZ-HERE, ZZ-NORTH"):
        await unknown.read()
    assert "ZZ-NORTH" == first.zone


async def test_streams_are_bounded_and_give_their_place_back(api: Administered, config: Config) -> None:
    """One beyond the bound is refused; one that left makes room."""
    async with behind(api, config, most_streams=1) as served:
        first = watching(served, api.acme_key)
        await first.read()
        with pytest.raises(grpc.aio.AioRpcError, match="as many as may"):
            await watching(served, api.acme_key).read()
        first.cancel()
        await until(lambda: repr(served.carbon) == "<CarbonService: 0 streams>")

        assert "ZZ-HERE" == (await watching(served, api.acme_key, "ZZ-HERE").read()).zone


async def test_a_stream_holds_up_no_stop(api: Administered, served: Served) -> None:
    """It ends with UNAVAILABLE, so that its client opens it elsewhere."""
    stream = watching(served, api.acme_key, "ZZ-HERE")
    await stream.read()

    async with asyncio.timeout(3.0):
        await served.server.stop(grace_s=30.0)

    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await stream.read()
    assert "UNAVAILABLE" == ended.value.code().name


async def test_an_rpc_that_is_not_there_is_unimplemented(api: Administered, served: Served) -> None:
    """And those that are there are named."""
    refused = await refusal(call(served, "GetInvoice", pb.GetReceiptRequest(), pb.Receipt, api.acme_key))

    assert "UNIMPLEMENTED" == refused.status
    assert "Explain, GetReceipt, StreamIntensity" in str(refused)
