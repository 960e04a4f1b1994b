"""Recordings: live ones (Asterisk is writing) and stored ones (Asterisk's files)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Final

import msgspec

from voxtra.ari.http import AriHttp, segment
from voxtra.ari.schema import LiveRecording, StoredRecording
from voxtra.exceptions import Conflict, NotFound
from voxtra.names import checked_name

__all__ = ["RecordingVerbs", "record_params"]

_LIVE: Final = msgspec.json.Decoder(LiveRecording)
_STORED: Final = msgspec.json.Decoder(StoredRecording)
_ALL_STORED: Final = msgspec.json.Decoder(list[StoredRecording])


def record_params(
    name: str,
    fmt: str,
    max_duration: int,
    max_silence: int,
    if_exists: str,
    *,
    beep: bool,
    terminate_on: str,
) -> dict[str, object]:
    """Return the parameters of a request to record, for a channel or a bridge."""
    return {
        "name": checked_name(name),
        "format": fmt,
        "maxDurationSeconds": max_duration or None,
        "maxSilenceSeconds": max_silence or None,
        "ifExists": if_exists,
        "beep": beep or None,
        "terminateOn": terminate_on,
    }


def _live(name: str) -> str:
    return f"/recordings/live/{segment(checked_name(name))}"


def _stored(name: str) -> str:
    return f"/recordings/stored/{segment(checked_name(name))}"


class RecordingVerbs(AriHttp):
    """Recordings by name. Every verb raises InvalidRecordingName before anything is sent."""

    async def get_live_recording(self, name: str) -> LiveRecording:
        """Return a recording that has not ended. There is no list of them in ARI."""
        return await self._fetch(_LIVE, "GET", _live(name))

    async def stop_recording(self, name: str) -> None:
        """Ask for the end, keeping the file.

        The answer is no proof, only RecordingFinished is: a stop within 0.3 ms of the start, during
        the beep or of a queued recording is lost. Conflict: only a hang-up helps any more.
        """
        await self._call("POST", f"{_live(name)}/stop")

    async def cancel_recording(self, name: str) -> None:
        """End a recording and remove its file; RecordingFinished says `done` all the same."""
        await self._call("DELETE", _live(name))

    async def pause_recording(self, name: str) -> None:
        """Leave out what comes from now on. Pausing twice is fine."""
        await self._call("POST", f"{_live(name)}/pause")

    async def unpause_recording(self, name: str) -> None:
        """Go on writing."""
        await self._call("DELETE", f"{_live(name)}/pause")

    async def mute_recording(self, name: str) -> None:
        """Write silence from now on. Muting twice un-mutes, so the caller keeps the state."""
        await self._call("POST", f"{_live(name)}/mute", repeat=False)

    async def unmute_recording(self, name: str) -> None:
        """Write sound again; only for a muted recording, for it is a toggle."""
        await self._call("DELETE", f"{_live(name)}/mute")

    async def list_stored_recordings(self) -> list[StoredRecording]:
        """Return every file in the recording folder, recordings under way included."""
        return await self._fetch(_ALL_STORED, "GET", "/recordings/stored")

    async def get_stored_recording(self, name: str) -> StoredRecording:
        """Return name and format of a file; one that is still being written is found as well."""
        return await self._fetch(_STORED, "GET", _stored(name))

    async def copy_stored_recording(self, name: str, destination: str) -> StoredRecording:
        """Copy a file to another name; Conflict when that exists."""
        path, whole = f"{_stored(name)}/copy", checked_name(destination)
        if "." in destination:
            # Asterisk looks for an existing file under the name as sent, then drops what follows
            # the last dot, even one in a folder's name, and writes over what is there.
            whole += ".x"
            with suppress(NotFound):
                await self.get_stored_recording(destination)
                raise Conflict(409, "POST", path, f"{destination} exists already")
        return await self._fetch(_STORED, "POST", path, {"destinationRecordingName": whole})

    async def delete_stored_recording(self, name: str) -> None:
        """Delete a file, even one that is still being written."""
        await self._call("DELETE", _stored(name))

    def stream_stored_recording(self, name: str) -> AsyncGenerator[bytes]:
        """Yield a file in pieces. Raises TelephonyConnectionError when it breaks off."""
        return self._stream(f"{_stored(name)}/file")

    async def download_stored_recording(self, name: str, into: Path) -> int:
        """Write a file to `into`, complete and synced or not at all; returns its bytes."""
        part = into.with_name(f"{into.name}.part")
        size = 0
        async with aclosing(self._stream(f"{_stored(name)}/file")) as chunks:
            chunk = await anext(chunks, b"")
            try:
                with await asyncio.to_thread(part.open, "wb") as file:
                    while chunk:
                        size += file.write(chunk)
                        chunk = await anext(chunks, b"")
                    file.flush()
                    await asyncio.to_thread(os.fsync, file.fileno())
                await asyncio.to_thread(part.replace, into)
            except BaseException:
                part.unlink(missing_ok=True)
                raise
        return size
