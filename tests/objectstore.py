"""A real S3 server on loopback (moto's), and a proxy before it that can do it wrong."""

from __future__ import annotations

import asyncio
import io
import logging
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from moto.server import ThreadedMotoServer
from yarl import URL

from voxtra.ids import new_id

__all__ = ["FaultyProxy", "ObjectStore", "object_store"]


class ObjectStore:
    """A server that speaks S3, and a fresh bucket in it for whoever asks."""

    def __init__(self, url: str) -> None:
        self.url = url

    def options(self, url: str = "", **more: str) -> dict[str, str]:
        """Return the storage options that reach it, or a proxy before it."""
        return {
            "endpoint": url or self.url,
            "region": "us-east-1",
            "access_key_id": "test",
            "secret_access_key": "test-secret-key",
            "allow_http": "true",
            **more,
        }

    def bucket(self) -> str:
        """Make a bucket and return its name."""
        name = f"b{new_id()}"
        self._ask("PUT", f"/{name}")
        return name

    def objects(self, bucket: str) -> str:
        """Return the listing of a bucket, as XML."""
        return self._ask("GET", f"/{bucket}?list-type=2")

    def uploads(self, bucket: str) -> str:
        """Return the listing of the uploads that nobody completed or aborted, as XML."""
        return self._ask("GET", f"/{bucket}?uploads")

    def _ask(self, method: str, path: str) -> str:
        request = urllib.request.Request(self.url + path, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return str(answer.read().decode())


@pytest.fixture(scope="session")
def object_store() -> Iterator[ObjectStore]:
    """One object store for the whole run."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for every request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield ObjectStore(f"http://{host}:{port}")
    finally:
        server.stop()


_OF_AWS = (
    "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, "
    "SignedHeaders=host, Signature=0"
)

Fault = Callable[[web.Request, bytes], Awaitable[web.StreamResponse | bytes | None]]
"""Looks at a request: an answer is given in place of the store's, bytes replace the body that is
passed on, None leaves all as it is.
"""


class FaultyProxy:
    """Passes requests on to an object store, unless `fault` has something else in mind.

    `asked` has what came in as "METHOD path?query".
    """

    def __init__(self, target: str) -> None:
        self.url = ""
        self.fault: Fault | None = None
        self.asked: list[str] = []
        self.open = asyncio.Event()
        self._target = target

    @classmethod
    @asynccontextmanager
    async def before(cls, store: ObjectStore) -> AsyncIterator[FaultyProxy]:
        """Serve on a free port of loopback."""
        proxy = cls(store.url)
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", proxy._serve)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        proxy.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield proxy
        finally:
            proxy.open.set()
            await runner.cleanup()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(f"{request.method} {request.path_qs}")
        body = await request.read()
        if self.fault is not None:
            done = await self.fault(request, body)
            if isinstance(done, web.StreamResponse):
                return done
            body = body if done is None else done
        dropped = {"content-length", "transfer-encoding", "host", "content-md5"}
        headers = {k: v for k, v in request.headers.items() if k.lower() not in dropped}
        if "AWS4" not in request.headers.get("Authorization", ""):
            headers["Authorization"] = _OF_AWS  # the server does not know Google's
        url = URL(self._target + request.raw_path, encoded=True)
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.request(request.method, url, data=io.BytesIO(body), headers=headers) as answer,
        ):
            content = await answer.read()
            passed = {k: v for k, v in answer.headers.items() if k.lower() not in dropped}
            if request.method == "HEAD" and "Content-Length" in answer.headers:
                passed["Content-Length"] = answer.headers["Content-Length"]
            return web.Response(status=answer.status, body=content, headers=passed)
