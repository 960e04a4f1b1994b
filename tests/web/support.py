"""What tests of the REST API work with: a service without a PBX, keys, clients, a real server."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from httpx import ASGITransport

from voxtra.blobs.local import LocalStore
from voxtra.config import VoxtraConfig
from voxtra.exceptions import TelephonyConnectionError
from voxtra.service.context import Service
from voxtra.service.files import AudioFiles
from voxtra.store import access
from voxtra.store.database import Database
from voxtra.web.site import Site

__all__ = ["FOREIGN", "Clock", "NoPbx", "client_of", "make_key", "service_on", "serving"]

FOREIGN = "foreign"
"""The id of the tenant that must see nothing of the default one's."""


class Clock:
    """A clock that goes only when it is told to."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now

    def go(self, **duration: float) -> None:
        """Let time pass."""
        self.now += timedelta(**duration)


class NoPbx:
    """The control of a service whose PBX is away: every verb says so."""

    def __init__(self) -> None:
        self.connected: bool | None = None

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        async def refuse(*_arguments: object, **_options: object) -> None:
            raise TelephonyConnectionError("the PBX is away")

        return refuse


def service_on(
    database: Database,
    folder: Path,
    *,
    config: dict[str, Any] | None = None,
    control: Any = None,
    clock: Callable[[], datetime] | None = None,
) -> Service:
    """Return a service on a database, with its files in a folder."""
    blobs = LocalStore(folder / "blobs")
    values: dict[str, Any] = {
        "config": VoxtraConfig.model_validate(config or {}),
        "database": database,
        "blobs": blobs,
        "audio": AudioFiles(blobs, folder / "derived"),
        "control": control or NoPbx(),
        "node": "test",
        "data_dir": folder,
    }
    return Service(**values, clock=clock or Clock())


async def make_key(
    service: Service, role: str, tenant_id: str = access.DEFAULT_TENANT, **options: Any
) -> str:
    """Make a key (and its tenant), and return it as it is sent."""
    async with service.database.write() as connection:
        await access.create_tenant(connection, tenant_id, now=service.clock())
        made = await access.create_key(
            connection,
            tenant_id=tenant_id,
            name=options.pop("name", f"the {role}"),
            role=role,
            now=service.clock(),
            **options,
        )
    return made.secret


def client_of(site: Site, key: str = "", **options: Any) -> httpx.AsyncClient:
    """Return a client that speaks to the site without a network; `key` goes with each request."""
    address = options.pop("address", "127.0.0.1")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.AsyncClient(
        transport=ASGITransport(site, client=(address, 40000)),
        base_url="http://voxtra.test",
        headers=headers | options.pop("headers", {}),
        **options,
    )


@contextlib.asynccontextmanager
async def serving(site: Site, **options: Any) -> AsyncIterator[str]:
    """Serve the site on loopback while the block runs; yield its URL."""
    # With its protocol named, or asyncio leaves Nagle's algorithm on: 40 ms for each answer.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    config = uvicorn.Config(site, log_config=None, lifespan="off", ws="none", **options)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        site.state.closing.set()
        server.should_exit = True
        await task
        listening.close()
