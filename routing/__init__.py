"""Which variant and region answer a request: cost function, picker, explanation."""

if __name__ == "routing":
    raise ImportError("import this package as `greenserve.routing`; the plain name `routing` is not importable")
