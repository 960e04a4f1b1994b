"""What happens to a recording once the PBX has finished its file.

An app by itself verifies the file where it lies and tells the sink (`OnTheSpot`). Under the
recording service the row, written with everything that is due, is all that the recorder leaves:
workers bring the file home and tell the sinks, in this process or another, now or after a restart.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Protocol

from voxtra.lifecycle import Change, Happening
from voxtra.live_recording import LiveRecording
from voxtra.model import EndReason
from voxtra.outcome import captured
from voxtra.recording import deliver
from voxtra.recording_report import metadata_of
from voxtra.spool import Spool
from voxtra.telephony.base import BaseTelephonyAdapter

__all__ = ["Aftermath", "OnTheSpot"]


class Aftermath(Protocol):
    """Who sees a recording through after its end."""

    def taken(self, live: LiveRecording) -> None:
        """A recording is asked for: its sink may be kept."""
        ...

    async def capture(self, live: LiveRecording) -> Change | None:
        """The PBX has finished the file: return what came of it, or None when somebody else sees
        the recording through.
        """
        ...

    async def settle(self, live: LiveRecording) -> None:
        """The recording is available or failed: tell who is to be told."""
        ...

    def abandoned(self, live: LiveRecording) -> Change | None:
        """The process ends before the recording does: return what is true then, or None when it is
        taken up again after the restart.
        """
        ...


class OnTheSpot:
    """Verifies the file in the PBX's folder, tells the sink at once, and forgets."""

    def __init__(self, spool: Spool, adapter: BaseTelephonyAdapter) -> None:
        self._spool = spool
        self._adapter = adapter

    def taken(self, live: LiveRecording) -> None:
        """See `Aftermath.taken`: the live recording itself keeps its sink."""

    async def capture(self, live: LiveRecording) -> Change | None:
        """See `Aftermath.capture`."""
        return await captured(live, self._spool, self._adapter)

    async def settle(self, live: LiveRecording) -> None:
        """See `Aftermath.settle`: of every recording that began and was not cancelled."""
        recording = live.recording
        if live.sink is not None and live.wants_sink:
            path = self._spool.path_of(recording.name, recording.format)
            await deliver(live.sink, metadata_of(recording, path))

    def abandoned(self, live: LiveRecording) -> Change | None:
        """See `Aftermath.abandoned`."""
        path = self._spool.path_of(live.recording.name, live.recording.format)
        cause = (
            f"the PBX did not finish it before the shutdown; what there is of it will be at {path}"
        )
        if live.recording.ended_at is not None:
            cause = f"its file was not verified before the shutdown; it is at {path}"
        return Change(Happening.FAILED, datetime.now(UTC), EndReason.SHUTDOWN, cause)
