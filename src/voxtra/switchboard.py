"""The calls that are up: each event goes to its call, each new call to its handler, each end to
everybody concerned.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final

from voxtra.conference import Conference
from voxtra.events import EventType, VoxtraEvent
from voxtra.exceptions import CallEnded, DialFailed, VoxtraError
from voxtra.ids import own_id
from voxtra.model import DEFAULT_TENANT, CallDirection, Disposition
from voxtra.recorder import Recorder
from voxtra.retry import delays
from voxtra.router import CallInfo, Router
from voxtra.session import CallSession
from voxtra.telephony.base import BaseTelephonyAdapter
from voxtra.telephony.causes import disposition_of

__all__ = ["Switchboard"]

log = logging.getLogger(__name__)

# Compared by identity: the hash of an enum member is a Python call for every event.
_STARTED: Final = EventType.RECORDING_STARTED
_FINISHED: Final = EventType.RECORDING_FINISHED
_FAILED: Final = EventType.RECORDING_FAILED


class _Door(Enum):
    """What happens to somebody who calls."""

    WAITING = "waiting"
    OPEN = "open"
    CLOSED = "closed"


class Switchboard:
    """The calls of one run of an app.

    Until `open` new calls wait, with all that happens to them meanwhile; after `close` they are
    refused. `unrouted` counts the calls that no handler wanted.
    """

    def __init__(
        self,
        telephony: BaseTelephonyAdapter,
        router: Router,
        recorder: Recorder,
        publish: Callable[[VoxtraEvent], None],
    ) -> None:
        self._telephony = telephony
        self._router = router
        self._recorder = recorder
        self._publish = publish
        self._door = _Door.WAITING
        self._backlog: list[VoxtraEvent] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.sessions: dict[str, CallSession] = {}
        self.conferences: dict[str, Conference] = {}
        self.unrouted = 0

    # -- doors

    def open(self) -> None:
        """Serve the calls that wait, and all that come."""
        self._door = _Door.OPEN
        self._replay()

    def close(self) -> None:
        """Refuse calls from now on, those that wait included."""
        self._door = _Door.CLOSED
        self._replay()

    async def hang_up_all(self, seconds: float) -> None:
        """Hang up every call at once and wait for the ends and their callbacks, for at most
        `seconds`.
        """
        sessions = list(self.sessions.values())
        if not sessions:
            return
        log.info("hanging up %d calls", len(sessions))
        deadline = asyncio.get_running_loop().time() + seconds
        await _all_by(deadline, (self._try("hang up", session.hangup()) for session in sessions))
        await _all_by(deadline, (session.wait_ended() for session in sessions))
        for session in sessions:
            self._end(session, 0, "no word of its end before the shutdown")
        await _all_by(deadline, (session.settled() for session in sessions))
        for session in sessions:
            session.give_up()

    async def cancel_handlers(self) -> None:
        """Cancel the handlers that are still at work."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            # A handler may ignore its cancellation; it is left to itself then.
            await asyncio.wait(self._tasks, timeout=1.0)

    def _replay(self) -> None:
        backlog, self._backlog = self._backlog, []
        for event in backlog:
            self.on_event(event)

    # -- events

    def on_event(self, event: VoxtraEvent) -> None:
        """Take one event of the adapter; synchronous, so that events never overtake each other."""
        kind = event.type
        if kind is _STARTED or kind is _FINISHED or kind is _FAILED:
            self._recorder.on_event(event)
            return
        session = self.sessions.get(event.session_id)
        if session is not None:
            self._advance(session, event)
        elif self._door is _Door.WAITING:
            self._backlog.append(event)
        elif kind is EventType.CALL_STARTED:
            self._begin(event)

    def _begin(self, event: VoxtraEvent) -> None:
        """Somebody calls: find the handler and let it serve the call."""
        data = event.data
        info = CallInfo(
            event.session_id,
            data["caller_id"],
            data["called_number"],
            CallDirection(data["direction"]),
        )
        # Whose call it is must be known with its first event, before a dispatch rule has decided
        # who serves it.
        tenant_id = str(self._router.match(info).metadata.get("tenant", DEFAULT_TENANT))
        session = self._session(
            info.call_id, info.caller_id, info.called_number, info.direction, tenant_id
        )
        self._publish(event)
        if self._door is _Door.CLOSED:
            self._spawn(self._reject(session, "congestion", "the app is stopping"))
        else:
            self._spawn(self._serve(session))

    def _advance(self, session: CallSession, event: VoxtraEvent) -> None:
        kind, data = event.type, event.data
        if kind is EventType.CALL_ENDED:
            never_up = not data.get("answered", True)
            self._end(session, data["cause"], data["reason"], word=event, never_up=never_up)
            return
        self._publish(event)
        if kind is EventType.DTMF_RECEIVED:
            session.digit(data["digit"])
            self._recorder.on_digit(session.id, data["digit"])
            if session.bridge is not None:
                self._recorder.on_digit(session.bridge.id, data["digit"])
        elif kind is EventType.CALL_ANSWERED:
            session.answered(event.age)
        elif kind is EventType.CALL_TRANSFERRED:
            self._replace(session, data["replaced_by"])

    def _end(
        self,
        session: CallSession,
        cause: int,
        reason: str,
        *,
        word: VoxtraEvent | None = None,
        never_up: bool = False,
        disposition: Disposition | None = None,
    ) -> None:
        """A call is over, or never came about; told once, whoever says it first."""
        failed = never_up and session.direction is CallDirection.OUTBOUND
        self.sessions.pop(session.id, None)
        if not session.ended(cause, reason, failed=failed, ago=word.age if word else 0.0):
            return
        at = word.timestamp if word else datetime.now(UTC)
        self._recorder.on_target_gone(session.id, at)
        data: dict[str, Any] = {"cause": cause, "reason": reason}
        if failed:
            kind = EventType.CALL_FAILED
            data["disposition"] = (disposition or disposition_of(cause)).value
        else:
            kind = EventType.CALL_ENDED
            data["duration_seconds"] = round(session.duration, 3)
        self._publish(VoxtraEvent(kind, session.id, data, timestamp=at))

    def _replace(self, session: CallSession, channel_id: str) -> None:
        """A phone transferred its call: another leg stands in its place."""
        new = self._session(
            channel_id,
            session.caller_id,
            session.called_number,
            CallDirection.OUTBOUND,
            session.tenant_id,
        )
        new.answered()
        new.park()
        if session.bridge is not None:
            session.bridge.replace(session, new)

    # -- calls

    def _session(
        self,
        call_id: str,
        caller_id: str,
        called_number: str,
        direction: CallDirection,
        tenant_id: str,
    ) -> CallSession:
        session = CallSession(
            channel_id=call_id,
            caller_id=caller_id,
            called_number=called_number,
            direction=direction,
            telephony=self._telephony,
            recorder=self._recorder,
            dialler=self.dial,
            tenant_id=tenant_id,
        )
        self.sessions[call_id] = session
        return session

    def serve(self, session: CallSession, extension: str) -> None:
        """Have a call of ours that was answered served like one that came for an extension."""
        self._spawn(self._serve(session, extension))

    async def conference(
        self,
        name: str = "",
        *,
        tenant_id: str = DEFAULT_TENANT,
        metadata: Mapping[str, Any] | None = None,
    ) -> Conference:
        """Make a conference, which lasts until it is closed."""
        made = Conference(
            self._telephony,
            self._recorder,
            self._publish,
            name=name,
            tenant_id=tenant_id,
            metadata=metadata,
        )
        # Whose it is must be known with its first event.
        self.conferences[made.id] = made
        try:
            await made.begin()
        except BaseException:
            del self.conferences[made.id]
            raise
        self._spawn(self._forget(made))
        return made

    async def resume_conference(self, conference_id: str, name: str, tenant_id: str) -> bool:
        """Take over a conference of an earlier run; False when the PBX has it no more."""
        members = await self._telephony.bridge_members(conference_id)
        if members is None:
            return False
        known = Conference(
            self._telephony,
            self._recorder,
            self._publish,
            name=name,
            tenant_id=tenant_id,
            conference_id=conference_id,
        )
        self.conferences[known.id] = known
        known.resume([self.sessions[each] for each in members if each in self.sessions])
        self._spawn(self._forget(known))
        return True

    async def close_conferences(self) -> None:
        """End all conferences."""
        await asyncio.gather(*(each.close() for each in list(self.conferences.values())))

    async def _forget(self, conference: Conference) -> None:
        await conference.wait()
        self.conferences.pop(conference.id, None)

    async def _serve(self, session: CallSession, extension: str = "") -> None:
        info = CallInfo(
            session.id,
            session.caller_id,
            extension or session.called_number,
            session.direction,
        )
        match = await self._router.select(info)
        if match.handler is None:
            self.unrouted += 1
            log.warning("no handler for the call of %r to %r", info.caller_id, info.called_number)
            await self._reject(session, "unallocated", "no handler for it")
            return
        session.metadata.update(match.metadata)
        try:
            await match.handler(session)
        except CallEnded:
            log.debug("the handler of call %s ended with the call", session.id)
        except Exception as error:
            log.exception("the handler of call %s failed", session.id)
            data = {"error_type": type(error).__name__, "message": str(error)}
            self._publish(VoxtraEvent(EventType.ERROR, session.id, data))
        finally:
            await self._let_go(session)

    async def _reject(self, session: CallSession, reason: str, why: str) -> None:
        data = {"reason": why, "disposition": Disposition.REJECTED.value}
        self._publish(VoxtraEvent(EventType.CALL_FAILED, session.id, data))
        await self._try("reject", session.hangup(reason))
        await self._let_go(session)

    async def dial(
        self,
        endpoint: str,
        *,
        caller_id: str,
        timeout: float,
        variables: Mapping[str, str] | None,
        origin: CallSession | None = None,
        call_id: str = "",
        tenant_id: str = DEFAULT_TENANT,
    ) -> CallSession:
        """Call somebody and return the call when it is answered.

        With `origin` it is that call's transfer: the new call has no other purpose than their
        conversation. A `call_id` can be chosen (`voxtra.ids.own_id`), to follow the call from its
        first moment. Raises `DialFailed`, and `RuntimeError` when the app is stopping.
        """
        for name, value in (("endpoint", endpoint), ("caller_id", caller_id)):
            if not value.isprintable():
                # They go into SIP headers as they are: a new line there begins another header.
                raise ValueError(f"{name}: {value!r} has control characters")
        if self._door is _Door.CLOSED:
            raise RuntimeError("The app is stopping: it calls nobody any more")
        session = self._session(
            call_id or own_id("call"),
            caller_id,
            endpoint,
            CallDirection.OUTBOUND,
            origin.tenant_id if origin is not None else tenant_id,
        )
        data = {"caller_id": caller_id, "called_number": endpoint, "direction": "outbound"}
        self._publish(VoxtraEvent(EventType.CALL_STARTED, session.id, data))
        try:
            await self._telephony.originate(
                endpoint,
                call_id=session.id,
                caller_id=caller_id,
                timeout=timeout,
                variables=variables,
            )
        except BaseException as error:
            known = error if isinstance(error, DialFailed) else None
            self._end(
                session,
                known.cause if known else 0,
                _why_not(error),
                never_up=True,
                disposition=Disposition(known.disposition) if known else None,
            )
            raise
        session.answered()
        if origin is not None:
            session.park()
            session.metadata["transferred_from"] = origin.id
            data = {"target": endpoint, "transferred_to": session.id}
            self._publish(VoxtraEvent(EventType.CALL_TRANSFERRED, origin.id, data))
        return session

    async def _let_go(self, session: CallSession) -> None:
        """Hang up a call whose handler is done, as often as it takes: it would stay up unheard."""
        for delay in delays(0.5, cap=30.0):
            try:
                await session.release()
                return
            except VoxtraError as error:
                log.warning("call %s could not be hung up: %s", session.id, error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await session.wait_ended()

    async def _try(self, verb: str, work: Awaitable[object]) -> None:
        try:
            await work
        except VoxtraError as error:
            log.warning("could not %s a call: %s", verb, error)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._reap)

    def _reap(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("serving a call failed", exc_info=task.exception())


def _why_not(error: BaseException) -> str:
    """Return in plain words why a dial came to nothing."""
    if isinstance(error, DialFailed):
        return error.disposition.replace("_", " ")
    if isinstance(error, asyncio.CancelledError):
        return "given up by the caller"
    return str(error) or type(error).__name__


async def _all_by(deadline: float, works: Any) -> None:
    """Do all works at once until a deadline of the loop's clock; what is not done then is
    cancelled.
    """
    tasks = [asyncio.ensure_future(work) for work in works]
    left = max(0.0, deadline - asyncio.get_running_loop().time())
    _, late = await asyncio.wait(tasks, timeout=left)
    for task in late:
        task.cancel()
