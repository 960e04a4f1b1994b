"""What somebody asks of a recording, checked before anything reaches the PBX."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, TypeVar

from voxtra.ids import new_id
from voxtra.model import Layout, Recording, RecordingTarget, Subject
from voxtra.names import DEFAULT_PREFIX, checked_name
from voxtra.spool import check_format

__all__ = ["MAX_DURATION", "RecordOptions"]

MAX_DURATION: Final = 24 * 3600
"""Seconds: the longest recording, and the default. Asterisk ends it up to a second late."""

E = TypeVar("E", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class RecordOptions:
    """What somebody asks of a recording.

    `max_duration` and `max_silence` are whole seconds (0: the default maximum, no silence limit);
    `terminate_on` is "none", "any" or one key. With `beep` everybody on the call hears a tone
    before it begins.
    """

    name: str = ""
    fmt: str = "wav"
    layout: Layout | str = Layout.MONO
    target: RecordingTarget | str = RecordingTarget.SNOOP
    max_duration: int = 0
    max_silence: int = 0
    terminate_on: str = "none"
    beep: bool = False

    @property
    def checked_target(self) -> RecordingTarget:
        """The target; `ValueError` names the valid ones."""
        return _choice(RecordingTarget, self.target, "target")

    def recording(
        self, subject: Subject, default_max: int, prefix: str = DEFAULT_PREFIX
    ) -> Recording:
        """Return the recording asked for, in its first state; without a name of its own it is
        called `<prefix>-<id>`. Raises `ValueError`.
        """
        recording_id = new_id()
        layout, target = _choice(Layout, self.layout, "layout"), self.checked_target
        check_format(self.fmt, layout)
        if layout is Layout.STEREO and target is not RecordingTarget.SNOOP:
            raise ValueError('layout: stereo needs the two sides of one call; use target="snoop"')
        if not 0 <= self.max_duration <= MAX_DURATION:
            raise ValueError(
                f"max_duration: {self.max_duration} is not between 0 and {MAX_DURATION} seconds"
            )
        if self.max_silence < 0:
            raise ValueError(f"max_silence: {self.max_silence} is negative; use 0 for no limit")
        if layout is Layout.STEREO and self.max_silence:
            # The PBX would end each side for itself: the caller's pause would cut the caller off.
            raise ValueError('max_silence: it needs layout="mono"; each side is silent at times')
        self._check_key(target)
        return Recording(
            id=recording_id,
            name=checked_name(self.name) if self.name else f"{prefix}-{recording_id}",
            call_id=subject.call_id,
            target=target,
            target_id=subject.target_id,
            format=self.fmt,
            layout=layout,
            max_duration=self.max_duration or default_max,
            max_silence=self.max_silence,
            terminate_on=self.terminate_on,
            requested_at=datetime.now(UTC),
            holder_id=subject.holder_id,
            conference_id=subject.conference_id,
            tenant_id=subject.tenant_id,
            direction=subject.direction,
            caller=subject.caller,
            callee=subject.callee,
            queue=subject.queue,
            agent=subject.agent,
            tags=subject.tags,
        )

    def _check_key(self, target: RecordingTarget) -> None:
        # A channel's own recording is ended by the PBX, which knows these two; any other by us.
        keys = ("#", "*") if target is RecordingTarget.CHANNEL else tuple("0123456789ABCD*#")
        if self.terminate_on not in ("none", "any", *keys):
            one = " or ".join(map(repr, keys)) if len(keys) == 2 else "one key (0-9, A-D, *, #)"
            raise ValueError(f"terminate_on: {self.terminate_on!r} is not 'none', 'any' or {one}")


def _choice(kind: type[E], value: str, field: str) -> E:
    try:
        return kind(value)
    except ValueError:
        valid = ", ".join(member.value for member in kind)
        raise ValueError(f"{field}: {value!r} is not one of {valid}") from None
