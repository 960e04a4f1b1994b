"""Resident memory that one idle call takes: a session whose handler waits for the call's end.

Raw keeps a dict and a task per call. The first calls of each process are not counted: they pay for
what is there once.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from statistics import median

from bench.client import END, run_client
from bench.replay import FakeAri, of_call, record_frames
from bench.report import Row
from voxtra.lab.pbx import Pbx

__all__ = ["measure"]

ROUNDS = 3


async def measure(pbx: Pbx, count: int, rounds: int = ROUNDS) -> list[Row]:
    """Measure `rounds` times `count` calls of each side."""
    tape = await record_frames(pbx, 1)

    def calls(part: str, many: int) -> Iterator[str]:
        for number in range(1, many):
            yield of_call("StasisStart", tape, f"{part}-{number}")
        yield of_call("StasisStart", tape, f"{END}-{part}")

    first = list(calls("warm-up", max(1, count // 4)))
    second = list(calls("counted", count))
    sizes: dict[str, list[float]] = {"ours": [], "raw": []}
    for _ in range(rounds):
        for side, found in sizes.items():
            async with FakeAri.run(tape) as fake:
                parts = [partial(fake.flood, first), partial(fake.flood, second)]
                grown = await run_client("memory", side, fake.url, parts)
            found.append(grown / count / 1000)
    ours, raw = median(sizes["ours"]), median(sizes["raw"])
    return [Row("memory", "per idle call", "kB", ours, raw, ("<=", 25.0), "ours")]
