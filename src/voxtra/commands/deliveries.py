"""The commands `voxtra deliveries ls|show|replay|endpoints`."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from sqlalchemy.ext.asyncio import AsyncConnection

from voxtra.commands import options
from voxtra.commands.opened import note, opened, run
from voxtra.commands.show import facts, print_json, say, table
from voxtra.commands.text import local
from voxtra.store import deliveries as store
from voxtra.store import endpoints as endpoint_store
from voxtra.store.deliveries import Delivery
from voxtra.store.endpoints import Endpoint
from voxtra.store.schema import utc_now

__all__ = ["deliveries"]

_PAGE = 100

_STATES = click.Choice(["waiting", "delivered", "dead"])

_limit = click.option(
    "--limit", default=50, show_default=True, type=click.IntRange(min=1), help="At most so many."
)


@click.group()
def deliveries() -> None:
    """Show what was sent to webhooks and sinks, and send it again."""


@deliveries.command()
@options.config
@click.option("--state", type=_STATES, help="Only those; dead: what never arrived.")
@click.option("--endpoint", default="", metavar="ID", help="Only those of this endpoint.")
@click.option("--recording", default="", metavar="ID", help="Only those about this recording.")
@_limit
@options.tenant
@options.json_lines
def ls(
    path: Path,
    *,
    state: str | None,
    endpoint: str,
    recording: str,
    limit: int,
    tenant_id: str,
    as_json: bool,
) -> None:
    """List deliveries, the newest first."""

    async def work() -> None:
        found: list[Delivery] = []
        async with opened(path) as at, at.database.read() as connection:
            await at.check_tenant(connection, tenant_id)
            while len(found) < limit:
                size = min(_PAGE, limit - len(found))
                some = await store.page(
                    connection,
                    tenant_id,
                    before=found[-1].seq if found else None,
                    limit=size,
                    endpoint_id=endpoint,
                    state=state or "",
                    recording_id=recording,
                )
                found += some
                if len(some) < size:
                    break
        if as_json:
            for each in found:
                print_json(_shown(each))
            return
        head = ("id", "queued", "state", "tries", "next try", "type", "to", "problem")
        table(
            head,
            (
                (
                    each.id,
                    local(each.created_at),
                    each.state,
                    each.attempts,
                    local(each.next_at),
                    each.type,
                    each.endpoint_id or f"sink of {each.node}",
                    each.problem,
                )
                for each in found
            ),
        )

    run(work)


@deliveries.command()
@options.config
@click.argument("delivery_id", metavar="ID")
@options.tenant
@options.json_object
def show(path: Path, delivery_id: str, *, tenant_id: str, as_json: bool) -> None:
    """Show a delivery: what is sent, and every try."""

    async def work() -> None:
        async with opened(path) as at, at.database.read() as connection:
            found = await store.get(connection, tenant_id, delivery_id)
            if found is None:
                raise _unknown(delivery_id)
            tries = await store.attempts(connection, tenant_id, delivery_id)
        shown = {**_shown(found), "body": json.loads(found.body)}
        if as_json:
            print_json({**shown, "log": [asdict(each) for each in tries]})
            return
        times = ("created_at", "next_at", "finished_at")
        facts(
            (name, local(value) if name in times else value)
            for name, value in {**shown, "body": found.body}.items()
        )
        if tries:
            click.echo()
            table(
                ("try", "at", "answer", "took", "problem"),
                (
                    (
                        each.number,
                        local(each.at),
                        each.status or "none",
                        f"{each.duration_ms} ms",
                        each.problem,
                    )
                    for each in tries
                ),
                whole=2,
            )

    run(work)


@deliveries.command()
@options.config
@click.argument("delivery_ids", metavar="[ID]...", nargs=-1)
@click.option("--endpoint", default="", metavar="ID", help="Those of this endpoint, of a time.")
@options.moment("--since", "Queued from then on: a date, a time, or 7d for 7 days ago.")
@options.moment("--until", "Queued before then; without it now.")
@click.option(
    "--state",
    type=click.Choice(["delivered", "dead"]),
    help="Of the endpoint's only those; dead: what never arrived.",
)
@options.tenant
@options.json_object
def replay(
    path: Path,
    delivery_ids: tuple[str, ...],
    *,
    endpoint: str,
    since: datetime | None,
    until: datetime | None,
    state: str | None,
    tenant_id: str,
    as_json: bool,
) -> None:
    """Send deliveries once more: by their ids, or all of an endpoint and a time.

    They keep the message ids that they had, so that a receiver knows what it has already. The
    running service sends them.
    """
    if bool(delivery_ids) == bool(endpoint):
        raise click.UsageError("Name deliveries by id, or an endpoint by --endpoint.")
    if delivery_ids and (since or until or state):
        raise click.UsageError("--since, --until and --state go with --endpoint.")
    if endpoint and since is None:
        raise click.UsageError("--endpoint needs --since, for example --since 7d.")

    async def work() -> None:
        async with opened(path) as at, at.database.write() as connection:
            if delivery_ids:
                await _replay(connection, tenant_id, delivery_ids)
                number = len(set(delivery_ids))
            else:
                number = await _replay_range(
                    connection,
                    tenant_id,
                    endpoint,
                    since=since,
                    until=until or utc_now(),
                    state=state or "",
                )
        if as_json:
            print_json({"replayed": number})
        else:
            say(f"{number} {'delivery is' if number == 1 else 'deliveries are'} sent once more")

    run(work)


@deliveries.group()
def endpoints() -> None:
    """Look at the webhook endpoints."""


@endpoints.command("ls")
@options.config
@options.tenant
@options.json_lines
def list_endpoints(path: Path, *, tenant_id: str, as_json: bool) -> None:
    """List the endpoints of a tenant, and what waits for them."""

    async def work() -> None:
        found: list[Endpoint] = []
        async with opened(path) as at, at.database.read() as connection:
            await at.check_tenant(connection, tenant_id)
            while True:
                after = found[-1].id if found else ""
                some = await endpoint_store.page(connection, tenant_id, after=after, limit=_PAGE)
                found += some
                if len(some) < _PAGE:
                    break
            waiting = {
                each.endpoint_id: each.waiting
                for each in await store.backlog(connection)
                if each.tenant_id == tenant_id
            }
        if as_json:
            for each in found:
                print_json({**_endpoint(each), "waiting": waiting.get(each.id, 0)})
            return
        head = ("id", "url", "events", "waiting", "state", "description")
        table(
            head,
            (
                (
                    each.id,
                    each.url,
                    ", ".join(each.events) or "all",
                    waiting.get(each.id, 0),
                    _state(each),
                    each.description,
                )
                for each in found
            ),
        )

    run(work)


async def _replay(connection: AsyncConnection, tenant_id: str, ids: tuple[str, ...]) -> None:
    for each in ids:
        if await store.replay(connection, tenant_id, each, now=utc_now()) is None:
            raise _unknown(each)
        await note(connection, tenant_id, "delivery.replayed", each)


async def _replay_range(
    connection: AsyncConnection,
    tenant_id: str,
    endpoint_id: str,
    *,
    since: datetime | None,
    until: datetime,
    state: str,
) -> int:
    if await endpoint_store.get(connection, tenant_id, endpoint_id) is None:
        raise click.ClickException(
            f"there is no endpoint {endpoint_id}; see voxtra deliveries endpoints ls"
        )
    if since is None or until <= since:
        raise click.UsageError("--until: that is not later than --since.")
    number = await store.replay_range(
        connection, tenant_id, endpoint_id, since=since, until=until, state=state, now=utc_now()
    )
    await note(
        connection,
        tenant_id,
        "webhook.replayed",
        endpoint_id,
        since=since,
        until=until,
        state=state,
        replayed=number,
    )
    return number


def _unknown(delivery_id: str) -> click.ClickException:
    return click.ClickException(f"there is no delivery {delivery_id}; see voxtra deliveries ls")


def _state(endpoint: Endpoint) -> str:
    if endpoint.disabled_at is not None:
        return f"disabled: {endpoint.disabled_reason}"
    if endpoint.rests_until is not None and endpoint.rests_until > utc_now():
        return f"rests until {local(endpoint.rests_until)}"
    return "enabled"


def _shown(delivery: Delivery) -> dict[str, Any]:
    """Return what the API shows of a delivery, and the process whose sink it is for."""
    hidden = ("seq", "tenant_id", "lane", "body")
    return {name: value for name, value in asdict(delivery).items() if name not in hidden}


def _endpoint(endpoint: Endpoint) -> dict[str, Any]:
    """Return what the API shows of an endpoint, which is without its secrets."""
    return {
        "id": endpoint.id,
        "url": endpoint.url,
        "events": list(endpoint.events),
        "description": endpoint.description,
        "created_at": endpoint.created_at,
        "old_secret_until": endpoint.old_secret_until,
        "rests_until": endpoint.rests_until,
        "enabled": endpoint.disabled_at is None,
        "disabled_at": endpoint.disabled_at,
        "disabled_reason": endpoint.disabled_reason,
    }
