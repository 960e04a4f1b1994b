"""Files without rows: what belongs together, what is ours, whose they are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.service.place import rows
from tests.store.making import TENANT, add_recording
from voxtra.ids import new_id
from voxtra.model import Layout, RecordingState, Track
from voxtra.service.recovery import Found, adopt, claimed, grouped, owners, rows_of
from voxtra.store import tombstones
from voxtra.store.database import Database
from voxtra.store.recordings import load
from voxtra.store.schema import jobs

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ID = new_id()
OWN = f"voxtra-{ID}"


def one(name: str, fmt: str = "wav") -> Found:
    """Return a file by itself."""
    return Found(name, fmt, (Track(name),))


def pair(base: str, *sides: str) -> Found:
    """Return the sides of a stereo recording."""
    return Found(base, "wav", tuple(Track(f"{base}-{side}", side) for side in sides))


@pytest.mark.parametrize(
    ("stored", "found"),
    [
        ([("a", "wav"), ("b", "gsm")], [one("a"), one("b", "gsm")]),
        ([("a-in", "wav"), ("a-out", "wav")], [pair("a", "in", "out")]),
        ([("a-out", "wav"), ("a-in", "wav")], [pair("a", "in", "out")]),
        ([("a-in", "wav")], [one("a-in")]),
        ([("a-in", "wav"), ("a-out", "wav16")], [one("a-in"), one("a-out", "wav16")]),
        ([(f"{OWN}-in", "wav")], [pair(OWN, "in")]),
        ([(f"d/{OWN}-out", "wav")], [pair(f"d/{OWN}", "out")]),
        ([("-in", "wav")], [one("-in")]),
        ([("a", "txt"), ("b", "mp3"), ("c", "")], []),
    ],
)
def test_what_belongs_together(stored: list[tuple[str, str]], found: list[Found]) -> None:
    """Two sides of one name and format are one recording; one side is, when its name is ours."""
    assert list(grouped(stored)) == found


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b", OWN]),
            st.sampled_from(["", "-in", "-out"]),
            st.sampled_from(["wav", "gsm", "txt"]),
        ),
        unique=True,
    )
)
def test_no_file_is_forgotten_or_counted_twice(parts: list[tuple[str, str, str]]) -> None:
    """Every file of a known format is in exactly one group."""
    stored = [(base + side, fmt) for base, side, fmt in parts]
    grouped_files = [(track.name, each.format) for each in grouped(stored) for track in each.tracks]
    assert sorted(grouped_files) == sorted(each for each in stored if each[1] != "txt")


@pytest.mark.parametrize(
    ("name", "own", "prefix"),
    [
        (OWN, ID, "voxtra"),
        (f"some/folder/{OWN}", ID, "voxtra"),
        (f"{OWN}x", "", ""),
        (f"x{OWN}", ID, "xvoxtra"),
        (f"voxtra-{'f' * 12}7{'0' * 19}", "", ""),
        (f"voxtra-{ID[:12]}4{ID[13:]}", "", ""),
        ("greeting", "", ""),
    ],
)
def test_names_that_an_app_gave(name: str, own: str, prefix: str) -> None:
    """Such a name tells the app, and holds an id with a time that can be one."""
    assert (one(name).own_id, one(name).prefix) == (own, prefix)


async def test_a_file_becomes_a_recording(database: Database) -> None:
    """With what its name and time say, and a job that brings it home."""
    ended = NOW
    async with database.write() as connection:
        made = await adopt(
            connection, pair(OWN, "in", "out"), "n1", ended_at=ended, tenant_id="acme", sink="app"
        )
    async with database.read() as connection:
        row = await load(connection, ID)
    assert row == made
    assert made.state is RecordingState.STOPPING
    assert (made.id, made.source, made.layout, made.sink) == (ID, "recovered", Layout.STEREO, "app")
    assert made.ended_at == ended
    assert made.requested_at is not None
    assert made.requested_at <= ended
    assert [(job.kind, job.subject_id) for job in await rows(database, jobs)] == [("ingest", ID)]


async def test_the_time_of_its_request_is_in_its_name(database: Database) -> None:
    """So is the beginning known as nearly as it can be, but never after the end."""
    for ended in (datetime.now(UTC) + timedelta(hours=1), NOW - timedelta(days=400)):
        recording_id = new_id()
        async with database.write() as connection:
            made = await adopt(connection, one(f"voxtra-{recording_id}"), "n1", ended_at=ended)
        asked = datetime.fromtimestamp(int(recording_id[:12], 16) / 1000, UTC)
        assert made.requested_at == made.started_at == min(asked, ended)


async def test_any_other_file(database: Database) -> None:
    """One with a name of its own gets an id, and began when it ended, as far as is known."""
    async with database.write() as connection:
        made = await adopt(connection, one("greeting"), "n1", ended_at=NOW)
    assert made.name == "greeting"
    assert made.requested_at == made.started_at == made.ended_at == NOW


async def test_an_id_that_is_taken(database: Database) -> None:
    """A copy of a recording's file is another recording."""
    async with database.write() as connection:
        first = await adopt(connection, one(OWN), "n1", ended_at=NOW)
        second = await adopt(connection, one(f"copy/{OWN}"), "n1", ended_at=NOW)
    assert first.id == ID != second.id


async def add(database: Database, name: str, *tracks: str, **columns: object) -> str:
    """Add a recording of these files."""
    listed = [{"name": each} for each in tracks or (name,)]
    async with database.write() as connection:
        return await add_recording(connection, name=name, tracks=listed, **columns)


async def ids_of(database: Database, found: Found) -> set[str]:
    """Return whose files are."""
    async with database.read() as connection:
        return {row.id for row in await owners(connection, found)}


async def test_whose_a_file_is(database: Database) -> None:
    """A file belongs to every row with a track of its name: one side, both, or a name of that
    kind.
    """
    mono = await add(database, "a")
    stereo = await add(database, "s", "s-in", "s-out")
    odd = await add(database, "s-in")
    again = await add(database, "a", state="recording", ended_at=None)
    assert await ids_of(database, one("a")) == {mono, again}
    assert await ids_of(database, pair("s", "in", "out")) == {stereo, odd}
    assert await ids_of(database, one("s-out")) == {stereo}
    assert await ids_of(database, one("s-in")) == {stereo, odd}
    assert await ids_of(database, one("s")) == set()
    assert await ids_of(database, one("b")) == set()


async def test_a_deleted_recording_s_file_is_known_by_its_id(database: Database) -> None:
    """After its files are forgotten the id in the name tells that it was deleted."""
    made = new_id()
    await add(database, f"voxtra-{made}", id=made)
    async with database.write() as connection:
        await tombstones.delete(connection, TENANT, made, actor="p", reason="asked", now=NOW)
        await tombstones.forget(connection, made)
    assert await ids_of(database, one(f"voxtra-{made}")) == {made}
    async with database.read() as connection:
        assert await rows_of(connection, [f"voxtra-{made}"]) == {}


async def test_a_name_that_is_used_again(database: Database) -> None:
    """The file of a deleted recording is another one's by now, unless that is deleted as well."""
    old = await add(database, "a")
    async with database.write() as connection:
        await tombstones.delete(connection, TENANT, old, actor="p", reason="asked", now=NOW)
        assert not await claimed(connection, Track("a"), "wav", besides=old)
    new = await add(database, "a", state="recording", ended_at=None)
    async with database.read() as connection:
        assert await claimed(connection, Track("a"), "wav", besides=old)
        assert not await claimed(connection, Track("a"), "wav", besides=new)


async def test_many_names_at_once(database: Database) -> None:
    """More than fit into one query are looked up in several."""
    ids = {f"n{number}": await add(database, f"n{number}") for number in (0, 399, 400, 999)}
    async with database.read() as connection:
        known = await rows_of(connection, [f"n{number}" for number in range(1000)])
    assert known == {name: [recording_id] for name, recording_id in ids.items()}
