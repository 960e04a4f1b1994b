"""Events per second of the client's CPU time, from the socket through the whole dispatch.

A stream of real events is replayed over a websocket on loopback, faster than it can be read. Ours
is a VoxtraApp with its Asterisk adapter: each call gets a session and a task with a handler. Raw is
a loop that reads and decodes typed, and does nothing with the event. Every round is a new process.
"""

from __future__ import annotations

from functools import partial
from statistics import median

from bench.client import END, run_client
from bench.replay import FakeAri, of_call, record_frames
from bench.report import Row
from voxtra.lab.pbx import Pbx

__all__ = ["measure"]

CALLS = 100
"""Calls whose events are recorded; they are replayed again and again."""

ROUNDS = 5


async def measure(pbx: Pbx, count: int, rounds: int = ROUNDS) -> list[Row]:
    """Measure `rounds` times about `count` events of each side."""
    tape = await record_frames(pbx, min(CALLS, max(1, count // 8)))
    frames = tape * max(1, count // len(tape))
    frames.append(of_call("StasisStart", tape, END))
    rates: dict[str, list[float]] = {"ours": [], "raw": []}
    for _ in range(rounds):
        for side, found in rates.items():
            async with FakeAri.run(tape) as fake:
                parts = [partial(fake.stream, frames)]
                seconds = await run_client("dispatch", side, fake.url, parts)
            found.append(len(frames) / seconds)
    ours, raw = median(rates["ours"]), median(rates["raw"])
    return [Row("dispatch", "events per CPU-second", "1/s", ours, raw, (">=", 0.6))]
