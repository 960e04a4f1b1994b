"""As much of Azure's Blob service as an object store client needs, in memory.

No emulator of it can be had as a Python package. What it answers follows the service's REST
reference: Put Blob, Put Block, Put Block List, Get Blob, Get Blob Properties, List Blobs,
Blob Batch (delete).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import unquote

from aiohttp import web

__all__ = ["ToyAzure"]

_BLOCK = re.compile(r"<(?:Latest|Uncommitted)>(.*?)</")


class ToyAzure:
    """One account; its containers are there when something is put into them."""

    def __init__(self) -> None:
        self.url = ""
        self._blobs: dict[str, bytes] = {}
        self._blocks: dict[tuple[str, str], bytes] = {}

    @classmethod
    @asynccontextmanager
    async def run(cls) -> AsyncIterator[ToyAzure]:
        """Serve on a free port of loopback."""
        azure = cls()
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_put("/{path:.*}", azure._put)
        app.router.add_get("/{path:.*}", azure._get)
        app.router.add_post("/{path:.*}", azure._batch)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        azure.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield azure
        finally:
            await runner.cleanup()

    async def _put(self, request: web.Request) -> web.Response:
        data = await request.read()
        match request.query.get("comp"):
            case "block":
                self._blocks[request.path, request.query["blockid"]] = data
            case "blocklist":
                ids = _BLOCK.findall(data.decode())
                self._blobs[request.path] = b"".join(self._blocks[request.path, id_] for id_ in ids)
            case _:
                self._blobs[request.path] = data
        return web.Response(status=201, headers={"ETag": '"1"'})

    async def _get(self, request: web.Request) -> web.Response:
        if request.query.get("comp") == "list":
            return self._list(request)
        data = self._blobs.get(request.path)
        if data is None:
            return web.Response(status=404, headers={"x-ms-error-code": "BlobNotFound"})
        headers = {
            "ETag": f'"{hashlib.sha256(data).hexdigest()}"',
            "Last-Modified": "Sat, 31 Jan 2026 00:00:00 GMT",
            "Content-Length": str(len(data)),
        }
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("Range", ""))
        if wanted is None:
            return web.Response(body=data, headers=headers)
        start, end = int(wanted[1]), min(int(wanted[2]), len(data) - 1)
        if start >= len(data):
            return web.Response(status=416, headers={"x-ms-error-code": "InvalidRange"})
        headers["Content-Length"] = str(end + 1 - start)
        headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
        return web.Response(status=206, body=data[start : end + 1], headers=headers)

    def _list(self, request: web.Request) -> web.Response:
        start = f"{request.path}/{request.query.get('prefix', '')}"
        blobs = "".join(
            f"<Blob><Name>{path.removeprefix(f'{request.path}/')}</Name><Properties>"
            "<Last-Modified>Sat, 31 Jan 2026 00:00:00 GMT</Last-Modified>"
            f"<Content-Length>{len(data)}</Content-Length><Etag>1</Etag>"
            "<Content-Type>audio/wav</Content-Type></Properties></Blob>"
            for path, data in sorted(self._blobs.items())
            if path.startswith(start)
        )
        body = f"<EnumerationResults><Blobs>{blobs}</Blobs><NextMarker /></EnumerationResults>"
        return web.Response(text=body, content_type="application/xml")

    async def _batch(self, request: web.Request) -> web.Response:
        asked = (await request.read()).decode()
        answers = []
        for number, path in enumerate(re.findall(r"^DELETE (\S+) HTTP", asked, re.MULTILINE)):
            known = self._blobs.pop(unquote(path), None) is not None
            line = "202 Accepted" if known else "404 The specified blob does not exist."
            answers.append(
                f"--answers\r\nContent-Type: application/http\r\nContent-ID: {number}\r\n\r\n"
                f"HTTP/1.1 {line}\r\nx-ms-request-id: 0\r\n\r\n"
            )
        return web.Response(
            status=202,
            body="".join([*answers, "--answers--"]).encode(),
            headers={"Content-Type": "multipart/mixed; boundary=answers"},
        )
