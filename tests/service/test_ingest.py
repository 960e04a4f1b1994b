"""Ingest: what the PBX recorded becomes a proven blob, whatever happens on the way."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import soundfile
from aiohttp import web

from tests.audio.asterisk_bytes import KILLED_WAV_HEADER
from tests.conftest import CallPlacer
from tests.objectstore import Fault, FaultyProxy, ObjectStore
from tests.system.calls import Line, talk
from tests.system.support import run_app
from tests.toy_pbx import ToyPbx
from voxtra import VoxtraApp
from voxtra.ari import ARIClient
from voxtra.audio.formats import lookup
from voxtra.audio.measure import measure
from voxtra.audio.peaks import Peaks
from voxtra.audio.tone import sine
from voxtra.audio.wav import virtual_header
from voxtra.blobs.base import BlobError, BlobNotFound, BlobStore
from voxtra.blobs.local import LocalStore
from voxtra.blobs.stores import open_store
from voxtra.exceptions import TelephonyConnectionError
from voxtra.ids import new_id
from voxtra.lab.pbx import Pbx
from voxtra.model import Layout, Recording, RecordingTarget, Track
from voxtra.service.ingest import Ingested, NoAudio, ingest
from voxtra.service.sources import SourceError, Sources
from voxtra.spool import Spool
from voxtra.telephony.base import TrackStatus
from voxtra.telephony.stored import StoredTracks

KEY, PEAKS = "recordings/t/2026/01/31/r.wav", "recordings/t/2026/01/31/r.peaks"

MONO = Recording("r", "day/x", "call", RecordingTarget.SNOOP, "channel", tracks=(Track("day/x"),))
STEREO = replace(
    MONO,
    layout=Layout.STEREO,
    tracks=(Track("day/x-out", "out", "s2"), Track("day/x-in", "in", "s1")),
)


class Place:
    """A spool, a PBX that may be asked, a blob store; everything is done by `ingest()`."""

    def __init__(self, folder: Path, blobs: BlobStore) -> None:
        self.spool_dir = folder / "spool"
        (self.spool_dir / "day").mkdir(parents=True)
        self.work = folder / "work"
        self.pbx = ToyPbx(folder / "pbx")
        (self.pbx.folder / "day").mkdir(parents=True)
        self.blobs = blobs
        self.sources = Sources(Spool(self.spool_dir, self.work), self.pbx)

    def write(self, name: str, samples: np.ndarray, folder: Path | None = None) -> Path:
        """Write a wav as Asterisk does."""
        data = samples.astype("<i2").tobytes()
        path = (folder or self.spool_dir) / f"{name}.wav"
        path.write_bytes(virtual_header(lookup("wav"), len(data)) + data)
        return path

    async def ingest(self, recording: Recording = MONO, offset: float = 0.0) -> Ingested:
        """Ingest a recording."""
        return await ingest(recording, self.sources, self.blobs, KEY, PEAKS, offset=offset)

    async def blob(self) -> bytes:
        """Return what is stored."""
        return await self.blobs.read(KEY, 0, await self.blobs.size(KEY))


@pytest.fixture(params=["file", "s3"])
async def place(
    request: pytest.FixtureRequest, tmp_path: Path, object_store: ObjectStore
) -> AsyncIterator[Place]:
    """Make a place with either kind of store."""
    url = f"file://{tmp_path}/blobs"
    if request.param == "s3":
        url = f"s3://{object_store.bucket()}"
    blobs = open_store(url, object_store.options() if request.param == "s3" else {})
    yield Place(tmp_path, blobs)
    blobs.close()


async def test_a_file_of_the_shared_spool_becomes_a_blob(place: Place) -> None:
    """The columns say what is in it, the peaks are beside it, the PBX's file is as it was."""
    source = place.write("day/x", np.concatenate([np.zeros(8000, np.int16), sine(440, 3)]))
    before = source.read_bytes()
    done = await place.ingest()
    assert source.read_bytes() == before == await place.blob()
    facts = done.facts
    assert (facts.samples, facts.sample_rate, facts.channels) == (32000, 8000, 1)
    assert facts.duration_ms == 4000
    assert (facts.size, facts.sha256) == (len(before), hashlib.sha256(before).hexdigest())
    assert facts.silence_ratio == 0.25
    assert facts.peak_dbfs == pytest.approx(-6, abs=0.1)
    assert (facts.blob_key, facts.peaks_key) == (KEY, PEAKS)
    assert not done.repaired
    assert done.problems == ()
    peaks = Peaks.decode(await place.blobs.read(PEAKS, 0, 1_000_000))
    assert not peaks.values[: len(peaks.values) // 5].any()
    assert peaks.values.max() == 64
    assert place.pbx.asked.total() == 0
    assert not list(place.work.rglob("*"))


async def test_to_ingest_twice_is_to_ingest_once(place: Place) -> None:
    """The second time finds the same, also when the PBX's file is gone by then."""
    place.write("day/x", sine(440, 1))
    first = await place.ingest()
    assert await place.ingest() == first
    await place.sources.free(MONO)
    assert await place.ingest() == first
    assert not list(place.work.rglob("*"))


async def test_an_unclosed_file_is_completed_on_the_way(place: Place) -> None:
    """A killed PBX's header has its lengths in the blob; the source still lacks them."""
    source = place.spool_dir / "day" / "x.wav"
    source.write_bytes(KILLED_WAV_HEADER + sine(440, 1).tobytes())
    done = await place.ingest()
    assert done.repaired
    assert done.facts.samples == 8000
    assert source.read_bytes()[:44] == KILLED_WAV_HEADER
    assert int.from_bytes((await place.blob())[40:44], "little") == 16000


async def test_two_sides_become_one_file(place: Place, tmp_path: Path) -> None:
    """The caller is left, whatever the order of the tracks; the measured offset is made good."""
    place.write("day/x-in", sine(440, 1))
    place.write("day/x-out", sine(880, 1))
    done = await place.ingest(STEREO, offset=0.1)
    copy = tmp_path / "copy.wav"
    copy.write_bytes(await place.blob())
    heard, rate = soundfile.read(copy, dtype="int16")
    assert (rate, heard.shape) == (8000, (8800, 2))
    assert (heard[:8000, 0] == sine(440, 1)).all()
    assert (heard[800:, 1] == sine(880, 1)).all()
    assert not heard[:800, 1].any()
    assert (done.facts.channels, done.facts.samples) == (2, 8800)
    assert done.facts.sha256 == measure(copy, lookup("wav")).sha256
    assert done.levels is not None
    assert len(done.levels.sides) == 2
    await place.sources.free(STEREO)
    assert await place.ingest(STEREO) == done


@pytest.mark.parametrize("missing", ["in", "out"])
async def test_half_of_a_recording_is_kept(place: Place, missing: str) -> None:
    """A side that the PBX lost is silence, and the row says which."""
    kept = "out" if missing == "in" else "in"
    place.write(f"day/x-{kept}", sine(440, 1))
    done = await place.ingest(STEREO)
    assert done.facts.samples == 8000
    assert [f"finished day/x-{missing} but has no file" in each for each in done.problems] == [True]


async def test_what_is_stored_is_not_replaced_by_what_is_left(place: Place) -> None:
    """A slow worker that finds one side freed by a faster one does not write over the whole."""
    place.write("day/x-in", sine(440, 1))
    place.write("day/x-out", sine(880, 1))
    whole = await place.ingest(STEREO)
    (place.spool_dir / "day" / "x-in.wav").unlink()
    assert (await place.ingest(STEREO)).facts == whole.facts
    assert hashlib.sha256(await place.blob()).hexdigest() == whole.facts.sha256


async def test_a_file_out_of_reach_is_fetched_and_the_copy_removed(place: Place) -> None:
    """Where the folder is not shared, the PBX hands its file out, and has its own until freed."""
    source = place.write("day/x", sine(440, 1), place.pbx.folder)
    done = await place.ingest()
    assert await place.blob() == source.read_bytes()
    assert done.facts.samples == 8000
    assert not list(place.work.rglob("*"))
    assert source.exists()
    await place.sources.free(MONO)
    assert not source.exists()


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "the file is empty"),
        (KILLED_WAV_HEADER, "the file holds no audio"),
        (bytes(1000), "no RIFF header"),
    ],
)
async def test_no_audio_is_a_failure_with_a_cause(place: Place, content: bytes, cause: str) -> None:
    """Nothing is stored, and the PBX's file stays for whoever wants to look."""
    source = place.spool_dir / "day" / "x.wav"
    source.write_bytes(content)
    with pytest.raises(NoAudio) as caught:
        await place.ingest()
    assert caught.value.cause == cause
    assert source.read_bytes() == content
    for key in (KEY, PEAKS):
        with pytest.raises(BlobNotFound):
            await place.blobs.size(key)


@pytest.mark.parametrize("recording", [MONO, STEREO, replace(MONO, tracks=())])
async def test_no_file_is_a_failure_with_a_cause(place: Place, recording: Recording) -> None:
    """The PBX has none either: the cause says what may have happened."""
    with pytest.raises(NoAudio) as caught:
        await place.ingest(recording)
    for track in recording.tracks:
        assert f"finished {track.name} but has no file" in caught.value.cause
    assert caught.value.cause


async def test_two_silent_sides_are_no_audio(place: Place) -> None:
    """Neither has a sample: that is no recording."""
    for side in ("in", "out"):
        place.write(f"day/x-{side}", np.zeros(0, np.int16))
    with pytest.raises(NoAudio, match="neither side has any audio"):
        await place.ingest(STEREO)


async def test_silence_is_audio(place: Place) -> None:
    """A line on which nobody spoke is a recording, of silence."""
    place.write("day/x", np.zeros(8000, np.int16))
    done = await place.ingest()
    assert (done.facts.silence_ratio, done.facts.peak_dbfs) == (1.0, -96.33)


@pytest.mark.parametrize("name", ["ulaw", "alaw", "gsm", "sln", "g722"])
async def test_headerless_formats_are_kept_as_they_are(place: Place, name: str) -> None:
    """Not a byte is changed; G.722, which nothing here decodes, has no levels and no peaks."""
    fmt = lookup(name)
    data = os.urandom(fmt.frame_bytes * 500)
    if name == "gsm":
        data = bytes([0xD0]) + data[1:]
    (place.spool_dir / "day" / f"x.{name}").write_bytes(data)
    done = await place.ingest(replace(MONO, format=name))
    assert await place.blob() == data
    assert done.facts.samples == 500 * fmt.frame_samples
    known = name != "g722"
    assert (done.facts.peaks_key == PEAKS) is known
    assert (done.facts.silence_ratio is not None) is known
    assert (done.levels is not None) is known


# -- what can go wrong and is tried again


async def test_a_pbx_that_does_not_answer_is_asked_again(place: Place) -> None:
    """It is no proof of anything: the recording is neither lost nor failed."""
    place.write("day/x", sine(440, 1), place.pbx.folder)
    place.pbx.reachable = False
    with pytest.raises(TelephonyConnectionError):
        await place.ingest()
    place.pbx.reachable = True
    assert (await place.ingest()).facts.samples == 8000


async def test_a_worker_without_a_pbx_waits_for_its_folder(place: Place) -> None:
    """A folder that is not mounted looks like one whose file is gone: only a PBX can tell."""
    place.sources = Sources(Spool(place.spool_dir, place.work))
    with pytest.raises(SourceError, match="mount the recording folder, or configure the PBX"):
        await place.ingest()
    place.write("day/x", sine(440, 1))
    assert (await place.ingest()).facts.samples == 8000
    await place.sources.free(MONO)
    await place.sources.free(MONO)
    assert not list(place.spool_dir.rglob("*.wav"))


async def test_a_recording_that_still_runs_is_not_taken(place: Place) -> None:
    """The PBX says that it is writing: whoever asked was too early."""
    place.pbx.live["day/x"] = MONO
    with pytest.raises(SourceError, match="still writing"):
        await place.ingest()


async def test_a_work_folder_that_can_not_be_made_has_a_cause(place: Place) -> None:
    """What keeps a file from being fetched is named, and the next try may do better."""
    place.write("day/x", sine(440, 1), place.pbx.folder)
    place.work.write_text("in the way")
    with pytest.raises(SourceError, match="a file is where a folder should be"):
        await place.ingest()
    place.work.unlink()
    assert (await place.ingest()).facts.samples == 8000


async def test_a_store_that_fails_costs_nothing(tmp_path: Path, object_store: ObjectStore) -> None:
    """As long as the store fails, the PBX's file is the recording; afterwards it is stored."""
    async with FaultyProxy.before(object_store) as proxy:
        options = object_store.options(proxy.url, timeout="0.5", retries="0")
        blobs = open_store(f"s3://{object_store.bucket()}", options)
        place = Place(tmp_path, blobs)
        source = place.write("day/x", sine(440, 1))
        before = source.read_bytes()
        for fault in (_answer(403), _answer(500), _cut, _hang(proxy)):
            proxy.fault = fault
            with pytest.raises(BlobError):
                await place.ingest()
            assert source.read_bytes() == before
        proxy.fault = None
        await place.ingest()
        assert await place.blob() == before
        blobs.close()


def _answer(status: int) -> Fault:
    async def fault(request: web.Request, body: bytes) -> web.Response:
        return web.Response(status=status)

    return fault


async def _cut(request: web.Request, body: bytes) -> bytes | None:
    return body[: len(body) // 2] if request.method == "PUT" else None


def _hang(proxy: FaultyProxy) -> Fault:
    async def fault(request: web.Request, body: bytes) -> None:
        await proxy.open.wait()

    return fault


async def test_a_fetch_that_was_killed_is_swept(place: Place) -> None:
    """What a dead process left in the download folder goes when it is old, and nothing younger."""
    async with place.sources.work_folder(MONO) as work:
        work.mkdir(parents=True)
        (work / "x.wav.part").write_bytes(b"half")
        now = datetime.now(UTC)
        assert await place.sources.sweep(now - timedelta(hours=1)) == 0
        assert await place.sources.sweep(now + timedelta(seconds=5)) == 1
        assert not work.exists()
    assert await place.sources.sweep(now) == 0


PROGRAM = """
import asyncio, os, sys
from dataclasses import replace
from pathlib import Path
from voxtra.blobs.local import LocalStore
from voxtra.model import Layout, Recording, RecordingTarget, Track
from voxtra.service.ingest import ingest
from voxtra.service.sources import Sources
from voxtra.spool import Spool

root, key, peaks = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
tracks = (Track("day/x-out", "out"), Track("day/x-in", "in"))
recording = Recording(
    "r", "day/x", "call", RecordingTarget.SNOOP, "c", layout=Layout.STEREO, tracks=tracks
)

async def main():
    blobs = LocalStore(root / "blobs")
    sources = Sources(Spool(root / "spool", root / "work"))
    while True:
        await ingest(recording, sources, blobs, key, peaks)

for _ in sys.stdin:
    child = os.fork()
    if not child:
        asyncio.run(main())
    print(child, flush=True)
    os.waitpid(child, 0)
    print("dead", flush=True)
"""


async def test_killed_at_any_instant_it_can_be_done_again(tmp_path: Path) -> None:
    """After `kill -9` the key leads to nothing or to the whole recording, and the next try stores
    it; what the dead one left is swept.
    """
    blobs = LocalStore(tmp_path / "blobs")
    place = Place(tmp_path, blobs)
    for side, hz in (("in", 440), ("out", 880)):
        place.write(f"day/x-{side}", sine(hz, 120))
    expected = (await place.ingest(STEREO)).facts
    path = blobs.local_path(KEY)
    instants = np.random.default_rng(7).uniform(0, 0.06, 20)
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), KEY, PEAKS]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    assert process.stdin is not None
    assert process.stdout is not None
    for instant in instants:
        await blobs.delete(KEY)
        process.stdin.write(b"\n")
        child = int(await process.stdout.readline())
        await asyncio.sleep(instant)
        os.kill(child, signal.SIGKILL)
        assert await process.stdout.readline() == b"dead\n"
        if path.exists():
            assert measure(path, lookup("wav")).sha256 == expected.sha256
        assert (await place.ingest(STEREO)).facts == expected
    process.stdin.close()
    assert await process.wait() == 0
    await blobs.sweep(datetime.now(UTC) + timedelta(seconds=5))
    assert sorted(each.name for each in path.parent.iterdir()) == ["r.peaks", "r.wav"]
    blobs.close()


async def test_a_real_recording_comes_home_over_http_alone(
    lab: Pbx, place_call: CallPlacer, app_name: str, tmp_path: Path
) -> None:
    """A worker that takes no calls fetches what Asterisk recorded, stores it, has it deleted."""
    name = f"ingest-{new_id()}/real one"
    recording = replace(MONO, name=name, tracks=(Track(name),))
    own = (lab.ari_url, lab.ari_user, lab.ari_password)
    app = VoxtraApp(*own, app_name=app_name, recording_dir=lab.recording_dir)
    line = Line(app, place_call)
    async with run_app(app):
        call = await line.call()
        await call.record_start(name)
        await talk(0.5)
        await call.record_stop()
    blobs = LocalStore(tmp_path / "blobs")
    async with ARIClient(*own) as ari:
        stored = StoredTracks(ari)
        sources = Sources(Spool(tmp_path / "nowhere", tmp_path / "work"), stored)
        done = await ingest(recording, sources, blobs, KEY, PEAKS)
        assert 0.4 < done.facts.duration_ms / 1000 < 0.8
        assert done.facts.peak_dbfs is not None
        assert done.facts.peak_dbfs > -20
        file = lab.recording_dir / f"{name}.wav"
        assert file.read_bytes() == blobs.local_path(KEY).read_bytes()
        await sources.free(recording)
        assert not file.exists()
        await sources.free(recording)
        held = await stored.probe_track(recording.tracks[0])
        assert held == TrackStatus(live=False, stored=False)
        assert (await ingest(recording, sources, blobs, KEY, PEAKS)).facts == done.facts
    blobs.close()
