"""Whether the process lives, whether it can work, and how it is doing."""

from __future__ import annotations

import shutil
from dataclasses import replace

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import event
from sqlalchemy.engine import Engine

from tests.web.support import FOREIGN, NoPbx, client_of, make_key, service_on
from voxtra.events import EventType, VoxtraEvent
from voxtra.service.disk import BLOBS, DiskWatch
from voxtra.store import endpoints, journal
from voxtra.store.access import DEFAULT_TENANT
from voxtra.store.database import Database
from voxtra.store.jobs import enqueue
from voxtra.store.usage import backlog
from voxtra.web.site import make_site


async def test_a_whole_service_is_ready(nobody):
    """With its database, its store and no PBX to be connected to, a service is ready."""
    for path in ("/healthz", "/readyz"):
        answer = await nobody.get(path)
        assert answer.status_code == 200
        assert answer.json() == {"status": "ok", "problems": {}}


async def test_a_pbx_that_is_away_makes_it_unready(database, tmp_path):
    """A process with a PBX is ready when it is connected to it."""
    pbx = NoPbx()
    async with client_of(make_site(service_on(database, tmp_path, control=pbx))) as client:
        pbx.connected = True
        assert (await client.get("/readyz")).status_code == 200
        pbx.connected = False
        answer = await client.get("/readyz")
        assert answer.status_code == 503
        assert set(answer.json()["problems"]) == {"pbx"}
        assert (await client.get("/healthz")).status_code == 200


async def test_a_store_that_takes_nothing_makes_it_unready(nobody, service):
    """Blobs that can't be written are a reason; a proof of a moment ago is good enough."""
    folder = service.data_dir / "blobs"
    folder.write_text("a file where the folder should be")
    answer = await nobody.get("/readyz")
    assert answer.status_code == 503
    assert set(answer.json()["problems"]) == {"storage"}
    folder.unlink()
    assert (await nobody.get("/readyz")).status_code == 200
    shutil.rmtree(folder)
    folder.write_text("again")
    assert (await nobody.get("/readyz")).status_code == 200


async def test_a_probe_leaves_nothing(nobody, service):
    """What was written to try the store is removed again."""
    await nobody.get("/readyz")
    assert [path for path in (service.data_dir / "blobs").rglob("*") if path.is_file()] == []


async def test_a_database_that_is_not_migrated_makes_it_unready(empty_url, tmp_path):
    """The reason says what to do about it."""
    database = Database(empty_url)
    async with client_of(make_site(service_on(database, tmp_path))) as client:
        answer = await client.get("/readyz")
    await database.close()
    assert answer.status_code == 503
    assert "voxtra migrate" in answer.json()["problems"]["database"]


async def test_a_database_that_is_away_makes_it_unready(tmp_path):
    """The reason tells nobody where the database would be."""
    database = Database("postgresql://voxtra:hidden@127.0.0.1:1/voxtra")
    async with client_of(make_site(service_on(database, tmp_path))) as client:
        answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["problems"] == {"database": "Can't be reached; the log has the cause."}


def values(answer: httpx.Response) -> dict[tuple[object, ...], float]:
    """Return the metrics of an answer: by name and labels."""
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


async def test_metrics_tell_what_waits(nobody, service, clock):
    """The backlog is that of the database: jobs by kind, deliveries with the age of the oldest."""
    async with service.database.write() as connection:
        await endpoints.create(
            connection, DEFAULT_TENANT, url="https://a.example/", now=service.clock()
        )
        await enqueue(connection, "ingest", "1", tenant_id=DEFAULT_TENANT)
        await enqueue(connection, "ingest", "2", tenant_id=DEFAULT_TENANT)
        ended = VoxtraEvent(EventType.CALL_ENDED, "c")
        number = await journal.append(connection, ended, tenant_id=DEFAULT_TENANT)
    clock.go(minutes=5)
    found = values(await nobody.get("/metrics"))
    assert found["voxtra_jobs_waiting", ("kind", "ingest")] == 2
    assert found["voxtra_deliveries_waiting",] == 1
    assert found["voxtra_deliveries_oldest_seconds",] == pytest.approx(300, abs=30)
    assert found["voxtra_events_last",] == number
    assert found["voxtra_recordings_live", ("state", "recording")] == 0


async def test_metrics_tell_how_full_the_disk_is(service, tmp_path):
    """The fullest disk is there: its used share, its room, and what is given up because of it."""
    watch = DiskWatch({BLOBS: tmp_path}, (0.001, 0.002, 100.0))
    watch.look(0.0)
    site = make_site(replace(service, disk=watch))
    async with client_of(site) as client:
        found = values(await client.get("/metrics"))
    assert 0 < found["voxtra_disk_used_ratio",] < 1
    assert found["voxtra_disk_free_bytes",] > 0
    assert found["voxtra_disk_pressure",] == 2
    assert found["voxtra_disk_refuses_recordings",] == watch.plan.refuse_recordings


async def test_requests_are_counted_by_route(agent, nobody):
    """Labels are templates, methods and classes of status: nothing that a client writes."""
    for path in ("/v1.0/keys/one", "/v1.0/keys/two", "/v1.0/nowhere/three"):
        await agent.get(path)
    await agent.request("PROPFIND", "/v1.0/keys")
    answer = await nobody.get("/metrics")
    found = values(answer)
    by_key = ("method", "GET"), ("route", "/v1.0/keys/{key_id}"), ("status", "4xx")
    assert found["voxtra_http_requests_total", *by_key] == 2
    unknown = ("method", "GET"), ("route", "(none)"), ("status", "4xx")
    assert found["voxtra_http_requests_total", *unknown] == 1
    odd = ("method", "OTHER"), ("route", "/v1.0/keys"), ("status", "4xx")
    assert found["voxtra_http_requests_total", *odd] == 1
    assert "three" not in answer.text
    assert "PROPFIND" not in answer.text


async def test_metrics_are_for_this_machine_or_a_key(site, service):
    """From elsewhere, also through a proxy on this machine, metrics want a key with their scope, of
    the tenant that runs the service.
    """
    right = await make_key(service, "admin", name="m", scopes=["metrics:read"])
    wrong = await make_key(service, "agent")
    foreign = await make_key(service, "admin", FOREIGN)
    for address, headers in (("192.0.2.1", {}), ("127.0.0.1", {"X-Forwarded-For": "192.0.2.1"})):
        statuses = []
        for key in ("", wrong, foreign, right):
            async with client_of(site, key, address=address, headers=headers) as client:
                statuses.append((await client.get("/metrics")).status_code)
        assert statuses == [401, 403, 403, 200]


async def test_metrics_do_not_ask_the_database_each_time(nobody, service):
    """Whoever asks often gets numbers of a moment ago."""
    before = values(await nobody.get("/metrics"))
    async with service.database.write() as connection:
        await enqueue(connection, "ingest", "1", tenant_id=DEFAULT_TENANT)
    after = values(await nobody.get("/metrics"))
    assert ("voxtra_jobs_waiting", ("kind", "ingest")) not in {**before, **after}


async def test_counting_the_backlog_reads_no_finished_row(service):
    """The queries for metrics are served by the indexes of what is unfinished (SQLite's plan)."""
    if not service.database.is_sqlite:
        pytest.skip("its plans depend on how much there is")
    asked = []

    def listen(_connection, _cursor, statement, parameters, *_):
        asked.append((statement, parameters))

    event.listen(Engine, "before_cursor_execute", listen)
    try:
        async with service.database.read() as connection:
            await backlog(connection)
    finally:
        event.remove(Engine, "before_cursor_execute", listen)
    plans = []
    async with service.database.read() as connection:
        for statement, parameters in asked:
            found = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            plans += [row[3] for row in found]
    for table, index in (
        ("jobs", "ix_jobs_waiting"),
        ("deliveries", "ix_deliveries_waiting"),
        ("recordings", "ix_recordings_unfinished"),
    ):
        (plan,) = [each for each in plans if table in each]
        assert index in plan
