"""The lifecycle of a recording, whole: every change of its state is decided in this file, and
nowhere else.

Rules of this file:

1. It is pure. `advance(recording, change)` returns a new value and the effects that are now due;
   whoever calls it stores the value by compare-and-set and runs the effects only if that won.
2. It does not know who speaks. An event of the PBX, a reconnect, a restart and a clock feed the
   same changes.
3. Changes may come twice, late, in any order or never. The table says for each what it means in
   each state.

`docs/explanation/recording-lifecycle.md` is generated from `TABLE` by
`script/generate-lifecycle-docs`: the picture can't drift from the code.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from voxtra.exceptions import RecordingEnded
from voxtra.model import EndReason, Pause, Recording, RecordingState

__all__ = [
    "TABLE",
    "Cell",
    "Change",
    "Effect",
    "Happening",
    "Step",
    "Verdict",
    "advance",
    "mute",
    "pause",
]


class Happening(StrEnum):
    """What can happen to a recording."""

    STARTED = "started"
    STOP_ASKED = "stop asked"
    FINISHED = "finished"
    FAILED = "failed"
    TARGET_GONE = "target gone"
    START_TIMEOUT = "start timeout"
    INGESTED = "ingested"
    INGEST_FAILED = "ingest failed"


class Effect(StrEnum):
    """What is due after a change."""

    STOP = "stop"
    """Ask the PBX to stop, and verify that it did."""
    CAPTURE = "capture"
    """The PBX has finished the file: verify it, then tell the sinks. Due once in a recording's
    life.
    """
    PROBE = "probe"
    """Read the live and the stored recording on the PBX and feed what is true."""


class Verdict(StrEnum):
    """How a change was taken."""

    MOVED = "moved"
    """It was news: the value changed."""
    KNOWN = "known"
    """A duplicate, or something that no longer matters; effects may still be due."""
    IMPOSSIBLE = "impossible"
    """It can't happen in this state; nothing changes, and it deserves a log line."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of the table: the next state (None keeps the state) and the effects due."""

    to: RecordingState | None = None
    effects: tuple[Effect, ...] = ()
    impossible: bool = False
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """One happening, with what is known about it.

    `at` is when it happened (UTC), `reason` why the recording ended, `cause` the plain words for a
    failure, `facts` what the file itself says (size, seconds, hash ...), merged into
    `Recording.extra`.
    """

    happening: Happening
    at: datetime
    reason: EndReason | None = None
    cause: str = ""
    facts: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """The outcome of `advance`."""

    recording: Recording
    effects: tuple[Effect, ...]
    verdict: Verdict


_KNOWN: Final = Cell()
_IMPOSSIBLE: Final = Cell(impossible=True)
_FAILED: Final = Cell(RecordingState.FAILED)
_OVER: Final = {
    happening: Cell(refused=True) if happening is Happening.STOP_ASKED else _KNOWN
    for happening in Happening
}

TABLE: Final[dict[RecordingState, dict[Happening, Cell]]] = {
    RecordingState.STARTING: {
        Happening.STARTED: Cell(RecordingState.RECORDING),
        Happening.STOP_ASKED: Cell(RecordingState.STOPPING, (Effect.STOP,)),
        Happening.FINISHED: Cell(RecordingState.STOPPING, (Effect.CAPTURE,)),
        Happening.FAILED: _FAILED,
        Happening.TARGET_GONE: Cell(RecordingState.STOPPING, (Effect.PROBE,)),
        # The PBX answered 201 and then never said a word (1 of 60 requests that raced a hang-up).
        # The probe feeds `failed` if there is nothing, `started` or `finished` if we missed the
        # event.
        Happening.START_TIMEOUT: Cell(None, (Effect.PROBE,)),
        Happening.INGESTED: _IMPOSSIBLE,
        Happening.INGEST_FAILED: _IMPOSSIBLE,
    },
    RecordingState.RECORDING: {
        Happening.STARTED: _KNOWN,
        Happening.STOP_ASKED: Cell(RecordingState.STOPPING, (Effect.STOP,)),
        Happening.FINISHED: Cell(RecordingState.STOPPING, (Effect.CAPTURE,)),
        Happening.FAILED: _FAILED,
        Happening.TARGET_GONE: Cell(RecordingState.STOPPING, (Effect.PROBE,)),
        Happening.START_TIMEOUT: _KNOWN,
        Happening.INGESTED: _IMPOSSIBLE,
        Happening.INGEST_FAILED: _IMPOSSIBLE,
    },
    RecordingState.STOPPING: {
        # A stop that overtook the start was lost on the PBX (2 of 20): the recording runs, so ask
        # again.
        Happening.STARTED: Cell(None, (Effect.STOP,)),
        Happening.STOP_ASKED: _KNOWN,
        Happening.FINISHED: Cell(None, (Effect.CAPTURE,)),
        Happening.FAILED: _FAILED,
        Happening.TARGET_GONE: Cell(None, (Effect.PROBE,)),
        Happening.START_TIMEOUT: _KNOWN,
        Happening.INGESTED: Cell(RecordingState.AVAILABLE),
        Happening.INGEST_FAILED: _FAILED,
    },
    RecordingState.AVAILABLE: _OVER,
    RecordingState.FAILED: _OVER,
}


def advance(recording: Recording, change: Change) -> Step:
    """Apply one change to a recording.

    Raises `RecordingEnded` when a stop is asked of a recording that is over; the value is untouched
    then.
    """
    cell = TABLE[recording.state][change.happening]
    if cell.refused:
        raise RecordingEnded(recording.name, recording.state)
    if cell.impossible:
        return Step(recording, (), Verdict.IMPOSSIBLE)
    effects = cell.effects
    if recording.ended_at is not None:
        # The file is finished: there is nothing left to stop, to look for or to capture a second
        # time.
        effects = ()
    new = _noted(recording, change, cell)
    if new == recording:
        return Step(recording, effects, Verdict.KNOWN)
    return Step(replace(new, version=recording.version + 1), effects, Verdict.MOVED)


def pause(recording: Recording, at: datetime, *, on: bool) -> Recording:
    """Return the recording paused or resumed at a moment; the part is noted with its times."""
    if recording.paused is on:
        return recording
    pauses = _marked(recording.pauses, at, on=on, muted=False)
    return replace(recording, paused=on, pauses=pauses, version=recording.version + 1)


def mute(recording: Recording, at: datetime, *, on: bool) -> Recording:
    """Return the recording muted or unmuted at a moment; the part is noted with its times."""
    if recording.muted is on:
        return recording
    pauses = _marked(recording.pauses, at, on=on, muted=True)
    return replace(recording, muted=on, pauses=pauses, version=recording.version + 1)


def _marked(pauses: tuple[Pause, ...], at: datetime, *, on: bool, muted: bool) -> tuple[Pause, ...]:
    """Begin a part, or end the one of its kind that lasts."""
    if on:
        return (*pauses, Pause(at, muted=muted))
    return tuple(
        replace(each, until=at) if each.until is None and each.muted is muted else each
        for each in pauses
    )


def _noted(recording: Recording, change: Change, cell: Cell) -> Recording:
    """Return the recording in its next state, with the facts that the change brings."""
    state = cell.to or recording.state
    if recording.state.is_final or cell == _KNOWN:
        return recording
    started_at, ended_at = recording.started_at, recording.ended_at
    end_reason, cause, extra = recording.end_reason, recording.cause, recording.extra
    if change.happening is Happening.STARTED:
        started_at = started_at or change.at
    elif change.happening is Happening.FINISHED:
        # What has finished has begun: word of its start was lost.
        started_at = started_at or change.at
        ended_at = ended_at or change.at
    # The first reason wins: a stop that was asked for explains the hang-up that follows it.
    end_reason = end_reason or change.reason
    if state is RecordingState.FAILED:
        cause = change.cause or "unknown"
        ended_at = ended_at or change.at
    if change.facts:
        extra = {**extra, **change.facts}
    return replace(
        recording,
        state=state,
        started_at=started_at,
        ended_at=ended_at,
        end_reason=end_reason,
        cause=cause,
        extra=extra,
    )
