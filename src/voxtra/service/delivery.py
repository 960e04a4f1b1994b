"""Delivering what the outbox holds: webhooks to their endpoints, finished recordings to sinks.

A message is delivered by a 2xx. Everything else is tried again, a 4xx as well: most often it is a
receiver in the middle of a deployment or with a lost secret, which is put right in less than the
three days of the schedule, and a message that was given up for it would be gone. Only 410 says more
than that: the endpoint is gone, and is disabled; what waits for it stays until it is enabled again.

A receiver that fails or takes long gets one request at a time, and all such receivers together half
of the room; so they delay nobody else.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Final

import aiohttp
import msgspec
from sqlalchemy.exc import SQLAlchemyError

from voxtra.events import EventType, VoxtraEvent
from voxtra.exceptions import ConfigurationError
from voxtra.posting import USER_AGENT, header_safe, retry_after
from voxtra.recording import RecordingMetadata
from voxtra.retry import delays
from voxtra.service.addresses import AddressGuard, GuardedClient
from voxtra.store import endpoints, journal, outbox
from voxtra.store.database import Database
from voxtra.store.deliveries import Delivery
from voxtra.store.endpoints import Endpoint
from voxtra.store.outbox import LEASE, Destination
from voxtra.store.schema import utc_now

__all__ = ["SCHEDULE", "SINK_SCHEDULE", "Deliverer", "SinkTeller"]

log = logging.getLogger(__name__)

SCHEDULE: Final = tuple(
    timedelta(seconds=seconds)
    for seconds in (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
)
"""Pauses before tries 2 to 10, as Standard Webhooks recommends: three days in all."""

SINK_SCHEDULE: Final = SCHEDULE[:5]
"""Pauses before tries 2 to 6, seven and a half hours in all: a sink is code in this process, often
with tries of its own, and what a night does not heal is for somebody to correct and replay.
"""

TRY_SECONDS: Final = 15.0
LONGEST_RETRY_AFTER: Final = timedelta(days=1)
SLOW_SECONDS: Final = 5.0
"""A receiver that takes longer is treated like one that fails."""

LONGEST_PROBLEM: Final = 500
"""Characters of what is noted about a failure."""

GONE: Final = "the receiver answered 410: it is gone"

ROOM: Final = 256
"""Tries at the same time."""
ROOM_OF_ONE: Final = 8
"""Tries at the same time for one endpoint, and for the sinks of this process."""

ROUND: Final = 32
"""Destinations that are claimed for before it is looked at what has come meanwhile."""

SinkTeller = Callable[[str, RecordingMetadata], Awaitable[bool]]
"""Tells the sinks about the recording of an id; False when they could not be told."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    status: int = 0
    problem: str = ""
    wait: timedelta = timedelta()


@dataclass(slots=True)
class _Try:
    """A delivery on its way; `doubted` when it takes from the half of the room for such."""

    task: asyncio.Task[None]
    doubted: bool
    noting: bool = False


class Deliverer:
    """Sends what waits in the outbox, until it is stopped; several may work on one database.

    `worker` is its name, unique among all that run. `tell` tells the sinks of the recordings that
    the process `node` made; without it only webhooks are sent.
    """

    def __init__(
        self,
        database: Database,
        worker: str,
        *,
        guard: AddressGuard,
        node: str = "",
        tell: SinkTeller | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._database = database
        self._worker = worker
        self._client = GuardedClient(guard)
        self._node = node
        self._tell = tell
        self._clock = clock
        self._tries: dict[str, _Try] = {}
        self._busy: Counter[str] = Counter()
        self._doubted: set[str] = set()
        self._renewed = clock()
        self._stopping = False
        self._grace = 0.0
        self._changed = asyncio.Event()
        self._ended = asyncio.Event()
        self._ended.set()
        # Nobody tells a process about what another one wrote to the same SQLite file.
        self._longest_pause = 1.0 if database.is_sqlite else 30.0

    async def run(self) -> None:
        """Deliver until `stop`. What is on its way at the end has its grace, and is given back to
        whoever comes when it is not done by then; cancelled, it has none.
        """
        self._ended.clear()
        pauses = delays(1.0, cap=30.0)
        try:
            with self._database.signals.subscribe("deliveries") as self._changed:
                async with self._client:
                    try:
                        while not self._stopping:
                            self._changed.clear()
                            try:
                                pause = await self._round()
                                pauses = delays(1.0, cap=30.0)
                            except (SQLAlchemyError, OSError) as error:
                                pause = next(pauses)
                                log.warning("no deliveries can be claimed: %s", error)
                            with contextlib.suppress(TimeoutError):
                                async with asyncio.timeout(pause):
                                    await self._changed.wait()
                    finally:
                        await self._end()
        finally:
            self._ended.set()

    async def stop(self, grace: float) -> None:
        """Claim nothing more, and return when `run` has ended; `grace` is in seconds."""
        self._grace = grace
        self._stopping = True
        self._changed.set()
        await self._ended.wait()

    async def _round(self) -> float:
        """Start what can be started; return the seconds until there may be more."""
        now = self._clock()
        if self._tries and now - self._renewed >= LEASE / 3:
            async with self._database.write(durable=False) as connection:
                await outbox.renew(connection, list(self._tries), worker=self._worker, now=now)
            self._renewed = now
        async with self._database.read() as connection:
            found = await outbox.due(connection, sinks_of=self._node if self._tell else None)
        for destination in found:
            if destination.deleted:
                async with self._database.write(durable=False) as connection:
                    await outbox.bury(connection, destination.endpoint_id, now=now)
                return 0.0
        ready = [each for each in found if each.due <= now and self._room(each.endpoint_id) > 0]
        ready.sort(key=self._rank)
        looked_at = [await self._claim(destination, now) for destination in ready[:ROUND]]
        if any(looked_at):
            return 0.0
        if ready:
            return 1.0  # another worker is claiming at this very moment
        # What there is no room for begins when something else ends, which wakes us.
        later = [(each.due - now).total_seconds() for each in found if each.due > now]
        return min([*later, self._longest_pause])

    def _rank(self, destination: Destination) -> tuple[bool, int, datetime]:
        key = destination.endpoint_id
        return key in self._doubted, self._busy[key], destination.due

    def _room(self, key: str) -> int:
        free = ROOM - len(self._tries)
        if key not in self._doubted:
            return min(ROOM_OF_ONE - self._busy[key], free)
        half = ROOM // 2 - sum(each.doubted for each in self._tries.values())
        return min(1 - self._busy[key], half, free)

    async def _claim(self, destination: Destination, now: datetime) -> int:
        key = destination.endpoint_id
        room = self._room(key)
        if room <= 0:
            return 0
        async with self._database.write(durable=False) as connection:
            claimed = await outbox.claim(
                connection, destination, worker=self._worker, now=now, limit=room
            )
        for delivery in claimed.deliveries:
            if delivery.id not in self._tries:  # our own lease can have run out
                task = asyncio.create_task(
                    self._carry_out(delivery, claimed.endpoint), name=f"delivery {delivery.id}"
                )
                self._tries[delivery.id] = _Try(task, key in self._doubted)
                self._busy[key] += 1
        return claimed.looked_at

    async def _carry_out(self, delivery: Delivery, endpoint: Endpoint | None) -> None:
        key = delivery.endpoint_id
        loop = asyncio.get_running_loop()
        at, began = self._clock(), loop.time()
        try:
            if endpoint is None:
                outcome = await self._tell_sinks(delivery)
            else:
                outcome = await self._post(delivery, endpoint)
                if outcome.problem or loop.time() - began > SLOW_SECONDS:
                    self._doubted.add(key)
                else:
                    self._doubted.discard(key)
            self._tries[delivery.id].noting = True
            try:
                await self._note(delivery, endpoint, outcome, at)
            except (SQLAlchemyError, OSError) as error:
                log.warning("delivery %s is repeated: it can't be noted: %s", delivery.id, error)
        finally:
            del self._tries[delivery.id]
            self._busy[key] -= 1
            if not self._busy[key]:
                del self._busy[key]
            self._changed.set()

    async def _post(self, delivery: Delivery, endpoint: Endpoint) -> _Outcome:
        now, body = self._clock(), delivery.body.encode()
        try:
            signed = endpoint.signer(now).headers(
                body, message_id=header_safe(delivery.message_id), timestamp=int(now.timestamp())
            )
            headers = signed | {"Content-Type": "application/json", "User-Agent": USER_AGENT}
            answer = await self._client.post(endpoint.url, body, headers, seconds=TRY_SECONDS)
        except TimeoutError:
            return _Outcome(problem=f"no answer in {TRY_SECONDS:g} s")
        except (aiohttp.ClientError, ConfigurationError, OSError) as error:
            return _Outcome(problem=_text(error))
        except Exception as error:
            log.exception("delivery %s failed in an unexpected way", delivery.id)
            return _Outcome(problem=_text(error))
        if 200 <= answer.status < 300:
            return _Outcome(answer.status)
        asked = min(retry_after(answer.retry_after), LONGEST_RETRY_AFTER.total_seconds())
        return _Outcome(answer.status, f"HTTP {answer.status}", timedelta(seconds=asked))

    async def _tell_sinks(self, delivery: Delivery) -> _Outcome:
        assert self._tell is not None  # noqa: S101  # or nothing would have been claimed
        try:
            metadata = msgspec.json.decode(delivery.body, type=RecordingMetadata)
            told = await self._tell(delivery.recording_id, metadata)
        except Exception as error:
            log.exception("the sinks of recording %s", delivery.recording_id)
            return _Outcome(problem=_text(error))
        return _Outcome(problem="" if told else "the sink failed; the log of its process says why")

    async def _note(
        self, delivery: Delivery, endpoint: Endpoint | None, outcome: _Outcome, at: datetime
    ) -> None:
        now = self._clock()
        schedule = SINK_SCHEDULE if endpoint is None else SCHEDULE
        retry_at = None
        if outcome.problem and delivery.attempts < len(schedule):
            # Not all at once that failed at once.
            pause = schedule[delivery.attempts] * random.uniform(0.9, 1.1)  # noqa: S311  # no secret
            retry_at = now + max(pause, outcome.wait)
        disabled = False
        async with self._database.write(durable=False) as connection:
            state = await outbox.note(
                connection,
                delivery.id,
                worker=self._worker,
                at=at,
                now=now,
                status=outcome.status,
                problem=outcome.problem,
                retry_at=retry_at,
            )
            if endpoint is not None and outcome.wait:
                await endpoints.rest(connection, endpoint.id, now + outcome.wait)
            if endpoint is not None and outcome.status == HTTPStatus.GONE:
                disabled = await endpoints.give_up(connection, endpoint, GONE, now=now)
                if disabled:
                    data = {"endpoint_id": endpoint.id, "reason": GONE}
                    event = VoxtraEvent(EventType.WEBHOOK_DISABLED, "", data, timestamp=now)
                    await journal.append(connection, event, tenant_id=endpoint.tenant_id)
        if state == "dead":
            log.error(
                "%s of %s is dead after %d tries: %s; replay it when that is put right",
                f"delivery {delivery.id}",
                delivery.type,
                delivery.attempts + 1,
                outcome.problem,
            )
        if endpoint is not None and disabled:
            log.error("webhook endpoint %s is disabled: %s", endpoint.id, GONE)

    async def _end(self) -> None:
        if tasks := [each.task for each in self._tries.values()]:
            await asyncio.wait(tasks, timeout=self._grace)
        # What has been answered is noted, however long that takes.
        left = [id_ for id_, each in self._tries.items() if not each.noting]
        tasks = [each.task for each in self._tries.values()]
        for each in left:
            self._tries[each].task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if not left:
            return
        try:
            async with self._database.write(durable=False) as connection:
                await outbox.release(connection, left, worker=self._worker, now=self._clock())
        except (SQLAlchemyError, OSError) as error:
            log.warning("deliveries go on when their leases have run out: %s", error)


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")[:LONGEST_PROBLEM]
