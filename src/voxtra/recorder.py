"""The recorder owns every live recording: it writes the row before the request, advances it by the
lifecycle's table, and sees each one through to a verified file and its sink, whatever ends the
call, the connection or the process.

Changes of one recording are applied one after another; those of different recordings side by side.
Effects (stop, probe, capture) run as tasks and feed their outcome back as further changes.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from voxtra.catalog import MemoryRecordingStore, RecordingStore
from voxtra.events import EventType, VoxtraEvent
from voxtra.exceptions import (
    AriError,
    CallEnded,
    NotFound,
    RecordingActive,
    RecordingEnded,
    RecordingError,
    RecordingFailed,
    TelephonyError,
    VoxtraError,
)
from voxtra.ids import new_id
from voxtra.lifecycle import Change, Effect, Happening, Verdict, advance
from voxtra.model import EndReason, Layout, Recording, RecordingState, RecordingTarget
from voxtra.names import checked_name
from voxtra.recording import RecordingMetadata, RecordingSink, deliver
from voxtra.spool import Finished, Spool, check_format
from voxtra.telephony.base import BaseTelephonyAdapter, Gap

__all__ = ["MAX_DURATION", "RecordOptions", "Recorder"]

log = logging.getLogger(__name__)

MAX_DURATION: Final = 24 * 3600
"""Seconds: the longest recording there is, and the default. Asterisk ends it up to a second late."""

EVENT_GRACE: Final = 1.0
"""Seconds for an event that is on its way before the PBX is asked; a snoop's RecordingFinished
follows its call's end after 11 ms.
"""

HANGUP_WINDOW: Final = timedelta(milliseconds=500)
"""How long before the end of its call a recording may have finished and still be taken to have
ended with it.
"""

STOP_DEADLINE: Final = 20.0
"""Seconds after which `stop` gives its caller an error instead of waiting on; the recording is
still seen through.
"""


@dataclass(frozen=True, slots=True)
class RecordOptions:
    """What somebody asks of a recording; checked here, before anything reaches the PBX.

    `max_duration` and `max_silence` are whole seconds (0: the default maximum, no silence limit);
    `terminate_on` is "none", "any", "#" or "*".
    """

    name: str = ""
    fmt: str = "wav"
    layout: Layout | str = Layout.MONO
    target: RecordingTarget | str = RecordingTarget.SNOOP
    max_duration: int = 0
    max_silence: int = 0
    terminate_on: str = "none"

    @property
    def checked_target(self) -> RecordingTarget:
        """The target; `ValueError` names the valid ones."""
        return _choice(RecordingTarget, self.target, "target")

    def recording(self, call_id: str, target_id: str, default_max: int) -> Recording:
        """Return the recording asked for, in its first state."""
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
        if self.terminate_on not in ("none", "any", "#", "*"):
            raise ValueError(
                f'terminate_on: {self.terminate_on!r} is not one of "none", "any", "#", "*"'
            )
        return Recording(
            id=recording_id,
            name=checked_name(self.name) if self.name else f"voxtra-{recording_id}",
            call_id=call_id,
            target=target,
            target_id=target_id,
            format=self.fmt,
            layout=layout,
            max_duration=self.max_duration or default_max,
            max_silence=self.max_silence,
            terminate_on=self.terminate_on,
            requested_at=_now(),
        )


class _Live:
    """A recording that this process has in hand."""

    __slots__ = (
        "applying",
        "cancelled",
        "changes",
        "effects",
        "ended",
        "gap",
        "hint",
        "holder_id",
        "lock",
        "recording",
        "settled",
        "sink",
        "target_gone",
    )

    def __init__(self, recording: Recording, holder_id: str, sink: RecordingSink | None) -> None:
        loop = asyncio.get_running_loop()
        self.recording = recording
        self.holder_id = holder_id
        self.sink = sink
        self.changes: deque[Change] = deque()
        self.applying: asyncio.Task[None] | None = None
        self.ended: asyncio.Future[None] = loop.create_future()
        self.settled: asyncio.Future[None] = loop.create_future()
        self.lock = asyncio.Lock()
        self.effects: set[asyncio.Task[None]] = set()
        self.cancelled = False
        self.target_gone = False
        self.hint = 0
        self.gap: Gap | None = None


class Recorder:
    """Starts, changes and finishes recordings on any telephony adapter that can record."""

    def __init__(
        self,
        adapter: BaseTelephonyAdapter,
        spool: Spool,
        publish: Callable[[VoxtraEvent], None],
        *,
        default_sink: RecordingSink | None = None,
        default_layout: Layout | str = Layout.MONO,
        default_max_duration: int = MAX_DURATION,
        store: RecordingStore | None = None,
    ) -> None:
        self._adapter = adapter
        self._spool = spool
        self._publish = publish
        self.default_layout = default_layout
        self._default_max_duration = default_max_duration or MAX_DURATION
        self._default_sink = default_sink
        self._store: RecordingStore = store or MemoryRecordingStore()
        self._live: dict[str, _Live] = {}
        self._by_holder: dict[str, list[_Live]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    # -- verbs

    async def start(
        self,
        options: RecordOptions,
        *,
        holder_id: str,
        call_id: str,
        target_id: str,
        sink: RecordingSink | None = None,
    ) -> Recording:
        """Record; return when the PBX has really begun.

        `holder_id` is the call or bridge whose one active recording it is. Raises `RecordingActive`
        when the target is being recorded, `CallEnded` when it is gone, `RecordingFailed` with the
        cause otherwise.
        """
        recording = options.recording(call_id, target_id, self._default_max_duration)
        active = self.active(holder_id)
        if active is not None:
            raise RecordingActive(active.name)
        recording = replace(recording, tracks=self._adapter.plan_capture(recording))
        live = self._take(recording, holder_id, sink if sink is not None else self._default_sink)
        try:
            await self._store.insert(recording)
        except BaseException:
            self._drop(live)
            raise
        try:
            await self._adapter.start_capture(recording)
        except TimeoutError:
            # It may have begun with its event lost: the probe finds out before anybody is told.
            self._feed(live, Change(Happening.START_TIMEOUT, _now()))
            await self._quiet(live)
        except RecordingFailed as error:
            await self._fail(live, error.cause)
        except NotFound:
            await self._fail(live, "the call ended before the recording began")
            raise CallEnded(call_id) from None
        except VoxtraError as error:
            await self._fail(live, str(error))
            raise RecordingFailed(recording.name, str(error)) from error
        except asyncio.CancelledError:
            self._feed(live, Change(Happening.STOP_ASKED, _now(), EndReason.STOPPED))
            raise
        await self._applied(live)
        if live.recording.started_at is None:
            raise RecordingFailed(
                recording.name, live.recording.cause or "it was stopped before it began"
            )
        return live.recording

    async def stop(
        self, recording_id: str, reason: EndReason = EndReason.STOPPED
    ) -> Recording | None:
        """Stop; return the recording when the PBX has finished its file, None when there is nothing
        to stop.

        Any number of callers may stop the same recording at once; all return together.
        """
        live = self._live.get(recording_id)
        if live is None:
            return None
        self._feed(live, Change(Happening.STOP_ASKED, _now(), reason))
        try:
            async with asyncio.timeout(STOP_DEADLINE):
                await asyncio.shield(live.ended)
        except TimeoutError:
            raise RecordingError(
                f"recording {live.recording.name} has not stopped after {STOP_DEADLINE:g} s; "
                "the PBX does not answer, and it is stopped when it does"
            ) from None
        return live.recording

    async def pause(self, recording_id: str, *, on: bool) -> None:
        """Pause or resume: the paused part is not in the file. Doing it twice changes nothing."""
        live = self._running(recording_id)
        async with live.lock:
            if live.recording.paused is on:
                return
            await self._change(live, self._adapter.pause_capture(live.recording, on=on), paused=on)
        kind = EventType.RECORDING_PAUSED if on else EventType.RECORDING_RESUMED
        self._publish(self._event(kind, live.recording))

    async def mute(self, recording_id: str, *, on: bool) -> None:
        """Mute or unmute: the muted part is silence in the file. Doing it twice changes nothing (on
        Asterisk it would).
        """
        live = self._running(recording_id)
        async with live.lock:
            if live.recording.muted is not on:
                await self._change(
                    live, self._adapter.mute_capture(live.recording, on=on), muted=on
                )

    async def cancel(self, recording_id: str) -> None:
        """Stop and discard: no file is kept and no sink is called."""
        live = self._running(recording_id)
        live.cancelled = True
        try:
            await self._adapter.cancel_capture(live.recording)
        except BaseException:
            live.cancelled = False
            raise
        await self._fail(live, "cancelled", EndReason.CANCELLED)

    def active(self, holder_id: str) -> Recording | None:
        """Return the recording of a call or bridge that has not ended."""
        for live in self._by_holder.get(holder_id, ()):
            if live.recording.ended_at is None:
                return live.recording
        return None

    # -- what is fed in

    def on_event(self, event: VoxtraEvent) -> None:
        """Take an adapter's event about a recording."""
        live = self._live.get(event.data.get("recording_id", ""))
        if live is None:
            log.debug(
                "%s of a recording that is over or not ours: %s", event.type, event.data.get("name")
            )
            return
        if event.type is EventType.RECORDING_STARTED:
            self._feed(live, Change(Happening.STARTED, event.timestamp))
        elif event.type is EventType.RECORDING_FINISHED:
            live.hint = event.data.get("duration_hint", 0)
            self._feed(live, self._finish(live, event.timestamp))
        elif event.type is EventType.RECORDING_FAILED:
            self._feed(live, Change(Happening.FAILED, event.timestamp, cause=event.data["cause"]))

    def on_digit(self, call_id: str, digit: str) -> None:
        """A key was pressed: it ends the call's recording when that was asked for.

        The PBX can't do it for a snoop, which hears no DTMF of its own.
        """
        for live in self._by_holder.get(call_id, ()):
            recording = live.recording
            if recording.target is not RecordingTarget.CHANNEL and recording.terminate_on in (
                "any",
                digit,
            ):
                self._feed(live, Change(Happening.STOP_ASKED, _now(), EndReason.KEY))

    def on_target_gone(self, target_id: str) -> None:
        """A call or bridge is gone: its recording ends with it, and is looked for if no word of it
        comes.
        """
        now = _now()
        for live in list(self._live.values()):
            recording = live.recording
            if recording.target_id == target_id:
                # A channel's own recording finishes a millisecond before its call's end is
                # reported.
                live.target_gone = (
                    recording.ended_at is None or now - recording.ended_at < HANGUP_WINDOW
                )
                self._feed(live, Change(Happening.TARGET_GONE, now, EndReason.HANGUP))

    async def resync(self, gap: Gap) -> None:
        """Find out what became of every unfinished recording while no events came."""
        probes = []
        for live in list(self._live.values()):
            if live.recording.ended_at is None:
                if gap.restarted:
                    live.gap = live.gap or gap
                probes.append(self._probe(live))
        await asyncio.gather(*probes)

    async def drain(self, grace: float) -> None:
        """See every recording through to its sink, for at most `grace` seconds; the rest is
        reported as failed, with its cause.
        """
        waiting = [live.settled for live in self._live.values()]
        if waiting:
            await asyncio.wait(waiting, timeout=grace)
        for live in list(self._live.values()):
            if live.recording.ended_at is None:
                path = self._spool.path_of(live.recording.name, live.recording.format)
                await self._fail(
                    live,
                    f"the PBX did not finish it before the shutdown; what there is of it will be at {path}",
                    EndReason.SHUTDOWN,
                )
        late = [live.settled for live in self._live.values()]
        if late:
            await asyncio.wait(late, timeout=1.0)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for live in self._live.values():
            log.error(
                "recording %s: its sink was not done before the shutdown", live.recording.name
            )

    # -- applying changes

    def _take(self, recording: Recording, holder_id: str, sink: RecordingSink | None) -> _Live:
        live = _Live(recording, holder_id, sink)
        self._live[recording.id] = live
        self._by_holder.setdefault(holder_id, []).append(live)
        return live

    def _drop(self, live: _Live) -> None:
        self._live.pop(live.recording.id, None)
        lives = self._by_holder.get(live.holder_id, [])
        if live in lives:
            lives.remove(live)
        if not lives:
            self._by_holder.pop(live.holder_id, None)

    def _feed(self, live: _Live, change: Change) -> None:
        """Hand in a change; it is applied in its turn."""
        live.changes.append(change)
        if live.applying is None:
            live.applying = self._spawn(self._apply_all(live))

    async def _applied(self, live: _Live) -> None:
        """Wait until all changes handed in so far are applied."""
        while live.applying is not None:
            await asyncio.shield(live.applying)

    async def _apply_all(self, live: _Live) -> None:
        try:
            while live.changes:
                await self._apply(live, live.changes.popleft())
        finally:
            live.applying = None

    async def _apply(self, live: _Live, change: Change) -> None:
        while True:
            old = live.recording
            try:
                step = advance(old, change)
            except RecordingEnded:
                return
            if step.verdict is Verdict.IMPOSSIBLE:
                log.error(
                    "recording %s: %s can't happen while %s", old.name, change.happening, old.state
                )
                return
            if step.recording == old or await self._store.replace(old, step.recording):
                break
            row = await self._store.get(old.id)
            if row is None:
                log.error("recording %s: its row is gone", old.name)
                return
            live.recording = row
        live.recording = step.recording
        self._tell(old, step.recording)
        for effect in step.effects:
            self._effect(live, effect)
        if step.recording.ended_at is not None and not live.ended.done():
            live.ended.set_result(None)
        if step.recording.state.is_final and not old.state.is_final:
            self._spawn(self._settle(live))

    def _tell(self, old: Recording, new: Recording) -> None:
        """Publish what is news."""
        if old.started_at is None and new.started_at is not None:
            self._publish(self._event(EventType.RECORDING_STARTED, new))
        if new.state is RecordingState.FAILED and old.state is not RecordingState.FAILED:
            self._publish(
                self._event(EventType.RECORDING_FAILED, new, cause=new.cause, **new.extra)
            )
            return
        if old.ended_at is None and new.ended_at is not None:
            self._publish(self._event(EventType.RECORDING_FINISHED, new))
        if new.state is RecordingState.AVAILABLE:
            self._publish(self._event(EventType.RECORDING_AVAILABLE, new, **new.extra))

    @staticmethod
    def _event(kind: EventType, recording: Recording, **data: object) -> VoxtraEvent:
        reason = {"end_reason": recording.end_reason.value} if recording.end_reason else {}
        return VoxtraEvent(
            kind,
            recording.call_id,
            {
                "recording_id": recording.id,
                "name": recording.name,
                "format": recording.format,
                **reason,
                **data,
            },
        )

    # -- effects

    def _effect(self, live: _Live, effect: Effect) -> None:
        task = self._spawn(self._run_effect(live, effect))
        live.effects.add(task)
        task.add_done_callback(live.effects.discard)

    async def _quiet(self, live: _Live) -> None:
        """Wait until nothing is being applied or found out about a recording."""
        while live.applying is not None or live.effects:
            await self._applied(live)
            if live.effects:
                await asyncio.wait(live.effects)

    async def _run_effect(self, live: _Live, effect: Effect) -> None:
        if effect is Effect.CAPTURE:
            await self._capture(live)
            return
        if effect is Effect.STOP:
            try:
                await self._adapter.stop_capture(live.recording)
            except (TelephonyError, TimeoutError) as error:
                log.warning(
                    "recording %s: could not ask for its stop: %s", live.recording.name, error
                )
        await self._probe(live)

    async def _probe(self, live: _Live) -> None:
        """Ask the PBX what is true, unless word of the end comes first, and feed it."""
        done, _ = await asyncio.wait([live.ended], timeout=EVENT_GRACE)
        if done:
            return
        recording = live.recording
        try:
            held = [await self._adapter.probe_track(track) for track in recording.tracks]
        except (AriError, TelephonyError, TimeoutError) as error:
            log.warning(
                "recording %s: the PBX can't be asked about it now: %s", recording.name, error
            )
            return
        if any(track.live for track in held):
            if recording.state is RecordingState.STARTING:
                self._feed(live, Change(Happening.STARTED, _now()))
            elif recording.state is RecordingState.STOPPING:
                self._effect(live, Effect.STOP)
        elif any(track.stored for track in held):
            if recording.started_at is None:
                self._feed(live, Change(Happening.STARTED, _now()))
            self._feed(live, self._finish(live, _now()))
        else:
            begun = recording.started_at is not None
            cause = (
                "the PBX has neither the recording nor a file of it"
                if begun
                else "the PBX never began it"
            )
            self._feed(live, Change(Happening.FAILED, _now(), cause=cause))
        await self._applied(live)

    def _finish(self, live: _Live, at: datetime) -> Change:
        """Return the change for a file that the PBX has finished."""
        if live.cancelled:
            return Change(Happening.FAILED, at, EndReason.CANCELLED, "cancelled")
        if live.gap is not None:
            return Change(Happening.FINISHED, live.gap.lost_at, EndReason.PBX_LOST)
        return Change(Happening.FINISHED, at)

    async def _fail(self, live: _Live, cause: str, reason: EndReason | None = None) -> None:
        self._feed(live, Change(Happening.FAILED, _now(), reason, cause))
        await self._applied(live)

    async def _capture(self, live: _Live) -> None:
        """Verify the file and say what it holds."""
        recording = live.recording
        try:
            finished = await self._spool.finish(recording, self._adapter, live.hint)
        except (VoxtraError, OSError, ValueError, TimeoutError) as error:
            cause = (
                error.cause
                if isinstance(error, RecordingFailed)
                else f"the file can't be used: {error}"
            )
            facts: dict[str, object] = {
                "file_path": str(self._spool.path_of(recording.name, recording.format))
            }
            self._feed(
                live, Change(Happening.INGEST_FAILED, _now(), self._why(live, None), cause, facts)
            )
            return
        self._feed(
            live,
            Change(
                Happening.INGESTED,
                _now(),
                self._why(live, finished.seconds),
                facts=self._facts(live, finished),
            ),
        )

    def _why(self, live: _Live, seconds: float | None) -> EndReason:
        """Return why a recording ended that nobody asked to stop."""
        recording = live.recording
        if seconds is not None and seconds >= recording.max_duration:
            return EndReason.MAX_DURATION
        # A bridge's recording ends by itself when the last one leaves.
        if live.target_gone or recording.target is RecordingTarget.BRIDGE:
            return EndReason.HANGUP
        if recording.max_silence:
            return EndReason.SILENCE
        if recording.terminate_on != "none":
            return EndReason.KEY
        return EndReason.UNKNOWN

    @staticmethod
    def _facts(live: _Live, finished: Finished) -> dict[str, object]:
        seconds = finished.seconds if finished.seconds is not None else float(live.hint)
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
        if live.gap is not None and live.recording.started_at is not None:
            wall = (live.gap.lost_at - live.recording.started_at).total_seconds()
            facts["lost_seconds"] = round(max(0.0, wall - seconds), 3)
        return facts

    async def _settle(self, live: _Live) -> None:
        """Tell the sink, once: of every recording that began and was not cancelled."""
        recording = live.recording
        try:
            if live.sink is not None and recording.started_at is not None and not live.cancelled:
                await deliver(live.sink, self._metadata(recording))
        finally:
            self._drop(live)
            if not live.settled.done():
                live.settled.set_result(None)

    def _metadata(self, recording: Recording) -> RecordingMetadata:
        facts = dict(recording.extra)
        path = facts.pop("file_path", "") or self._spool.path_of(recording.name, recording.format)
        seconds = facts.pop("duration_seconds", None)
        extra: dict[str, Any] = {
            "recording_id": recording.id,
            "state": recording.state.value,
            "cause": recording.cause,
            "end_reason": recording.end_reason.value
            if recording.end_reason
            else EndReason.UNKNOWN.value,
            "layout": recording.layout.value,
            "target": recording.target.value,
            "started_at": _iso(recording.started_at),
            "ended_at": _iso(recording.ended_at),
            **facts,
        }
        return RecordingMetadata(
            session_id=recording.call_id,
            name=recording.name,
            file_path=str(path),
            duration_seconds=seconds if isinstance(seconds, float) else None,
            format=recording.format,
            extra=extra,
        )

    # -- helpers

    def _running(self, recording_id: str) -> _Live:
        live = self._live.get(recording_id)
        if live is None or live.recording.state is not RecordingState.RECORDING:
            state = live.recording.state if live else "over"
            raise RecordingEnded(live.recording.name if live else recording_id, state)
        return live

    async def _change(
        self,
        live: _Live,
        request: Coroutine[Any, Any, None],
        *,
        paused: bool | None = None,
        muted: bool | None = None,
    ) -> None:
        """Carry out a live operation, then note the attribute it changed."""
        try:
            await request
        except NotFound:
            raise RecordingEnded(live.recording.name, "over") from None
        while True:
            old = live.recording
            new = replace(
                old,
                paused=old.paused if paused is None else paused,
                muted=old.muted if muted is None else muted,
            )
            if old.state.is_final or await self._store.replace(old, new):
                live.recording = new if not old.state.is_final else old
                return
            live.recording = await self._store.get(old.id) or old

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._reap)
        return task

    def _reap(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a recording's task failed", exc_info=task.exception())


def _choice(kind: type[Any], value: str, field: str) -> Any:
    try:
        return kind(value)
    except ValueError:
        valid = ", ".join(member.value for member in kind)
        raise ValueError(f"{field}: {value!r} is not one of {valid}") from None


def _now() -> datetime:
    return datetime.now(UTC)


def _iso(at: datetime | None) -> str | None:
    return at.isoformat() if at else None
