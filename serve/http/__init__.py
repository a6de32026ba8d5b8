"""HTTP: a raw ASGI application with the Open Inference Protocol v2 and the gateway's own paths."""
