"""Servers that misbehave as a test wants it, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.typedefs import Handler

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]

INFO = b'{"system":{"version":"22.0.0","entity_id":"x"}}'


class Peer:
    """An HTTP server; `requests` has what came in as "METHOD raw-path-with-query body"."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[str] = []
        self.headers: list[dict[str, str]] = []


@asynccontextmanager
async def peer(
    answer: Answer,
) -> AsyncIterator[Peer]:
    """Serve `answer` for every request but the look for an application, on a free port of
    loopback.
    """
    seen = Peer()

    @web.middleware
    async def handle(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method == "GET" and request.path.startswith("/ari/applications/"):
            # What an application that connects asks first: nobody has left calls behind.
            return web.json_response({"message": "Application not found"}, status=404)
        body = (await request.read()).decode()
        seen.requests.append(f"{request.method} {request.raw_path} {body}".rstrip())
        seen.headers.append(dict(request.headers))
        return await answer(request)

    app = web.Application(middlewares=[handle])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    seen.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield seen
    finally:
        await runner.cleanup()


def answering(status: int, text: str = "", content_type: str = "application/json") -> Answer:
    """Answer every request the same way."""

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text=text, content_type=content_type)

    return answer


class Forgetful:
    """A server that closes a kept connection at its second request, unanswered.

    That is how a keep-alive connection looks that the server gave up at the moment of its use.
    `requests` has the request lines, the unanswered ones included.
    """

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[str] = []

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            for answered in (True, False):
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.requests.append(head.split(" HTTP/1.1")[0])
                if answered:
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(INFO))
                    writer.write(INFO)
                    await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has gone
        finally:
            writer.close()

    @classmethod
    @asynccontextmanager
    async def run(cls) -> AsyncIterator[Forgetful]:
        """Serve on a free port of loopback."""
        forgetful = cls()
        server = await asyncio.start_server(forgetful._serve, "127.0.0.1", 0)
        forgetful.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server:
            yield forgetful
