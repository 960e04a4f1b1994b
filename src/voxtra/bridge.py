"""Conversations: calls that hear each other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from voxtra.exceptions import CallEnded, NotFound, VoxtraError
from voxtra.ids import own_id
from voxtra.model import EndReason, RecordingTarget, Subject
from voxtra.recorder import Recorder
from voxtra.recording_verbs import RecordingVerbs
from voxtra.telephony.base import BaseTelephonyAdapter

if TYPE_CHECKING:
    from voxtra.session import CallSession

__all__ = ["BEEP", "Bridge"]

log = logging.getLogger(__name__)


BEEP: Final = "sound:beep"
"""The tone before a recording; every Asterisk has it."""


class Bridge(RecordingVerbs):
    """A conversation of two or more calls; it is over when fewer than two are left.

    Its end is always: stop the recording, wait until its file is finished, then destroy. Asterisk
    says nothing about the end of a recording whose bridge was destroyed under it.
    """

    default_target = RecordingTarget.BRIDGE

    def __init__(
        self, adapter: BaseTelephonyAdapter, recorder: Recorder | None, owner: Subject
    ) -> None:
        self.id = own_id("bridge")
        self._adapter = adapter
        self._recorder = recorder
        self._owner = owner
        self._members: dict[str, CallSession] = {}
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._closing: asyncio.Task[None] | None = None

    def __str__(self) -> str:
        return self.id

    @property
    def members(self) -> tuple[CallSession, ...]:
        """The calls in the conversation."""
        return tuple(self._members.values())

    @property
    def is_over(self) -> bool:
        """Whether the conversation has ended, or is ending."""
        return self._closing is not None

    async def open(self, *sessions: CallSession) -> None:
        """Make the bridge and put the calls in. Raises `CallEnded` for one that is gone; the others
        are free then.
        """
        try:
            await self._adapter.create_bridge(self.id)
            await self._take(*sessions)
        except BaseException:
            await asyncio.shield(self.close())
            raise

    async def add(self, session: CallSession) -> None:
        """Put a call in; it leaves the conversation it was in. Raises `NotFound` when this one is
        over, `CallEnded` when the call is.
        """
        if self.is_over:
            raise self._is_over_error("addChannel")
        if session.bridge is not self:
            await self._take(session)

    async def remove(self, session: CallSession) -> None:
        """Take a call out; it goes on by itself, or ends when its handler is done."""
        if not self._forget(session):
            return
        try:
            await self._let_go(session)
        finally:
            self._end_if_alone()

    async def give(self, session: CallSession) -> None:
        """Take a call out for another purpose, which it has even when its handler is done."""
        self.left(session)
        await self._adapter.bridge_remove(self.id, session.id)

    def replace(self, old: CallSession, new: CallSession) -> None:
        """A call has taken another's place on the PBX (a phone transferred it)."""
        if self._forget(old):
            old.parted(self)
            self._enter(new)

    def left(self, session: CallSession) -> None:
        """A member hung up, or goes elsewhere."""
        if self._forget(session):
            session.parted(self)
            self._end_if_alone()

    async def wait(self) -> None:
        """Return when the conversation is over."""
        await asyncio.shield(self._over)

    async def close(self) -> None:
        """End the conversation: finish its recording, let the calls go and destroy the bridge."""
        self._begin_to_close(EndReason.STOPPED)
        await self.wait()

    async def _take(self, *sessions: CallSession) -> None:
        """Put calls in, out of the conversations they were in."""
        before = [(session.bridge, session) for session in sessions]
        # All leave before one comes in: a conversation that they leave together does not end one
        # of them.
        for bridge, session in before:
            if bridge is not None:
                bridge.left(session)
        try:
            for bridge, session in before:
                if bridge is not None:
                    await self._adapter.bridge_remove(bridge.id, session.id)
                await self._put_in(session)
        except BaseException:
            for session in sessions:
                if session.is_unclaimed:
                    await asyncio.shield(_try(session.hangup()))
            raise

    async def _put_in(self, session: CallSession) -> None:
        await self._adapter.bridge_add(self.id, session.id)
        if session.state.is_final or self.is_over:
            raise CallEnded(
                session.id, session.end_reason or "the other side left the conversation"
            )
        if session.bridge is not None:
            # Two conversations took it at the same time; on the PBX it is in the later one.
            session.bridge.left(session)
        self._enter(session)

    def _enter(self, session: CallSession) -> None:
        """A call is in from now on."""
        self._members[session.id] = session
        session.joined(self)

    def _forget(self, session: CallSession) -> bool:
        """A call is in no longer; tell whether it was."""
        return self._members.pop(session.id, None) is not None

    def _end_if_alone(self) -> None:
        if len(self._members) < 2:
            self._begin_to_close(EndReason.HANGUP)

    def _begin_to_close(self, reason: EndReason) -> None:
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(reason))

    async def _close(self, reason: EndReason) -> None:
        try:
            active = self._recorder.active(self.id) if self._recorder else None
            if self._recorder is not None and active is not None:
                await self._recorder.stop(active.id, reason)
        except VoxtraError as error:
            log.warning("bridge %s: its recording could not be stopped: %s", self.id, error)
        try:
            for session in self.members:
                if self._forget(session):
                    await _try(self._let_go(session))
            await _try(self._adapter.destroy_bridge(self.id))
        finally:
            self._over.set_result(None)

    async def _let_go(self, session: CallSession) -> None:
        """Take a call out of the bridge; hang up one that nobody else has a purpose for."""
        if session.parted(self):
            await session.hangup()
        else:
            await self._adapter.bridge_remove(self.id, session.id)

    def _is_over_error(self, verb: str) -> NotFound:
        return NotFound(404, "POST", f"/bridges/{self.id}/{verb}", "the conversation is over")

    def _recorder_or_raise(self) -> Recorder:
        if self._recorder is None:
            raise RuntimeError("No recorder: a bridge is recorded inside a running VoxtraApp")
        return self._recorder

    def _subject(self, target: RecordingTarget) -> Subject:
        if target is not RecordingTarget.BRIDGE:
            raise ValueError(
                f'target: a bridge is recorded as a whole; use target="bridge", not "{target}"'
            )
        if self.is_over:
            raise self._is_over_error("record")
        return replace(self._owner, holder_id=self.id, target_id=self.id)

    async def _beep(self) -> None:
        await asyncio.gather(
            *(session.play_file(BEEP) for session in self.members), return_exceptions=True
        )


async def _try(work: Awaitable[None]) -> None:
    """Await work; its failure keeps nothing else from being done."""
    try:
        await work
    except (VoxtraError, TimeoutError) as error:
        log.warning("a call could not be let go, or a bridge destroyed: %s", error)
