"""Calls and their recordings over REST, on a real Asterisk."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.system.calls import FRAMES, HEARD, UNHEARD, talk
from tests.system.serving import Served, serving
from voxtra.audio.decode import decode
from voxtra.audio.formats import lookup
from voxtra.audio.tone import level


@pytest.fixture
async def served(lab, app_name, tmp_path):
    """Serve on the shared Asterisk."""
    async with serving(Served(lab, app_name, tmp_path)) as running:
        yield running


async def file_of(served: Served, row: dict[str, Any], folder: Path, **query: str) -> Path:
    """Download a recording."""
    answer = await served.ask("GET", f"/v1.0/recordings/{row['id']}/file", params=query)
    assert answer.status_code == 200, answer.text
    path = folder / f"heard.{query.get('format', row['format'])}"
    path.write_bytes(answer.content)
    return path


async def called(served: Served, to: str, **more: Any) -> str:
    """Have the service call somebody, and return the call when it is answered."""
    made = await served.post("/v1.0/calls", {"destination": f"Local/{to}@lab-phone/n", **more})
    await served.call_is(made["id"])
    return str(made["id"])


async def test_a_call_that_is_made_is_served_like_one_that_came(served, tmp_path):
    """`POST /calls` with an extension runs that extension's handler, which records."""
    call_id = await called(served, "answer-2", extension="2000")
    await served.call_is(call_id, "completed", timeout=15)
    (row,) = await served.recordings(call_id=call_id)
    row = await served.until(row["id"])
    assert (row["direction"], row["end_reason"]) == ("outbound", "hangup")
    assert 1.0 < row["duration"] < 2.0 + FRAMES


async def test_what_is_paused_is_not_in_the_file(served, place_call, app_name, tmp_path):
    """Pause and resume over REST leave out what was said meanwhile, and the row says when."""
    call_id = f"{app_name}-paused"
    place_call(call_id=call_id, seconds=30.0)
    await served.call_is(call_id)
    path = f"/v1.0/calls/{call_id}"
    started = await served.post(f"{path}/recording_start")
    await talk(1.0)
    paused = await served.post(f"{path}/recording_pause")
    assert paused["recording"]["paused"]
    await talk(2.0)
    resumed = await served.post(f"{path}/recording_resume")
    assert not resumed["recording"]["paused"]
    await talk(1.0)
    await served.post(f"{path}/recording_stop")
    row = await served.until(started["recording_id"])
    assert row["duration"] == pytest.approx(2.0, abs=0.5)
    (pause,) = row["pauses"]
    assert not pause["muted"]


async def test_one_after_the_other(served, place_call, app_name):
    """A call has any number of recordings, one at a time; stopping what is stopped says so."""
    call_id = f"{app_name}-several"
    place_call(call_id=call_id, seconds=30.0)
    await served.call_is(call_id)
    path = f"/v1.0/calls/{call_id}"
    ids = []
    for _ in range(3):
        started = await served.post(f"{path}/recording_start")
        ids.append(started["recording_id"])
        again = await served.ask("POST", f"{path}/recording_start")
        assert (again.status_code, again.json()["code"]) == (409, "recording_active")
        assert again.json()["recording_id"] == ids[-1]
        stopped = await served.post(f"{path}/recording_stop")
        assert stopped["recording_ids"] == ids
    twice = await served.ask("POST", f"{path}/recording_stop")
    assert (twice.status_code, twice.json()["code"]) == (409, "recording_not_active")


async def test_two_that_start_at_once(served, place_call, app_name):
    """Of two starts at the same moment one wins, and the other is told of it."""
    call_id = f"{app_name}-race"
    place_call(call_id=call_id, seconds=30.0)
    await served.call_is(call_id)
    path = f"/v1.0/calls/{call_id}/recording_start"
    answers = await asyncio.gather(*(served.ask("POST", path) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409]
    assert len(await served.recordings(call_id=call_id)) == 1


async def test_a_call_that_rings_is_waited_for(served, place_call, app_name):
    """A start that comes before the answer waits for it, and gives up in bounded time."""
    call_id = f"{app_name}-rings"
    place_call(call_id=call_id, to="1001", seconds=30.0)
    await served.call_is(call_id, "ringing")
    refused = await served.ask("POST", f"/v1.0/calls/{call_id}/recording_start")
    assert (refused.status_code, refused.json()["code"]) == (409, "call_not_active")
    assert await served.recordings(call_id=call_id) == []


async def test_the_key_of_the_real_phone_ends_it(served):
    """`end_of_key` listens to the caller's own channel: a snoop hears no keys."""
    call_id = await called(served, "dtmf-7")
    started = await served.post(f"/v1.0/calls/{call_id}/recording_start", {"end_of_key": "7"})
    row = await served.until(started["recording_id"])
    assert row["end_reason"] == "key"


async def test_silence_ends_it(served, place_call, app_name):
    """`end_of_silence` seconds without a word end a recording, and it says so."""
    call_id = f"{app_name}-silent"
    place_call(call_id=call_id, say="silence", seconds=30.0)
    await served.call_is(call_id)
    started = await served.post(f"/v1.0/calls/{call_id}/recording_start", {"end_of_silence": 1})
    row = await served.until(started["recording_id"])
    assert row["end_reason"] == "silence"
    assert row["silence_ratio"] == 1.0


async def test_the_maximum_ends_it(served, place_call, app_name):
    """`duration` seconds are the most, and a recording that reaches them says so."""
    call_id = f"{app_name}-maximum"
    place_call(call_id=call_id, seconds=30.0)
    await served.call_is(call_id)
    started = await served.post(f"/v1.0/calls/{call_id}/recording_start", {"duration": 1})
    row = await served.until(started["recording_id"])
    assert row["end_reason"] == "max_duration"
    assert 1.0 <= row["duration"] < 2.0 + FRAMES


async def test_everybody_hears_the_beep_before_it(served, place_call, app_name, tmp_path):
    """With `beep` a tone is heard, and it is not in the file."""
    call_id = f"{app_name}-beep"
    place_call(call_id=call_id, seconds=30.0)
    await served.call_is(call_id)
    started = await served.post(
        f"/v1.0/calls/{call_id}/recording_start", {"beep": True, "layout": "stereo"}
    )
    await talk(1.0)
    await served.post(f"/v1.0/calls/{call_id}/recording_stop")
    row = await served.until(started["recording_id"])
    samples, rate = decode(await file_of(served, row, tmp_path), lookup("wav"))
    assert level(samples[rate // 4 : rate // 2, 0], 440, rate) > HEARD
    assert abs(samples[:, 1]).max() < 300


@pytest.mark.parametrize("fmt", ["ulaw", "alaw", "gsm", "sln", "wav16"])
async def test_formats_without_a_header_play_as_wav(
    served, place_call, app_name, tmp_path, fmt: str
):
    """What the PBX writes without a header is kept as it is, and heard and sought as WAV."""
    call_id = f"{app_name}-{fmt}"
    place_call(call_id=call_id, seconds=30.0)
    await served.call_is(call_id)
    started = await served.post(f"/v1.0/calls/{call_id}/recording_start", {"format": fmt})
    await talk(1.0)
    await served.post(f"/v1.0/calls/{call_id}/recording_stop")
    row = await served.until(started["recording_id"])
    assert row["format"] == fmt
    whole = (await file_of(served, row, tmp_path, format="wav")).read_bytes()
    samples, rate = decode(tmp_path / "heard.wav", lookup("wav"))
    assert len(samples) / rate == pytest.approx(row["duration"], abs=0.03)
    assert level(samples[rate // 4 : rate // 2, 0], 440, rate) > HEARD
    assert level(samples[rate // 4 : rate // 2, 0], 1000, rate) < UNHEARD
    part = await served.ask(
        "GET",
        f"/v1.0/recordings/{row['id']}/file",
        params={"format": "wav"},
        headers={"Range": "bytes=4000-7999"},
    )
    assert (part.status_code, part.content) == (206, whole[4000:8000])


async def test_what_is_not_ready_deleted_held_or_unknown(served, place_call, app_name):
    """A file that is still processing, a deleted one, a held one, an unknown one: each its own
    error with a code and a fix.
    """
    call_id = f"{app_name}-errors"
    place_call(call_id=call_id, seconds=30.0)
    await served.call_is(call_id)
    started = await served.post(f"/v1.0/calls/{call_id}/recording_start")
    path = f"/v1.0/recordings/{started['recording_id']}"
    early = await served.ask("GET", f"{path}/file")
    assert (early.status_code, early.json()["code"]) == (404, "recording_not_ready")
    assert int(early.headers["Retry-After"]) > 0
    await talk(0.5)
    await served.post(f"/v1.0/calls/{call_id}/recording_stop")
    await served.until(started["recording_id"])
    await served.post(f"{path}/hold", {"reason": "dispute 7"})
    held = await served.ask("DELETE", path, params={"reason": "tidy"})
    assert (held.status_code, held.json()["code"]) == (409, "recording_held")
    await served.post(f"{path}/release", {"reason": "settled"})
    gone = await served.ask("DELETE", path, params={"reason": "tidy"})
    assert gone.status_code == 200, gone.text
    late = await served.ask("GET", f"{path}/file")
    assert (late.status_code, late.json()["code"]) == (410, "recording_deleted")
    unknown = await served.ask("GET", "/v1.0/recordings/nowhere")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "recording_not_found")
    blobs = [path.name for path in (served.data / "blobs" / "recordings").rglob("*.wav")]
    assert started["recording_id"] not in "".join(blobs)
