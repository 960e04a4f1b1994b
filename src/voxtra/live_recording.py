"""A recording that this process has in hand: its value, and what is known beside it until it is
settled.
"""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import datetime

from voxtra.lifecycle import Change, Happening
from voxtra.model import EndReason, Recording, RecordingTarget
from voxtra.recording import RecordingSink
from voxtra.spool import Finished
from voxtra.telephony.base import Gap

__all__ = ["LiveRecording"]


class LiveRecording:
    """One recording between its request and its sink.

    `orphan`: an earlier run of this process began it, and nobody has asked for it in this one.
    `hint` is the duration the PBX reported (seconds). `target_gone` is set when the call ended with
    it, `ended` when the PBX has finished the file, `settled` when the sink has been told. `lock` is
    held while a live operation is carried out, `writing` while the row is changed.
    """

    __slots__ = (
        "applying",
        "cancelled",
        "changes",
        "effects",
        "ended",
        "gap",
        "hint",
        "lock",
        "mute_unknown",
        "orphan",
        "pause_unknown",
        "recording",
        "settled",
        "sink",
        "target_gone",
        "writing",
    )

    def __init__(self, recording: Recording, sink: RecordingSink | None) -> None:
        loop = asyncio.get_running_loop()
        self.recording = recording
        self.orphan = False
        self.sink = sink
        self.changes: deque[Change] = deque()
        self.applying: asyncio.Task[None] | None = None
        self.effects: set[asyncio.Task[None]] = set()
        self.ended: asyncio.Future[None] = loop.create_future()
        self.settled: asyncio.Future[None] = loop.create_future()
        self.lock = asyncio.Lock()
        self.writing = asyncio.Lock()
        self.cancelled = False
        self.mute_unknown = self.pause_unknown = False
        self.target_gone: asyncio.Future[None] = loop.create_future()
        self.hint = 0
        self.gap: Gap | None = None

    def note_target_gone(self) -> None:
        """The call or bridge that was recorded ended together with the recording."""
        if not self.target_gone.done():
            self.target_gone.set_result(None)

    @property
    def wants_sink(self) -> bool:
        """Whether somebody has to be told how it ended: of a recording that began and was not
        cancelled.
        """
        return (
            self.sink is not None and self.recording.started_at is not None and not self.cancelled
        )

    def file_finished(self, at: datetime) -> Change:
        """Return the change for a file that the PBX has finished."""
        if self.cancelled:
            return Change(Happening.FAILED, at, EndReason.CANCELLED, "cancelled")
        if self.gap is not None:
            return Change(Happening.FINISHED, self.gap.lost_at, EndReason.PBX_LOST)
        return Change(Happening.FINISHED, at)

    def end_reason(self, seconds: float | None) -> EndReason:
        """Return why it ended if nobody asked for a stop; `seconds` is the length of the file."""
        recording = self.recording
        if self.gap is not None:
            return EndReason.PBX_LOST
        if seconds is not None and seconds >= recording.max_duration:
            return EndReason.MAX_DURATION
        # A bridge's recording ends by itself when the last one leaves.
        if self.target_gone.done() or recording.target is RecordingTarget.BRIDGE:
            return EndReason.HANGUP
        if recording.max_silence:
            return EndReason.SILENCE
        if recording.terminate_on != "none":
            return EndReason.KEY
        return EndReason.UNKNOWN

    def facts(self, finished: Finished) -> dict[str, object]:
        """Return what the file says, and how much of the call it lacks when the PBX was lost."""
        seconds = finished.seconds if finished.seconds is not None else float(self.hint)
        facts: dict[str, object] = {
            "file_path": str(finished.path),
            "duration_seconds": round(seconds, 3),
        }
        if finished.size is not None:
            facts |= {
                "size": finished.size,
                "sha256": finished.sha256,
                "samples": finished.samples,
                "sample_rate": finished.sample_rate,
                "channels": finished.channels,
                "repaired": finished.repaired,
            }
        return facts | self.loss(seconds)

    def loss(self, seconds: float) -> dict[str, object]:
        """Return how many seconds of the call a file of `seconds` lacks, when the PBX was lost."""
        if self.gap is None or self.recording.started_at is None:
            return {}
        wall = (self.gap.lost_at - self.recording.started_at).total_seconds()
        return {"lost_seconds": round(max(0.0, wall - seconds), 3)}
