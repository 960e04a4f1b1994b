"""When a frame came in: the same clock, at the same place, for both sides."""

from __future__ import annotations

import time

import aiohttp

__all__ = ["StampedSocket"]


class StampedSocket:
    """An events websocket that notes in `started_at` when the last StasisStart was received.

    It has what a reader of events uses of `aiohttp.ClientWebSocketResponse`.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.started_at = 0.0
        self._socket = socket

    async def receive(self) -> aiohttp.WSMessage:
        message = await self._socket.receive()
        if message.type is aiohttp.WSMsgType.TEXT and message.data.startswith(
            '{"type":"StasisStart"'
        ):
            self.started_at = time.perf_counter()
        return message

    async def close(self) -> bool:
        return await self._socket.close()

    def exception(self) -> BaseException | None:
        return self._socket.exception()

    @property
    def close_code(self) -> int | None:
        return self._socket.close_code
