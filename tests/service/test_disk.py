"""Disks: the stated order of giving up, and what is never given up."""

from __future__ import annotations

import os
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxtra.model import Recording, RecordingTarget, Track
from voxtra.service import disk
from voxtra.service.disk import (
    BLOBS,
    DATABASE,
    SPOOL,
    DiskWatch,
    Plan,
    Pressure,
    Volume,
    growth,
    plan,
    sample,
)

MARKS = (80.0, 90.0, 95.0)
GB = 1_000_000_000

SHARES = st.floats(0, 1)
VOLUMES = st.lists(
    st.builds(
        Volume,
        st.sampled_from([(SPOOL,), (BLOBS,), (DATABASE,), (SPOOL, BLOBS), (SPOOL, DATABASE)]),
        SHARES,
        st.integers(0, 100 * GB),
    ),
    min_size=1,
    max_size=3,
)
BEFORE = st.builds(Plan, st.sampled_from(Pressure), st.none(), st.booleans())
RATES = st.floats(0, 1e7)


def one(used: float, free: int = 100 * GB, names: tuple[str, ...] = (SPOOL, BLOBS)) -> list[Volume]:
    """Return a single disk."""
    return [Volume(names, used, free)]


@pytest.mark.parametrize(
    ("used", "pressure", "drop_derived", "refuse_exports"),
    [
        (0.0, Pressure.NONE, False, False),
        (0.7999, Pressure.NONE, False, False),
        (0.80, Pressure.LOW, False, False),
        (0.8999, Pressure.LOW, False, False),
        (0.90, Pressure.TIGHT, True, False),
        (0.9499, Pressure.TIGHT, True, False),
        (0.95, Pressure.FULL, True, True),
        (1.0, Pressure.FULL, True, True),
    ],
)
def test_things_are_given_up_in_their_order(used, pressure, drop_derived, refuse_exports):
    """First it is said, then what can be made again goes, then exports; recordings begin as long as
    there is room, however full the disk is in per cent.
    """
    found = plan(one(used), 32_000.0, MARKS)
    assert found.pressure is pressure
    assert (found.drop_derived, found.refuse_exports) == (drop_derived, refuse_exports)
    assert not found.refuse_recordings
    assert bool(found.cause) is (pressure > Pressure.NONE)


@given(volumes=VOLUMES, rate=RATES, before=BEFORE)
def test_the_worst_disk_decides(volumes, rate, before):
    """All disks together are as bad as the worst of them alone, and the plan names that one."""
    together = plan(volumes, rate, MARKS, before)
    alone = [plan([volume], rate, MARKS, before) for volume in volumes]
    assert together.pressure == max(each.pressure for each in alone)
    assert together.refuse_recordings == any(each.refuse_recordings for each in alone)
    assert together.volume in volumes
    if together.cause and together.volume is not None:
        assert all(name in together.cause for name in together.volume.names)


@given(low=SHARES, high=SHARES, before=BEFORE, rate=RATES)
def test_a_fuller_disk_never_has_less_given_up(low, high, before, rate):
    """The pressure grows with the used share, and with every level all of those below it."""
    low, high = sorted((low, high))
    assert (
        plan(one(low), rate, MARKS, before).pressure
        <= plan(one(high), rate, MARKS, before).pressure
    )
    found = plan(one(high), rate, MARKS, before)
    assert found.drop_derived or not found.refuse_exports


@given(used=SHARES, before=BEFORE)
def test_a_level_is_left_a_little_below_where_it_was_reached(used, before):
    """At the mark itself nothing flutters: between mark and slack, what was, stays."""
    after = plan(one(used), 0.0, MARKS, before).pressure
    fresh = plan(one(used), 0.0, MARKS).pressure
    assert fresh <= after <= max(fresh, before.pressure)
    if after > fresh:
        mark = MARKS[after - 1] / 100
        assert mark - disk.SLACK <= used < mark
    again = plan(one(used), 0.0, MARKS, Plan(after))
    assert again.pressure is after


@given(volumes=VOLUMES, rate=RATES)
def test_recordings_begin_while_those_that_run_have_room_for_ten_minutes(volumes, rate):
    """A new recording is refused exactly when the disks could not take ten minutes of all."""
    found = plan(volumes, rate, MARKS)
    lasts = all(
        volume.free
        >= disk.FLOOR + 600 * (rate + disk.NEXT) * sum(n != DATABASE for n in volume.names)
        for volume in volumes
    )
    assert found.refuse_recordings is not lasts
    if found.refuse_recordings:
        assert "no new recording begins" in found.cause
        assert plan(volumes, rate, MARKS, found).refuse_recordings


@given(rate=RATES)
def test_recordings_are_let_in_again_when_there_is_clearly_room(rate):
    """Refused once, twice the room is needed: or every second one would be let in."""
    needed = int(disk.FLOOR + 1200 * (rate + disk.NEXT)) + 1
    refused = Plan(refuse_recordings=True)
    assert not plan(one(0.5, needed), rate, MARKS).refuse_recordings
    assert plan(one(0.5, needed), rate, MARKS, refused).refuse_recordings
    assert not plan(one(0.5, 2 * needed), rate, MARKS, refused).refuse_recordings


def test_a_plan_can_not_name_what_must_not_go():
    """There is no word in it for files that are not stored yet, held, unsent or being written."""
    assert {field.name for field in fields(Plan)} == {
        "pressure",
        "volume",
        "refuse_recordings",
        "cause",
    }
    properties = {name for name, value in vars(Plan).items() if isinstance(value, property)}
    assert properties == {"drop_derived", "refuse_exports"}


def test_news_is_what_changes_for_somebody():
    """A fuller disk of the same level is no event; another level, or refusing, is one."""
    low = plan(one(0.82), 0.0, MARKS)
    assert low.differs(Plan())
    assert not plan(one(0.85), 0.0, MARKS, low).differs(low)
    assert plan(one(0.95), 0.0, MARKS, low).differs(low)
    assert replace(low, refuse_recordings=True).differs(low)
    assert Plan().differs(low)


def test_the_event_says_what_and_where():
    """It has the level, the disk, what is free, and what is given up, as JSON values."""
    assert plan(one(0.912, 5 * GB), 0.0, MARKS).as_data() == {
        "level": "tight",
        "refuse_exports": False,
        "refuse_recordings": False,
        "cause": "the disk of spool and blobs is 91% full: what can be made again is removed, "
        "finished exports included. Free some space or enlarge the disk",
        "volumes": ["spool", "blobs"],
        "used_percent": 91.2,
        "free_bytes": 5 * GB,
    }
    assert Plan().as_data()["level"] == "none"
    assert plan([], 0.0, MARKS) == Plan()


@pytest.mark.parametrize(
    ("fmt", "tracks", "expected"),
    [
        ("wav", 1, 16_000),
        ("wav", 2, 32_000),
        ("wav16", 1, 32_000),
        ("ulaw", 1, 8000),
        ("gsm", 1, 1650),
        ("wav49", 1, 1625),
        ("opus", 1, 16_000),
    ],
)
def test_recordings_grow_as_their_format_does(fmt, tracks, expected):
    """The rate is what the PBX writes, for every track."""
    recording = Recording("r", "x", "c", RecordingTarget.SNOOP, "c", format=fmt)
    recording = replace(recording, tracks=(Track("x"),) * tracks)
    assert growth([recording]) == expected
    assert growth([recording, recording]) == 2 * expected
    assert growth([]) == 0


def test_folders_on_one_disk_are_one_volume(tmp_path: Path):
    """The numbers are those of the file system; a folder that is not made yet counts where it will
    be.
    """
    (found,) = sample({SPOOL: tmp_path, BLOBS: tmp_path / "not" / "there"})
    facts = os.statvfs(tmp_path)
    assert found.names == (SPOOL, BLOBS)
    assert abs(found.free - facts.f_bavail * facts.f_frsize) < GB
    used = facts.f_blocks - facts.f_bfree
    assert abs(found.used - used / (used + facts.f_bavail)) < 0.05


def test_another_disk_is_another_volume(tmp_path: Path):
    """What is mounted somewhere else is looked at by itself."""
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is one disk only")
    assert [each.names for each in sample({SPOOL: tmp_path, BLOBS: other})] == [(SPOOL,), (BLOBS,)]


@pytest.mark.parametrize(
    ("facts", "used", "free"),
    [
        ({}, 0.5, 50 * 4096),
        ({"f_bavail": 45}, 50 / 95, 45 * 4096),  # what is kept for root is not ours
        ({"f_files": 100, "f_ffree": 8, "f_favail": 8}, 0.92, 50 * 4096),
        ({"f_files": 100, "f_ffree": 0, "f_favail": 0}, 1.0, 0),
        ({"f_files": 0, "f_ffree": 0, "f_favail": 0}, 0.5, 50 * 4096),
    ],
)
def test_a_disk_without_room_for_another_file_is_full(monkeypatch, tmp_path, facts, used, free):
    """The used share is that of the bytes or of the files, whichever is more."""
    usual = {
        "f_blocks": 100,
        "f_bfree": 50,
        "f_bavail": 50,
        "f_frsize": 4096,
        "f_files": 1000,
        "f_ffree": 900,
        "f_favail": 900,
    }
    answer = type("Facts", (), usual | facts)
    monkeypatch.setattr("voxtra.service.disk.os.statvfs", lambda path: answer)
    assert sample({BLOBS: tmp_path}) == [Volume((BLOBS,), used, free)]


def test_the_watch_tells_when_something_changes(monkeypatch, tmp_path):
    """It remembers its last plan, and says only what is new; a disk that can't be looked at leaves
    the plan as it was.
    """
    watch = DiskWatch({BLOBS: tmp_path}, MARKS)
    volumes = one(0.5)
    monkeypatch.setattr(disk, "sample", lambda folders: volumes)
    assert not watch.look(0.0)
    for used, changed in [(0.81, True), (0.84, False), (0.79, False), (0.77, True), (0.96, True)]:
        volumes[0] = replace(volumes[0], used=used)
        assert watch.look(0.0) is changed
    full = watch.plan

    def broken(folders: object) -> list[Volume]:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(disk, "sample", broken)
    with pytest.raises(OSError, match="Input/output"):
        watch.look(0.0)
    assert watch.plan is full
