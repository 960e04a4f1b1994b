"""Calls on the real Asterisk, and the events they make."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from voxtra.ari import ARIClient
from voxtra.ari.bus import Bus, Inbox
from voxtra.ari.connection import EventConnection
from voxtra.ari.schema import Event, RecordingStarted, StasisStart
from voxtra.exceptions import NotFound
from voxtra.ids import own_id

DEADLINE = 5.0


def is_a(kind: type[Event]) -> Callable[[Event], bool]:
    """Accept the events of a type."""
    return lambda event: isinstance(event, kind)


async def eventually(question: Callable[[], object]) -> None:
    """Ask until the answer is yes, within the deadline: for what makes no event."""
    async with asyncio.timeout(DEADLINE):
        while True:
            answer = question()
            if await answer if inspect.isawaitable(answer) else answer:
                return
            await asyncio.sleep(0.01)


async def gone(request: Awaitable[object]) -> bool:
    """Tell whether Asterisk knows nothing of what is asked for."""
    try:
        await request
    except NotFound:
        return True
    return False


@asynccontextmanager
async def listening(client: ARIClient) -> AsyncIterator[Bus]:
    """Publish the events of the client's application on a bus, from a live websocket."""
    bus = Bus()
    up = asyncio.Event()

    async def read() -> None:
        async for link in connection:
            up.set()
            async for event in link:
                bus.publish(event)

    async with EventConnection(client) as connection:
        reader = asyncio.create_task(read())
        await asyncio.wait_for(up.wait(), DEADLINE)
        yield bus
    await reader


@asynccontextmanager
async def call(client: ARIClient, bus: Bus, phone: str = "tone-440") -> AsyncIterator[Inbox]:
    """Call one of the lab's phones; its id is `inbox.keys[0]`, its StasisStart has been."""
    channel_id = own_id("call")
    with bus.expect(channel_id) as inbox:
        await client.originate(
            f"Local/{phone}@lab-phone/n",
            channel_id=channel_id,
            formats="slin",
            variables={"A": "é,1"},
        )
        await inbox.wait_for(is_a(StasisStart), DEADLINE)
        yield inbox
        with suppress(NotFound):
            await client.hangup_channel(channel_id)


async def record(client: ARIClient, bus: Bus, channel_id: str, name: str, **options) -> Inbox:
    """Start a recording and return its inbox once it has begun."""
    inbox = bus.expect(name)
    await client.record_channel(channel_id, name, fmt="wav", **options)
    await inbox.wait_for(is_a(RecordingStarted), DEADLINE)
    return inbox
