"""Webhook endpoints: their secrets, what is wanted of them, and whose they are."""

from __future__ import annotations

import base64
from datetime import timedelta

import pytest
from sqlalchemy import select

from tests.outbox import Clock, all_of, endpoint, happen
from voxtra.exceptions import ConfigurationError
from voxtra.signing import Signer
from voxtra.store import endpoints
from voxtra.store.database import Database
from voxtra.store.schema import webhook_endpoints


@pytest.fixture
def clock() -> Clock:
    """Return a time that passes when the test says so."""
    return Clock()


def signed(signer: Signer) -> list[str]:
    """Return the signatures under an empty body."""
    return signer.headers(b"", message_id="m", timestamp=1)["webhook-signature"].split()


async def test_a_secret_is_generated_and_never_shown_by_accident(database: Database):
    """Without a secret one of 32 random bytes is made; no secret and no URL is in a repr."""
    first, second = await endpoint(database, "http://x/token"), await endpoint(database)
    assert first.secret.startswith("whsec_")
    assert len(base64.b64decode(first.secret.removeprefix("whsec_"), validate=True)) == 32
    assert first.secret != second.secret
    assert first.secret not in repr(first)
    assert "token" not in repr(first)


async def test_an_endpoint_is_found_as_it_was_made(database: Database, clock: Clock):
    """What was given is what is read."""
    async with database.write() as connection:
        made = await endpoints.create(
            connection,
            "t",
            url="https://example.com/hook",
            events=["call.started", "call.ended", "call.started"],
            secret="mine",
            description="the CRM",
            now=clock(),
        )
        assert await endpoints.get(connection, "t", made.id) == made
    assert made.events == ("call.started", "call.ended")
    assert (made.secret, made.description, made.created_at) == ("mine", "the CRM", clock())


@pytest.mark.parametrize(
    ("wrong", "field", "fix"),
    [
        ({"events": ["call.started", "call.begun"]}, "events", "call.ended"),
        ({"secret": "whsec_not base64"}, "secret", "Copy the whole secret"),
    ],
)
async def test_what_is_wrong_is_named(
    database: Database, clock: Clock, wrong: dict[str, str], field: str, fix: str
):
    """An unknown event or a broken secret is one error with its field and what to do."""
    async with database.write() as connection:
        with pytest.raises(ConfigurationError) as caught:
            await endpoints.create(connection, "t", url="http://x", now=clock(), **wrong)
    assert caught.value.field == field
    assert fix in caught.value.fix


async def test_a_replaced_secret_signs_until_its_time_is_over(database: Database, clock: Clock):
    """For a day both sign, the new one first; then the new one alone."""
    made = await endpoint(database, secret="old")
    async with database.write() as connection:
        both = await endpoints.rotate(connection, "t", made.id, secret="new", now=clock())
    assert both is not None
    assert signed(both.signer(clock())) == signed(Signer("new")) + signed(Signer("old"))
    assert signed(both.signer(clock.turn(hours=24))) == signed(Signer("new"))


async def test_a_leaked_secret_is_replaced_at_once(database: Database, clock: Clock):
    """With no time to keep it the old secret signs nothing more, and the new one is generated."""
    made = await endpoint(database, secret="leaked")
    async with database.write() as connection:
        fresh = await endpoints.rotate(connection, "t", made.id, now=clock(), keep=timedelta())
    assert fresh is not None
    assert fresh.secret.startswith("whsec_")
    assert signed(fresh.signer(clock())) == signed(Signer(fresh.secret))


async def test_a_change_touches_what_is_given(database: Database, clock: Clock):
    """Each field can be changed alone; a new URL does not take over the old one's rest."""
    made = await endpoint(database)
    async with database.write() as connection:
        await endpoints.rest(connection, made.id, clock.turn(hours=1))
        described = await endpoints.change(connection, "t", made.id, description="x")
        wanted = await endpoints.change(connection, "t", made.id, events=["call.ended"])
        moved = await endpoints.change(connection, "t", made.id, url="http://y")
        assert await endpoints.change(connection, "t", made.id) == moved
        with pytest.raises(ConfigurationError, match="no event 'x'"):
            await endpoints.change(connection, "t", made.id, events=["x"])
    assert described is not None
    assert wanted is not None
    assert moved is not None
    assert (described.description, described.rests_until) == ("x", clock())
    assert (wanted.description, wanted.events) == ("x", ("call.ended",))
    assert (moved.url, moved.events, moved.rests_until) == ("http://y", ("call.ended",), None)


async def test_a_disabled_endpoint_gets_nothing_new_until_it_is_enabled(
    database: Database, clock: Clock
):
    """While it is disabled no event is queued for it; the first reason stays."""
    made = await endpoint(database)
    async with database.write() as connection:
        await endpoints.disable(connection, "t", made.id, "repairs", now=clock())
        off = await endpoints.disable(connection, "t", made.id, "again", now=clock.turn(hours=1))
    assert off is not None
    assert (off.disabled_reason, off.disabled_at) == ("repairs", clock() - timedelta(hours=1))
    await happen(database, "call")
    assert await all_of(database) == []
    async with database.write() as connection:
        on = await endpoints.enable(connection, "t", made.id)
    assert on == made
    await happen(database, "call")
    assert len(await all_of(database)) == 1


async def test_an_endpoint_is_given_up_for_what_its_own_url_said(database: Database, clock: Clock):
    """A late answer of an old URL disables nothing, and a second one is no news."""
    made = await endpoint(database)
    async with database.write() as connection:
        moved = await endpoints.change(connection, "t", made.id, url="http://y")
        assert moved is not None
        assert not await endpoints.give_up(connection, made, "gone", now=clock())
        assert await endpoints.give_up(connection, moved, "gone", now=clock())
        assert not await endpoints.give_up(connection, moved, "gone", now=clock())
        off = await endpoints.get(connection, "t", made.id)
    assert off is not None
    assert (off.disabled_reason, off.disabled_at) == ("gone", clock())


async def test_a_deleted_endpoint_is_gone_with_its_secrets(database: Database, clock: Clock):
    """It can't be found or changed any more, and neither secret is left in its row."""
    made = await endpoint(database)
    async with database.write() as connection:
        await endpoints.rotate(connection, "t", made.id, now=clock())
        assert await endpoints.delete(connection, "t", made.id, now=clock())
        assert not await endpoints.delete(connection, "t", made.id, now=clock())
        assert await endpoints.get(connection, "t", made.id) is None
        assert await endpoints.page(connection, "t") == []
        assert await endpoints.rotate(connection, "t", made.id, now=clock()) is None
        row = (await connection.execute(select(webhook_endpoints))).one()
    assert (row.secret, row.old_secret, row.old_secret_until) == ("", "", None)


async def test_endpoints_are_listed_page_by_page(database: Database):
    """Pages follow one another in the order of making, without a gap."""
    made = [(await endpoint(database)).id for _ in range(5)]
    seen: list[str] = []
    while True:
        async with database.read() as connection:
            page = await endpoints.page(connection, "t", after=seen[-1] if seen else "", limit=2)
        if not page:
            break
        seen += [each.id for each in page]
    assert seen == sorted(made)


async def test_another_tenants_endpoint_does_not_exist(database: Database, clock: Clock):
    """No reading or changing function finds an endpoint of another tenant."""
    made = await endpoint(database, tenant="mine")
    async with database.write() as connection:
        assert await endpoints.get(connection, "other", made.id) is None
        assert await endpoints.page(connection, "other") == []
        assert await endpoints.change(connection, "other", made.id, url="http://y") is None
        assert await endpoints.rotate(connection, "other", made.id, now=clock()) is None
        assert await endpoints.disable(connection, "other", made.id, "x", now=clock()) is None
        assert await endpoints.enable(connection, "other", made.id) is None
        assert not await endpoints.delete(connection, "other", made.id, now=clock())
        assert await endpoints.get(connection, "mine", made.id) == made
