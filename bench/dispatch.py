"""Events per second of the client's CPU time, from the socket through the whole dispatch.

A stream of real events is replayed over a websocket on loopback. Ours is a VoxtraApp with its
Asterisk adapter: each call gets a session and a task with a handler. Raw is a loop that reads and
decodes typed, and does nothing with the event. Every round is a new process.

The stream comes in two ways: faster than it can be read, which shows the bare price of an event,
and frame by frame at a pace that a busy PBX keeps, where waking up for each frame costs both sides
the most.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from statistics import median
from typing import Final

from bench.client import END, run_client
from bench.replay import FakeAri, of_call, record_frames
from bench.report import Row
from voxtra.lab.pbx import Pbx

__all__ = ["measure"]

CALLS: Final = 100
"""Calls whose events are recorded; they are replayed again and again."""

ROUNDS: Final = 5

PACE: Final = 10_000.0
"""Events per second; Asterisk itself makes 15 400 at most on two cores."""


async def measure(pbx: Pbx, count: int, rounds: int = ROUNDS) -> list[Row]:
    """Measure `rounds` times about `count` events of each side, and a quarter of them paced."""
    tape = await record_frames(pbx, min(CALLS, max(1, count // 8)))

    def flood(fake: FakeAri, frames: Sequence[str]) -> Callable[[], Awaitable[None]]:
        return partial(fake.flood, frames)

    def trickle(fake: FakeAri, frames: Sequence[str]) -> Callable[[], Awaitable[None]]:
        return partial(fake.trickle, frames, PACE)

    rows = []
    for how, events in ((flood, count), (trickle, count // 4)):
        frames = tape * max(1, events // len(tape))
        frames.append(of_call("StasisStart", tape, END))
        rates: dict[str, list[float]] = {"ours": [], "raw": []}
        for _ in range(rounds):
            for side, found in rates.items():
                async with FakeAri.run(tape) as fake:
                    parts = [how(fake, frames)]
                    found.append(len(frames) / await run_client("dispatch", side, fake.url, parts))
        paced = how is trickle
        what = "events per CPU-second, " + (f"at {PACE:.0f}/s" if paced else "flooded")
        ours, raw = median(rates["ours"]), median(rates["raw"])
        rows.append(Row("dispatch", what, "1/s", ours, raw, None if paced else (">=", 0.6)))
    return rows
