"""The keys that a caller has pressed and nobody has read yet."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Final

__all__ = ["Digits"]

log = logging.getLogger(__name__)

KEPT: Final = 64
"""Digits that wait for a reader; a later one pushes the oldest out, with a log line."""


class Digits:
    """Digits in order; a reader waits for the next one, or for the end of the call."""

    __slots__ = ("_ended", "_waiter", "_waiting")

    def __init__(self) -> None:
        self._waiting: deque[str] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._ended = False

    def put(self, digit: str) -> None:
        """Take in a digit."""
        if len(self._waiting) >= KEPT:
            self._waiting.popleft()
            log.warning("%d digits wait to be read; the oldest is dropped", KEPT)
        self._waiting.append(digit)
        self._wake()

    def end(self) -> None:
        """No digit will come any more."""
        self._ended = True
        self._wake()

    async def read(self, most: int, timeout: float) -> str:
        """Return up to `most` digits; fewer after `#` (not returned), `timeout` seconds in all, or
        the end.
        """
        read = ""
        try:
            async with asyncio.timeout(timeout):
                while len(read) < most:
                    digit = await self._next()
                    if digit in ("#", ""):
                        break
                    read += digit
        except TimeoutError:
            pass  # what was pressed until now is the answer
        return read

    async def _next(self) -> str:
        """Return the next digit, or nothing at the end."""
        while not self._waiting and not self._ended:
            if self._waiter is None:
                self._waiter = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._waiter)
        return self._waiting.popleft() if self._waiting else ""

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
