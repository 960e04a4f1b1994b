"""How long recordings are kept: the tenant's days and rules, and what others would do."""

from __future__ import annotations

import asyncio
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from voxtra.service.retention import forecast
from voxtra.store import retention as store
from voxtra.store.retention import LONGEST, Policy, Rule
from voxtra.web.auth import Principal, note, require
from voxtra.web.bodies import Body, example
from voxtra.web.problems import Problem, problems
from voxtra.web.site import service_of

__all__ = ["router"]

router = APIRouter(prefix="/v1.0/retention", tags=["retention"])

PATIENCE: Final = 30.0
"""Seconds that a dry run may take."""

Admin = Annotated[Principal, require("admin")]

_Days = Annotated[int, Field(ge=0, le=LONGEST, description="0: for ever.")]
_Name = Annotated[str, Field(max_length=200)]

_EXAMPLE: Final = {
    "days": 30,
    "rules": [{"days": 365, "direction": "outbound", "queue": "", "tag": "contract"}],
}


class RuleBody(Body):
    """Days for the recordings that have all of `direction`, `queue` and `tag`; empty: any."""

    days: _Days
    direction: Literal["", "inbound", "outbound"] = ""
    queue: _Name = ""
    tag: _Name = ""


class PolicyBody(Body):
    """The tenant's days, and the rules before them: the first that fits decides."""

    model_config = example(_EXAMPLE)

    days: _Days
    rules: Annotated[list[RuleBody], Field(max_length=1000)] = Field(default=[])

    def policy(self) -> Policy:
        """Return it as the store has it."""
        return Policy(
            self.days,
            tuple(Rule(each.days, each.direction, each.queue, each.tag) for each in self.rules),
        )


class ForecastBody(BaseModel):
    """What a policy would do to the tenant's recordings.

    `changed` would expire at another time than now, `due` (of `due_bytes`) would be deleted within
    minutes, `held` would be, were they not held.
    """

    model_config = example(
        {
            "recordings": 1200,
            "changed": 310,
            "due": 12,
            "due_bytes": 11_520_000,
            "held": 1,
        }
    )

    recordings: int
    changed: int
    due: int
    due_bytes: int
    held: int


@router.get("")
async def get_policy(
    request: Request, principal: Annotated[Principal, require("recordings:read")]
) -> PolicyBody:
    """Get the tenant's days and rules."""
    async with service_of(request).database.read() as connection:
        return _shown(await store.policy_of(connection, principal.tenant_id))


@router.put("")
async def set_policy(request: Request, principal: Admin, wanted: PolicyBody) -> PolicyBody:
    """Replace days and rules. When recordings expire is computed anew, of those that are there too.

    Try it first: `POST /v1.0/retention/dry-run`.
    """
    service = service_of(request)
    policy = wanted.policy()
    async with service.database.write() as connection:
        before = _shown(await store.policy_of(connection, principal.tenant_id))
        await store.set_policy(connection, principal.tenant_id, policy, now=service.clock())
        await note(
            connection,
            request,
            principal,
            "retention.changed",
            principal.tenant_id,
            before=before.model_dump(),
            after=wanted.model_dump(),
        )
    return wanted


@router.post("/dry-run", responses=problems("too_much_work"))
async def dry_run(request: Request, principal: Admin, wanted: PolicyBody) -> ForecastBody:
    """Tell what days and rules would do if they were set now. Nothing is changed."""
    service = service_of(request)
    try:
        async with asyncio.timeout(PATIENCE):
            found = await forecast(
                service.database, principal.tenant_id, wanted.policy(), service.clock()
            )
    except TimeoutError:
        raise Problem("too_much_work") from None
    return ForecastBody(
        recordings=found.recordings,
        changed=found.changed,
        due=found.due,
        due_bytes=found.due_size,
        held=found.held,
    )


def _shown(policy: Policy) -> PolicyBody:
    return PolicyBody.model_validate(
        {
            "days": policy.days,
            "rules": [
                {
                    "days": each.days,
                    "direction": each.direction,
                    "queue": each.queue,
                    "tag": each.tag,
                }
                for each in policy.rules
            ],
        }
    )
