"""`voxtra recordings adopt`: files of the PBX's folder that no row knows become recordings."""

from __future__ import annotations

import os
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.commands.office import Office
from tests.web.shelf import wav
from voxtra.ids import new_id
from voxtra.lab.pbx import Pbx
from voxtra.store.schema import jobs

HOUR_AGO = time.time() - 3600


def file_in(office: Office, name: str, *, written: float = HOUR_AGO) -> Path:
    """Put a file into the PBX's folder."""
    path = office.spool / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(wav())
    os.utime(path, (written, written))
    return path


def queued(office: Office) -> list[str]:
    """Return the recordings that are to be brought home."""

    async def read(connection: AsyncConnection) -> list[str]:
        query = select(jobs.c.subject_id).where(jobs.c.kind == "ingest")
        return list((await connection.execute(query.order_by(jobs.c.id))).scalars())

    return office.write(read)


def test_a_file_becomes_a_recording(any_office: Office) -> None:
    """With a row that says so, a job that brings it home, and an act; the file stays till then."""
    office = any_office
    path = file_in(office, "queue/dump.wav")
    [made] = office.lines("recordings", "adopt", "queue/dump")
    assert (made["name"], made["source"], made["state"]) == ("queue/dump", "recovered", "stopping")
    ended = datetime.fromisoformat(made["ended_at"])
    assert abs(ended - datetime.fromtimestamp(HOUR_AGO, UTC)).total_seconds() < 1
    assert queued(office) == [made["id"]]
    assert office.acts() == [("cli", "recording.adopted", made["id"])]
    assert path.exists()
    line = office.run("recordings", "adopt", "queue/dump.wav").complaint
    assert line == f"queue/dump has a row already: recording {made['id']}"


def test_the_id_in_a_name_of_ours_is_kept_and_so_are_two_sides(office: Office) -> None:
    """A stereo recording's files are one recording, whichever of them is named."""
    recording_id = new_id()
    for side in ("in", "out"):
        file_in(office, f"voxtra-{recording_id}-{side}.wav")
    [made] = office.lines("recordings", "adopt", f"voxtra-{recording_id}-in", "--tenant", "default")
    assert (made["id"], made["layout"]) == (recording_id, "stereo")
    assert [track["side"] for track in office.row(recording_id).tracks] == ["in", "out"]


def test_all_that_has_no_row_is_taken_in(office: Office) -> None:
    """After a yes; what has a row, a deleted one included, and what is no recording is left."""
    known = office.record(name="known")
    gone = office.record()
    office.run("recordings", "delete", gone, "--reason", "x", "--yes")
    for name in ("known.wav", "known-in.wav", f"voxtra-{gone}.wav", "notes.txt", "a.wav", "b.gsm"):
        file_in(office, name)
    assert "--yes" in office.run("recordings", "adopt", "--all").complaint
    some = office.lines("recordings", "adopt", "--all", "--yes", "--format", "gsm")
    assert [each["name"] for each in some] == ["b"]
    rest = office.run("recordings", "adopt", "--all", "--yes")
    assert rest.out.startswith("a is recording ")
    assert len(queued(office)) == 2
    assert office.run("recordings", "adopt", "--all", "--yes").out == "every file has its row\n"
    line = office.run("recordings", "adopt", f"voxtra-{gone}").complaint
    assert line.endswith(f"has a row already: recording {gone}")
    assert office.row(known).state == "available"


def test_what_is_still_written_is_left_alone(office: Office) -> None:
    """Taking it in would end it in the middle; and all that are named are taken in, or none."""
    file_in(office, "done.wav")
    file_in(office, "live.wav", written=time.time())
    line = office.run("recordings", "adopt", "done", "live").complaint
    assert line == "live is still being written; try again a minute after its end"
    assert queued(office) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Name files, or all that have no row by --all"),
        (["a", "--all"], "Name files, or all that have no row by --all"),
        (["nothing"], "there is no file nothing in the PBX's recording folder"),
        (["a"], "there are several a: add --format gsm or wav"),
        (["a", "--format", "xyz"], "xyz"),
        (["a", "--tenant", "acme"], "no tenant 'acme'"),
    ],
)
def test_what_is_wrong_is_named(office: Office, arguments: list[str], said: str) -> None:
    """One line says what, and what to write."""
    file_in(office, "a.wav")
    file_in(office, "a.gsm")
    assert said in office.run("recordings", "adopt", *arguments).complaint
    assert office.run("recordings", "adopt", "a", "--format", "gsm").code == 0


def test_a_pbx_whose_folder_is_elsewhere_is_asked(office: Office, lab: Pbx) -> None:
    """Over ARI: what it has stored is taken in without its folder."""
    name = f"elsewhere-{new_id()}"
    shutil.rmtree(office.spool)
    office.config.write_text(
        office.config.read_text().replace(
            "asterisk: {",
            f"asterisk: {{base_url: '{lab.ari_url}', username: {lab.ari_user}, "
            f"password: {lab.ari_password}, ",
        )
    )
    stored = lab.recording_dir / f"{name}.wav"
    stored.write_bytes(wav())
    try:
        [made] = office.lines("recordings", "adopt", name)
        assert (made["name"], made["format"]) == (name, "wav")
        assert "there is no file nothing" in office.run("recordings", "adopt", "nothing").complaint
    finally:
        stored.unlink()
