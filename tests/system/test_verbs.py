"""The verbs of a call that other pages do not show: sounds by URL and language, keys, hold, and
what a transfer takes along.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from tests.conftest import CallPlacer
from tests.system.calls import HEARD, UNHEARD, Heard, Line, make_sound, talk
from tests.system.conftest import AppMaker
from tests.system.support import Collector, eventually, run_app
from voxtra import CallState, VoxtraApp
from voxtra.exceptions import CallEnded, PlaybackFailed
from voxtra.lab import sound
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
async def sounds_url(tmp_path: Path) -> AsyncIterator[str]:
    """Serve a sound of 1200 Hz at `a,b.wav` below the URL that is returned."""
    sound.write("tone:1200", tmp_path / "a,b.wav", seconds=0.6)
    server = web.Application()
    server.router.add_static("/s", tmp_path)
    runner = web.AppRunner(server)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/s"
    await runner.cleanup()


async def test_a_sound_of_the_web(line: Line, sink: Collector, sounds_url: str) -> None:
    """`play_url` plays what is at a URL, commas and all; what is not there says so."""
    call = await line.call()
    await call.record_start(layout="stereo")
    await call.play_url(f"{sounds_url}/a,b.wav")
    await call.record_stop()
    heard = Heard(await sink.next())
    begin = heard.begin(1200, side=1)
    assert heard.level(1200, begin + 0.1, begin + 0.5, side=1) > HEARD
    with pytest.raises(PlaybackFailed):
        await call.play_url(f"{sounds_url}/nothing.wav")
    for wrong in ("ftp://example.com/x.wav", "hello-world", "http://"):
        with pytest.raises(ValueError, match="url"):
            await call.play_url(wrong)


async def test_a_sound_in_a_language(lab: Pbx, line: Line, sink: Collector) -> None:
    """`play_file(lang=)` plays the sound of that language where there is one."""
    name = make_sound(lab, "tone:880", 0.5).removeprefix("recording:")
    plain = lab.recording_dir / f"{name}.wav"
    french = plain.parent / "fr" / plain.name
    french.parent.mkdir(exist_ok=True)
    sound.write("tone:1200", french, seconds=0.5)
    call = await line.call()
    await call.record_start(layout="stereo")
    await call.play_file(f"recording:{name}", "fr")
    await call.record_stop()
    heard = Heard(await sink.next())
    assert heard.level(1200, side=1) > HEARD
    assert heard.level(880, side=1) < UNHEARD


async def test_every_key_is_told_in_order(app: VoxtraApp) -> None:
    """`on_dtmf` handlers run one after another, in the order of the keys."""
    call = await app.originate("Local/dtmf-12*#9@lab-phone/n")
    pressed: list[str] = []

    @call.on_dtmf
    async def note(digit: str) -> None:
        await asyncio.sleep(0)
        pressed.append(digit)

    await eventually(lambda: len(pressed) == 5)
    assert pressed == ["1", "2", "*", "#", "9"]


async def test_keys_reach_the_far_end(app: VoxtraApp) -> None:
    """What `send_dtmf` sends arrives at the far end, which here sends it back."""
    call = await app.originate("Local/echo@lab-phone/n")
    await call.send_dtmf("42*A")
    assert await call.listen_dtmf(4, timeout=10) == "42*A"
    with pytest.raises(ValueError, match="digits"):
        await call.send_dtmf("1x")


async def test_hold_is_a_state(line: Line) -> None:
    """A call on hold says so, and is answered again afterwards."""
    call = await line.call()
    states = []
    for verb in (call.hold, call.unhold):
        await verb()
        states.append(call.state)
    assert states == [CallState.ON_HOLD, CallState.ANSWERED]


async def test_what_a_transfer_takes_along(app: VoxtraApp, line: Line) -> None:
    """The far end of a transfer is told the caller's number, a queue also what is known of him."""
    call = await line.call(caller="+15550142")
    other = await call.transfer_to_queue("support", {"reason": "billing", "vip-level": 3})
    name = (await app.ari.get_channel(other.id)).name.removesuffix(";1")
    (far,) = [each.id for each in await app.ari.list_channels() if each.name == f"{name};2"]
    assert await app.ari.get_channel_var(far, "CALLERID(num)") == "+15550142"
    assert await app.ari.get_channel_var(far, "VOXTRA_REASON") == "billing"
    assert await app.ari.get_channel_var(far, "VOXTRA_VIP_LEVEL") == "3"
    assert other.metadata["transferred_from"] == call.id


async def test_a_hang_up_is_no_failed_playback(lab: Pbx, line: Line) -> None:
    """A prompt that is cut off by the end of the call raises `CallEnded`, although Asterisk says
    first that the playback has failed.
    """
    prompt = make_sound(lab, "tone:880", 20)
    calls = await asyncio.gather(*(line.call(seconds=1.0) for _ in range(10)))
    outcomes = await asyncio.gather(
        *(call.play_file(prompt) for call in calls), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [CallEnded] * 10


async def test_speech_says_what_to_configure(line: Line) -> None:
    """Without a pipeline the verbs of speech raise an error that names what they need."""
    call = await line.call()
    with pytest.raises(RuntimeError, match=r"stt=, llm= and tts= on VoxtraApp"):
        await call.say("hello")
    with pytest.raises(RuntimeError, match=r"stt=, llm= and tts="):
        await call.listen()
    with pytest.raises(RuntimeError, match=r"stt=, llm= and tts="):
        await call.agent.respond("hello")
    with pytest.raises(RuntimeError, match=r"stt=, llm= and tts="):
        call.audio_stream()
    for send in (call.send_audio, call.send_audio_bytes):
        with pytest.raises(RuntimeError, match=r"stt=, llm= and tts="):
            await send(b"\0\0")
    await talk(0.1)
    assert call.state is CallState.ANSWERED
