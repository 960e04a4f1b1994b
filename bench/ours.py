"""Our side: a VoxtraApp that is serving."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import aiohttp

from bench.stamp import StampedSocket
from voxtra import RecordingMetadata, RecordingSink, VoxtraApp
from voxtra.ari import ARIClient

__all__ = ["StampingClient", "Told", "serving"]


class StampingClient(ARIClient):
    """Our ARI client with a clock on its events websocket."""

    socket: StampedSocket

    async def events_websocket(self, heartbeat: float) -> aiohttp.ClientWebSocketResponse:
        self.socket = StampedSocket(await super().events_websocket(heartbeat))
        return cast(aiohttp.ClientWebSocketResponse, self.socket)


class Told(RecordingSink):
    """A sink that hands on what it is told."""

    def __init__(self) -> None:
        self.recordings: asyncio.Queue[RecordingMetadata] = asyncio.Queue()

    async def on_recording_complete(self, metadata: RecordingMetadata) -> None:
        self.recordings.put_nowait(metadata)


@asynccontextmanager
async def serving(app: VoxtraApp) -> AsyncIterator[None]:
    """Serve for the time of the block. Raises what keeps the app from starting."""
    up = asyncio.Event()

    @app.on_startup
    async def note() -> None:
        up.set()

    life = asyncio.create_task(app.start())
    waiting = asyncio.create_task(up.wait())
    await asyncio.wait({life, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if life.done():
        waiting.cancel()
        await life
    try:
        yield
    finally:
        await app.stop()
        await life
