"""A page of 50 out of a million recordings: each filter, each pair of filters, at any depth.

The million is a year of a contact centre, and unkind: agents who never worked in a queue, a queue
that was closed, failures that one direction never has, numbers half of all calls have, tombstones.
Ours is a page by `voxtra.store.listing` in the process, rows and all. Raw is what no list can do
without: sqlite3 alone reads the rows of that very page, whose ids it is told.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from itertools import combinations, islice
from pathlib import Path
from random import Random
from time import perf_counter
from typing import Any, Final, Literal, TypeAlias

from bench.report import Row, percentile
from voxtra.lab.pbx import Pbx
from voxtra.model import CallDirection, RecordingState
from voxtra.store import listing, search
from voxtra.store.database import Database
from voxtra.store.filters import Filter
from voxtra.store.migrate import migrate

__all__ = ["PAGE", "TENANT", "Fetch", "measure", "questions", "stock"]

STOCK: Final = 1_000_000
PAGE: Final = 50
TENANT: Final = "bench"
BEGIN: Final = datetime(2025, 3, 1, tzinfo=UTC)
YEAR: Final = timedelta(days=365)
BATCH: Final = 20_000

Fetch: TypeAlias = Callable[[Filter, str], Awaitable[Sequence[str]]]
"""Gets the page of a filter that comes after an id, and returns the ids in it."""

Aim: TypeAlias = tuple[Literal["<=", ">="], float] | None

_CHOICES: Final[dict[str, Sequence[Any]]] = {
    "call_id": ["call-00000007", "call-00400000", "nobody's"],
    "conference_id": ["board", "weekly"],
    "states": [(each,) for each in (RecordingState.AVAILABLE, RecordingState.FAILED)],
    "direction": list(CallDirection),
    "caller": ["493000001", "493000003", "4915200000", "none"],
    "callee": ["49800000", "49800031", "none"],
    "number": ["555", "493", "800", "0000", "98765", "4980003"],
    "queue": ["queue00", "queue07", "queue19", "closed"],
    "agent": ["agent003", "agent104", "agent199", "nobody"],
    "tag": ["vip", "refund", "rare"],
    "since": [BEGIN + YEAR * part for part in (0.1, 0.5, 0.9)],
    "until": [BEGIN + YEAR * part for part in (0.2, 0.6, 0.95)],
    "min_duration": [5, 61, 600, 1500],
    "max_duration": [4, 59, 3000],
    "text": ["angry", "agent1", "queue0", "refund", "called back", "4915200000"],
    "held": [True, False],
    "deleted": [True],
}


async def measure(
    _pbx: Pbx,
    count: int,
    rows: int = STOCK,
    serve: Callable[[Database], AbstractAsyncContextManager[Fetch]] | None = None,
) -> list[Row]:
    """Ask for `count` pages out of `rows` recordings; `serve` gives another way to get them."""
    with tempfile.TemporaryDirectory(prefix="voxtra-bench-", dir=Path.home()) as name:
        path = Path(name) / "voxtra.db"
        database = Database(f"sqlite:///{path}")
        await migrate(database)
        await asyncio.to_thread(_fill, path, rows)
        async with (serve or _in_process)(database) as fetch:
            taken = await _ask(fetch, path, count)
        await database.close()
    return _found(taken)


def stock(rows: int) -> Iterator[dict[str, Any]]:
    """Yield the columns of so many recordings, oldest first."""
    random = Random(7)
    for number in range(rows):
        at = BEGIN + YEAR * (number / rows)
        milliseconds = int(at.timestamp() * 1000)
        digits = f"{random.getrandbits(72):018x}"
        recording_id = f"{milliseconds:012x}7{digits[:3]}8{digits[3:]}"
        inbound = random.random() < 0.7
        stranger = f"4915{random.getrandbits(30):010d}"
        trunk = f"49300000{random.randrange(5)}"
        main = f"498000{min(random.choices(range(100), k=2)):02d}"
        queue = int(random.random() ** 2 * 20)
        state = "available" if not inbound or random.random() < 0.94 else "failed"
        seconds = random.expovariate(1 / 180)
        tags = ["vip"] * (random.random() < 0.02) + ["refund"] * (
            queue > 9 and random.random() < 0.3
        )
        closed = queue == 3 and number < rows // 3
        yield {
            "id": recording_id,
            "tenant_id": TENANT,
            "name": f"voxtra-{recording_id}",
            "call_id": f"call-{number // 2:08d}",
            "conference_id": "weekly" if number % 2000 == 0 else "",
            "holder_id": recording_id,
            "target": "snoop",
            "target_id": recording_id,
            "format": "wav",
            "layout": "stereo",
            "direction": "inbound" if inbound else "outbound",
            "caller": stranger if inbound else trunk,
            "callee": main if inbound else stranger,
            "queue": "closed" if closed else f"queue{queue:02d}",
            "agent": f"agent{queue * 10 + random.randrange(10):03d}",
            "tags": tags + ["rare"] * (number % 100_000 == 5),
            "note": random.choice(("was angry", "called back twice")) if number % 40 == 0 else "",
            "state": state,
            "duration_ms": int(seconds * 1000) if state == "available" else None,
            "held": number % 300 == 0,
            "requested_at": int(at.timestamp() * 1e6),
            "ended_at": int(at.timestamp() * 1e6),
            "deleted_at": 1 if number % 20 == 3 else None,
        }


def questions(count: int) -> Iterator[tuple[str, Filter, str]]:
    """Yield `count` times what is asked, as a filter, and the id that the page comes after."""
    random = Random(11)
    asked = [(), *((name,) for name in _CHOICES), *combinations(_CHOICES, 2)]
    while True:
        for names in asked:
            if count == 0:
                return
            chosen = {name: random.choice(_CHOICES[name]) for name in names}
            if not _is_backward(chosen):
                at = BEGIN + YEAR * random.random()
                after = f"{int(at.timestamp() * 1000):012x}{0:020x}"
                newest = random.random() < 0.2
                yield " and ".join(names) or "none", Filter(**chosen), "" if newest else after
                count -= 1


def _is_backward(chosen: dict[str, Any]) -> bool:
    ranges = (("since", "until"), ("min_duration", "max_duration"))
    return any(
        low in chosen and high in chosen and chosen[low] > chosen[high] for low, high in ranges
    )


@contextlib.asynccontextmanager
async def _in_process(database: Database) -> AsyncIterator[Fetch]:
    async def fetch(wanted: Filter, after: str) -> Sequence[str]:
        async with database.read() as connection:
            page = await listing.page(connection, TENANT, wanted, size=PAGE, after=after)
        return [row.id for row in page.rows]

    yield fetch


async def _ask(fetch: Fetch, path: Path, count: int) -> dict[str, list[tuple[float, float]]]:
    """Return the milliseconds of each question, ours and raw, by what it was about."""
    taken: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    with contextlib.closing(sqlite3.connect(path)) as raw:
        raw.executescript("PRAGMA cache_size = -65536; PRAGMA mmap_size = 1073741824")
        for _, wanted, after in questions(min(count, 200)):  # the first ones read from the disk
            await fetch(wanted, after)
        for what, wanted, after in questions(count):
            begun = perf_counter()
            ids = await fetch(wanted, after)
            ours = perf_counter() - begun
            marks = ", ".join("?" * len(ids))
            begun = perf_counter()
            raw.execute(f"SELECT * FROM recordings WHERE id IN ({marks})", ids).fetchall()
            taken[what].append((ours * 1000, (perf_counter() - begun) * 1000))
    return taken


def _found(taken: dict[str, list[tuple[float, float]]]) -> list[Row]:
    """Return the rows of the table: all filters, all pairs, and the slowest of them."""
    singles = [each for what, some in taken.items() if " and " not in what for each in some]
    pairs = [each for what, some in taken.items() if " and " in what for each in some]
    found = []
    for what, some in (("one filter", singles), ("two filters", pairs)):
        for percent in (50, 99):
            ours, raw = (percentile([each[side] for each in some], percent) for side in (0, 1))
            aim: Aim = None if percent == 50 else ("<=", 25.0)
            found.append(Row("listing", f"{what}, p{percent}", "ms", ours, raw, aim, "ours"))
    slowest = sorted(taken, key=lambda what: percentile([each[0] for each in taken[what]], 99))
    for what in slowest[-3:]:
        ours, raw = (percentile([each[side] for each in taken[what]], 99) for side in (0, 1))
        found.append(Row("listing", f"{what}, p99", "ms", ours, raw))
    return found


def _fill(path: Path, rows: int) -> None:
    """Write the rows, and their words at once: one by one the triggers would take five minutes."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.executescript("PRAGMA synchronous = OFF; PRAGMA cache_size = -524288")
        name = "recordings_words_insert"
        query = "SELECT sql FROM sqlite_master WHERE name = ?"
        (trigger,) = database.execute(query, (name,)).fetchone()
        database.execute(f"DROP TRIGGER {name}")
        given = stock(rows)
        while some := list(islice(given, BATCH)):
            database.execute("BEGIN")
            columns, marks = ", ".join(some[0]), ", ".join("?" * len(some[0]))
            database.executemany(
                f"INSERT INTO recordings ({columns}) VALUES ({marks})",
                [(*(each | {"tags": json.dumps(each["tags"])}).values(),) for each in some],
            )
            database.executemany(
                "INSERT INTO recording_places VALUES (?, ?)",
                [(search.place_of(each["id"]), each["id"]) for each in some],
            )
            database.execute(
                "INSERT INTO recording_words (rowid, words)"
                f" SELECT place, {search.sqlite_words('new')} FROM recordings AS new"
                " JOIN recording_places ON recording_id = new.id WHERE new.id >= ? ORDER BY place",
                (some[0]["id"],),
            )
            database.execute("COMMIT")
        database.execute(trigger)
