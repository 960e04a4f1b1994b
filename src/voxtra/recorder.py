"""The recorder owns every live recording: it writes the row before the request, advances it by the
lifecycle's table, and sees each one through to a verified file and its sink, whatever ends the
call, the connection or the process.

Changes of one recording are applied one after another; those of different recordings side by side.
Effects (stop, probe, capture) run as tasks and feed their outcome back as further changes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain
from typing import Any, Final

from voxtra.aftermath import Aftermath, OnTheSpot
from voxtra.catalog import MemoryRecordingStore, RecordingStore
from voxtra.events import EventType, VoxtraEvent
from voxtra.exceptions import (
    CallEnded,
    NotFound,
    RecordingActive,
    RecordingEnded,
    RecordingError,
    RecordingFailed,
    RequestTimeout,
    TelephonyError,
    VoxtraError,
)
from voxtra.lifecycle import Change, Effect, Happening, Verdict, advance, mute, pause
from voxtra.live_recording import LiveRecording
from voxtra.model import EndReason, Layout, Recording, RecordingState, RecordingTarget, Subject
from voxtra.names import DEFAULT_PREFIX
from voxtra.outcome import HANGUP_WINDOW, overdue, probed
from voxtra.record_options import MAX_DURATION, RecordOptions
from voxtra.recording import RecordingSink
from voxtra.recording_report import news
from voxtra.spool import Spool
from voxtra.telephony.base import BaseTelephonyAdapter, Gap

__all__ = ["Recorder"]

log = logging.getLogger(__name__)

MUTE_UNKNOWN: Final = (
    "whether the recording is muted is unknown: stop it, and start another when it matters"
)

STOP_DEADLINE: Final = 20.0
"""Seconds after which `stop` gives its caller an error instead of waiting on; the recording is
still seen through.
"""


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
        aftermath: Aftermath | None = None,
        name_prefix: str = DEFAULT_PREFIX,
    ) -> None:
        self._adapter = adapter
        self._spool = spool
        self._publish = publish
        self.default_layout = default_layout
        self._default_max_duration = default_max_duration or MAX_DURATION
        self._name_prefix = name_prefix
        self._default_sink = default_sink
        self.refusal = ""
        """Why no recording may begin now; empty when one may."""
        self._store: RecordingStore = store or MemoryRecordingStore()
        self._aftermath: Aftermath = aftermath or OnTheSpot(spool, adapter)
        self._live: dict[str, LiveRecording] = {}
        self._by_holder: dict[str, list[LiveRecording]] = {}
        self._by_target: dict[str, list[LiveRecording]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    # -- verbs

    async def start(
        self,
        options: RecordOptions,
        subject: Subject,
        sink: RecordingSink | None = None,
    ) -> Recording:
        """Record; return when the PBX has really begun.

        A recording of the same kind that an earlier run of this process left running is taken up
        instead: its audio has no gap. Raises `RecordingActive` when the holder or target is being
        recorded, `CallEnded` when the call is gone, `RecordingFailed` with the cause otherwise.
        """
        recording = options.recording(subject, self._default_max_duration, self._name_prefix)
        taken_up = await self._take_up(recording, sink)
        if taken_up is not None:
            return taken_up
        if self.refusal:
            raise RecordingFailed(recording.name, self.refusal)
        self._spool.check_free(recording)
        told = "call" if sink is not None else "app" if self._default_sink is not None else ""
        recording = replace(recording, tracks=self._adapter.plan_capture(recording), sink=told)
        live = self._take(recording, sink if sink is not None else self._default_sink)
        try:
            await self._store.insert(recording)
        except BaseException:
            self._drop(live)
            raise
        self._aftermath.taken(live)
        try:
            await self._adapter.start_capture(recording)
            self._feed(live, Change(Happening.STARTED, _now()))  # should its event be lost
        except (TimeoutError, RequestTimeout):
            await self._find_out(live)
        except RecordingFailed as error:
            await self._fail(live, error.cause)
        except NotFound:
            await self._fail(live, "what was to be recorded ended before the recording began")
            if recording.target is RecordingTarget.BRIDGE:
                raise
            raise CallEnded(subject.call_id) from None
        except VoxtraError as error:
            await self._fail(live, str(error))
            raise RecordingFailed(recording.name, str(error)) from error
        except BaseException:
            self._feed(live, Change(Happening.STOP_ASKED, _now(), EndReason.STOPPED))
            raise
        await self._applied(live)
        if live.recording.started_at is None:
            if live.target_gone.done():
                raise CallEnded(subject.call_id)
            raise RecordingFailed(
                recording.name, live.recording.cause or "it was stopped before it began"
            )
        return live.recording

    async def _take_up(self, wanted: Recording, sink: RecordingSink | None) -> Recording | None:
        """Return the recording left running by an earlier run if it is what is wanted; stop it if
        not. Raises `RecordingActive` when one of this run is active.
        """
        live = self._active(wanted.holder_id) or self._active(wanted.target_id)
        if live is None:
            return None
        running = live.recording
        if not live.orphan:
            raise RecordingActive(running.name, running.id)
        live.orphan = False
        await self._quiet(live)
        same = (running.format, running.layout, running.target, running.target_id) == (
            wanted.format,
            wanted.layout,
            wanted.target,
            wanted.target_id,
        )
        if same and live.recording.state is RecordingState.RECORDING:
            if sink is not None:
                live.sink = sink
                self._aftermath.taken(live)
            log.info("recording %s goes on after the restart", running.name)
            return live.recording
        await self.stop(running.id)
        return None

    def adopt(self, recordings: Iterable[Recording]) -> None:
        """Take over the unfinished recordings of an earlier run, and have it found out what became
        of each.
        """
        for recording in recordings:
            if recording.id in self._live:
                continue
            live = self._take(recording, self._default_sink)
            live.orphan = True
            if recording.ended_at is not None:
                live.ended.set_result(None)
                self._effect(live, Effect.CAPTURE)
                continue
            self._adapter.watch_capture(recording)
            self._effect(live, Effect.PROBE)

    async def settled(self, recording_ids: Iterable[str]) -> None:
        """Wait until nothing is being found out about these recordings."""
        for live in [self._live[each] for each in recording_ids if each in self._live]:
            await self._quiet(live)

    async def _find_out(self, live: LiveRecording) -> None:
        """Ask the PBX whether it began, its event or its reply being lost, before anybody is told.

        Where the PBX gives no answer either, what it may have begun is stopped as soon as it does.
        """
        self._feed(live, Change(Happening.START_TIMEOUT, _now()))
        try:
            async with asyncio.timeout(STOP_DEADLINE):
                await self._quiet(live)
        except TimeoutError:
            self._feed(live, Change(Happening.STOP_ASKED, _now(), EndReason.STOPPED))
            raise RecordingFailed(
                live.recording.name, "the PBX does not say whether it began; it is stopped if so"
            ) from None

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
        await self._to_its_end(self._pause(self._running(recording_id), on=on))

    async def mute(self, recording_id: str, *, on: bool) -> None:
        """Mute or unmute: the muted part is silence in the file. Doing it twice changes nothing (on
        Asterisk it would).
        """
        await self._to_its_end(self._mute(self._running(recording_id), on=on))

    async def _pause(self, live: LiveRecording, *, on: bool) -> None:
        async with live.lock:
            if live.recording.paused is on and not live.pause_unknown:
                return
            # To ask once more is harmless; not to ask could leave the rest of the call out.
            live.pause_unknown = True
            await self._change(live, self._adapter.pause_capture(live.recording, on=on), pause, on)
            live.pause_unknown = False

    async def _mute(self, live: LiveRecording, *, on: bool) -> None:
        async with live.lock:
            if live.mute_unknown:
                raise RecordingError(MUTE_UNKNOWN)
            if live.recording.muted is on:
                return
            # Until the PBX has answered, whether it is muted is unknown, and asking again might
            # undo it: somebody's card number would be in the file that we say is silent.
            live.mute_unknown = True
            request = self._adapter.mute_capture(live.recording, on=on)
            try:
                await self._change(live, request, mute, on)
            except TelephonyError as error:
                raise RecordingError(f"{error}; {MUTE_UNKNOWN}") from error
            live.mute_unknown = False

    async def _to_its_end(self, work: Coroutine[Any, Any, None]) -> None:
        """Carry out a live operation whole, also when who asked for it is cancelled: what the PBX
        does and what the row says must not part.
        """
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(self._reap)  # nobody else hears of its failure
            raise

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

    def active(self, of: str) -> Recording | None:
        """Return the recording that a call or bridge holds, or is the target of, and that has not
        ended.
        """
        live = self._active(of)
        return live.recording if live else None

    def _active(self, of: str) -> LiveRecording | None:
        for live in chain(self._by_holder.get(of, ()), self._by_target.get(of, ())):
            if live.recording.ended_at is None:
                return live
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
            self._feed(live, live.file_finished(event.timestamp))
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

    def on_target_gone(self, target_id: str, at: datetime) -> None:
        """A call or bridge is gone: its recording ends with it, and is looked for if no word of it
        comes.
        """
        for live in self._by_target.get(target_id, ()):
            ended_at = live.recording.ended_at
            # A channel's own recording finishes a millisecond before its call's end is reported.
            if ended_at is None or at - ended_at < HANGUP_WINDOW:
                live.note_target_gone()
            reason = EndReason.PBX_LOST if live.gap else EndReason.HANGUP
            self._feed(live, Change(Happening.TARGET_GONE, at, reason))

    async def resync(self, gap: Gap) -> None:
        """Have it found out what became of every unfinished recording while no events came."""
        for live in list(self._live.values()):
            recording = live.recording
            if recording.ended_at is None:
                before = recording.requested_at is None or recording.requested_at <= gap.lost_at
                if gap.restarted and before:
                    live.gap = live.gap or gap
                # What is being started the PBX may not know of yet; `start` finds out about it.
                if recording.started_at is not None or live.orphan:
                    self._effect(live, Effect.PROBE)

    def running(self) -> list[Recording]:
        """Return the recordings that have not ended."""
        return [live.recording for live in self._live.values() if live.recording.ended_at is None]

    def expire(self, now: datetime) -> None:
        """Stop what has run longer than its maximum, and fail what can't be stopped either: the PBX
        ends recordings itself, unless it hangs, or they are paused.
        """
        for live in list(self._live.values()):
            change = overdue(live.recording, now)
            if change is not None:
                self._feed(live, change)

    async def drain(self, grace: float) -> None:
        """See every recording through to its sink, for at most `grace` seconds; the rest is
        reported as failed, with its cause.
        """
        waiting = [live.settled for live in self._live.values()]
        if waiting:
            await asyncio.wait(waiting, timeout=grace)
        for live in list(self._live.values()):
            if not live.recording.state.is_final:
                change = self._aftermath.abandoned(live)
                if change is None:
                    self._let_go(live)
                else:
                    self._feed(live, change)
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

    def _take(self, recording: Recording, sink: RecordingSink | None) -> LiveRecording:
        live = LiveRecording(recording, sink)
        self._live[recording.id] = live
        for index, key in self._keys(live):
            index.setdefault(key, []).append(live)
        return live

    def _drop(self, live: LiveRecording) -> None:
        if self._live.pop(live.recording.id, None) is None:
            return
        for index, key in self._keys(live):
            index[key].remove(live)
            if not index[key]:
                del index[key]

    def _keys(self, live: LiveRecording) -> tuple[tuple[dict[str, list[LiveRecording]], str], ...]:
        return (
            (self._by_holder, live.recording.holder_id),
            (self._by_target, live.recording.target_id),
        )

    def _feed(self, live: LiveRecording, change: Change) -> None:
        live.changes.append(change)
        if live.applying is None:
            live.applying = self._spawn(self._apply_all(live))

    async def _applied(self, live: LiveRecording) -> None:
        while live.applying is not None:
            await asyncio.shield(live.applying)

    async def _apply_all(self, live: LiveRecording) -> None:
        try:
            while live.changes:
                await self._apply(live, live.changes.popleft())
        finally:
            live.applying = None

    async def _apply(self, live: LiveRecording, change: Change) -> None:
        async with live.writing:
            while True:
                old = live.recording
                try:
                    step = advance(old, change)
                except RecordingEnded:
                    return
                if step.verdict is Verdict.IMPOSSIBLE:
                    log.error(
                        "recording %s: %s can't happen while %s",
                        old.name,
                        change.happening,
                        old.state,
                    )
                    return
                if step.recording == old or await self._store.replace(old, step.recording):
                    break
                if not await self._reread(live):
                    return
            live.recording = step.recording
        for event in news(old, step.recording):
            self._publish(event)
        for effect in step.effects:
            self._effect(live, effect)
        if step.recording.ended_at is not None and not live.ended.done():
            live.ended.set_result(None)
        if step.recording.state.is_final and not old.state.is_final:
            self._spawn(self._adapter.release_capture(step.recording))
            self._spawn(self._settle(live))

    async def _reread(self, live: LiveRecording) -> bool:
        """Take the row as somebody else left it; False, and nothing more is done about it here,
        when he has seen the recording through to its end.
        """
        row = await self._store.get(live.recording.id)
        ended = row is not None and row.ended_at is not None and live.recording.ended_at is None
        if row is not None and not row.state.is_final and not ended:
            live.recording = row
            return True
        log.warning("recording %s was ended by somebody else", live.recording.name)
        live.recording = row or live.recording
        live.changes.clear()
        self._let_go(live)
        return False

    def _let_go(self, live: LiveRecording) -> None:
        """Have nothing more to do with a recording: somebody else sees it through."""
        self._drop(live)
        for future in (live.ended, live.settled):
            if not future.done():
                future.set_result(None)

    # -- effects

    def _effect(self, live: LiveRecording, effect: Effect) -> None:
        task = self._spawn(self._run_effect(live, effect))
        live.effects.add(task)
        task.add_done_callback(live.effects.discard)

    async def _quiet(self, live: LiveRecording) -> None:
        """Wait until nothing is being applied or found out about a recording."""
        while live.applying is not None or live.effects:
            await self._applied(live)
            if live.effects:
                await asyncio.wait(live.effects)

    async def _run_effect(self, live: LiveRecording, effect: Effect) -> None:
        if effect is Effect.CAPTURE:
            change = await self._aftermath.capture(live)
            if change is not None:
                self._feed(live, change)
                return
            self._let_go(live)
            await self._adapter.release_capture(live.recording)
            return
        if effect is Effect.STOP:
            try:
                await self._adapter.stop_capture(live.recording)
            except (TelephonyError, TimeoutError) as error:
                log.warning("recording %s: its stop is asked again: %s", live.recording.name, error)
        await self._probe(live)

    async def _probe(self, live: LiveRecording) -> None:
        """Ask the PBX what is true, unless word of the end comes first, and feed it."""
        change = await probed(live, self._adapter)
        if change is not None:
            self._feed(live, change)
            await self._applied(live)

    async def _fail(self, live: LiveRecording, cause: str, reason: EndReason | None = None) -> None:
        self._feed(live, Change(Happening.FAILED, _now(), reason, cause))
        await self._applied(live)

    async def _settle(self, live: LiveRecording) -> None:
        try:
            await self._aftermath.settle(live)
        finally:
            self._drop(live)
            if not live.settled.done():
                live.settled.set_result(None)

    # -- helpers

    def _running(self, recording_id: str) -> LiveRecording:
        live = self._live.get(recording_id)
        if live is None:
            raise RecordingEnded(recording_id, "over")
        if live.recording.state is RecordingState.STARTING:
            raise RecordingError(f"recording {live.recording.name} has not begun yet")
        if live.recording.state is not RecordingState.RECORDING:
            raise RecordingEnded(live.recording.name, live.recording.state)
        return live

    async def _change(
        self,
        live: LiveRecording,
        request: Coroutine[Any, Any, None],
        note: Callable[..., Recording],
        on: bool,
    ) -> None:
        """Carry out a live operation, then note the attribute it changed."""
        try:
            await request
        except NotFound:
            raise RecordingEnded(live.recording.name, "over") from None
        async with live.writing:
            while not live.recording.state.is_final:
                old = live.recording
                new = note(old, _now(), on=on)
                if new == old or await self._store.replace(old, new):
                    live.recording = new
                    for event in news(old, new):
                        self._publish(event)
                    return
                if not await self._reread(live):
                    return

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._reap)
        return task

    def _reap(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a recording's task failed", exc_info=task.exception())


def _now() -> datetime:
    return datetime.now(UTC)
