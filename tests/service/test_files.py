"""The audio of a recording: as it is stored, computed by range, or encoded once."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import soundfile
from sqlalchemy import Row, insert, update

from tests.audio.asterisk_bytes import GSM
from voxtra.audio import g711
from voxtra.audio.render import Channel, Stopped, encode
from voxtra.audio.tone import level, sine
from voxtra.blobs.base import BlobError, BlobNotFound
from voxtra.blobs.local import LocalStore
from voxtra.ids import new_id
from voxtra.service import files
from voxtra.service.files import Audio, AudioFiles, NotRenderable, Shape
from voxtra.store.database import Database
from voxtra.store.schema import recordings

NOW = datetime(2026, 11, 20, 14, 3, tzinfo=UTC)


class Remote(LocalStore):
    """A store whose blobs are no files here."""

    def local_path(self, key: str) -> Any:
        return None


class Room:
    """Blobs and encodings in a folder of the test."""

    def __init__(self, folder: Path, *, remote: bool, limit: int = files.LIMIT) -> None:
        self.blobs = (Remote if remote else LocalStore)(folder / "blobs")
        self.derived = folder / "derived"
        self.audio = AudioFiles(self.blobs, self.derived, limit)

    async def keep(self, extension: str, data: bytes, channels: int = 1) -> Row[Any]:
        """Store a recording and return its row, as far as it matters."""
        recording_id = new_id()
        key = f"recordings/default/2026/11/20/{recording_id}.{extension}"
        stored = await self.blobs.write(key, [data])
        facts = SimpleNamespace(
            id=recording_id,
            blob_key=key,
            size=stored.size,
            sha256=stored.sha256,
            channels=channels,
            available_at=NOW,
        )
        return cast(Row[Any], facts)

    def made(self) -> list[Path]:
        return [path for path in self.derived.rglob("*") if path.is_file()]


@pytest.fixture(params=[False, True], ids=["local", "remote"])
async def room(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Return a room on a local disk, and one whose blobs are elsewhere."""
    made = Room(tmp_path, remote=request.param)
    yield made
    await made.audio.close()
    made.blobs.close()


async def _bytes(audio: Audio, start: int = 0, end: int | None = None) -> bytes:
    blocks = [block async for block in audio.stream(start, audio.size if end is None else end)]
    return b"".join(blocks)


def _wav(seconds: float = 1.0, *, stereo: bool = False, rate: int = 8000) -> bytes:
    left = sine(440, seconds, rate, -12)
    samples = np.stack([left, sine(1000, seconds, rate, -12)], axis=1) if stereo else left
    made = io.BytesIO()
    soundfile.write(made, samples, rate, format="WAV", subtype="PCM_16")
    return made.getvalue()


async def test_what_players_know_is_served_as_it_is(room):
    """A WAV is its stored bytes, with their hash for a validator; asking for WAV changes nothing,
    and neither does mixing one channel.
    """
    data = _wav()
    row = await room.keep("wav", data)
    for shape, channel in (
        (None, None),
        (Shape.WAV, None),
        (Shape.ORIGINAL, None),
        (None, Channel.MIX),
    ):
        audio = await room.audio.open(row, shape, channel)
        assert await _bytes(audio) == data
        assert audio.etag == hashlib.sha256(data).hexdigest()
        assert (audio.media_type, audio.extension) == ("audio/wav", "wav")
        assert audio.modified == NOW
    assert room.made() == []


async def test_a_headerless_recording_plays_and_seeks_as_wav(room):
    """A mu-law recording is a WAV by default: any range of it is the range of the decoded file, and
    nothing is written for it.
    """
    samples = sine(440, 70.0)
    stored = g711.encode_mulaw(samples)
    row = await room.keep("ulaw", stored)
    audio = await room.audio.open(row)
    whole = await _bytes(audio)
    heard, rate = soundfile.read(io.BytesIO(whole), dtype="int16")
    assert (len(whole), rate) == (audio.size, 8000)
    assert np.array_equal(heard, g711.decode_mulaw(stored))
    for start, end in ((0, 1), (43, 46), (44, 45), (101, 1_100_003), (audio.size - 5, audio.size)):
        assert await _bytes(audio, start, end) == whole[start:end]
    assert audio.etag != row.sha256
    assert room.made() == []
    original = await room.audio.open(row, Shape.ORIGINAL)
    assert await _bytes(original) == stored
    assert original.etag == row.sha256


@pytest.mark.parametrize("channel", list(Channel))
async def test_a_side_of_a_stereo_recording_is_computed(room, channel):
    """Left, right and mix of a WAV are WAV files that nobody wrote, each with its own validator."""
    row = await room.keep("wav", _wav(stereo=True), channels=2)
    audio = await room.audio.open(row, None, channel)
    heard, rate = soundfile.read(io.BytesIO(await _bytes(audio)), dtype="int16", always_2d=True)
    assert heard.shape == (8000, 1)
    tones = [level(heard, hz, rate) > -14 for hz in (440, 1000)]
    assert tones == [channel is not Channel.RIGHT, channel is not Channel.LEFT]
    assert room.made() == []
    others = {(await room.audio.open(row, None, each)).etag for each in (None, *Channel)}
    assert len(others) == 4


@pytest.mark.parametrize(
    ("shape", "media_type"), [(Shape.MP3, "audio/mpeg"), (Shape.OPUS, "audio/ogg; codecs=opus")]
)
async def test_an_encoding_is_made_once(room, shape, media_type):
    """However many ask at once, one file is made; it is served by range and its validator is its
    own hash.
    """
    row = await room.keep("wav", _wav(stereo=True), channels=2)
    audios = await asyncio.gather(*(room.audio.open(row, shape, Channel.LEFT) for _ in range(5)))
    (made,) = room.made()
    data = made.read_bytes()
    for audio in (*audios, await room.audio.open(row, shape, Channel.LEFT)):
        assert audio.etag == hashlib.sha256(data).hexdigest()
        assert await _bytes(audio, 10, 500) == data[10:500]
        assert (audio.media_type, audio.extension, audio.made) == (media_type, str(shape), True)
    heard, rate = soundfile.read(io.BytesIO(data), dtype="int16")
    assert level(heard[2000:6000], 440, rate) == pytest.approx(-12, abs=1)


async def test_a_codec_with_memory_becomes_wav_by_an_encoding(room):
    """What can't be computed by range is decoded into a file once, and played from there."""
    row = await room.keep("gsm", GSM)
    audio = await room.audio.open(row)
    heard, _ = soundfile.read(io.BytesIO(await _bytes(audio)))
    assert len(heard) == len(GSM) // 33 * 160
    assert len(room.made()) == 1
    assert await _bytes(await room.audio.open(row, Shape.ORIGINAL)) == GSM


async def test_what_cannot_be_rendered_says_what_can(room):
    """G.722 has no decoder here, a mono recording no sides, an original no channel to choose."""
    g722 = await room.keep("g722", bytes(800))
    assert await _bytes(await room.audio.open(g722)) == bytes(800)
    mono, stereo = await room.keep("wav", _wav()), await room.keep("wav", _wav(stereo=True), 2)
    broken = await room.keep("au", b"no header at all" * 10)
    for row, shape, channel, words in (
        (g722, Shape.MP3, None, "g722 can't be decoded here: use format=original"),
        (g722, Shape.WAV, None, "use format=original"),
        (mono, None, Channel.LEFT, "is mono and has no left channel"),
        (stereo, Shape.ORIGINAL, Channel.LEFT, "use format=wav"),
        (broken, None, None, "no au header"),
        (broken, Shape.MP3, None, "no au header"),
    ):
        with pytest.raises(NotRenderable, match=words):
            await room.audio.open(row, shape, channel)
    assert room.made() == []


class Gate:
    """Holds encoders back, in their threads, until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached = asyncio.Event()
        self.opened = threading.Event()
        self._loop = asyncio.get_running_loop()
        monkeypatch.setattr("voxtra.service.files.encode", self._held)

    def _held(self, *args: Any, **options: Any) -> None:
        self._loop.call_soon_threadsafe(self.reached.set)
        assert self.opened.wait(60)
        encode(*args, **options)


@pytest.fixture
async def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    """Return a gate before every encoder."""
    return Gate(monkeypatch)


async def test_an_encoding_outlives_the_one_who_asked_for_it(room, gate):
    """Who goes away leaves the work to the next; it is not begun anew."""
    row = await room.keep("wav", _wav())
    first = asyncio.create_task(room.audio.open(row, Shape.MP3))
    await gate.reached.wait()
    gate.reached.clear()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    gate.opened.set()
    await room.audio.open(row, Shape.MP3)
    assert not gate.reached.is_set()
    assert [path.suffix for path in room.made()] == [".mp3"]


async def test_what_was_made_of_a_recording_goes_with_it(room):
    """Removing it leaves the encodings of others alone; once more changes nothing."""
    gone, stays = await room.keep("wav", _wav()), await room.keep("wav", _wav(0.5))
    for row in (gone, stays):
        await room.audio.open(row, Shape.MP3)
        await room.audio.open(row, Shape.OPUS)
    for _ in range(2):
        await room.audio.remove(gone.id)
        assert {path.parent.name for path in room.made()} == {stays.id}


async def test_nothing_is_kept_of_a_recording_that_is_deleted_while_it_is_encoded(room, gate):
    """Who waits for the encoding is told that the recording is gone, and no file stays."""
    row = await room.keep("wav", _wav())
    wanted = asyncio.create_task(room.audio.open(row, Shape.MP3))
    await gate.reached.wait()
    await room.audio.remove(row.id)
    gate.opened.set()
    with pytest.raises(BlobNotFound):
        await wanted
    assert room.made() == []


async def test_a_blob_that_is_gone_or_cut_is_an_error_before_the_first_byte(room):
    """Reading says what is wrong with the stored file, in every shape."""
    row = await room.keep("ulaw", bytes(1000))
    row_of_more = SimpleNamespace(**{**vars(row), "size": 2000})
    for shape in (Shape.ORIGINAL, Shape.WAV):
        audio = await room.audio.open(cast(Row[Any], row_of_more), shape)
        with pytest.raises(BlobError, match=r"ends at byte 1000|was cut"):
            await _bytes(audio)
    await room.blobs.delete(row.blob_key)
    for shape in (Shape.ORIGINAL, Shape.WAV):
        with pytest.raises(BlobNotFound):
            await _bytes(await room.audio.open(row, shape))
    with pytest.raises(BlobNotFound):
        await room.audio.open(row, Shape.MP3)
    assert room.made() == []


async def test_room_is_made_by_what_was_unused_for_longest(tmp_path):
    """Over the limit the encodings that nobody used go first, and what a dead process left."""
    room = Room(tmp_path, remote=False, limit=12_500)
    rows = [await room.keep("wav", _wav(2.0 + number / 10)) for number in range(4)]
    for number, row in enumerate(rows[:3]):
        await room.audio.open(row, Shape.MP3)
        for path in (room.derived / row.id).iterdir():
            os.utime(path, (number + 1.0, path.stat().st_mtime))
    sizes = [path.stat().st_size for path in room.made()]
    assert sum(sizes) < 12_500 < sum(sizes) * 4 / 3
    await room.audio.open(rows[0], Shape.MP3)
    left, fresh = room.derived / rows[0].id / "a.part", room.derived / rows[0].id / "b.part"
    for path in (left, fresh):
        path.touch()
    os.utime(left, (1.0, NOW.timestamp() - 10 * files.ABANDONED))
    os.utime(left, (1.0, 1.0))
    await room.audio.open(rows[3], Shape.MP3)
    kept = {path.parent.name for path in room.made() if path.suffix == ".mp3"}
    assert kept == {rows[0].id, rows[2].id, rows[3].id}
    assert fresh.exists()
    assert not left.exists()
    await room.audio.close()
    room.blobs.close()


async def test_another_node_forgets_what_was_deleted(database: Database, tmp_path):
    """What is made on one node of a recording that another has deleted goes with the next look."""
    room = Room(tmp_path, remote=False)
    rows = [await room.keep("wav", _wav()) for _ in range(3)]
    async with database.write() as connection:
        await connection.execute(
            insert(recordings),
            [
                {
                    "id": row.id,
                    "tenant_id": "default",
                    "name": row.id,
                    "target": "snoop",
                    "target_id": row.id,
                    "holder_id": row.id,
                    "format": "wav",
                    "layout": "mono",
                    "state": "available",
                    "requested_at": NOW,
                    "ended_at": NOW,
                }
                for row in rows[:2]
            ],
        )
    await room.audio.forget_deleted(database)
    for row in rows:
        await room.audio.open(row, Shape.MP3)
    async with database.write() as connection:
        await connection.execute(
            update(recordings)
            .where(recordings.c.id == rows[0].id)
            .values(deleted_at=NOW + timedelta(days=1))
        )
    await room.audio.forget_deleted(database)
    assert {path.parent.name for path in room.made()} == {rows[1].id}
    await room.audio.close()
    room.blobs.close()


async def test_closing_gives_up_what_is_being_made(tmp_path, gate):
    """A process that ends does not finish an hour of MP3 first, and leaves nothing half made."""
    room = Room(tmp_path, remote=False)
    row = await room.keep("wav", _wav())
    wanted = asyncio.create_task(room.audio.open(row, Shape.OPUS))
    await gate.reached.wait()
    closing = asyncio.create_task(room.audio.close())
    await asyncio.sleep(0)
    gate.opened.set()
    await closing
    with pytest.raises(Stopped):
        await wanted
    assert room.made() == []
    room.blobs.close()


@pytest.fixture
def uncached(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Let the page cache hold only the first 1000 bytes of everything."""
    waited: list[int] = []
    read = os.preadv

    def preadv(file: int, buffers: Any, offset: int, flags: int = 0) -> int:
        if flags & os.RWF_NOWAIT:
            if offset >= 1000:
                raise BlockingIOError
            return read(file, [buffers[0][: 1000 - offset]], offset)
        waited.append(offset)
        return read(file, buffers, offset)

    monkeypatch.setattr(os, "preadv", preadv)
    return iter([waited])


async def test_a_file_that_is_not_in_memory_is_waited_for_in_a_thread(tmp_path, uncached):
    """What the page cache lacks of a block is read by a thread; the bytes are the same."""
    waited = next(uncached)
    room = Room(tmp_path, remote=False)
    data = _wav(60.0)
    row = await room.keep("wav", data)
    assert await _bytes(await room.audio.open(row)) == data
    assert waited == [1000, files.BLOCK]
    await room.audio.close()
    room.blobs.close()
