"""What a request cost: meters, attribution, emissions, grid intensity, ledger, budgets, statements."""

if __name__ == "carbon":
    raise ImportError("import this package as `greenserve.carbon`; the plain name `carbon` is not importable")
