"""Online: the Ray Serve gateway, its protocols, admission, cache, batching and engines."""

if __name__ == "serve":
    raise ImportError("import this package as `greenserve.serve`; the plain name `serve` is not importable")
