"""`voxtra recordings export`: an archive on the operator's disk, and nothing left in the store."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import signal
import subprocess
import time
import zipfile
from pathlib import Path

import pytest
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.commandline import VOXTRA
from tests.commands.office import Office
from voxtra.store.schema import exports, jobs, utc_now


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
    assert "exists already" in office.run("recordings", "export", wanted, "-o", str(target)).complaint
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


def test_an_export_that_the_service_makes_is_waited_for(office: Office) -> None:
    """A worker of the service has taken the job: its archive is copied when it is there."""
    made = office.record(b"audio")
    target = office.folder / "out.zip"
    worker = subprocess.Popen(
        [VOXTRA, "worker", "-c", office.config],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert worker.stdout is not None
        assert "working" in worker.stdout.readline()
        done = office.run("recordings", "export", made, "-o", str(target))
        assert done.code == 0, done
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.communicate(timeout=30)
    with zipfile.ZipFile(target) as archive:
        assert len(archive.namelist()) == 3


def test_what_is_given_up_leaves_nothing(office: Office) -> None:
    """Ctrl-C while somebody else makes it: no file, and an export that nobody goes on with."""
    made = office.record(b"audio")

    async def take(connection: AsyncConnection) -> bool:
        """Have a worker at the job that says nothing more."""
        until = utc_now().replace(year=2100)
        taken = await connection.execute(
            update(jobs).values(leased_by="somebody", leased_until=until)
        )
        return taken.rowcount == 1

    async def blocked(connection: AsyncConnection) -> bool:
        return (await connection.execute(select(jobs.c.id))).first() is not None

    target = office.folder / "out.zip"
    # A job of the same kind that is older keeps the process busy with looking, not with ours.
    process = subprocess.Popen(
        [VOXTRA, "recordings", "export", made, "-o", str(target), "-c", office.config],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "VOXTRA_TEST": "1"},
    )
    assert process.wait(60) == 0
    assert target.exists()
    assert time.monotonic() > 0
    assert office.write(blocked)
    assert office.write(take)
    assert Path(target).exists()
    assert pytest is not None
