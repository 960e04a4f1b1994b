"""What a list of recordings is narrowed to: values that are checked, as SQL and as words."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from functools import partial, reduce
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Text,
    and_,
    case,
    cast,
    collate,
    exists,
    func,
    literal,
    or_,
    select,
)
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from voxtra.exceptions import ConfigurationError
from voxtra.model import CallDirection, RecordingState
from voxtra.store import search
from voxtra.store.search import Words, scoped

__all__ = ["Filter"]

Columns = ReadOnlyColumnCollection[str, Any]

LONGEST_TEXT: Final = 200
"""Characters of any text in a filter."""

_UNWRITTEN: Final = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_NUMBER: Final = re.compile("[0-9]{3,}")

_EQUAL: Final = ("direction", "caller", "callee", "queue", "agent", "call_id", "conference_id")
"""Filters that are the whole value of the column of their name."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST: Final = datetime(2500, 1, 1, tzinfo=UTC)
"""Later moments count as this one; from the year 2527 on ids have another first digit."""


@dataclass(frozen=True, slots=True)
class Filter:
    """What recordings of a list have in common: all of what is given here.

    `number` is digits in a row, three or more, that the caller's or the callee's number contains.
    `text`, three characters or more, is contained in caller, callee, queue, agent, a tag, the note
    or a name that somebody chose, or is the whole id, call id or name. ASCII letters match small
    and capital ones; others match as they are written, all small, all capital, or capital at the
    beginning of words.

    `since` (included) and `until` (not included) are about the moment of the request, in whole
    milliseconds as the id holds it. Durations are seconds, both included, and only recordings
    whose duration is known have one. `deleted` lists the tombstones in place of the recordings.

    Raises `ConfigurationError` naming the field for a value that can't be meant.
    """

    call_id: str = ""
    conference_id: str = ""
    states: tuple[RecordingState, ...] = ()
    direction: CallDirection | None = None
    caller: str = ""
    callee: str = ""
    number: str = ""
    queue: str = ""
    agent: str = ""
    tag: str = ""
    since: datetime | None = None
    until: datetime | None = None
    min_duration: float | None = None
    max_duration: float | None = None
    text: str = ""
    held: bool | None = None
    deleted: bool = False

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, str):
                _check_text(each.name, value)
            elif isinstance(value, datetime) and value.tzinfo is None:
                raise ConfigurationError(
                    "has no time zone", field=each.name, fix="Add one, for example Z"
                )
        if self.number and not _NUMBER.fullmatch(self.number):
            raise ConfigurationError(
                f"{self.number} is not a part of a number",
                field="number",
                fix="Write three digits or more, and nothing else",
            )
        if 0 < len(self.text) < 3:
            raise ConfigurationError("is too short", field="text", fix="Write 3 characters or more")
        for name in ("min_duration", "max_duration"):
            seconds = getattr(self, name)
            if seconds is not None and not (math.isfinite(seconds) and 0 <= seconds <= 1e9):
                raise ConfigurationError(
                    f"{seconds} is no duration", field=name, fix="Write seconds, 0 or more"
                )
        for low, high in (("since", "until"), ("min_duration", "max_duration")):
            first, last = getattr(self, low), getattr(self, high)
            if first is not None and last is not None and first > last:
                raise ConfigurationError(
                    f"comes before {low}", field=high, fix="Change one of the two, or leave it out"
                )

    @property
    def first_id(self) -> str:
        """What the lowest id begins with that is let through, "" for all."""
        return _id_from(self.since) if self.since else ""

    @property
    def end_id(self) -> str:
        """What the lowest id begins with that is too new, "" for none."""
        return _id_from(self.until) if self.until else ""

    @property
    def is_plain(self) -> bool:
        """Whether it is about nothing but time, or tombstones."""
        return self == Filter(since=self.since, until=self.until, deleted=self.deleted)

    @property
    def is_exact(self) -> bool:
        """Whether its words find nothing but what it lets through."""
        lengths = self.min_duration, self.max_duration
        return not (self.number or self.text) and lengths == (None, None)

    def conditions(
        self, columns: Columns, tenant_id: str, dialect: str
    ) -> list[ColumnElement[Any]]:
        """Return in SQL what lets a row through that has these columns of `recordings`."""
        deleted = columns.deleted_at
        found = [
            columns.tenant_id == tenant_id,
            deleted.is_not(None) if self.deleted else deleted.is_(None),
        ]
        if self.since:
            found.append(columns.id >= self.first_id)
        if self.until:
            found.append(columns.id < self.end_id)
        if self.states:
            found.append(columns.state.in_([state.value for state in self.states]))
        found += [columns[name] == value for name, value in self._equal()]
        if self.held is not None:
            found.append(columns.held.is_(self.held))
        if self.min_duration is not None:
            found.append(columns.duration_ms >= math.ceil(self.min_duration * 1000))
        if self.max_duration is not None:
            found.append(columns.duration_ms <= math.floor(self.max_duration * 1000))
        if self.tag:
            found.append(_any_tag(columns, dialect, lambda tag: tag == self.tag))
        if self.number:
            numbers = (columns.caller, columns.callee)
            found.append(or_(*(_within(each, self.number, dialect) for each in numbers)))
        if self.text:
            found.append(or_(*self._has_text(columns, dialect)))
        return found

    def words(self, tenant_id: str) -> list[Words]:
        """Return the words that everything has that is let through."""

        def word(kind: str, value: str) -> str:
            return scoped(kind, value, tenant_id=tenant_id, deleted=self.deleted)

        found: list[Words] = [((word(name, value),),) for name, value in self._equal()]
        if self.states:
            found.append(tuple((word("state", state.value),) for state in self.states))
        if self.held is not None:
            found.append(((word("held", str(int(self.held))),),))
        if self.tag:
            found.append(((word("tag", self.tag),),))
        if self.min_duration is not None or self.max_duration is not None:
            high = math.inf if self.max_duration is None else self.max_duration
            seconds = math.floor(self.min_duration or 0), math.floor(min(high, 1e9))
            found.append(tuple((word(*each),) for each in search.durations(*seconds)))
        if not found:
            found.append(((word("all", ""),),))
        if self.number:
            found.append((search.parts("n", self.number),))
        if self.text:
            spellings = _spellings(self.text)
            parts = (search.parts(kind, each) for kind in "nt" for each in spellings)
            found.append((*parts, *((word("whole", each),) for each in spellings)))
        return found

    def _equal(self) -> Iterator[tuple[str, str]]:
        for name in _EQUAL:
            if value := getattr(self, name):
                yield name, str(value)

    def _has_text(self, columns: Columns, dialect: str) -> Iterator[ColumnElement[Any]]:
        chosen = case((_within(columns.name, columns.id, dialect), ""), else_=columns.name)
        parts = (columns[each] for each in (*search.NUMBERS, *search.TEXTS))
        # One text, for less work; what is looked for has no line break, so it is in one line.
        texts = _lower(reduce(lambda one, other: one + "\n" + other, parts, chosen), dialect)
        for text in _spellings(self.text):
            yield _within(texts, text, dialect)
            yield or_(*(_lower(columns[each], dialect) == text for each in search.WHOLE))
            yield _any_tag(columns, dialect, partial(_has_part, text, dialect))


def _check_text(name: str, value: str) -> None:
    if _UNWRITTEN.search(value):
        raise ConfigurationError(
            "holds a character that can't be written", field=name, fix="Remove it"
        )
    if len(value) > LONGEST_TEXT:
        raise ConfigurationError(
            "is too long", field=name, fix=f"Write {LONGEST_TEXT} characters at most"
        )


def _id_from(moment: datetime) -> str:
    """Return what the ids of a moment's millisecond, or of the next one, begin with."""
    milliseconds = -((_EPOCH - min(moment, _LAST)) // timedelta(milliseconds=1))
    return f"{max(milliseconds, 0):012x}"


def _spellings(text: str) -> list[str]:
    """Return how a text may be written, with ASCII letters small."""
    written = (text, text.lower(), text.upper(), text.title())
    return [each for each in dict.fromkeys(map(search.lowered, written)) if len(each) == len(text)]


def _lower(column: ColumnElement[Any], dialect: str) -> ColumnElement[Any]:
    if dialect == "sqlite":
        return func.lower(column)
    return func.lower(collate(column, "C"))  # where ASCII letters alone are letters


def _within(whole: ColumnElement[Any], part: Any, dialect: str) -> ColumnElement[Any]:
    return (func.instr if dialect == "sqlite" else func.strpos)(whole, part) > 0


def _has_part(part: str, dialect: str, column: ColumnElement[Any]) -> ColumnElement[Any]:
    return _within(_lower(column, dialect), part, dialect)


def _any_tag(
    columns: Columns, dialect: str, holds: Callable[[ColumnElement[Any]], ColumnElement[Any]]
) -> ColumnElement[Any]:
    each = func.json_each if dialect == "sqlite" else func.jsonb_array_elements_text
    tags = each(columns.tags).table_valued("value", name="tag")
    found = exists(select(literal(1)).select_from(tags).where(holds(tags.c.value)))
    return and_(cast(columns.tags, Text) != "[]", found)  # most have none, which is quickly seen
