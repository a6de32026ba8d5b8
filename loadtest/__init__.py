"""Locust plugin: open-loop arrivals, energy columns, report."""

if __name__ == "loadtest":
    raise ImportError("import this package as `greenserve.loadtest`; the plain name `loadtest` is not importable")
