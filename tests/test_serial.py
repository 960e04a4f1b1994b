"""Callbacks of one call, one after another."""

from __future__ import annotations

import asyncio

from voxtra.serial import Serial


async def test_none_is_lost_to_another() -> None:
    """A callback that raises, or awaits what was cancelled, costs the next one nothing."""
    serial, ran = Serial(), []

    async def fails() -> None:
        raise OSError("the first callback of this test fails")

    async def is_cancelled() -> None:
        work = asyncio.create_task(asyncio.sleep(60))
        work.cancel()
        await work

    async def runs() -> None:
        ran.append(True)

    for work in (fails, is_cancelled, runs):
        serial.run(work)
    await serial.wait()
    assert ran == [True]


async def test_cancel() -> None:
    """What runs is cancelled, what waits does not begin."""
    serial, ran = Serial(), []
    began = asyncio.Event()

    async def hangs() -> None:
        began.set()
        await asyncio.Event().wait()

    async def runs() -> None:
        ran.append(True)

    serial.run(hangs)
    serial.run(runs)
    await began.wait()
    serial.cancel()
    await asyncio.gather(serial.wait(), return_exceptions=True)
    assert ran == []
