"""gRPC: the Open Inference Protocol's service, health and reflection on one grpc.aio server."""
