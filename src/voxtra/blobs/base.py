"""What every place for blobs can do, and the one way in which all of them write.

Writing is the same everywhere: the bytes go into something that nobody sees (`Upload`), their hash
is taken on the way, they are read back and compared, and only then does the key lead to them.

The work is done by a few threads of the store's own. They block, so that neither a slow disk nor a
slow network stops the event loop; obstore's asynchronous calls can abort a process that ends.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from voxtra.exceptions import VoxtraError

__all__ = [
    "PART",
    "BlobError",
    "BlobNotFound",
    "BlobStore",
    "BlobWriter",
    "InvalidBlobKey",
    "Stored",
    "Upload",
    "checked_key",
    "mismatch",
]

PART: Final = ".part"
"""How the name of a file ends that is being written; no key ends so."""

CHUNK: Final = 1024 * 1024

THREADS: Final = 4
"""For writing, and as many again for all else: whoever listens does not wait behind an upload."""

P = ParamSpec("P")
T = TypeVar("T")


class BlobError(VoxtraError):
    """A blob could not be written, read or removed; `cause` says why, and what to do.

    What was there before is as it was, the source of a write included. Worth another try.
    """

    def __init__(self, key: str, cause: str) -> None:
        self.key = key
        self.cause = cause
        super().__init__(f"blob {key}: {cause}")


class BlobNotFound(BlobError):
    """There is no blob of this key."""

    def __init__(self, key: str) -> None:
        super().__init__(key, "there is none")


class InvalidBlobKey(VoxtraError, ValueError):
    """The key could leave the store, or some store could not hold it."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(
            f"{key!r} is no key of a blob: write names of letters, digits, '.', '_' and '-', "
            f"separated by '/', no name beginning with '.' or ending in {PART!r}, "
            "at most 200 characters each and 800 together"
        )


@dataclass(frozen=True, slots=True)
class Stored:
    """What is stored: its length in bytes, and its SHA-256 in hex."""

    size: int
    sha256: str


_NAME: Final = r"(?!\.)[A-Za-z0-9._-]{1,200}"
_KEY: Final = re.compile(rf"{_NAME}(?:/{_NAME})*")


def checked_key(key: str) -> str:
    """Return the key, or raise `InvalidBlobKey`."""
    if not _is_key(key):
        raise InvalidBlobKey(key)
    return key


def _is_key(name: str) -> bool:
    unfinished = any(each.endswith(PART) for each in name.split("/"))
    return len(name) <= 800 and _KEY.fullmatch(name) is not None and not unfinished


def mismatch(key: str, written: Stored, found: Stored) -> BlobError:
    """Return the error for a blob that reads back as something else than was written."""
    if written.size != found.size:
        what = f"{found.size} bytes came back of {written.size} that were written"
    else:
        what = "other bytes came back than were written"
    return BlobError(key, f"{what}; check the disk or the object store")


class Upload(ABC):
    """A blob being written, visible to nobody. Every method blocks, and raises `BlobError`."""

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Add bytes."""

    @abstractmethod
    def commit(self, expected: Stored) -> None:
        """Make it durable, read it back, and let the key lead to it."""

    @abstractmethod
    def discard(self) -> None:
        """Leave nothing of it. Raises nothing; what can't be removed is left for `sweep`."""


class BlobWriter:
    """Takes the bytes of one blob as they come; `stored` says what became of them afterwards."""

    def __init__(self, upload: Upload, threads: ThreadPoolExecutor) -> None:
        self._upload = upload
        self._threads = threads
        # A cancelled write still runs in its thread: what follows has to wait for it there.
        self._lock = threading.Lock()
        self._waiting = bytearray()
        self._digest = hashlib.sha256()
        self._size = 0
        self.stored: Stored | None = None

    async def write(self, data: bytes) -> None:
        """Add bytes. Raises `BlobError`."""
        self._waiting += data
        if len(self._waiting) >= CHUNK:
            await self._pass_on()

    async def _pass_on(self) -> None:
        data, self._waiting = bytes(self._waiting), bytearray()
        await self._alone(self._take, data)

    async def commit(self) -> Stored:
        """Let the key lead to what was written."""
        await self._pass_on()
        stored = Stored(self._size, self._digest.hexdigest())
        await self._alone(self._upload.commit, stored)
        self.stored = stored
        return stored

    async def discard(self) -> None:
        """Leave nothing of what was written, also when the waiting for that is cancelled."""
        await asyncio.shield(self._alone(self._upload.discard))

    def _take(self, data: bytes) -> None:
        self._digest.update(data)
        self._size += len(data)
        self._upload.write(data)

    def _alone(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        def locked() -> T:
            with self._lock:
                return work(*args, **kwargs)

        return asyncio.get_running_loop().run_in_executor(self._threads, locked)


class BlobStore(ABC):
    """A place for blobs. Every method raises `InvalidBlobKey` and `BlobError`."""

    def __init__(self) -> None:
        self._writers = ThreadPoolExecutor(THREADS, thread_name_prefix="voxtra-blobs-write")
        self._readers = ThreadPoolExecutor(THREADS, thread_name_prefix="voxtra-blobs-read")

    async def put(self, key: str, path: Path) -> Stored:
        """Store a file under a key, durably, and prove it by reading back.

        What the key led to before is replaced. Raises OSError when the file can't be read.
        """
        return await self.write(key, _file_chunks(path))

    async def write(self, key: str, chunks: Iterable[bytes]) -> Stored:
        """Store what `chunks` yields, as `put` does. It is iterated in a thread; what it raises
        comes through, and nothing is stored then.
        """
        given_up = threading.Event()
        try:
            return await _off_loop(self._writers, self._write, checked_key(key), chunks, given_up)
        finally:
            given_up.set()

    @asynccontextmanager
    async def open_writer(self, key: str) -> AsyncIterator[BlobWriter]:
        """Store what is written in the block; the key leads to it when the block ends without an
        error, and nothing is left otherwise.
        """
        upload = await _off_loop(self._writers, self._create, checked_key(key))
        writer = BlobWriter(upload, self._writers)
        try:
            yield writer
            await writer.commit()
        except BaseException:
            await writer.discard()
            raise

    async def read(self, key: str, start: int, end: int) -> bytes:
        """Return the bytes from `start` up to before `end`, fewer where the blob ends earlier."""
        start, end = _checked_range(start, end)
        return await _off_loop(self._readers, self._read, checked_key(key), start, end)

    async def stream(
        self, key: str, start: int, end: int, chunk: int = 262_144
    ) -> AsyncIterator[bytes]:
        """Yield the bytes from `start` up to before `end` in pieces of `chunk`, the last shorter.

        Raises `BlobError` when the blob ends earlier.
        """
        checked_key(key)
        at, end = _checked_range(start, end)
        window = max(chunk, self._window // chunk * chunk)
        while at < end:
            last = min(at + window, end)
            data = memoryview(await _off_loop(self._readers, self._read, key, at, last))
            for offset in range(0, len(data), chunk):
                yield bytes(data[offset : offset + chunk])
            at += len(data)
            if at < end and len(data) < window:
                raise BlobError(key, f"it ends at byte {at}, before byte {end}")

    async def size(self, key: str) -> int:
        """Return the length in bytes. Raises `BlobNotFound`."""
        return await _off_loop(self._readers, self._size, checked_key(key))

    async def delete(self, key: str) -> None:
        """Remove a blob, durably; one that is gone already is a success."""
        await _off_loop(self._readers, self._delete, checked_key(key))

    async def sweep(self, before: datetime) -> int:
        """Remove what processes that died have left half-written, last changed before a time;
        return how much that was.
        """
        return await _off_loop(self._readers, self._sweep, before)

    async def keys(self, prefix: str) -> AsyncIterator[str]:
        """Yield the keys below a prefix (`recordings`), in no order.

        What is being written has none yet; what no store of ours has written is passed over.
        """
        found = self._keys(checked_key(prefix))
        while (some := await _off_loop(self._readers, next, found, None)) is not None:
            for key in some:
                if _is_key(key):
                    yield key

    def local_path(self, key: str) -> Path | None:
        """Return where the blob is as a file, None for a store that is no folder."""
        checked_key(key)
        return None

    def close(self) -> None:
        """Take no more work; what runs comes to its end."""
        self._writers.shutdown(wait=False)
        self._readers.shutdown(wait=False)

    # -- what a store has to bring, all of it blocking

    _window: int = CHUNK
    """Bytes that are fetched at once for a stream."""

    @abstractmethod
    def _create(self, key: str) -> Upload: ...

    @abstractmethod
    def _read(self, key: str, start: int, end: int) -> bytes: ...

    @abstractmethod
    def _size(self, key: str) -> int: ...

    @abstractmethod
    def _delete(self, key: str) -> None: ...

    @abstractmethod
    def _sweep(self, before: datetime) -> int: ...

    @abstractmethod
    def _keys(self, prefix: str) -> Iterator[list[str]]: ...

    def _write(self, key: str, chunks: Iterable[bytes], given_up: threading.Event) -> Stored:
        digest, size = hashlib.sha256(), 0
        upload = self._create(key)
        try:
            for chunk in chunks:
                if given_up.is_set():
                    raise BlobError(key, "nobody waits for it any more")
                digest.update(chunk)
                size += len(chunk)
                upload.write(chunk)
            stored = Stored(size, digest.hexdigest())
            upload.commit(stored)
        except BaseException:
            upload.discard()
            raise
        return stored


async def _off_loop(
    threads: ThreadPoolExecutor, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(threads, partial(work, *args, **kwargs))


def _file_chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(CHUNK):
            yield chunk


def _checked_range(start: int, end: int) -> tuple[int, int]:
    if not 0 <= start <= end:
        raise ValueError(f"bytes {start} to {end} are no range")
    return start, end
