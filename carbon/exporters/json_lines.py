"""Totals line by line at the end of a file: for runs whose course matters, and for files that several runs share."""

import json
from pathlib import Path

from greenserve.carbon.tracked import CarbonReport

SCHEMA = "greenserve.carbon-track-line/1"
LEFT_OUT = frozenset({"lines", "energy"})


class JsonLines:
    """Appends a line of totals at each sample; the last one of a run has the state `final`."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __repr__(self) -> str:
        return f"<JsonLines {self._file}>"

    def write(self, report: CarbonReport) -> None:
        """Append one line, in one write: lines of several processes do not mix."""
        totals = {name: value for name, value in report.as_dict().items() if name not in LEFT_OUT}
        at_us = report.lines[-1].end_us if report.lines else report.energy.start_us
        line = json.dumps({"schema": SCHEMA, "at_us": at_us, "start_us": report.energy.start_us} | totals)
        with self._file.open("ab", buffering=0) as end:
            end.write(f"{line}\n".encode())

    def close(self) -> None:
        """Nothing is open."""
