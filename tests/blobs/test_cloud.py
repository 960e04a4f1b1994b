"""The object store: every way in which it, or the network to it, can fail."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from tests.objectstore import Fault, FaultyProxy, ObjectStore
from voxtra.blobs.base import BlobError, BlobNotFound, BlobStore
from voxtra.blobs.stores import open_store

KEY = "recordings/t/2026/01/31/a.wav"
LARGE = 9_000_000  # two parts


class Rig:
    """A store behind a proxy that can fail, and one that always works on the same bucket."""

    def __init__(self, server: ObjectStore, proxy: FaultyProxy, **options: str) -> None:
        self.server = server
        self.proxy = proxy
        self.bucket = server.bucket()
        self.store = self._open(server.options(proxy.url, **options))
        self.sound = self._open(server.options())

    def _open(self, options: dict[str, str]) -> BlobStore:
        return open_store(f"s3://{self.bucket}", options)


@pytest.fixture
async def rig(object_store: ObjectStore) -> AsyncIterator[Rig]:
    """Open a store whose requests have half a second, and one more try."""
    async with rigged(object_store, timeout="0.5", retries="1") as made:
        yield made


@asynccontextmanager
async def rigged(server: ObjectStore, **options: str) -> AsyncIterator[Rig]:
    """Make a rig with options of its own."""
    async with FaultyProxy.before(server) as proxy:
        made = Rig(server, proxy, **options)
        yield made
        made.store.close()
        made.sound.close()


def is_upload(request: web.Request) -> bool:
    """Tell whether a request brings bytes: an object, or a part of one."""
    return request.method == "PUT"


def always(status: int, code: str) -> Fault:
    """Answer everything with an error of S3."""

    async def fault(request: web.Request, body: bytes) -> web.StreamResponse:
        text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>"
        return web.Response(status=status, text="" if request.method == "HEAD" else text)

    return fault


@pytest.mark.parametrize("size", [1000, LARGE])
@pytest.mark.parametrize(
    ("status", "code", "cause"),
    [
        (403, "AccessDenied", r"refuses access \(HTTP 403, AccessDenied\): check the keys in"),
        (401, "InvalidAccessKeyId", r"refuses access \(HTTP 401, InvalidAccessKeyId\)"),
        (500, "InternalError", r"fails \(HTTP 500, InternalError\)"),
        (503, "SlowDown", r"fails \(HTTP 503, SlowDown\)"),
        (404, "NoSuchBucket", r"no such bucket or container \(HTTP 404, NoSuchBucket\): make it"),
    ],
)
async def test_a_refusal_has_a_cause_and_costs_nothing(
    rig: Rig, tmp_path: Path, status: int, code: str, cause: str, size: int
) -> None:
    """The error says what the store said; the source stays; when the fault is over it works."""
    source = tmp_path / "source"
    source.write_bytes(bytes(size))
    rig.proxy.fault = always(status, code)
    with pytest.raises(BlobError, match=cause) as caught:
        await rig.store.put(KEY, source)
    assert not isinstance(caught.value, BlobNotFound)
    assert "test-secret-key" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert source.stat().st_size == size
    with pytest.raises(BlobNotFound):
        await rig.sound.size(KEY)
    rig.proxy.fault = None
    assert (await rig.store.put(KEY, source)).size == size


@pytest.mark.parametrize("status", [403, 500])
async def test_a_refusal_to_read_or_delete_is_no_absence(rig: Rig, status: int) -> None:
    """Only the store's own word makes a blob missing: anything else may be over in a minute."""
    await rig.sound.write(KEY, [b"x"])
    rig.proxy.fault = always(status, "Whatever")
    for verb in (rig.store.size(KEY), rig.store.read(KEY, 0, 1), rig.store.delete(KEY)):
        with pytest.raises(BlobError) as caught:
            await verb
        assert not isinstance(caught.value, BlobNotFound)


async def test_a_bucket_that_is_not_there_loses_no_blob(rig: Rig) -> None:
    """Reading from a bucket that was named wrongly is an error of the store, not a missing blob."""
    rig.proxy.fault = always(404, "NoSuchBucket")
    with pytest.raises(BlobError, match="no such bucket") as caught:
        await rig.store.read(KEY, 0, 1)
    assert not isinstance(caught.value, BlobNotFound)


@pytest.mark.parametrize("size", [1000, LARGE])
async def test_an_upload_that_is_cut_or_changed_on_the_way_is_found_out(
    rig: Rig, tmp_path: Path, size: int
) -> None:
    """A store that takes less than was sent, or something else, and says it is well, is not
    believed; the next try replaces what it has.
    """
    source = tmp_path / "source"
    source.write_bytes(bytes(size))

    async def cut(request: web.Request, body: bytes) -> bytes | None:
        return body[:-100] if is_upload(request) and len(body) < 5_000_000 else None

    async def changed(request: web.Request, body: bytes) -> bytes | None:
        return b"?" + body[1:] if is_upload(request) else None

    async with rigged(rig.server, timeout="20") as patient:
        for fault, problem in ((cut, "bytes came back of"), (changed, "other bytes came back")):
            patient.proxy.fault = fault
            with pytest.raises(BlobError, match=problem):
                await patient.store.put(KEY, source)
            with pytest.raises(BlobError, match=problem):
                async with patient.store.open_writer(KEY) as writer:
                    await writer.write(bytes(size))
            assert writer.stored is None
        patient.proxy.fault = None
        await patient.store.put(KEY, source)
        assert await patient.sound.read(KEY, 0, 1) == b"\0"


async def test_an_error_that_passes_is_not_seen(object_store: ObjectStore, tmp_path: Path) -> None:
    """One 500 for every request is tried again, and nobody is told."""
    seen: set[str] = set()

    async def once(request: web.Request, body: bytes) -> web.StreamResponse | None:
        key = f"{request.method} {request.path_qs} {request.headers.get('Range')}"
        if key in seen:
            return None
        seen.add(key)
        return web.Response(status=500)

    source = tmp_path / "source"
    source.write_bytes(bytes(LARGE))
    async with rigged(object_store, timeout="20", retries="3") as rig:
        rig.proxy.fault = once
        assert (await rig.store.put(KEY, source)).size == LARGE
        assert len(rig.proxy.asked) >= 2 * 5


@pytest.mark.parametrize("size", [1000, LARGE])
async def test_a_store_that_does_not_answer_ends_in_an_error(
    rig: Rig, tmp_path: Path, size: int
) -> None:
    """After its tries, each with its deadline; other work of the loop goes on meanwhile."""
    source = tmp_path / "source"
    source.write_bytes(bytes(size))

    async def hang(request: web.Request, body: bytes) -> None:
        await rig.proxy.open.wait()

    rig.proxy.fault = hang
    loop = asyncio.get_running_loop()
    begun = loop.time()
    task = asyncio.create_task(rig.store.put(KEY, source))
    turns = 0
    while not task.done():
        turns += 1
        await asyncio.wait({task}, timeout=0.01)
    with pytest.raises(BlobError, match="the object store fails"):
        await task
    assert turns > 10
    assert loop.time() - begun < 15
    assert source.stat().st_size == size


async def test_a_store_that_is_not_there_ends_in_an_error(object_store: ObjectStore) -> None:
    """Nobody listens: the error names the address, and not what goes on inside a library."""
    options = object_store.options("http://127.0.0.1:1", timeout="0.5", retries="0")
    store = open_store("s3://bucket", options)
    with pytest.raises(BlobError, match=r"127\.0\.0\.1:1") as caught:
        await store.write(KEY, [b"x"])
    assert len(caught.value.cause) < 500
    store.close()


async def test_an_answer_that_breaks_off_is_fetched_again(rig: Rig) -> None:
    """A connection that is cut in the middle of a blob costs a request, not the stream."""
    data = bytes(range(256)) * 4000
    await rig.sound.write(KEY, [data])
    cut: list[str] = []

    async def breaks_off(request: web.Request, body: bytes) -> web.StreamResponse | None:
        if request.method != "GET" or cut:
            return None
        cut.append(request.path)
        headers = {
            "Content-Length": str(len(data)),
            "Content-Range": f"bytes 0-{len(data) - 1}/{len(data)}",
            "ETag": f'"{hashlib.md5(data).hexdigest()}"',
            "Last-Modified": "Sat, 31 Jan 2026 00:00:00 GMT",
        }
        answer = web.StreamResponse(status=206, headers=headers)
        await answer.prepare(request)
        await answer.write(data[:1000])
        assert request.transport is not None
        request.transport.close()
        return answer

    async with rigged(rig.server, timeout="20") as patient:
        store = open_store(f"s3://{rig.bucket}", rig.server.options(patient.proxy.url))
        patient.proxy.fault = breaks_off
        assert b"".join([piece async for piece in store.stream(KEY, 0, len(data))]) == data
        assert cut
        store.close()


@pytest.mark.parametrize("how", ["chunks fail", "writer fails", "cancelled"])
async def test_an_upload_that_is_given_up_leaves_no_parts(rig: Rig, how: str) -> None:
    """What was begun is aborted, so that nobody pays for parts that no listing shows."""
    begun = asyncio.Event()

    def chunks() -> Iterator[bytes]:
        for _ in range(10):
            yield bytes(1_000_000)
        raise KeyError

    async def write() -> None:
        async with rig.sound.open_writer(KEY) as writer:
            for _ in range(10):
                await writer.write(bytes(1_000_000))
            if how == "writer fails":
                raise KeyError
            begun.set()
            await asyncio.Event().wait()

    if how == "chunks fail":
        with pytest.raises(KeyError):
            await rig.sound.write(KEY, chunks())
    elif how == "writer fails":
        with pytest.raises(KeyError):
            await write()
    else:
        task = asyncio.create_task(write())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert "<UploadId>" not in rig.server.uploads(rig.bucket)
    assert "<Key>" not in rig.server.objects(rig.bucket)


async def test_a_slow_reader_holds_no_request(rig: Rig) -> None:
    """Each window is one request, complete before the first piece of it is given out: a listener
    who pauses for longer than any deadline still hears the rest.
    """
    await rig.sound.write(KEY, [bytes(LARGE)])
    async with rigged(rig.server, timeout="20") as patient:
        store = open_store(f"s3://{rig.bucket}", rig.server.options(patient.proxy.url))
        reading = store.stream(KEY, 0, LARGE)
        first = await anext(reading)
        asked = len(patient.proxy.asked)
        rest = [piece async for piece in reading]
        assert asked == 1
        assert len(first) + sum(map(len, rest)) == LARGE
        assert len(patient.proxy.asked) == 3
        store.close()


def test_a_process_that_used_a_store_ends_in_peace(object_store: ObjectStore) -> None:
    """At the end of a process there is no abort and no word on stderr, also with work under way."""
    program = (
        "import asyncio, sys\n"
        "from voxtra.blobs.stores import open_store\n"
        "options = dict(pair.split('=', 1) for pair in sys.argv[2:])\n"
        "store = open_store(sys.argv[1], options)\n"
        "async def main():\n"
        "    await store.write('a', [b'x' * 1000])\n"
        "    assert await store.read('a', 0, 1) == b'x'\n"
        "    asyncio.create_task(store.write('b', [bytes(10_000_000)]))\n"
        "    await asyncio.sleep(0)\n"
        "asyncio.run(main())\n"
    )
    options = [f"{name}={value}" for name, value in object_store.options().items()]
    url = f"s3://{object_store.bucket()}"
    done = subprocess.run(
        [sys.executable, "-c", program, url, *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
