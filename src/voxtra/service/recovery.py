"""Files of the PBX that no row knows: of a run without a catalogue, or of a catalogue restored."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Row, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from voxtra.audio.formats import lookup
from voxtra.exceptions import ConfigurationError
from voxtra.ids import new_id
from voxtra.model import (
    DEFAULT_TENANT,
    Layout,
    Recording,
    RecordingSource,
    RecordingState,
    RecordingTarget,
    Track,
)
from voxtra.store.jobs import enqueue
from voxtra.store.recordings import add, load
from voxtra.store.schema import recordings

__all__ = ["Found", "adopt", "claimed", "grouped", "owners", "rows_of"]

_OWN: Final = re.compile(r"(?:.*/)?(?P<prefix>[A-Za-z0-9_-]+)-(?P<id>0[0-9a-f]{11}7[0-9a-f]{19})")
"""A name that the framework gave: it holds the recording's id, and that the time of its request
(begun with another digit it would be later than the year 2500).
"""

_SIDES: Final = ("in", "out")

_QUERY: Final = 400


@dataclass(frozen=True, slots=True)
class Found:
    """What may be one recording: its name and format on the PBX, and its tracks."""

    name: str
    format: str
    tracks: tuple[Track, ...]

    @property
    def own_id(self) -> str:
        """The id of the recording in a name that the framework gave; "" in any other."""
        matched = _OWN.fullmatch(self.name)
        return matched["id"] if matched else ""

    @property
    def prefix(self) -> str:
        """What such a name begins with (`voxtra.names.prefix_of` an app); "" in any other."""
        matched = _OWN.fullmatch(self.name)
        return matched["prefix"] if matched else ""

    @property
    def names(self) -> set[str]:
        """The names that a recording may have which these files belong to."""
        tracks = {track.name for track in self.tracks}
        return {self.name, *tracks, *(_base(name) for name in tracks)}


def grouped(stored: Iterable[tuple[str, str]]) -> Iterator[Found]:
    """Yield what is stored, the two sides of a stereo recording as one; formats that are not ours
    are passed over.
    """
    sides: dict[tuple[str, str], dict[str, Track]] = {}
    for name, fmt in stored:
        try:
            lookup(fmt)
        except ConfigurationError:
            continue
        base, _, side = name.rpartition("-")
        if base and side in _SIDES:
            sides.setdefault((base, fmt), {})[side] = Track(name, side)
        else:
            yield Found(name, fmt, (Track(name),))
    for (base, fmt), tracks in sides.items():
        if len(tracks) == 2 or _OWN.fullmatch(base):
            yield Found(base, fmt, tuple(tracks[side] for side in _SIDES if side in tracks))
        else:
            yield from (Found(track.name, fmt, (Track(track.name),)) for track in tracks.values())


async def rows_of(connection: AsyncConnection, names: list[str]) -> dict[str, list[str]]:
    """Return the ids of the recordings that have these names."""
    known: dict[str, list[str]] = {}
    for at in range(0, len(names), _QUERY):
        query = select(recordings.c.name, recordings.c.id).where(
            recordings.c.name.in_(names[at : at + _QUERY])
        )
        for row in await connection.execute(query):
            known.setdefault(row.name, []).append(row.id)
    return known


async def owners(connection: AsyncConnection, found: Found) -> list[Row[Any]]:
    """Return the rows that files belong to, or may: a name can be used again once the PBX's file is
    gone. A deleted recording that has forgotten its files is found by its id in their name.
    """
    tracks = {track.name for track in found.tracks}
    query = select(recordings).where(
        or_(recordings.c.name.in_(sorted(found.names)), recordings.c.id == found.own_id)
    )
    rows = (await connection.execute(query)).all()
    return [
        row
        for row in rows
        if not tracks.isdisjoint(track["name"] for track in row.tracks)
        or (row.id == found.own_id and row.deleted_at is not None)
    ]


async def claimed(connection: AsyncConnection, track: Track, fmt: str, *, besides: str) -> bool:
    """Tell whether a file is that of another recording, which is not deleted."""
    rows = await owners(connection, Found(track.name, fmt, (track,)))
    return any(row.id != besides and row.deleted_at is None for row in rows)


async def adopt(
    connection: AsyncConnection,
    found: Found,
    node: str,
    *,
    ended_at: datetime,
    tenant_id: str = DEFAULT_TENANT,
    sink: str = "",
) -> Recording:
    """Make a row of files that have none, and have them brought home like any other's."""
    known = await load(connection, found.own_id) if found.own_id else None
    recording_id = found.own_id if found.own_id and known is None else new_id()
    requested_at = min(_time_of(found.own_id), ended_at) if found.own_id else ended_at
    recording = Recording(
        id=recording_id,
        name=found.name,
        call_id="",
        target=RecordingTarget.SNOOP,
        target_id="",
        format=found.format,
        layout=Layout.STEREO if len(found.tracks) == 2 else Layout.MONO,
        state=RecordingState.STOPPING,
        tracks=found.tracks,
        requested_at=requested_at,
        started_at=requested_at,
        ended_at=ended_at,
        holder_id=recording_id,
        tenant_id=tenant_id,
        source=RecordingSource.RECOVERED,
        sink=sink,
    )
    await add(connection, recording, node)
    await enqueue(connection, "ingest", recording.id, tenant_id=tenant_id)
    return recording


def _base(name: str) -> str:
    """Return the name of the stereo recording that a file would be one side of."""
    base, _, side = name.rpartition("-")
    return base if base and side in _SIDES else name


def _time_of(recording_id: str) -> datetime:
    """Return the moment at which an id was made."""
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=int(recording_id[:12], 16))
