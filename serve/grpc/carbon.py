"""The RPCs of `greenserve.v1.Carbon`: receipts, why a route, and the grid as it changes.

State: the streams that are open; changed on the event loop alone.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import grpc
from google.protobuf.message import Message
from pydantic import ValidationError

from greenserve.errors import Draining, NotImplementedHere, Overloaded
from greenserve.proto import carbon_pb2 as pb
from greenserve.records import IntensityReading
from greenserve.serve.admission import Caller
from greenserve.serve.gateway import Gateway
from greenserve.serve.grpc.admitting import Gate, check_peer, readable
from greenserve.serve.grpc.described import message_of
from greenserve.serve.grpc.parsing import parsed
from greenserve.serve.grpc.refusals import abort, known
from greenserve.serve.hints import credential_of
from greenserve.serve.http.admin.answers import invalid_of
from greenserve.serve.http.admin.explaining import Explained, Explainer, Question
from greenserve.serve.http.admin.office import check_names
from greenserve.serve.receipts import Receipts
from greenserve.serve.trust import TrustedPeers

CARBON_SERVICE = "greenserve.v1.Carbon"
MOST_BYTES = 65_536
MOST_STREAMS = 64
LOOK_S = 0.5
"""How often an open stream looks whether a reading has changed."""

GRAMS = ("energy_j", "emissions_g", "capacity_g", "quality_g", "latency_g", "score_g")
"""What is not shown to tenants from whom energy figures are withheld."""

NEVER = object()
Method = Callable[[Any, Caller], Awaitable[Message]]


class CarbonService:
    """Answers with the caller's own figures. `gate` holds answers back while the server says goodbye."""

    def __init__(
        self,
        *,
        gateway: Gateway,
        receipts: Receipts,
        explainer: Explainer,
        gate: Gate,
        trusted: TrustedPeers | None = None,
        most_streams: int = MOST_STREAMS,
    ) -> None:
        """`trusted` are the only peers that are answered; None answers everybody."""
        self._gateway = gateway
        self._receipts = receipts
        self._explainer = explainer
        self._gate = gate
        self._trusted = trusted
        self._most_streams = most_streams
        self._streams = 0
        self._ending = asyncio.Event()
        unary: dict[str, tuple[Method, type[Message]]] = {
            "GetReceipt": (self._get_receipt, pb.GetReceiptRequest),
            "Explain": (self._explain, pb.ExplainRequest),
        }
        self._handlers: Mapping[str, Any] = {
            path_of(name): grpc.unary_unary_rpc_method_handler(self._guarded(name, method, kind))
            for name, (method, kind) in unary.items()
        } | {path_of("StreamIntensity"): grpc.unary_stream_rpc_method_handler(self._stream_intensity)}

    def __repr__(self) -> str:
        return f"<CarbonService: {self._streams} streams>"

    def service(self, details: Any) -> Any:
        """What gRPC asks a handler of paths: one RPC's handler, a refusal for those not offered, None for others."""
        handler = self._handlers.get(details.method)
        if handler is None and details.method.startswith(path_of("")):
            return grpc.stream_stream_rpc_method_handler(self._not_offered(details.method))
        return handler

    def end(self) -> None:
        """End every stream: the server goes away."""
        self._ending.set()

    def _guarded(self, name: str, method: Method, kind: type[Message]) -> Callable[[bytes, Any], Awaitable[bytes]]:
        async def guarded(raw: bytes, context: Any) -> bytes:
            try:
                caller = self._caller(name, context)
                answer = (await method(parsed(kind, raw, most_bytes=MOST_BYTES), caller)).SerializeToString()
            except Exception as error:
                await self._gate.passed()
                return await abort(context, known(error))
            await self._gate.passed()
            return answer

        return guarded

    def _caller(self, name: str, context: Any) -> Caller:
        if self._trusted is not None:
            check_peer(context, self._trusted)
        caller = self._gateway.admission.authenticate(credential_of(readable(context)), path=path_of(name))
        self._gateway.admission.pace(caller)
        return caller

    def _not_offered(self, path: str) -> Callable[[Any, Any], Awaitable[None]]:
        offered = ", ".join(sorted(each.rpartition("/")[2] for each in self._handlers))

        async def refuse(_requests: Any, context: Any) -> None:
            name = path.rpartition("/")[2]
            await abort(context, NotImplementedHere(f"{name!r:.80} is not offered here; offered are {offered}"))

        return refuse

    async def _get_receipt(self, request: pb.GetReceiptRequest, caller: Caller) -> pb.Receipt:
        return message_of(await self._receipts.document(caller.tenant, request.request_id), pb.Receipt)

    async def _explain(self, request: pb.ExplainRequest, caller: Caller) -> pb.Explanation:
        given = {field.name: list(value) if field.is_repeated else value for field, value in request.ListFields()}
        try:
            question = Question.model_validate(given)
        except ValidationError as error:
            raise invalid_of(error.errors()) from None
        explained = await asyncio.to_thread(self._explainer.explained, question, caller.tenant)
        return message_of(shown(explained, hide=caller.tenant.exposure == "off"), pb.Explanation)

    async def _stream_intensity(self, raw: bytes, context: Any) -> None:
        try:
            self._caller("StreamIntensity", context)
            request = parsed(pb.StreamIntensityRequest, raw, most_bytes=MOST_BYTES)
            zones = list(dict.fromkeys(request.zones))
            there = set(self._gateway.router.readings)
            check_names("zones", "zone", zones, there)
            if self._streams >= self._most_streams:
                raise Overloaded(
                    f"{self._streams} clients watch the grid here already, as many as may; come again later",
                    retry_after_s=10,
                )
            self._streams += 1
            try:
                await self._tell(zones or sorted(there), context)
            finally:
                self._streams -= 1
        except Exception as error:
            await abort(context, known(error))

    async def _tell(self, zones: list[str], context: Any) -> None:
        told: dict[str, object] = dict.fromkeys(zones, NEVER)
        while True:
            readings = self._gateway.router.readings
            for zone in zones:
                reading = readings.get(zone)
                if told[zone] != reading:
                    told[zone] = reading
                    await context.write(intensity_of(zone, reading).SerializeToString())
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._ending.wait()
            except TimeoutError:
                continue
            raise Draining("this gateway goes away; open the stream again, another one answers", retry_after_s=1)


def path_of(name: str) -> str:
    """The path of an RPC, as gRPC and the scopes of keys have it."""
    return f"/{CARBON_SERVICE}/{name}"


def intensity_of(zone: str, reading: IntensityReading | None) -> pb.Intensity:
    """A zone's reading as a message; of an unknown one only the zone is set."""
    if reading is None:
        return pb.Intensity(zone=zone)
    return pb.Intensity(
        zone=zone,
        mg_per_kwh=reading.mg_per_kwh,
        kind=reading.kind,
        basis=reading.basis,
        origin=reading.origin,
        provider=reading.provider,
        start_us=reading.start_us,
        end_us=reading.end_us,
        retrieved_us=reading.retrieved_us,
    )


def shown(explained: Explained, *, hide: bool) -> dict[str, Any]:
    """The document for a message: unknown grids are left out; with `hide`, so is what an answer would take."""
    document = explained.model_dump(mode="json")
    for grid in document["grids"]:
        grid["intensity"] = {zone: known for zone, known in grid["intensity"].items() if known is not None}
        if hide:
            for candidate in grid["candidates"]:
                candidate.update(dict.fromkeys(GRAMS))
    return document
