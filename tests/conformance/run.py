"""Runs every client against a gateway, writes docs/conformance.md, prints what failed: `make conformance`."""

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.conformance.running import GROUPS, start_gateway
from tests.conformance.table import PAGE, page


def main(arguments: Sequence[str]) -> int:
    """Names of groups narrow the run (no page then); `--soak` makes schemathesis send ten thousand requests."""
    soak = "--soak" in arguments
    groups = tuple(name for name in arguments if name != "--soak") or GROUPS
    with tempfile.TemporaryDirectory(prefix="gs-") as folder:
        running = start_gateway(Path(folder))
        outcomes = []
        try:
            for group in groups:
                started_s = time.monotonic()
                outcome = running.ask(group, *(["--soak"] if soak and group == "schemathesis" else []))
                outcomes.append(outcome)
                print(
                    f"{group}: {len(outcome.lines)} calls, {len(outcome.failures)} failed, "
                    f"{time.monotonic() - started_s:.1f} s"
                )
                print("".join(f"  {failure}\n" for failure in outcome.failures), end="")
        finally:
            running.gateway.end()
    failed = sum(len(outcome.failures) for outcome in outcomes)
    if groups == GROUPS and not soak:
        PAGE.write_text(page(outcomes))
        print(f"wrote {PAGE.name}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
