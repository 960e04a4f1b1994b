"""What tests of a whole app share: running one, and waiting for what it does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from tests.receiver import Receiver
from voxtra import RecordingMetadata, RecordingSink, VoxtraApp

POLL = 0.01
"""Seconds between looks at what tells nobody that it changed, such as Asterisk's resources."""


class Collector(RecordingSink):
    """A sink that keeps what it is told: all of it in `received`, one by one from `next()`."""

    def __init__(self) -> None:
        self.received: list[RecordingMetadata] = []
        self._arrived = asyncio.Condition()
        self._taken = 0

    async def on_recording_complete(self, metadata: RecordingMetadata) -> None:
        """Keep it and wake who waits."""
        async with self._arrived:
            self.received.append(metadata)
            self._arrived.notify_all()

    async def wait_for(self, count: int, timeout: float = 10.0) -> list[RecordingMetadata]:
        """Return all that was received as soon as there are `count` of them."""
        async with asyncio.timeout(timeout), self._arrived:
            await self._arrived.wait_for(lambda: len(self.received) >= count)
        return self.received

    async def next(self, timeout: float = 10.0) -> RecordingMetadata:
        """Return the next one in the order of arrival."""
        self._taken += 1
        return (await self.wait_for(self._taken, timeout))[self._taken - 1]


@contextlib.asynccontextmanager
async def run_app(app: VoxtraApp, *, timeout: float = 15.0) -> AsyncIterator[VoxtraApp]:
    """Start an app, give it when it serves calls, and stop it whatever happens.

    What `start()` raises is raised here.
    """
    main = asyncio.create_task(app.start())
    try:
        await eventually(lambda: app.is_running or main.done(), timeout=timeout)
        if main.done():
            await main
        yield app
    finally:
        await app.stop()
        await main


async def eventually(
    true: Callable[[], object | Awaitable[object]], *, timeout: float = 5.0
) -> Any:
    """Return what `true` (sync or async) gives as soon as that is truthy; TimeoutError if never."""
    async with asyncio.timeout(timeout):
        while True:
            value = true()
            if asyncio.iscoroutine(value):
                value = await value
            if value:
                return value
            await asyncio.sleep(POLL)


class Hooks:
    """The events that an app's webhook delivered to a receiver, as they came."""

    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver

    @property
    def events(self) -> list[dict[str, Any]]:
        """All of them: `{id, type, session_id, timestamp, data}`."""
        return [request.json for request in self.receiver.requests]

    def types(self, session_id: str) -> list[str]:
        """The types of one call's events, in the order of arrival."""
        return [event["type"] for event in self.events if event["session_id"] == session_id]

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        """All events of one type, in the order of arrival."""
        return [event for event in self.events if event["type"] == kind]

    async def wait_for(self, kind: str, count: int = 1, timeout: float = 10.0) -> Any:
        """Return the first event of a type when `count` of that type have come."""
        await eventually(lambda: len(self.of_type(kind)) >= count, timeout=timeout)
        return self.of_type(kind)[0]
