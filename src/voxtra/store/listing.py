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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Row,
    Select,
    Text,
    TextClause,
    bindparam,
    func,
    select,
    text,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from voxtra.exceptions import ConfigurationError
from voxtra.store import search
from voxtra.store.filters import Columns, Filter
from voxtra.store.schema import recordings

__all__ = ["Page", "estimate", "page"]

NEAR: Final = 5_000
FEW: Final = 20_000

LOOKED_UP: Final = 400
"""Candidates whose rows are read at once, at most."""

_ID: Final = re.compile("[0-9a-f]{32}")

_PLACE: Final = text("SELECT place FROM recording_places WHERE recording_id = :id")

# CROSS JOIN: the words come first, whatever the planner thinks.
_CANDIDATES: Final = text(
    "SELECT place, recording_id FROM recording_words"
    " CROSS JOIN recording_places ON place = recording_words.rowid"
    " WHERE recording_words MATCH :words"
    " AND recording_words.rowid >= :low AND recording_words.rowid < :high"
    " ORDER BY recording_words.rowid DESC LIMIT :count"
)

_HASHED: Final = "ARRAY(SELECT hashtextextended(word, 0) FROM unnest(:{}) AS word)"

_IN_ORDER: Final = (
    *("call_id", "conference_id"),
    *("states" if each == "state" else each for each in search.ORDERED),
)
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
    """The list of a filter on a connection; `columns` are wanted of its rows, the id among them."""

    def __init__(
        self,
        connection: AsyncConnection,
        tenant_id: str,
        wanted: Filter,
        columns: Iterable[ColumnElement[Any]],
    ) -> None:
        self._connection = connection
        self._tenant_id = tenant_id
        self._wanted = wanted
        self._dialect = connection.dialect.name
        self._names = [str(each.key) for each in columns]

    async def after(self, after: str, count: int) -> list[Row[Any]]:
        """Return up to `count` rows that come after an id ("": the first ones)."""
        if self._wanted.is_plain:
            return await self._in_order(after, count)
        if self._dialect == "sqlite":
            return await self._by_words(after, count)
        if self._wanted == self._ordered:
            return await self._in_order(after, count)
        rows, last = await self._near(after, count)
        if last:
            rows += await self._far(last, count - len(rows))
        return rows

    @property
    def _ordered(self) -> Filter:
        """As much of the filter as one ordered index of PostgreSQL serves."""
        wanted = self._wanted
        plain = Filter(since=wanted.since, until=wanted.until, deleted=wanted.deleted)
        if not wanted.deleted:  # tombstones are in none of them
            for name in _IN_ORDER:
                value = getattr(wanted, name)
                if value and (name != "states" or len(value) == 1):
                    return replace(plain, **{name: value})
        return plain

    async def _in_order(self, after: str, count: int) -> list[Row[Any]]:
        """Read on in an ordered index until there are enough."""
        query = self._query(self._wanted, recordings.c, after)
        return await self._all(query.with_only_columns(*self._of(recordings.c)).limit(count))

    async def _by_words(self, after: str, count: int) -> list[Row[Any]]:
        """Read on in SQLite's index of words until there are enough."""
        low, high = search.places(self._wanted.first_id, self._wanted.end_id)
        if after:
            known = (await self._connection.execute(_PLACE, {"id": after})).scalar()
            high = min(high, search.place_of(after) if known is None else known)
        asked = {"words": search.match(self._wanted.words(self._tenant_id)), "low": low}
        found: list[Row[Any]] = []
        ask = count
        while len(found) < count:
            given = await self._connection.execute(
                _CANDIDATES, {**asked, "high": high, "count": ask}
            )
            candidates = given.all()
            for at in range(0, len(candidates), LOOKED_UP):
                ids = [each.recording_id for each in candidates[at : at + LOOKED_UP]]
                found += await self._held(ids, count - len(found))
            if len(candidates) < ask:
                break
            # Few are missing, as a rule; if candidates seldom hold, it takes many.
            high, ask = candidates[-1].place, min(2 * ask, LOOKED_UP)
        return found

    async def _near(self, after: str, count: int) -> tuple[list[Row[Any]], str]:
        """Look through the next rows of PostgreSQL in order; return also the id that they end with
        if there are more of them, and more are wanted.
        """
        order = self._query(self._ordered, recordings.c, after).limit(NEAR)
        near = order.subquery()
        wanted = self._query(self._wanted, near.c, "")
        rows = await self._all(wanted.with_only_columns(*self._of(near.c)).limit(count))
        if len(rows) == count:
            return rows, ""
        ids = order.with_only_columns(recordings.c.id).subquery()
        found = await self._connection.execute(select(func.count(), func.min(ids.c.id)))
        seen, last = found.one()
        return rows, last if seen == NEAR else ""

    async def _far(self, after: str, count: int) -> list[Row[Any]]:
        """Look up on PostgreSQL all that have the words; too many of them are read in order."""
        having = select(recordings.c.id).where(self._hashed()).limit(FEW + 1).cte("having")
        number = select(func.count()).select_from(having).scalar_subquery()
        found: list[Row[Any]] = []
        while len(found) < count:
            newest = (
                select(having.c.id)
                .where(having.c.id >= self._wanted.first_id, having.c.id < after)
                .order_by(having.c.id.desc())
                .limit(LOOKED_UP)
                .scalar_subquery()
            )
            given = await self._connection.execute(
                select(number, func.array(newest, type_=ARRAY(Text)))
            )
            seen, ids = given.one()
            if seen > FEW:
                return found + await self._in_order(after, count - len(found))
            found += await self._held(ids, count - len(found))
            if len(ids) < LOOKED_UP:
                break
            after = ids[-1]
        return found

    def _hashed(self) -> TextClause:
        """Return what PostgreSQL's index of words is asked for: each alternative with all the rest,
        so that none of it is looked up alone.
        """
        words = self._wanted.words(self._tenant_id)
        needed = [word for some in words if len(some) == 1 for word in some[0]]
        several = [some for some in words if len(some) > 1]
        texts = [some for some in several if any(len(together) > 1 for together in some)]
        asked = {
            f"some{number}": [together[0] for together in some]
            for number, some in enumerate(each for each in several if each not in texts)
        }
        others = [f"{search.HASHES} && {_HASHED.format(name)}" for name in asked]
        branches = []
        for number, together in enumerate(texts[0] if texts else [()]):
            name = f"all{number}"
            asked[name] = [*needed, *together]
            has_all = [f"{search.HASHES} @> {_HASHED.format(name)}"] if asked[name] else []
            branches.append(f"({' AND '.join([*has_all, *others])})")
        return text(" OR ".join(branches)).bindparams(
            *(bindparam(name, each, ARRAY(Text)) for name, each in asked.items() if each)
        )

    async def _held(self, ids: Sequence[str], count: int) -> list[Row[Any]]:
        """Return the first `count` of some candidates, which are of the time asked for, that the
        filter lets through.
        """
        if not ids or count <= 0:
            return []
        # Without the time: SQLite would rather read through a range of ids than look these few up.
        wanted = self._query(replace(self._wanted, since=None, until=None), recordings.c)
        wanted = wanted.where(recordings.c.id.in_(ids)).order_by(None)
        if len(ids) > count:
            held = {row.id for row in await self._all(wanted.with_only_columns(recordings.c.id))}
            ids = [each for each in ids if each in held][:count]
            wanted = select(recordings).where(recordings.c.id.in_(ids))
        rows = await self._all(wanted.with_only_columns(*self._of(recordings.c)))
        by_id = {row.id: row for row in rows}
        return [by_id[each] for each in ids if each in by_id]

    def _query(self, wanted: Filter, columns: Columns, after: str = "") -> Select[Any]:
        """Return the query for all columns of what a filter lets through, in order."""
        end = min(after, wanted.end_id) if after and wanted.end_id else after
        if end:  # one bound: of two, SQLite may search by the wrong one
            wanted = replace(wanted, until=None)
        query = select(*columns).where(*wanted.conditions(columns, self._tenant_id, self._dialect))
        if end:
            query = query.where(columns.id < end)
        return query.order_by(columns.id.desc())

    def _of(self, columns: Columns) -> list[ColumnElement[Any]]:
        return [columns[name] for name in self._names]

    async def _all(self, query: Select[Any]) -> list[Row[Any]]:
        return list((await self._connection.execute(query)).all())
