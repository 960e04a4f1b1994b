"""What is in a recording: who is heard, on which side, when, and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any

import pytest

from tests.conftest import CallPlacer
from tests.system.calls import HEARD, UNHEARD, Heard, Line, make_sound, talk
from tests.system.conftest import AppMaker
from tests.system.support import Collector, run_app
from voxtra import CallSession, RecordingMetadata
from voxtra.lab.pbx import Pbx

LEFT, RIGHT = 0, 1


async def test_both_voices(
    lab: Pbx, make_app: AppMaker, place_call: CallPlacer, sink: Collector
) -> None:
    """Caller and app are both in the mixed file, and each on its own side of the stereo file, which
    are as long as the call was recorded, within 60 ms.
    """
    prompt = make_sound(lab, "tone:880", 1.5)

    async def recorded(call: CallSession, layout: str) -> float:
        await call.record_start(layout, layout=layout)
        began = monotonic()
        await call.play_file(prompt)
        lasted = monotonic() - began
        await call.record_stop()
        return lasted

    app = make_app()
    line = Line(app, place_call)
    async with run_app(app):
        calls = await line.calls(2)
        lasted = dict(
            zip(
                ("mono", "stereo"),
                await asyncio.gather(recorded(calls[0], "mono"), recorded(calls[1], "stereo")),
                strict=True,
            )
        )
        told = {each.name: each for each in await sink.wait_for(2)}
    for layout, each in told.items():
        assert each.duration_seconds is not None
        assert abs(each.duration_seconds - lasted[layout]) < 0.06
        assert each.extra["channels"] == len(Heard(each).samples[0]) == len(layout) // 3
    mono, stereo = Heard(told["mono"]), Heard(told["stereo"])
    assert mono.level(440, 0.3, 1.3) > HEARD
    assert mono.level(880, 0.3, 1.3) > HEARD
    assert stereo.level(440, 0.3, 1.3, LEFT) > HEARD
    assert stereo.level(880, 0.3, 1.3, LEFT) < UNHEARD
    assert stereo.level(880, 0.3, 1.3, RIGHT) > HEARD
    assert stereo.level(440, 0.3, 1.3, RIGHT) < UNHEARD


async def test_prompt_follows_at_once(
    lab: Pbx, make_app: AppMaker, place_call: CallPlacer, sink: Collector
) -> None:
    """A prompt begins within 300 ms of the recording's start."""
    prompt = make_sound(lab, "tone:880", 0.5)
    app = make_app()
    line = Line(app, place_call)
    async with run_app(app):
        call = await line.call()
        await call.record_start(layout="stereo")
        await call.play_file(prompt)
        await call.record_stop()
        heard = Heard(await sink.next())
    assert heard.begin(880, RIGHT) < 0.3
    assert heard.begin(440, LEFT) < 0.1


async def test_goes_on_through_bridge_and_transfers(
    make_app: AppMaker, place_call: CallPlacer, sink: Collector
) -> None:
    """A recording goes on when the call is bridged, transferred, and transferred to a queue; whom
    the caller talks to at each time is on the right side.
    """
    app = make_app()
    line = Line(app, place_call)
    heard_at: dict[int, float] = {}
    async with run_app(app):
        call, friend = await asyncio.gather(line.call(), line.call(say="tone:1200"))
        await call.record_start(layout="stereo")
        began = monotonic()
        await call.bridge_with(friend)
        heard_at[1200] = monotonic() - began
        await talk(0.8)
        await call.transfer_to("Local/tone-880@lab-phone/n")
        heard_at[880] = monotonic() - began
        await talk(0.8)
        await call.transfer_to_queue("support", {"reason": "billing"})
        heard_at[660] = monotonic() - began
        await talk(0.8)
        assert call.recording is not None
        await call.record_stop()
        told = await sink.next()
    heard = Heard(told)
    for hz, start in heard_at.items():
        window = (start + 0.25, start + 0.75)
        assert heard.level(hz, *window, RIGHT) > HEARD
        assert heard.level(440, *window, LEFT) > HEARD
        assert heard.level(hz, *window, LEFT) < UNHEARD
        for other in heard_at.keys() - {hz}:
            assert heard.level(other, *window, RIGHT) < UNHEARD


async def test_goes_on_through_hold(
    make_app: AppMaker, place_call: CallPlacer, sink: Collector
) -> None:
    """A recording goes on while the caller is on hold, and the music is on the right side."""
    app = make_app()
    line = Line(app, place_call)
    async with run_app(app):
        call = await line.call()
        await call.record_start(layout="stereo")
        await call.hold()
        await talk(0.8)
        await call.unhold()
        await call.record_stop()
        heard = Heard(await sink.next())
    assert heard.level(523, 0.3, 0.7, RIGHT) > HEARD
    assert heard.level(440, 0.3, 0.7, LEFT) > HEARD


async def test_channel_is_the_caller_alone(
    lab: Pbx, make_app: AppMaker, place_call: CallPlacer, sink: Collector
) -> None:
    """With `target="channel"` the caller is heard, and nothing of what he hears."""
    prompt = make_sound(lab, "tone:880", 0.5)
    app = make_app()
    line = Line(app, place_call)
    async with run_app(app):
        call = await line.call()
        await call.record_start(target="channel")
        await call.play_file(prompt, wait=False)
        await talk(1.0)
        await call.record_stop()
        told = await sink.next()
    heard = Heard(told)
    assert told.extra["target"] == "channel"
    assert heard.level(440, 0.1, 0.9) > HEARD
    assert heard.level(880) < UNHEARD


PAUSE = (CallSession.record_pause, CallSession.record_resume)
MUTE = (CallSession.record_mute, CallSession.record_unmute)


async def interrupted(
    call: CallSession, verbs: Any, *, layout: str = "mono", times: int = 1
) -> str:
    """Record 0.6 s, interrupt for 0.8 s with the first verb, and record 0.6 s more."""
    name = await call.record_start(layout=layout)
    await talk(0.6)
    for _ in range(times):
        await verbs[0](call)
    await talk(0.8)
    for _ in range(times):
        await verbs[1](call)
    await talk(0.6)
    await call.record_stop()
    return name


@pytest.fixture
async def record_interrupted(
    make_app: AppMaker, place_call: CallPlacer, sink: Collector
) -> Callable[..., Any]:
    """Return a function that makes several interrupted recordings at once, each on a call."""

    async def record(*ways: dict[str, Any]) -> list[tuple[RecordingMetadata, Heard]]:
        app = make_app()
        line = Line(app, place_call)
        async with run_app(app):
            calls = await line.calls(len(ways))
            names = await asyncio.gather(
                *(interrupted(call, **way) for call, way in zip(calls, ways, strict=True))
            )
            told = {each.name: each for each in await sink.wait_for(len(ways))}
        return [(told[name], Heard(told[name])) for name in names]

    return record


async def test_pause_cuts(record_interrupted: Callable[..., Any]) -> None:
    """What is said in a pause is cut out, of both sides alike, however often it is asked."""
    results = await record_interrupted(
        {"verbs": PAUSE}, {"verbs": PAUSE, "layout": "stereo"}, {"verbs": PAUSE, "times": 2}
    )
    for told, heard in results:
        assert told.extra["state"] == "available"
        assert abs(heard.seconds - 1.2) < 0.12
        assert heard.level(440, 0.1, 0.5) > HEARD
        assert heard.level(440, 0.7, 1.1) > HEARD


async def test_mute_is_silence_in_place(record_interrupted: Callable[..., Any]) -> None:
    """What is said while muted is silence on both sides, times stay true, and muting twice is the
    same as once (on Asterisk the second would un-mute).
    """
    results = await record_interrupted(
        {"verbs": MUTE}, {"verbs": MUTE, "layout": "stereo"}, {"verbs": MUTE, "times": 2}
    )
    for _, heard in results:
        assert abs(heard.seconds - 2.0) < 0.12
        assert heard.level(440, 0.1, 0.5) > HEARD
        assert heard.peak(0.75, 1.25) == 0
        assert heard.level(440, 1.55, 1.9) > HEARD
