"""The recorder, on a PBX in memory that loses, doubles and delays what it says."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.rows import ContendedStore
from tests.system.support import Collector, eventually
from tests.toy_pbx import ToyPbx
from voxtra import outcome
from voxtra import recorder as recorder_module
from voxtra.catalog import MemoryRecordingStore, RecordingStore
from voxtra.events import EventType, VoxtraEvent
from voxtra.exceptions import (
    CallEnded,
    ConfigurationError,
    InvalidRecordingName,
    NotFound,
    RecordingActive,
    RecordingEnded,
    RecordingError,
    RecordingFailed,
    RequestTimeout,
    TelephonyConnectionError,
)
from voxtra.lifecycle import Change
from voxtra.live_recording import LiveRecording
from voxtra.model import EndReason, Recording, RecordingState, Subject, Track
from voxtra.record_options import RecordOptions
from voxtra.recorder import Recorder
from voxtra.recording import RecordingMetadata, RecordingSink
from voxtra.spool import Spool
from voxtra.store.database import Database
from voxtra.store.recordings import SqlRecordingStore
from voxtra.telephony.base import Gap

CALL = "call-1"


@pytest.fixture(autouse=True)
def _short_waits() -> Iterator[None]:
    """Give events milliseconds instead of a second to arrive."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outcome, "EVENT_GRACE", 0.005)
        patch.setattr(outcome, "PROBE_CAP", 0.01)
        yield


@dataclass
class Bench:
    """A recorder on a toy PBX, and all that it told."""

    folder: Path
    store: RecordingStore = field(default_factory=MemoryRecordingStore)
    pbx_type: type[ToyPbx] = ToyPbx

    def __post_init__(self) -> None:
        self.pbx = self.pbx_type(self.folder)
        self.sink = Collector()
        self.events: list[VoxtraEvent] = []
        self.recorder = Recorder(
            self.pbx,
            Spool(self.folder, self.folder / "downloads"),
            self.events.append,
            default_sink=self.sink,
            store=self.store,
        )
        self.pbx.listen(self.recorder.on_event, self.recorder.resync)

    async def start(
        self, name: str = "x", *, sink: RecordingSink | None = None, **options: Any
    ) -> Recording:
        """Record the call."""
        return await self.recorder.start(
            RecordOptions(name=name, **options), Subject(CALL, CALL, CALL), sink
        )

    async def told(self) -> RecordingMetadata:
        """Return what the sink was told, once the recorder has nothing left to do."""
        await self.sink.wait_for(1)
        await self.recorder.drain(5)
        assert len(self.sink.received) == 1
        return self.sink.received[0]

    @property
    def active(self) -> Recording | None:
        """The recording of the call that has not ended."""
        return self.recorder.active(CALL)

    @property
    def kinds(self) -> list[str]:
        """The last word of the types of the events, in order."""
        return [event.type.value.removeprefix("recording.") for event in self.events]


@pytest.fixture(params=["memory", "contended", "sqlite", "postgres"])
def rows(request: pytest.FixtureRequest) -> str:
    """Name each kind of store: the URL of a database, or what it is."""
    if request.param in ("memory", "contended"):
        return str(request.param)
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
async def bench(rows: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    """Return a recorder on each kind of store."""
    if "://" not in rows:
        yield Bench(tmp_path, MemoryRecordingStore() if rows == "memory" else ContendedStore())
        return
    # A commit on a loaded machine takes longer than a millisecond: word of it must not lose to a
    # question that only exists for words that are lost.
    monkeypatch.setattr(outcome, "EVENT_GRACE", 0.25)
    database = Database(rows)
    made = Bench(tmp_path, SqlRecordingStore(database, "node"))
    yield made
    left = list(made.recorder._tasks)
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    await database.close()


# -- the plain course


async def test_start_stop_sink(bench: Bench) -> None:
    """A start returns when the PBX has begun, a stop when the file is finished; then the sink knows
    what the file holds.
    """
    begun = await bench.start()
    assert begun.state is RecordingState.RECORDING
    stopped = await bench.recorder.stop(begun.id)
    assert stopped is not None
    assert stopped.ended_at is not None
    told = await bench.told()
    assert (told.session_id, told.name, told.format) == (CALL, "x", "wav")
    assert told.file_path == str(bench.pbx.path("x"))
    assert told.duration_seconds == 0.1
    assert told.extra["state"] == "available"
    assert told.extra["end_reason"] == "stopped"
    assert (told.extra["samples"], told.extra["size"]) == (800, 1644)
    assert bench.kinds == ["started", "finished", "available"]


async def test_four_stops_at_once(bench: Bench) -> None:
    """Any number of stops at once is one stop, and all return the same recording."""
    begun = await bench.start()
    stopped = await asyncio.gather(*(bench.recorder.stop(begun.id) for _ in range(4)))
    assert {each.name for each in stopped if each} == {"x"}
    assert len(stopped) == 4
    assert bench.pbx.asked["stop"] == 1
    await bench.told()


async def test_nothing_to_stop(bench: Bench) -> None:
    """A stop of a recording that is settled is None."""
    begun = await bench.start()
    await bench.recorder.stop(begun.id)
    await bench.told()
    assert await bench.recorder.stop(begun.id) is None


async def test_one_after_another(bench: Bench) -> None:
    """The next recording of a call can begin as soon as the stop of the first has returned."""
    for name in ("a", "b", "c"):
        begun = await bench.start(name)
        await bench.recorder.stop(begun.id)
    await bench.recorder.drain(5)
    assert sorted(told.name for told in bench.sink.received) == ["a", "b", "c"]


async def test_concurrent_starts(bench: Bench) -> None:
    """Of starts at the same moment one records; the others learn its name."""
    results = await asyncio.gather(
        bench.start("a"), bench.start("b"), bench.start("c"), return_exceptions=True
    )
    refused = [each for each in results if isinstance(each, RecordingActive)]
    assert [each.name for each in refused] == ["a", "a"]
    assert list(bench.pbx.live) == ["a"]


async def test_own_sink_wins(bench: Bench) -> None:
    """A recording's own sink is told instead of the default one, even if it counts as false."""

    class Falsy(Collector):
        def __bool__(self) -> bool:
            return False

    own = Falsy()
    begun = await bench.start(sink=own)
    await bench.recorder.stop(begun.id)
    await bench.recorder.drain(5)
    assert [told.name for told in own.received] == ["x"]
    assert bench.sink.received == []


# -- options, before anything is asked of the PBX


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"name": "../x"}, InvalidRecordingName, r"\.\."),
        ({"fmt": "mp3"}, ConfigurationError, "fmt"),
        ({"fmt": "g729"}, ConfigurationError, "no encoder"),
        ({"layout": "quad"}, ValueError, "layout: 'quad' is not one of mono, stereo"),
        ({"layout": "stereo", "fmt": "gsm"}, ConfigurationError, "layout"),
        ({"layout": "stereo", "target": "channel"}, ValueError, "layout"),
        ({"target": "moon"}, ValueError, "target"),
        ({"max_duration": -1}, ValueError, "max_duration"),
        ({"max_duration": 86_401}, ValueError, "max_duration"),
        ({"max_silence": -1}, ValueError, "max_silence"),
        ({"terminate_on": "x"}, ValueError, "terminate_on"),
        ({"terminate_on": "5", "target": "channel"}, ValueError, "terminate_on"),
        ({"max_silence": 2, "layout": "stereo"}, ValueError, "max_silence"),
    ],
)
async def test_wrong_option(
    tmp_path: Path, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    """A wrong option is one error that names it, and the PBX is not asked for anything."""
    bench = Bench(tmp_path)
    with pytest.raises(error, match=words):
        await bench.start(**options)
    assert not bench.pbx.asked
    assert bench.active is None


async def test_longest_by_default(bench: Bench) -> None:
    """Without a maximum a recording ends after 24 hours, so that none runs for ever."""
    assert (await bench.start()).max_duration == 24 * 3600


# -- a start that goes wrong


async def test_started_is_lost(bench: Bench) -> None:
    """When word of the start is lost, the PBX is asked and the recording goes on."""
    bench.pbx.lost = {EventType.RECORDING_STARTED}
    begun = await bench.start()
    assert begun.state is RecordingState.RECORDING
    assert bench.pbx.asked["probe"] == 1
    await bench.recorder.stop(begun.id)
    assert (await bench.told()).extra["state"] == "available"


async def test_never_began(bench: Bench) -> None:
    """A start that was taken and then forgotten is an error, and there is nothing to be told."""
    bench.pbx.begins = False
    with pytest.raises(RecordingFailed, match="the PBX never began it"):
        await bench.start()
    await bench.recorder.drain(5)
    assert bench.active is None
    assert bench.sink.received == []
    assert bench.kinds == ["failed"]


async def test_only_finished_arrives(bench: Bench) -> None:
    """What has finished has begun: with word of the start lost, the sink is told all the same."""
    bench.pbx.lost = {EventType.RECORDING_STARTED}
    bench.pbx.brief = True
    await bench.start()
    assert (await bench.told()).extra["state"] == "available"
    assert bench.kinds == ["started", "finished", "available"]


async def test_both_words_lost(bench: Bench) -> None:
    """With word of start and end lost, the file is found and the sink told."""
    bench.pbx.lost = {EventType.RECORDING_STARTED, EventType.RECORDING_FINISHED}
    bench.pbx.brief = True
    await bench.start()
    assert (await bench.told()).extra["state"] == "available"


async def test_refused(bench: Bench) -> None:
    """A start that the PBX refuses is an error with its cause, and the next one can follow."""
    bench.pbx.refusal = "a recording of this name exists"
    with pytest.raises(RecordingFailed, match="a recording of this name exists"):
        await bench.start()
    bench.pbx.refusal = ""
    await bench.start("y")
    assert bench.kinds == ["failed", "started"]


async def test_unreachable(bench: Bench) -> None:
    """A PBX that can't be reached is an error with its cause."""
    bench.pbx.reachable = False
    with pytest.raises(RecordingFailed, match="can't be reached"):
        await bench.start()
    assert bench.active is None


async def test_target_is_gone(bench: Bench) -> None:
    """A start on a call that is gone is `CallEnded`."""
    bench.pbx.target_there = False
    with pytest.raises(CallEnded):
        await bench.start()
    assert bench.active is None


async def test_target_goes_while_it_starts(tmp_path: Path) -> None:
    """A start whose call ends meanwhile, unheard by the PBX, is `CallEnded` too."""

    class Leaving(ToyPbx):
        async def start_capture(self, recording: Recording) -> None:
            left(CALL, datetime.now(UTC))
            raise TimeoutError

    bench = Bench(tmp_path, pbx_type=Leaving)
    left = bench.recorder.on_target_gone
    with pytest.raises(CallEnded):
        await bench.start()
    assert bench.active is None


async def test_bridge_is_gone(bench: Bench) -> None:
    """A start on a bridge that is gone does not say that the call is."""
    bench.pbx.target_there = False
    with pytest.raises(NotFound):
        await bench.recorder.start(RecordOptions(target="bridge"), Subject(CALL, CALL, "bridge-1"))
    assert bench.active is None


async def test_active_by_target(bench: Bench) -> None:
    """What a call records elsewhere is active there as well, so that its end is seen to."""
    begun = await bench.recorder.start(
        RecordOptions(target="bridge"), Subject(CALL, CALL, "bridge-1")
    )
    assert bench.active == bench.recorder.active("bridge-1") == begun
    await bench.recorder.stop(begun.id)
    assert bench.recorder.active("bridge-1") is None


async def test_start_is_cancelled(bench: Bench) -> None:
    """A start whose caller was cancelled leaves no recording behind."""
    bench.pbx.hangs = True
    starting = asyncio.create_task(bench.start())
    await eventually(lambda: bench.pbx.asked["start"])
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    bench.pbx.hangs = False
    await bench.recorder.drain(5)
    assert bench.active is None
    assert not bench.pbx.live


async def test_cancelled_start_that_began(bench: Bench) -> None:
    """A start that is cancelled when the PBX has begun is stopped, and its file reported."""
    bench.pbx.held = {EventType.RECORDING_STARTED}
    starting = asyncio.create_task(bench.start())
    await eventually(lambda: bench.pbx.live)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    bench.pbx.let_go()
    assert (await bench.told()).extra["state"] == "available"
    assert not bench.pbx.live


async def test_stop_while_starting(bench: Bench) -> None:
    """A stop that overtakes word of the start ends the recording, and the sink is told once."""
    bench.pbx.held = {EventType.RECORDING_STARTED, EventType.RECORDING_FINISHED}
    starting = asyncio.create_task(bench.start())
    await eventually(lambda: bench.pbx.live)
    active = bench.active
    assert active is not None
    stopping = asyncio.create_task(bench.recorder.stop(active.id))
    await eventually(lambda: not bench.pbx.live)
    bench.pbx.let_go(backwards=True)
    assert await stopping
    await asyncio.gather(starting, return_exceptions=True)
    assert (await bench.told()).extra["end_reason"] == "stopped"
    assert bench.kinds == ["started", "finished", "available"]


# -- an end that goes wrong


@pytest.mark.parametrize("kind", [EventType.RECORDING_STARTED, EventType.RECORDING_FINISHED])
async def test_doubled(bench: Bench, kind: EventType) -> None:
    """An event that comes twice counts once."""
    bench.pbx.doubled = {kind}
    begun = await bench.start()
    await bench.recorder.stop(begun.id)
    await bench.told()
    assert bench.kinds == ["started", "finished", "available"]


async def test_late_words_after_the_end(bench: Bench) -> None:
    """What is heard of a recording that is over, while its sink is still being told, is not told
    again.
    """
    told = asyncio.Event()

    class Slow(Collector):
        async def on_recording_complete(self, metadata: RecordingMetadata) -> None:
            await told.wait()
            await super().on_recording_complete(metadata)

    begun = await bench.start(sink=Slow())
    await bench.recorder.stop(begun.id)
    await eventually(lambda: "available" in bench.kinds)
    bench.pbx.tell(EventType.RECORDING_FINISHED, begun)
    bench.recorder.on_target_gone(CALL, datetime.now(UTC))
    assert await bench.recorder.stop(begun.id)
    told.set()
    await bench.recorder.drain(5)
    assert bench.kinds == ["started", "finished", "available"]


async def test_stops_are_lost(bench: Bench) -> None:
    """A stop that had no effect is asked again until it has."""
    bench.pbx.stops_lost = 3
    begun = await bench.start()
    assert await bench.recorder.stop(begun.id)
    assert bench.pbx.asked["stop"] == 4
    await bench.told()


async def test_finished_is_lost(bench: Bench) -> None:
    """When word of the end is lost, the PBX is asked and the file is found."""
    bench.pbx.lost = {EventType.RECORDING_FINISHED}
    begun = await bench.start()
    assert await bench.recorder.stop(begun.id)
    assert (await bench.told()).duration_seconds == 0.1


async def test_unreachable_while_stopping(bench: Bench) -> None:
    """A stop that can't reach the PBX is an error in time, and is carried out later."""
    begun = await bench.start()
    bench.pbx.reachable = False
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recorder_module, "STOP_DEADLINE", 0.05)
        with pytest.raises(RecordingError, match="stopped when it does"):
            await bench.recorder.stop(begun.id)
    bench.pbx.reachable = True
    assert (await bench.told()).extra["end_reason"] == "stopped"
    assert not bench.pbx.live


@pytest.mark.parametrize("lost", [set(), {EventType.RECORDING_FINISHED}])
async def test_hang_up(bench: Bench, lost: set[EventType]) -> None:
    """A call that ends ends its recording, whether or not the PBX's word of it arrives."""
    bench.pbx.lost = lost
    await bench.start()
    bench.recorder.on_target_gone(CALL, datetime.now(UTC))
    await bench.pbx.hangup_call(CALL)
    told = await bench.told()
    assert (told.extra["state"], told.extra["end_reason"]) == ("available", "hangup")


async def test_finished_before_hang_up(bench: Bench) -> None:
    """A recording that finished a moment before its call's end ended with the call."""
    await bench.start()
    await bench.pbx.hangup_call(CALL)
    bench.recorder.on_target_gone(CALL, datetime.now(UTC))
    assert (await bench.told()).extra["end_reason"] == "hangup"


async def test_nothing_is_left(bench: Bench) -> None:
    """A recording of which the PBX has nothing any more is told as failed, with the cause."""
    await bench.start()
    bench.pbx.live.clear()
    bench.recorder.on_target_gone(CALL, datetime.now(UTC))
    told = await bench.told()
    assert told.extra["state"] == "failed"
    assert "neither the recording nor a file" in told.extra["cause"]
    assert told.duration_seconds is None
    assert told.file_path == str(bench.pbx.path("x"))


async def test_finished_without_a_file(bench: Bench) -> None:
    """`Finished` without a file is a failure, with the cause and where the file should be."""
    bench.pbx.writes_files = False
    begun = await bench.start()
    await bench.recorder.stop(begun.id)
    told = await bench.told()
    assert told.extra["state"] == "failed"
    assert "has no file" in told.extra["cause"]
    assert bench.kinds == ["started", "finished", "failed"]


async def test_empty_file(bench: Bench) -> None:
    """A file without a single sample is a failure, with the cause."""
    bench.pbx.seconds = 0
    begun = await bench.start()
    await bench.recorder.stop(begun.id)
    told = await bench.told()
    assert told.extra["state"] == "failed"
    assert "holds no audio" in told.extra["cause"]


async def test_failed_while_recording(bench: Bench) -> None:
    """A failure that the PBX reports is told once, with its cause."""
    begun = await bench.start()
    bench.pbx.tell(EventType.RECORDING_FAILED, begun, cause="out of order")
    told = await bench.told()
    assert (told.extra["state"], told.extra["cause"]) == ("failed", "out of order")


async def test_maximum(bench: Bench) -> None:
    """A recording as long as its maximum ended because of it."""
    bench.pbx.seconds = 1.4
    begun = await bench.start(max_duration=1)
    bench.pbx.finish(begun)
    assert (await bench.told()).extra["end_reason"] == "max_duration"


@pytest.mark.parametrize(
    ("options", "reason"),
    [({"max_silence": 2}, "silence"), ({}, "unknown"), ({"terminate_on": "#"}, "key")],
)
async def test_ended_by_itself(bench: Bench, options: dict[str, Any], reason: str) -> None:
    """A recording that ended by itself did so for the one reason there can be."""
    begun = await bench.start(target="channel", **options)
    bench.pbx.finish(begun)
    assert (await bench.told()).extra["end_reason"] == reason


@pytest.mark.parametrize(("wanted", "pressed"), [("#", "#"), ("any", "7")])
async def test_key_ends_it(bench: Bench, wanted: str, pressed: str) -> None:
    """The key that was agreed on ends the recording of a snoop, which hears none of its own."""
    begun = await bench.start(terminate_on=wanted)
    if wanted == "#":
        bench.recorder.on_digit(CALL, "5")
    bench.recorder.on_digit("another call", pressed)
    assert bench.active == begun
    bench.recorder.on_digit(CALL, pressed)
    assert (await bench.told()).extra["end_reason"] == "key"


# -- gaps


async def test_gap_leaves_it_running(bench: Bench) -> None:
    """A recording that ran on through a gap runs on."""
    begun = await bench.start()
    await bench.recorder.resync(Gap(datetime.now(UTC), restarted=False))
    await eventually(lambda: bench.pbx.asked["probe"])
    assert bench.active == begun
    await bench.recorder.stop(begun.id)
    assert (await bench.told()).extra["end_reason"] == "stopped"


async def test_ended_in_a_gap(bench: Bench) -> None:
    """A recording that ended while no events came is found out about."""
    begun = await bench.start()
    bench.pbx.lost = {EventType.RECORDING_FINISHED}
    bench.pbx.finish(begun)
    await bench.recorder.resync(Gap(datetime.now(UTC), restarted=False))
    assert (await bench.told()).extra["state"] == "available"


async def test_pbx_restarted(bench: Bench) -> None:
    """What a crash of the PBX cost is measured: the time until the crash that the file lacks."""
    begun = await bench.start()
    assert begun.started_at is not None
    bench.pbx.lost = {EventType.RECORDING_FINISHED}
    bench.pbx.finish(begun)
    crash = begun.started_at + timedelta(seconds=2)
    await bench.recorder.resync(Gap(crash, restarted=True))
    bench.recorder.on_target_gone(CALL, datetime.now(UTC))
    told = await bench.told()
    assert told.extra["lost_seconds"] == 1.9
    assert told.extra["ended_at"] == crash.isoformat()
    assert told.extra["state"] == "available"
    assert told.extra["end_reason"] == "pbx_lost"


async def test_pbx_restarted_without_the_file(bench: Bench) -> None:
    """A recording that a crash left nothing of is told as failed because of it."""
    begun = await bench.start()
    assert begun.started_at is not None
    bench.pbx.live.clear()
    await bench.recorder.resync(Gap(begun.started_at + timedelta(seconds=2), restarted=True))
    told = await bench.told()
    assert (told.extra["state"], told.extra["end_reason"]) == ("failed", "pbx_lost")
    assert told.extra["lost_seconds"] == 2.0


async def test_call_after_the_restart(bench: Bench) -> None:
    """A recording that was asked for after the crash has nothing to do with it."""
    crash = datetime.now(UTC) - timedelta(seconds=1)
    begun = await bench.start()
    await bench.recorder.resync(Gap(crash, restarted=True))
    await bench.recorder.stop(begun.id)
    told = await bench.told()
    assert told.extra["end_reason"] == "stopped"
    assert "lost_seconds" not in told.extra


# -- live operations


async def test_pause(bench: Bench) -> None:
    """Pausing twice asks the PBX once; both changes are told."""
    begun = await bench.start()
    for on in (True, True, False, False):
        await bench.recorder.pause(begun.id, on=on)
        assert bench.active is not None
        assert bench.active.paused is on
    assert (bench.pbx.asked["pause"], bench.pbx.asked["resume"]) == (1, 1)
    assert bench.kinds == ["started", "paused", "resumed"]


async def test_mute(bench: Bench) -> None:
    """Muting twice, even at the same moment, asks the PBX once: a second time would un-mute."""
    begun = await bench.start()
    await asyncio.gather(*(bench.recorder.mute(begun.id, on=True) for _ in range(3)))
    assert bench.pbx.asked["mute"] == 1
    assert bench.active is not None
    assert bench.active.muted
    await bench.recorder.mute(begun.id, on=False)
    await bench.recorder.mute(begun.id, on=False)
    assert bench.pbx.asked["unmute"] == 1
    assert not bench.active.muted


async def test_a_start_without_any_answer_is_stopped_when_there_is_one(bench: Bench) -> None:
    """A PBX that neither replies nor can be asked makes `start` fail in bounded time; what it did
    begin is stopped and told once it can be asked.
    """
    begin = bench.pbx.start_capture

    async def begin_and_fall_silent(recording: Recording) -> None:
        bench.pbx.lost.add(EventType.RECORDING_STARTED)
        with suppress(TimeoutError):
            await begin(recording)
        bench.pbx.reachable = False
        raise RequestTimeout("no answer in time")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recorder_module, "STOP_DEADLINE", 0.05)
        patch.setattr(bench.pbx, "start_capture", begin_and_fall_silent)
        with pytest.raises(RecordingFailed, match="does not say whether it began"):
            await bench.start()
    assert bench.pbx.live
    bench.pbx.reachable = True
    told = await bench.told()
    assert told.extra["end_reason"] == "stopped"
    assert not bench.pbx.live


async def test_mute_that_fails_is_neither_believed_nor_repeated(bench: Bench) -> None:
    """A mute without an answer leaves unknown whether the file is silent, and a second request
    would undo the first if it was carried out: so there is none, and the caller is told what to do.
    """
    begun = await bench.start()
    bench.pbx.reachable = False
    with pytest.raises(RecordingError, match=r"can't be reached.*unknown: stop it"):
        await bench.recorder.mute(begun.id, on=True)
    bench.pbx.reachable = True
    for on in (True, False):
        with pytest.raises(RecordingError, match="unknown: stop it"):
            await bench.recorder.mute(begun.id, on=on)
    assert bench.active is not None
    assert not bench.active.muted
    await bench.recorder.stop(begun.id)


async def test_mute_of_what_has_ended(bench: Bench) -> None:
    """A live operation on a recording that is over says so."""
    begun = await bench.start()
    bench.pbx.live.clear()
    with pytest.raises(RecordingEnded):
        await bench.recorder.mute(begun.id, on=True)
    bench.pbx.tell(EventType.RECORDING_FAILED, begun, cause="gone")
    await bench.told()
    with pytest.raises(RecordingEnded):
        await bench.recorder.pause(begun.id, on=True)


async def test_mute_of_what_has_not_begun(bench: Bench) -> None:
    """A live operation on a recording that has not begun says so."""
    bench.pbx.hangs = True
    starting = asyncio.create_task(bench.start())
    await eventually(lambda: bench.active)
    assert bench.active is not None
    with pytest.raises(RecordingError, match="has not begun"):
        await bench.recorder.mute(bench.active.id, on=True)
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)


async def test_cancel(bench: Bench) -> None:
    """A cancelled recording is told to no sink, and frees the call at once."""
    begun = await bench.start()
    await bench.recorder.cancel(begun.id)
    assert bench.active is None
    await bench.recorder.drain(5)
    assert bench.sink.received == []
    assert bench.kinds == ["started", "failed"]
    assert bench.events[-1].data["end_reason"] == "cancelled"


async def test_cancel_that_fails(bench: Bench) -> None:
    """A cancel that did not reach the PBX leaves the recording as it was."""
    begun = await bench.start()
    bench.pbx.reachable = False
    with pytest.raises(Exception, match="can't be reached"):
        await bench.recorder.cancel(begun.id)
    bench.pbx.reachable = True
    assert bench.active == begun
    await bench.recorder.stop(begun.id)
    assert (await bench.told()).extra["state"] == "available"


# -- rivals for the row


@pytest.mark.parametrize("rivals", [1, 2, 5])
async def test_lost_compare_and_set(tmp_path: Path, rivals: int) -> None:
    """Who loses the row to another process takes its new value and tries again; nothing of either
    is lost, and effects are due once.
    """
    store = ContendedStore(rivals)
    bench = Bench(tmp_path, store)
    begun = await bench.start()
    await bench.recorder.mute(begun.id, on=True)
    await bench.recorder.stop(begun.id)
    told = await bench.told()
    assert store.lost == rivals
    assert told.extra["rivals"] == rivals
    assert store.rows[begun.id].muted
    assert store.rows[begun.id].state is RecordingState.AVAILABLE
    assert bench.pbx.asked["stop"] == 1
    assert bench.kinds == ["started", "finished", "available"]


async def test_another_process_ended_it(tmp_path: Path) -> None:
    """When another process has ended the recording, a stop returns, and the call is free."""
    store = ContendedStore()
    bench = Bench(tmp_path, store)
    begun = await bench.start()
    store.rows[begun.id] = replace(
        store.rows[begun.id],
        state=RecordingState.FAILED,
        ended_at=datetime.now(UTC),
        end_reason=EndReason.STOPPED,
        cause="ended elsewhere",
    )
    async with asyncio.timeout(2):
        await bench.recorder.stop(begun.id)
        await bench.recorder.drain(1)
    assert bench.active is None


# -- files out of reach


@pytest.fixture
def far(bench: Bench) -> Bench:
    """Return a recorder whose PBX has its folder on another machine."""
    bench.pbx.folder = bench.folder / "far"
    bench.pbx.folder.mkdir()
    (bench.folder / "downloads").mkdir()
    return bench


async def test_file_waits_for_the_pbx(far: Bench) -> None:
    """A file is fetched when the PBX that has it can be reached again."""
    begun = await far.start()
    far.pbx.reachable = False
    far.pbx.finish(begun)
    await eventually(lambda: far.pbx.asked["probe"] > 1)
    assert far.sink.received == []
    far.pbx.reachable = True
    told = await far.told()
    assert told.extra["state"] == "available"
    assert Path(told.file_path) == far.folder / "downloads" / "x.wav"


async def test_drain_ends_without_the_file(far: Bench) -> None:
    """A file that can't be fetched before the shutdown is told as failed, with where it is."""
    begun = await far.start()
    far.pbx.reachable = False
    far.pbx.finish(begun)
    await far.recorder.drain(0.05)
    (told,) = far.sink.received
    assert told.extra["state"] == "failed"
    assert "not verified before the shutdown" in told.extra["cause"]


async def test_tracks_that_can_not_be_deleted(tmp_path: Path) -> None:
    """A stereo file is good, also when the PBX can't be asked to delete what it was made of."""

    class TwoSided(ToyPbx):
        def plan_capture(self, recording: Recording) -> tuple[Track, ...]:
            return tuple(Track(f"{recording.name}-{side}", side) for side in ("in", "out"))

        async def delete_track(self, track: Track) -> None:
            raise TelephonyConnectionError("the PBX of this test has gone")

        def finish(self, recording: Recording) -> None:
            super().finish(recording)
            for track in recording.tracks:
                self.path(track.name).write_bytes(self.path(recording.name).read_bytes())
            self.path(recording.name).unlink()

    bench = Bench(tmp_path, pbx_type=TwoSided)
    begun = await bench.start(layout="stereo")
    bench.pbx.finish(begun)
    told = await bench.told()
    assert (told.extra["state"], told.extra["channels"]) == ("available", 2)


# -- the shutdown


async def test_drain_waits_for_the_sink(bench: Bench) -> None:
    """A drain returns when the files are finished and their sinks told."""
    begun = await bench.start()
    bench.pbx.finish(begun)
    await bench.recorder.drain(5)
    assert [told.name for told in bench.sink.received] == ["x"]


async def test_drain_reports_what_is_unfinished(bench: Bench) -> None:
    """What the PBX does not finish in time is told as failed, with where its file will be."""
    await bench.start()
    await bench.recorder.drain(0.05)
    (told,) = bench.sink.received
    assert (told.extra["state"], told.extra["end_reason"]) == ("failed", "shutdown")
    assert str(bench.pbx.path("x")) in told.extra["cause"]


@pytest.mark.parametrize("silent", [True, False])
async def test_drain_ends_without_the_pbx(bench: Bench, silent: bool) -> None:
    """A drain ends in time while the PBX does not answer."""
    begun = await bench.start()
    bench.pbx.hangs, bench.pbx.reachable = silent, False
    stopping = asyncio.create_task(bench.recorder.stop(begun.id))
    async with asyncio.timeout(3):
        await bench.recorder.drain(0.05)
    assert await stopping
    assert [told.extra["state"] for told in bench.sink.received] == ["failed"]


async def test_drain_ends_without_the_sink(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """A drain ends in time while a sink hangs, and says which recording it was."""

    class Hanging(RecordingSink):
        async def on_recording_complete(self, metadata: RecordingMetadata) -> None:
            await asyncio.Event().wait()

    begun = await bench.start(sink=Hanging())
    bench.pbx.finish(begun)
    async with asyncio.timeout(4):
        await bench.recorder.drain(0.05)
    assert "recording x" in caplog.text


async def test_drain_ends_without_the_store(tmp_path: Path) -> None:
    """A drain ends in time while the store hangs."""
    store = ContendedStore()
    bench = Bench(tmp_path, store)
    await bench.start()

    async def never(old: Recording, new: Recording) -> bool:
        return await asyncio.Event().wait()

    store.replace = never  # type: ignore[method-assign]  # a database that does not answer
    async with asyncio.timeout(4):
        await bench.recorder.drain(0.05)


# -- pauses


async def test_pauses_have_times(bench: Bench) -> None:
    """What a recording lacks, or has as silence, is noted from when until when."""
    before = datetime.now(UTC)
    begun = await bench.start()
    for on in (True, False):
        await bench.recorder.pause(begun.id, on=on)
    await bench.recorder.mute(begun.id, on=True)
    active = bench.active
    assert active is not None
    cut, silent = active.pauses
    assert cut.until is not None
    assert before <= cut.since <= cut.until <= silent.since <= datetime.now(UTC)
    assert (cut.muted, silent.muted, silent.until) == (False, True, None)


async def test_who_asked_for_a_pause_goes_away(bench: Bench) -> None:
    """A pause that is cancelled half-way comes about whole: the row says what the PBX does, and a
    resume resumes.
    """
    go_on, asked = asyncio.Event(), asyncio.Event()
    real = bench.pbx.pause_capture

    async def slow(recording: Recording, *, on: bool) -> None:
        await real(recording, on=on)
        asked.set()
        await go_on.wait()

    bench.pbx.pause_capture = slow  # type: ignore[method-assign]  # a reply that takes its time
    begun = await bench.start()
    pausing = asyncio.create_task(bench.recorder.pause(begun.id, on=True))
    await asked.wait()
    pausing.cancel()
    await asyncio.gather(pausing, return_exceptions=True)
    go_on.set()
    await eventually(lambda: bench.active is not None and bench.active.paused)
    await bench.recorder.pause(begun.id, on=False)
    assert bench.pbx.asked["resume"] == 1
    assert bench.active is not None
    assert not bench.active.paused


async def test_a_pause_without_an_answer(bench: Bench) -> None:
    """Whether it came about is unknown, so the resume is asked all the same: else the rest of the
    call might not be in the file.
    """
    begun = await bench.start()
    bench.pbx.reachable = False
    with pytest.raises(TelephonyConnectionError):
        await bench.recorder.pause(begun.id, on=True)
    bench.pbx.reachable = True
    assert bench.active == begun
    await bench.recorder.pause(begun.id, on=False)
    assert bench.pbx.asked["resume"] == 1
    await bench.recorder.pause(begun.id, on=False)
    assert bench.pbx.asked["resume"] == 1
    assert bench.active == begun


async def test_a_mute_whose_asker_goes_away(bench: Bench) -> None:
    """It is carried out and noted; whether it is muted is known, so it can be unmuted."""
    begun = await bench.start()
    muting = asyncio.create_task(bench.recorder.mute(begun.id, on=True))
    await eventually(lambda: bench.pbx.asked["mute"])
    muting.cancel()
    await asyncio.gather(muting, return_exceptions=True)
    await eventually(lambda: bench.active is not None and bench.active.muted)
    await bench.recorder.mute(begun.id, on=False)
    assert bench.pbx.asked["unmute"] == 1


# -- no more recordings


async def test_a_refusal(bench: Bench) -> None:
    """While there is a reason none begins, with the reason; those that run run on."""
    begun = await bench.start()
    bench.recorder.refusal = "the disk is full"
    with pytest.raises(RecordingFailed, match="the disk is full"):
        await bench.recorder.start(RecordOptions(), Subject("other", "other", "other"))
    assert bench.active == begun
    assert bench.pbx.asked["start"] == 1
    bench.recorder.refusal = ""
    await bench.recorder.start(RecordOptions(), Subject("other", "other", "other"))


# -- what lasts too long


async def test_a_recording_that_outlives_its_maximum(bench: Bench) -> None:
    """It is stopped a moment after, because of it, and not a second earlier."""
    begun = await bench.start(max_duration=60)
    assert begun.started_at is not None
    late = begun.started_at + timedelta(seconds=60 + outcome.STOPPED_AFTER)
    bench.recorder.expire(late)
    assert bench.active == begun
    bench.recorder.expire(late + timedelta(milliseconds=1))
    assert (await bench.told()).extra["end_reason"] == "max_duration"
    assert bench.pbx.asked["stop"] == 1


async def test_a_recording_that_can_not_be_ended(bench: Bench) -> None:
    """A minute after its maximum nothing is live: it has failed, with the cause, and once."""
    begun = await bench.start(max_duration=60)
    assert begun.started_at is not None
    bench.pbx.reachable = False
    for seconds in (10, 25, 41, 56):
        bench.recorder.expire(begun.started_at + timedelta(seconds=60 + seconds))
        await asyncio.sleep(0)
    await bench.sink.wait_for(1)
    assert bench.active is None
    told = bench.sink.received[0].extra
    assert (told["state"], told["end_reason"]) == ("failed", "max_duration")
    assert "has not ended it" in told["cause"]
    await bench.recorder.drain(0.1)
    assert len(bench.sink.received) == 1


# -- a run before this one


class Restarted:
    """What a run left behind on a PBX and in a store, and the run after it."""

    def __init__(self, folder: Path) -> None:
        self.before = Bench(folder, ContendedStore())
        self.after = Bench(folder, self.before.store)
        self.after.pbx = self.before.pbx
        self.after.recorder._adapter = self.before.pbx

    async def crash(self, **options: Any) -> Recording:
        """Record, and die in the middle of it; the PBX goes on and tells the next run."""
        begun = await self.before.start(**options)
        self.before.pbx.listen(self.after.recorder.on_event, self.after.recorder.resync)
        return begun

    async def adopt(self) -> None:
        """Take over what there is."""
        left = await self.after.store.unfinished()
        self.after.recorder.adopt(left)
        await self.after.recorder.settled([each.id for each in left])


@pytest.fixture
def restarted(tmp_path: Path) -> Restarted:
    """Return two runs, one after the other."""
    return Restarted(tmp_path)


async def test_an_adopted_recording_is_seen_through(restarted: Restarted) -> None:
    """What still runs is known again: its end is heard of, its file judged, its sink told once."""
    begun = await restarted.crash()
    await restarted.adopt()
    assert restarted.after.active == begun
    await restarted.adopt()  # again, as every pass does
    await restarted.after.pbx.hangup_call(CALL)
    restarted.after.recorder.on_target_gone(CALL, datetime.now(UTC))
    told = await restarted.after.told()
    assert (told.extra["state"], told.extra["end_reason"]) == ("available", "hangup")
    assert restarted.before.sink.received == []


@pytest.mark.parametrize(("file", "state"), [(True, "available"), (False, "failed")])
async def test_an_adopted_recording_that_has_ended(
    restarted: Restarted, file: bool, state: str
) -> None:
    """It is found out what became of it."""
    begun = await restarted.crash()
    restarted.after.pbx.lost = {EventType.RECORDING_FINISHED}
    restarted.after.pbx.writes_files = file
    restarted.after.pbx.finish(begun)
    await restarted.adopt()
    assert (await restarted.after.told()).extra["state"] == state


async def test_an_adopted_recording_whose_file_was_finished(restarted: Restarted) -> None:
    """A crash between the end and the sink: the file is judged and the sink told."""
    begun = await restarted.crash()
    store = restarted.before.store
    assert isinstance(store, ContendedStore)
    now = datetime.now(UTC)
    store.rows[begun.id] = replace(begun, state=RecordingState.STOPPING, ended_at=now)
    restarted.after.pbx.lost = {EventType.RECORDING_FINISHED}
    restarted.after.pbx.finish(begun)
    await restarted.adopt()
    assert (await restarted.after.told()).extra["state"] == "available"
    assert restarted.after.pbx.asked["probe"] == 0


async def test_an_adopted_recording_that_never_began(restarted: Restarted) -> None:
    """A row alone has failed, no sink is told, and its call can be recorded."""
    restarted.before.pbx.listen(restarted.after.recorder.on_event, restarted.after.recorder.resync)
    store = restarted.before.store
    begun = RecordOptions(name="x").recording(Subject(CALL, CALL, CALL), 60)
    await store.insert(replace(begun, tracks=(Track("x"),)))
    await restarted.adopt()
    await eventually(lambda: restarted.after.active is None)
    assert restarted.after.kinds == ["failed"]
    assert restarted.after.sink.received == []
    await restarted.after.start("y")


async def test_a_stale_row_is_not_adopted_for_good(restarted: Restarted) -> None:
    """A row that was read before the recording's end is given up when the store knows better."""
    begun = await restarted.before.start()
    await restarted.before.recorder.stop(begun.id)
    await restarted.before.told()
    restarted.after.recorder.adopt([begun])
    await eventually(lambda: restarted.after.active is None)
    assert restarted.after.kinds == []
    assert restarted.after.sink.received == []


async def test_a_recording_is_taken_up(restarted: Restarted) -> None:
    """Who asks for the same kind of recording gets the one that runs, without a gap, and his sink
    is told of it.
    """
    begun = await restarted.crash()
    await restarted.adopt()
    own = Collector()
    taken = await restarted.after.start("another name", sink=own)
    assert taken.id == begun.id
    assert restarted.after.pbx.asked["start"] == 1
    with pytest.raises(RecordingActive):
        await restarted.after.start()
    await restarted.after.recorder.stop(begun.id)
    await own.wait_for(1)
    await restarted.after.recorder.drain(5)
    assert restarted.after.sink.received == []


async def test_of_two_who_want_it_one_takes_it_up(restarted: Restarted) -> None:
    """The other one learns that it is active."""
    begun = await restarted.crash()
    await restarted.adopt()
    first, second = await asyncio.gather(
        *(restarted.after.start(name) for name in "ab"), return_exceptions=True
    )
    assert isinstance(first, Recording)
    assert first.id == begun.id
    assert isinstance(second, RecordingActive)


async def test_another_kind_is_not_taken_up(restarted: Restarted) -> None:
    """Who wants something else gets that: what runs is finished first, and is not lost."""
    begun = await restarted.crash()
    await restarted.adopt()
    made = await restarted.after.start("y", fmt="gsm")
    assert made.id != begun.id
    assert list(restarted.after.pbx.live) == ["y"]
    (told,) = await restarted.after.sink.wait_for(1)
    assert (told.name, told.extra["state"]) == ("x", "available")


async def test_one_that_ends_as_it_is_wanted_is_not_taken_up(restarted: Restarted) -> None:
    """A recording that is over by then is followed by a new one."""
    begun = await restarted.crash()
    restarted.after.recorder.adopt([begun])
    restarted.after.pbx.lost = {EventType.RECORDING_FINISHED}
    restarted.after.pbx.finish(begun)
    made = await restarted.after.start("y")
    assert made.id != begun.id
    await restarted.after.sink.wait_for(1)


# -- an aftermath of others


class Elsewhere:
    """An aftermath that leaves all to somebody else."""

    def __init__(self) -> None:
        self.sinks: list[RecordingSink | None] = []
        self.settled: list[str] = []

    def taken(self, live: LiveRecording) -> None:
        """Note the sink."""
        self.sinks.append(live.sink)

    async def capture(self, live: LiveRecording) -> Change | None:
        """Leave it."""
        return None

    async def settle(self, live: LiveRecording) -> None:
        """Note it."""
        self.settled.append(live.recording.state.value)

    def abandoned(self, live: LiveRecording) -> Change | None:
        """Leave it."""
        return None


@pytest.fixture
def handed(tmp_path: Path) -> tuple[Bench, Elsewhere]:
    """Return a recorder that hands its recordings over."""
    bench, aftermath = Bench(tmp_path, ContendedStore()), Elsewhere()
    bench.recorder._aftermath = aftermath
    return bench, aftermath


async def test_what_has_ended_is_handed_over(handed: tuple[Bench, Elsewhere]) -> None:
    """The recorder is done with the end: stop returns, the next can begin, no sink is told."""
    bench, aftermath = handed
    for name in ("a", "b"):
        begun = await bench.start(name)
        stopped = await bench.recorder.stop(begun.id)
        assert stopped is not None
        assert stopped.state is RecordingState.STOPPING
    await eventually(lambda: bench.recorder.running() == [] and not bench.recorder._live)
    assert bench.kinds == ["started", "finished"] * 2
    assert aftermath.sinks == [bench.sink] * 2
    assert aftermath.settled == []
    assert bench.sink.received == []


async def test_what_failed_is_settled_at_once(handed: tuple[Bench, Elsewhere]) -> None:
    """There is nothing to hand over of what the PBX has failed at, or what was cancelled."""
    bench, aftermath = handed
    begun = await bench.start("a")
    await bench.recorder.cancel(begun.id)
    await eventually(lambda: aftermath.settled == ["failed"])
    bench.pbx.refusal = "no"
    with pytest.raises(RecordingFailed):
        await bench.start("b")
    await eventually(lambda: aftermath.settled == ["failed"] * 2)


async def test_a_shutdown_leaves_what_runs_to_the_next_start(
    handed: tuple[Bench, Elsewhere],
) -> None:
    """It is not told as failed, its row stays as it is, and who waits for its end is let go."""
    bench, aftermath = handed
    begun = await bench.start("a")
    bench.pbx.reachable = False
    stopping = asyncio.create_task(bench.recorder.stop(begun.id))
    await eventually(lambda: bench.pbx.asked["stop"])
    async with asyncio.timeout(5):
        await bench.recorder.drain(0.05)
        await stopping
    row = await bench.store.get(begun.id)
    assert row is not None
    assert (row.state, row.ended_at) == (RecordingState.STOPPING, None)
    assert aftermath.settled == []
    assert bench.kinds == ["started"]


async def test_a_row_that_can_not_be_written_leaves_nothing(
    handed: tuple[Bench, Elsewhere],
) -> None:
    """Without a row the PBX is not asked, and no sink is kept."""
    bench, aftermath = handed

    async def broken(recording: Recording) -> None:
        raise RecordingFailed(recording.name, "the store is away")

    bench.store.insert = broken  # type: ignore[method-assign]  # a store that is away
    with pytest.raises(RecordingFailed, match="the store is away"):
        await bench.start()
    assert not bench.pbx.asked
    assert aftermath.sinks == []
    assert bench.active is None


async def test_a_start_that_returns_without_an_event(bench: Bench) -> None:
    """What the PBX has said by its answer is true: the recording runs, and is told of."""
    real = bench.pbx.start_capture

    async def begin(recording: Recording) -> None:
        bench.pbx.lost = {EventType.RECORDING_STARTED}
        with suppress(TimeoutError):
            await real(recording)

    bench.pbx.start_capture = begin  # type: ignore[method-assign]  # an adapter without that event
    begun = await bench.start()
    assert begun.state is RecordingState.RECORDING
    assert bench.kinds == ["started"]
    await bench.recorder.stop(begun.id)
    assert (await bench.told()).extra["state"] == "available"


async def test_a_look_while_a_recording_begins(bench: Bench) -> None:
    """A PBX that has nothing of it yet is asked by nobody but the start, which goes on."""
    go_on, asked = asyncio.Event(), asyncio.Event()
    real = bench.pbx.start_capture

    async def slow(recording: Recording) -> None:
        asked.set()
        await go_on.wait()
        await real(recording)

    bench.pbx.start_capture = slow  # type: ignore[method-assign]  # a PBX under load
    starting = asyncio.create_task(bench.start())
    await asked.wait()
    await bench.recorder.resync(Gap(datetime.now(UTC), restarted=False))
    active = bench.active
    assert active is not None
    await bench.recorder.settled([active.id])
    assert bench.pbx.asked["probe"] == 0
    go_on.set()
    assert (await starting).state is RecordingState.RECORDING


# -- whatever happens, in whatever order

ACTIONS = ["stop", "pbx finishes", "hang up", "gap", "restart", "mute", "pause", "key", "let go"]
LINES = st.sets(st.sampled_from([EventType.RECORDING_STARTED, EventType.RECORDING_FINISHED]))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    actions=st.lists(st.sampled_from(ACTIONS), max_size=8),
    lost=LINES,
    doubled=LINES,
    held=LINES,
    backwards=st.booleans(),
    stops_lost=st.integers(0, 2),
    rivals=st.integers(0, 3),
    samples=st.sampled_from([0.0, 0.02]),
)
def test_sink_exactly_once(
    actions: list[str],
    lost: set[EventType],
    doubled: set[EventType],
    held: set[EventType],
    backwards: bool,
    stops_lost: int,
    rivals: int,
    samples: float,
) -> None:
    """Whatever is lost, doubled, late or done in any order: a recording that the PBX began is told
    once, with one end.
    """

    async def live(folder: Path) -> None:
        store = ContendedStore(rivals)
        bench = Bench(folder, store)
        bench.pbx.seconds = samples
        bench.pbx.lost, bench.pbx.doubled, bench.pbx.held = set(lost), set(doubled), set(held)
        bench.pbx.stops_lost = stops_lost
        starting = asyncio.create_task(bench.start(terminate_on="#"))
        await asyncio.sleep(0)
        doing = [asyncio.create_task(act(bench, action, backwards)) for action in actions]
        await asyncio.gather(*doing, return_exceptions=True)
        bench.pbx.let_go(backwards=backwards)
        await asyncio.wait([starting], timeout=2)
        assert starting.done()
        if bench.active is not None:
            await bench.recorder.stop(bench.active.id)
        await bench.recorder.drain(2)
        assert bench.active is None
        assert not bench.pbx.live
        (row,) = store.rows.values()
        begun = row.started_at is not None
        assert len(bench.sink.received) == begun
        finals = [kind for kind in bench.kinds if kind in ("available", "failed")]
        assert finals == [row.state.value]
        assert bench.kinds.count("started") == begun
        assert bench.kinds.count("finished") <= 1
        if begun and samples and bench.pbx.path("x").exists():
            assert row.state is RecordingState.AVAILABLE

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(live(Path(folder)))


async def act(bench: Bench, action: str, backwards: bool) -> None:
    """Do one of `ACTIONS`."""
    active = bench.active
    if action == "let go":
        bench.pbx.let_go(backwards=backwards)
    elif action == "key":
        bench.recorder.on_digit(CALL, "#")
    elif action == "hang up":
        await bench.pbx.hangup_call(CALL)
        bench.recorder.on_target_gone(CALL, datetime.now(UTC))
    elif action in ("gap", "restart"):
        await bench.recorder.resync(Gap(datetime.now(UTC), restarted=action == "restart"))
    elif action == "pbx finishes":
        for recording in list(bench.pbx.live.values()):
            bench.pbx.finish(recording)
    elif active is None:
        return
    elif action == "stop":
        await bench.recorder.stop(active.id)
    elif action == "mute":
        await bench.recorder.mute(active.id, on=True)
    else:
        await bench.recorder.pause(active.id, on=True)
