"""What the gateway tells about itself: Prometheus metrics, OpenTelemetry traces and metrics, structured logs."""
