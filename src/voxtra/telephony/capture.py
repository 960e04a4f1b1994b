"""The recording plane of ARI: what the PBX does for one recording, from the snoop channel to the
finished file.

A `Capture` is the PBX's side of a recording: one track, or two recorded side by side for stereo.
The plane adds up the tracks' events and reports them as events of the recording. The engine's
behaviour it relies on:

* A channel's own record blocks that channel's command queue and is refused in a bridge, so the
  default is a snoop: a second channel that hears both directions, is driven by a clock and survives
  bridges, hold and transfers.
* A recording asked of a snoop in its first millisecond is refused with 409: its StasisStart is
  awaited.
* RecordingStarted can overtake the reply to the request, so interest is registered first.
* `stop` is lost now and then (2 of 20 right after the start); the reply is 204 all the same. Only
  RecordingFinished counts, so a stop is repeated until it comes.
* A second `mute` un-mutes. The caller of `mute` keeps the state.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, TypeVar

from voxtra.ari import schema
from voxtra.ari.bus import Bus
from voxtra.ari.client import ARIClient
from voxtra.audio.formats import lookup
from voxtra.events import EventType, VoxtraEvent
from voxtra.exceptions import (
    AriError,
    Conflict,
    NotFound,
    RecordingFailed,
    RequestTimeout,
    ServerError,
    TelephonyConnectionError,
)
from voxtra.ids import OWN_PREFIX
from voxtra.model import Layout, Recording, RecordingTarget, Track
from voxtra.telephony.calls import CallPlane
from voxtra.telephony.stored import StoredTracks

__all__ = ["CapturePlane"]

T = TypeVar("T")

log = logging.getLogger(__name__)

START_TIMEOUT: Final = 5.0
"""Seconds from the request to RecordingStarted; seen at most 0.5 s (an unanswered SIP channel
without media).
"""

STOP_WAIT: Final = 1.0
"""Seconds to wait for RecordingFinished before asking again; seen p99 0.37 ms when the stop was not
lost.
"""

STOP_TRIES: Final = 4

NAME_TAKEN: Final = "a recording of this name exists on the PBX; choose another name"


class _Capture:
    """What is known of one recording on the PBX while it runs."""

    __slots__ = ("failed", "finished", "finishing", "hint", "recording", "started", "starting")

    def __init__(self, recording: Recording) -> None:
        loop = asyncio.get_running_loop()
        self.recording = recording
        self.starting = {track.name for track in recording.tracks}
        self.finishing = set(self.starting)
        self.started: asyncio.Future[None] = loop.create_future()
        self.finished: asyncio.Future[None] = loop.create_future()
        self.failed = ""
        self.hint = 0

    def settle(self) -> None:
        """Wake everybody who waits: nothing more will come."""
        for future in (self.started, self.finished):
            if not future.done():
                future.set_result(None)


class CapturePlane:
    """Recordings on Asterisk: starts, stops and watches them."""

    def __init__(self, ari: ARIClient, bus: Bus, calls: CallPlane) -> None:
        self._ari = ari
        self._bus = bus
        self._calls = calls
        self._stored = StoredTracks(ari)
        self._by_track: dict[str, _Capture] = {}
        self._chores: set[asyncio.Task[None]] = set()

    @staticmethod
    def plan(recording: Recording) -> tuple[Track, ...]:
        """Name the tracks and snoop channels of a recording; the same for the same recording, also
        after a restart.
        """
        name = recording.name
        if recording.target is not RecordingTarget.SNOOP:
            return (Track(name),)
        snoop = f"{OWN_PREFIX}snoop-{recording.id}"
        if recording.layout is Layout.STEREO:
            return (
                Track(f"{name}-in", "in", f"{snoop}-in"),
                Track(f"{name}-out", "out", f"{snoop}-out"),
            )
        return (Track(name, "mixed", snoop),)

    async def start(self, recording: Recording) -> None:
        """Record; return when every track has begun. See `BaseTelephonyAdapter.start_capture`."""
        if any(track.name in self._by_track for track in recording.tracks):
            raise RecordingFailed(recording.name, NAME_TAKEN)
        capture = self._watch(recording)
        try:
            # Both snoops first, then both records back to back: the tracks then begin 0.1-2 ms
            # apart.
            await _together(self._open(recording, track) for track in recording.tracks)
            await _together(self._record(recording, track) for track in recording.tracks)
            async with asyncio.timeout(START_TIMEOUT):
                await asyncio.shield(capture.started)
        except (TimeoutError, RequestTimeout):
            # It may have begun with its event or its reply lost: whoever asked finds out, so the
            # tracks stay watched.
            raise
        except BaseException:
            self._release(capture)
            raise
        if capture.failed:
            raise RecordingFailed(recording.name, capture.failed)

    async def stop(self, recording: Recording) -> None:
        """Stop every track and see that it has stopped. See `BaseTelephonyAdapter.stop_capture`."""
        capture = self._watch(recording)
        for attempt in range(STOP_TRIES):
            with contextlib.suppress(TimeoutError):
                # Before it has begun a stop is lost, so wait for the start.
                async with asyncio.timeout(STOP_WAIT):
                    if recording.started_at is None:
                        await asyncio.shield(capture.started)
            gone = await _together(
                self._stop_track(track)
                for track in recording.tracks
                if track.name in capture.finishing
            )
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_WAIT):
                    await asyncio.shield(capture.finished)
            if capture.finished.done() or (gone and all(gone)):
                return
            log.warning(
                "recording %s: stop %d had no effect; asking again", recording.name, attempt + 1
            )
        await self._cut_off(recording)

    def watch(self, recording: Recording) -> None:
        """Tell of the events of a recording that another process began."""
        self._watch(recording)

    async def pause(self, recording: Recording, *, on: bool) -> None:
        """Pause or resume all tracks at the same moment."""
        verb = self._ari.pause_recording if on else self._ari.unpause_recording
        await _together(verb(track.name) for track in recording.tracks)

    async def mute(self, recording: Recording, *, on: bool) -> None:
        """Mute or unmute all tracks at the same moment."""
        verb = self._ari.mute_recording if on else self._ari.unmute_recording
        await _together(verb(track.name) for track in recording.tracks)

    async def cancel(self, recording: Recording) -> None:
        """Stop and discard all tracks."""
        capture = self._watch(recording)
        await _together(self._discard(track) for track in recording.tracks)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_WAIT):
                await asyncio.shield(capture.finished)

    def started(self, live: schema.LiveRecording) -> Iterator[VoxtraEvent]:
        """A track has begun."""
        capture = self._by_track.get(live.name)
        if capture is None or live.name not in capture.starting:
            return
        capture.starting.discard(live.name)
        if not capture.starting:
            if not capture.started.done():
                capture.started.set_result(None)
            yield self._event(EventType.RECORDING_STARTED, capture)

    def finished(self, live: schema.LiveRecording) -> Iterator[VoxtraEvent]:
        """A track's file is complete on disk: Asterisk closes it before it says so."""
        capture = self._by_track.get(live.name)
        if capture is None or live.name not in capture.finishing:
            return
        capture.starting.discard(live.name)
        capture.finishing.discard(live.name)
        capture.hint = max(capture.hint, live.duration or 0)
        if not capture.finishing:
            yield self._event(EventType.RECORDING_FINISHED, capture, duration_hint=capture.hint)
            self._release(capture)

    def failed(self, live: schema.LiveRecording) -> Iterator[VoxtraEvent]:
        """A track did not begin."""
        capture = self._by_track.get(live.name)
        if capture is None:
            return
        capture.failed = live.cause or "Asterisk reported a failure without a cause"
        yield self._event(EventType.RECORDING_FAILED, capture, cause=capture.failed)
        self._release(capture)

    def release(self, recording: Recording) -> None:
        """Stop watching a recording; most were let go by the event of their end."""
        capture = self._watched(recording)
        if capture is not None:
            self._release(capture)

    async def close(self) -> None:
        """Wait for the chores that are under way (hanging up used snoops)."""
        if self._chores:
            await asyncio.gather(*self._chores, return_exceptions=True)

    def _watched(self, recording: Recording) -> _Capture | None:
        """Return what is known of a recording; another one of the same name is not it."""
        captures = (self._by_track.get(track.name) for track in recording.tracks)
        return next((each for each in captures if each and each.recording.id == recording.id), None)

    def _watch(self, recording: Recording) -> _Capture:
        capture = self._watched(recording)
        if capture is None:
            capture = _Capture(recording)
            for track in recording.tracks:
                self._by_track.setdefault(track.name, capture)
        return capture

    def _release(self, capture: _Capture) -> None:
        for track in capture.recording.tracks:
            if self._by_track.get(track.name) is capture:
                del self._by_track[track.name]
            # A snoop dies with its call.
            if track.channel_id and capture.recording.target_id in self._calls:
                self._later(self._hang_up_snoop(track.channel_id))
        capture.settle()

    async def _open(self, recording: Recording, track: Track) -> None:
        """Make the snoop channel of a track and wait until it can be recorded."""
        if not track.channel_id:
            return
        with self._bus.expect(track.channel_id) as inbox:
            await self._ari.snoop_channel(
                recording.target_id,
                spy="both" if track.side == "mixed" else track.side,
                snoop_id=track.channel_id,
            )
            await inbox.wait_for(lambda event: isinstance(event, schema.StasisStart), START_TIMEOUT)

    async def _record(self, recording: Recording, track: Track) -> None:
        try:
            await self._ask_to_record(recording, track)
        except Conflict as error:
            if "already exists" not in error.message:
                raise
            held = await self._stored.probe_track(track)
            if held.live or held.stored:
                raise RecordingFailed(recording.name, NAME_TAKEN) from None
            # Asterisk says the same when another request made the name's folder at the same
            # moment (16 of 450 recordings begun at once in new folders): now the folder is there.
            await self._ask_to_record(recording, track)
        except ServerError as error:
            # Asterisk says no more than 500, here and in its log, when the folder is not there.
            raise RecordingFailed(
                recording.name,
                f"{error}; is the PBX's recording folder there, and writable by it?",
            ) from error

    async def _ask_to_record(self, recording: Recording, track: Track) -> None:
        record: Callable[..., Awaitable[object]] = self._ari.record_channel
        if recording.target is RecordingTarget.BRIDGE:
            record = self._ari.record_bridge
        await record(
            track.channel_id or recording.target_id,
            track.name,
            fmt=lookup(recording.format).name,
            max_duration=recording.max_duration,
            max_silence=recording.max_silence,
            terminate_on=recording.terminate_on
            if recording.target is RecordingTarget.CHANNEL
            else "none",
        )

    async def _stop_track(self, track: Track) -> bool:
        """Ask for a stop; tell whether Asterisk knows the recording no more."""
        try:
            await self._ari.stop_recording(track.name)
        except NotFound:
            return True
        except Conflict:
            # "Not in session": its stop was swallowed and every further one is refused; only the
            # channel's end helps.
            if track.channel_id:
                await self._hang_up_snoop(track.channel_id)
        return False

    async def _cut_off(self, recording: Recording) -> None:
        """The last resort: take the channel away from under the recording (never a caller's)."""
        log.error("recording %s would not stop; hanging up its snoop channels", recording.name)
        for track in recording.tracks:
            if track.channel_id:
                await self._hang_up_snoop(track.channel_id)

    async def _discard(self, track: Track) -> None:
        try:
            await self._ari.cancel_recording(track.name)
        except (NotFound, Conflict):
            # It ended by itself a moment ago: then the file is there and must go.
            with contextlib.suppress(NotFound):
                await self._ari.delete_stored_recording(track.name)

    async def _hang_up_snoop(self, channel_id: str) -> None:
        try:
            await self._ari.hangup_channel(channel_id)
        except NotFound:
            pass
        except (AriError, TelephonyConnectionError) as error:
            log.warning("could not hang up snoop channel %s: %s", channel_id, error)

    def _later(self, chore: Awaitable[None]) -> None:
        task = asyncio.ensure_future(chore)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)

    @staticmethod
    def _event(kind: EventType, capture: _Capture, **data: object) -> VoxtraEvent:
        recording = capture.recording
        return VoxtraEvent(
            kind, recording.call_id, {"recording_id": recording.id, "name": recording.name, **data}
        )


async def _together(awaitables: Iterator[Awaitable[T]]) -> list[T]:
    """Await all; with one, without the price of a task. The first error is raised after all have
    ended.
    """
    pending = list(awaitables)
    if len(pending) == 1:
        return [await pending[0]]
    results = await asyncio.gather(*pending, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]
