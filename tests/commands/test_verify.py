"""`voxtra recordings verify`: every fault is found, with its cause and what to do, and no other."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import subprocess
from typing import Any

import pytest
from sqlalchemy import insert, update
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.commandline import VOXTRA
from tests.commands.office import Office
from voxtra.blobs.local import LocalStore
from voxtra.ids import new_id
from voxtra.service.verify import Verifier
from voxtra.store.database import Database
from voxtra.store.schema import exports, recordings, utc_now


def found(office: Office, *arguments: str) -> list[tuple[str, str, str]]:
    """Verify, and return fault, recording and key of what is wrong."""
    said = office.run("recordings", "verify", *arguments, "--json")
    answer = json.loads(said.out)
    assert said.code == (0 if answer["ok"] else 1)
    assert all(each["cause"] and each["fix"] for each in answer["findings"])
    return sorted((each["fault"], each["recording_id"], each["key"]) for each in answer["findings"])


def test_what_is_as_it_was_is_said_to_be(any_office: Office) -> None:
    """Of one or of all; what has no file is not looked for."""
    office = any_office
    made = office.record(b"audio")
    office.record(b"other", tenant_id="acme")
    office.record(state="failed", cause="no audio")
    office.record(state="recording", ended_at=None)
    office.run("recordings", "delete", office.record(), "--reason", "x", "--yes")
    done = office.run("recordings", "verify", made)
    assert (done.code, done.out) == (0, "1 recording, 5 bytes: all is as it was\n")
    assert office.run("recordings", "verify", "--all").out.startswith("2 recordings, 10 bytes: all")
    assert found(office, "--all") == []


@pytest.mark.parametrize("fault", ["missing", "length", "changed", "unreadable"])
def test_a_fault_is_found_and_explained(office: Office, fault: str) -> None:
    """Exit code 1, and a line each for what, where and what to do."""
    good, bad = office.record(b"audio"), office.record(b"audio")
    key = office.row(bad).blob_key
    blob = office.blob(key)
    if fault == "missing":
        blob.unlink()
    elif fault == "unreadable":
        blob.parent.rename(blob.parent.with_name("moved"))
        blob.parent.with_name("moved").joinpath(f"{good}.wav").rename(office.folder / "good")
        blob.parent.write_text("a file where a folder should be")
        assert found(office, bad) == [("unreadable", bad, key)]
        return
    else:
        blob.write_bytes(b"audi" if fault == "length" else b"audiO")
    assert found(office, bad, good) == [(fault, bad, key)]
    assert found(office, "--all") == [(fault, bad, key)]
    said = office.run("recordings", "verify", "--all")
    assert said.code == 1
    what, where, fix, summary = said.out.splitlines()
    assert what.startswith(f"{fault.upper()}")
    assert bad in what
    assert key in where
    assert "backup" in fix
    assert summary == "2 recordings, 10 bytes: 1 fault"


def test_a_row_that_names_no_file_and_a_waveform_that_is_gone_are_faults(office: Office) -> None:
    """They are of the recording; the audio that is there is right."""
    nameless = office.record(blob_key="", size=None)
    flat = office.record(b"audio", peaks_key="recordings/default/2026/03/01/flat.peaks")
    assert found(office, "--all") == [
        ("missing", nameless, ""),
        ("missing", flat, "recordings/default/2026/03/01/flat.peaks"),
    ]


def test_who_waits_sees_how_far_it_is(office: Office) -> None:
    """On a terminal, beside what is printed and not in it."""
    office.record(b"audio" * 100_000)
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [VOXTRA, "recordings", "verify", "--all", "-c", office.config],
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert done.stdout == "1 recording, 500.0 kB: all is as it was\n"
    assert "reading" in shown
    assert "500.0" in shown


def test_blobs_that_no_row_names_are_found(office: Office) -> None:
    """Of no recording, of a deleted one, of one that failed, of no export; what is being made, and
    what waits for its removal, is none of them.
    """
    nobody = new_id()
    failed = office.record(state="failed", cause="no audio")
    making = office.record(state="stopping")
    deleted, going = office.record(), office.record()
    key = office.row(deleted).blob_key
    office.run("recordings", "delete", going, "--reason", "x", "--yes")
    office.run("recordings", "verify", "--all")

    async def forget(connection: AsyncConnection) -> None:
        gone = update(recordings).where(recordings.c.id == deleted)
        await connection.execute(gone.values(deleted_at=utc_now(), blob_key=""))
        for each in ("exp1", "exp2"):
            values: dict[str, Any] = {
                "id": each,
                "tenant_id": "default",
                "state": "running" if each == "exp1" else "available",
                "blob_key": "" if each == "exp1" else "exports/default/exp2.1.zip",
                "total": 1,
                "created_at": utc_now(),
            }
            await connection.execute(insert(exports).values(values))

    office.write(forget)
    for each in (nobody, failed, making):
        office.put(f"recordings/default/2026/03/01/{each}.wav", b"x")
    office.put("recordings/default/notes.peaks", b"x")
    for each in ("exp1.1", "exp2.1", "exp2.2", "exp3.1"):
        office.put(f"exports/default/{each}.zip", b"x")
    assert found(office, "--all") == sorted(
        [
            ("stray", nobody, f"recordings/default/2026/03/01/{nobody}.wav"),
            ("stray", failed, f"recordings/default/2026/03/01/{failed}.wav"),
            ("stray", deleted, key),
            ("stray", "notes", "recordings/default/notes.peaks"),
            ("stray", "", "exports/default/exp2.2.zip"),
            ("stray", "", "exports/default/exp3.1.zip"),
        ]
    )
    text = office.run("recordings", "verify", "--all").out
    assert f"as <app_name>-{nobody}.wav to have it taken in" in text
    assert f"Remove {office.blob(key)}\n" in text


def test_what_can_not_be_verified_says_why(office: Office) -> None:
    """Nothing named, an unknown id, a failed and a live recording."""
    assert "--all" in office.run("recordings", "verify").complaint
    assert "--all" in office.run("recordings", "verify", "x", "--all").complaint
    assert office.run("recordings", "verify", "x").complaint == "there is no recording x"
    failed = office.record(state="failed", cause="nobody spoke")
    assert "nobody spoke" in office.run("recordings", "verify", failed).complaint


def test_a_recording_that_is_deleted_meanwhile_is_no_fault(office: Office) -> None:
    """Its blob is gone because its row is."""
    made = office.record(b"audio")
    row = office.row(made)
    office.run("recordings", "delete", made, "--reason", "x", "--yes")
    office.blob(row.blob_key).unlink()

    async def check() -> int:
        database = Database(office.url)
        blobs = LocalStore(office.folder / "data" / "blobs")
        try:
            return len(await Verifier(database, blobs).check(row))
        finally:
            blobs.close()
            await database.close()

    assert asyncio.run(check()) == 0
