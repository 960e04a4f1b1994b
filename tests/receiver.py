"""A real HTTP server that receives what sinks and webhooks post."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web


@dataclass(frozen=True)
class Received:
    """One request, as it came."""

    headers: dict[str, str]
    body: bytes
    connection: tuple[str, int]
    request: web.Request

    @property
    def json(self) -> Any:
        """What the body says."""
        return json.loads(self.body)


class Receiver:
    """Answers 200, or with the next of `answers`, or what `respond` says; keeps all requests."""

    def __init__(self) -> None:
        self.requests: list[Received] = []
        self.answers: list[web.Response] = []
        self.respond: Callable[[Received], Awaitable[web.StreamResponse]] | None = None
        self.port = 0
        self._arrived = asyncio.Condition()

    @property
    def url(self) -> str:
        """Where to post to."""
        return f"http://127.0.0.1:{self.port}/hook"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Keep a request and answer it."""
        assert request.transport is not None
        received = Received(
            dict(request.headers),
            await request.read(),
            request.transport.get_extra_info("peername"),
            request,
        )
        async with self._arrived:
            self.requests.append(received)
            self._arrived.notify_all()
        if self.respond is not None:
            return await self.respond(received)
        return self.answers.pop(0) if self.answers else web.Response()

    async def wait_for(self, count: int) -> None:
        """Return when `count` requests have arrived."""
        async with asyncio.timeout(5), self._arrived:
            await self._arrived.wait_for(lambda: len(self.requests) >= count)


@contextlib.asynccontextmanager
async def receiving(port: int = 0) -> AsyncIterator[Receiver]:
    """Run a receiver on the loopback interface, on a free port unless one is given."""
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/hook", receiver.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        receiver.port = runner.addresses[0][1]
        yield receiver
    finally:
        await runner.cleanup()


def status(code: int, **headers: str) -> web.Response:
    """Return an answer with nothing but a status and headers (`_` in their names is `-`)."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return web.Response(status=code, headers=named)
