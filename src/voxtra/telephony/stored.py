"""What the PBX has stored, over HTTP alone: for a process that takes no calls."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from voxtra.ari.client import ARIClient
from voxtra.exceptions import NotFound
from voxtra.model import Track
from voxtra.telephony.base import TrackStatus

__all__ = ["StoredTracks"]


class StoredTracks:
    """The files of one Asterisk; who gives the client has opened it, and closes it."""

    def __init__(self, ari: ARIClient) -> None:
        self._ari = ari

    async def probe_track(self, track: Track) -> TrackStatus:
        """Tell what the PBX holds of a track."""
        try:
            # A live recording answers as stored, too, so live is asked first.
            live = await self._ari.get_live_recording(track.name)
        except NotFound:
            try:
                await self._ari.get_stored_recording(track.name)
            except NotFound:
                return TrackStatus(live=False, stored=False)
            return TrackStatus(live=False, stored=True)
        return TrackStatus(live=live.state not in ("done", "failed", "canceled"), stored=True)

    async def fetch_track(self, track: Track, into: Path) -> None:
        """Copy a finished track's file to a local path."""
        await self._ari.download_stored_recording(track.name, into)

    async def delete_track(self, track: Track) -> None:
        """Delete a finished track's file; one that is gone already is a success."""
        with suppress(NotFound):
            await self._ari.delete_stored_recording(track.name)
