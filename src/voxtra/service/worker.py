"""Does the jobs that wait, a few at a time, and keeps their leases while they are done."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Final, Protocol

from sqlalchemy.exc import SQLAlchemyError

from voxtra.retry import delays
from voxtra.store.jobs import LEASE, Job, LeaseLost, Queue

__all__ = ["Handler", "Worker", "leased"]

log = logging.getLogger(__name__)

LOOK: Final = 1.0
"""Seconds between looks at the queue when nobody says that there is something: a job of another
process on SQLite, one whose time has come, one whose worker has died.
"""

RETRY_CAP: Final = 300.0
"""Seconds at most before a job whose handler failed in an unforeseen way is tried again."""


class Handler(Protocol):
    """Does the jobs of one kind."""

    async def run(self, job: Job) -> None:
        """Do a job, and end it: `Queue.finish`, `retry` or `give_up`."""
        ...


class Worker:
    """Claims jobs of the kinds that it has handlers for, and runs up to `concurrency` at once."""

    def __init__(self, queue: Queue, handlers: Mapping[str, Handler], concurrency: int) -> None:
        self._queue = queue
        self._handlers = dict(handlers)
        self._concurrency = concurrency
        self._running: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Work until `stop`; nothing of it is left running then, nor after a cancellation."""
        try:
            await self._work()
            if self._running:
                await asyncio.wait(self._running)
        finally:
            for task in self._running:
                task.cancel()
            if self._running:
                await asyncio.wait(self._running)

    async def _work(self) -> None:
        waits = delays(0.5, cap=10.0)
        with self._queue.subscribe() as signal:
            while not self._stopping.is_set():
                signal.clear()
                try:
                    found = await self._fill()
                    waits = delays(0.5, cap=10.0)
                except (SQLAlchemyError, OSError) as error:
                    log.error("no jobs can be claimed: %s", error)
                    await self._pause(signal, next(waits))
                    continue
                if not found:
                    await self._pause(signal, LOOK)

    async def stop(self, grace: float) -> None:
        """Claim no more, and finish what is under way in `grace` seconds; what is not done then is
        done again elsewhere when its lease has run out.
        """
        self._stopping.set()
        if self._running:
            await asyncio.wait(self._running, timeout=grace)
        for task in self._running:
            task.cancel()

    async def _fill(self) -> bool:
        """Claim as many jobs as there is room for; tell whether it is worth asking again."""
        room = self._concurrency - len(self._running)
        if room <= 0:
            await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
            return True
        jobs = await self._queue.claim(tuple(self._handlers), limit=room)
        for job in jobs:
            task = asyncio.create_task(self._do(job), name=f"{job.kind} {job.subject_id}")
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return bool(jobs)

    async def _do(self, job: Job) -> None:
        try:
            async with leased(self._queue, job):
                await self._handlers[job.kind].run(job)
        except LeaseLost as error:
            log.warning("%s", error)
        except Exception as error:
            log.exception("%s %s failed", job.kind, job.subject_id)
            with contextlib.suppress(LeaseLost, SQLAlchemyError, OSError):
                after = min(RETRY_CAP, 2.0**job.attempts)
                await self._queue.retry(job, f"{type(error).__name__}: {error}", after)

    async def _pause(self, signal: asyncio.Event, seconds: float) -> None:
        waiting = [asyncio.ensure_future(each.wait()) for each in (signal, self._stopping)]
        try:
            await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waiting:
                each.cancel()


@contextlib.asynccontextmanager
async def leased(queue: Queue, job: Job) -> AsyncIterator[None]:
    """Keep the lease of a job while the block runs; a block whose lease is lost is cancelled, and
    raises `LeaseLost`.
    """
    owner = asyncio.current_task()
    lost = False

    async def renew() -> None:
        nonlocal lost
        while True:
            await asyncio.sleep(LEASE.total_seconds() / 3)
            try:
                await queue.renew(job)
            except LeaseLost:
                lost = True
                if owner is not None:
                    owner.cancel()
                return
            except (SQLAlchemyError, OSError) as error:
                log.warning("the lease of %s %s: %s", job.kind, job.subject_id, error)

    renewing = asyncio.create_task(renew())
    try:
        yield
    except asyncio.CancelledError:
        if lost:
            if owner is not None:
                owner.uncancel()
            raise LeaseLost(job.kind, job.subject_id) from None
        raise
    finally:
        renewing.cancel()
