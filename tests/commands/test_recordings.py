"""`voxtra recordings ls|show|hold|release|delete`."""

from __future__ import annotations

import os
import pty
import subprocess
import termios
from datetime import timedelta
from typing import Any

import click
import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.commandline import VOXTRA
from tests.commands.office import Office
from tests.store.making import ENDED
from voxtra.commands import filters
from voxtra.store.schema import jobs

HOSTILE = "\x1b]0;pwned\x07\x1b[31m[red]+49\u202e30"


def test_recordings_are_listed_newest_first(any_office: Office) -> None:
    """As JSON lines like those of the API, and as a table; `--limit` ends it."""
    office = any_office
    old, new = office.record(), office.record(queue="sales")
    office.record(tenant_id="acme")
    assert [each["id"] for each in office.lines("recordings", "ls")] == [new, old]
    [first] = office.lines("recordings", "ls", "--limit", "1")
    assert (first["id"], first["queue"], first["duration"]) == (new, "sales", 60.0)
    assert first["ended_at"] == "2026-03-01T12:00:00Z"
    head, *lines = office.run("recordings", "ls").out.splitlines()
    assert head.split()[:4] == ["id", "time", "length", "state"]
    assert [line.split()[0] for line in lines] == [new, old]
    assert "1:00" in lines[0]
    assert len(office.lines("recordings", "ls", "--tenant", "acme")) == 1


def test_more_than_a_page_is_listed(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is the person's, not the page's."""
    monkeypatch.setattr(filters, "_PAGE", 2)
    made = [office.record() for _ in range(5)]
    for limit in (4, 5, 100):
        shown = office.lines("recordings", "ls", "--call", "call-1", "--limit", str(limit))
        assert [each["id"] for each in shown] == made[::-1][:limit]


@pytest.mark.parametrize(
    ("options", "columns"),
    [
        (["--state", "failed"], {"state": "failed", "cause": "no audio"}),
        (["--state", "failed", "--state", "stopping"], {"state": "stopping"}),
        (["--call", "call-7"], {"call_id": "call-7"}),
        (["--conference", "conf-7"], {"conference_id": "conf-7"}),
        (["--direction", "outbound"], {"direction": "outbound"}),
        (["--caller", "+491"], {"caller": "+491"}),
        (["--callee", "901"], {"callee": "901"}),
        (["--number", "77123"], {"caller": "+49771234"}),
        (["--queue", "sales"], {"queue": "sales"}),
        (["--agent", "anna"], {"agent": "anna"}),
        (["--tag", "vip"], {"tags": ["vip"]}),
        (["--text", "refund"], {"note": "wants a refund"}),
        (["--held"], {"held": True}),
    ],
)
def test_filters(office: Office, options: list[str], columns: dict[str, Any]) -> None:
    """Each finds what it names, and nothing else."""
    office.record()
    wanted = office.record(**columns)
    assert [each["id"] for each in office.lines("recordings", "ls", *options)] == [wanted]


def test_filters_of_time(office: Office) -> None:
    """A time without a zone is the reader's; a span leads into the past."""
    made = office.record()
    for options in (["--since", "1h"], ["--until", "2100-01-01"], ["--since", "2020-01-01T10:00"]):
        assert [each["id"] for each in office.lines("recordings", "ls", *options)] == [made]
    assert office.lines("recordings", "ls", "--until", "1h") == []
    assert office.lines("recordings", "ls", "--since", "2100-01-01T00:00Z") == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--number", "12"], "--number: 12 is not a part of a number"),
        (["--text", "ab"], "--text: is too short"),
        (["--since", "1d", "--until", "2d"], "--until: comes before since"),
        (["--state", "gone"], "--state"),
        (["--since", "yesterday"], "'--since': 'yesterday' is no time; write 2026-03-01"),
        (["--tenant", "acme"], "no tenant 'acme'. There are: default"),
        (["--limit", "0"], "--limit"),
    ],
)
def test_a_wrong_filter_is_named(office: Office, options: list[str], said: str) -> None:
    """One line says which option, and what to write."""
    assert said in office.run("recordings", "ls", *options).complaint


def test_what_callers_choose_does_nothing_to_a_terminal(office: Office) -> None:
    """Neither in a list nor in one recording, as text or as JSON, nor in an error."""
    made = office.record(caller=HOSTILE, note=HOSTILE, tags=[HOSTILE])
    office.run("recordings", "hold", made, "--reason", "because of \x1b[2J")
    for command in (["ls"], ["ls", "--json"], ["show", made], ["show", made, "--json"]):
        said = office.run("recordings", *command)
        assert said.code == 0, said
        assert all(line.isprintable() for line in said.out.splitlines())
        assert "[red]" in said.out  # and no words for a terminal of our own are made of it
    line = office.run("recordings", "delete", made, "--reason", "x", "--yes").complaint
    assert "because of \\x1b[2J" in line
    assert line.isprintable()


def test_a_table_fits_the_terminal(office: Office) -> None:
    """Id, time, length and state stay whole, the rest is cut, and what nothing has is no column."""
    made = office.record(caller="+49" * 30, queue="sales")
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 120))
    subprocess.run(
        [VOXTRA, "recordings", "ls", "-c", office.config],
        stdout=theirs,
        timeout=60,
        check=True,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(theirs)
    head, line, *rest = click.unstyle(os.read(ours, 100_000).decode()).splitlines()
    os.close(ours)
    begun = f"{(ENDED - timedelta(minutes=1)).astimezone():%Y-%m-%d %H:%M:%S}"
    assert rest == []
    assert head.split()[:5] == ["id", "time", "length", "state", "caller"]
    assert "agent" not in head
    assert line.startswith(f"{made}  {begun}  1:00    available  +49")
    assert "\N{HORIZONTAL ELLIPSIS}" in line
    assert len(line) <= 120


def test_one_recording_is_shown_with_its_holds(office: Office) -> None:
    """All that is known of it; what is not known is left out of the text."""
    made = office.record(
        b"audio", pauses=[{"since": "2026-03-01T11:59:10Z", "until": None, "muted": True}]
    )
    office.run("recordings", "hold", made, "--reason", "case 118")
    office.run("recordings", "release", made, "--reason", "closed")
    [shown] = office.lines("recordings", "show", made)
    assert (shown["id"], shown["size"], shown["held"]) == (made, 5, False)
    assert office.blob(shown["blob"].split("/blobs/")[1]).read_bytes() == b"audio"
    [hold] = shown["holds"]
    assert (hold["reason"], hold["placed_by"], hold["release_reason"]) == (
        "case 118",
        "cli",
        "closed",
    )
    text = office.run("recordings", "show", made).out
    assert "duration         1:00\n" in text
    assert "size             5 bytes\n" in text
    assert "to the end, muted" in text
    assert ": case 118 / closed\n" in text
    assert "conference_id" not in text
    assert office.run("recordings", "show", "nothing").complaint == "there is no recording nothing"
    acme = office.record(tenant_id="acme")
    assert office.run("recordings", "show", acme).complaint == f"there is no recording {acme}"


def test_a_hold_keeps_a_recording(any_office: Office) -> None:
    """Until the release nothing removes it; each act has its line in the audit."""
    office = any_office
    first, second = office.record(), office.record()
    held = office.run("recordings", "hold", first, second, "--reason", "case 118")
    assert held.out == f"{first} is held\n{second} is held\n"
    assert (
        "release the hold first"
        in office.run("recordings", "delete", first, "--reason", "x", "--yes").complaint
    )
    assert [each["held"] for each in office.lines("recordings", "ls", "--held")] == [True, True]
    [free] = office.lines("recordings", "release", first, "--reason", "closed")
    assert (free["id"], free["held"]) == (first, False)
    assert office.acts() == [
        ("cli", "recording.held", first),
        ("cli", "recording.held", second),
        ("cli", "recording.released", first),
    ]


def test_all_are_held_or_none(office: Office) -> None:
    """One that can't be held leaves the others as they were, and is named."""
    first = office.record()
    assert (
        "no recording nothing"
        in office.run("recordings", "hold", first, "nothing", "--reason", "x").complaint
    )
    assert not office.row(first).held
    assert "is not held" in office.run("recordings", "release", first, "--reason", "x").complaint
    assert "--reason" in office.run("recordings", "hold", first).complaint
    assert "say why" in office.run("recordings", "hold", first, "--reason", " ").complaint
    assert office.acts() == []


def test_a_recording_is_deleted(any_office: Office) -> None:
    """Its tombstone stays, its files are a job of the service's; once more changes nothing."""
    office = any_office
    made = office.record()
    line = office.run("recordings", "delete", made, "--reason", "asked for").complaint
    assert "--yes" in line  # nobody is there to be asked
    for _ in range(2):
        [gone] = office.lines("recordings", "delete", made, "--reason", "asked for", "--yes")
        assert (gone["deleted_by"], gone["delete_reason"]) == ("cli", "asked for")
        assert gone["caller"] == ""
    assert office.lines("recordings", "ls") == []
    assert [each["id"] for each in office.lines("recordings", "ls", "--deleted")] == [made]
    assert "deleted" in office.run("recordings", "ls", "--deleted").out
    assert office.acts() == [("cli", "recording.deleted", made)]

    async def waiting(connection: AsyncConnection) -> list[tuple[str, str]]:
        rows = await connection.execute(select(jobs.c.kind, jobs.c.subject_id))
        return [tuple(row) for row in rows]

    assert office.write(waiting) == [("purge", made)]


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 130)])
def test_a_person_is_asked_before_something_is_deleted(
    office: Office, answer: str, code: int
) -> None:
    """They see whose call it was, when and how long; only a yes deletes."""
    made = office.record(caller="+4930123456")
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [VOXTRA, "recordings", "delete", made, "--reason", "x", "-c", str(office.config)],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        os.write(ours, answer.encode())
        _, said = process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert process.returncode == code, said
    assert "+4930123456" in said
    begun = (ENDED - timedelta(minutes=1)).astimezone()
    assert f"{begun:%Y-%m-%d %H:%M:%S}  1:00" in said
    assert "Delete this recording for ever? [y/N]" in said
    assert (office.row(made).deleted_at is not None) == (code == 0)


def test_the_commands_work_as_a_process(office: Office) -> None:
    """As they are typed, with a pipe that closes early as well."""
    for _ in range(3):
        office.record()
    command = f"{VOXTRA} recordings ls --json -c {office.config} | head -1"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.count("\n") == 1
    assert "Traceback" not in done.stderr
