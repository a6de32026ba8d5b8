"""Ready configurations and the demo intensity series, shipped with the package."""

if __name__ == "configs":
    raise ImportError("import this package as `greenserve.configs`; the plain name `configs` is not importable")
