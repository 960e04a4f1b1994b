"""How much a tenant has recorded: counts, bytes and seconds by day and state."""

from __future__ import annotations

import datetime as dt
import time
from collections import defaultdict
from collections.abc import Iterable
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel

from voxtra.store import usage as store
from voxtra.store.usage import Usage
from voxtra.web.auth import Principal, require
from voxtra.web.bodies import example
from voxtra.web.problems import Problem, problems
from voxtra.web.site import service_of

__all__ = ["router"]

router = APIRouter(prefix="/v1.0/usage", tags=["usage"])

LONGEST: Final = 92
"""Days of one report, a quarter."""

PATIENCE: Final = 10.0
"""Seconds after which no further day is begun."""

_Day = Annotated[dt.date, Query(ge=dt.date(2000, 1, 1), le=dt.date(2199, 12, 31))]

_STATE: Final = {"recordings": 40, "deleted": 2, "bytes": 98_304_000, "seconds": 6144.0}


class StateUsage(BaseModel):
    """The recordings of one state: `deleted` of them are tombstones, `bytes` are of the others."""

    recordings: int
    deleted: int
    bytes: int
    seconds: float


class DayUsage(BaseModel):
    """The recordings that were asked for on one day (UTC)."""

    day: dt.date
    states: dict[str, StateUsage]


class Report(BaseModel):
    """A report of some days, oldest first; days without recordings are left out."""

    model_config = example(
        {
            "first_day": "2026-03-01",
            "last_day": "2026-03-31",
            "days": [{"day": "2026-03-02", "states": {"available": _STATE}}],
            "total": {"available": _STATE},
        }
    )

    first_day: dt.date
    last_day: dt.date
    days: list[DayUsage]
    total: dict[str, StateUsage]


@router.get("", responses=problems("too_much_work"))
async def get_usage(
    request: Request,
    principal: Annotated[Principal, require("recordings:read")],
    first_day: _Day | None = None,
    last_day: _Day | None = None,
) -> Report:
    """Say how much was recorded from `first_day` to `last_day`, of 92 days at most.

    Without them it is the last 30 days; both count.
    """
    service = service_of(request)
    last = last_day or service.clock().date()
    first = first_day or last - dt.timedelta(days=29)
    if not 0 <= (last - first).days < LONGEST:
        raise Problem(
            "invalid_request",
            f"last_day: Is not within {LONGEST} days from first_day on.",
            field="last_day",
        )
    deadline = time.monotonic() + PATIENCE
    days = []
    async with service.database.read() as connection:
        for offset in range((last - first).days + 1):
            if time.monotonic() > deadline:
                raise Problem("too_much_work")
            day = first + dt.timedelta(days=offset)
            found = await store.on_day(connection, principal.tenant_id, day)
            if found:
                days.append((day, found))
    return Report(
        first_day=first,
        last_day=last,
        days=[
            DayUsage(day=day, states={state: _shown([each]) for state, each in found.items()})
            for day, found in days
        ],
        total=_total(found for _, found in days),
    )


def _total(days: Iterable[dict[str, Usage]]) -> dict[str, StateUsage]:
    states: defaultdict[str, list[Usage]] = defaultdict(list)
    for day in days:
        for state, found in day.items():
            states[state].append(found)
    return {state: _shown(found) for state, found in sorted(states.items())}


def _shown(found: list[Usage]) -> StateUsage:
    return StateUsage(
        recordings=sum(each.recordings for each in found),
        deleted=sum(each.deleted for each in found),
        bytes=sum(each.size for each in found),
        seconds=sum(each.duration_ms for each in found) / 1000,
    )
