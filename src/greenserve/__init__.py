"""GreenServe: an inference gateway that knows what every answer cost in joules and gCO2e, and who caused it."""

__all__ = ["__version__"]

__version__ = "0.1.0"
