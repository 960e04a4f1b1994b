"""Connections to SQLite that a cancelled request can't break.

aiosqlite runs each statement in a thread and leaves it alone when who waits for it is cancelled.
SQLAlchemy then throws the connection away while the thread is still at work, and closes it twice;
the second close waits for a thread that has ended, for ever (seen in 1 of 20 starts that were
cancelled, and the loop could not be closed any more). Here a statement is waited for to its end,
and a connection is stopped once.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import aiosqlite

__all__ = ["connector"]


class _Connection(aiosqlite.Connection):
    _stopped: asyncio.Future[Any] | None = None
    _stopping = False

    async def _execute(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        execute: Callable[..., Coroutine[Any, Any, Any]] = super()._execute
        work = asyncio.ensure_future(execute(fn, *args, **kwargs))
        cancelled: asyncio.CancelledError | None = None
        while not work.done():
            try:
                await asyncio.wait([work])
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            work.exception()
            raise cancelled
        return work.result()

    def stop(self) -> asyncio.Future[Any] | None:
        """Stop the thread, once: another call waits for the same end."""
        if not self._stopping:
            self._stopping = True
            self._stopped = super().stop()
        return self._stopped


def connector(path: str, busy_timeout: float) -> Callable[[], aiosqlite.Connection]:
    """Return what makes connections to a file; `busy_timeout` is in seconds."""

    def connect() -> aiosqlite.Connection:
        # No transaction of Python's own: it would begin late, and never with IMMEDIATE.
        made = _Connection(
            partial(sqlite3.connect, path, timeout=busy_timeout, isolation_level=None),
            iter_chunk_size=64,
        )
        made._thread.daemon = True  # a process must be able to end without its connections
        return made

    return connect
