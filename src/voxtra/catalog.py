"""Where the rows of recordings live: the protocol the recorder writes to, and the one that lives in
memory.

The recorder writes a row before it asks the PBX for anything, and changes it by compare-and-set
only, so that any store that keeps these promises can stand here (the SQL store of the service
does).
"""

from __future__ import annotations

from typing import Protocol

from voxtra.exceptions import RecordingActive
from voxtra.model import Recording

__all__ = ["MemoryRecordingStore", "RecordingStore"]


class RecordingStore(Protocol):
    """Rows of recordings."""

    async def insert(self, recording: Recording) -> None:
        """Add a row; `RecordingActive` when its target has one that has not ended: one at a time
        per target.
        """
        ...

    async def replace(self, old: Recording, new: Recording) -> bool:
        """Put `new` in the place of `old`; False, and nothing changed, when the row is not `old`
        any more.
        """
        ...

    async def get(self, recording_id: str) -> Recording | None:
        """Return a row by id."""
        ...

    async def unfinished(self) -> list[Recording]:
        """Return the rows that an earlier run of this process left unfinished."""
        ...


class MemoryRecordingStore:
    """Rows in memory, gone with the process.

    Only unfinished rows are kept: a finished recording's truth is its file, its sinks and its
    events, and a process that serves calls for a year must not grow by a row for each.
    """

    def __init__(self) -> None:
        self._rows: dict[str, Recording] = {}
        self._by_target: dict[str, str] = {}

    async def insert(self, recording: Recording) -> None:
        """See `RecordingStore.insert`."""
        active = self._by_target.get(recording.target_id)
        if active is not None:
            raise RecordingActive(self._rows[active].name, active)
        self._rows[recording.id] = recording
        self._by_target[recording.target_id] = recording.id

    async def replace(self, old: Recording, new: Recording) -> bool:
        """See `RecordingStore.replace`."""
        if self._rows.get(old.id) != old:
            return False
        if new.state.is_final:
            del self._rows[old.id]
        else:
            self._rows[old.id] = new
        if new.ended_at is not None and self._by_target.get(old.target_id) == old.id:
            del self._by_target[old.target_id]
        return True

    async def get(self, recording_id: str) -> Recording | None:
        """See `RecordingStore.get`."""
        return self._rows.get(recording_id)

    async def unfinished(self) -> list[Recording]:
        """See `RecordingStore.unfinished`: nothing outlives the process here."""
        return []
