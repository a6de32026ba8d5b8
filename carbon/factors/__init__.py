"""Versioned data files: factors per fuel, codes of zones and fuels, annual values."""
