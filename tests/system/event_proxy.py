"""A proxy in front of Asterisk that loses, doubles and delays events; requests pass as they are."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web

from voxtra.lab.pbx import Pbx

_KEPT = {"upgrade", "connection", "sec-websocket-key", "sec-websocket-version", "host"}


class EventProxy:
    """Each event is lost, doubled or held back for up to half a second with these shares of 1.

    `touched` counts what was done to events, by its name; `cut` ends the websocket.
    """

    def __init__(self, pbx: Pbx, seed: int, *, lost: float, doubled: float, delayed: float) -> None:
        self._target = pbx.ari_url
        self._chance = random.Random(seed)
        self._shares = (lost, doubled, delayed)
        self._sockets: set[web.WebSocketResponse] = set()
        self.touched = {"lost": 0, "doubled": 0, "delayed": 0}
        self.faulty = True
        self.url = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[EventProxy]:
        """Serve on a free port of loopback."""
        app = web.Application(client_max_size=1 << 26)
        app.router.add_get("/ari/events", self._events)
        app.router.add_route("*", "/{path:.*}", self._request)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def cut(self) -> None:
        """End the websocket: whoever had it comes again, and looks at what it has missed."""
        for socket in list(self._sockets):
            await socket.close()

    async def _request(self, request: web.Request) -> web.StreamResponse:
        headers = {k: v for k, v in request.headers.items() if k.lower() not in _KEPT}
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.request(
                request.method,
                f"{self._target}{request.path_qs}",
                data=await request.read(),
                headers=headers,
            ) as answer,
        ):
            return web.Response(
                status=answer.status,
                body=await answer.read(),
                content_type=answer.content_type,
            )

    async def _events(self, request: web.Request) -> web.StreamResponse:
        ours = web.WebSocketResponse()
        await ours.prepare(request)
        self._sockets.add(ours)
        headers = {"Authorization": request.headers.get("Authorization", "")}
        late: set[asyncio.Task[None]] = set()
        try:
            async with (
                aiohttp.ClientSession(headers=headers) as session,
                session.ws_connect(f"{self._target}{request.path_qs}", max_msg_size=0) as theirs,
            ):
                listening = asyncio.create_task(_until_closed(ours))
                listening.add_done_callback(lambda _: asyncio.ensure_future(theirs.close()))
                async for message in theirs:
                    if message.type is not aiohttp.WSMsgType.TEXT:
                        break
                    self._pass(ours, message.data, late)
                listening.cancel()
        finally:
            for task in late:
                task.cancel()
            self._sockets.discard(ours)
            await ours.close()
        return ours

    def _pass(self, ours: web.WebSocketResponse, text: str, late: set[asyncio.Task[None]]) -> None:
        lost, doubled, delayed = self._shares
        drawn = self._chance.random() if self.faulty and _matters(text) else 1.0
        delays = [0.0]
        if drawn < lost:
            self.touched["lost"] += 1
            return
        if drawn < lost + doubled:
            self.touched["doubled"] += 1
            delays = [0.0, self._chance.uniform(0, 0.3)]
        elif drawn < lost + doubled + delayed:
            self.touched["delayed"] += 1
            delays = [self._chance.uniform(0.01, 0.5)]
        for delay in delays:
            task = asyncio.create_task(_send(ours, text, delay))
            late.add(task)
            task.add_done_callback(late.discard)


def _matters(text: str) -> bool:
    """Tell whether an event may be touched: all but the answer to a registration."""
    kind: Any = json.loads(text).get("type", "")
    return str(kind) != "ApplicationRegistered"


async def _send(socket: web.WebSocketResponse, text: str, delay: float) -> None:
    if delay:
        await asyncio.sleep(delay)
    if not socket.closed:
        await socket.send_str(text)


async def _until_closed(socket: web.WebSocketResponse) -> None:
    async for _ in socket:
        pass
