"""Whole recorded calls per second: originate, StasisStart, snoop, record, RecordingStarted, hang
up, ended, in a closed loop of some workers.

A round is over when every recording has finished too; on our side that includes reading and
hashing each file and telling the sink, which the raw client does not do.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from bench.ours import Told, serving
from bench.raw import RawClient
from bench.report import Row, percentile
from voxtra import VoxtraApp
from voxtra.lab.pbx import Pbx

__all__ = ["WORKERS", "measure"]

WORKERS: Final = (1, 4, 16)

ROUNDS: Final = 4

ENDPOINT: Final = "Local/answer@lab-phone/n"

DEADLINE: Final = 120.0
"""Seconds for one round, so that a fault is an error and no hanging benchmark."""


@dataclass(slots=True)
class _Side:
    """One cycle, what finishes a round, and what all rounds took: seconds, CPU seconds, cycles."""

    cycle: Callable[[], Awaitable[None]]
    settle: Callable[[int], Awaitable[None]]
    times: list[float] = field(default_factory=list)
    seconds: float = 0.0
    cpu: float = 0.0


async def measure(pbx: Pbx, count: int, workers: Sequence[int] = WORKERS) -> list[Row]:
    """Measure about `count` cycles of each side for each number of workers."""
    rows = []
    per_round = max(1, count // ROUNDS)
    for many in workers:
        async with _ours(pbx) as ours, _raw(pbx) as raw:
            sides = [ours, raw]
            for _ in range(ROUNDS):
                for side in sides:
                    async with asyncio.timeout(DEADLINE):
                        await _round(side, many, per_round)
                sides.reverse()
        rows += _rows(many, ours, raw)
    return rows


def _rows(many: int, ours: _Side, raw: _Side) -> list[Row]:
    what = f"cycles, {many} worker{'s' if many > 1 else ''}"
    both = (ours, raw)
    rate, processor = (
        [len(side.times) / side.seconds for side in both],
        [side.cpu / len(side.times) * 1000 for side in both],
    )
    return [
        Row("cycles", what, "1/s", rate[0], rate[1]),
        *(Row("cycles", f"{what}, p{percent}", "ms", *_at(percent, both)) for percent in (50, 99)),
        Row("cycles", f"{what}, client CPU each", "ms", processor[0], processor[1]),
    ]


def _at(percent: int, sides: tuple[_Side, _Side]) -> tuple[float, float]:
    ours, raw = (percentile(side.times, percent) * 1000 for side in sides)
    return ours, raw


async def _round(side: _Side, workers: int, count: int) -> None:
    left = iter(range(count))

    async def work() -> None:
        for _ in left:
            began = time.perf_counter()
            await side.cycle()
            side.times.append(time.perf_counter() - began)

    began, cpu = time.perf_counter(), time.process_time()
    async with asyncio.TaskGroup() as group:
        for _ in range(workers):
            group.create_task(work())
    await side.settle(count)
    side.seconds += time.perf_counter() - began
    side.cpu += time.process_time() - cpu


@asynccontextmanager
async def _ours(pbx: Pbx) -> AsyncIterator[_Side]:
    sink = Told()
    app = VoxtraApp(
        pbx.ari_url,
        pbx.ari_user,
        pbx.ari_password,
        app_name="bench-ours",
        recording_sink=sink,
        recording_dir=pbx.recording_dir,
    )

    async def cycle() -> None:
        call = await app.originate(ENDPOINT)
        await call.record_start()
        await call.hangup()
        await call.wait_ended()

    async def settle(count: int) -> None:
        for _ in range(count):
            await sink.recordings.get()

    async with serving(app):
        yield _Side(cycle, settle)


@asynccontextmanager
async def _raw(pbx: Pbx) -> AsyncIterator[_Side]:
    unfinished: list[asyncio.Future[None]] = []

    async def cycle() -> None:
        call_id = await client.originate(ENDPOINT)
        unfinished.append(await client.record(call_id))
        await client.hang_up(call_id)

    async def settle(_count: int) -> None:
        await asyncio.gather(*unfinished)
        unfinished.clear()

    async with RawClient(pbx.ari_url, pbx.ari_user, pbx.ari_password, "bench-raw") as client:
        yield _Side(cycle, settle)
