"""A TCP proxy in front of a real server, so that a test can cut or freeze the network."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator


class Proxy:
    """Forwards connections to `target` while it is up.

    `cut` breaks all connections off and refuses new ones; `isolate` does the same and counts in
    `refused` who tries again, and so has noticed; `freeze` keeps them but lets nothing through, as
    a network does that has lost its way; `heal` ends both.
    """

    def __init__(self, target_port: int) -> None:
        self.port = 0
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._pipes: set[asyncio.Task[None]] = set()
        self._isolated = False
        self.refused = 0
        self._flowing = asyncio.Event()
        self._flowing.set()

    @property
    def url(self) -> str:
        """Where the server is found through the proxy."""
        return f"http://127.0.0.1:{self.port}"

    async def heal(self) -> None:
        """Let everything through again."""
        self._flowing.set()
        self._isolated = False
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Break all connections off and refuse new ones."""
        if self._server is not None:
            server, self._server = self._server, None
            server.close()
        await self._break_off()

    async def isolate(self) -> None:
        """Break all connections off and hang up on new ones."""
        self._isolated, self.refused = True, 0
        await self._break_off()

    async def _break_off(self) -> None:
        for pipe in self._pipes:
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    def freeze(self) -> None:
        """Let nothing through any more, without a word to either side."""
        self._flowing.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._isolated:
            self.refused += 1
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.transport.abort()
            return
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            pipe = asyncio.create_task(self._pipe(source, sink))
            self._pipes.add(pipe)
            pipe.add_done_callback(self._pipes.discard)

    async def _pipe(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                await self._flowing.wait()
                sink.write(data)
                await sink.drain()
        except ConnectionError:
            pass  # one side has gone: so does the other
        finally:
            sink.transport.abort()


@contextlib.asynccontextmanager
async def proxy_to(url: str) -> AsyncIterator[Proxy]:
    """Run a proxy to the server at `url` (its port on loopback counts)."""
    proxy = Proxy(int(url.rpartition(":")[2]))
    await proxy.heal()
    try:
        yield proxy
    finally:
        await proxy.cut()
