"""One database, SQLite or PostgreSQL: connections, transactions, and word of what was committed.

SQLite has one writer: all writing transactions of a process go through one connection, one after
another, and begin with BEGIN IMMEDIATE, so that one of another process is waited for at the start
and never found in the middle. Readers have connections of their own and wait for nobody (WAL).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, Literal

import asyncpg
import msgspec
from sqlalchemy import URL, Table, bindparam, event, func, make_url, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from voxtra.exceptions import ConfigurationError
from voxtra.posting import encode_json
from voxtra.retry import delays
from voxtra.store.sqlite import connector

__all__ = ["Database", "Signals", "insert_into", "wake"]

log = logging.getLogger(__name__)

READERS: Final = 8
"""Connections for reading; the ninth reader waits for one of them."""

BUSY_TIMEOUT: Final = 30.0
"""Seconds that SQLite waits for the writer of another process."""

SYNCHRONOUS: Literal["FULL", "OFF"] = "FULL"
"""How a durable commit is made on SQLite; the tests, whose databases last a second, put it OFF."""

CHANNEL: Final = "voxtra"
"""The channel of PostgreSQL's NOTIFY."""

PROBE: Final = 30.0
"""Seconds of silence after which a listening connection has to answer: the far end of one may be
gone without a word.
"""

PROBE_TIMEOUT: Final = 10.0
"""Seconds that such an answer, and making a connection, may take."""

_TOPICS: Final = "voxtra.topics"
_DURABLE: Final = "voxtra.durable"


class Signals:
    """Wakes who waits for work of a topic.

    A subscriber that is busy finds its event set afterwards: nothing is missed, and any number of
    signals meanwhile are one.
    """

    def __init__(self) -> None:
        self._events: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    def fire(self, topic: str) -> None:
        """Wake everybody who subscribed to a topic."""
        for each in self._events[topic]:
            each.set()

    def fire_all(self) -> None:
        """Wake everybody: word may have been missed."""
        for topic in list(self._events):
            self.fire(topic)

    @contextlib.contextmanager
    def subscribe(self, topic: str) -> Iterator[asyncio.Event]:
        """Give an `asyncio.Event` that is set whenever the topic is fired; its owner clears it."""
        signal = asyncio.Event()
        self._events[topic].add(signal)
        try:
            yield signal
        finally:
            self._events[topic].discard(signal)


class Database:
    """A database by URL: `sqlite:///voxtra.db` (a file) or `postgresql://user:password@host/name`.

    Raises `ConfigurationError` for any other URL.
    """

    def __init__(self, url: str) -> None:
        self.url = _checked(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.signals = Signals()
        self._readers, self._writer = self._engines()
        self._listening: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Database {self.url.render_as_string(hide_password=True)}>"

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """Give a connection to read with."""
        async with self._readers.connect() as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def write(self, *, durable: bool = True) -> AsyncIterator[AsyncConnection]:
        """Give a connection in a transaction: committed at the end, rolled back by an error.

        A durable commit, and all before it, is on the disk when the block is left. One that is not
        outlives this process, but a power cut may undo it (6 ms for the one, 0.1 ms for the other
        on SQLite): it is for what would be found out again. Topics that were handed to `wake` are
        fired after the commit.
        """
        topics: set[str] = set()
        async with self._writer.connect() as connection:
            info = _info(connection)
            info[_TOPICS], info[_DURABLE] = topics, durable
            try:
                async with connection.begin():
                    if not self.is_sqlite and not durable:
                        await connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
                    yield connection
                    if not self.is_sqlite:
                        await _notify(connection, topics)
            finally:
                info.pop(_TOPICS, None)
            for topic in topics:
                self.signals.fire(topic)

    async def open(self) -> None:
        """Begin to hear what other processes commit (PostgreSQL; with SQLite nobody tells)."""
        if not self.is_sqlite and self._listening is None:
            self._listening = asyncio.create_task(self._listen())

    async def close(self) -> None:
        """Let go of all connections."""
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
            self._listening = None
        await self._readers.dispose()
        if self._writer is not self._readers:
            await self._writer.dispose()

    def _engines(self) -> tuple[AsyncEngine, AsyncEngine]:
        if not self.is_sqlite:
            # By asyncpg alone, like the listening one: then "?sslmode=..." in a URL is understood.
            engine = create_async_engine(
                "postgresql+asyncpg://",
                async_creator=self._connect,
                json_serializer=_json,
                hide_parameters=True,  # the text of an error is logged, and they hold secrets
                pool_size=READERS,
                max_overflow=READERS,
                pool_pre_ping=True,
            )
            return engine, engine
        connect: Any = connector(str(self.url.database), BUSY_TIMEOUT)
        readers, writer = (
            create_async_engine(
                "sqlite+aiosqlite://",
                async_creator=connect,
                poolclass=AsyncAdaptedQueuePool,
                pool_size=size,
                max_overflow=0,
                json_serializer=_json,
                hide_parameters=True,
            )
            for size in (READERS, 1)
        )
        event.listen(readers.sync_engine, "connect", _prepare_reader)
        event.listen(writer.sync_engine, "connect", _prepare_writer)
        event.listen(writer.sync_engine, "begin", _begin_immediate)
        return readers, writer

    async def _connect(self) -> asyncpg.Connection[asyncpg.Record]:
        dsn = self.url.render_as_string(hide_password=False)
        return await asyncpg.connect(dsn, timeout=PROBE_TIMEOUT)

    async def _listen(self) -> None:
        """Fire what other processes notify, connected again whenever that breaks."""
        waits = delays(0.5, cap=30.0)
        while True:
            try:
                connection = await self._connect()
                try:
                    await connection.add_listener(
                        CHANNEL, lambda _connection, _pid, _channel, topic: self.signals.fire(topic)
                    )
                    waits = delays(0.5, cap=30.0)
                    self.signals.fire_all()
                    await _until_broken(connection)
                finally:
                    connection.terminate()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                log.warning("the database can't be listened to: %s", error or type(error).__name__)
            await asyncio.sleep(next(waits))


async def _until_broken(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """Return when a connection was closed; raise what it fails with when it no longer answers."""
    closed = asyncio.Event()
    connection.add_termination_listener(lambda _connection: closed.set())
    while not connection.is_closed():
        try:
            await asyncio.wait_for(closed.wait(), PROBE)
        except TimeoutError:
            await connection.execute("SELECT 1", timeout=PROBE_TIMEOUT)


async def _notify(connection: AsyncConnection, topics: Iterable[str]) -> None:
    tell = select(func.pg_notify(CHANNEL, bindparam("topic")))
    for topic in sorted(topics):
        await connection.execute(tell, {"topic": topic})


def _json(value: object) -> str:
    """Return JSON for a column of any value: what a PBX or a handler said may be none, and
    PostgreSQL has no form for the character 0.
    """
    made = encode_json(value)
    if b"\\u0000" in made:
        made = encode_json(_without_nul(msgspec.json.decode(made)))
    return made.decode()


def _without_nul(value: object) -> object:
    if isinstance(value, str):
        return value.replace("\0", "\N{REPLACEMENT CHARACTER}")
    if isinstance(value, list):
        return [_without_nul(each) for each in value]
    if isinstance(value, dict):
        return {_without_nul(key): _without_nul(each) for key, each in value.items()}
    return value


def _info(connection: AsyncConnection) -> dict[Any, Any]:
    """Return what is noted about a connection, where functions that are handed it find it."""
    assert connection.sync_connection is not None  # noqa: S101  # it is connected
    return connection.sync_connection.info


def wake(connection: AsyncConnection, *topics: str) -> None:
    """Have topics fired when the transaction of this connection, a writing one, is committed."""
    _info(connection)[_TOPICS].update(topics)


def insert_into(connection: AsyncConnection, table: Table) -> postgresql.Insert | sqlite.Insert:
    """Return an INSERT that knows what to do about a conflict (`on_conflict_do_...`)."""
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


def _checked(url: str) -> URL:
    try:
        made = make_url(url)
    except ArgumentError:
        made = None
    if made is None or made.drivername not in ("sqlite", "postgresql"):
        raise ConfigurationError(
            "is neither sqlite:///FILE nor postgresql://USER:PASSWORD@HOST/NAME",
            field="database.url",
        )
    if made.drivername == "sqlite" and made.database in (None, "", ":memory:"):
        raise ConfigurationError(
            "names no file; rows in memory would be gone with the process",
            field="database.url",
            fix="Write for example sqlite:///voxtra.db",
        )
    if made.drivername == "sqlite":
        _make_file(Path(str(made.database)))
    return made


def _make_file(path: Path) -> None:
    """Make the file of a database, for nobody else to read: it holds the secrets of webhooks."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
    except OSError as error:
        raise ConfigurationError(
            f"{path} can't be made: {error.strerror}",
            field="database.url",
            fix="Name a file in a folder that this user may write to",
        ) from error


def _prepare_reader(connection: Any, _record: object) -> None:
    _run(connection, ("PRAGMA journal_mode = WAL", "PRAGMA query_only = ON", *_COMMON))


def _prepare_writer(connection: Any, _record: object) -> None:
    _run(connection, ("PRAGMA journal_mode = WAL", *_COMMON))


_COMMON: Final = ("PRAGMA cache_size = -65536", "PRAGMA mmap_size = 1073741824")


def _run(connection: Any, statements: Iterable[str]) -> None:
    # Python's own handling of transactions would begin them late, and never with IMMEDIATE.
    connection.isolation_level = None
    cursor = connection.cursor()
    for statement in statements:
        cursor.execute(statement)
    cursor.close()


def _begin_immediate(connection: Any) -> None:
    # A commit with FULL syncs the log, and so what was committed with NORMAL before it.
    mode = SYNCHRONOUS if connection.info.get(_DURABLE, True) else "NORMAL"
    connection.exec_driver_sql(f"PRAGMA synchronous = {mode}")
    connection.exec_driver_sql("BEGIN IMMEDIATE")
