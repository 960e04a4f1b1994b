"""Exports over the REST API: asked for, followed, fetched and ended."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import httpx
from sqlalchemy import select, update

from tests.web.shelf import add_recording, wav
from tests.web.support import FOREIGN, client_of, make_key
from voxtra.service.context import Service
from voxtra.service.disk import Plan, Pressure
from voxtra.service.export import Exporter
from voxtra.store.exports import JOB, LIFETIME
from voxtra.store.jobs import Queue
from voxtra.store.schema import audit, exports
from voxtra.web.resources import Export

ADDRESS = "/v1.0/recordings/export"


async def _work(service: Service) -> None:
    """Make the exports that wait, as a worker does."""
    queue = Queue(service.database, "worker")
    exporter = Exporter(
        service.database, queue, service.blobs, service.data_dir / "work", clock=service.clock
    )
    for job in await queue.claim([JOB], limit=10):
        await exporter.run(job)


async def _ask(client: httpx.AsyncClient, *recording_ids: str) -> dict[str, Any]:
    answer = await client.post(ADDRESS, json={"recording_ids": recording_ids})
    assert answer.status_code == 202
    shown: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"/v1.0/recordings/exports/{shown['id']}"
    return shown


def _code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def test_an_export_is_made_and_fetched(admin, service):
    """What was asked for comes as an archive with a manifest, whole and in ranges; what can't be
    had fails nothing.
    """
    good = [await add_recording(service, wav(0.5)) for _ in range(2)]
    asked = await _ask(admin, *good, "0" * 32)
    path = f"/v1.0/recordings/exports/{asked['id']}"
    assert (asked["state"], asked["total"], asked["progress"]) == ("waiting", 3, 0.0)
    waiting = await admin.get(f"{path}/file")
    assert _code(waiting) == (404, "export_not_ready")
    assert int(waiting.headers["retry-after"]) > 0
    await _work(service)
    shown = (await admin.get(path)).json()
    assert (shown["state"], shown["done"], shown["failed"]) == ("available", 2, 1)
    assert (shown["progress"], shown["file"]) == (1.0, f"{path}/file")
    answer = await admin.get(f"{path}/file")
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["etag"] == f'"{shown["sha256"]}"'
    assert len(answer.content) == shown["size"]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        manifest = json.loads(archive.read("manifest.json"))
    assert str(manifest).count("0" * 32) >= 1
    part = await admin.get(f"{path}/file", headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, answer.content[10:20])
    assert (await admin.head(f"{path}/file")).headers["content-length"] == str(shown["size"])


async def test_an_export_is_shown_as_it_is_documented(admin, service):
    """Every field that is sent is in the model of the OpenAPI document, and the other way round."""
    asked = await _ask(admin, await add_recording(service, wav(0.1)))
    await _work(service)
    for shown in (asked, (await admin.get(f"/v1.0/recordings/exports/{asked['id']}")).json()):
        assert set(shown) == set(Export.model_fields)
        Export.model_validate(shown)


async def test_exports_are_listed_newest_first(admin, service):
    """Walking the pages gives every export once, and the last page has no token."""
    recording_id = await add_recording(service, wav(0.1))
    asked = [(await _ask(admin, recording_id))["id"] for _ in range(5)]
    found, token = [], ""
    while True:
        query = {"page_size": 2, "page_token": token}
        page = (await admin.get("/v1.0/recordings/exports", params=query)).json()
        found += [each["id"] for each in page["result"]]
        token = page["next_page_token"]
        if not token:
            break
    assert found == asked[::-1]


async def test_an_export_can_be_ended(admin, service):
    """From then on there is no file, and once more changes nothing."""
    asked = await _ask(admin, await add_recording(service, wav(0.1)))
    path = f"/v1.0/recordings/exports/{asked['id']}"
    await _work(service)
    ended = (await admin.delete(path)).json()
    assert (ended["state"], ended["file"]) == ("expired", "")
    assert (await admin.delete(path)).json() == ended
    assert _code(await admin.get(f"{path}/file")) == (410, "export_expired")
    async with service.database.read() as connection:
        acts = await connection.execute(select(audit.c.action).order_by(audit.c.seq))
        assert acts.scalars().all() == ["export.created", "export.deleted"]


async def test_the_archive_goes_after_its_time(admin, service, clock):
    """`expires_at` is kept: the export is shown as ended, and says so to who wants its file."""
    asked = await _ask(admin, await add_recording(service, wav(0.1)))
    path = f"/v1.0/recordings/exports/{asked['id']}"
    await _work(service)
    clock.now += LIFETIME
    queue = Queue(service.database, "worker")
    folder = service.data_dir / "work"
    await Exporter(service.database, queue, service.blobs, folder, clock=clock).sweep(clock.now)
    assert (await admin.get(path)).json()["state"] == "expired"
    assert _code(await admin.get(f"{path}/file")) == (410, "export_expired")


async def test_a_failed_export_says_why(admin, service):
    """Its cause is in the resource and in the answer to who wants the file."""
    asked = await _ask(admin, await add_recording(service, wav(0.1)))
    async with service.database.write() as connection:
        await connection.execute(update(exports).values(state="failed", cause="the disk is full"))
    path = f"/v1.0/recordings/exports/{asked['id']}"
    assert (await admin.get(path)).json()["cause"] == "the disk is full"
    answer = await admin.get(f"{path}/file")
    assert _code(answer) == (404, "export_failed")
    assert answer.json()["cause"] == "the disk is full"


async def test_what_a_filter_finds_is_exported(admin, service):
    """A filter is looked up when it is given: what comes later is not in it."""
    found = [await add_recording(service, wav(0.1), queue="sales") for _ in range(3)]
    await add_recording(service, wav(0.1), queue="support")
    body = {"filter": {"queue": "sales", "state": ["available"]}}
    asked = (await admin.post(ADDRESS, json=body)).json()
    await add_recording(service, wav(0.1), queue="sales")
    assert asked["total"] == 3
    await _work(service)
    answer = await admin.get(f"/v1.0/recordings/exports/{asked['id']}/file")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        manifest = archive.read("manifest.json").decode()
    assert all(recording_id in manifest for recording_id in found)
    nothing = await admin.post(ADDRESS, json={"filter": {"queue": "nobody"}})
    assert _code(nothing) == (400, "invalid_request")
    assert nothing.json()["field"] == "filter"


async def test_too_much_for_one_export_is_refused(admin, service, monkeypatch):
    """A filter that finds more than an archive takes is said so, before anything is made."""
    monkeypatch.setattr("voxtra.store.exports.MOST", 2)
    monkeypatch.setattr("voxtra.web.api.exports.FOUND_AT_ONCE", 2)
    for _ in range(3):
        await add_recording(service, wav(0.1), queue="sales")
    answer = await admin.post(ADDRESS, json={"filter": {"queue": "sales"}})
    assert _code(answer) == (400, "invalid_request")
    assert "more than 2 recordings" in answer.json()["detail"]


async def test_no_export_is_begun_on_a_full_disk(admin, service):
    """507 says which disk it is; recordings are still listed and heard."""
    service.disk.plan = Plan(Pressure.FULL, cause="the disk of the blobs is 96 % full")
    recording_id = await add_recording(service, wav(0.1))
    answer = await admin.post(ADDRESS, json={"recording_ids": [recording_id]})
    assert _code(answer) == (507, "disk_full")
    assert "96 %" in answer.json()["detail"]
    assert (await admin.get(f"/v1.0/recordings/{recording_id}/file")).status_code == 200
    service.disk.plan = Plan(Pressure.TIGHT)
    await _ask(admin, recording_id)


async def test_a_wrong_wish_names_the_field(admin):
    """No export is made of a request that is wrong."""
    for body, field in (
        ({}, "body"),
        ({"recording_ids": []}, "recording_ids"),
        ({"recording_ids": [""]}, "recording_ids[0]"),
        ({"recording_ids": ["x"] * 10_001}, "recording_ids"),
        ({"recording_ids": ["x"], "format": "zip"}, "format"),
        ({"recording_ids": ["x"], "filter": {}}, "body"),
        ({"filter": {"queu": "sales"}}, "filter.queu"),
        ({"filter": {"number": "x"}}, "number"),
    ):
        answer = await admin.post(ADDRESS, json=body)
        assert _code(answer) == (400, "invalid_request"), answer.text
        assert answer.json()["field"] == field
    assert (await admin.get("/v1.0/recordings/exports")).json()["result"] == []


async def test_a_foreign_export_is_like_none(admin, service, site):
    """Neither the export nor the recordings of another tenant can be had by their ids."""
    asked = await _ask(admin, await add_recording(service, wav(0.1)))
    async with client_of(site, await make_key(service, "admin", FOREIGN)) as other:
        path = f"/v1.0/recordings/exports/{asked['id']}"
        for answer in (
            await other.get(path),
            await other.get(f"{path}/file"),
            await other.delete(path),
        ):
            assert _code(answer) == (404, "export_not_found")
        assert (await other.get("/v1.0/recordings/exports")).json()["result"] == []


async def test_exports_need_their_scope(agent):
    """An agent hears recordings, and takes none away by the hundred."""
    for answer in (
        await agent.post(ADDRESS, json={"recording_ids": ["x"]}),
        await agent.get("/v1.0/recordings/exports"),
        await agent.get("/v1.0/recordings/exports/x/file"),
    ):
        assert answer.status_code == 403
        assert answer.json()["missing_scope"] == "recordings:export"
