"""The only copy of a recording is never deleted: what happens when two sides can't be joined."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.toy_pbx import ToyPbx
from voxtra import spool
from voxtra.audio.formats import AudioFormat
from voxtra.audio.mix import interleave
from voxtra.exceptions import RecordingFailed
from voxtra.model import Layout, Recording, RecordingTarget, Track
from voxtra.spool import Finished, Spool

SIDES = (Track("x-in", "in"), Track("x-out", "out"))


@pytest.fixture
def finish(tmp_path: Path) -> Callable[[], Any]:
    """Have both sides of a stereo recording on the disk; return a function that finishes it."""
    pbx = ToyPbx(tmp_path)
    pbx.listen(lambda event: None, lambda gap: asyncio.sleep(0))
    recording = Recording(
        "id", "x", "call", RecordingTarget.SNOOP, "call", layout=Layout.STEREO, tracks=SIDES
    )
    for track in SIDES:
        side = Recording(track.name, track.name, "call", RecordingTarget.SNOOP, "call")
        pbx.live[track.name] = side
        pbx.finish(side)

    async def run() -> Finished:
        return await Spool(tmp_path, tmp_path / "downloads").finish(recording, pbx, 0)

    return run


def left_in(folder: Path) -> list[str]:
    """Return the names of the files in a folder."""
    return sorted(path.name for path in folder.iterdir())


async def test_sides_are_removed_when_the_joined_file_is_whole(
    tmp_path: Path, finish: Callable[[], Any]
) -> None:
    """What was joined and counted is the only file that is left."""
    finished = await finish()
    assert (finished.channels, finished.samples) == (2, 800)
    assert left_in(tmp_path) == ["x.wav"]


async def test_a_joined_file_that_is_short_costs_nothing(
    tmp_path: Path, finish: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """When samples are missing in the joined file, both sides stay and the cause says so."""

    def cut_short(left: Path, right: Path, out: Path, fmt: AudioFormat) -> None:
        interleave(left, right, out, fmt)
        with out.open("r+b") as file:
            file.truncate(out.stat().st_size - 400)

    monkeypatch.setattr(spool, "interleave", cut_short)
    with pytest.raises(RecordingFailed, match="700 samples instead of 800; both sides are kept"):
        await finish()
    assert {"x-in.wav", "x-out.wav"} <= set(left_in(tmp_path))


async def test_a_file_in_the_way_is_not_replaced(tmp_path: Path, finish: Callable[[], Any]) -> None:
    """A file that has the name already stays as it is, and so do both sides."""
    (tmp_path / "x.wav").write_text("somebody's")
    with pytest.raises(RecordingFailed, match="exists already; both sides are kept"):
        await finish()
    assert (tmp_path / "x.wav").read_text() == "somebody's"
    assert left_in(tmp_path) == ["x-in.wav", "x-out.wav", "x.wav"]
