"""From the StasisStart of a caller to a running recording: answer, snoop, record.

The clock starts when the StasisStart frame was received and stops when `record_start` has returned,
or the raw client has seen RecordingStarted. One call at a time; the sides take turns.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from bench.ours import StampingClient, Told, serving
from bench.raw import RawClient
from bench.report import Row, percentile
from voxtra import CallSession, VoxtraApp
from voxtra.ari import ARIClient
from voxtra.ids import new_id
from voxtra.lab.pbx import Pbx
from voxtra.telephony.asterisk import AsteriskAdapter

__all__ = ["measure"]

DEADLINE: Final = 15.0
"""Seconds for one call, so that a fault is an error and no hanging benchmark."""

WARM_UP: Final = 5

Side = Callable[[ARIClient], Awaitable[float]]


async def measure(pbx: Pbx, count: int) -> list[Row]:
    """Measure `count` calls of each side."""
    phone = ARIClient(pbx.ari_url, pbx.ari_user, pbx.ari_password, app_name="bench-phone")
    ours: list[float] = []
    raw: list[float] = []
    async with phone, _ours(pbx) as our_call, _raw(pbx) as raw_call:
        sides = [(our_call, ours), (raw_call, raw)]
        for _ in range(WARM_UP + count):
            for call, times in sides:
                async with asyncio.timeout(DEADLINE):
                    times.append(await call(phone) * 1000)
            sides.reverse()
    return [
        Row(
            "latency",
            f"StasisStart to recording, p{percent}",
            "ms",
            percentile(ours[WARM_UP:], percent),
            percentile(raw[WARM_UP:], percent),
            ("<=", 1.10) if percent in (50, 99) else None,
        )
        for percent in (50, 90, 99)
    ]


async def ring(phone: ARIClient, app: str) -> None:
    """Call the application as somebody who waits for an answer and then says nothing."""
    await phone.originate(
        "Local/1000@default/n",
        context="lab-phone",
        extension="answer",
        variables={"VOXTRA_APP": app},
        channel_id=f"phone-{new_id()}",
        other_channel_id=f"caller-{new_id()}",
        formats="slin",
    )


@asynccontextmanager
async def _ours(pbx: Pbx) -> AsyncIterator[Side]:
    name = "bench-ours"
    client = StampingClient(pbx.ari_url, pbx.ari_user, pbx.ari_password, app_name=name)
    adapter = AsteriskAdapter(app_name=name, client=client)
    sink = Told()
    app = VoxtraApp(
        app_name=name, telephony=adapter, recording_sink=sink, recording_dir=pbx.recording_dir
    )
    times: asyncio.Queue[float] = asyncio.Queue()

    @app.default()
    async def handle(call: CallSession) -> None:
        began = client.socket.started_at
        await call.answer()
        await call.record_start()
        times.put_nowait(time.perf_counter() - began)

    async def one(phone: ARIClient) -> float:
        await ring(phone, name)
        took = await times.get()
        await sink.recordings.get()
        return took

    async with serving(app):
        yield one


@asynccontextmanager
async def _raw(pbx: Pbx) -> AsyncIterator[Side]:
    name = "bench-raw"
    client = RawClient(pbx.ari_url, pbx.ari_user, pbx.ari_password, name)
    calls: asyncio.Queue[asyncio.Task[float]] = asyncio.Queue()

    async def handle(call_id: str) -> float:
        began = client.socket.started_at
        await client.answer(call_id)
        finished = await client.record(call_id)
        took = time.perf_counter() - began
        await client.hang_up(call_id)
        await finished
        return took

    client.on_call = lambda call_id: calls.put_nowait(asyncio.create_task(handle(call_id)))

    async def one(phone: ARIClient) -> float:
        await ring(phone, name)
        return await (await calls.get())

    async with client:
        yield one
