"""Blobs in an object store: S3 and what speaks like it, Google Cloud Storage, Azure.

An object is visible once its last part is accepted, so it is read back where it already is. One
that reads back wrong is reported and stays: the next try replaces it, and to remove it could hit
that of another worker. Objects are read by ranges of a few megabytes, each a request of its own: a
reader may be as slow as it likes, and a request that breaks is repeated without the rest.

A process that dies in the middle of an upload leaves parts that no listing shows. The bucket needs
a lifecycle rule that aborts incomplete uploads.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Final

import obstore
from obstore.exceptions import BaseError
from obstore.store import ObjectStore

from voxtra.blobs.base import BlobError, BlobNotFound, BlobStore, Stored, Upload, mismatch

__all__ = ["CloudStore"]

PART_BYTES: Final = 5 * 1024 * 1024
"""What is sent, and read back, in one request: the least that S3 takes, since each has a deadline.
S3 takes 10 000 of them, so 48 GiB in one object.
"""

PARTS_AT_ONCE: Final = 4

WINDOW: Final = 4 * 1024 * 1024

LISTED: Final = 1000
"""Keys in one answer, the most that S3 gives."""


class CloudStore(BlobStore):
    """The blobs of one bucket or container, under the prefix that `store` was made with."""

    _window = WINDOW

    def __init__(self, store: ObjectStore) -> None:
        super().__init__()
        self._store = store

    def _create(self, key: str) -> Upload:
        return _CloudUpload(self._store, key)

    def _read(self, key: str, start: int, end: int) -> bytes:
        if start == end:
            self._size(key)  # a blob that is not there is an error here, too
            return b""
        with _blamed(key):
            try:
                return bytes(obstore.get_range(self._store, key, start=start, end=end))
            except BaseError as error:
                if _summary(error)[0] == 416:
                    return b""  # it begins behind the end
                raise

    def _size(self, key: str) -> int:
        with _blamed(key):
            return obstore.head(self._store, key)["size"]

    def _delete(self, key: str) -> None:
        try:
            with _blamed(key):
                obstore.delete(self._store, key)
        except BlobNotFound:
            pass  # S3 calls that a success itself

    def _sweep(self, before: datetime) -> int:
        return 0

    def _keys(self, prefix: str) -> Iterator[list[str]]:
        with _blamed(prefix):
            for some in obstore.list(self._store, prefix, chunk_size=LISTED):
                yield [each["path"] for each in some]


class _CloudUpload(Upload):
    """One object, in parts when it is larger than one."""

    def __init__(self, store: ObjectStore, key: str) -> None:
        self._store = store
        self._key = key
        self._size = 0
        self._writer = obstore.open_writer(
            store, key, buffer_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE
        )

    def write(self, data: bytes) -> None:
        """See `Upload.write`."""
        with _blamed(self._key, writing=True):
            self._writer.write(data)

    def commit(self, expected: Stored) -> None:
        """See `Upload.commit`."""
        with _blamed(self._key, writing=True):
            self._writer.close()
        digest = hashlib.sha256()
        with _blamed(self._key):
            size = obstore.head(self._store, self._key)["size"]
            for start in range(0, min(size, expected.size), PART_BYTES):
                end = min(start + PART_BYTES, size)
                digest.update(obstore.get_range(self._store, self._key, start=start, end=end))
        found = Stored(size, digest.hexdigest())
        if found != expected:
            raise mismatch(self._key, expected, found)

    def discard(self) -> None:
        """See `Upload.discard`."""
        # Leaving the writer with an error is what tells the store to forget the parts it has.
        with suppress(Exception):
            self._writer.__exit__(BlobError, BlobError(self._key, "given up"), None)


@contextmanager
def _blamed(key: str, *, writing: bool = False) -> Iterator[None]:
    """Raise the store's errors for those of obstore."""
    try:
        yield
    except (BaseError, OSError) as error:
        status, summary = _summary(error)
        if status == 404 and (writing or "NoSuchBucket" in summary):
            problem = f"there is no such bucket or container ({summary}): make it"
            raise BlobError(key, problem) from error
        if isinstance(error, FileNotFoundError):
            raise BlobNotFound(key) from error
        if status in (401, 403):
            problem = (
                f"the object store refuses access ({summary}): check the keys in storage.options "
                "and what they may do in the bucket"
            )
            raise BlobError(key, problem) from error
        raise BlobError(key, f"the object store fails ({summary})") from error


_CODE: Final = re.compile(r"<Code>(\w+)</Code>")
_STATUS: Final = re.compile(r"status code: (\d+)")


def _summary(error: Exception) -> tuple[int, str]:
    """Return the HTTP status (0: there was no answer) and the error in a few words: obstore's own
    text goes on for pages.
    """
    text = str(error).partition("\n\nDebug source")[0]
    status, code = _STATUS.search(text), _CODE.search(text)
    if status:
        return int(status[1]), f"HTTP {status[1]}" + (f", {code[1]}" if code else "")
    return 0, " ".join(text.split())[:300]
