"""The list of recordings: what a filter lets through, page by page, whatever happens meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, insert, update

from tests.store.population import BEGIN, filters, fits, recording, recording_id, texts
from voxtra.exceptions import ConfigurationError
from voxtra.ids import new_id
from voxtra.model import CallDirection, RecordingState
from voxtra.store import listing
from voxtra.store.database import Database
from voxtra.store.filters import Filter
from voxtra.store.schema import recordings

TENANT = "acme"

same_database = settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


async def add(database: Database, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows of recordings."""
    async with database.write() as connection:
        await connection.execute(insert(recordings), list(rows))


async def walk(
    database: Database, wanted: Filter, size: int, *, tenant_id: str = TENANT
) -> AsyncIterator[list[str]]:
    """Yield the ids of each page of a list."""
    after = ""
    while True:
        async with database.read() as connection:
            page = await listing.page(connection, tenant_id, wanted, size=size, after=after)
        yield [row.id for row in page.rows]
        after = page.next_after
        if not after:
            return
        assert len(page.rows) == size
        assert page.rows[-1].id == after


async def ids_of(
    database: Database, wanted: Filter, size: int = 100, *, tenant_id: str = TENANT
) -> list[str]:
    """Return all ids of a list, page by page."""
    return [
        each async for page in walk(database, wanted, size, tenant_id=tenant_id) for each in page
    ]


def expected(rows: Sequence[Mapping[str, Any]], wanted: Filter) -> list[str]:
    """Return the ids that a list must have, newest first."""
    return sorted((row["id"] for row in rows if fits(row, wanted)), reverse=True)


@pytest.fixture(params=[(5000, 20_000, 400), (7, 20_000, 3), (7, 2, 400)])
def _bounds(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every way in which PostgreSQL is asked taken by a few rows."""
    for name, value in zip(("NEAR", "FEW", "LOOKED_UP"), request.param, strict=True):
        monkeypatch.setattr(listing, name, value)


class Rows(list[dict[str, Any]]):
    """Rows that are not all written into the report of a test that failed."""

    def __repr__(self) -> str:
        return f"<{len(self)} rows>"


@pytest.fixture
async def population(database: Database) -> Rows:
    """Write many recordings of a tenant and of another one; return the tenant's."""
    random = Random(5)
    rows = Rows(recording(random, TENANT) for _ in range(250))
    await add(database, [*rows, *(recording(random, "other") for _ in range(100))])
    return rows


@pytest.mark.usefixtures("_bounds")
@same_database
@given(wanted=filters(), size=st.integers(7, 100))
@example(wanted=Filter(), size=100)
@example(wanted=Filter(deleted=True), size=7)
async def test_a_list_is_what_the_filter_lets_through(
    database: Database, population: Rows, wanted: Filter, size: int
):
    """The pages of any filter are exactly the recordings that it lets through, newest first, and
    the estimate is their number.
    """
    right = expected(population, wanted)
    assert await ids_of(database, wanted, size) == right
    async with database.read() as connection:
        assert await listing.estimate(connection, TENANT, wanted) == len(right)
        assert await listing.estimate(connection, TENANT, wanted, cap=3) == min(3, len(right))


@same_database
@given(text=texts | st.text(min_size=3, max_size=12).filter(str.isprintable))
async def test_a_text_is_looked_for_as_it_is(database: Database, population: Rows, text: str):
    """No text is read as a language: not quotes, AND, * or NEAR, not % or _."""
    wanted = Filter(text=text)
    assert await ids_of(database, wanted) == expected(population, wanted)


_ONE = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("4930111", True),
        ("VIP", True),
        ("resu", False),
        ("résu", True),
        ("RÉSUMÉ", True),
        ("rÉsu", True),
        ("rêsu", False),
        ("deSK/1", True),
        ("k/1x", False),
        (_ONE, True),
        (_ONE.upper(), True),
        (_ONE[:-1], False),
        ("1760000000.42", True),
        ("1760000000.4", False),
        ("first line", True),
        ("the second", True),
        ("line the", False),
        ("4930111222vip", False),
    ],
)
async def test_where_a_text_is_looked_for(database: Database, text: str, found: bool):
    """A text is part of a party, a tag, the note or a chosen name, or it is all of an id."""
    row = recording(Random(1), TENANT) | {
        "id": _ONE,
        "name": "Desk/1",
        "call_id": "1760000000.42",
        "caller": "4930111222",
        "tags": ["vip"],
        "note": "first line\nthe second\nRésumé",
        "deleted_at": None,
    }
    await add(database, [row])
    assert await ids_of(database, Filter(text=text)) == [_ONE] * found


async def test_a_name_that_we_made_is_found_whole(database: Database):
    """A name with the recording's id in it is no text to be searched: only all of it finds it."""
    row = recording(Random(1), TENANT) | {"name": f"voxtra-{_ONE}", "id": _ONE, "deleted_at": None}
    await add(database, [row])
    assert await ids_of(database, Filter(text=f"Voxtra-{_ONE}")) == [_ONE]
    assert await ids_of(database, Filter(text="voxtra-")) == []


_changes = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 2**32)),
        st.tuples(st.just("change"), st.integers(0, 2**32)),
        st.tuples(st.just("page"), st.integers(1, 4)),
    ),
    min_size=4,
    max_size=14,
)


@same_database
@given(
    changes=_changes,
    wanted=st.sampled_from(
        [
            Filter(),
            Filter(states=(RecordingState.AVAILABLE, RecordingState.FAILED)),
            Filter(queue="sales"),
            Filter(text="sales"),
            Filter(min_duration=1, held=False),
        ]
    ),
)
@pytest.mark.usefixtures("_bounds")
async def test_what_happens_meanwhile_neither_hides_nor_repeats(
    database: Database, changes: list[tuple[str, int]], wanted: Filter
):
    """Whatever is added and changed between two pages: nothing is given twice, and whatever the
    filter let through from the first page to the last is given.
    """
    first = Random(9)
    rows = {row["id"]: row for row in (recording(first, TENANT) for _ in range(30))}
    async with database.write() as connection:
        await connection.execute(delete(recordings))
    await add(database, list(rows.values()))
    always = set(expected(list(rows.values()), wanted))
    given_: list[str] = []
    after, begun, over = "", False, False
    for what, number in [*changes, *[("page", 5)] * 12]:
        random = Random(number)
        if what == "add":
            new = recording(random, TENANT)
            if new["id"] not in rows:
                await add(database, [new])
                rows[new["id"]] = new
        elif what == "change":
            chosen = random.choice(sorted(rows))
            kept = {name: rows[chosen][name] for name in ("id", "holder_id", "target_id", "name")}
            rows[chosen] = recording(random, TENANT) | kept
            async with database.write() as connection:
                await connection.execute(
                    update(recordings).where(recordings.c.id == chosen).values(rows[chosen])
                )
        elif not over:
            async with database.read() as connection:
                page = await listing.page(connection, TENANT, wanted, size=number, after=after)
            now = expected(list(rows.values()), wanted)
            assert [row.id for row in page.rows] == [
                each for each in now if not begun or each < after
            ][:number]
            given_ += [row.id for row in page.rows]
            after, begun, over = page.next_after, True, not page.next_after
        if not over:
            always &= set(expected(list(rows.values()), wanted))
    assert over
    assert given_ == sorted(set(given_), reverse=True)
    assert always <= set(given_)


async def test_ids_that_are_nearly_the_same_are_all_listed(database: Database):
    """Recordings whose ids differ in their last digits alone, which share their number on SQLite,
    are each listed once, whichever page ends between them.
    """
    near = [recording_id(timedelta(0), f"abc8{number:015x}") for number in (5, 3, 9, 1, 7)]
    far = [recording_id(timedelta(0), f"abd8{number:015x}") for number in range(2)]
    random = Random(2)
    for each in (*far, *near):
        await add(
            database, [recording(random, TENANT) | {"id": each, "deleted_at": None, "agent": "bob"}]
        )
    for wanted in (Filter(), Filter(agent="bob")):
        for size in range(1, 8):
            found = await ids_of(database, wanted, size)
            assert sorted(found) == sorted(near + far)
        if not database.is_sqlite:
            assert found == sorted(near + far, reverse=True)


async def test_a_page_of_another_tenant_leads_to_nothing_of_it(
    database: Database, population: Rows
):
    """An id of another tenant is a place in time like any other, and shows nothing of that tenant;
    so does one that nobody has.
    """
    theirs = await ids_of(database, Filter(), tenant_id="other")
    assert len(theirs) > 50
    for after in (theirs[5], new_id(), recording_id(timedelta(seconds=5), "0")):
        for wanted in (Filter(), Filter(held=False), Filter(text="sales")):
            async with database.read() as connection:
                page = await listing.page(connection, TENANT, wanted, size=100, after=after)
            right = [each for each in expected(population, wanted) if each < after]
            assert [row.id for row in page.rows] == right[:100]


@pytest.mark.parametrize(
    "after", ["x", "../etc/passwd", "0" * 31, "0" * 33, "G" * 32, "' OR 1=1 --", "\0" * 32]
)
async def test_what_is_no_id_is_no_place_in_a_list(database: Database, after: str):
    """A page after something that is no id is refused, naming the token."""
    async with database.read() as connection:
        with pytest.raises(ConfigurationError, match="page_token: is none that this list gave"):
            await listing.page(connection, TENANT, Filter(), size=5, after=after)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("number", "12"),
        ("number", "12a4"),
        ("number", "+49"),
        ("number", "\u0661\u0662\u0663"),
        ("text", "ab"),
        ("text", "a\nbc"),
        ("caller", "\0"),
        ("tag", "\ud800"),
        ("agent", "x" * 201),
        ("since", BEGIN.replace(tzinfo=None)),
        ("min_duration", -1),
        ("max_duration", float("nan")),
        ("max_duration", 1e10),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused(field: str, value: Any):
    """A filter that could find nothing, or not be looked up, is one error that names its field."""
    with pytest.raises(ConfigurationError) as refused:
        Filter(**{field: value})
    assert refused.value.field == field
    assert refused.value.fix


@pytest.mark.parametrize(("low", "high"), [("since", "until"), ("min_duration", "max_duration")])
def test_a_range_that_ends_before_it_begins_is_refused(low: str, high: str):
    """Of a range that is the wrong way round, the error names the end."""
    first: Any
    last: Any
    first, last = (BEGIN, BEGIN - timedelta(1)) if low == "since" else (2, 1)
    with pytest.raises(ConfigurationError) as refused:
        Filter(**{low: first, high: last})
    assert refused.value.field == high


async def test_time_is_that_of_the_request(database: Database):
    """`since` is included and `until` is not, in milliseconds; what lies between two milliseconds
    counts as the later one.
    """
    ids = [recording_id(timedelta(milliseconds=each), "0") for each in range(4)]
    random = Random(3)
    await add(
        database, [recording(random, TENANT) | {"id": each, "deleted_at": None} for each in ids]
    )

    def at(milliseconds: float) -> datetime:
        return BEGIN + timedelta(milliseconds=milliseconds)

    for more in ({}, {"held": None}, {"number": ""}):
        assert await ids_of(database, Filter(since=at(1), until=at(3), **more)) == ids[2:0:-1]
        assert await ids_of(database, Filter(since=at(0.5), until=at(2.5), **more)) == ids[2:0:-1]
        assert await ids_of(database, Filter(since=at(9), **more)) == []
        assert await ids_of(database, Filter(since=at(1), until=at(1), **more)) == []


def test_a_plain_filter_is_about_time_alone():
    """What needs no index of words is known by its filter."""
    assert Filter().is_plain
    assert Filter(since=BEGIN, until=BEGIN, deleted=True).is_plain
    assert not Filter(direction=CallDirection.INBOUND).is_plain
    assert not Filter(held=False).is_plain
