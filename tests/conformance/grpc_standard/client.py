"""gRPC's own services: health checks with grpcio-health-checking, and reflection with grpc-requests."""

import asyncio
from dataclasses import dataclass
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_requests import Client

from tests.conformance.calls import Calls, Target, check_equal, check_holds, read_target, refused

health_calls = Calls()
reflection_calls = Calls()
PATIENCE_S = 10.0
SERVICE = "inference.GRPCInferenceService"
HEALTH = "grpc.health.v1.Health"
SERVING = health_pb2.HealthCheckResponse.SERVING
UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
ROW = {"int_contents": list(range(16))}
QUESTION = {
    "model_name": "simple",
    "inputs": [{"name": name, "datatype": "INT32", "shape": [1, 16], "contents": ROW} for name in ("INPUT0", "INPUT1")],
}
RPCS = {
    "ServerLive": {},
    "ServerReady": {},
    "ModelReady": {"name": "simple"},
    "ServerMetadata": {},
    "ModelMetadata": {"name": "simple"},
    "ModelInfer": QUESTION,
    "ModelConfig": {"name": "simple"},
    "ModelStatistics": {"name": "simple"},
    "RepositoryIndex": {},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """What the calls ask with."""

    target: Target
    health: Any
    reflected: Any

    @property
    def metadata(self) -> list[tuple[str, str]]:
        """The metadata with acme's key."""
        return list(self.target.bearer().items())


@health_calls.named("Check of the server and of each service")
def _check(asking: Asking) -> None:
    for service in ("", SERVICE):
        answer = asking.health.Check(health_pb2.HealthCheckRequest(service=service), timeout=PATIENCE_S)
        check_equal(SERVING, answer.status)


@health_calls.named("Check of an unknown service")
def _unknown(asking: Asking) -> None:
    with refused(grpc.RpcError) as seen:
        asking.health.Check(health_pb2.HealthCheckRequest(service="nobody"), timeout=PATIENCE_S)
    check_equal(grpc.StatusCode.NOT_FOUND, seen.error.code())


@health_calls.named("Watch starts with the present state")
def _watch(asking: Asking) -> None:
    stream = asking.health.Watch(health_pb2.HealthCheckRequest(service=SERVICE), timeout=PATIENCE_S)
    check_equal(SERVING, next(stream).status)
    stream.cancel()


@health_calls.named("Watch of an unknown service")
def _watch_unknown(asking: Asking) -> None:
    stream = asking.health.Watch(health_pb2.HealthCheckRequest(service="nobody"), timeout=PATIENCE_S)
    check_equal(UNKNOWN, next(stream).status)
    stream.cancel()


@reflection_calls.named("all services are listed")
def _listed(asking: Asking) -> None:
    check_holds(asking.reflected.service_names, SERVICE, HEALTH)


@reflection_calls.named("every RPC is described")
def _described(asking: Asking) -> None:
    methods = asking.reflected.get_service_descriptor(SERVICE).methods_by_name
    check_holds(list(methods), *RPCS, "ModelStreamInfer")
    asked = asking.reflected.get_method_descriptor(SERVICE, "ModelInfer").input_type.fields_by_name
    check_holds(list(asked), "model_name", "model_version", "id", "parameters", "inputs", "raw_input_contents")


@reflection_calls.named("every RPC can be called by its description alone")
def _called(asking: Asking) -> None:
    for name, question in RPCS.items():
        answer = asking.reflected.request(SERVICE, name, question, metadata=asking.metadata)
        check_equal(True, bool(answer))


@reflection_calls.named("the stream can be called by its description alone")
def _streamed(asking: Asking) -> None:
    answers = asking.reflected.request(SERVICE, "ModelStreamInfer", [QUESTION, QUESTION], metadata=asking.metadata)
    sums = [answer["infer_response"]["outputs"][0]["contents"]["int_contents"] for answer in answers]

    check_equal([[2 * one for one in range(16)]] * 2, sums)


@reflection_calls.named("typed contents are answered with typed contents")
def _typed(asking: Asking) -> None:
    answer = asking.reflected.request(SERVICE, "ModelInfer", QUESTION, metadata=asking.metadata)
    outputs = {output["name"]: output["contents"]["int_contents"] for output in answer["outputs"]}

    check_equal([2 * one for one in range(16)], outputs["OUTPUT0"])
    check_equal([0] * 16, outputs["OUTPUT1"])
    check_equal(True, not answer.get("raw_output_contents"))


@reflection_calls.named("health by its description alone")
def _health(asking: Asking) -> None:
    check_equal({"status": "SERVING"}, asking.reflected.request(HEALTH, "Check", {"service": SERVICE}))


async def main() -> None:
    """Every call with both clients."""
    target = read_target()
    with grpc.insecure_channel(target.grpc) as channel:
        asking = Asking(
            target=target, health=health_pb2_grpc.HealthStub(channel), reflected=Client.get_by_endpoint(target.grpc)
        )
        await health_calls.run("grpcio-health-checking", asking)
        await reflection_calls.run("grpc-requests", asking)


if __name__ == "__main__":
    asyncio.run(main())
