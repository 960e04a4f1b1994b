"""The list of recordings: pages of what a filter lets through, newest first.

A page begins after an id, never after a number of rows; ids sort by the time of the request. So a
recording that comes meanwhile shifts nothing, and the last page costs what the first one does.

On SQLite the index of words (`voxtra.store.search`) gives the candidates in order, for any filter.
PostgreSQL has no index that is both of words and in order. It is asked in three ways, and the first
that fills the page, or comes to the end, is the last:

1. for the next `NEAR` recordings in order of one filter that has such an index: what is common is
   near;
2. for all that have the words, if they are no more than `FEW`;
3. on in order, to the end. What is common, but all of it far away, is left for this; a million
   recordings take about a second.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Row,
    Select,
    Text,
    bindparam,
    func,
    literal_column,
    select,
    text,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from voxtra.exceptions import ConfigurationError
from voxtra.store import search
from voxtra.store.filters import Columns, Filter
from voxtra.store.schema import recordings

__all__ = ["Filter", "Page", "estimate", "page"]

NEAR: Final = 5_000
FEW: Final = 20_000

LOOKED_UP: Final = 400
"""Candidates whose rows are read at once, at most."""

_ID: Final = re.compile("[0-9a-f]{32}")
_LAST_PLACE: Final = 2**63 - 1

_PLACE: Final = text("SELECT place FROM recording_places WHERE recording_id = :id")

# CROSS JOIN: the words come first, whatever the planner thinks.
_CANDIDATES: Final = text(
    "SELECT place, recording_id FROM recording_words"
    " CROSS JOIN recording_places ON place = recording_words.rowid"
    " WHERE words MATCH :words AND recording_words.rowid >= :low AND recording_words.rowid < :high"
    " ORDER BY recording_words.rowid DESC LIMIT :count"
)

_IN_ORDER: Final = ("call_id", "conference_id", *search.ORDERED)
"""Filters that PostgreSQL has an index of in the order of ids, roughly the narrowest first."""


@dataclass(frozen=True, slots=True)
class Page:
    """Rows of `recordings`, newest first, and the id after which the next page begins ("": there is
    none).
    """

    rows: Sequence[Row[Any]]
    next_after: str


async def page(
    connection: AsyncConnection, tenant_id: str, wanted: Filter, *, size: int, after: str = ""
) -> Page:
    """Return `size` recordings of a tenant that come after an id in the list, or its first ones.

    Raises `ConfigurationError` for what is no id.
    """
    if after and not _ID.fullmatch(after):
        raise ConfigurationError(
            "is none that this list gave", field="page_token", fix="Leave it out to begin anew"
        )
    found = await _List(connection, tenant_id, wanted, recordings.c).after(after, size + 1)
    return Page(found[:size], found[size - 1].id if len(found) > size else "")


async def estimate(
    connection: AsyncConnection, tenant_id: str, wanted: Filter, cap: int = 10_000
) -> int:
    """Count the recordings that a filter lets through, as far as `cap`."""
    return len(await _List(connection, tenant_id, wanted, [recordings.c.id]).after("", cap))


class _List:
    """The list of a filter on one connection, and which columns of it are wanted."""

    def __init__(
        self,
        connection: AsyncConnection,
        tenant_id: str,
        wanted: Filter,
        columns: Sequence[ColumnElement[Any]] | Columns,
    ) -> None:
        self._connection = connection
        self._tenant_id = tenant_id
        self._wanted = wanted
        self._names = [each.name for each in columns]
        self._sqlite = connection.dialect.name == "sqlite"

    async def after(self, after: str, count: int) -> list[Row[Any]]:
        """Return up to `count` rows that come after an id ("": the first ones)."""
        if self._wanted.is_plain or self._narrow == self._wanted:
            return await self._in_order(after, count)
        if self._sqlite:
            return await self._by_place(after, count)
        rows, last = await self._near(after, count)
        if len(rows) < count and last:
            rows += await self._far(last, count - len(rows))
        return rows

    @property
    def _narrow(self) -> Filter:
        """The filter with no more of it than an ordered index on PostgreSQL serves."""
        wanted = self._wanted
        plain = Filter(since=wanted.since, until=wanted.until, deleted=wanted.deleted)
        if wanted.deleted:
            return plain  # the indexes leave tombstones out
        for name in _IN_ORDER:
            if name == "state":
                if len(wanted.states) == 1:
                    return replace(plain, states=wanted.states)
            elif value := getattr(wanted, name):
                return replace(plain, **{name: value})
        return plain

    async def _in_order(self, after: str, count: int) -> list[Row[Any]]:
        return await self._rows(self._select(self._wanted, after).limit(count))

    async def _by_place(self, after: str, count: int) -> list[Row[Any]]:
        """Return the next rows as the words of SQLite give them."""
        low, high = (search.place_of(f"{each:0<16}") for each in self._wanted.span)
...
