"""Every curl line of the VoIPBIN documentation, host and ids filled in, sent by curl itself."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.receiver import Receiver, receiving
from tests.system.calls import talk
from tests.system.serving import Served, serving
from tests.system.support import eventually
from voxtra.audio.decode import decode
from voxtra.audio.formats import lookup
from voxtra.audio.tone import level


@pytest.fixture
async def served(lab, app_name, tmp_path):
    """Serve on the shared Asterisk."""
    async with serving(Served(lab, app_name, tmp_path)) as running:
        yield running


async def curl(*arguments: str) -> bytes:
    """Run curl as the seed writes it; a status of 400 or more is an error here."""
    process = await asyncio.create_subprocess_exec(
        *("curl", "--silent", "--show-error", "--fail-with-body", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, error = await process.communicate()
    assert process.returncode == 0, (arguments, out, error)
    return out


async def post(url: str, body: str | None = None) -> dict[str, Any]:
    """POST with the seed's header and data."""
    data = () if body is None else ("--header", "Content-Type: application/json", "--data", body)
    answer: dict[str, Any] = json.loads(await curl("-X", "POST", url, *data))
    return answer


async def test_a_call_is_recorded_listed_and_downloaded(served, place_call, tmp_path: Path):
    """Start, stop, the list, the metadata and the file, as the seed has them."""
    token, base = served.key, served.url
    place_call(call_id="seed-call", seconds=20.0)
    await served.call_is("seed-call")

    started = await post(
        f"{base}/v1.0/calls/seed-call/recording_start?token={token}", '{ "format": "wav" }'
    )
    recording_id = started["recording_id"]
    assert started["id"] == "seed-call"
    assert started["recording_ids"] == [recording_id]
    assert started["recording"]["state"] == "recording"
    await talk(1.0)

    stopped = await post(f"{base}/v1.0/calls/seed-call/recording_stop?token={token}")
    assert stopped["recording_id"] == ""
    assert stopped["recording_ids"] == [recording_id]
    await served.until(recording_id)

    listed = json.loads(await curl("-X", "GET", f"{base}/v1.0/recordings?token={token}"))
    assert [each["id"] for each in listed["result"]] == [recording_id]
    assert listed["next_page_token"] == ""

    told = json.loads(
        await curl("-X", "GET", f"{base}/v1.0/recordings/{recording_id}?token={token}")
    )
    assert (told["state"], told["format"], told["channels"]) == ("available", "wav", 1)
    assert (told["sample_rate"], told["reference_id"]) == (8000, "seed-call")

    file = tmp_path / "recording.wav"
    await curl(
        *("-X", "GET", f"{base}/v1.0/recordings/{recording_id}/file?token={token}"),
        *("--output", str(file)),
    )
    assert hashlib.sha256(file.read_bytes()).hexdigest() == told["sha256"]
    samples, rate = decode(file, lookup("wav"))
    assert len(samples) / rate == pytest.approx(told["duration"], abs=0.001)
    assert level(samples[rate // 4 : rate // 2, 0], 440, rate) > -20

    part = await curl(
        *("-X", "GET", f"{base}/v1.0/recordings/{recording_id}/file?token={token}"),
        *("--header", "Range: bytes=44-1043"),
    )
    assert part == file.read_bytes()[44:1044]
    assert token not in served.log.read_text()


async def test_a_conference_is_recorded(served, place_call):
    """recording_start on a conference, as the seed has it."""
    token, base = served.key, served.url
    made = await post(f"{base}/v1.0/conferences?token={token}", '{"name": "seed"}')
    for number in (1, 2):
        place_call(call_id=f"seed-member-{number}", seconds=20.0)
        await served.call_is(f"seed-member-{number}")
        await post(
            f"{base}/v1.0/conferences/{made['id']}/participants?token={token}",
            json.dumps({"call_id": f"seed-member-{number}"}),
        )
    started = await post(
        f"{base}/v1.0/conferences/{made['id']}/recording_start?token={token}",
        '{ "format": "wav" }',
    )
    assert started["recording_ids"] == [started["recording_id"]]
    await talk(1.0)
    stopped = await post(f"{base}/v1.0/conferences/{made['id']}/recording_stop?token={token}")
    assert stopped["recording_id"] == ""
    told = await served.until(started["recording_id"])
    assert (told["reference_type"], told["reference_id"]) == ("conference", made["id"])
    assert told["duration"] == pytest.approx(1.0, abs=0.6)


async def test_recordings_are_exported_and_a_webhook_says_so(served, place_call):
    """The bulk export answers at once, and a webhook comes when it is complete."""
    token, base = served.key, served.url
    async with receiving() as receiver:
        await post(
            f"{base}/v1.0/webhooks?token={token}",
            json.dumps({"url": receiver.url, "events": ["export.available"]}),
        )
        ids = [await _recorded(served, place_call, f"seed-export-{number}") for number in range(3)]
        accepted = await post(
            f"{base}/v1.0/recordings/export?token={token}", json.dumps({"recording_ids": ids})
        )
        hook = await _export_hook(receiver)
    assert hook["data"]["export_id"] == accepted["id"]
    told = await served.get(f"/v1.0/recordings/exports/{accepted['id']}")
    assert (told["state"], told["total"], told["failed"]) == ("available", 3, 0)


async def _export_hook(receiver: Receiver) -> dict[str, Any]:
    found: dict[str, Any] = await eventually(
        lambda: next((each.json for each in receiver.requests), None), timeout=20
    )
    return found


async def _recorded(served: Served, place_call: Any, call_id: str) -> str:
    await place_call(call_id=call_id, to="2000", seconds=0.6)

    async def available() -> str | None:
        found = await served.recordings(call_id=call_id, state="available")
        return found[0]["id"] if found else None

    recording_id: str = await eventually(available, timeout=20)
    return recording_id
