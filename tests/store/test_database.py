"""Connections, transactions, and word of what was committed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import stat
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import insert, make_url, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.postgres import PostgresServer
from voxtra.exceptions import ConfigurationError
from voxtra.store import database as database_module
from voxtra.store.database import Database, wake
from voxtra.store.schema import tenants

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)


async def add(connection: AsyncConnection, name: str) -> None:
    """Write one row."""
    await connection.execute(insert(tenants).values(id=name, created_at=NOW))


async def names(database: Database) -> list[str]:
    """Return the rows that are there."""
    async with database.read() as connection:
        found = await connection.execute(select(tenants.c.id).order_by(tenants.c.id))
        return list(found.scalars())


async def count_up(database: Database, times: int) -> None:
    """Read a number and write the next, in one transaction, several times."""
    for _ in range(times):
        async with database.write() as connection:
            days = (await connection.execute(select(tenants.c.retention_days))).scalar_one()
            await connection.execute(update(tenants).values(retention_days=days + 1))


async def fail(database: Database, topic: str) -> None:
    """Begin a transaction that would wake a topic, and fail in it."""
    async with database.write() as connection:
        await add(connection, "a")
        wake(connection, topic)
        raise ZeroDivisionError


async def test_what_was_written_is_there_for_every_reader(database: Database) -> None:
    """A transaction that ends well is visible on every connection afterwards."""
    async with database.write() as connection:
        await add(connection, "a")
        await add(connection, "b")
    assert await asyncio.gather(*(names(database) for _ in range(4))) == [["a", "b"]] * 4


async def test_an_error_takes_everything_back(database: Database) -> None:
    """An error in a transaction leaves nothing of it, wakes nobody and goes on to the caller."""
    with database.signals.subscribe("jobs") as signal:
        with pytest.raises(ZeroDivisionError):
            await fail(database, "jobs")
        assert not signal.is_set()
    assert await names(database) == []


async def test_a_refused_statement_takes_back_those_before_it(database: Database) -> None:
    """A statement that the database refuses undoes its whole transaction."""

    async def write_twice() -> None:
        async with database.write() as connection:
            await add(connection, "a")
            await add(connection, "a")

    with pytest.raises(DBAPIError):
        await write_twice()
    assert await names(database) == []


async def test_a_cancelled_transaction_leaves_nothing_and_blocks_nobody(
    database: Database,
) -> None:
    """A task that is cancelled in the middle of its transaction takes it back and frees the way."""
    inside = asyncio.Event()

    async def write_for_ever() -> None:
        async with database.write() as connection:
            await add(connection, "a")
            inside.set()
            await asyncio.Event().wait()

    writing = asyncio.create_task(write_for_ever())
    await inside.wait()
    # Who waits for the writer may be cancelled, too.
    waiting = asyncio.create_task(write_for_ever())
    await asyncio.sleep(0)
    for task in (waiting, writing):
        task.cancel()
    await asyncio.gather(waiting, writing, return_exceptions=True)

    async with database.write() as connection:
        await add(connection, "b")
    assert await names(database) == ["b"]


async def test_a_signal_comes_after_the_commit(database: Database) -> None:
    """Who is woken by a transaction finds its rows."""
    with database.signals.subscribe("jobs") as signal:

        async def look() -> list[str]:
            await signal.wait()
            return await names(database)

        looking = asyncio.create_task(look())
        async with database.write() as connection:
            wake(connection, "jobs")
            await add(connection, "a")
            await names(database)  # the other task runs here, and must not have been woken
            assert not signal.is_set()
        assert await looking == ["a"]


async def test_signals_are_told_to_those_who_want_their_topic() -> None:
    """A topic wakes its subscribers, each as often as it clears its event, and nobody else."""
    signals = database_module.Signals()
    with signals.subscribe("jobs") as one, signals.subscribe("events") as other:
        signals.fire("jobs")
        signals.fire("jobs")
        assert (one.is_set(), other.is_set()) == (True, False)
        one.clear()
        signals.fire_all()
        assert one.is_set()
        assert other.is_set()
        one.clear()
    signals.fire("jobs")
    assert not one.is_set()


async def test_reading_does_not_wait_for_a_writer(database: Database) -> None:
    """A reader sees the state before an open transaction, at once."""
    async with database.write() as connection:
        await add(connection, "a")
        async with asyncio.timeout(5):
            assert await names(database) == []
    assert await names(database) == ["a"]


async def test_many_more_readers_than_connections_all_read(database: Database) -> None:
    """Readers beyond the number of connections wait for one, and each gets its rows."""
    async with database.write() as connection:
        await add(connection, "a")
    found = await asyncio.gather(*(names(database) for _ in range(60)))
    assert found == [["a"]] * 60


async def test_writers_of_one_process_do_not_lose_each_others_work(sqlite_url: str) -> None:
    """On SQLite writing transactions come one after another, so what they read stays true."""
    database = Database(sqlite_url)
    async with database.write() as connection:
        await connection.execute(insert(tenants).values(id="a", retention_days=0, created_at=NOW))
    await asyncio.gather(*(count_up(database, 5) for _ in range(8)))
    async with database.read() as connection:
        days = await connection.execute(select(tenants.c.retention_days))
        assert days.scalar_one() == 40
    await database.close()


async def test_writers_of_two_processes_do_not_lose_each_others_work(sqlite_url: str) -> None:
    """On SQLite the writer of another process is waited for, and what it wrote is seen."""
    database = Database(sqlite_url)
    async with database.write() as connection:
        await connection.execute(insert(tenants).values(id="a", retention_days=0, created_at=NOW))
    other = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "import asyncio, sys\n"
        "from tests.store.test_database import Database, count_up\n"
        "async def main():\n"
        "    database = Database(sys.argv[1])\n"
        "    print('ready', flush=True)\n"
        "    await count_up(database, 60)\n"
        "    await database.close()\n"
        "asyncio.run(main())\n",
        sqlite_url,
        cwd=Path(__file__).parents[2],
        stdout=asyncio.subprocess.PIPE,
    )
    assert other.stdout is not None
    await other.stdout.readline()
    await count_up(database, 60)
    assert await other.wait() == 0
    async with database.read() as connection:
        days = await connection.execute(select(tenants.c.retention_days))
        assert days.scalar_one() == 120
    await database.close()


async def test_a_reading_connection_of_sqlite_can_not_write(sqlite_url: str) -> None:
    """On SQLite a statement that writes is refused where only reading was asked for."""
    database = Database(sqlite_url)
    with pytest.raises(DBAPIError, match="readonly"):
        async with database.read() as connection:
            await add(connection, "a")
    await database.close()


@pytest.mark.parametrize(("durable", "mode"), [(True, 2), (False, 1)])
async def test_a_commit_of_sqlite_is_on_the_disk(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, durable: bool, mode: int
) -> None:
    """On SQLite a commit waits for the disk (FULL) unless it need not (NORMAL), and for no reader
    (WAL).
    """
    monkeypatch.setattr(database_module, "SYNCHRONOUS", "FULL")
    database = Database(sqlite_url)
    async with database.write(durable=durable) as connection:
        found = (await connection.execute(text("PRAGMA synchronous"))).scalar_one()
        journal = (await connection.execute(text("PRAGMA journal_mode"))).scalar_one()
    await database.close()
    assert (found, journal) == (mode, "wal")


async def test_the_file_is_for_its_owner_only(tmp_path: Path) -> None:
    """A new SQLite file, which holds secrets, can be read by its owner alone, its log as well."""
    path = tmp_path / "deep" / "down" / "voxtra.db"
    database = Database(f"sqlite:///{path}")
    async with database.write() as connection:
        await connection.execute(text("CREATE TABLE a (b)"))
        modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}
    await database.close()
    assert modes == dict.fromkeys(("voxtra.db", "voxtra.db-wal", "voxtra.db-shm"), 0o600)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "voxtra.db",
        "mysql://localhost/voxtra",
        "postgresql+psycopg://localhost/voxtra",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite+aiosqlite:///voxtra.db",
    ],
)
def test_a_url_of_another_kind_is_refused(url: str) -> None:
    """A URL that names no SQLite file and no PostgreSQL database is an error of its setting."""
    with pytest.raises(ConfigurationError) as caught:
        Database(url)
    assert caught.value.field == "database.url"


def test_a_file_that_can_not_be_made_is_an_error_of_the_setting(tmp_path: Path) -> None:
    """A SQLite file below something that is no folder is refused with what to do."""
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"database\.url: .*Name a file in a folder"):
        Database(f"sqlite:///{tmp_path}/file/voxtra.db")


def test_the_password_is_not_shown() -> None:
    """What a database prints of itself hides the password."""
    shown = repr(Database("postgresql://voxtra:secret-word@localhost/voxtra"))
    assert "secret-word" not in shown
    assert "localhost" in shown


@contextlib.asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    """Give a database that listens already."""
    database = Database(url)
    with database.signals.subscribe("ready") as ready:
        await database.open()
        await asyncio.wait_for(ready.wait(), 10)
    yield database
    await database.close()


async def tell(database: Database, topic: str) -> None:
    """Commit a transaction that wakes a topic."""
    async with database.write() as connection:
        wake(connection, topic)


async def test_another_process_hears_of_a_commit(postgres_url: str) -> None:
    """On PostgreSQL a topic wakes the subscribers of every process, once it is committed."""
    async with opened(postgres_url) as one, opened(postgres_url) as other:
        with other.signals.subscribe("jobs") as jobs, other.signals.subscribe("events") as events:
            with pytest.raises(ZeroDivisionError):
                await fail(one, "events")
            await tell(one, "jobs")
            await asyncio.wait_for(jobs.wait(), 10)
            assert not events.is_set()


async def test_who_lost_its_connection_listens_again(postgres_url: str) -> None:
    """A listener whose connection the server ended looks for what it missed, and hears on."""
    async with opened(postgres_url) as one, opened(postgres_url) as other:
        with other.signals.subscribe("jobs") as signal:
            async with one.read() as connection:
                ended = await connection.execute(
                    text(
                        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                        " WHERE datname = current_database() AND query LIKE 'LISTEN%'"
                    )
                )
                assert ended.scalar_one() == 2
            await asyncio.wait_for(signal.wait(), 10)  # word may have been missed: look
            signal.clear()
            await tell(one, "jobs")
            await asyncio.wait_for(signal.wait(), 10)


async def test_a_transaction_after_a_lost_connection_works(
    postgres: PostgresServer, postgres_url: str
) -> None:
    """Connections that the server ended while nobody used them are not handed out."""
    database = Database(postgres_url)
    assert await names(database) == []
    server = await asyncpg.connect(postgres.url.render_as_string(hide_password=False))
    await server.fetch(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1",
        database.url.database,
    )
    await server.close()
    async with database.write() as connection:
        await add(connection, "a")
    assert await names(database) == ["a"]
    await database.close()


class Link:
    """A TCP link to a server that can fall silent: what is connected then hears nothing more."""

    def __init__(self, host: str, port: int) -> None:
        self._far = (host, port)
        self._silent: list[asyncio.Event] = []
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def up(self) -> AsyncIterator[int]:
        server = await asyncio.start_server(self._join, "127.0.0.1", 0)
        try:
            yield int(server.sockets[0].getsockname()[1])
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def fall_silent(self) -> None:
        for each in self._silent:
            each.set()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(*self._far)
        silent = asyncio.Event()
        self._silent.append(silent)
        for source, target in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.create_task(self._carry(source, target, silent))
            self._tasks.add(task)

    async def _carry(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, silent: asyncio.Event
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                if not silent.is_set():
                    target.write(data)
                    await target.drain()
        target.close()


async def test_a_link_that_died_without_a_word_is_noticed(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listener asks for a sign of life, and connects anew when there is none."""
    monkeypatch.setattr(database_module, "PROBE", 0.1)
    monkeypatch.setattr(database_module, "PROBE_TIMEOUT", 1.0)
    direct = make_url(postgres_url)
    link = Link(str(direct.host), int(direct.port or 5432))
    async with link.up() as port:
        url = direct.set(port=port).render_as_string(hide_password=False)
        async with opened(postgres_url) as one, opened(url) as other:
            with other.signals.subscribe("jobs") as signal:
                link.fall_silent()
                await asyncio.wait_for(signal.wait(), 10)
                signal.clear()
                await tell(one, "jobs")
                await asyncio.wait_for(signal.wait(), 10)


class Said(logging.Handler):
    """Sets an event when something is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.event = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.event.set()


async def test_a_listener_waits_for_a_database_that_is_not_there_yet(
    postgres: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A database that can't be reached is said in the log, and tried again until it is there."""
    name = "voxtra_not_there_yet"
    database = Database(postgres.database(name))
    said = Said()
    database_module.log.addHandler(said)
    with database.signals.subscribe("jobs") as signal:
        await database.open()
        await asyncio.wait_for(said.event.wait(), 10)
        database_module.log.removeHandler(said)
        server = await asyncpg.connect(postgres.url.render_as_string(hide_password=False))
        await server.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        await asyncio.wait_for(signal.wait(), 20)
        await database.close()
        await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await server.close()
    assert 'listened to: database "voxtra_not_there_yet" does not exist' in caplog.text


async def test_a_url_may_have_the_parameters_of_libpq(postgres_url: str) -> None:
    """What libpq takes after a `?` is understood by the connections and by the listener."""
    url = f"{postgres_url}?sslmode=disable&application_name=voxtra-a"
    async with opened(url) as database, database.read() as connection:
        found = await connection.execute(
            text("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'voxtra-a'")
        )
        assert found.scalar_one() == 2
