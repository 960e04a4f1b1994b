"""Recordings that end by a hang-up, and sinks that misbehave."""

from __future__ import annotations

import asyncio
import hashlib
import time
import wave
from datetime import datetime
from pathlib import Path

from tests.system.support import Collector, run_app
from voxtra import CallSession, CompositeSink, RecordingMetadata, RecordingSink, VoxtraApp

MANY = 50


class Hanging(RecordingSink):
    """Never returns by itself."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.release = asyncio.Event()

    async def on_recording_complete(self, metadata: RecordingMetadata) -> None:
        """Wait for the test's end."""
        self.begun.set()
        await self.release.wait()


class Raising(RecordingSink):
    """Always fails."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()

    async def on_recording_complete(self, metadata: RecordingMetadata) -> None:
        """Fail."""
        self.begun.set()
        raise ConnectionError("the sink of this test fails")


def between(metadata: RecordingMetadata) -> float:
    """Return the seconds between the start and the end that a sink is told."""
    started, ended = (metadata.extra[key] for key in ("started_at", "ended_at"))
    return (datetime.fromisoformat(ended) - datetime.fromisoformat(started)).total_seconds()


async def test_every_caller_who_hangs_up_leaves_a_complete_file(make_app, place_call, sink):
    """Fifty recorded callers hang up at once: fifty whole files, fifty sinks, each told once."""
    app: VoxtraApp = make_app()
    names: dict[str, str] = {}
    all_recorded = asyncio.Event()

    @app.default()
    async def handle(call: CallSession) -> None:
        await call.answer()
        names[call.id] = await call.record_start()
        if len(names) == MANY:
            all_recorded.set()
        await call.wait_ended()

    async with run_app(app):
        calls = [place_call(seconds=60) for _ in range(MANY)]
        await asyncio.wait_for(all_recorded.wait(), 20)
        # so that even the youngest file has half a second in it
        await asyncio.sleep(0.5)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await sink.wait_for(MANY)
    assert {told.session_id: told.name for told in sink.received} == names
    assert len(sink.received) == MANY
    for told in sink.received:
        content = Path(told.file_path).read_bytes()
        with wave.open(told.file_path) as file:
            assert file.getnframes() == told.extra["samples"] == (len(content) - 44) // 2
            assert told.duration_seconds == round(file.getnframes() / 8000, 3)
        assert hashlib.sha256(content).hexdigest() == told.extra["sha256"]
        assert told.extra["state"] == "available"
        assert told.extra["end_reason"] == "hangup"
        assert not told.extra["repaired"]
        assert abs(told.duration_seconds - between(told)) < 0.3


async def test_a_sink_that_hangs_or_fails_costs_nobody_anything(make_app, place_call):
    """With a hanging and a raising sink in front, the hang-up reaches Asterisk within 500 ms and
    the next sink is told within a second.
    """
    hanging, raising, collector = Hanging(), Raising(), Collector()
    app: VoxtraApp = make_app(recording_sink=CompositeSink(hanging, raising, collector))
    asked: list[float] = []

    @app.default()
    async def handle(call: CallSession) -> None:
        await call.answer()
        await call.record_start()
        await call.play_file("digits:1")
        asked.append(time.monotonic())
        await call.hangup()

    async with run_app(app):
        placed = await place_call(seconds=30)
        reached = time.monotonic() - asked[0]
        told = await collector.next(1.0 - reached)
        await asyncio.wait_for(asyncio.gather(hanging.begun.wait(), raising.begun.wait()), 1)
        hanging.release.set()
    assert reached < 0.5
    assert told.session_id == placed.call_id
    assert len(collector.received) == 1


async def test_a_handler_is_not_held_up_by_the_sink_of_its_recording(make_app, place_call):
    """`record_stop` returns while the sink hangs, and the call goes on to its next recording."""
    hanging = Hanging()
    app: VoxtraApp = make_app(recording_sink=hanging)
    took: dict[str, float] = {}
    done = asyncio.Event()

    @app.default()
    async def handle(call: CallSession) -> None:
        await call.answer()
        first = await call.record_start()
        await call.play_file("digits:1")
        began = time.monotonic()
        assert await call.record_stop() == first
        took["stop"] = time.monotonic() - began
        await asyncio.wait_for(hanging.begun.wait(), 2)
        second = await call.record_start()
        assert second != first
        done.set()

    async with run_app(app):
        call = place_call(seconds=30)
        await asyncio.wait_for(done.wait(), 10)
        await call
        hanging.release.set()
    assert took["stop"] < 0.5


async def test_the_sink_of_a_recording_comes_before_the_sink_of_the_app(make_app, place_call, sink):
    """`record_start(sink=)` is told instead of the app's sink, for that recording alone."""
    app: VoxtraApp = make_app()
    own = Collector()

    @app.default()
    async def handle(call: CallSession) -> None:
        await call.answer()
        call.metadata["own"] = await call.record_start(sink=own)
        await call.play_file("digits:1")
        await call.record_stop()
        await call.record_start()
        await call.play_file("digits:2")

    async with run_app(app):
        await place_call(seconds=30)
        first, second = await own.next(), await sink.next()
    assert first.session_id == second.session_id
    assert first.name != second.name
    assert first.extra["end_reason"] == "stopped"
    assert second.extra["end_reason"] == "hangup"
    assert len(own.received) == len(sink.received) == 1
