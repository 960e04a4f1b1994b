"""`voxtra deliveries`: what was sent, every try of it, and once more."""

from __future__ import annotations

import pytest
from sqlalchemy import insert, update
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.commands.office import Office
from tests.store.making import ENDED
from voxtra.events import EventType, VoxtraEvent
from voxtra.model import DEFAULT_TENANT
from voxtra.store import endpoints, journal
from voxtra.store.schema import deliveries, delivery_attempts, utc_now

URL = "https://crm.example.com/hooks"


@pytest.fixture
def endpoint(office: Office) -> str:
    """Return an endpoint with three deliveries: a dead one, a delivered one, and one that waits."""

    async def make(connection: AsyncConnection) -> str:
        made = await endpoints.create(
            connection, DEFAULT_TENANT, url=URL, now=ENDED, description="CRM \x1b[2J"
        )
        for number in range(3):
            event = VoxtraEvent(EventType.RECORDING_AVAILABLE, f"call-{number}", {"format": "wav"})
            await journal.append(
                connection, event, tenant_id=DEFAULT_TENANT, recording_id=f"rec-{number}"
            )
        for number, state in enumerate(("dead", "delivered")):
            await connection.execute(
                update(deliveries)
                .where(deliveries.c.recording_id == f"rec-{number}")
                .values(
                    state=state,
                    attempts=1,
                    next_at=None,
                    finished_at=ENDED,
                    created_at=ENDED,
                    problem="HTTP 500 \x1b[2J" if state == "dead" else "",
                )
            )
        return made.id

    return office.write(make)


def test_deliveries_are_listed(office: Office, endpoint: str) -> None:
    """The newest first, by state, endpoint and recording; what a receiver answers moves nothing."""
    found = office.lines("deliveries", "ls")
    assert [each["recording_id"] for each in found] == ["rec-2", "rec-1", "rec-0"]
    assert {each["endpoint_id"] for each in found} == {endpoint}
    [dead] = office.lines("deliveries", "ls", "--state", "dead", "--endpoint", endpoint)
    assert (dead["recording_id"], dead["finished_at"]) == ("rec-0", "2026-03-01T12:00:00Z")
    assert "body" not in dead
    assert len(office.lines("deliveries", "ls", "--recording", "rec-1")) == 1
    assert len(office.lines("deliveries", "ls", "--limit", "2")) == 2
    assert office.lines("deliveries", "ls", "--endpoint", "nothing") == []
    text = office.run("deliveries", "ls").out
    assert "HTTP 500 \\x1b[2J" in text
    assert all(line.isprintable() for line in text.splitlines())


def test_one_delivery_is_shown_with_its_tries(office: Office, endpoint: str) -> None:
    """What is sent, and what came back each time."""
    [dead] = office.lines("deliveries", "ls", "--state", "dead")

    async def attempt(connection: AsyncConnection) -> None:
        await connection.execute(
            insert(delivery_attempts).values(
                delivery_id=dead["id"],
                number=1,
                at=ENDED,
                status=500,
                problem="HTTP 500",
                duration_ms=41,
            )
        )

    office.write(attempt)
    [shown] = office.lines("deliveries", "show", dead["id"])
    assert shown["endpoint_id"] == endpoint
    assert shown["body"]["type"] == "recording.available"
    assert [each["status"] for each in shown["log"]] == [500]
    text = office.run("deliveries", "show", dead["id"]).out
    assert "41 ms" in text
    assert all(line.isprintable() for line in text.splitlines())
    line = office.run("deliveries", "show", "nothing").complaint
    assert line == "there is no delivery nothing; see voxtra deliveries ls"


def test_deliveries_are_replayed_by_id(office: Office, endpoint: str) -> None:
    """All that are named, or none; the audit has each."""
    [dead] = office.lines("deliveries", "ls", "--state", "dead", "--endpoint", endpoint)
    assert (
        "no delivery nothing" in office.run("deliveries", "replay", dead["id"], "nothing").complaint
    )
    assert len(office.lines("deliveries", "ls", "--state", "waiting")) == 1
    done = office.run("deliveries", "replay", dead["id"])
    assert done.out == "1 delivery is sent once more\n"
    assert len(office.lines("deliveries", "ls", "--state", "waiting")) == 2
    assert office.acts() == [("cli", "delivery.replayed", dead["id"])]


def test_the_deliveries_of_a_time_are_replayed(office: Office, endpoint: str) -> None:
    """Those of one endpoint, also only the dead ones."""
    command = ("deliveries", "replay", "--endpoint", endpoint, "--since", "2026-02-01")
    [none] = office.lines(*command, "--until", "2026-02-02")
    [some] = office.lines(*command, "--until", "2026-03-02", "--state", "dead")
    [all_] = office.lines(*command)
    assert [each["replayed"] for each in (none, some, all_)] == [0, 1, 3]
    assert office.acts() == [("cli", "webhook.replayed", endpoint)] * 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Name deliveries by id, or an endpoint by --endpoint"),
        (["x", "--endpoint", "e"], "Name deliveries by id, or an endpoint by --endpoint"),
        (["x", "--since", "1d"], "go with --endpoint"),
        (["--endpoint", "e"], "--endpoint needs --since"),
        (["--endpoint", "e", "--since", "1d"], "there is no endpoint e; see"),
        (["--endpoint", "ID", "--since", "1d", "--until", "2d"], "--until: that is not later"),
    ],
)
def test_a_wrong_replay_is_named(
    office: Office, endpoint: str, arguments: list[str], said: str
) -> None:
    """One line says what, and what to write."""
    given = [endpoint if each == "ID" else each for each in arguments]
    assert said in office.run("deliveries", "replay", *given).complaint


def test_endpoints_are_listed_with_what_waits(office: Office, endpoint: str) -> None:
    """Without their secrets; a disabled one says why."""
    [listed] = office.lines("deliveries", "endpoints", "ls")
    assert (listed["id"], listed["url"], listed["waiting"]) == (endpoint, URL, 1)
    assert "secret" not in str(listed).replace("old_secret_until", "")

    async def disable(connection: AsyncConnection) -> None:
        await endpoints.disable(connection, DEFAULT_TENANT, endpoint, "410", now=utc_now())

    assert "enabled" in office.run("deliveries", "endpoints", "ls").out
    office.write(disable)
    text = office.run("deliveries", "endpoints", "ls").out
    assert "disabled: 410" in text
    assert all(line.isprintable() for line in text.splitlines())
