"""A site on each kind of database, and clients with a key of each role."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.web.support import Clock, client_of, make_key, service_on
from voxtra.service.context import Service
from voxtra.store.database import Database
from voxtra.web.site import Site, make_site


@pytest.fixture
def clock() -> Clock:
    """Return the clock of the service, which stands still until it is told to go."""
    return Clock()


@pytest.fixture
def service(database: Database, tmp_path: Path, clock: Clock) -> Service:
    """Return a service without a PBX."""
    return service_on(database, tmp_path, clock=clock)


@pytest.fixture
def site(service: Service) -> Site:
    """Return the site of the service."""
    return make_site(service)


@pytest.fixture
async def nobody(site: Site) -> AsyncIterator[httpx.AsyncClient]:
    """Return a client without a key."""
    async with client_of(site) as client:
        yield client


@pytest.fixture
async def admin(site: Site, service: Service) -> AsyncIterator[httpx.AsyncClient]:
    """Return a client with an admin's key."""
    async with client_of(site, await make_key(service, "admin")) as client:
        yield client


@pytest.fixture
async def agent(site: Site, service: Service) -> AsyncIterator[httpx.AsyncClient]:
    """Return a client with an agent's key."""
    async with client_of(site, await make_key(service, "agent")) as client:
        yield client
