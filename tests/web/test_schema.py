"""What the OpenAPI document allows, and what it does not: no request breaks the service, and no
answer is one that the document does not speak of.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.web.support import make_key, service_on, serving
from tests.web.test_matrix import things
from voxtra.store.database import Database
from voxtra.store.schema import utc_now
from voxtra.web.site import document, make_site

CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
SCHEMA = schemathesis.openapi.from_dict(document())


class Server:
    """The site on SQLite, in a thread with a loop of its own: these tests are not asynchronous."""

    def __init__(self, url: str, folder: Path) -> None:
        self._url = url
        self._folder = folder
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=self._run)
        self.url = ""
        self.key = ""

    @contextlib.contextmanager
    def running(self) -> Iterator[Server]:
        """Serve while the block runs."""
        self._thread.start()
        try:
            assert self._ready.wait(30)
            yield self
        finally:
            self._loop.call_soon_threadsafe(self._over.set)
            self._thread.join(30)

    def _run(self) -> None:
        with contextlib.closing(self._loop):
            self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        database = Database(self._url)
        config = {"server": {"requests_per_second": 100_000, "burst": 100_000}}
        service = service_on(database, self._folder, config=config, clock=utc_now)
        site = make_site(service)
        site.state.closing.set()  # or the stream of events would never end
        self.key = await make_key(service, "admin")
        await things(service)
        async with serving(site) as self.url:
            self._ready.set()
            await self._over.wait()
        await database.close()


@pytest.fixture(scope="module")
def server(migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a server that runs during these tests."""
    folder = tmp_path_factory.mktemp("schema")
    copy = folder / "voxtra.db"
    copy.write_bytes(migrated_sqlite.read_bytes())
    with Server(f"sqlite:///{copy}", folder).running() as started:
        yield started


@SCHEMA.parametrize()
@settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_documented(case, server):
    """Whatever is sent, right or wrong, is answered with a status, a type, headers and a body that
    the document has for it; the only part that may be missing is the PBX.
    """
    case.headers["Authorization"] = f"Bearer {server.key}"
    answer = case.call_and_validate(base_url=server.url, checks=CHECKS)
    assert answer.status_code < 500 or answer.json()["code"] == "pbx_unreachable"
