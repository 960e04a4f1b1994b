"""Connections to SQLite that a cancelled request can't break."""

from __future__ import annotations

import asyncio
import random

from sqlalchemy import select

from voxtra.store.access import create_tenant
from voxtra.store.database import Database
from voxtra.store.schema import tenants, utc_now


async def test_cancelled_at_any_moment(sqlite_url):
    """Whoever gives up in mid-transaction leaves nothing of it, and the next goes on."""
    database = Database(sqlite_url)
    chance = random.Random(5)
    done = set()

    async def make(name: str) -> None:
        async with database.write() as connection:
            await create_tenant(connection, name, now=utc_now())
            await connection.execute(select(tenants))

    for number in range(50):
        task = asyncio.create_task(make(f"tenant-{number}"))
        await asyncio.sleep(chance.random() * 0.004)
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            done.add(f"tenant-{number}")
    async with asyncio.timeout(10):
        await make("last")
        async with database.read() as connection:
            names = set((await connection.execute(select(tenants.c.id))).scalars())
        await database.close()
    assert names >= done | {"last"}
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []
