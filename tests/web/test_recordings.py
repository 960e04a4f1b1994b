"""Recordings over the REST API: looked at, heard, annotated, held and deleted."""

from __future__ import annotations

import asyncio
import io
from datetime import timedelta
from typing import Any

import httpx
import pytest
import soundfile
from sqlalchemy import select, update

from tests.web.shelf import add_peaks, add_recording, wav
from tests.web.support import FOREIGN, client_of, make_key, serving
from voxtra.audio.peaks import Peaks
from voxtra.audio.tone import level, sine
from voxtra.store import retention
from voxtra.store.schema import audit, jobs, recordings
from voxtra.web.resources import Recording, RecordingPage


async def _acts(service, action: str) -> list[Any]:
    async with service.database.read() as connection:
        found = await connection.execute(select(audit).where(audit.c.action == action))
        return list(found)


async def _set(service, recording_id: str, **columns: Any) -> None:
    async with service.database.write() as connection:
        await connection.execute(
            update(recordings).where(recordings.c.id == recording_id).values(**columns)
        )


def _code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


# -- one recording


async def test_a_recording_is_shown_with_all_its_facts(agent, service, clock):
    """The resource says what was recorded, when, of whom, how long it is and where its audio is."""
    data = wav()
    recording_id = await add_recording(
        service,
        data,
        call_id="call-1",
        caller="+4930123456",
        callee="200",
        direction="inbound",
        queue="sales",
        tags=["vip"],
        lost_ms=1500,
        pauses=[{"since": "2026-03-02T09:15:10Z", "until": None, "muted": True}],
    )
    answer = await agent.get(f"/v1.0/recordings/{recording_id}")
    assert answer.status_code == 200
    shown = answer.json()
    moment = clock.now.isoformat().replace("+00:00", "Z")
    assert (
        shown
        | {
            "id": recording_id,
            "state": "available",
            "reference_type": "call",
            "reference_id": "call-1",
            "caller": "+4930123456",
            "callee": "200",
            "queue": "sales",
            "tags": ["vip"],
            "duration": 1.0,
            "lost_seconds": 1.5,
            "size": len(data),
            "requested_at": moment,
            "held": False,
            "deleted_at": None,
            "file": f"/v1.0/recordings/{recording_id}/file",
            "peaks": "",
        }
        == shown
    )
    assert shown["pauses"][0]["muted"] is True


@pytest.mark.parametrize("state", ["starting", "recording", "stopping", "failed"])
async def test_what_is_not_there_has_no_address(agent, service, state):
    """Only an available recording says where its file is, and only its file says how long it is."""
    recording_id = await add_recording(service, state=state, conference_id="c1", call_id="call-1")
    shown = (await agent.get(f"/v1.0/recordings/{recording_id}")).json()
    assert (shown["state"], shown["file"], shown["duration"]) == (state, "", None)
    assert (shown["reference_type"], shown["reference_id"]) == ("conference", "c1")


async def test_the_resource_is_as_it_is_documented(agent, service):
    """Every field that is sent is in the model of the OpenAPI document, and the other way round."""
    for columns in ({"data": wav()}, {"state": "failed"}):
        recording_id = await add_recording(service, **columns)
        shown = (await agent.get(f"/v1.0/recordings/{recording_id}")).json()
        assert set(shown) == set(Recording.model_fields)
        Recording.model_validate(shown)


async def test_a_foreign_recording_is_like_none(agent, admin, service, site):
    """No route tells a recording of another tenant from one that never was."""
    foreign = await add_recording(service, wav(), tenant_id=FOREIGN)
    for recording_id in (foreign, "0" * 32):
        path = f"/v1.0/recordings/{recording_id}"
        for answer in (
            await agent.get(path),
            await agent.get(f"{path}/file"),
            await agent.get(f"{path}/peaks"),
            await admin.patch(path, json={"note": "x"}),
            await admin.patch(path, json={}),
            await admin.patch(path, json={"retention_days": 1}),
            await admin.post(f"{path}/hold", json={"reason": "x"}),
            await admin.post(f"{path}/release", json={"reason": "x"}),
            await admin.delete(path),
        ):
            assert _code(answer) == (404, "recording_not_found")
    async with client_of(site, await make_key(service, "agent", FOREIGN)) as owner:
        assert (await owner.get(f"/v1.0/recordings/{foreign}/file")).status_code == 200


# -- the list


async def _walk(client: httpx.AsyncClient, **query: Any) -> list[str]:
    """Return the ids of all pages."""
    found: list[str] = []
    token = ""
    while True:
        answer = await client.get("/v1.0/recordings", params={**query, "page_token": token})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found += [each["id"] for each in page["result"]]
        token = page["next_page_token"]
        if not token:
            return found


async def test_recordings_are_listed_newest_first(agent, service):
    """Walking the pages gives every recording of the tenant once, as it is shown alone."""
    ids = [await add_recording(service) for _ in range(7)]
    await add_recording(service, tenant_id=FOREIGN)
    for size in (1, 3, 7, 100):
        assert await _walk(agent, page_size=size) == ids[::-1]
    page = (await agent.get("/v1.0/recordings", params={"page_size": 1})).json()
    assert page["result"] == [(await agent.get(f"/v1.0/recordings/{ids[-1]}")).json()]
    RecordingPage.model_validate(page)


async def test_recordings_are_found_by_what_they_are(agent, admin, service, clock):
    """Every filter finds the recordings that have what it says, and no others."""
    facts: dict[str, Any] = {
        "call_id": "call-1",
        "conference_id": "conference-1",
        "direction": "inbound",
        "caller": "+4930123456",
        "callee": "200",
        "queue": "sales",
        "agent": "anna",
        "tags": ["vip"],
        "duration_ms": 12_300,
        "note": "wants a refund",
    }
    wanted = await add_recording(service, **facts)
    other = await add_recording(service, state="failed")
    gone = await add_recording(service, deleted_at=clock.now)
    minute = timedelta(minutes=1)
    for query in (
        {"call_id": "call-1"},
        {"conference_id": "conference-1"},
        {"state": "available"},
        {"state": ["available", "recording"]},
        {"direction": "inbound"},
        {"caller": "+4930123456"},
        {"callee": "200"},
        {"number": "3012"},
        {"queue": "sales"},
        {"agent": "anna"},
        {"tag": "vip"},
        {"text": "refund"},
        {"text": wanted},
        {"min_duration": 12, "max_duration": 12.3},
        {"queue": "sales", "agent": "anna", "held": False},
    ):
        assert await _walk(agent, **query) == [wanted], query
    since, until = (clock.now - minute).isoformat(), (clock.now + minute).isoformat()
    assert await _walk(agent, since=since, until=until) == [other, wanted]
    assert await _walk(agent, until=since) == []
    assert await _walk(agent, since=until) == []
    assert await _walk(agent, deleted=True) == [gone]
    assert await _walk(agent, held=True) == []
    await admin.post(f"/v1.0/recordings/{other}/hold", json={"reason": "x"})
    assert await _walk(agent, held=True) == [other]


async def test_a_filter_that_cannot_be_meant_is_refused(agent):
    """A wrong value, and a filter that does not exist, are named: a list is never quietly whole."""
    for query, field in (
        ({"state": "ended"}, "state[0]"),
        ({"number": "12"}, "number"),
        ({"number": "12a4"}, "number"),
        ({"text": "ab"}, "text"),
        ({"min_duration": "-1"}, "min_duration"),
        ({"min_duration": "nan"}, "min_duration"),
        ({"min_duration": 5, "max_duration": 4}, "max_duration"),
        ({"since": "yesterday"}, "since"),
        ({"since": "2026-03-02T00:00:00"}, "since"),
        ({"until": "2026-03-01T00:00:00Z", "since": "2026-03-02T00:00:00Z"}, "until"),
        ({"page_size": 101}, "page_size"),
        ({"page_size": 0}, "page_size"),
        ({"page_token": "made up"}, "page_token"),
        ({"page_token": "cDE6eA"}, "page_token"),
        ({"queu": "sales"}, "queu"),
    ):
        answer = await agent.get("/v1.0/recordings", params=query)
        assert _code(answer) == (400, "invalid_request"), (query, answer.text)
        assert answer.json()["field"] == field


# -- its audio


async def test_the_file_is_what_was_stored(agent, service, clock):
    """A download has the stored bytes, their hash as validator, a type and a human name."""
    data = wav()
    recording_id = await add_recording(service, data, caller="+4930123456", callee="200")
    answer = await agent.get(f"/v1.0/recordings/{recording_id}/file")
    shown = (await agent.get(f"/v1.0/recordings/{recording_id}")).json()
    assert answer.content == data
    assert answer.headers["etag"] == f'"{shown["sha256"]}"'
    assert answer.headers["content-type"] == "audio/wav"
    assert answer.headers["cache-control"] == "private, no-cache"
    name = f"{clock.now:%Y-%m-%d %H-%M} +4930123456 to 200.wav"
    assert answer.headers["content-disposition"] == f'attachment; filename="{name}"'


async def test_the_file_comes_in_ranges(agent, service):
    """Ranges, suffixes, If-Range, HEAD, 304 and 416 work on the file as RFC 9110 has them."""
    data = wav()
    path = f"/v1.0/recordings/{await add_recording(service, data)}/file"
    whole = await agent.head(path)
    assert (whole.status_code, whole.content) == (200, b"")
    assert whole.headers["content-length"] == str(len(data))
    assert whole.headers["accept-ranges"] == "bytes"
    etag = whole.headers["etag"]
    part = await agent.get(path, headers={"Range": "bytes=100-199", "If-Range": etag})
    assert (part.status_code, part.content) == (206, data[100:200])
    assert part.headers["content-range"] == f"bytes 100-199/{len(data)}"
    assert (await agent.get(path, headers={"Range": "bytes=-50"})).content == data[-50:]
    changed = await agent.get(path, headers={"Range": "bytes=0-9", "If-Range": '"old"'})
    assert (changed.status_code, changed.content) == (200, data)
    assert (await agent.get(path, headers={"If-None-Match": etag})).status_code == 304
    outside = await agent.get(path, headers={"Range": f"bytes={len(data)}-"})
    assert _code(outside) == (416, "range_not_satisfiable")
    assert outside.headers["content-range"] == f"bytes */{len(data)}"


async def test_a_mu_law_recording_plays_and_seeks_as_wav(agent, service):
    """A headerless file is a WAV to every player; `format=original` is the file as it is stored."""
    samples = sine(440, 2.0)
    raw = io.BytesIO()
    soundfile.write(raw, samples, 8000, format="RAW", subtype="ULAW")
    path = f"/v1.0/recordings/{await add_recording(service, raw.getvalue(), 'ulaw')}/file"
    answer = await agent.get(path)
    assert answer.headers["content-type"] == "audio/wav"
    assert answer.headers["content-disposition"].endswith('.wav"')
    heard, rate = soundfile.read(io.BytesIO(answer.content), dtype="int16")
    assert (len(heard), rate) == (16_000, 8000)
    assert level(heard, 440, rate) == pytest.approx(-6, abs=0.2)
    etag = answer.headers["etag"]
    sought = await agent.get(path, headers={"Range": "bytes=16001-16500", "If-Range": etag})
    assert (sought.status_code, sought.content) == (206, answer.content[16001:16501])
    original = await agent.get(path, params={"format": "original"})
    assert original.content == raw.getvalue()
    assert original.headers["etag"] != etag


FORMS = {"wav": "audio/wav", "mp3": "audio/mpeg", "opus": "audio/ogg; codecs=opus"}


@pytest.mark.parametrize("channel", ["left", "right", "mix"])
async def test_a_side_can_be_heard_in_every_form(agent, service, channel):
    """Left, right and mix of a stereo recording come as WAV, MP3 and Opus."""
    recording_id = await add_recording(service, wav(stereo=True), channels=2)
    for form, media_type in FORMS.items():
        answer = await agent.get(
            f"/v1.0/recordings/{recording_id}/file", params={"format": form, "channel": channel}
        )
        assert answer.headers["content-type"] == media_type
        assert answer.headers["content-disposition"].endswith(f'.{form}"')
        heard, rate = soundfile.read(io.BytesIO(answer.content), dtype="int16", always_2d=True)
        assert heard.shape[1] == 1
        tones = [level(heard[2000:6000], hz, rate) > -14 for hz in (440, 1000)]
        assert tones == [channel != "right", channel != "left"]


async def test_a_form_that_cannot_be_made_says_what_can(agent, service):
    """406 names the reason and the form to ask for."""
    for extension, query, words in (
        ("g722", "format=mp3", "g722 can't be decoded here"),
        ("wav", "channel=left", "mono and has no left channel"),
        ("wav", "format=original&channel=mix", "use format=wav"),
    ):
        recording_id = await add_recording(service, bytes(800), extension)
        answer = await agent.get(f"/v1.0/recordings/{recording_id}/file?{query}")
        assert _code(answer) == (406, "not_acceptable")
        assert words in answer.json()["detail"]


async def test_a_form_that_is_not_known_is_refused(agent, service):
    """400 names the field and what it may be."""
    recording_id = await add_recording(service, wav())
    for field, value in (("format", "flac"), ("channel", "middle")):
        answer = await agent.get(f"/v1.0/recordings/{recording_id}/file", params={field: value})
        assert (answer.status_code, answer.json()["field"]) == (400, field)


@pytest.mark.parametrize("state", ["starting", "recording", "stopping"])
async def test_what_is_not_ready_says_when_to_come_back(agent, service, state):
    """404 with Retry-After, and the state, until the recording is available."""
    recording_id = await add_recording(service, state=state)
    for part in ("file", "peaks"):
        answer = await agent.get(f"/v1.0/recordings/{recording_id}/{part}")
        assert _code(answer) == (404, "recording_not_ready")
        assert int(answer.headers["retry-after"]) > 0
        assert state in answer.json()["detail"]


async def test_what_failed_says_why(agent, service):
    """There is nothing to wait for, and the cause says so."""
    recording_id = await add_recording(service, state="failed", cause="the disk of the PBX is full")
    for part in ("file", "peaks"):
        answer = await agent.get(f"/v1.0/recordings/{recording_id}/{part}")
        assert _code(answer) == (404, "recording_failed")
        assert answer.json()["cause"] == "the disk of the PBX is full"


@pytest.mark.parametrize(
    ("actor", "code"), [(retention.ACTOR, "recording_expired"), ("anna", "recording_deleted")]
)
async def test_what_is_gone_says_when_and_why(agent, service, clock, actor, code):
    """410 tells the end of a retention from a deletion, and has what the tombstone keeps."""
    recording_id = await add_recording(
        service, wav(), deleted_at=clock.now, deleted_by=actor, delete_reason="it was time"
    )
    for part in ("file", "peaks"):
        answer = await agent.get(f"/v1.0/recordings/{recording_id}/{part}")
        assert _code(answer) == (410, code)
        assert answer.json()["delete_reason"] == "it was time"
    shown = (await agent.get(f"/v1.0/recordings/{recording_id}")).json()
    assert (shown["deleted_by"], shown["file"]) == (actor, "")


async def test_a_blob_that_is_gone_is_no_secret(agent, service):
    """A file that should be there and is not is 503, before any byte is sent."""
    data = wav()
    recording_id = await add_recording(service, data)
    async with service.database.read() as connection:
        key = (await connection.execute(select(recordings.c.blob_key))).scalar_one()
    await service.blobs.delete(key)
    for shape in ("original", "wav", "mp3"):
        answer = await agent.get(f"/v1.0/recordings/{recording_id}/file?format={shape}")
        assert _code(answer) == (503, "blob_unavailable")


async def test_nothing_is_heard_of_what_is_deleted_while_it_is_encoded(
    admin, agent, service, monkeypatch
):
    """A deletion that comes while an MP3 is made wins: 410, and no file of it stays."""
    recording_id = await add_recording(service, wav())
    opened = service.audio.open

    async def deleted_meanwhile(*arguments: Any) -> Any:
        audio = await opened(*arguments)
        assert (await admin.delete(f"/v1.0/recordings/{recording_id}")).status_code == 200
        return audio

    monkeypatch.setattr("voxtra.service.files.AudioFiles.open", _bound(deleted_meanwhile))
    answer = await agent.get(f"/v1.0/recordings/{recording_id}/file?format=mp3")
    assert _code(answer) == (410, "recording_deleted")
    assert not list(service.data_dir.glob("derived/*/*"))


def _bound(replacement: Any) -> Any:
    async def method(_self: object, *arguments: Any) -> Any:
        return await replacement(*arguments)

    return method


async def test_hearing_is_audited_once_in_a_while(agent, admin, service, clock):
    """The ranges that a player asks for are one act; another key, recording or hour is another."""
    one, two = [await add_recording(service, wav()) for _ in range(2)]
    for start in range(0, 500, 100):
        await agent.get(f"/v1.0/recordings/{one}/file", headers={"Range": f"bytes={start}-"})
    await agent.head(f"/v1.0/recordings/{two}/file")
    await agent.get(f"/v1.0/recordings/{two}/file", headers={"Range": "bytes=999999-"})
    assert [act.subject_id for act in await _acts(service, "recording.downloaded")] == [one]
    await agent.get(f"/v1.0/recordings/{two}/file")
    await admin.get(f"/v1.0/recordings/{one}/file")
    clock.go(minutes=6)
    await agent.get(f"/v1.0/recordings/{one}/file?format=mp3")
    acts = await _acts(service, "recording.downloaded")
    assert [act.subject_id for act in acts] == [one, two, one, one]
    assert len({act.actor for act in acts}) == 2


async def test_a_download_goes_through_a_real_server(agent, service, site):
    """Over a socket all bytes arrive, also when another client breaks off in the middle."""
    data = wav(120.0)
    recording_id = await add_recording(service, data)
    key = await make_key(service, "agent", name="player")
    async with serving(site) as url, httpx.AsyncClient(base_url=url, timeout=60) as client:
        path = f"/v1.0/recordings/{recording_id}/file?token={key}"
        async with client.stream("GET", path) as broken_off:
            async for _ in broken_off.aiter_raw(1000):
                break
        answers = await asyncio.gather(*(client.get(path) for _ in range(4)))
    assert all(answer.content == data for answer in answers)


# -- peaks


async def test_peaks_come_as_players_read_them(agent, service):
    """JSON and the binary form have the same points, as many as are asked for at most."""
    recording_id = await add_recording(service, wav(stereo=True), channels=2)
    path = f"/v1.0/recordings/{recording_id}"
    assert _code(await agent.get(f"{path}/peaks")) == (404, "peaks_not_found")
    key = await add_peaks(service, f"recordings/default/{recording_id}.wav")
    await _set(service, recording_id, peaks_key=key)
    assert (await agent.get(path)).json()["peaks"] == f"{path}/peaks"
    shown = (await agent.get(f"{path}/peaks", params={"points": 100})).json()
    assert (shown["channels"], shown["sample_rate"], shown["bits"]) == (2, 8000, 8)
    assert 50 <= shown["length"] <= 100
    assert len(shown["data"]) == shown["length"] * 4
    assert max(shown["data"][1::4]) > 50 > 10 > max(shown["data"][3::4])
    binary = await agent.get(f"{path}/peaks", params={"points": 100, "format": "dat"})
    assert binary.headers["content-type"] == "application/octet-stream"
    assert Peaks.decode(binary.content).as_json() == shown
    assert (await agent.get(f"{path}/peaks?points=0")).json()["field"] == "points"


# -- what people write on it


async def test_tags_and_note_can_be_changed(admin, service):
    """What is given is replaced, what is left out stays; the audit says which fields, not what."""
    recording_id = await add_recording(service, wav(), tags=["old"], note="first")
    path = f"/v1.0/recordings/{recording_id}"
    shown = (await admin.patch(path, json={"tags": ["vip", "vip", "b"]})).json()
    assert (shown["tags"], shown["note"]) == (["vip", "b"], "first")
    shown = (await admin.patch(path, json={"note": "a secret"})).json()
    assert (shown["tags"], shown["note"]) == (["vip", "b"], "a secret")
    found = (await admin.get("/v1.0/recordings", params={"tag": "vip"})).json()["result"]
    assert [each["id"] for each in found] == [recording_id]
    assert (await admin.get("/v1.0/recordings", params={"tag": "old"})).json()["result"] == []
    shown = (await admin.patch(path, json={"tags": [], "note": ""})).json()
    assert (shown["tags"], shown["note"]) == ([], "")
    assert (await admin.patch(path, json={})).json() == shown
    acts = await _acts(service, "recording.changed")
    assert [act.detail["fields"] for act in acts] == [["tags"], ["note"], ["note", "tags"]]


async def test_how_long_it_stays_can_be_changed(admin, service, clock, site):
    """`retention_days` moves the expiry; it needs the right to delete, because it may do that."""
    recording_id = await add_recording(service, wav())
    path = f"/v1.0/recordings/{recording_id}"
    expiry = (clock.now + timedelta(days=90)).isoformat().replace("+00:00", "Z")
    shown = (await admin.patch(path, json={"retention_days": 90})).json()
    assert (shown["retention_days"], shown["expires_at"]) == (90, expiry)
    shown = (await admin.patch(path, json={"retention_days": 0})).json()
    assert shown["expires_at"] is None
    assert (await admin.patch(path, json={"retention_days": None})).json()["expires_at"] is not None
    key = await make_key(service, "supervisor", name="w", scopes=["recordings:write"])
    async with client_of(site, key) as writer:
        assert (await writer.patch(path, json={"note": "x"})).status_code == 200
        refused = await writer.patch(path, json={"note": "y", "retention_days": 1})
    assert _code(refused) == (403, "forbidden")
    assert refused.json()["missing_scope"] == "recordings:delete"
    assert (await admin.get(path)).json()["note"] == "x"


async def test_a_wrong_change_names_the_field(admin, service):
    """Nothing is changed by a request of which a part is wrong."""
    path = f"/v1.0/recordings/{await add_recording(service, wav())}"
    for body, field in (
        ({"tags": "vip"}, "tags"),
        ({"tags": [""]}, "tags[0]"),
        ({"tags": ["x"] * 51}, "tags"),
        ({"note": "x" * 4001}, "note"),
        ({"retention_days": -1}, "retention_days"),
        ({"caller": "x"}, "caller"),
    ):
        answer = await admin.patch(path, json={"note": "new"} | body)
        assert _code(answer) == (400, "invalid_request")
        assert answer.json()["field"] == field
    assert (await admin.get(path)).json()["note"] == ""


# -- kept and removed


async def test_a_hold_keeps_a_recording(admin, service):
    """While it is held it can't be deleted; a hold and its release are told with their reasons."""
    recording_id = await add_recording(service, wav())
    path = f"/v1.0/recordings/{recording_id}"
    assert _code(await admin.post(f"{path}/release", json={"reason": "x"})) == (
        409,
        "recording_not_held",
    )
    held = await admin.post(f"{path}/hold", json={"reason": "case 118"})
    assert held.json()["held"] is True
    again = await admin.post(f"{path}/hold", json={"reason": "another"})
    assert _code(again) == (409, "recording_held")
    refused = await admin.delete(path)
    assert _code(refused) == (409, "recording_held")
    assert "case 118" in refused.json()["detail"]
    released = await admin.post(f"{path}/release", json={"reason": "settled"})
    assert released.json()["held"] is False
    assert (await admin.delete(path)).status_code == 200
    for action, reason in (("recording.held", "case 118"), ("recording.released", "settled")):
        (act,) = await _acts(service, action)
        assert act.detail == {"reason": reason}


@pytest.mark.parametrize("verb", ["hold", "release"])
async def test_a_hold_needs_a_reason(admin, service, verb):
    """Who asks in years wants to know why."""
    path = f"/v1.0/recordings/{await add_recording(service, wav())}"
    for body in ({}, {"reason": ""}, {"reason": "  "}):
        answer = await admin.post(f"{path}/{verb}", json=body)
        assert (answer.status_code, answer.json()["field"]) == (400, "reason")
    assert (await admin.delete(path, params={"reason": " "})).json()["field"] == "reason"


async def test_a_deletion_leaves_a_tombstone(admin, service):
    """The answer says who deleted it, when and why; the audio is gone at once, and once more
    changes nothing.
    """
    recording_id = await add_recording(service, wav(), caller="+4930123456")
    path = f"/v1.0/recordings/{recording_id}"
    before = (await admin.get(path)).json()
    stone = (await admin.delete(path, params={"reason": "asked for by the caller"})).json()
    assert stone["deleted_at"] is not None
    assert stone["delete_reason"] == "asked for by the caller"
    assert (stone["sha256"], stone["caller"], stone["file"]) == (before["sha256"], "", "")
    assert _code(await admin.get(f"{path}/file")) == (410, "recording_deleted")
    assert (await admin.delete(path)).json() == stone
    for answer in (
        await admin.patch(path, json={"note": "x"}),
        await admin.patch(path, json={}),
        await admin.post(f"{path}/hold", json={"reason": "x"}),
    ):
        assert _code(answer) == (410, "recording_deleted")
    (act,) = await _acts(service, "recording.deleted")
    assert act.detail == {"reason": "asked for by the caller"}
    assert act.actor == stone["deleted_by"]
    async with service.database.read() as connection:
        kinds = await connection.execute(select(jobs.c.kind).where(jobs.c.kind == "purge"))
        assert kinds.scalars().all() == ["purge"]


@pytest.mark.parametrize(
    ("state", "code"),
    [("starting", (409, "recording_active")), ("stopping", (404, "recording_not_ready"))],
)
async def test_what_is_being_made_is_not_deleted(admin, service, state, code):
    """The only copy of a conversation is never thrown away half made."""
    recording_id = await add_recording(service, state=state)
    assert _code(await admin.delete(f"/v1.0/recordings/{recording_id}")) == code


@pytest.mark.parametrize(
    ("role", "allowed"),
    [
        ("agent", {"get", "file", "peaks"}),
        ("auditor", {"get", "file", "peaks"}),
        ("supervisor", {"get", "file", "peaks", "patch", "hold", "delete"}),
    ],
)
async def test_each_role_may_do_what_is_its_own(service, site, role, allowed):
    """A role without the scope is told which one is missing, and nothing is done."""
    recording_id = await add_recording(service, wav())
    path = f"/v1.0/recordings/{recording_id}"
    async with client_of(site, await make_key(service, role)) as client:
        answers = {
            "get": await client.get(path),
            "file": await client.get(f"{path}/file"),
            "peaks": await client.get(f"{path}/peaks"),
            "patch": await client.patch(path, json={"note": "x"}),
            "hold": await client.post(f"{path}/hold", json={"reason": "x"}),
            "delete": await client.delete(path),
        }
    refused = {verb for verb, answer in answers.items() if answer.status_code == 403}
    assert refused == set(answers) - allowed
