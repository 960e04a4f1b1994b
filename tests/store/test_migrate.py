"""Bringing a database to the tables of this version."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, inspect, text

from voxtra.exceptions import ConfigurationError
from voxtra.store import search
from voxtra.store.database import Database
from voxtra.store.migrate import Migrated, check, current, migrate
from voxtra.store.schema import metadata

HEAD = "0002"


OBJECTS = {
    "sqlite": (
        "SELECT type || ' ' || name, sql FROM sqlite_master"
        " WHERE sql IS NOT NULL AND (type <> 'table' OR sql LIKE 'CREATE VIRTUAL%')"
    ),
    "postgresql": (
        "SELECT 'index ' || indexname, indexdef FROM pg_indexes"
        " WHERE schemaname = 'public' AND indexname NOT LIKE 'alembic%'"
        " UNION ALL SELECT 'function ' || proname, pg_get_functiondef(oid) FROM pg_proc"
        " WHERE pronamespace = 'public'::regnamespace"
    ),
}


def shape(connection: Connection) -> dict[str, Any]:
    """Return what the database says of its tables, indexes, triggers and functions."""
    objects = connection.execute(text(OBJECTS[connection.dialect.name]))
    found: dict[str, Any] = {name: " ".join(made.split()) for name, made in objects}
    inspector = inspect(connection)
    for table in set(inspector.get_table_names()) - {"alembic_version"}:
        found[f"table {table}"] = [
            inspector.get_pk_constraint(table),
            inspector.get_unique_constraints(table),
            inspector.get_foreign_keys(table),
        ]
        for column in inspector.get_columns(table):
            found[f"column {table}.{column['name']}"] = {**column, "type": str(column["type"])}
    return found


async def test_a_migrated_database_is_what_the_code_says(
    database: Database, tmp_path: Path
) -> None:
    """A migrated database has every table, column, default, key and index of the schema, and what
    the search keeps beside them, and nothing else.
    """
    async with database.read() as connection:
        migrated = await connection.run_sync(shape)
    other = Database(f"sqlite:///{tmp_path}/made.db") if database.is_sqlite else database
    async with other.write() as connection:
        if not database.is_sqlite:
            await connection.execute(text("DROP SCHEMA public CASCADE"))
            await connection.execute(text("CREATE SCHEMA public"))
        await connection.run_sync(metadata.create_all)
        for statement in search.DDL[connection.dialect.name]:
            await connection.exec_driver_sql(statement)
        made = await connection.run_sync(shape)
    await other.close()
    assert migrated == made


async def test_an_empty_database_is_migrated_once(empty: Database) -> None:
    """The first migration says from where to where it went; a second one changes nothing."""
    assert await current(empty) is None
    assert await migrate(empty) == Migrated(None, HEAD)
    assert await current(empty) == HEAD
    assert await migrate(empty) == Migrated(HEAD, HEAD)
    await check(empty)


async def test_an_empty_database_is_not_fit(empty: Database) -> None:
    """A service that finds an empty database says which revision it needs, and what to run."""
    with pytest.raises(
        ConfigurationError,
        match=rf"database\.url: the database is empty and .* needs {HEAD}\. Run voxtra migrate",
    ):
        await check(empty)


async def test_to_look_is_no_event(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    """Checks and looks, which are made often, write nothing into the log."""
    caplog.set_level(logging.INFO)
    await check(database)
    assert await current(database) == HEAD
    assert caplog.records == []


async def test_a_database_of_a_newer_version_is_left_alone(database: Database) -> None:
    """A database at a revision that this version does not know is neither used nor changed."""
    async with database.write() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = 'f00d'"))
    for refuse in (check, migrate):
        with pytest.raises(ConfigurationError, match=r"f00d, which .* Install that version"):
            await refuse(database)
    assert await current(database) == "f00d"


async def test_a_database_of_another_program_is_left_alone(empty: Database) -> None:
    """A database that has a table of such a name already, by whomever, is not touched."""
    async with empty.write() as connection:
        await connection.execute(text("CREATE TABLE calls (a INTEGER)"))
    with pytest.raises(ConfigurationError, match=r"no migration of Voxtra made: calls"):
        await migrate(empty)
    assert await current(empty) is None


async def test_a_migration_that_fails_leaves_nothing(
    empty: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A migration that can't be carried out to its end takes back every table it made."""

    def refuse(*_arguments: object, **_options: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        # The last thing that a revision does is to note its number.
        patched.setattr("alembic.runtime.migration.HeadMaintainer.update_to_step", refuse)
        with pytest.raises(ZeroDivisionError):
            await migrate(empty)
    assert await migrate(empty) == Migrated(None, HEAD)


async def test_processes_that_migrate_at_once_wait_for_each_other(empty_url: str) -> None:
    """Of two processes that migrate a database at once one does it, the other finds it done."""
    program = (
        "import asyncio, sys\n"
        "from voxtra.store.database import Database\n"
        "from voxtra.store.migrate import migrate\n"
        "async def main():\n"
        "    database = Database(sys.argv[1])\n"
        "    print('ready', flush=True)\n"
        "    sys.stdin.readline()\n"
        "    print((await migrate(database)).from_revision)\n"
        "    await database.close()\n"
        "asyncio.run(main())\n"
    )
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            program,
            empty_url,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for _ in range(2)
    ]
    for each in processes:
        assert each.stdout is not None
        await each.stdout.readline()
    said = await asyncio.gather(*(each.communicate(b"\n") for each in processes))
    assert sorted(out.decode().strip() for out, _ in said) == [HEAD, "None"]


async def test_tasks_that_migrate_at_once_wait_for_each_other(empty: Database) -> None:
    """Of several tasks of one process that migrate a database at once, too, one does it."""
    done = await asyncio.gather(*(migrate(empty) for _ in range(3)))
    assert sorted(str(each.from_revision) for each in done) == [HEAD, HEAD, "None"]


def test_there_is_no_way_back() -> None:
    """No revision offers to undo itself, which would throw rows away: to go back is a backup."""
    versions = Path(sys.modules[migrate.__module__].__file__ or "").parent / "migrations/versions"
    revisions = sorted(versions.glob("*.py"))
    assert revisions
    assert not [each.name for each in revisions if "def downgrade" in each.read_text()]
