"""Offline: build variants of a model, measure quality, latency and joules, write the manifest."""

if __name__ == "optimize":
    raise ImportError("import this package as `greenserve.optimize`; the plain name `optimize` is not importable")
