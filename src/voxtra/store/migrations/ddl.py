"""How a revision spells tables out. Released revisions read this, so what it says never changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

__all__ = [
    "BOOL",
    "FLOAT",
    "INT",
    "JSON",
    "LONG",
    "SEQUENCE",
    "TEXT",
    "TIME",
    "column",
    "index",
    "run_file",
    "table",
]

BOOL: Final = sa.Boolean()
FLOAT: Final = sa.Float()
INT: Final = sa.Integer()
JSON: Final = sa.JSON().with_variant(JSONB(), "postgresql")
LONG: Final = sa.BigInteger()
SEQUENCE: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT: Final = sa.Text()
TIME: Final = sa.BigInteger()


def column(
    name: str, kind: sa.types.TypeEngine[Any], default: Any = None, *, null: bool = False
) -> sa.Column[Any]:
    """Return a column, NOT NULL unless `null`; a default is text, or a clause as it is."""
    return sa.Column(name, kind, server_default=default, nullable=null)


def table(
    name: str, *parts: sa.schema.SchemaItem, key: tuple[str, ...] = ("id",), **options: bool
) -> None:
    """Make a table with its primary key."""
    op.create_table(name, *parts, sa.PrimaryKeyConstraint(*key, name=f"pk_{name}"), **options)


def index(
    name: str, on: str, *columns: str, unique: bool = False, where: str | None = None
) -> None:
    """Make an index on a table, of the rows only for which `where` holds."""
    only = None if where is None else sa.text(where)
    op.create_index(
        name, on, list(columns), unique=unique, sqlite_where=only, postgresql_where=only
    )


def run_file(name: str) -> None:
    """Run the statements of `versions/NAME.sqlite.sql` or `.postgresql.sql`, between which there is
    a line `-- then`.
    """
    connection = op.get_bind()
    path = Path(__file__).parent / "versions" / f"{name}.{connection.dialect.name}.sql"
    for statement in path.read_text().split("\n-- then\n"):
        connection.exec_driver_sql(statement)
