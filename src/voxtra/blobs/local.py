"""Blobs as files in a folder: the key is the path.

A blob is written beside its place under another name, synced, read back from the disk, renamed, and
its folder synced: after any crash the key leads to a whole blob, the one before it, or nothing.
Files, and the folders they are in, are for their owner and group alone: they are what people said.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Final

from voxtra.blobs.base import (
    PART,
    BlobError,
    BlobNotFound,
    BlobStore,
    Stored,
    Upload,
    checked_key,
    mismatch,
)
from voxtra.ids import new_id

__all__ = ["LocalStore", "cause_of"]

_CAUSES: Final = {
    errno.ENOSPC: "the disk is full: free some space or enlarge it",
    errno.EDQUOT: "the disk quota is used up: raise it or free some space",
    errno.EFBIG: "the file is larger than the file system or a limit of the process allows",
    errno.EACCES: "permission denied: let the user of this process have access",
    errno.EPERM: "permission denied: let the user of this process have access",
    errno.EROFS: "the file system is read-only: mount it writable",
    errno.EIO: "the disk reports an error: check the disk and the kernel's log",
    errno.ENOENT: "there is no such file: was it removed?",
    errno.ENOTDIR: "a file is where a folder should be: move it away",
    errno.EISDIR: "a folder is where a file should be: move it away",
    errno.ESTALE: "the network file system has lost it: mount it again",
}


def cause_of(error: OSError) -> str:
    """Return in plain words why the operating system refused, and what to do."""
    known = _CAUSES.get(error.errno or 0)
    return known or f"{error.strerror or type(error).__name__} (error {error.errno})"


class LocalStore(BlobStore):
    """The blobs of the folder `root`, which is made when it is first written to."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root

    def local_path(self, key: str) -> Path:
        """Return where the file of a blob is, whether or not there is one."""
        return self.root / checked_key(key)

    def _create(self, key: str) -> Upload:
        return _LocalUpload(self.root, key)

    def _read(self, key: str, start: int, end: int) -> bytes:
        with _found(key), (self.root / key).open("rb", buffering=0) as file:
            pieces = []
            while start < end and (piece := os.pread(file.fileno(), end - start, start)):
                pieces.append(piece)
                start += len(piece)
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _size(self, key: str) -> int:
        with _found(key):
            facts = (self.root / key).stat()
            if not stat.S_ISREG(facts.st_mode):
                raise BlobNotFound(key)
            return facts.st_size

    def _delete(self, key: str) -> None:
        path = self.root / key
        with suppress(BlobNotFound), _found(key):
            path.unlink()
            # Or a deleted recording could be back after a power cut.
            _sync_folder(path.parent)

    def _sweep(self, before: datetime) -> int:
        swept = 0
        for folder, _, names in os.walk(self.root):
            for name in names:
                path = Path(folder, name)
                if name.endswith(PART):
                    with suppress(BlobNotFound), _found(str(path.relative_to(self.root))):
                        if path.stat().st_mtime < before.timestamp():
                            path.unlink()
                            swept += 1
        return swept

    def _keys(self, prefix: str) -> Iterator[list[str]]:
        def refuse(error: OSError) -> None:
            # One that was removed meanwhile holds nothing; one that can't be read may hold anything
            if not isinstance(error, FileNotFoundError):
                raise error

        with _blamed(prefix):
            for folder, _, names in os.walk(self.root / prefix, onerror=refuse):
                place = Path(folder).relative_to(self.root)
                yield [(place / name).as_posix() for name in names]


class _LocalUpload(Upload):
    """A file beside its place. The name is its own, so that two may write the same blob."""

    def __init__(self, root: Path, key: str) -> None:
        self._key = key
        self._root = root
        self._target = root / key
        self._part = self._target.with_name(f"{self._target.name}.{new_id()}{PART}")
        with _blamed(key):
            self._target.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._file = os.fdopen(os.open(self._part, flags, 0o640), "r+b", buffering=0)

    def write(self, data: bytes) -> None:
        """See `Upload.write`."""
        left = memoryview(data)
        with _blamed(self._key):
            while left:
                left = left[self._file.write(left) :]

    def commit(self, expected: Stored) -> None:
        """See `Upload.commit`."""
        with _blamed(self._key), self._file as file:
            os.fsync(file.fileno())
            # What is read back comes from the disk and not from memory.
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            found = Stored(file.tell(), digest)
            if found != expected:
                raise mismatch(self._key, expected, found)
            self._part.replace(self._target)
            # All of them: another process may have made one of them a moment ago.
            for folder in self._target.parents:
                _sync_folder(folder)
                if folder == self._root.parent:
                    break

    def discard(self) -> None:
        """See `Upload.discard`."""
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self._part.unlink()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _blamed(key: str) -> Iterator[None]:
    """Raise the store's error for one of the operating system."""
    try:
        yield
    except OSError as error:
        raise BlobError(key, cause_of(error)) from error


@contextmanager
def _found(key: str) -> Iterator[None]:
    """Raise the store's errors, for what should be there already."""
    try:
        with _blamed(key):
            yield
    except BlobError as error:
        if isinstance(error.__cause__, FileNotFoundError | IsADirectoryError):
            raise BlobNotFound(key) from error.__cause__
        raise
