"""The recording verbs that a call and a bridge share."""

from __future__ import annotations

from abc import ABC, abstractmethod

from voxtra.exceptions import RecordingError
from voxtra.model import Layout, Recording, RecordingTarget, Subject
from voxtra.record_options import RecordOptions
from voxtra.recorder import Recorder
from voxtra.recording import RecordingSink

__all__ = ["RecordingVerbs"]


class RecordingVerbs(ABC):
    """Start, stop and change the recording of one call or bridge; one is active at a time."""

    __slots__ = ()

    id: str
    default_target: RecordingTarget
    """What is recorded when nobody says what."""

    @abstractmethod
    def _recorder_or_raise(self) -> Recorder:
        """Return the recorder, or raise `RuntimeError` that says what to configure."""

    @abstractmethod
    def _subject(self, target: RecordingTarget) -> Subject:
        """Return what a recording of this target records, and whose it is."""

    @abstractmethod
    async def _beep(self) -> None:
        """Let everybody who is to be recorded hear a tone, and return when it is over."""

    @property
    def recording(self) -> Recording | None:
        """The recording that is active now, as it stands."""
        return self._recorder_or_raise().active(self.id)

    async def record_start(
        self,
        name: str = "",
        fmt: str = "wav",
        *,
        sink: RecordingSink | None = None,
        layout: Layout | str = "",
        target: RecordingTarget | str = "",
        max_duration: int = 0,
        max_silence: int = 0,
        terminate_on: str = "none",
        beep: bool = False,
    ) -> str:
        """Record; return the recording's name when the PBX has really begun.

        `name` becomes the file's name below the recording folder (slashes make sub-folders);
        without one it is a unique id. `layout` is "mono" (both directions mixed, the default) or
        "stereo" (caller left, what the caller hears right; wav and wav16). `target` is "snoop"
        (both directions of this call; goes on through prompts, bridges, hold and transfers),
        "channel" (the caller's voice alone) or "bridge" (the conversation this call is in).
        `max_duration` (24 h at most, the default) and `max_silence` (0: no limit) are whole
        seconds; `terminate_on` ends it by a key: "any" or one of 0-9, A-D, "*", "#" (target
        "channel": "#", "*" or "any"). With `beep` everybody hears a tone before it begins. `sink`
        is told instead of the app's.

        Raises `RecordingActive`, `InvalidRecordingName`, `CallEnded`, `RecordingFailed`, and
        `ValueError` or `ConfigurationError` for a wrong option, before anything reaches the PBX.
        """
        options = RecordOptions(
            name=name,
            fmt=fmt,
            layout=layout or self._recorder_or_raise().default_layout,
            target=target or self.default_target,
            max_duration=max_duration,
            max_silence=max_silence,
            terminate_on=terminate_on,
            beep=beep,
        )
        return (await self.record(options, sink)).name

    async def record(self, options: RecordOptions, sink: RecordingSink | None = None) -> Recording:
        """Do what `record_start` does with options that are a value; return the recording."""
        recorder = self._recorder_or_raise()
        subject = self._subject(options.checked_target)
        if options.beep:
            options.recording(subject, 0)  # what is wrong is said before anybody hears a tone
            await self._beep()
        return await recorder.start(options, subject, sink)

    async def record_stop(self) -> str | None:
        """Stop; return the recording's name when the PBX has finished the file, None when nothing
        is recorded.
        """
        recorder = self._recorder_or_raise()
        active = recorder.active(self.id)
        if active is None:
            return None
        stopped = await recorder.stop(active.id)
        return stopped.name if stopped else None

    async def record_pause(self) -> None:
        """Pause: what is said until `record_resume` is cut out of the file."""
        await self._recorder_or_raise().pause(self._active_id(), on=True)

    async def record_resume(self) -> None:
        """End a pause."""
        await self._recorder_or_raise().pause(self._active_id(), on=False)

    async def record_mute(self) -> None:
        """Mute: what is said until `record_unmute` is silence in the file; times stay true."""
        await self._recorder_or_raise().mute(self._active_id(), on=True)

    async def record_unmute(self) -> None:
        """End muting."""
        await self._recorder_or_raise().mute(self._active_id(), on=False)

    async def record_cancel(self) -> None:
        """Stop and discard: no file is kept and no sink is called."""
        await self._recorder_or_raise().cancel(self._active_id())

    def _active_id(self) -> str:
        active = self._recorder_or_raise().active(self.id)
        if active is None:
            raise RecordingError(f"nothing is recorded on {self.id}; call record_start() first")
        return active.id
