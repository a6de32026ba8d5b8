"""Watch the gateway's health until it no longer serves; prints each state as one JSON line."""

import json

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.conformance.calls import read_target

PATIENCE_S = 60.0
SERVING = health_pb2.HealthCheckResponse.SERVING


def main() -> None:
    """States as they come, ended by the first that is not SERVING or by the end of the stream."""
    target = read_target()
    with grpc.insecure_channel(target.grpc) as channel:
        asked = health_pb2.HealthCheckRequest(service="inference.GRPCInferenceService")
        try:
            for answer in health_pb2_grpc.HealthStub(channel).Watch(asked, timeout=PATIENCE_S):
                print(
                    json.dumps({"state": health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)}), flush=True
                )
                if answer.status != SERVING:
                    return
        except grpc.RpcError as error:
            print(json.dumps({"ended": error.code().name, "detail": error.details()}), flush=True)


if __name__ == "__main__":
    main()
