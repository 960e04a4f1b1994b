"""Events to your own backend, in order.

Every call has a queue of its own, emptied by a task that lives as long as there is something in it:
what one call's events wait for delays no other call's, and a retry holds back what came after it.
The queues are bounded together and each alone. When they are full the oldest waiting event gives
way, because the newer one tells more about what is true now; that is counted and logged.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING

from voxtra.config import WebhookConfig
from voxtra.events import VoxtraEvent
from voxtra.posting import Posted, Poster, encode_json

if TYPE_CHECKING:
    import aiohttp

__all__ = ["BackendWebhook"]

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Message:
    """An event on its way; the body is what it was when it was accepted."""

    number: int
    event_id: str
    type: str
    session_id: str
    body: bytes
    done: asyncio.Future[bool] | None


@dataclass(slots=True)
class _Lane:
    """The events of one call that wait, and the task that sends them one after another."""

    queue: deque[_Message]
    task: asyncio.Task[None] | None = None


class BackendWebhook:
    """Posts the events that `config` wants, signed as `voxtra.signing` says.

    `delivered`, `failed` (every try was in vain) and `dropped` (no room, or no time left at the
    end) count events. A client that is given stays its owner's. Raises `ConfigurationError`.
    """

    MAX_WAITING = 10_000
    MAX_WAITING_PER_SESSION = 1_000

    def __init__(
        self, config: WebhookConfig, *, http_client: aiohttp.ClientSession | None = None
    ) -> None:
        self.config = config
        self.delivered = self.failed = self.dropped = 0
        self._wanted = frozenset(config.events)
        self._poster: Poster | None = None
        if config.url:
            self._poster = Poster(
                config.url,
                signing_secret=config.signing_secret,
                timeout_seconds=config.timeout_seconds,
                max_retries=config.max_retries,
                retry_backoff=config.retry_backoff,
                http_client=http_client,
            )
        self._closed = self._warned = False
        self._lanes: dict[str, _Lane] = {}
        self._waiting: OrderedDict[int, _Message] = OrderedDict()
        self._last = 0

    def publish(self, event: VoxtraEvent) -> None:
        """Take an event for delivery and return at once. To be called in the event loop."""
        self._accept(event, None)

    async def emit(self, event: VoxtraEvent) -> bool:
        """Deliver an event after those of its call that came before; tell whether it arrived.

        Never raises; False as well for an event that the configuration does not want.
        """
        done = asyncio.get_running_loop().create_future()
        return await done if self._accept(event, done) else False

    def open(self) -> None:
        """Take events again after `aclose`."""
        self._closed = False

    async def aclose(self, *, grace_seconds: float = 5.0) -> None:
        """Take no more events, send those that wait for at most `grace_seconds`, let go."""
        self._closed = True
        tasks = {lane.task for lane in self._lanes.values() if lane.task is not None}
        try:
            if tasks:
                await asyncio.wait(tasks, timeout=grace_seconds)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            # a task that is cancelled before its first step never comes to its own clean-up
            for lane in self._lanes.values():
                self._abandon(lane.queue)
            self._lanes.clear()
            if self._poster is not None:
                await self._poster.aclose()

    def _accept(self, event: VoxtraEvent, done: asyncio.Future[bool] | None) -> bool:
        if self._wanted and event.type not in self._wanted:
            return False
        if self._poster is None:
            if not self._warned:
                self._warned = True
                log.warning("BackendWebhook has an empty url: nobody is told about events")
            return False
        if self._closed:
            self.dropped += 1
            log.warning("webhook is closed: %s of %s not sent", event.type, event.session_id)
            return False
        lane = self._lanes.get(event.session_id)
        if lane is None:
            lane = self._lanes[event.session_id] = _Lane(deque())
            lane.task = asyncio.create_task(self._send_all(self._poster, event.session_id, lane))
        elif len(lane.queue) >= self.MAX_WAITING_PER_SESSION:
            self._drop(lane.queue[0])
        if len(self._waiting) >= self.MAX_WAITING:
            self._drop(next(iter(self._waiting.values())))
        self._last += 1
        message = _Message(
            self._last, event.id, str(event.type), event.session_id, _body(event), done
        )
        self._waiting[message.number] = message
        lane.queue.append(message)
        return True

    def _drop(self, message: _Message) -> None:
        """Give up the oldest waiting event, which is also the first in its call's queue."""
        self._lanes[message.session_id].queue.popleft()
        del self._waiting[message.number]
        self.dropped += 1
        if self.dropped % 100 == 1:
            log.error("webhook can't keep up: %d events dropped so far", self.dropped)
        _settle(message, False)

    async def _send_all(self, poster: Poster, session_id: str, lane: _Lane) -> None:
        message: _Message | None = None
        try:
            while lane.queue:
                message = lane.queue.popleft()
                del self._waiting[message.number]
                posted = await poster.post(
                    message.body,
                    message_id=message.event_id,
                    headers={
                        "X-Voxtra-Event": message.type,
                        "X-Voxtra-Event-Id": message.event_id,
                        "X-Voxtra-Session-Id": message.session_id,
                    },
                )
                self._account(poster, message, posted)
                message = None
        finally:
            del self._lanes[session_id]
            self._abandon([*([message] if message else []), *lane.queue])

    def _account(self, poster: Poster, message: _Message, posted: Posted) -> None:
        if posted.delivered:
            self.delivered += 1
        else:
            self.failed += 1
            log.error(
                "webhook %s: %s of %s not delivered in %d tries: %s",
                poster.where,
                message.type,
                message.session_id,
                posted.attempts,
                posted.problem,
            )
        _settle(message, posted.delivered)

    def _abandon(self, messages: Iterable[_Message]) -> None:
        for message in messages:
            self._waiting.pop(message.number, None)
            self.dropped += 1
            log.error("webhook: no time left for %s of %s", message.type, message.session_id)
            _settle(message, False)


def _settle(message: _Message, delivered: bool) -> None:
    if message.done is not None and not message.done.done():
        message.done.set_result(delivered)


def _body(event: VoxtraEvent) -> bytes:
    when = event.timestamp
    return encode_json(
        {
            "id": event.id,
            "type": str(event.type),
            "session_id": event.session_id,
            "timestamp": when.astimezone(UTC) if when.tzinfo else when.replace(tzinfo=UTC),
            "data": event.data,
        }
    )
