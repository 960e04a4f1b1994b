"""What became of a recording: found out on the PBX or in its file, and said as a change."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Final

from voxtra.exceptions import (
    RecordingFailed,
    TelephonyConnectionError,
    TelephonyError,
    VoxtraError,
)
from voxtra.lifecycle import Change, Happening
from voxtra.live_recording import LiveRecording
from voxtra.model import EndReason, Recording
from voxtra.retry import delays
from voxtra.spool import Finished, Spool
from voxtra.telephony.base import BaseTelephonyAdapter

__all__ = ["HANGUP_WINDOW", "STOPPED_AFTER", "captured", "overdue", "probed"]

log = logging.getLogger(__name__)

EVENT_GRACE: Final = 1.0
"""Seconds for an event that is on its way before the PBX is asked; a snoop's RecordingFinished
follows its call's end after 11 ms.
"""

HANGUP_WINDOW: Final = timedelta(milliseconds=500)
"""How long before the end of its call a recording may have finished and still be taken to have
ended with it.
"""

GUESSED: Final = (EndReason.UNKNOWN, EndReason.SILENCE, EndReason.KEY)
"""Reasons that hold only where the call goes on."""

PROBE_CAP: Final = 30.0
"""Seconds at most between two questions to a PBX that does not answer."""


STOPPED_AFTER: Final = 5.0
"""Seconds after its maximum at which a recording is stopped; Asterisk does it up to one late."""

FAILED_AFTER: Final = 40.0
"""Seconds after its maximum at which a recording that can't be stopped is given up. With a look
every 15 seconds nothing is live a minute after its maximum.
"""


async def probed(live: LiveRecording, adapter: BaseTelephonyAdapter) -> Change | None:
    """Ask the PBX what it holds, until it answers; None when word of the end comes first.

    A recording that runs is said to have started: while one is stopping, that asks for its stop
    again.
    """
    # Of what an earlier run began, no word can be on its way.
    first = 0.0 if live.orphan else EVENT_GRACE
    away = False
    for delay in chain([first], delays(EVENT_GRACE, cap=PROBE_CAP)):
        await asyncio.wait([live.ended], timeout=delay)
        recording = live.recording
        if recording.ended_at is not None:
            return None
        try:
            held = [await adapter.probe_track(track) for track in recording.tracks]
        except (TelephonyError, TimeoutError) as error:
            log.warning("recording %s: the PBX can't be asked: %s", recording.name, error)
            away = True
            continue
        if not away:
            break
        # It was away, perhaps dead: that it began anew is told with the events' connection, which
        # may come back later, and explains what is found here.
        away = False
        await asyncio.wait([live.ended], timeout=PROBE_CAP)
    if any(track.live for track in held):
        return Change(Happening.STARTED, _now())
    if any(track.stored for track in held):
        return live.file_finished(_now())
    begun = recording.started_at is not None
    cause = (
        "the PBX has neither the recording nor a file of it" if begun else "the PBX never began it"
    )
    reason = EndReason.PBX_LOST if live.gap else None
    return Change(Happening.FAILED, _now(), reason, cause, live.loss(0.0))


def overdue(recording: Recording, now: datetime) -> Change | None:
    """Return the end of a recording that has run longer than its maximum: stopped at first, then
    given up; None while there is time. Asterisk ends recordings itself, unless it hangs, or they
    are paused.
    """
    began = recording.started_at or recording.requested_at
    if recording.ended_at is not None or began is None:
        return None
    over = (now - began).total_seconds() - recording.max_duration
    if over > FAILED_AFTER:
        cause = f"the PBX has not ended it {over:.0f} s after its maximum; it is given up"
        return Change(Happening.FAILED, now, EndReason.MAX_DURATION, cause)
    if over > STOPPED_AFTER:
        return Change(Happening.STOP_ASKED, now, EndReason.MAX_DURATION)
    return None


async def captured(live: LiveRecording, spool: Spool, adapter: BaseTelephonyAdapter) -> Change:
    """Verify the file that the PBX has finished, and say what it holds."""
    recording = live.recording
    try:
        finished = await _finished(live, spool, adapter)
    except (VoxtraError, OSError, ValueError, TimeoutError) as error:
        cause = (
            error.cause
            if isinstance(error, RecordingFailed)
            else f"the file can't be used: {error}"
        )
        facts: dict[str, object] = {
            "file_path": str(spool.path_of(recording.name, recording.format)),
            **live.loss(0.0),
        }
        reason = await _end_reason(live, None)
        return Change(Happening.INGEST_FAILED, _now(), reason, cause, facts)
    reason = await _end_reason(live, finished.seconds)
    return Change(Happening.INGESTED, _now(), reason, facts=live.facts(finished))


async def _finished(live: LiveRecording, spool: Spool, adapter: BaseTelephonyAdapter) -> Finished:
    """Make one verified file of a recording, as soon as the PBX that has it can be reached."""
    waits = delays(EVENT_GRACE, cap=PROBE_CAP)
    while True:
        try:
            return await spool.finish(live.recording, adapter, live.hint)
        except TelephonyConnectionError as error:
            log.warning("recording %s: its file is out of reach: %s", live.recording.name, error)
        await asyncio.sleep(next(waits))


async def _end_reason(live: LiveRecording, seconds: float | None) -> EndReason:
    """Return why a recording ended; `seconds` is the length of its file."""
    if live.recording.end_reason is None and live.end_reason(seconds) in GUESSED:
        # Most likely its call has ended: the word of that may come after the file was judged.
        await asyncio.wait([live.target_gone], timeout=HANGUP_WINDOW.total_seconds())
    return live.end_reason(seconds)


def _now() -> datetime:
    return datetime.now(UTC)
