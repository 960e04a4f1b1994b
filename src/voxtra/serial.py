"""Callbacks of one call, one after another, off the path of events.

A slow callback delays the callbacks of its own call and nothing else.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable

__all__ = ["Serial"]

log = logging.getLogger(__name__)


class Serial:
    """Runs async callables in the order they were handed in; an error is logged and costs the next
    one nothing.
    """

    __slots__ = ("_task", "_waiting")

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], Awaitable[object]]] = deque()
        self._task: asyncio.Task[None] | None = None

    def run(self, work: Callable[[], Awaitable[object]]) -> None:
        """Hand in work; returns at once."""
        self._waiting.append(work)
        if self._task is None:
            self._task = asyncio.create_task(self._drain())

    async def wait(self) -> None:
        """Wait until everything handed in so far is done."""
        if self._task is not None:
            await asyncio.shield(self._task)

    def cancel(self) -> None:
        """Give up what is running and waiting."""
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()

    async def _drain(self) -> None:
        try:
            while self._waiting:
                work = self._waiting.popleft()
                try:
                    await work()
                except asyncio.CancelledError:
                    task = asyncio.current_task()
                    if task is not None and task.cancelling():
                        raise
                    log.exception("a callback awaited what was cancelled")
                except Exception:
                    log.exception("a callback failed")
        finally:
            self._task = None
