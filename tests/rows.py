"""A second store of recordings' rows, as a database behaves and memory does not."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from voxtra.exceptions import RecordingActive
from voxtra.model import Recording


class ContendedStore:
    """Suspends before and after every access, keeps finished rows, and has rivals: for the next
    `rivals` changes somebody else changes the row first.
    """

    def __init__(self, rivals: int = 0) -> None:
        self.rows: dict[str, Recording] = {}
        self.rivals = rivals
        self.lost = 0

    async def insert(self, recording: Recording) -> None:
        """See `RecordingStore.insert`."""
        await asyncio.sleep(0)
        active = self._active(recording.target_id)
        if active is not None:
            raise RecordingActive(active.name)
        self.rows[recording.id] = recording
        await asyncio.sleep(0)

    async def replace(self, old: Recording, new: Recording) -> bool:
        """See `RecordingStore.replace`."""
        await asyncio.sleep(0)
        row = self.rows[old.id]
        if self.rivals > 0:
            self.rivals -= 1
            seen = row.extra.get("rivals", 0)
            assert isinstance(seen, int)
            row = self.rows[old.id] = replace(row, extra={**row.extra, "rivals": seen + 1})
        won = row == old
        if won:
            self.rows[old.id] = new
        else:
            self.lost += 1
        await asyncio.sleep(0)
        return won

    async def get(self, recording_id: str) -> Recording | None:
        """See `RecordingStore.get`."""
        await asyncio.sleep(0)
        return self.rows.get(recording_id)

    def _active(self, target_id: str) -> Recording | None:
        for row in self.rows.values():
            if row.target_id == target_id and row.ended_at is None:
                return row
        return None

    async def unfinished(self) -> list[Recording]:
        """See `RecordingStore.unfinished`."""
        return [row for row in self.rows.values() if not row.state.is_final]
