"""What every store of recordings' rows promises: the one in memory, and one that suspends."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tests.rows import ContendedStore
from voxtra.catalog import MemoryRecordingStore, RecordingStore
from voxtra.exceptions import RecordingActive
from voxtra.model import Recording, RecordingState, RecordingTarget

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture(params=[MemoryRecordingStore, ContendedStore])
def store(request: pytest.FixtureRequest) -> RecordingStore:
    """Return an empty store of each kind."""
    made: RecordingStore = request.param()
    return made


def a_row(row_id: str = "1", target_id: str = "call") -> Recording:
    """Return a recording that was just asked for."""
    return Recording(row_id, f"name-{row_id}", "call", RecordingTarget.SNOOP, target_id)


async def test_row_is_found(store: RecordingStore) -> None:
    """A row is found by its id, and one that is not there is None."""
    await store.insert(a_row())
    assert await store.get("1") == a_row()
    assert await store.get("2") is None


async def test_one_active_per_target(store: RecordingStore) -> None:
    """A target has one recording that has not ended; the refusal names it."""
    await store.insert(a_row("1"))
    await store.insert(a_row("2", target_id="bridge"))
    with pytest.raises(RecordingActive) as refused:
        await store.insert(a_row("3"))
    assert refused.value.name == "name-1"
    assert await store.get("3") is None


async def test_ended_frees_the_target(store: RecordingStore) -> None:
    """A recording that has ended makes room for the next, while its file is still looked at."""
    ended = replace(a_row(), state=RecordingState.STOPPING, ended_at=NOW)
    await store.insert(a_row())
    assert await store.replace(a_row(), ended)
    await store.insert(a_row("2"))
    assert await store.get("1") == ended
    assert await store.get("2") == a_row("2")


async def test_final_of_the_first_leaves_the_second(store: RecordingStore) -> None:
    """The end of the first recording of a target does not free the second one's place."""
    ended = replace(a_row(), state=RecordingState.STOPPING, ended_at=NOW)
    await store.insert(a_row())
    await store.replace(a_row(), ended)
    await store.insert(a_row("2"))
    await store.replace(ended, replace(ended, state=RecordingState.AVAILABLE))
    with pytest.raises(RecordingActive):
        await store.insert(a_row("3"))


async def test_change_of_a_stale_row_loses(store: RecordingStore) -> None:
    """Who changes a row that is not as he thinks changes nothing and is told."""
    muted = replace(a_row(), muted=True)
    await store.insert(a_row())
    assert await store.replace(a_row(), muted)
    assert not await store.replace(a_row(), replace(a_row(), paused=True))
    assert await store.get("1") == muted
