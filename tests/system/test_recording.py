"""The recording verbs of a call: starts, stops, names, limits and ends, and one sink for each."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CallPlacer
from tests.system.calls import FRAMES, HEARD, Heard, Line, make_sound, talk
from tests.system.conftest import AppMaker
from tests.system.support import Collector, eventually, run_app
from voxtra import CallSession, VoxtraApp
from voxtra.exceptions import (
    InvalidRecordingName,
    NotFound,
    RecordingActive,
    RecordingError,
    RecordingFailed,
)
from voxtra.ids import new_id
from voxtra.lab.pbx import Pbx


@pytest.fixture
async def app(make_app: AppMaker) -> AsyncIterator[VoxtraApp]:
    """Run an app."""
    made = make_app()
    async with run_app(made):
        yield made


@pytest.fixture
def line(app: VoxtraApp, place_call: CallPlacer) -> Line:
    """Return a line to the app."""
    return Line(app, place_call)


async def is_live(app: VoxtraApp, name: str) -> bool:
    """Tell whether Asterisk is writing a recording of that name."""
    try:
        await app.ari.get_live_recording(name)
    except NotFound:
        return False
    return True


# -- stops and starts in every rhythm


async def test_four_stops_at_once(line: Line, sink: Collector) -> None:
    """Stops at the same moment all return the recording's name; the sink is told once."""
    call = await line.call()
    name = await call.record_start()
    await talk(0.3)
    assert await asyncio.gather(*(call.record_stop() for _ in range(4))) == [name] * 4
    assert await call.record_stop() is None
    await sink.next()
    await call.hangup()
    await call.wait_ended()
    assert [told.name for told in sink.received] == [name]


async def test_start_while_active(line: Line, sink: Collector) -> None:
    """A start while a recording is active names it, and disturbs nothing; so do starts at once."""
    call = await line.call()
    names = await asyncio.gather(*(call.record_start() for _ in range(3)), return_exceptions=True)
    (name,) = [each for each in names if isinstance(each, str)]
    refused = [each for each in names if isinstance(each, RecordingActive)]
    assert [each.name for each in refused] == [name, name]
    with pytest.raises(RecordingActive, match=name):
        await call.record_start("another", target="channel")
    await talk(0.3)
    assert await call.record_stop() == name
    assert (await sink.next()).extra["state"] == "available"


async def test_one_after_another(line: Line, sink: Collector) -> None:
    """Recordings of a call can follow each other, of any kind; each is a file and a sink of its
    own.
    """
    call = await line.call()
    ways: list[dict[str, Any]] = [
        {"layout": "stereo"},
        {"target": "channel"},
        {"fmt": "gsm"},
        {},
    ]
    names = []
    for way in ways:
        names.append(await call.record_start(**way))
        await talk(0.3)
        await call.record_stop()
    told = {each.name: each for each in await sink.wait_for(len(ways))}
    for name in names:
        assert told[name].extra["end_reason"] == "stopped"
        assert Heard(told[name]).level(440) > HEARD


@pytest.mark.parametrize("layout", ["mono", "stereo"])
async def test_start_and_stop_at_once(
    app: VoxtraApp, line: Line, sink: Collector, layout: str
) -> None:
    """Starts and stops within milliseconds, twenty times in a row, leave nothing running; each is
    told once, with what its file holds or why it holds nothing.
    """
    call = await line.call()
    names = []
    for _ in range(20):
        names.append(await call.record_start(layout=layout))
        assert await call.record_stop() == names[-1]
    told = await sink.wait_for(20)
    assert sorted(each.name for each in told) == sorted(names)
    for each in told:
        if each.extra["state"] == "available":
            assert each.duration_seconds == Heard(each).seconds
        else:
            assert "audio" in each.extra["cause"]
    await nothing_runs(app, call, names)


async def nothing_runs(app: VoxtraApp, call: CallSession, names: list[str]) -> None:
    """Check that Asterisk writes none of these, and that only the call's own channel is left."""
    for name in names:
        for track in (name, f"{name}-in", f"{name}-out"):
            assert not await is_live(app, track)

    async def no_snoops() -> bool:
        channels = await app.ari.list_channels()
        return not [each for each in channels if each.name.startswith(f"Snoop/{call.id}")]

    await eventually(no_snoops)


@pytest.mark.parametrize("layout", ["mono", "stereo"])
async def test_stop_while_starting(
    app: VoxtraApp, line: Line, sink: Collector, layout: str
) -> None:
    """A stop at any moment of a start ends it: nothing goes on, and what began is told once."""
    call = await line.call()
    begun, names = [], []
    for moment in range(20):
        name = f"early-{new_id()}"
        names.append(name)
        starting = asyncio.create_task(call.record_start(name, layout=layout))
        await eventually(lambda: call.recording)
        await asyncio.sleep(moment * 0.0002)  # another moment of the start each time
        assert await call.record_stop() == name
        (outcome,) = await asyncio.gather(starting, return_exceptions=True)
        if isinstance(outcome, str):
            begun.append(name)
        else:
            assert isinstance(outcome, RecordingFailed)
        assert call.recording is None
    begun.append(await call.record_start())
    await talk(0.2)
    await call.record_stop()
    await eventually(lambda: begun[-1] in [each.name for each in sink.received])
    assert sorted(each.name for each in sink.received) == sorted(begun)
    await nothing_runs(app, call, names)


async def test_stop_while_queued(lab: Pbx, app: VoxtraApp, line: Line, sink: Collector) -> None:
    """A recording of the channel itself waits for the prompt that plays; a stop meanwhile ends it
    for good, although Asterisk would begin it after the prompt.
    """
    prompt = make_sound(lab, "tone:880", 1.0)
    call = await line.call()
    playback = await call.play_file(prompt, wait=False)
    name = f"queued-{new_id()}"
    starting = asyncio.create_task(call.record_start(name, target="channel"))
    await eventually(lambda: is_live(app, name))
    assert (await app.ari.get_live_recording(name)).state == "queued"
    assert await call.record_stop() == name
    await playback.wait()
    assert await starting == name
    assert (await sink.next()).name == name
    assert not await is_live(app, name)
    last = await call.record_start()
    await talk(0.2)
    assert await call.record_stop() == last
    assert (await sink.next()).name == last


# -- names


@pytest.mark.parametrize("layout", ["mono", "stereo"])
async def test_any_name(lab: Pbx, app: VoxtraApp, line: Line, sink: Collector, layout: str) -> None:
    """A name with slashes, spaces, per cents, question marks and hashes works for every verb, and
    names the file.
    """
    name = f"{new_id()}/100% of?the #1 customers & a+b/ünï%41 code"
    call = await line.call()
    assert await call.record_start(name, layout=layout) == name
    await talk(0.2)
    await call.record_pause()
    await call.record_resume()
    await call.record_mute()
    await call.record_unmute()
    await talk(0.2)
    assert await call.record_stop() == name
    told = await sink.next()
    assert (told.name, told.extra["state"]) == (name, "available")
    assert Path(told.file_path) == lab.recording_dir / f"{name}.wav"
    assert Heard(told).level(440) > HEARD
    await call.record_start(f"{name}2", layout=layout)
    await call.record_cancel()
    assert not (lab.recording_dir / f"{name}2.wav").exists()


async def test_many_begin_in_a_new_folder_at_once(app: VoxtraApp, line: Line) -> None:
    """Recordings whose names share a folder that is not there yet all begin, at whatever moment."""
    calls = await line.calls(20)
    for _ in range(4):
        folder = f"{new_id()}/deep/er"
        names = await asyncio.gather(*(call.record_start(f"{folder}/{call.id}") for call in calls))
        assert len(set(names)) == len(calls)
        await asyncio.gather(*(call.record_cancel() for call in calls))


class Tap:
    """A relay to Asterisk that keeps what an app sends."""

    def __init__(self, url: str) -> None:
        self._target = int(url.rpartition(":")[2])
        self.sent = bytearray()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection."""
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)

        async def carry(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                if source is reader:
                    self.sent += data
                to.write(data)
            to.close()

        await asyncio.gather(carry(reader, far_writer), carry(far_reader, writer))


async def test_names_that_would_leave_the_folder(
    lab: Pbx, app_name: str, place_call: CallPlacer
) -> None:
    """A name that would leave the recording folder is refused before anything reaches Asterisk."""
    tap = Tap(lab.ari_url)
    relay = await asyncio.start_server(tap.serve, "127.0.0.1", 0)
    port = relay.sockets[0].getsockname()[1]
    app = VoxtraApp(
        f"http://127.0.0.1:{port}",
        lab.ari_user,
        lab.ari_password,
        app_name=app_name,
        recording_dir=lab.recording_dir,
    )
    line = Line(app, place_call)
    async with run_app(app):
        call = await line.call()
        sent = len(tap.sent)
        for name in (
            "../x",
            "a/../../x",
            "../recording-private/x",
            "/x",
            "a//x",
            "x/",
            "..",
            "a\nb",
        ):
            with pytest.raises(InvalidRecordingName):
                await call.record_start(name)
        assert len(tap.sent) == sent
        await call.record_start()
        assert b"/snoop" in tap.sent[sent:]
    relay.close()


async def test_same_name_twice(line: Line, sink: Collector) -> None:
    """A name that a file has already is an error that says so, in any format and layout; the file
    stays, and so does a recording of this name that is being made.
    """
    name = f"twice-{new_id()}"
    first, second = await line.calls(2)
    await first.record_start(name)
    with pytest.raises(RecordingFailed, match="a recording of this name exists"):
        await second.record_start(name)
    await talk(0.2)
    await first.record_stop()
    told = await sink.next()
    ways: list[dict[str, Any]] = [{"fmt": "wav"}, {"fmt": "gsm"}, {"layout": "stereo"}]
    for way in ways:
        with pytest.raises(RecordingFailed, match="choose another name"):
            await second.record_start(name, **way)
    assert second.recording is None
    assert Heard(told).level(440) > HEARD
    await second.record_start()


# -- ends


async def test_cancel(lab: Pbx, app: VoxtraApp, line: Line, sink: Collector) -> None:
    """A cancelled recording, whatever its target, leaves no file and tells no sink."""
    ways: list[dict[str, Any]] = [{}, {"layout": "stereo"}, {"target": "channel"}]
    calls = await line.calls(len(ways))
    for call, way in zip(calls, ways, strict=True):
        name = await call.record_start(f"cancelled-{new_id()}", **way)
        await talk(0.2)
        await call.record_cancel()
        assert call.recording is None
        assert list(lab.recording_dir.glob(f"{name}*")) == []
        assert not await is_live(app, name)
        with pytest.raises(RecordingError, match="nothing is recorded"):
            await call.record_cancel()
        last = await call.record_start()
        await talk(0.2)
        await call.record_stop()
        assert (await sink.next()).name == last


async def test_longest(line: Line, sink: Collector) -> None:
    """`max_duration` ends a recording after that many seconds and at most one more, and says so."""
    ways: list[dict[str, Any]] = [{}, {"layout": "stereo"}, {"target": "channel"}]
    calls = await line.calls(len(ways))
    for call, way in zip(calls, ways, strict=True):
        await call.record_start(max_duration=1, **way)
    for told in await sink.wait_for(len(ways)):
        assert told.duration_seconds is not None
        assert 1.0 < told.duration_seconds <= 2.0 + FRAMES
        assert told.extra["end_reason"] == "max_duration"
    assert [call.recording for call in calls] == [None] * 3
    with pytest.raises(RecordingError):
        await calls[0].record_pause()


async def test_silence_ends_it(line: Line, sink: Collector) -> None:
    """`max_silence` ends the recording of a caller who has stopped to talk, and says so."""
    call = await line.call(say="silence")
    await call.record_start(target="channel", max_silence=1)
    told = await sink.next()
    assert told.extra["end_reason"] == "silence"
    assert call.recording is None


@pytest.mark.parametrize("target", ["snoop", "channel"])
@pytest.mark.parametrize(("key", "wanted"), [("#", "#"), ("7", "any")])
async def test_key_ends_it(
    app: VoxtraApp, sink: Collector, target: str, key: str, wanted: str
) -> None:
    """The key that was agreed on ends a recording, and says so."""
    call = await app.originate(f"Local/dtmf-{key}@lab-phone/n")
    await call.record_start(target=target, terminate_on=wanted)
    assert (await sink.next()).extra["end_reason"] == "key"
    assert call.recording is None


async def test_another_key_does_not(app: VoxtraApp, sink: Collector) -> None:
    """Any other key than the one agreed on changes nothing."""
    call = await app.originate("Local/dtmf-5@lab-phone/n")
    await call.record_start(terminate_on="#")
    assert await call.listen_dtmf() == "5"
    assert call.recording is not None
    assert await call.record_stop()


async def test_own_sink_wins(line: Line, sink: Collector) -> None:
    """The sink of a recording is told instead of the app's, even if it counts as false."""

    class Falsy(Collector):
        def __bool__(self) -> bool:
            return False

    own = Falsy()
    call = await line.call()
    name = await call.record_start(sink=own)
    await talk(0.2)
    await call.record_stop()
    assert (await own.next()).name == name
    assert sink.received == []


# -- an Asterisk that says `done` and has nothing


async def test_folder_vanishes(lab: Pbx, line: Line, sink: Collector) -> None:
    """When the folder is removed in mid-recording, Asterisk says done all the same; we say failed,
    with the cause, once.
    """
    folder = f"vanishing-{new_id()}"
    call = await line.call()
    await call.record_start(f"{folder}/x")
    await talk(0.3)
    shutil.rmtree(lab.recording_dir / folder)
    assert await call.record_stop() == f"{folder}/x"
    told = await sink.next()
    assert told.extra["state"] == "failed"
    assert "has no file" in told.extra["cause"]
    assert told.duration_seconds is None
    await call.record_start()
    await talk(0.2)
    await call.record_stop()
    assert (await sink.next()).extra["state"] == "available"


@pytest.mark.parametrize("layout", ["mono", "stereo"])
async def test_file_can_not_be_written(lab: Pbx, line: Line, sink: Collector, layout: str) -> None:
    """When the folder can't be made, Asterisk says begun and done at once; we say failed, with the
    cause, once, and the call can be recorded again.
    """
    name = f"blocked-{new_id()}"
    (lab.recording_dir / name).touch()
    call = await line.call()
    await call.record_start(f"{name}/x", layout=layout)
    told = await sink.next()
    assert told.extra["state"] == "failed"
    assert "folder writable" in told.extra["cause"]
    await call.record_start(layout=layout)
    await talk(0.2)
    await call.record_stop()
    assert (await sink.next()).extra["state"] == "available"


async def test_verbs_without_a_recording(line: Line) -> None:
    """The live operations say so when nothing is recorded; a stop is None."""
    call = await line.call()
    for verb in (call.record_pause, call.record_resume, call.record_mute, call.record_cancel):
        with pytest.raises(RecordingError, match=r"nothing is recorded .* record_start"):
            await verb()
    assert await call.record_stop() is None
