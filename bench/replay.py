"""A recorded stream of real events, and a server that looks enough like ARI to replay it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web

from bench.latency import ring
from bench.raw import RawClient
from voxtra.ari import ARIClient
from voxtra.lab.pbx import Pbx

__all__ = ["FakeAri", "of_call", "record_frames"]

AT_ONCE: Final = 8
"""Calls in progress while the stream is recorded, so that their events are interleaved."""

DEADLINE: Final = 60.0


class _Tape(RawClient):
    """A raw client that keeps every frame."""

    def __init__(self, pbx: Pbx) -> None:
        super().__init__(pbx.ari_url, pbx.ari_user, pbx.ari_password, "bench-tape")
        self.frames: list[str] = []

    def handle(self, frame: str) -> None:
        self.frames.append(frame)
        super().handle(frame)


async def record_frames(pbx: Pbx, calls: int) -> list[str]:
    """Return the frames of `calls` real calls that are answered, recorded and hung up."""
    done: asyncio.Queue[asyncio.Task[None]] = asyncio.Queue()
    slots = asyncio.Semaphore(AT_ONCE)
    tape = _Tape(pbx)

    async def serve(call_id: str) -> None:
        await tape.answer(call_id)
        finished = await tape.record(call_id)
        await tape.hang_up(call_id)
        await finished
        slots.release()

    tape.on_call = lambda call_id: done.put_nowait(asyncio.create_task(serve(call_id)))
    phone = ARIClient(pbx.ari_url, pbx.ari_user, pbx.ari_password, app_name="bench-phone")
    async with asyncio.timeout(DEADLINE), tape, phone:
        for _ in range(calls):
            await slots.acquire()
            await ring(phone, tape.app)
        for _ in range(calls):
            await (await done.get())
    return tape.frames


def of_call(kind: str, frames: Iterable[str], call_id: str) -> str:
    """Return the first event of this kind in the stream as that of another call."""
    frame = next(frame for frame in frames if f'"type":"{kind}"' in frame)
    head, _, rest = frame.partition('"channel":{"id":"')
    return f'{head}"channel":{{"id":"{call_id}"{rest[rest.index(chr(34)) + 1 :]}'


class FakeAri:
    """Answers what a client asks while it connects, says what it is told to say, and hangs up.

    `tape` is a recorded stream, which has the look of every event.
    """

    def __init__(self, tape: Sequence[str]) -> None:
        self.url = ""
        self._tape = tape
        self._listener: asyncio.Future[web.Request] = asyncio.get_running_loop().create_future()

    async def flood(self, frames: Iterable[str]) -> None:
        """Send frames as fast as the client reads: it finds its socket's buffer always full."""
        (await self._transport()).write(b"".join(map(_on_the_wire, frames)))

    async def trickle(self, frames: Iterable[str], per_second: float) -> None:
        """Send frames one by one at a steady pace, as a PBX does: the client wakes for each."""
        transport = await self._transport()
        due = time.perf_counter()
        for frame in frames:
            transport.write(_on_the_wire(frame))
            await asyncio.sleep(0)
            due += 1 / per_second
            while time.perf_counter() < due:
                pass  # the timers of the loop are not as fine as this

    async def _transport(self) -> asyncio.Transport:
        transport = (await self._listener).transport
        if transport is None:
            raise ConnectionError("the client has gone")
        return transport

    async def _events(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self._socket = socket
        self._listener.set_result(request)
        async for _message in socket:
            pass
        return socket

    async def _hang_up(self, request: web.Request) -> web.Response:
        await self._socket.send_str(of_call("StasisEnd", self._tape, request.match_info["id"]))
        return web.Response(status=204)

    @classmethod
    @asynccontextmanager
    async def run(cls, tape: Sequence[str]) -> AsyncIterator[FakeAri]:
        """Serve one client on a free port of loopback."""
        fake = cls(tape)

        async def info(_request: web.Request) -> web.Response:
            return web.json_response({"system": {"version": "22.0.0", "entity_id": "bench"}})

        async def event_filter(request: web.Request) -> web.Response:
            return web.json_response({"name": request.match_info["app"]})

        async def nobody(_request: web.Request) -> web.Response:
            return web.json_response({"message": "Application not found"}, status=404)

        app = web.Application()
        app.router.add_get("/ari/applications/{app}", nobody)
        app.router.add_get("/ari/events", fake._events)
        app.router.add_get("/ari/asterisk/info", info)
        app.router.add_put("/ari/applications/{app}/eventFilter", event_filter)
        app.router.add_delete("/ari/channels/{id}", fake._hang_up)
        runner = web.AppRunner(app, shutdown_timeout=1.0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield fake
        finally:
            await runner.cleanup()


def _on_the_wire(frame: str) -> bytes:
    """Return an unmasked, unfragmented websocket text frame (RFC 6455, section 5.2)."""
    payload = frame.encode()
    size = len(payload)
    if size < 126:
        return bytes((0x81, size)) + payload
    if size < 1 << 16:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload
