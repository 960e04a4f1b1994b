"""`voxtra recordings export`: an archive on the operator's disk, and nothing left in the store."""

from __future__ import annotations

import asyncio
import csv
import hashlib
import io
import json
import signal
import subprocess
import zipfile

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.commandline import VOXTRA
from tests.commands.office import Office
from tests.system.support import eventually
from voxtra.blobs.local import LocalStore
from voxtra.service.export import Exporter
from voxtra.store.database import Database
from voxtra.store.jobs import Job, Queue
from voxtra.store.schema import exports, jobs


def states(office: Office) -> list[tuple[str, str]]:
    """Return the state of every export, and the key of its archive."""

    async def read(connection: AsyncConnection) -> list[tuple[str, str]]:
        query = select(exports.c.state, exports.c.blob_key)
        return [tuple(row) for row in await connection.execute(query)]

    return office.write(read)


def test_an_export_is_made_here_when_no_service_runs(any_office: Office) -> None:
    """The archive has the audio and a manifest; the store has nothing of it afterwards."""
    office = any_office
    made = [office.record(f"audio {number}".encode()) for number in range(3)]
    target = office.folder / "out.zip"
    [said] = office.lines("recordings", "export", *made, "-o", str(target))
    data = target.read_bytes()
    assert said == {
        "file": str(target),
        "size": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "total": 3,
        "done": 3,
        "failed": 0,
    }
    with zipfile.ZipFile(target) as archive:
        assert archive.testzip() is None
        manifest = json.loads(archive.read("manifest.json"))
        read = [archive.read(each["file"]) for each in manifest["recordings"]]
    assert read == [b"audio 0", b"audio 1", b"audio 2"]
    assert [state for state, _ in states(office)] == ["expired"]
    assert not list((office.folder / "data" / "blobs" / "exports").rglob("*.zip"))
    assert not list(office.folder.glob("*.part"))
    assert [action for _, action, _ in office.acts()] == ["export.created", "export.downloaded"]


def test_a_filter_says_which(office: Office) -> None:
    """Those that `ls` shows with it; none is an error, and so is naming nothing."""
    wanted = office.record(queue="sales")
    office.record(queue="support")
    target = office.folder / "out.zip"
    done = office.run("recordings", "export", "--queue", "sales", "-o", str(target))
    assert done.out.startswith(f"wrote {target} (")
    assert done.out.endswith("): 1 of 1 recordings\n")
    with zipfile.ZipFile(target) as archive:
        rows = list(csv.DictReader(io.StringIO(archive.read("manifest.csv").decode())))
    assert [row["recording_id"] for row in rows] == [wanted]
    other = str(office.folder / "other.zip")
    for options, said in (
        (["--queue", "nobody"], "no recording is found"),
        ([], "Name recordings by id, or by a filter"),
        ([wanted, "--queue", "sales"], "Name recordings by id, or by a filter"),
        ([wanted, "--tenant", "acme"], "no tenant 'acme'"),
    ):
        assert said in office.run("recordings", "export", *options, "-o", other).complaint
    assert (
        "exists already" in office.run("recordings", "export", wanted, "-o", str(target)).complaint
    )
    assert not (office.folder / "other.zip").exists()


def test_what_can_not_be_had_is_said(office: Office) -> None:
    """The others are in the archive, its manifest says why of each, and the exit code is 1."""
    good, bad = office.record(b"audio"), office.record(b"audio")
    office.blob(office.row(bad).blob_key).unlink()
    target = office.folder / "out.zip"
    done = office.run("recordings", "export", good, bad, "nothing", "-o", str(target))
    assert done.code == 1
    assert "1 of 3 recordings" in done.out
    assert "2 can't be had: manifest.csv in it says why of each" in done.err
    with zipfile.ZipFile(target) as archive:
        manifest = json.loads(archive.read("manifest.json"))
    results = {each["recording_id"]: each["result"] for each in manifest["recordings"]}
    assert results == {good: "ok", bad: "unreadable", "nothing": "not_found"}


async def take(connection: AsyncConnection) -> None:
    """Have every job taken at once, by a worker that says nothing more."""
    await connection.execute(
        text(
            "CREATE TRIGGER taken AFTER INSERT ON jobs BEGIN UPDATE jobs "
            "SET leased_by = 'somebody', leased_until = 4102444800000000, attempts = 1; END"
        )
    )


def exporting(office: Office, recording_id: str) -> subprocess.Popen[str]:
    """Begin an export as a process of its own."""
    target = office.folder / "out.zip"
    return subprocess.Popen(
        [VOXTRA, "recordings", "export", recording_id, "-o", target, "-c", office.config],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


async def begun(office: Office) -> None:
    """Wait until an export was asked for."""
    database = Database(office.url)
    try:

        async def asked() -> bool:
            async with database.read() as connection:
                return (await connection.execute(select(exports.c.id))).first() is not None

        await eventually(asked, timeout=60)
    finally:
        await database.close()


def test_an_export_that_the_service_makes_is_waited_for(office: Office) -> None:
    """A worker of the service is at the job: its archive is copied when it is there."""
    made = office.record(b"audio")
    office.write(take)

    async def make() -> None:
        await begun(office)
        database, blobs = Database(office.url), LocalStore(office.folder / "data" / "blobs")
        async with database.read() as connection:
            row = (await connection.execute(select(jobs))).one()
        job = Job(row.id, row.tenant_id, row.kind, row.subject_id, {}, {}, 1, row.leased_by)
        work = office.folder / "work"
        await Exporter(database, Queue(database, "somebody"), blobs, work).run(job)
        blobs.close()
        await database.close()

    with exporting(office, made) as process:
        asyncio.run(make())
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert out.endswith("1 of 1 recordings\n")
    with zipfile.ZipFile(office.folder / "out.zip") as archive:
        assert len(archive.namelist()) == 3
    assert states(office) == [("expired", "")]


def test_what_is_given_up_leaves_nothing(office: Office) -> None:
    """Ctrl-C while a worker of the service is at it: no file, and an export that nobody wants."""
    made = office.record(b"audio")
    office.write(take)
    with exporting(office, made) as process:
        asyncio.run(begun(office))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err.strip()) == (130, "", "")
    assert states(office) == [("expired", "")]
    assert not [path for path in office.folder.iterdir() if path.name.startswith("out.zip")]
