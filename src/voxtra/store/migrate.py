"""Bring a database to the tables that this version needs, in one transaction or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, inspect, text

from voxtra.exceptions import ConfigurationError
from voxtra.store.database import Database
from voxtra.store.schema import metadata

__all__ = ["Migrated", "check", "current", "migrate"]

_ONE_AT_A_TIME: Final = 0x766F786D
"""The key of PostgreSQL's lock; on SQLite every writing transaction has the file to itself."""


@dataclass(frozen=True, slots=True)
class Migrated:
    """What a migration did; `from_revision` is None where the database was empty."""

    from_revision: str | None
    to_revision: str


async def migrate(database: Database) -> Migrated:
    """Bring a database to the newest revision; one that is there already is left as it is.

    Any number of processes may do it at once: the others wait for the first. Raises
    `ConfigurationError` for a database of a newer version, and for one that holds other tables.
    """
    async with database.write() as connection:
        if not database.is_sqlite:
            lock = text("SELECT pg_advisory_xact_lock(:key)")
            await connection.execute(lock, {"key": _ONE_AT_A_TIME})
        return await connection.run_sync(_upgrade)


async def current(database: Database) -> str | None:
    """Return the revision of a database, None where nothing has been migrated yet."""
    async with database.read() as connection:
        return await connection.run_sync(_revision)


async def check(database: Database) -> None:
    """Raise `ConfigurationError` unless a database is at the revision that this version needs."""
    found, needed = await current(database), _needed()
    if found == needed:
        return
    if found is not None:
        _refuse_newer(found)
    stands = "empty" if found is None else f"at revision {found}"
    raise ConfigurationError(
        f"the database is {stands} and this version needs {needed}",
        field="database.url",
        fix="Run voxtra migrate",
    )


def _upgrade(connection: Connection) -> Migrated:
    found, needed = _revision(connection), _needed()
    if found == needed:
        return Migrated(found, needed)
    if found is None:
        _refuse_foreign(connection)
    else:
        _refuse_newer(found)
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    return Migrated(found, needed)


def _revision(connection: Connection) -> str | None:
    # Not asked of alembic, which logs two lines each time: readiness is asked every few seconds.
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version"))
    revision: str | None = found.scalar_one_or_none()
    return revision


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", "voxtra.store:migrations")
    return config


@cache
def _needed() -> str:
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None  # noqa: S101  # a package without its migrations is broken
    return head


def _refuse_newer(found: str) -> None:
    try:
        ScriptDirectory.from_config(_config()).get_revision(found)
    except CommandError:
        raise ConfigurationError(
            f"the database is at revision {found}, which this version does not know: "
            "a newer one has migrated it",
            field="database.url",
            fix="Install that version, or name another database",
        ) from None


def _refuse_foreign(connection: Connection) -> None:
    known = sorted(set(inspect(connection).get_table_names()) & set(metadata.tables))
    if known:
        raise ConfigurationError(
            f"the database has tables that no migration of Voxtra made: {', '.join(known)}",
            field="database.url",
            fix="Name an empty database",
        )
