"""Events by key: whoever asks for something says first which events it waits for.

    with bus.expect(recording_name) as inbox:
        await client.record_channel(...)          # RecordingStarted can overtake the answer
        await inbox.wait_for(lambda event: isinstance(event, RecordingStarted), 5.0)

A key is the id of a channel, bridge or playback or the name of a recording. Publishing costs one
look-up per key of the event, however many inboxes there are.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Final, Self

from voxtra.ari.schema import Event

__all__ = ["Bus", "Inbox"]

log = logging.getLogger(__name__)

LIMIT: Final = 256
"""Events an inbox holds by default: a recorded call makes about 20 in all."""


class Inbox:
    """The events of some keys, in order, for one reader; leaving the `with` block ends it.

    When it is full the oldest event goes, for what matters most, that something ended, comes last.
    Every lost event is counted in `dropped`, and logged.
    """

    __slots__ = ("_bus", "_end", "_events", "_last", "_waiter", "dropped", "keys", "limit")

    def __init__(self, bus: Bus, keys: tuple[str, ...], limit: int) -> None:
        self.keys = keys
        self.limit = limit
        self.dropped = 0
        self._bus = bus
        self._events: deque[Event] = deque()
        self._last: Event | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._end: Exception | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Take no more events. Closing twice is fine."""
        if self._end is None:
            self._bus.remove(self)
            self.end(RuntimeError(f"the inbox for {', '.join(self.keys)} is closed"))

    async def get(self, timeout: float | None = None) -> Event:
        """Return the next event; TimeoutError after `timeout` seconds (None: never).

        When the bus is closed it raises the error that closed it, after the last event.
        """
        if not self._events:
            async with asyncio.timeout(timeout):
                await self._arrival()
        return self._events.popleft()

    async def wait_for(self, predicate: Callable[[Event], bool], timeout: float | None) -> Event:
        """Return the next event that `predicate` accepts and forget those before it.

        Raises TimeoutError after `timeout` seconds (None: never), and what closed the bus.
        """
        async with asyncio.timeout(timeout):
            while True:
                if not self._events:
                    await self._arrival()
                event = self._events.popleft()
                if predicate(event):
                    return event

    def put(self, event: Event) -> None:
        """Take an event in; the same one again, by another of its keys, is no second event."""
        if event is self._last:
            return
        self._last = event
        self._events.append(event)
        if len(self._events) > self.limit:
            lost = self._events.popleft()
            self.dropped += 1
            self._bus.dropped += 1
            if self.dropped & (self.dropped - 1) == 0:  # the 1st, 2nd, 4th, 8th, ...
                log.error(
                    "the inbox for %s is full: %d events lost so far, the last one a %s",
                    ", ".join(self.keys),
                    self.dropped,
                    lost.type,
                )
        self._wake()

    def end(self, error: Exception) -> None:
        """Let the reader have what is here, then `error`."""
        self._end = error
        self._wake()

    async def _arrival(self) -> None:
        """Wait until there is an event."""
        if self._waiter is not None:
            raise RuntimeError(f"the inbox for {', '.join(self.keys)} has a reader already")
        while not self._events:
            if self._end is not None:
                # One error for many readers: else each of them would lengthen its traceback.
                raise self._end.with_traceback(None)
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Bus:
    """Delivers every published event to the inboxes of its keys.

    `dropped` counts the events that full inboxes lost.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._inboxes: dict[str, list[Inbox]] = {}
        self._end: Exception | None = None

    def expect(self, *keys: str, limit: int = LIMIT) -> Inbox:
        """Open an inbox for the events of `keys`, from now on.

        Raises what closed the bus, when it is closed.
        """
        if self._end is not None:
            raise self._end.with_traceback(None)
        inbox = Inbox(self, keys, limit)
        for key in keys:
            self._inboxes.setdefault(key, []).append(inbox)
        return inbox

    def publish(self, event: Event) -> None:
        """Deliver an event; never blocks."""
        if not self._inboxes:
            return
        for key in event.keys():  # noqa: SIM118  # an event is no dict
            for inbox in self._inboxes.get(key, ()):
                inbox.put(event)

    def close(self, error: Exception) -> None:
        """Wake everybody who waits with `error`; whoever comes later gets it too."""
        self._end = error
        for inboxes in self._inboxes.values():
            for inbox in inboxes:
                inbox.end(error)
        self._inboxes.clear()

    def remove(self, inbox: Inbox) -> None:
        """Deliver nothing more to an inbox."""
        for key in inbox.keys:
            inboxes = self._inboxes[key]
            inboxes.remove(inbox)
            if not inboxes:
                del self._inboxes[key]
