"""What every store does alike: a folder, S3, and Google's and Azure's by the same code."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.objectstore import FaultyProxy, ObjectStore
from tests.toy_azure import ToyAzure
from voxtra.blobs.base import BlobError, BlobNotFound, BlobStore, InvalidBlobKey, Stored
from voxtra.blobs.stores import open_store
from voxtra.exceptions import ConfigurationError

KEY = "recordings/tenant-1/2026/01/31/0190.wav"


@pytest.fixture(params=["file", "s3", "gs", "az"])
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, object_store: ObjectStore
) -> AsyncIterator[BlobStore]:
    """Open an empty store of each kind."""
    async with AsyncExitStack() as stack:
        if request.param == "file":
            opened = open_store(f"file://{tmp_path}/blobs")
        elif request.param == "s3":
            url = f"s3://{object_store.bucket()}/some/prefix"
            opened = open_store(url, object_store.options())
        elif request.param == "gs":
            # Google's XML interface is S3's, but for how one proves who one is.
            proxy = await stack.enter_async_context(FaultyProxy.before(object_store))
            account = {
                "gcs_base_url": proxy.url,
                "disable_oauth": True,
                "client_email": "",
                "private_key": "",
                "private_key_id": "",
            }
            options = {"service_account_key": json.dumps(account), "allow_http": "true"}
            opened = open_store(f"gs://{object_store.bucket()}/prefix", options)
        elif request.param == "az":
            azure = await stack.enter_async_context(ToyAzure.run())
            options = {
                "account_name": "account",
                "access_key": "c2VjcmV0",
                "endpoint": f"{azure.url}/account",
                "allow_http": "true",
            }
            opened = open_store("az://container/some/prefix", options)
        yield opened
        opened.close()


def file_of(folder: Path, size: int, seed: bytes = b"x") -> tuple[Path, bytes]:
    """Write a file whose bytes do not repeat."""
    data = hashlib.shake_128(seed).digest(size)
    path = folder / f"source-{size}-{seed.hex()}"
    path.write_bytes(data)
    return path, data


async def content(store: BlobStore, key: str) -> bytes:
    """Return all of a blob."""
    return b"".join([piece async for piece in store.stream(key, 0, await store.size(key))])


@pytest.mark.parametrize("size", [0, 1, 3_000_000, 9_000_000])
async def test_what_is_put_is_there(store: BlobStore, tmp_path: Path, size: int) -> None:
    """Length and hash are told, the bytes come back, and the source stays as it was."""
    path, data = file_of(tmp_path, size)
    stored = await store.put(KEY, path)
    assert stored == Stored(size, hashlib.sha256(data).hexdigest())
    assert await store.size(KEY) == size
    assert await content(store, KEY) == data
    assert path.read_bytes() == data


async def test_to_put_twice_is_to_put_once(store: BlobStore, tmp_path: Path) -> None:
    """The same file again changes nothing; another one takes its place."""
    path, data = file_of(tmp_path, 100_000)
    assert await store.put(KEY, path) == await store.put(KEY, path)
    assert await content(store, KEY) == data
    other, changed = file_of(tmp_path, 50_000, b"y")
    await store.put(KEY, other)
    assert await content(store, KEY) == changed


async def test_many_put_the_same_at_once(store: BlobStore, tmp_path: Path) -> None:
    """Whoever is last, the blob is whole, and everybody is told the same."""
    path, data = file_of(tmp_path, 300_000)
    results = await asyncio.gather(*(store.put(KEY, path) for _ in range(8)))
    assert len(set(results)) == 1
    assert await content(store, KEY) == data


async def test_ranges_are_half_open_and_end_with_the_blob(store: BlobStore, tmp_path: Path) -> None:
    """A range gives what there is of it, also none at all."""
    path, data = file_of(tmp_path, 1000)
    await store.put(KEY, path)
    for start, end in [(0, 1000), (0, 1), (999, 1000), (100, 200), (500, 500), (0, 0)]:
        assert await store.read(KEY, start, end) == data[start:end]
    assert await store.read(KEY, 990, 5000) == data[990:]
    assert await store.read(KEY, 1000, 1001) == b""
    assert await store.read(KEY, 2000, 2001) == b""
    for start, end in [(-1, 5), (5, 4)]:
        with pytest.raises(ValueError, match="no range"):
            await store.read(KEY, start, end)


async def test_a_stream_comes_in_pieces_of_the_wanted_size(
    store: BlobStore, tmp_path: Path
) -> None:
    """Every piece but the last has the length that was asked for; a range may begin anywhere."""
    path, data = file_of(tmp_path, 5_000_000)
    await store.put(KEY, path)
    pieces = [piece async for piece in store.stream(KEY, 7, 4_700_000, chunk=300_000)]
    assert b"".join(pieces) == data[7:4_700_000]
    assert {len(piece) for piece in pieces[:-1]} == {300_000}
    assert [piece async for piece in store.stream(KEY, 8, 8)] == []


async def test_a_stream_that_ends_too_early_is_an_error(store: BlobStore, tmp_path: Path) -> None:
    """Who promised a length finds out that the blob is shorter."""
    path, _ = file_of(tmp_path, 1000)
    await store.put(KEY, path)
    with pytest.raises(BlobError, match="ends at byte 1000, before byte 1001"):
        [piece async for piece in store.stream(KEY, 0, 1001)]


async def test_what_is_not_there_is_not_found(store: BlobStore) -> None:
    """Every way to read says so, for a key that never was and for a folder of keys."""
    for key in (KEY, "recordings"):
        for reading in (store.size(key), store.read(key, 0, 1), store.read(key, 0, 0)):
            with pytest.raises(BlobNotFound):
                await reading
        with pytest.raises(BlobNotFound):
            [piece async for piece in store.stream(key, 0, 1)]


async def test_to_delete_twice_is_to_delete_once(store: BlobStore, tmp_path: Path) -> None:
    """What is gone already is a success, and its neighbours stay."""
    path, data = file_of(tmp_path, 10)
    await store.put(KEY, path)
    await store.put(f"{KEY}.peaks", path)
    await store.delete(KEY)
    await store.delete(KEY)
    with pytest.raises(BlobNotFound):
        await store.size(KEY)
    assert await content(store, f"{KEY}.peaks") == data


async def test_what_is_written_bit_by_bit_is_there_at_the_end(store: BlobStore) -> None:
    """Nothing is visible inside the block, all of it afterwards, with length and hash."""
    piece = bytes(range(256)) * 1000
    async with store.open_writer("exports/t/1.zip") as writer:
        for _ in range(40):
            await writer.write(piece)
        with pytest.raises(BlobNotFound):
            await store.size("exports/t/1.zip")
    assert writer.stored == Stored(40 * 256_000, hashlib.sha256(piece * 40).hexdigest())
    assert await content(store, "exports/t/1.zip") == piece * 40


@pytest.mark.parametrize("written", [0, 100, 12_000_000])
async def test_a_writer_that_fails_leaves_what_was_there(store: BlobStore, written: int) -> None:
    """An error in the block comes through; the blob of before is still the one."""
    await store.write("exports/t/1.zip", [b"before"])

    async def write() -> None:
        async with store.open_writer("exports/t/1.zip") as writer:
            for _ in range(written // 100_000 + 1):
                await writer.write(bytes(min(written, 100_000)))
            raise KeyError

    with pytest.raises(KeyError):
        await write()
    assert await content(store, "exports/t/1.zip") == b"before"


async def test_a_source_that_fails_leaves_what_was_there(store: BlobStore, tmp_path: Path) -> None:
    """What the chunks raise comes through, also when a part of them is sent already."""

    def chunks() -> Iterator[bytes]:
        for _ in range(12):
            yield bytes(1_000_000)
        raise KeyError("mine")

    await store.write(KEY, [b"before"])
    with pytest.raises(KeyError, match="mine"):
        await store.write(KEY, chunks())
    with pytest.raises(FileNotFoundError):
        await store.put(KEY, tmp_path / "none")
    assert await content(store, KEY) == b"before"


async def test_a_cancelled_write_ends_soon_and_leaves_nothing(store: BlobStore) -> None:
    """The thread does not go on with what nobody waits for."""
    begun, ended = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def chunks() -> Iterator[bytes]:
        try:
            loop.call_soon_threadsafe(begun.set)
            while True:
                yield bytes(1000)
        finally:
            loop.call_soon_threadsafe(ended.set)

    task = asyncio.create_task(store.write(KEY, chunks()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(10):
        await ended.wait()
    with pytest.raises(BlobNotFound):
        await store.size(KEY)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/a",
        "a/",
        "a//b",
        "..",
        "a/../b",
        "a/./b",
        ".hidden",
        "a b",
        "a\\b",
        "a\0b",
        "a\n",
        "é",
        "a%2fb",
        "a.part",
        "a.part/b",
        "a" * 201,
        "/".join(["a" * 100] * 9),
    ],
)
async def test_keys_that_could_leave_the_store_are_refused(store: BlobStore, key: str) -> None:
    """Every verb refuses them before anything happens."""
    verbs = [
        store.put(key, Path("x")),
        store.write(key, []),
        store.read(key, 0, 1),
        store.size(key),
        store.delete(key),
    ]
    for verb in verbs:
        with pytest.raises(InvalidBlobKey, match="is no key of a blob"):
            await verb
    with pytest.raises(InvalidBlobKey):
        [piece async for piece in store.stream(key, 0, 1)]
    with pytest.raises(InvalidBlobKey):
        async with store.open_writer(key):
            pass
    with pytest.raises(InvalidBlobKey):
        store.local_path(key)


async def test_sweeping_takes_no_blob(store: BlobStore, tmp_path: Path) -> None:
    """Whatever was completed stays, however old it is."""
    path, data = file_of(tmp_path, 10)
    await store.put(KEY, path)
    assert await store.sweep(datetime.now(UTC) + timedelta(days=1)) == 0
    assert await content(store, KEY) == data


# -- listing


async def test_the_keys_below_a_prefix_are_told(store: BlobStore) -> None:
    """All blobs that begin with the names of the prefix, and no others."""
    assert [key async for key in store.keys("recordings")] == []
    made = {"recordings/a/1.wav", "recordings/a/b/2.wav", "recordings/3.wav"}
    for key in (*made, "recordings-old/4.wav", "exports/5.zip"):
        await store.write(key, [b"x"])
    async with store.open_writer("recordings/6.wav") as writer:
        await writer.write(b"x")
        assert {key async for key in store.keys("recordings")} == made
    assert {key async for key in store.keys("recordings")} == {*made, "recordings/6.wav"}
    assert {key async for key in store.keys("recordings/a")} == {
        "recordings/a/1.wav",
        "recordings/a/b/2.wav",
    }


# -- opening


@pytest.mark.parametrize(
    ("url", "options", "field", "problem"),
    [
        ("blobs", {}, "storage.url", "'blobs' is no store"),
        ("ftp://x/y", {}, "storage.url", "'ftp' is no store"),
        ("file://blobs/x", {}, "storage.url", "whole path"),
        ("file:blobs", {}, "storage.url", "whole path"),
        ("file:///blobs", {"region": "x"}, "storage.options", "takes no options"),
        ("s3://", {}, "storage.url", "names no bucket"),
        ("s3://key:secret@bucket", {}, "storage.url", "credentials"),
        ("s3://b?x=1", {}, "storage.url", "query"),
        ("s3://b//x", {"endpoint": "nonsense"}, "storage.options.endpoint", "is no URL"),
        ("s3://b/x//y", {}, "storage.options", "empty path segment"),
        ("s3://b", {"endpoint": "http://x"}, "storage.options.endpoint", "in the clear"),
        ("s3://b", {"allow_http": "perhaps"}, "storage.options.allow_http", "neither true nor"),
        ("s3://b", {"timeout": "soon"}, "storage.options.timeout", "no number"),
        ("s3://b", {"timeout": "0"}, "storage.options.timeout", "no number"),
        ("s3://b", {"timeout": "nan"}, "storage.options.timeout", "no number"),
        ("s3://b", {"retries": "-1"}, "storage.options.retries", "no number"),
        ("s3://b", {"secret": "x"}, "storage.options.secret", "no such option for s3"),
        ("gs://b", {"account_name": "x"}, "storage.options.account_name", "no such option"),
        ("az://c", {}, "storage.options", "Account must be specified"),
    ],
)
def test_what_can_not_be_opened_says_which_setting_is_wrong(
    url: str, options: dict[str, str], field: str, problem: str
) -> None:
    """One error that names the field, before anything is asked of a store."""
    with pytest.raises(ConfigurationError, match=problem) as caught:
        open_store(url, options)
    assert caught.value.field == field


def test_secrets_are_not_in_errors() -> None:
    """What the object store's library says of a wrong option is given without its value."""
    options = {"service_account_key": '{"private_key": "geheim"}'}
    with pytest.raises(ConfigurationError) as caught:
        open_store("gs://b", options)
    assert "geheim" not in str(caught.value)
    with pytest.raises(ConfigurationError) as caught:
        open_store("s3://user:geheim@b", {})
    assert "geheim" not in str(caught.value)


def test_every_kind_opens_without_asking_anybody() -> None:
    """Azure and Google are a matter of configuration; a folder is not made before it is used."""
    for url, options in [
        ("az://container/prefix", {"account_name": "a", "access_key": "c2VjcmV0"}),
        ("gs://bucket", {}),
        ("s3://bucket/a/b/", {"region": "eu-central-1", "virtual_hosted_style_request": "true"}),
        ("file:///nowhere/at%20all", {}),
    ]:
        opened = open_store(url, options)
        expected = Path("/nowhere/at all/a") if url.startswith("file") else None
        assert opened.local_path("a") == expected
        opened.close()
    assert not os.path.exists("/nowhere")
