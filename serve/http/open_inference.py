"""The handlers of the Open Inference Protocol's paths, of health and of the API's own description."""

from collections.abc import Mapping

import orjson

from greenserve.errors import InvalidRequest
from greenserve.sections import Limits
from greenserve.serve.describe import config_of, index_of, metadata_of, server_metadata, statistics_of
from greenserve.serve.gateway import Gateway
from greenserve.serve.health import Health
from greenserve.serve.http.binary import OCTETS
from greenserve.serve.http.body import read_body
from greenserve.serve.http.facts import facts_as_headers
from greenserve.serve.http.message import JSON, Handler, Request, Response
from greenserve.serve.http.oip import body_of, call_of, json_object
from greenserve.serve.http.openapi import OPENAPI
from greenserve.serve.models import ServedModel
from greenserve.serve.statistics import Statistics

VERSIONED = ("/v2/models/{model}", "/v2/models/{model}/versions/{version}")
HEAD_LENGTH = b"inference-header-content-length"
DESCRIPTION = orjson.dumps(OPENAPI)


class OpenInference:
    """Every path of the protocol, versioned and not."""

    def __init__(self, *, gateway: Gateway, health: Health, statistics: Statistics, limits: Limits) -> None:
        self._gateway = gateway
        self._health = health
        self._statistics = statistics
        self._limits = limits

    def handlers(self) -> Mapping[tuple[str, str], Handler]:
        """By method and path template."""
        table: dict[tuple[str, str], Handler] = {
            ("GET", "/v2"): self._server,
            ("GET", "/v2/health/live"): self._live,
            ("GET", "/v2/health/ready"): self._ready,
            ("GET", "/v2/models/stats"): self._all_statistics,
            ("POST", "/v2/repository/index"): self._index,
            ("GET", "/livez"): self._live,
            ("GET", "/readyz"): self._ready,
            ("GET", "/openapi.json"): self._description,
        }
        for model in VERSIONED:
            table |= {
                ("POST", f"{model}/infer"): self._infer,
                ("GET", model): self._metadata,
                ("GET", f"{model}/ready"): self._model_ready,
                ("GET", f"{model}/config"): self._config,
                ("GET", f"{model}/stats"): self._model_statistics,
            }
        return table

    async def _infer(self, request: Request) -> Response:
        headers, limits = request.headers, self._limits
        arguments = request.arguments
        model, version = arguments["model"], arguments.get("version", "")
        body = await read_body(request.receive, headers, limit_bytes=limits.max_body_bytes)
        served = self._gateway.models.find(model, version)
        call, wanted = call_of(
            body,
            headers,
            model=model,
            version=version,
            received_ns=request.received_ns,
            most_elements=limits.max_elements,
            specs=served.task.inputs,
        )
        answer = await self._gateway.handle(call)
        content, head_length = body_of(answer, wanted)
        facts = facts_as_headers(answer)
        if head_length is None:
            return Response(200, content, facts, compressible=True)
        facts.append((HEAD_LENGTH, b"%d" % head_length))
        return Response(200, content, facts, OCTETS, compressible=True)

    async def _server(self, request: Request) -> Response:
        return _json(server_metadata())

    async def _live(self, request: Request) -> Response:
        return _json({"live": True})

    async def _ready(self, request: Request) -> Response:
        return _json({"ready": self._health.ready, "waiting_for": self._health.missing}, self._ready_status)

    async def _metadata(self, request: Request) -> Response:
        return _json(metadata_of(self._model(request)))

    async def _model_ready(self, request: Request) -> Response:
        return _json({"name": self._model(request).name, "ready": self._health.ready}, self._ready_status)

    async def _config(self, request: Request) -> Response:
        return _json(config_of(self._model(request)))

    async def _model_statistics(self, request: Request) -> Response:
        return _json(statistics_of([self._model(request)], self._statistics))

    async def _all_statistics(self, request: Request) -> Response:
        return _json(statistics_of(self._gateway.models, self._statistics))

    async def _index(self, request: Request) -> Response:
        body = await read_body(
            request.receive,
            request.headers,
            limit_bytes=self._limits.max_body_bytes,
        )
        document = json_object(body, needs="`ready`") if body.strip() else {}
        if unknown := document.keys() - {"ready"}:
            raise InvalidRequest(f"{min(unknown)[:80]}: unknown member; allowed is ready")
        only_ready = document.get("ready", False)
        if type(only_ready) is not bool:
            raise InvalidRequest(f"ready: true or false is needed, got {only_ready!r:.80}")
        ready = self._health.ready
        return _json([] if only_ready and not ready else index_of(self._gateway.models, ready=ready))

    async def _description(self, request: Request) -> Response:
        return Response(200, DESCRIPTION, [], JSON)

    def _model(self, request: Request) -> ServedModel:
        return self._gateway.models.find(request.arguments["model"], request.arguments.get("version", ""))

    @property
    def _ready_status(self) -> int:
        return 200 if self._health.ready else 503


def _json(document: object, status: int = 200) -> Response:
    return Response(status, orjson.dumps(document), [])
