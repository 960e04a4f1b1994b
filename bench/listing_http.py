"""The list of recordings over HTTP: the pages of `bench.listing`, by the REST API.

The site runs on uvicorn in a process of its own, as under `voxtra serve`, with its key, its limits
and its log; the client is another process on the same machine. What a page costs over HTTP is
measured from the request to the last byte of its JSON.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from bench import listing
from bench.download import free_port, running
from bench.report import Row
from voxtra.lab.pbx import Pbx
from voxtra.store import access
from voxtra.store.database import Database
from voxtra.store.filters import Filter
from voxtra.store.schema import utc_now
from voxtra.web.paging import token_of

__all__ = ["measure"]


class _Id(msgspec.Struct):
    id: str


class _Page(msgspec.Struct):
    result: list[_Id]


async def measure(pbx: Pbx, count: int, rows: int = listing.STOCK) -> list[Row]:
    """Ask for `count` pages out of `rows` recordings."""
    found = await listing.measure(pbx, count, rows, _serve)
    return [replace(row, bench="listing over HTTP") for row in found]


@contextlib.asynccontextmanager
async def _serve(database: Database) -> AsyncIterator[listing.Fetch]:
    async with database.write() as connection:
        now = utc_now()
        await access.create_tenant(connection, listing.TENANT, now=now)
        key = await access.create_key(
            connection, tenant_id=listing.TENANT, name="bench", role="admin", now=now
        )
    folder, port = Path(str(database.url.database)).parent, free_port()
    headers = {"Authorization": f"Bearer {key.secret}"}
    with running(port, sys.executable, "-m", "bench.download", str(folder), str(port)):
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers=headers) as client:

            async def fetch(wanted: Filter, after: str) -> Sequence[str]:
                query = [*_query(wanted), ("page_size", str(listing.PAGE))]
                if after:
                    query.append(("page_token", token_of(after)))
                async with client.get("/v1.0/recordings", params=query) as answer:
                    body = await answer.read()
                    if answer.status != 200:
                        raise RuntimeError(f"{answer.status}: {body[:300]!r}")
                return [each.id for each in msgspec.json.decode(body, type=_Page).result]

            yield fetch


def _query(wanted: Filter) -> list[tuple[str, str]]:
    """Return a filter as the REST API takes it."""
    given: list[tuple[str, str]] = []
    for name in Filter.__dataclass_fields__:
        value: Any = getattr(wanted, name)
        if value in ("", None, (), False) and not (name == "held" and value is False):
            continue
        if name == "states":
            given += [("state", state.value) for state in value]
        elif isinstance(value, datetime):
            given.append((name, value.isoformat()))
        else:
            given.append((name, str(value).lower() if isinstance(value, bool) else str(value)))
    return given
