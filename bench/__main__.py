"""`python -m bench`: run benchmarks on a lab of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

import click

from bench import (
    available,
    cycles,
    dispatch,
    download,
    export,
    ingest,
    latency,
    listing,
    listing_http,
    memory,
)
from bench.report import Row, print_json, print_table
from voxtra.lab.instance import Lab
from voxtra.lab.pbx import Pbx

_Measure = Callable[[Pbx, int], Coroutine[Any, Any, list[Row]]]

BENCHES: Final[dict[str, tuple[_Measure, int]]] = {
    "latency": (latency.measure, 500),
    "cycles": (cycles.measure, 800),
    "dispatch": (dispatch.measure, 40_000),
    "memory": (memory.measure, 1000),
    "export": (export.measure, 40),
    "ingest": (ingest.measure, 20),
    "download": (download.measure, 20),
    "listing": (listing.measure, 3000),
    "listing-http": (listing_http.measure, 3000),
    "available": (available.measure, 300),
}


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(BENCHES)))
@click.option("--count", type=click.IntRange(min=1), help="Samples of each side.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON in place of a table.")
def main(names: tuple[str, ...], count: int | None, *, as_json: bool) -> None:
    """Run the benchmarks NAMES, or all of them, and print ours beside raw."""
    rows = []
    with Lab.start(name="bench") as lab:
        for name in names or BENCHES:
            measure, usual = BENCHES[name]
            rows += asyncio.run(measure(lab, count or usual))
    (print_json if as_json else print_table)(rows)


if __name__ == "__main__":
    main()
