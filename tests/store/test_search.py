"""The words of recordings: which there are, and that the databases keep them by themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import (
    ARRAY,
    Select,
    Text,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    select,
    text,
    update,
)

from tests.store.making import ENDED, add_recording, add_tenant
from tests.store.population import recording
from voxtra.store import search, tombstones
from voxtra.store.database import Database
from voxtra.store.schema import recordings
from voxtra.store.search import durations, lowered, match, parts, places, scoped

TENANT = "acme"

seconds = st.integers(0, 4**9 + 100)


@pytest.fixture
async def on_sqlite(sqlite_url: str) -> AsyncIterator[Database]:
    """Return an empty database on SQLite."""
    made = Database(sqlite_url)
    yield made
    await made.close()


@pytest.fixture
async def on_postgresql(postgres_url: str) -> AsyncIterator[Database]:
    """Return an empty database on PostgreSQL."""
    made = Database(postgres_url)
    yield made
    await made.close()


def words_for(length: int) -> set[tuple[str, str]]:
    """Return kind and value of the words that a duration in seconds must have."""
    length = min(length, 4**9 - 1)
    reached = {("from", str(level)) for level in range(9) if length >= 4**level}
    return reached | {(f"d{level}", str(length // 4**level)) for level in range(9)}


@given(low=seconds, high=seconds | st.just(10**9), length=seconds)
def test_a_duration_has_a_word_of_a_range_if_it_is_in_it(low: int, high: int, length: int):
    """A duration has exactly one of the words of a range that it is in, and none of another's;
    three days and more are one duration.
    """
    own = words_for(length)
    words = list(durations(low, high))
    assert len(words) <= 54
    low, high, length = (min(each, 4**9 - 1) for each in (low, high, length))
    assert len(own.intersection(words)) == (low <= length <= high)


_words = st.lists(st.text(), min_size=1, max_size=2).map(tuple)


@given(st.lists(st.lists(_words, min_size=1, max_size=2).map(tuple), min_size=1, max_size=3))
def test_an_expression_holds_nothing_but_hex_digits(words: list[search.Words]):
    """Whatever the words are, the index is asked for hex digits joined by AND and OR."""
    left = match(words)
    for each in ("(", ")", "AND", "OR", " "):
        left = left.replace(each, "")
    assert left == "".join(w.encode().hex() for some in words for each in some for w in each)


def pieces(kind: str, text: str) -> set[str]:
    """Return the words for every three and four characters in a row."""
    return {
        f"{kind}{text[at : at + size]}" for size in (3, 4) for at in range(len(text) - size + 1)
    }


@given(st.text(max_size=8), st.text(min_size=3, max_size=12))
def test_a_text_has_the_words_of_its_parts(around: str, part: str):
    """All words for a part are among those of the whole, and no character of it is left out."""
    words = parts("t", part)
    assert set(words) <= pieces("t", around + part + around)
    assert set(part) == {letter for word in words for letter in word[1:]}


def test_ascii_letters_alone_are_made_small():
    """Both databases know how to do that, and neither does more of it than the other."""
    assert lowered("ABCxyzÄÖÜẞİ") == "abcxyzÄÖÜẞİ"


@given(ids=st.lists(st.from_regex("0[0-9a-f]{31}", fullmatch=True), min_size=2, max_size=5))
def test_numbers_are_in_the_order_of_ids(ids: list[str]):
    """On SQLite a row's number is never below that of a lower id, and the bounds hold them."""
    ids.sort()
    numbers = [search.place_of(each) for each in ids]
    assert numbers == sorted(numbers)
    low, high = places(ids[0][:12], "")
    assert low <= numbers[0]
    assert numbers[-1] < high < 2**63
    assert places("", ids[0][:12])[1] <= numbers[0]


def words_of(row: Mapping[str, Any]) -> set[str]:
    """Return the words that a row must have."""
    deleted = row["deleted_at"] is not None

    def word(kind: str, value: str) -> str:
        return scoped(kind, value, tenant_id=row["tenant_id"], deleted=deleted)

    texts = [*(row[each] for each in ("queue", "agent", "note")), *row["tags"]]
    if row["id"] not in row["name"]:
        texts.append(row["name"])
    found = {word("all", ""), word("held", str(int(row["held"])))}
    for each in ("state", "direction", "caller", "callee", "queue", "agent"):
        found |= {word(each, row[each])} if row[each] else set()
    for each in ("call_id", "conference_id"):
        found |= {word(each, row[each])} if row[each] else set()
    for each in ("id", "call_id", "name"):
        found |= {word("whole", lowered(row[each]))} if row[each] else set()
    found |= {word("tag", each) for each in row["tags"]}
    if row["duration_ms"] is not None:
        found |= {word(*each) for each in words_for(row["duration_ms"] // 1000)}
    for each in texts:
        for line in each.split("\n"):
            found |= pieces("t", lowered(line))
    for each in (row["caller"], row["callee"]):
        found |= pieces("n", lowered(each))
    return found


async def indexed(database: Database) -> dict[str, set[str]]:
    """Return the words of each recording that the index has."""
    async with database.write() as connection:
        await connection.execute(
            text("CREATE VIRTUAL TABLE temp.had USING fts5vocab(main, recording_words, instance)")
        )
        rows = await connection.execute(
            text("SELECT recording_id, term FROM had LEFT JOIN recording_places ON place = doc")
        )
        found: dict[str, set[str]] = {}
        for recording_id, term in rows:
            found.setdefault(recording_id, set()).add(bytes.fromhex(term).decode())
        await connection.execute(text("DROP TABLE temp.had"))
    return found


_steps = st.lists(
    st.tuples(st.sampled_from(["add", "change", "touch", "remove"]), st.integers(0, 2**32)),
    max_size=12,
)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=_steps)
async def test_sqlite_keeps_exactly_the_words_of_the_rows(
    on_sqlite: Database, steps: list[tuple[str, int]]
):
    """However rows are written, changed one column at a time and removed, the index has their words
    and no other.
    """
    rows: dict[str, dict[str, Any]] = {}
    async with on_sqlite.write() as connection:
        await connection.execute(delete(recordings))
    for step, number in [("add", 1), *steps]:
        random = Random(number)
        new = recording(random, random.choice(("acme", "other")))
        async with on_sqlite.write() as connection:
            if step == "add" and new["id"] not in rows:
                rows[new["id"]] = new
                await connection.execute(insert(recordings).values(new))
            elif rows:
                chosen = rows[random.choice(sorted(rows))]
                this = recordings.c.id == chosen["id"]
                if step == "remove":
                    await connection.execute(delete(recordings).where(this))
                    del rows[chosen["id"]]
                else:
                    names = set(new) - {"id", "holder_id", "target_id"}
                    names = {random.choice(sorted(names))} if step == "touch" else names
                    chosen |= {name: new[name] for name in names}
                    await connection.execute(update(recordings).where(this).values(chosen))
    assert await indexed(on_sqlite) == {each: words_of(row) for each, row in rows.items()}


async def test_postgresql_has_the_hashes_of_the_same_words(on_postgresql: Database):
    """What PostgreSQL indexes of a row are the hashes of its words, and no others."""
    random = Random(4)
    rows = [recording(random, TENANT) for _ in range(60)]
    async with on_postgresql.write() as connection:
        await connection.execute(insert(recordings), rows)
        for row in rows:
            right = words_of(row)
            words = bindparam("words", sorted(right), ARRAY(Text))
            hashes = select(func.hashtextextended(func.unnest(words), 0))
            wanted = set((await connection.execute(hashes)).scalars())
            query: Select[Any] = select(literal_column(search.HASHES)).where(
                recordings.c.id == row["id"]
            )
            found = set((await connection.execute(query)).scalar_one())
            assert found == wanted


async def test_a_deleted_recording_is_found_by_nothing_that_was_known_of_people(
    on_sqlite: Database,
):
    """When a recording becomes a tombstone, the index forgets what the row forgets."""
    async with on_sqlite.write() as connection:
        await add_tenant(connection)
        made = await add_recording(
            connection,
            name="about alice",
            call_id="",
            caller="4915550100",
            callee="4915550101",
            agent="alice",
            queue="support",
            tags=["complaint"],
            note="alice was angry",
        )
        known = {"complaint", "support", "4915550100", "4915550101", "alice"}
    assert any(known & set(each.split("\x1f")) for each in (await indexed(on_sqlite))[made])
    async with on_sqlite.write() as connection:
        await tombstones.delete(
            connection, TENANT, made, actor="carol", reason="asked for", now=ENDED
        )
        await tombstones.forget(connection, made)
    left = (await indexed(on_sqlite))[made]
    kinds = {each.split("\x1f")[0] for each in left}
    assert kinds <= {
        "all",
        "held",
        "state",
        "direction",
        "whole",
        "from",
        *map("d{}".format, range(9)),
    }
    assert {each for each in left if each.startswith("whole")} == {
        scoped("whole", made, tenant_id=TENANT, deleted=True)
    }
