"""`make bench-serve`: the data plane's numbers, peers side by side, recorded with machine, versions and date."""

import argparse
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import orjson

from benchmarks.accounting import accounting
from benchmarks.cache import cache
from benchmarks.latency import latency
from benchmarks.noop import noop
from benchmarks.overload import overload, slo
from benchmarks.side_by_side import CANNOT_RUN, side_by_side
from greenserve.host import describe_host

RESULTS = Path("benchmarks/results")
PARTS: Mapping[str, Callable[..., dict[str, Any]]] = MappingProxyType(
    {
        "peers": side_by_side,
        "noop": noop,
        "latency": latency,
        "accounting": accounting,
        "cache": cache,
        "overload": overload,
        "slo": slo,
    }
)


def main() -> None:
    """Run the parts that were asked for, print each, write one file; exit 1 where a part could not be measured."""
    given = arguments()
    started = datetime.now(UTC)
    results: dict[str, Any] = {
        "schema": "greenserve.bench-serve/1",
        "at": started.isoformat(timespec="seconds"),
        "machine": describe_host(),
        "load_average_before": os.getloadavg(),
        "rounds": given.rounds,
        "seconds": given.seconds,
    }
    failed = {}
    for name in given.only:
        print(f"\n== {name}: {given.rounds} rounds of {given.seconds:g} s, medians", flush=True)
        more = {"names": given.peers} if name == "peers" else {}
        try:
            results[name] = PARTS[name](rounds=given.rounds, seconds=given.seconds, **more)
        except CANNOT_RUN as error:
            failed[name] = f"{type(error).__name__}: {error}"
            print(f"{name}: not run: {failed[name]}", flush=True)
    results["failed"] = failed
    RESULTS.mkdir(parents=True, exist_ok=True)
    file = RESULTS / f"serve-{started:%Y%m%dT%H%M%SZ}.json"
    file.write_bytes(orjson.dumps(results, option=orjson.OPT_INDENT_2) + b"\n")
    print(f"\nwrote {file}")
    if failed:
        raise SystemExit(f"not measured: {', '.join(failed)}; the reasons are above and in the file")


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serve", description=__doc__)
    parser.add_argument("--only", type=parts, default=list(PARTS), help=f"of {','.join(PARTS)}; all by default")
    parser.add_argument("--peers", type=names, default=[], help="systems of the comparison; all by default")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0, help="measured time of each run, after 2 s of warm-up")
    return parser.parse_args()


def names(text: str) -> list[str]:
    """Names between commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def parts(text: str) -> list[str]:
    """Names of parts; an unknown one is refused."""
    found = names(text)
    if unknown := [name for name in found if name not in PARTS]:
        raise argparse.ArgumentTypeError(f"no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    return found


if __name__ == "__main__":
    main()
