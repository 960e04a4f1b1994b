"""Stored recordings over ARI, and a PBX whose folder is out of reach."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conftest import CallPlacer
from tests.system.calls import HEARD, UNHEARD, Heard, Line, make_sound, talk
from tests.system.conftest import AppMaker
from tests.system.support import Collector, run_app
from voxtra import RecordingMetadata, VoxtraApp
from voxtra.exceptions import Conflict, InvalidRecordingName, NotFound
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


@pytest.fixture
async def told(line: Line, sink: Collector) -> RecordingMetadata:
    """Make a recording, in a sub-folder and with a name that has to be encoded."""
    call = await line.call()
    await call.record_start(f"{new_id()}/half of 50%? #1")
    await talk(0.5)
    await call.record_stop()
    return await sink.next()


async def test_list_and_get(app: VoxtraApp, told: RecordingMetadata) -> None:
    """A finished recording is in the list, and found by its name."""
    assert (await app.ari.get_stored_recording(told.name)).format == "wav"
    assert told.name in [each.name for each in await app.ari.list_stored_recordings()]


async def test_download(app: VoxtraApp, told: RecordingMetadata, tmp_path: Path) -> None:
    """A download is the file, byte by byte, and nothing else is left beside it."""
    copy = tmp_path / "copy.wav"
    assert await app.ari.download_stored_recording(told.name, copy) == told.extra["size"]
    assert copy.read_bytes() == Path(told.file_path).read_bytes()
    assert list(tmp_path.iterdir()) == [copy]


@pytest.mark.parametrize("last", ["plain", "v1.5 of it"])
async def test_copy(app: VoxtraApp, told: RecordingMetadata, lab: Pbx, last: str) -> None:
    """A copy has the name that was asked for, dots and all; one that exists is not replaced."""
    name = f"copies-{new_id()}/{last}"
    await app.ari.copy_stored_recording(told.name, name)
    copy = lab.recording_dir / f"{name}.wav"
    assert copy.read_bytes() == Path(told.file_path).read_bytes()
    with pytest.raises(Conflict):
        await app.ari.copy_stored_recording(told.name, name)


async def test_delete(app: VoxtraApp, told: RecordingMetadata) -> None:
    """A deleted recording is gone, and a second time it is not found."""
    await app.ari.delete_stored_recording(told.name)
    assert not Path(told.file_path).exists()
    with pytest.raises(NotFound):
        await app.ari.delete_stored_recording(told.name)
    with pytest.raises(NotFound):
        await app.ari.get_stored_recording(told.name)


async def test_names_that_would_leave_the_folder(app: VoxtraApp, told: RecordingMetadata) -> None:
    """No verb takes a name that would leave the recording folder, as a source or a destination."""
    for name in ("../x", "../recording-private/x", "a/../../x"):
        with pytest.raises(InvalidRecordingName):
            await app.ari.get_stored_recording(name)
        with pytest.raises(InvalidRecordingName):
            await app.ari.delete_stored_recording(name)
        with pytest.raises(InvalidRecordingName):
            await app.ari.copy_stored_recording(told.name, name)


async def test_play_back(app: VoxtraApp, line: Line, sink: Collector) -> None:
    """A recording can be played to a call as `recording:<name>`."""
    name = f"played-{new_id()}/message"
    caller = await line.call(say="tone:1200")
    await caller.record_start(name, target="channel")
    await talk(0.5)
    await caller.record_stop()
    await sink.next()
    listener = await line.call()
    await listener.record_start(layout="stereo")
    await listener.play_file(f"recording:{name}")
    await listener.record_stop()
    heard = Heard(await sink.next())
    begin = heard.begin(1200, side=1)
    assert heard.level(1200, begin + 0.1, begin + 0.35, side=1) > HEARD
    assert heard.level(1200, side=0) < UNHEARD


@pytest.fixture
async def far_app(make_app: AppMaker, tmp_path: Path) -> AsyncIterator[VoxtraApp]:
    """Run an app that does not share Asterisk's recording folder."""
    made = make_app(
        recording_dir=tmp_path / "not-here", download_dir=tmp_path / "downloads" / "here"
    )
    async with run_app(made):
        yield made


async def test_out_of_reach(
    far_app: VoxtraApp, place_call: CallPlacer, sink: Collector, lab: Pbx, tmp_path: Path
) -> None:
    """When the folder is out of reach, a mono recording stays on the PBX: its path is the PBX's,
    its length what Asterisk says, and nothing is fetched.
    """
    call = await Line(far_app, place_call).call()
    name = await call.record_start(f"far-{new_id()}/x", "wav49")
    await talk(1.3)
    await call.record_stop()
    told = await sink.next()
    assert told.extra["state"] == "available"
    assert told.file_path == str(tmp_path / "not-here" / f"{name}.WAV")
    assert told.duration_seconds == 1.0
    assert "sha256" not in told.extra
    assert (lab.recording_dir / f"{name}.WAV").exists()
    assert not (tmp_path / "downloads").exists()


async def test_stereo_out_of_reach(
    far_app: VoxtraApp, place_call: CallPlacer, sink: Collector, lab: Pbx, tmp_path: Path
) -> None:
    """When the folder is out of reach, both sides of a stereo recording are fetched and joined
    here, and deleted there once the joined file is whole.
    """
    prompt = make_sound(lab, "tone:880", 0.6)
    call = await Line(far_app, place_call).call()
    name = await call.record_start(f"far-{new_id()}/x y", layout="stereo")
    await call.play_file(prompt)
    await call.record_stop()
    told = await sink.next()
    here = tmp_path / "downloads" / "here"
    assert told.extra["state"] == "available"
    assert told.file_path == str(here / f"{name}.wav")
    assert told.extra["channels"] == 2
    heard = Heard(told)
    assert told.duration_seconds == round(heard.seconds, 3)
    assert heard.level(440, 0.2, 0.5, 0) > HEARD
    assert heard.level(880, 0.2, 0.5, 1) > HEARD
    assert [path for path in here.rglob("*") if path.is_file()] == [Path(told.file_path)]
    assert list(lab.recording_dir.glob(f"{name}*")) == []


async def test_short_out_of_reach(
    far_app: VoxtraApp, place_call: CallPlacer, sink: Collector, tmp_path: Path
) -> None:
    """A mono recording that Asterisk calls 0 seconds long, which may be empty, is fetched and
    looked at.
    """
    call = await Line(far_app, place_call).call()
    name = await call.record_start(f"far-{new_id()}/short")
    await talk(0.3)
    await call.record_stop()
    told = await sink.next()
    assert told.file_path == str(tmp_path / "downloads" / "here" / f"{name}.wav")
    assert told.extra["state"] == "available"
    assert Heard(told).level(440) > HEARD
