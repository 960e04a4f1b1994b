"""The measured process of the replayed benchmarks: `python -m bench.client <bench> <side> <url>`.

It prints "ready" whenever the next part of the stream may come, and last of all its result.
"""

from __future__ import annotations

import asyncio
import gc
import resource
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

import aiohttp

from bench.ours import serving
from bench.raw import DECODER, RawClient, StasisStart
from voxtra import CallSession, VoxtraApp

__all__ = ["END", "run_client"]

END: Final = "bench-end"
"""Id of the call whose start ends a stream."""

_DEADLINE: Final = 120.0

_PAGE: Final = resource.getpagesize()


# -- the process, seen from within


def _ready() -> None:
    print("ready", flush=True)


async def _dispatch_ours(url: str) -> float:
    app = _app(url)
    over = asyncio.Event()

    @app.default()
    async def handle(call: CallSession) -> None:
        if call.id == END:
            over.set()
        await call.wait_ended()

    async with serving(app):
        return await _cpu_seconds(over.wait)


async def _dispatch_raw(url: str) -> float:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{url}/ari/events?app=bench", compress=0) as socket,
    ):

        async def read() -> None:
            async for message in socket:
                event = DECODER.decode(message.data)
                if type(event) is StasisStart and event.channel.id == END:
                    return

        return await _cpu_seconds(read)


async def _cpu_seconds(work: Callable[[], Awaitable[object]]) -> float:
    _ready()
    began = time.process_time()
    await work()
    return time.process_time() - began


async def _memory_ours(url: str) -> float:
    app = _app(url)
    begun: asyncio.Queue[bool] = asyncio.Queue()

    @app.default()
    async def handle(call: CallSession) -> None:
        begun.put_nowait(call.id.startswith(END))
        await call.wait_ended()

    async with serving(app):
        return await _growth(begun)


async def _memory_raw(url: str) -> float:
    begun: asyncio.Queue[bool] = asyncio.Queue()
    calls: dict[str, dict[str, object]] = {}

    async def idle(call: dict[str, object], ended: asyncio.Future[None]) -> None:
        begun.put_nowait(str(call["id"]).startswith(END))
        await ended

    def start(call_id: str) -> None:
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        call: dict[str, object] = {"id": call_id, "state": "up", "ended": ended}
        call["task"] = asyncio.create_task(idle(call, ended))
        calls[call_id] = call

    async with RawClient(url, "bench", "bench", "bench", start):
        growth = await _growth(begun)
        for call in calls.values():
            task = call["task"]
            if isinstance(task, asyncio.Task):
                task.cancel()
        return growth


async def _growth(begun: asyncio.Queue[bool]) -> float:
    """Return how many bytes of memory the second part of the stream took."""
    sizes = []
    for _part in range(2):
        _ready()
        while not await begun.get():
            pass
        gc.collect()
        sizes.append(_resident())
    return float(sizes[1] - sizes[0])


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


def _app(url: str) -> VoxtraApp:
    return VoxtraApp(url, "bench", "bench", app_name="bench")


_BENCHES: Final = {
    ("dispatch", "ours"): _dispatch_ours,
    ("dispatch", "raw"): _dispatch_raw,
    ("memory", "ours"): _memory_ours,
    ("memory", "raw"): _memory_raw,
}


# -- the process, seen by who starts it


async def run_client(
    bench: str, side: str, url: str, parts: Sequence[Callable[[], Awaitable[None]]]
) -> float:
    """Start the process, send it the parts of the stream, return its result."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        __name__,
        bench,
        side,
        url,
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[1],
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(_DEADLINE):
            for part in parts:
                await _line(process.stdout)
                await part()
            result = float(await _line(process.stdout))
            if await process.wait():
                raise RuntimeError(f"the {side} client of bench {bench} failed")
            return result
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _line(output: asyncio.StreamReader) -> bytes:
    line = await output.readline()
    if not line:
        raise RuntimeError("the client ended before its time; what it said is above")
    return line


if __name__ == "__main__":
    name, which, address = sys.argv[1:]
    print(asyncio.run(_BENCHES[name, which](address)), flush=True)
