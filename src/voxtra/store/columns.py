"""Kinds of columns: how a moment, a number, a flag and JSON are kept, alike on both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Integer,
    MetaData,
    Text,
    false,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeDecorator

__all__ = [
    "Sequence",
    "UtcTime",
    "count",
    "flag",
    "identity",
    "json",
    "metadata",
    "string",
    "time",
    "utc_now",
]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class UtcTime(TypeDecorator[datetime]):
    """A moment: an aware datetime here, microseconds since 1970 there."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Return the integer of a datetime; a naive one is an error."""
        return None if value is None else (value - _EPOCH) // timedelta(microseconds=1)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        """Return the datetime of an integer."""
        return None if value is None else _EPOCH + timedelta(microseconds=value)


def utc_now() -> datetime:
    """Return the time in UTC."""
    return datetime.now(UTC)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite numbers rows by itself only where the column is its INTEGER PRIMARY KEY.
Sequence = BigInteger().with_variant(Integer, "sqlite")
_Json = JSON().with_variant(JSONB, "postgresql")


def identity(name: str = "id") -> Column[str]:
    """Return the column of ids."""
    return Column(name, Text, primary_key=True)


def string(name: str, default: str = "") -> Column[str]:
    """Return a column of text, never null."""
    return Column(name, Text, nullable=False, server_default=default)


def count(name: str, default: int = 0) -> Column[int]:
    """Return a column of whole numbers, never null."""
    return Column(name, BigInteger, nullable=False, server_default=text(str(default)))


def flag(name: str) -> Column[bool]:
    """Return a column of true and false, false at first."""
    return Column(name, Boolean, nullable=False, server_default=false())


def time(name: str, *, required: bool = False) -> Column[datetime]:
    """Return a column of moments, null until it has come to that unless `required`."""
    return Column(name, UtcTime, nullable=not required)


def json(name: str, default: str = "{}") -> Column[Any]:
    """Return a column of JSON, never null; `default` is the text of its first value."""
    return Column(name, _Json, nullable=False, server_default=text(f"'{default}'"))
