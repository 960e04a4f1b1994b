"""Conferences: conversations that last until they are ended, whoever is in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from voxtra.bridge import Bridge
from voxtra.events import EventType, VoxtraEvent
from voxtra.exceptions import ConferenceEmpty
from voxtra.ids import own_id
from voxtra.model import DEFAULT_TENANT, EndReason, RecordingTarget, Subject
from voxtra.recorder import Recorder
from voxtra.telephony.base import BaseTelephonyAdapter

if TYPE_CHECKING:
    from voxtra.session import CallSession

__all__ = ["Conference"]


class Conference(Bridge):
    """A conversation of any number of calls, none included; `close` ends it.

    `close` finishes its recording, lets the calls go on by themselves and destroys the bridge. Who
    joins and leaves is published. It is recorded as a whole, everybody mixed.
    """

    def __init__(
        self,
        adapter: BaseTelephonyAdapter,
        recorder: Recorder | None,
        publish: Callable[[VoxtraEvent], None],
        *,
        name: str = "",
        tenant_id: str = DEFAULT_TENANT,
        conference_id: str = "",
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        made = conference_id or own_id("conference")
        super().__init__(
            adapter, recorder, Subject(made, "", made, conference_id=made, tenant_id=tenant_id)
        )
        self.id = made
        self.name = name
        self.tenant_id = tenant_id
        self.metadata = dict(metadata or {})
        self._publish = publish

    async def begin(self) -> None:
        """Make it on the PBX."""
        await self._adapter.create_bridge(self.id)
        self._tell(EventType.CONFERENCE_STARTED, name=self.name)

    def resume(self, members: list[CallSession]) -> None:
        """Take it over as the PBX has it, after a restart of this process."""
        for session in members:
            self._enter(session)

    def _enter(self, session: CallSession) -> None:
        super()._enter(session)
        self._tell(EventType.CONFERENCE_JOINED, call_id=session.id)

    def _forget(self, session: CallSession) -> bool:
        was_in = super()._forget(session)
        if was_in:
            self._tell(EventType.CONFERENCE_LEFT, call_id=session.id)
        return was_in

    async def _close(self, reason: EndReason) -> None:
        try:
            await super()._close(reason)
        finally:
            # Here, and not in `close`: who asked for it may be gone before it is done.
            self._tell(EventType.CONFERENCE_ENDED)

    def _end_if_alone(self) -> None:
        """It lasts."""

    def _subject(self, target: RecordingTarget) -> Subject:
        subject = super()._subject(target)
        if not self.members:
            raise ConferenceEmpty(self.id)
        return subject

    def _tell(self, kind: EventType, **data: object) -> None:
        self._publish(VoxtraEvent(kind, self.id, data))
