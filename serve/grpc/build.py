"""The gRPC server of a gateway replica, put together from what the replica has."""

from greenserve.config import Config
from greenserve.ports import Clock
from greenserve.serve.gateway import Gateway
from greenserve.serve.grpc.carbon import CarbonService
from greenserve.serve.grpc.server import GrpcServer
from greenserve.serve.grpc.service import InferenceService
from greenserve.serve.health import Health
from greenserve.serve.http.mounts import Mounts
from greenserve.serve.listeners import certificate_of, guard_of

MESSAGE_SLACK_BYTES = 2**20


def grpc_server_of(config: Config, gateway: Gateway, mounts: Mounts, *, health: Health, clock: Clock) -> GrpcServer:
    """Inference and carbon on one server, not listening yet; raises OSError for a certificate that can't be read."""
    limits, guard = config.server.limits, guard_of(config, gateway.admission.door)
    trusted = guard.trusted if guard.only_trusted else None
    inference = InferenceService(
        gateway=gateway,
        health=health,
        clock=clock,
        statistics=gateway.observers.statistics,
        max_body_bytes=limits.max_body_bytes,
        max_elements=limits.max_elements,
        trusted=trusted,
        door=guard.door,
    )
    carbon = CarbonService(
        gateway=gateway, receipts=mounts.receipts, explainer=mounts.explainer, gate=inference.gate, trusted=trusted
    )
    return GrpcServer(
        inference,
        carbon,
        max_message_bytes=limits.max_body_bytes + MESSAGE_SLACK_BYTES,
        longest_s=limits.max_defer_s,
        certificate=certificate_of(config),
    )
