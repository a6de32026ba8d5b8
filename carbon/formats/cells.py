"""Cells of a spreadsheet that holds names which tenants chose."""

UNKNOWN = "unknown"


def known(value: object) -> str:
    """A figure as text; what is not known is the word, never 0."""
    return UNKNOWN if value is None else str(value)


def safe_text(text: str) -> str:
    """A leading sign of a formula would be run by spreadsheets: such a name stays text."""
    return f"'{text}" if text[:1] in {"=", "+", "@", "\t", "\r"} else text
