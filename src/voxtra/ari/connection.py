"""The events websocket: opened by us, and opened again whenever it ends.

    async with EventConnection(client) as connection:
        async for link in connection:           # one link per connection, as long as we live
            chores.create_task(after_connect())  # event filter, subscriptions, resync
            async for event in link:
                handle(event)                   # synchronous

Rules for the reader:

* Read on, whatever there is to do: Asterisk buffers 2.8 MB for a slow reader, waits
  `websocket_write_timeout` (100 ms by default) and cuts the connection. So events are handled
  synchronously, and what takes time after a connect runs beside the reading.
* Events of a gap are lost and nothing is told again, so look at the state of things after every
  connect (`voxtra.ari.outbound` has the mode without gaps). The event filter is gone as well; the
  subscriptions stay.
* Never subscribe to all events or to device states: with them a connection that breaks off under
  load can deadlock Asterisk for good.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final, Self

import aiohttp
from aiohttp import web

from voxtra.ari.client import ARIClient
from voxtra.ari.decode import decode
from voxtra.ari.schema import ApplicationReplaced, Event
from voxtra.exceptions import (
    AuthenticationFailed,
    NotFound,
    ServerError,
    TelephonyConnectionError,
    TelephonyError,
)
from voxtra.ids import own_id
from voxtra.retry import delays

__all__ = ["EventConnection", "Link", "retryable"]

log = logging.getLogger(__name__)

HEARTBEAT: Final = 10.0
"""Seconds between pings; without an answer in half of that the link is over."""

SETTLED: Final = 10.0
"""Seconds a link must have lived for the next one to be tried without the grown delay."""

STANDBY: Final = 2.0
"""Seconds between looks whether the program that took over our application has left."""

PROBE: Final = 0.5
"""Seconds that a channel must last in an application to prove that a program serves it."""

NOBODY: Final = "127.0.0.1:9"
"""Where the probe's silence is sent: the discard port."""

_CONTENT: Final = (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY)


def retryable(error: BaseException) -> bool:
    """Tell whether trying to connect again can help.

    Asterisk that is down, unreachable or not yet booted (404 without ARI, then 503) may come; a
    refused user, a refused request and our own mistakes stay what they are.
    """
    return isinstance(error, TelephonyConnectionError | ServerError) and not isinstance(
        error, AuthenticationFailed
    )


class Link:
    """One live events websocket: an async iterator of its events that ends with it.

    `raw` is the frame of the event just returned, for what is newer than the schema. `ending` says
    in plain words why it ended ("" while it lives), `replaced` that another program has taken over
    the application: Asterisk then keeps the websocket, but says nothing more on it. `abandoned`
    says that calls were left in the application by a program that is gone.
    """

    def __init__(
        self,
        socket: aiohttp.ClientWebSocketResponse | web.WebSocketResponse,
        *,
        abandoned: bool = False,
    ) -> None:
        self.raw: str | bytes = ""
        self.ending = ""
        self.replaced = False
        self.abandoned = abandoned
        self._socket = socket
        self._over = asyncio.Event()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        if self.replaced:
            self._end("another program has taken over the application")
            raise StopAsyncIteration
        message: Any = await self._socket.receive()
        if message.type in _CONTENT:
            self.raw = message.data
            event = decode(message.data)
            if type(event) is ApplicationReplaced:
                self.replaced = True
            return event
        self._end(_why(self._socket))
        raise StopAsyncIteration

    async def close(self) -> None:
        """End it. Closing twice is fine."""
        self._end("closed by us")
        await self._socket.close()

    async def wait_ended(self) -> None:
        """Wait until it has ended or was closed."""
        await self._over.wait()

    def _end(self, why: str) -> None:
        self.ending = self.ending or why
        self._over.set()


def _why(socket: aiohttp.ClientWebSocketResponse | web.WebSocketResponse) -> str:
    error = socket.exception()
    if error is not None:
        return str(error) or type(error).__name__
    return f"closed with code {socket.close_code}"


class EventConnection:
    """The events of the client's application, over a websocket that we open.

    Iterating yields a `Link` for each connection and waits between them, starting at `first_delay`
    seconds and growing to `max_delay`; the first connection is tried like any other. It ends by
    `close`, and with an exception when trying again can't help (AuthenticationFailed for one).

    When another program takes over the application, it waits until that one has left.
    """

    def __init__(
        self,
        client: ARIClient,
        *,
        first_delay: float = 0.1,
        max_delay: float = 10.0,
        heartbeat: float = HEARTBEAT,
    ) -> None:
        self._client = client
        self._first_delay = first_delay
        self._max_delay = max_delay
        self._heartbeat = heartbeat
        self._link: Link | None = None
        self._attempt: asyncio.Task[Link] | None = None
        self._closing = asyncio.Event()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End the link, or the waiting for one, at once. The iteration then ends."""
        self._closing.set()
        if self._attempt is not None:
            self._attempt.cancel()
        if self._link is not None:
            await self._link.close()

    async def __aiter__(self) -> AsyncIterator[Link]:
        delay = 0.0
        growing = self._delays()
        loop = asyncio.get_running_loop()
        while not self._closing.is_set():
            try:
                link = await self._next_link(delay)
            except TelephonyError as error:
                if not retryable(error):
                    raise
                delay = next(growing)
                log.warning("no events from Asterisk, next try in %.1f s: %s", delay, error)
                continue
            if link is None:
                return
            log.info("events websocket to %s is up", self._client.peer)
            began = loop.time()
            yield link
            await link.close()
            if self._closing.is_set():
                return
            if loop.time() - began >= SETTLED:
                growing = self._delays()
            delay = next(growing)
            log.warning(
                "the events websocket to %s has ended (%s), next one in %.1f s",
                self._client.peer,
                link.ending,
                delay,
            )

    def _delays(self) -> Iterator[float]:
        return delays(self._first_delay, cap=self._max_delay)

    async def _next_link(self, delay: float) -> Link | None:
        """Connect after `delay` seconds; None when closed meanwhile."""
        self._attempt = asyncio.create_task(self._connect(delay))
        try:
            link = await self._attempt
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._closing.is_set() and not (task and task.cancelling()):
                return None
            raise
        finally:
            self._attempt = None
        self._link = link
        if self._closing.is_set():
            await link.close()
            return None
        return link

    async def _connect(self, delay: float) -> Link:
        await asyncio.sleep(delay)
        abandoned = False
        if self._link is None:
            abandoned = await self._is_there() and not await self._is_served()
        elif self._link.replaced:
            await self._standby()
        return Link(await self._client.events_websocket(self._heartbeat), abandoned=abandoned)

    async def _standby(self) -> None:
        """Wait until nobody serves our application any more."""
        app = self._client.app_name
        log.error("another program serves application %r now; waiting until it has left", app)
        while True:
            if not (await self._is_there() and await self._is_served()):
                break
            await asyncio.sleep(STANDBY)
        log.warning("application %r is free again", app)

    async def _is_there(self) -> bool:
        """Tell whether Asterisk has our application: it is served, or has calls left in it."""
        try:
            await self._client.get_application()
        except NotFound:
            return False
        return True

    async def _is_served(self) -> bool:
        """Tell whether a program gets our application's calls, which nothing in ARI says.

        But Asterisk hangs up at once whatever enters an application that nobody serves: so we let a
        media channel enter, which no program of ours takes for a caller, and see whether it stays.
        """
        probe = own_id("probe")
        try:
            await self._client.external_media(NOBODY, channel_id=probe, fmt="slin")
            await asyncio.sleep(PROBE)
            await self._client.hangup_channel(probe)
        except NotFound:
            return False
        return True
