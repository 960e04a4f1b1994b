"""Fixtures of databases: each test has a fresh, migrated, empty one, on SQLite and on PostgreSQL.

`database` runs a test on both, `another()` connects to it once more, `database_url` is its URL for
a test that gives it to another process; `sqlite_url` and `postgres_url` are for tests of one kind.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from tests.postgres import MISSING, PostgresServer, find_programs
from voxtra.ids import new_id
from voxtra.store import database as database_module
from voxtra.store.database import Database
from voxtra.store.migrate import migrate

__all__ = [
    "another",
    "database",
    "database_url",
    "empty",
    "empty_url",
    "migrated_postgres",
    "migrated_sqlite",
    "postgres",
    "postgres_url",
    "sqlite_url",
]

BOTH = ("sqlite", "postgresql")


database_module.SYNCHRONOUS = "OFF"  # 6 ms for each commit of thousands of tests


async def _migrate(url: str) -> None:
    made = Database(url)
    await migrate(made)
    await made.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One server for the whole run: our own, or the one that VOXTRA_TEST_POSTGRES_URL names."""
    if url := os.environ.get("VOXTRA_TEST_POSTGRES_URL"):
        yield PostgresServer.of(url)
        return
    programs = find_programs()
    if programs is None:
        if os.environ.get("CI"):
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    with PostgresServer.start(programs) as server:
        yield server


@pytest.fixture(scope="session")
def migrated_postgres(postgres: PostgresServer) -> Iterator[str]:
    """Return the name of a migrated database, of which tests get copies."""
    name = f"voxtra_{new_id()}"
    url = postgres.create(name)
    try:
        asyncio.run(_migrate(url))
        yield name
    finally:
        postgres.drop(name)


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a migrated file, of which tests get copies."""
    path = tmp_path_factory.mktemp("sqlite") / "migrated.db"
    asyncio.run(_migrate(f"sqlite:///{path}"))
    return path


@pytest.fixture
def postgres_url(postgres: PostgresServer, migrated_postgres: str) -> Iterator[str]:
    """Return the URL of a fresh, migrated database on PostgreSQL."""
    name = f"voxtra_{new_id()}"
    yield postgres.create(name, template=migrated_postgres)
    postgres.drop(name)


@pytest.fixture
def sqlite_url(migrated_sqlite: Path, tmp_path: Path) -> str:
    """Return the URL of a fresh, migrated SQLite file."""
    shutil.copy(migrated_sqlite, tmp_path / "voxtra.db")
    return f"sqlite:///{tmp_path / 'voxtra.db'}"


@pytest.fixture(params=BOTH)
def database_url(request: pytest.FixtureRequest) -> str:
    """Return the URL of a fresh, migrated database, on each kind in turn."""
    fixture = "sqlite_url" if request.param == "sqlite" else "postgres_url"
    return str(request.getfixturevalue(fixture))


@pytest.fixture(params=BOTH)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Return the URL of a database without any table, on each kind in turn."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    name = f"voxtra_{new_id()}"
    yield server.create(name)
    server.drop(name)


@pytest.fixture
async def empty(empty_url: str) -> AsyncIterator[Database]:
    """Return a database without any table, on each kind in turn."""
    made = Database(empty_url)
    yield made
    await made.close()


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """Return a fresh, migrated, empty database, on each kind in turn.

    It does not listen to other processes until the test opens it.
    """
    made = Database(database_url)
    yield made
    await made.close()


@pytest.fixture
async def another(database_url: str) -> AsyncIterator[Callable[[], Database]]:
    """Return a function that connects to the database once more, as another process would."""
    made: list[Database] = []

    def connect() -> Database:
        made.append(Database(database_url))
        return made[-1]

    yield connect
    for each in made:
        await each.close()
