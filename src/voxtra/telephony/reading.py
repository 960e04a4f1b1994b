"""Reading events for as long as the adapter lives, over one link after another."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from voxtra.ari.connection import EventConnection, Link
from voxtra.ari.outbound import OutboundListener
from voxtra.ari.schema import Event
from voxtra.exceptions import AuthenticationFailed, TelephonyConnectionError, TelephonyError

__all__ = ["EventReader", "EventSource"]

log = logging.getLogger(__name__)

EventSource = EventConnection | OutboundListener


class EventReader:
    """One task that reads, and never waits for what the events lead to.

    `dispatch` takes each event, synchronously. `set_up` makes a new link ours beside the reading;
    it is told since when (UTC) events are missing, None at the first link. `stand_by` runs while
    another program gets our application's events.
    """

    def __init__(
        self,
        source: EventSource,
        *,
        dispatch: Callable[[Event], None],
        set_up: Callable[[Link, datetime | None], Awaitable[None]],
        stand_by: Callable[[], Awaitable[None]],
    ) -> None:
        loop = asyncio.get_running_loop()
        self._source = source
        self._dispatch = dispatch
        self._set_up = set_up
        self._stand_by = stand_by
        self._ready: asyncio.Future[None] = loop.create_future()
        self._lost: asyncio.Future[BaseException] = loop.create_future()
        self._task = asyncio.create_task(self._read(), name="ari-events")

    async def ready(self) -> None:
        """Return when the first link is ours; raise what makes that impossible."""
        await asyncio.shield(self._ready)

    async def lost(self) -> BaseException:
        """Wait until there will be no further link, and return why."""
        return await asyncio.shield(self._lost)

    async def close(self) -> None:
        """End the reading, and the source."""
        await self._source.close()
        await _end(self._task)

    async def _read(self) -> None:
        lost_at: datetime | None = None
        standing_by: asyncio.Task[None] | None = None
        try:
            if isinstance(self._source, OutboundListener):
                await self._source.start()
            async for link in self._source:
                await _end(standing_by)
                setup = asyncio.create_task(self._make_ours(link, lost_at))
                async for event in link:
                    self._dispatch(event)
                lost_at = _when_lost(setup, lost_at)
                await _end(setup)
                standing_by = asyncio.create_task(self._wait()) if link.replaced else None
            error: BaseException = TelephonyConnectionError("the event connection was closed")
        except Exception as failure:
            error = failure
        finally:
            await _end(standing_by)
        if not self._ready.done():
            self._ready.set_exception(error)
            self._ready.exception()  # seen: nobody waits for it any more when we are being stopped
        elif not self._lost.done():
            if isinstance(error, AuthenticationFailed):
                log.error("giving up on Asterisk: %s", error)
            self._lost.set_result(error)

    async def _make_ours(self, link: Link, lost_at: datetime | None) -> None:
        """Set a link up; a failure closes it, which makes a new one."""
        try:
            await self._set_up(link, lost_at)
        except TelephonyError as error:
            log.warning("could not set up the event connection: %s", error)
            await link.close()
            raise
        except Exception:
            log.exception("a mistake of ours while setting up the event connection")
            await link.close()
            raise
        if not self._ready.done():
            self._ready.set_result(None)

    async def _wait(self) -> None:
        await self._stand_by()


async def _end(task: asyncio.Task[None] | None) -> None:
    """Cancel a task and wait until it is over; what it raised was logged by itself."""
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _when_lost(setup: asyncio.Task[None], before: datetime | None) -> datetime:
    """Return since when events are missing: now, unless the link never got as far as being ours."""
    set_up = setup.done() and not setup.cancelled() and setup.exception() is None
    return datetime.now(UTC) if set_up or before is None else before
