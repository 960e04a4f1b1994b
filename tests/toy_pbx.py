"""A PBX in memory that really writes files, and whose word can be lost, doubled or late."""

from __future__ import annotations

import asyncio
import wave
from collections import Counter
from pathlib import Path

from voxtra.audio.tone import sine
from voxtra.events import EventType, VoxtraEvent
from voxtra.exceptions import NotFound, RecordingFailed, TelephonyConnectionError
from voxtra.model import Recording, Track
from voxtra.telephony.base import BaseTelephonyAdapter, TrackStatus


class ToyPbx(BaseTelephonyAdapter):
    """Records `seconds` of a tone for every recording that ends by itself or by a stop.

    `lost`, `doubled` and `held` name the events that do not arrive, arrive twice, or wait for
    `let_go()`; `brief` recordings end as soon as they have begun; `stops_lost` is how many stops
    have no effect; `refusal` is why nothing begins; without `begins` a start is taken and nothing
    happens; without `reachable` it can't be asked; `hangs` means that it does not answer.
    """

    def __init__(self, folder: Path, seconds: float = 0.1) -> None:
        self.folder = folder
        self.seconds = seconds
        self.live: dict[str, Recording] = {}
        self.asked: Counter[str] = Counter()
        self.lost: set[EventType] = set()
        self.doubled: set[EventType] = set()
        self.held: set[EventType] = set()
        self.waiting: list[VoxtraEvent] = []
        self.stops_lost = 0
        self.refusal = ""
        self.begins = True
        self.brief = False
        self._released = asyncio.Event()
        self.reachable = True
        self.target_there = True
        self.writes_files = True
        self.hangs = False

    async def connect(self) -> None:
        """It is always there."""

    async def disconnect(self) -> None:
        """It holds nothing."""

    async def answer_call(self, call_id: str) -> None:
        """Every call is up."""

    async def hangup_call(self, call_id: str, reason: str = "normal") -> None:
        """End the recordings of the call, as a PBX does."""
        for recording in list(self.live.values()):
            if recording.target_id == call_id:
                self.finish(recording)

    def plan_capture(self, recording: Recording) -> tuple[Track, ...]:
        """One file, whatever is asked."""
        return (Track(recording.name),)

    async def start_capture(self, recording: Recording) -> None:
        """Begin, unless told otherwise."""
        await self._ask("start")
        if not self.target_there:
            raise NotFound(404, "POST", f"/channels/{recording.target_id}/snoop", "not found")
        if self.refusal:
            raise RecordingFailed(recording.name, self.refusal)
        if not self.begins:
            raise TimeoutError
        self.live[recording.name] = recording
        self.tell(EventType.RECORDING_STARTED, recording)
        if self.brief:
            self.finish(recording)
        if EventType.RECORDING_STARTED in self.lost:
            raise TimeoutError
        if EventType.RECORDING_STARTED in self.held:
            await self._released.wait()

    async def stop_capture(self, recording: Recording) -> None:
        """Stop, unless this stop is lost."""
        await self._ask("stop")
        if self.stops_lost > 0:
            self.stops_lost -= 1
        else:
            self.finish(recording)

    async def pause_capture(self, recording: Recording, *, on: bool) -> None:
        """Take note."""
        await self._ask("pause" if on else "resume")
        self._there(recording)

    async def mute_capture(self, recording: Recording, *, on: bool) -> None:
        """Take note."""
        await self._ask("mute" if on else "unmute")
        self._there(recording)

    async def cancel_capture(self, recording: Recording) -> None:
        """Discard, and say `finished` all the same, as Asterisk does."""
        await self._ask("cancel")
        if self.live.pop(recording.name, None) is not None:
            self.tell(EventType.RECORDING_FINISHED, recording)

    async def probe_track(self, track: Track) -> TrackStatus:
        """Tell the truth."""
        await self._ask("probe")
        live = track.name in self.live
        return TrackStatus(live=live, stored=live or self.path(track.name).exists())

    async def fetch_track(self, track: Track, into: Path) -> None:
        """Give a copy."""
        await self._ask("fetch")
        into.write_bytes(self.path(track.name).read_bytes())

    async def delete_track(self, track: Track) -> None:
        """Delete the file."""
        await self._ask("delete")
        self.path(track.name).unlink(missing_ok=True)

    # -- what tests make it do

    def finish(self, recording: Recording) -> None:
        """End a recording that is live: its file is written before anybody hears of it."""
        if self.live.pop(recording.name, None) is None:
            return
        if self.writes_files:
            with wave.open(str(self.path(recording.name)), "wb") as file:
                file.setnchannels(1)
                file.setsampwidth(2)
                file.setframerate(8000)
                file.writeframes(sine(440, self.seconds).tobytes())
        self.tell(EventType.RECORDING_FINISHED, recording)

    def tell(self, kind: EventType, recording: Recording, **data: object) -> None:
        """Say what happened, over a line that may lose, double or hold it."""
        event = VoxtraEvent(
            kind,
            recording.call_id,
            {"recording_id": recording.id, "name": recording.name, **data},
        )
        if kind in self.lost:
            return
        if kind in self.held:
            self.waiting.append(event)
            return
        for _ in range(2 if kind in self.doubled else 1):
            self._on_event(event)

    def let_go(self, *, backwards: bool = False) -> None:
        """Deliver what was held, in order or backwards."""
        self.held.clear()
        self._released.set()
        waiting, self.waiting = self.waiting, []
        for event in reversed(waiting) if backwards else waiting:
            self._on_event(event)

    def path(self, name: str) -> Path:
        """Return where the file of a recording is."""
        return self.folder / f"{name}.wav"

    async def _ask(self, verb: str) -> None:
        self.asked[verb] += 1
        await asyncio.sleep(0)
        if self.hangs:
            await asyncio.Event().wait()
        if not self.reachable:
            raise TelephonyConnectionError("the PBX can't be reached")

    def _there(self, recording: Recording) -> None:
        if recording.name not in self.live:
            raise NotFound(404, "POST", f"/recordings/live/{recording.name}", "not found")
