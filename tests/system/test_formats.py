"""Every format that Asterisk can record: the file is where it should be and holds what it says."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from time import monotonic

import pytest

from tests.system.calls import HEARD, Heard, talk
from tests.system.conftest import AppMaker
from tests.system.support import Collector, run_app
from voxtra import CallSession, RecordingMetadata, VoxtraApp
from voxtra.audio.decode import can_decode
from voxtra.audio.formats import FORMATS, WITHOUT_ENCODER
from voxtra.exceptions import ConfigurationError
from voxtra.ids import new_id
from voxtra.lab.pbx import Pbx

FRAME = 0.06
"""Seconds that a file may differ from the truth: three packets of speech."""


AT_ONCE = 8
"""Recordings side by side: so few that the clock of this process is the truth to within a frame."""


def batched(names: Iterable[str], count: int) -> Iterator[list[str]]:
    """Yield the names, so many at a time."""
    rest = iter(names)
    while some := list(islice(rest, count)):
        yield some


@dataclass
class Made:
    """One recording: what its sink was told, and how long the call was recorded."""

    told: RecordingMetadata
    lasted: float
    name: str


async def record_all(app: VoxtraApp, sink: Collector, ways: list[tuple[str, str]]) -> list[Made]:
    """Record each (format, layout) on a call of its own, all at the same time."""

    async def one(call: CallSession, fmt: str, layout: str) -> tuple[str, float]:
        name = await call.record_start(f"{fmt}-{layout}-{new_id()}", fmt, layout=layout)
        began = monotonic()
        await talk(1.2)
        lasted = monotonic() - began
        await call.record_stop()
        return name, lasted

    calls = await asyncio.gather(*(app.originate("Local/tone-440@lab-phone/n") for _ in ways))
    made = await asyncio.gather(*(one(call, *way) for call, way in zip(calls, ways, strict=True)))
    told = {each.name: each for each in [await sink.next() for _ in ways]}
    return [Made(told[name], lasted, name) for name, lasted in made]


async def test_every_format(lab: Pbx, make_app: AppMaker, sink: Collector) -> None:
    """A recording in any format, alias or not, is a file at the path that is told, with the samples
    that are told, and the caller's tone in it where it can be decoded.
    """
    app = make_app()
    made: list[Made] = []
    async with run_app(app):
        for some in batched(FORMATS, AT_ONCE):
            made += await record_all(app, sink, [(fmt, "mono") for fmt in some])
        listed = {each.name for each in await app.ari.list_stored_recordings()}
    assert listed.issuperset(each.name for each in made)
    for each in made:
        told, extra = each.told, each.told.extra
        fmt = FORMATS[told.format]
        assert extra["state"] == "available", extra["cause"]
        assert Path(told.file_path) == lab.recording_dir / f"{each.name}.{fmt.extension}"
        assert Path(told.file_path).stat().st_size == extra["size"]
        assert extra["sample_rate"] == fmt.sample_rate
        assert told.duration_seconds is not None
        assert told.duration_seconds == round(extra["samples"] / fmt.sample_rate, 3)
        assert abs(told.duration_seconds - each.lasted) < FRAME
        if can_decode(fmt):
            heard = Heard(told)
            assert len(heard.samples) == extra["samples"]
            assert heard.level(440, 0.2, 1.0) > HEARD


async def test_wav49_has_its_own_extension(lab: Pbx, make_app: AppMaker, sink: Collector) -> None:
    """The file of a wav49 recording ends with `.WAV`, and so does the path that is told."""
    app = make_app()
    async with run_app(app):
        (made,) = await record_all(app, sink, [("wav49", "mono")])
    assert made.told.file_path == str(lab.recording_dir / f"{made.name}.WAV")


async def test_stereo_formats(lab: Pbx, make_app: AppMaker, sink: Collector) -> None:
    """Both sides of wav and wav16 are joined to one file, and the files of the sides are gone."""
    app = make_app()
    async with run_app(app):
        made = await record_all(app, sink, [("wav", "stereo"), ("wav16", "stereo")])
    for each in made:
        assert each.told.extra["channels"] == 2
        assert each.told.extra["sample_rate"] == FORMATS[each.told.format].sample_rate
        assert Heard(each.told).level(440, 0.2, 1.0, 0) > HEARD
        assert [path.name for path in lab.recording_dir.glob(f"{each.name}*")] == [
            f"{each.name}.{each.told.format}"
        ]


async def test_formats_that_can_not_be_recorded(make_app: AppMaker, sink: Collector) -> None:
    """A format that Asterisk can't encode, or does not know, is refused before it is asked: it
    would say done and leave an empty file.
    """
    app = make_app()
    async with run_app(app):
        call = await app.originate("Local/tone-440@lab-phone/n")
        before = len(await app.ari.list_channels())
        for fmt in (*WITHOUT_ENCODER, "mp3", "WAV16", "Wav", "wav|gsm"):
            with pytest.raises(ConfigurationError, match=r"fmt.*Use one of: .*wav"):
                await call.record_start(fmt=fmt)
        for fmt in ("gsm", "ulaw", "sln", "opus"):
            with pytest.raises(ConfigurationError, match="layout"):
                await call.record_start(fmt=fmt, layout="stereo")
        assert len(await app.ari.list_channels()) == before
    assert sink.received == []
