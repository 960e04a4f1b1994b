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
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
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
from voxtra.store.search import Words

__all__ = ["Page", "estimate", "page"]

NEAR: Final = 4_000
FEW: Final = 5_000
"""Rows of PostgreSQL's that are looked at in about 5 ms, one after the other and all over."""

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

_SOME: Final = 50
_REACH: Final = (
    "SELECT {0}, CASE count(*) WHEN :some THEN min(place) ELSE :low END FROM"
    " (SELECT rowid AS place FROM recording_words WHERE recording_words MATCH :word{0}"
    " AND rowid < :high ORDER BY rowid DESC LIMIT :some)"
)
"""How far back the newest `_SOME` recordings with a word reach."""

_COMMON: Final = (
    "SELECT -1, min(place) FROM"
    " (SELECT place FROM recording_places WHERE place < :high ORDER BY place DESC LIMIT 4 * :some)"
)
"""How far back they reach if a quarter of all recordings have it."""

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
    ids = await _List(connection, tenant_id, wanted).ids(after, size + 1)
    query = select(recordings).where(
        recordings.c.tenant_id == tenant_id, recordings.c.id.in_(ids[:size])
    )
    rows = {row.id: row for row in await connection.execute(query)}
    found = [rows[each] for each in ids[:size] if each in rows]
    return Page(found, ids[size - 1] if len(ids) > size else "")


async def estimate(
    connection: AsyncConnection, tenant_id: str, wanted: Filter, cap: int = 10_000
) -> int:
    """Count the recordings that a filter lets through, as far as `cap`."""
    return len(await _List(connection, tenant_id, wanted).ids("", cap))


class _List:
    """The list of a filter on a connection."""

    def __init__(self, connection: AsyncConnection, tenant_id: str, wanted: Filter) -> None:
        self._connection = connection
        self._tenant_id = tenant_id
        self._wanted = wanted
        self._dialect = connection.dialect.name

    async def ids(self, after: str, count: int) -> list[str]:
        """Return up to `count` ids that come after one ("": the first ones)."""
        if self._wanted.is_plain:
            return await self._in_order(after, count)
        if self._dialect == "sqlite":
            return await self._by_words(after, count)
        if self._wanted == self._ordered:
            return await self._in_order(after, count)
        ids, last = await self._near(after, count)
        if last:
            ids += await self._far(last, count - len(ids))
        return ids

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

    async def _in_order(self, after: str, count: int) -> list[str]:
        """Read on in an ordered index until there are enough."""
        return await self._ask(self._query(self._wanted, recordings.c, after).limit(count))

    async def _by_words(self, after: str, count: int) -> list[str]:
        """Read on in SQLite's index of words until there are enough."""
        low, high = search.places(self._wanted.first_id, self._wanted.end_id)
        if after:
            known = (await self._connection.execute(_PLACE, {"id": after})).scalar()
            high = min(high, search.place_of(after) if known is None else known)
        words = await self._narrowing(low, high)
        asked = {"words": search.match(words), "low": low}
        found: list[str] = []
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

    async def _narrowing(self, low: int, high: int) -> list[Words]:
        """Return the words for SQLite without those parts of texts that a quarter of all recordings
        have around here: they are long to read, and who has the other parts mostly has them, too.
        """
        words = self._wanted.words(self._tenant_id)
        several = (together for some in words for together in some if len(together) > 1)
        asked = list(dict.fromkeys(word for together in several for word in together))
        if not asked:
            return words
        query = " UNION ALL ".join([_COMMON, *map(_REACH.format, range(len(asked)))])
        given = {f"word{number}": search.match([((word,),)]) for number, word in enumerate(asked)}
        bounds = {"low": low, "high": high, "some": _SOME}
        found: dict[int, int] = dict(
            (await self._connection.execute(text(query), given | bounds)).all()
        )
        common = found.pop(-1) or low
        reach = {word: found[number] for number, word in enumerate(asked)}

        def narrowing(together: tuple[str, ...]) -> tuple[str, ...]:
            if len(together) == 1:
                return together
            rare = tuple(word for word in together if reach[word] < common)
            return rare or (min(together, key=reach.__getitem__),)

        return [tuple(map(narrowing, some)) for some in words]

    async def _near(self, after: str, count: int) -> tuple[list[str], str]:
        """Look through the next rows of PostgreSQL in order; return also the id that they end with
        if there are more of them, and more are wanted.
        """
        order = self._query(self._ordered, recordings.c, after).limit(NEAR)
        columns = [recordings.c[name] for name in search.ARGUMENTS]
        near = order.with_only_columns(*columns).subquery()
        ids = await self._ask(self._query(self._wanted, near.c).limit(count))
        if len(ids) == count:
            return ids, ""
        looked = order.subquery()
        ends = select(func.count(), func.min(looked.c.id))
        seen, last = (await self._connection.execute(ends)).one()
        return ids, last if seen == NEAR else ""

    async def _far(self, after: str, count: int) -> list[str]:
        """Look up on PostgreSQL all that have the words; too many of them are read in order."""
        having = select(recordings.c.id).where(self._hashed()).limit(FEW + 1).cte("having")
        number = select(func.count()).select_from(having).scalar_subquery()
        found: list[str] = []
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

    async def _held(self, ids: list[str], count: int) -> list[str]:
        """Return the first `count` of some candidates, which are of the time asked for, that the
        filter lets through.
        """
        if ids and count > 0 and not (self._wanted.is_exact and self._dialect == "sqlite"):
            # Without the time: SQLite would rather read a range of ids than look these few up.
            query = self._query(replace(self._wanted, since=None, until=None), recordings.c)
            held = set(await self._ask(query.where(recordings.c.id.in_(ids)).order_by(None)))
            ids = [each for each in ids if each in held]
        return ids[: max(0, count)]

    def _query(self, wanted: Filter, columns: Columns, after: str = "") -> Select[Any]:
        """Return the query for the ids of what a filter lets through, in order."""
        end = min(after, wanted.end_id) if after and wanted.end_id else after
        if end:  # one bound: of two, SQLite may search by the wrong one
            wanted = replace(wanted, until=None)
        conditions = wanted.conditions(columns, self._tenant_id, self._dialect)
        query: Select[Any] = select(columns.id).where(*conditions)
        if end:
            query = query.where(columns.id < end)
        return query.order_by(columns.id.desc())

    async def _ask(self, query: Select[Any]) -> list[str]:
        return list((await self._connection.execute(query)).scalars())
