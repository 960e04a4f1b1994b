"""The options that narrow a list of recordings, and the lists that they give."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Final, TypeVar

import click
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from voxtra.commands import options
from voxtra.exceptions import ConfigurationError
from voxtra.model import CallDirection, RecordingState
from voxtra.store.filters import Filter
from voxtra.store.listing import page

__all__ = ["add_filters", "filter_of", "matching"]

F = TypeVar("F", bound=Callable[..., Any])

_PAGE: Final = 200

_OPTIONS: Final = (
    click.option(
        "--state",
        "states",
        multiple=True,
        type=click.Choice([each.value for each in RecordingState]),
        help="In this state; may be given several times.",
    ),
    click.option("--call", "call_id", default="", metavar="ID", help="Of this call."),
    click.option("--conference", "conference_id", default="", metavar="ID", help="Of this one."),
    click.option(
        "--direction",
        type=click.Choice([each.value for each in CallDirection]),
        help="Of calls to us, or by us.",
    ),
    click.option("--caller", default="", help="Exactly this caller."),
    click.option("--callee", default="", help="Exactly this called number."),
    click.option("--number", default="", help="Digits in the caller's or callee's number."),
    click.option("--queue", default="", help="Of this queue."),
    click.option("--agent", default="", help="Of this agent."),
    click.option("--tag", default="", help="With this tag."),
    options.moment("--since", "Asked for from then on: a date, a time, or 7d for 7 days ago."),
    options.moment("--until", "Asked for before then."),
    click.option("--text", default="", help="Text in numbers, names, tags, note or id."),
    click.option("--held", is_flag=True, default=None, help="Under a legal hold."),
    click.option("--deleted", is_flag=True, help="The tombstones of deleted ones instead."),
)

NAMES: Final = (
    *("states", "call_id", "conference_id", "direction", "caller", "callee", "number", "queue"),
    *("agent", "tag", "since", "until", "text", "held", "deleted"),
)
"""Parameters of a command that has the filters."""

_OPTION_OF: Final = {"states": "--state", "call_id": "--call", "conference_id": "--conference"}


def add_filters(command: F) -> F:
    """Add the options of a filter."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def filter_of(given: dict[str, Any]) -> Filter:
    """Return the filter that options make. Raises `click.UsageError` that names the option."""
    direction = given["direction"]
    values = {
        **given,
        "states": tuple(RecordingState(each) for each in given["states"]),
        "direction": CallDirection(direction) if direction else None,
    }
    try:
        return Filter(**values)
    except ConfigurationError as error:
        option = _OPTION_OF.get(error.field, f"--{error.field}")
        raise click.UsageError(f"{option}: {error.problem}. {error.fix}.") from None


async def matching(
    connection: AsyncConnection, tenant_id: str, wanted: Filter, limit: int
) -> AsyncIterator[Row[Any]]:
    """Yield up to `limit` recordings, the newest first."""
    after = ""
    while limit > 0:
        found = await page(connection, tenant_id, wanted, size=min(_PAGE, limit), after=after)
        for row in found.rows:
            yield row
        limit -= len(found.rows)
        after = found.next_after
        if not after:
            return
